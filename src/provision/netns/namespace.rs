//! One network namespace, held by a parked thread and a descriptor and by nothing else: no name, no mount, no file. When
//! the process ends, however it ends, the namespace goes too.

use std::path::PathBuf;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use crate::kernel::netlink::route::RouteSocket;
use crate::kernel::sys::netns::{self, NetworkNamespace};

use super::ProvisionError;
use crate::provision::inside::inside;

/// A namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    held: NetworkNamespace,
    thread: i32,
    /// Dropping it lets the parked thread end.
    parking: Option<Sender<()>>,
    parked: Option<JoinHandle<()>>,
}

impl Namespace {
    /// A new one, made from within `origin`, whose settings for children it follows; without, from the caller's own.
    pub(super) fn make(
        name: &str,
        origin: Option<&Self>,
    ) -> Result<(Self, RouteSocket), ProvisionError> {
        let what = || format!("make the network namespace of {name}");
        let failed = |error: std::io::Error| {
            let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
            let error = ProvisionError::new(what(), error);
            if denied {
                error.with_hint("run as root, or choose --place loopback")
            } else {
                error
            }
        };
        let origin = origin
            .map(|origin| origin.held.duplicate())
            .transpose()
            .map_err(failed)?;
        let (answer, answers) = mpsc::sync_channel(1);
        let (parking, until_dropped) = mpsc::channel::<()>();
        let parked = thread::Builder::new()
            .name(format!("ns-{name}"))
            .stack_size(SMALL_STACK)
            .spawn(move || {
                let make = || {
                    if let Some(origin) = &origin {
                        origin.enter()?;
                    }
                    netns::move_into_new_network()?;
                    Ok((
                        NetworkNamespace::current()?,
                        netns::thread_id(),
                        RouteSocket::open()?,
                    ))
                };
                let result = make();
                drop(origin);
                let _ = answer.send(result);
                // The other end sends nothing: this ends when it is dropped.
                let _ = until_dropped.recv();
            })
            .map_err(failed)?;
        let (held, thread, route) = answers
            .recv()
            .map_err(|_| ProvisionError::new(what(), "its thread ended"))?
            .map_err(failed)?;
        let made = Self {
            name: name.to_owned(),
            held,
            thread,
            parking: Some(parking),
            parked: Some(parked),
        };
        Ok((made, route))
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The descriptor that holds it.
    pub(super) const fn descriptor(&self) -> &NetworkNamespace {
        &self.held
    }

    /// Where any thread of this machine finds its `/proc/net`.
    pub(super) fn proc_net(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/task/{}/net",
            std::process::id(),
            self.thread
        ))
    }

    /// Does `work` on a thread of its own inside.
    pub(super) fn run<R: Send>(
        &self,
        work: impl FnOnce() -> R + Send,
    ) -> Result<R, ProvisionError> {
        inside(Some(&self.held), &self.name, work)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.parking = None;
        if let Some(parked) = self.parked.take() {
            // The thread cannot panic: it only waits.
            let _ = parked.join();
        }
    }
}

/// The thread only waits.
const SMALL_STACK: usize = 64 * 1024;
