//! One connection of a tokio client: a socket bound as the spec says, and connected.

use std::io;

use tokio::net::{TcpSocket, TcpStream};

use super::Table;
use crate::engine::source::{Source, Wish};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket;

impl Table {
    /// Connects, with a spare port where the planned one is taken; `port` says afterwards which it was.
    pub(super) async fn connect(&self, wish: Wish, port: &mut u16) -> io::Result<TcpStream> {
        let source = self.shared.sources.source(wish.shard);
        loop {
            match self.begin(source, *port) {
                Ok(socket) => match socket.connect(source.shard.target.into()).await {
                    Err(error) if self.shared.sources.is_port_taken(&error) => {
                        *port = source.spare_port().ok_or(error)?;
                    }
                    other => return other,
                },
                Err(error) if self.shared.sources.is_port_taken(&error) => {
                    *port = source.spare_port().ok_or(error)?;
                }
                Err(error) => return Err(error),
            }
            self.counters().ports_replaced.add(1);
        }
    }

    fn begin(&self, source: &Source, port: u16) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        let number = Descriptor::from(&socket);
        if let Some(keepalive) = self.shared.keepalive {
            socket::keepalive(number, keepalive)?;
        }
        self.shared.sources.bind(number, source, port)?;
        Ok(socket)
    }
}
