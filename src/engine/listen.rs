//! Listening sockets of a server, in the process's own table, whatever engine accepts from them.

use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};

use super::EngineError;
use crate::domain::{DescriptorTables, ServerSpec};
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket::{self, RawAddress};

/// The listeners of one server.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Mutex<Vec<Descriptor>>,
    /// Where they listen, with the ports that the kernel chose.
    pub(super) addresses: Vec<SocketAddrV4>,
}

impl Listeners {
    /// Listens on every address of the spec.
    pub(super) fn open(spec: &ServerSpec) -> Result<Self, EngineError> {
        if spec.listen.is_empty() {
            return Err(EngineError::NoAddress);
        }
        let listeners = Self {
            open: Mutex::new(Vec::with_capacity(spec.listen.len())),
            addresses: Vec::new(),
        };
        let mut addresses = Vec::with_capacity(spec.listen.len());
        for address in &spec.listen {
            let listener = listen(*address, spec)?;
            listeners.lock().push(listener);
            addresses.push(socket::local_address(listener).unwrap_or(*address));
        }
        Ok(Self {
            addresses,
            ..listeners
        })
    }

    /// Their descriptors.
    pub(super) fn descriptors(&self) -> Vec<Descriptor> {
        self.lock().clone()
    }

    /// Closes them in the process's own table.
    pub(super) fn close(&self) {
        for listener in self.lock().drain(..) {
            fdtable::close(listener);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Descriptor>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddrV4, spec: &ServerSpec) -> Result<Descriptor, EngineError> {
    let failed = |what| move |why| EngineError::Listen { address, what, why };
    let listener = socket::stream().map_err(failed("socket"))?;
    let prepare = || {
        socket::reuse_address(listener).map_err(failed("SO_REUSEADDR"))?;
        if let Some(keepalive) = spec.keepalive {
            socket::keepalive(listener, keepalive).map_err(failed("SO_KEEPALIVE"))?;
        }
        if spec.tables == DescriptorTables::Many {
            // Inherited by every accepted socket: even a server that is killed leaves no orphan. An ordinary program does
            // not do this, so the variant that plays one does not either.
            socket::reset_on_close(listener).map_err(failed("SO_LINGER"))?;
        }
        socket::bind(listener, &RawAddress::new(address)).map_err(failed("bind"))?;
        socket::listen(listener, spec.backlog).map_err(failed("listen"))
    };
    match prepare() {
        Ok(()) => Ok(listener),
        Err(error) => {
            fdtable::close(listener);
            Err(error)
        }
    }
}
