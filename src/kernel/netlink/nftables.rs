//! Packet rules of a network namespace, as far as the lab needs them: a table of its own whose rules keep the traffic of
//! one range out of connection tracking, put in, read back and taken out. Messages and attributes as
//! `include/uapi/linux/netfilter/nf_tables.h` numbers them (Linux 6.18); the rules are those that nft(8) makes of
//! `ip saddr RANGE ip daddr RANGE notrack`. A change is one batch: all of it happens, or nothing.
//!
//! A socket belongs to the namespace of the thread that opened it.

mod encode;

use std::io;
use std::os::fd::OwnedFd;

use ipnet::Ipv4Net;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::frame::{ACKNOWLEDGE, DONE, DUMP, Frame, Frames, REQUEST};
use encode::{Attributes, Message, attributes, nested};

/// Packet rules could not be changed or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} packet rules {table}: {source}")]
pub struct RulesError {
    /// What was tried.
    pub what: &'static str,
    /// The table.
    pub table: String,
    /// The kernel's errno.
    pub source: io::Error,
}

impl RulesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self.source.raw_os_error()? {
            libc::EPERM => Some("packet rules need CAP_NET_ADMIN in this namespace"),
            libc::EOPNOTSUPP | libc::EPROTONOSUPPORT => {
                Some("this kernel has no nf_tables: modprobe nf_tables, or set `untrack: false`")
            }
            libc::ENOENT => Some("this kernel has no notrack: modprobe nft_ct"),
            _ => None,
        }
    }
}

/// A rule as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its chain.
    pub chain: String,
    /// The names of its expressions, in order.
    pub expressions: Vec<String>,
    /// The values that it compares with.
    pub compared: Vec<Vec<u8>>,
}

/// The chains of our table: each packet of the range passes one of them before tracking looks at it.
const CHAINS: [(&str, u32); 2] = [("prerouting", HOOK_PREROUTING), ("output", HOOK_OUTPUT)];

/// A socket for packet rules, in the namespace of the thread that opened it.
#[derive(Debug)]
pub struct PacketRules {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl PacketRules {
    /// Opens one.
    ///
    /// # Errors
    /// When the kernel has no netfilter.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            descriptor: rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(rustix::net::netlink::NETFILTER),
            )?,
            sequence: 0,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Puts in a table that keeps traffic from `range` to `range` out of connection tracking.
    ///
    /// # Errors
    /// When the kernel refuses; then nothing was changed.
    pub fn untrack(&mut self, table: &str, range: Ipv4Net) -> Result<(), RulesError> {
        let mut parts = vec![(
            NEW_TABLE,
            CREATE | EXCLUSIVE,
            Attributes::new().text(TABLE_NAME, table),
        )];
        for (chain, hook) in CHAINS {
            parts.push((NEW_CHAIN, CREATE | EXCLUSIVE, chain_at(table, chain, hook)));
        }
        for (chain, _) in CHAINS {
            parts.push((NEW_RULE, CREATE | APPEND, notrack(table, chain, range)));
        }
        self.batch("put in", table, parts)
    }

    /// Takes a table out with everything in it. Not an error when it is gone already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self, table: &str) -> Result<(), RulesError> {
        let parts = vec![(DELETE_TABLE, 0, Attributes::new().text(TABLE_NAME, table))];
        match self.batch("take out", table, parts) {
            Err(error) if error.source.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// The rules of a table; none where there is no such table.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rules(&mut self, table: &str) -> Result<Vec<Rule>, RulesError> {
        let filter = Attributes::new().text(RULE_TABLE, table);
        let mut rules = Vec::new();
        self.dump(GET_RULE, filter, &mut |body| {
            let found = attributes(body);
            let of_table = found.text(RULE_TABLE).as_deref() == Some(table);
            if !of_table {
                return;
            }
            let mut rule = Rule {
                chain: found.text(RULE_CHAIN).unwrap_or_default(),
                expressions: Vec::new(),
                compared: Vec::new(),
            };
            for expression in nested(found.bytes(RULE_EXPRESSIONS)) {
                let expression = attributes(expression);
                let name = expression.text(EXPRESSION_NAME).unwrap_or_default();
                if name == "cmp" {
                    let data = attributes(expression.bytes(EXPRESSION_DATA));
                    let value = attributes(data.bytes(CMP_DATA));
                    rule.compared.push(value.bytes(DATA_VALUE).to_vec());
                }
                rule.expressions.push(name);
            }
            rules.push(rule);
        })
        .map_err(|source| RulesError {
            what: "read",
            table: table.to_owned(),
            source,
        })?;
        Ok(rules)
    }

    /// Names of the tables of this namespace, for IPv4.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn tables(&mut self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        self.dump(GET_TABLE, Attributes::new(), &mut |body| {
            names.extend(attributes(body).text(TABLE_NAME));
        })?;
        Ok(names)
    }

    /// Whether there is a chain that translates addresses: then the kernel tracks every connection of this namespace.
    ///
    /// # Errors
    /// When chains cannot be read.
    pub fn translates_addresses(&mut self) -> io::Result<bool> {
        let mut found = false;
        self.dump(GET_CHAIN, Attributes::new(), &mut |body| {
            found |= attributes(body).text(CHAIN_TYPE).as_deref() == Some("nat");
        })?;
        Ok(found)
    }

    fn batch(
        &mut self,
        what: &'static str,
        table: &str,
        parts: Vec<(u16, u16, Attributes)>,
    ) -> Result<(), RulesError> {
        let refused = |source| RulesError {
            what,
            table: table.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let first = self.next_sequence();
        Message::batch(BATCH_BEGIN, first).append_to(&mut bytes);
        let mut last = first;
        for (kind, flags, attributes) in parts {
            last = self.next_sequence();
            Message::rules(kind, flags | REQUEST | ACKNOWLEDGE, last, attributes)
                .append_to(&mut bytes);
        }
        Message::batch(BATCH_END, self.next_sequence()).append_to(&mut bytes);
        rustix::net::send(&self.descriptor, &bytes, SendFlags::empty())
            .map_err(|errno| refused(errno.into()))?;
        self.answers(|frame| match frame.errno() {
            // A batch that failed leaves answers behind, one for each of its messages.
            _ if frame.sequence < first => None,
            Some(0) => (frame.sequence == last).then_some(Ok(())),
            Some(errno) => Some(Err(io::Error::from_raw_os_error(errno))),
            None => None,
        })
        .map_err(refused)
    }

    fn dump(
        &mut self,
        kind: u16,
        filter: Attributes,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        let asked = self.next_sequence();
        Message::rules(kind, REQUEST | DUMP, asked, filter).append_to(&mut bytes);
        rustix::net::send(&self.descriptor, &bytes, SendFlags::empty())?;
        self.answers(|frame| {
            if frame.sequence != asked {
                return None;
            }
            match (frame.kind, frame.errno()) {
                (DONE, _) | (_, Some(0)) => Some(Ok(())),
                (_, Some(errno)) => Some(Err(io::Error::from_raw_os_error(errno))),
                _ => {
                    // Each answer begins with the family, the version and a resource number, four bytes in all.
                    each(frame.body().get(4..).unwrap_or_default());
                    None
                }
            }
        })
    }

    /// Reads answers until `judge` says that it is over.
    fn answers(
        &mut self,
        mut judge: impl FnMut(Frame<'_>) -> Option<io::Result<()>>,
    ) -> io::Result<()> {
        loop {
            let (_, received) = rustix::net::recv(
                &self.descriptor,
                self.buffer.as_mut_slice(),
                RecvFlags::TRUNC,
            )?;
            let datagram = self.buffer.get(..received).ok_or_else(|| {
                io::Error::other(format!("an answer of {received} bytes does not fit"))
            })?;
            for frame in Frames::of(datagram) {
                let frame =
                    frame.map_err(|_| io::Error::other("the length of an answer does not fit"))?;
                if let Some(outcome) = judge(frame) {
                    return outcome;
                }
            }
        }
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }
}

/// A base chain at the priority of the raw table, -300, which lies before tracking at -200
/// (`include/uapi/linux/netfilter_ipv4.h`).
fn chain_at(table: &str, chain: &str, hook: u32) -> Attributes {
    const RAW_PRIORITY: i32 = -300;
    Attributes::new()
        .text(CHAIN_TABLE, table)
        .text(CHAIN_NAME, chain)
        .nest(
            CHAIN_HOOK,
            Attributes::new()
                .number(HOOK_NUMBER, hook)
                .number(HOOK_PRIORITY, RAW_PRIORITY.cast_unsigned()),
        )
        .number(CHAIN_POLICY, POLICY_ACCEPT)
        .text(CHAIN_TYPE, "filter")
}

fn notrack(table: &str, chain: &str, range: Ipv4Net) -> Attributes {
    /// Where source and destination stand in an IPv4 header, in bytes (RFC 791).
    const SOURCE: u32 = 12;
    const DESTINATION: u32 = 16;
    let mut list = Attributes::new();
    for offset in [SOURCE, DESTINATION] {
        for expression in address_in(range, offset) {
            list = list.nest(LIST_ELEMENT, expression);
        }
    }
    let list = list.nest(
        LIST_ELEMENT,
        Attributes::new().text(EXPRESSION_NAME, "notrack"),
    );
    Attributes::new()
        .text(RULE_TABLE, table)
        .text(RULE_CHAIN, chain)
        .nest(RULE_EXPRESSIONS, list)
}

/// Loads the address at `offset` of the header, masks it, and compares it with the network.
fn address_in(range: Ipv4Net, offset: u32) -> [Attributes; 3] {
    let expression = |name, data| {
        Attributes::new()
            .text(EXPRESSION_NAME, name)
            .nest(EXPRESSION_DATA, data)
    };
    let value = |octets: [u8; 4]| Attributes::new().raw(DATA_VALUE, &octets);
    [
        expression(
            "payload",
            Attributes::new()
                .number(PAYLOAD_REGISTER, REGISTER)
                .number(PAYLOAD_BASE, NETWORK_HEADER)
                .number(PAYLOAD_OFFSET, offset)
                .number(PAYLOAD_LENGTH, 4),
        ),
        expression(
            "bitwise",
            Attributes::new()
                .number(BITWISE_SOURCE, REGISTER)
                .number(BITWISE_DESTINATION, REGISTER)
                .number(BITWISE_LENGTH, 4)
                .nest(BITWISE_MASK, value(range.netmask().octets()))
                .nest(BITWISE_XOR, value([0; 4])),
        ),
        expression(
            "cmp",
            Attributes::new()
                .number(CMP_REGISTER, REGISTER)
                .number(CMP_OPERATION, CMP_EQUAL)
                .nest(CMP_DATA, value(range.network().octets())),
        ),
    ]
}

// linux/netlink.h
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

// linux/netfilter/nfnetlink.h
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

// linux/netfilter/nf_tables.h, enum nf_tables_msg_types
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;

// Attributes of the same file.
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const PAYLOAD_REGISTER: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const BITWISE_SOURCE: u16 = 1;
const BITWISE_DESTINATION: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_REGISTER: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;

// Values of the same file, and of linux/netfilter.h.
const REGISTER: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const CMP_EQUAL: u32 = 0;
const POLICY_ACCEPT: u32 = 1;
const HOOK_PREROUTING: u32 = 0;
const HOOK_OUTPUT: u32 = 3;

#[cfg(test)]
mod tests;
