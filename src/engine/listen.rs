//! Listening sockets of a server, in the process's own table, whatever engine accepts from them.

use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::EngineError;
use crate::domain::{DescriptorTables, ServerSpec};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket;

/// The listeners of one server.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Mutex<Vec<Socket>>,
    /// Where they listen, with the ports that the kernel chose.
    pub(super) addresses: Vec<SocketAddrV4>,
}

impl Listeners {
    /// Listens on every address of the spec.
    pub(super) fn open(spec: &ServerSpec) -> Result<Self, EngineError> {
        if spec.listen.is_empty() {
            return Err(EngineError::NoAddress);
        }
        let mut open = Vec::with_capacity(spec.listen.len());
        let mut addresses = Vec::with_capacity(spec.listen.len());
        for address in &spec.listen {
            let listener = listen(*address, spec)?;
            addresses.push(socket::local_address(Descriptor::from(&listener)).unwrap_or(*address));
            open.push(listener);
        }
        Ok(Self {
            open: Mutex::new(open),
            addresses,
        })
    }

    /// Their descriptors.
    pub(super) fn descriptors(&self) -> Vec<Descriptor> {
        self.lock().iter().map(Descriptor::from).collect()
    }

    /// Closes them in the process's own table.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Socket>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddrV4, spec: &ServerSpec) -> Result<Socket, EngineError> {
    let failed = |what| move |why| EngineError::Listen { address, what, why };
    let kind = Type::STREAM.nonblocking().cloexec();
    let listener = Socket::new_raw(Domain::IPV4, kind, None).map_err(failed("socket"))?;
    listener
        .set_reuse_address(true)
        .map_err(failed("SO_REUSEADDR"))?;
    if let Some(keepalive) = spec.keepalive {
        socket::keepalive(Descriptor::from(&listener), keepalive)
            .map_err(failed("SO_KEEPALIVE"))?;
    }
    if spec.tables == DescriptorTables::Many {
        // Inherited by every accepted socket: even a server that is killed leaves no orphan. An ordinary program does
        // not do this, so the variant that plays one does not either.
        listener
            .set_linger(Some(Duration::ZERO))
            .map_err(failed("SO_LINGER"))?;
    }
    listener.bind(&address.into()).map_err(failed("bind"))?;
    listener
        .listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))
        .map_err(failed("listen"))?;
    Ok(listener)
}
