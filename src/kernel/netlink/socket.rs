//! A synchronous rtnetlink socket: one request, its answers, an errno that is never swallowed. It belongs for life to the
//! network namespace of the thread that opened it, whichever thread uses it; see netlink(7) and rtnetlink(7).

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::frame::Frames;

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel said no.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was asked, with its object.
        what: String,
        /// The kernel's errno.
        source: io::Error,
    },
    /// The kernel said something that was not understood.
    #[error("cannot {what}: the kernel's answer was not understood: {why}")]
    Malformed {
        /// What was asked, with its object.
        what: String,
        /// Why not.
        why: String,
    },
    /// What was looked for is not there.
    #[error("cannot {what}: there is none")]
    Absent {
        /// What was asked, with its object.
        what: String,
    },
}

impl NetlinkError {
    /// The kernel's errno, where there is one.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            Self::Malformed { .. } | Self::Absent { .. } => None,
        }
    }
}

/// An rtnetlink socket.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// One in the namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let descriptor = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None, // NETLINK_ROUTE is the default
        )?;
        Ok(Self {
            descriptor,
            sequence: 0,
            buffer: vec![0; RECEIVE_BUFFER],
        })
    }

    /// Asks for a change and waits until the kernel has made it.
    pub(super) fn change(
        &mut self,
        what: &dyn Fn() -> String,
        flags: u16,
        message: RouteNetlinkMessage,
    ) -> Result<(), NetlinkError> {
        self.request(what, NLM_F_ACK | flags, message, &mut |_| ())
    }

    /// Asks for one thing and hands the answer to `each`.
    pub(super) fn ask(
        &mut self,
        what: &dyn Fn() -> String,
        message: RouteNetlinkMessage,
        each: &mut dyn FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        // With the acknowledgement it is known when the answer is over.
        self.request(what, NLM_F_ACK, message, each)
    }

    /// Asks for everything of a kind and hands each answer to `each`.
    pub(super) fn dump(
        &mut self,
        what: &dyn Fn() -> String,
        message: RouteNetlinkMessage,
        each: &mut dyn FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        self.request(what, NLM_F_DUMP, message, each)
    }

    fn request(
        &mut self,
        what: &dyn Fn() -> String,
        flags: u16,
        message: RouteNetlinkMessage,
        each: &mut dyn FnMut(RouteNetlinkMessage),
    ) -> Result<(), NetlinkError> {
        let refused = |source: io::Error| NetlinkError::Refused {
            what: what(),
            source,
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        // Without an address a netlink socket speaks to the kernel.
        rustix::net::send(&self.descriptor, &bytes, SendFlags::empty())
            .map_err(|errno| refused(errno.into()))?;
        loop {
            let (_, received) = rustix::net::recv(
                &self.descriptor,
                self.buffer.as_mut_slice(),
                RecvFlags::TRUNC,
            )
            .map_err(|errno| refused(errno.into()))?;
            let datagram = self
                .buffer
                .get(..received)
                .ok_or_else(|| NetlinkError::Malformed {
                    what: what(),
                    why: format!("{received} bytes do not fit into {RECEIVE_BUFFER}"),
                })?;
            for answer in messages(datagram) {
                let answer = answer.map_err(|why| NetlinkError::Malformed { what: what(), why })?;
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(refused(error.to_io())),
                    NetlinkPayload::Overrun(_) => {
                        return Err(NetlinkError::Malformed {
                            what: what(),
                            why: "the socket overran".to_owned(),
                        });
                    }
                    NetlinkPayload::InnerMessage(message) => each(message),
                    _ => {}
                }
            }
        }
    }
}

/// Splits a datagram into its messages.
fn messages(
    datagram: &[u8],
) -> impl Iterator<Item = Result<NetlinkMessage<RouteNetlinkMessage>, String>> {
    Frames::of(datagram).map(|frame| {
        let frame = frame.map_err(|_| "the length of a message does not fit".to_owned())?;
        NetlinkMessage::deserialize(frame.whole).map_err(|error| error.to_string())
    })
}

/// The kernel fills a dump's datagrams up to 32 KiB when the reader offers as much (`netlink_dump`, 6.18).
const RECEIVE_BUFFER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_splitter_panic_or_run_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }
    }
}
