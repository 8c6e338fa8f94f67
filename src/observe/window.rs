//! Sight into a network namespace from outside: a thread that waits inside, so that `/proc/self/task/THREAD/net` tells of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use super::CountError;
use crate::kernel::sys::netns::{NetworkNamespace, thread_id};

/// A namespace that can be looked into. It is kept alive, and looked into, until this is dropped.
#[derive(Debug)]
pub struct NamespaceWindow {
    proc_net: PathBuf,
    /// The thread ends when this does.
    stay: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl NamespaceWindow {
    /// Opens one into the namespace whose file is `path` (`/run/netns/NAME`, `/proc/PID/ns/net`).
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn open(path: &Path) -> Result<Self, CountError> {
        let enter = |source| CountError::Enter {
            path: path.to_owned(),
            source,
        };
        let namespace = NetworkNamespace::open(path).map_err(enter)?;
        let (stay, until_dropped) = channel::<()>();
        let (report, entered) = channel();
        let thread = thread::Builder::new()
            .name("window".into())
            .spawn(move || {
                let inside = namespace.enter().map(|()| thread_id());
                drop(namespace);
                let is_inside = inside.is_ok();
                // Nobody listens only when opening was given up.
                let _ = report.send(inside);
                if is_inside {
                    // Nothing is ever sent: it returns when the window is dropped.
                    let _ = until_dropped.recv();
                }
            })
            .map_err(CountError::Thread)?;
        let thread_id = entered
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread inside ended at once")))
            .map_err(enter)?;
        Ok(Self {
            proc_net: PathBuf::from(format!("/proc/self/task/{thread_id}/net")),
            stay: Some(stay),
            thread: Some(thread),
        })
    }

    /// The directory that tells of the namespace, for any thread of this process.
    #[must_use]
    pub fn proc_net(&self) -> &Path {
        &self.proc_net
    }
}

impl Drop for NamespaceWindow {
    fn drop(&mut self) {
        self.stay = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}
