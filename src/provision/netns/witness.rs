//! Whether namespaces are really gone. A namespace that nobody is in may live on, pinned by orphaned sockets, and no file
//! of /proc shows it. So before they are let go, each is tied by a veth pair to a namespace that stays: the kernel removes
//! both ends when the tied one is destroyed (`default_device_exit_batch`, net/core/dev.c), and that can be seen.

use std::thread;
use std::time::{Duration, Instant};

use crate::kernel::netlink::route::{MacAddress, RouteSocket, VethEnd};

use super::ProvisionError;
use super::namespace::Namespace;
use crate::kernel::sys::netns::NetworkNamespace;

/// A namespace that watches others end.
#[derive(Debug)]
pub(in crate::provision) struct Witness {
    route: RouteSocket,
    watched: Vec<(String, String)>,
    // Dropped last: the socket belongs to it.
    _namespace: Namespace,
}

impl Witness {
    pub(in crate::provision) fn new() -> Result<Self, ProvisionError> {
        let (namespace, route) = Namespace::make("the witness", None)?;
        Ok(Self {
            route,
            watched: Vec::new(),
            _namespace: namespace,
        })
    }

    /// Ties a namespace to this one. `name` is its name in messages.
    pub(in crate::provision) fn watch(
        &mut self,
        name: &str,
        namespace: &NetworkNamespace,
    ) -> Result<(), ProvisionError> {
        let number = self.watched.len();
        let end = |name: String, side: u8| VethEnd {
            name,
            mac: MacAddress([0x02, 0x02, side, 0, 0, 0]),
        };
        let tie = format!("tie{number}");
        self.route
            .add_veth(&end(tie.clone(), 0), &end("tie".to_owned(), 1), namespace)
            .map_err(|error| ProvisionError::new(format!("watch the end of {name}"), error))?;
        self.watched.push((tie, name.to_owned()));
        Ok(())
    }

    /// Waits until all that are watched are gone. Returns an error for each that is not.
    pub(in crate::provision) fn await_end(mut self) -> Vec<ProvisionError> {
        let deadline = Instant::now() + LONGEST_END;
        loop {
            let links = match self.route.links() {
                Ok(links) => links,
                Err(error) => {
                    return vec![ProvisionError::new("see the namespaces end", error)];
                }
            };
            self.watched
                .retain(|(tie, _)| links.iter().any(|link| link.name == *tie));
            if self.watched.is_empty() {
                return Vec::new();
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        self.watched
            .iter()
            .map(|(_, name)| {
                ProvisionError::new(
                    format!("remove the network namespace of {name}"),
                    format!("it is still there after {} s", LONGEST_END.as_secs()),
                )
                .with_hint(
                    "orphaned sockets keep it; they go within two minutes, and it with them: \
                     watch `orphan` in /proc/net/sockstat",
                )
            })
            .collect()
    }
}

/// The kernel destroys namespaces from a work queue, some tens of milliseconds each, all of the machine one after another.
const LONGEST_END: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(10);
