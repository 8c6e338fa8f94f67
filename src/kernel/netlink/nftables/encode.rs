//! Netlink messages as bytes: a header, a body, and attributes in the body, each padded to four bytes; see netlink(7).
//! Headers are in the machine's byte order; numbers in attributes of packet rules are big-endian.

use std::collections::HashMap;

use crate::kernel::netlink::frame::{REQUEST, header};

/// Which part of netfilter is spoken to (`linux/netfilter/nfnetlink.h`).
const SUBSYSTEM_RULES: u16 = 10;
/// Rules for IPv4 (`NFPROTO_IPV4`).
const FAMILY_IPV4: u8 = 2;
/// An attribute that contains attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;
/// The bits of an attribute's type that are its number (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;

/// Attributes that are being written.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A text, ended by a zero byte.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.raw(kind, &number.to_be_bytes())
    }

    #[allow(clippy::needless_pass_by_value)] // a value that is built in place
    pub(super) fn nest(self, kind: u16, inner: Self) -> Self {
        self.raw(kind | NESTED, &inner.bytes)
    }

    pub(super) fn raw(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("a rule is far below 64 KiB");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Message {
    /// The beginning or the end of a batch.
    pub(super) fn batch(kind: u16, sequence: u32) -> Self {
        let [high, low] = SUBSYSTEM_RULES.to_be_bytes();
        Self {
            kind,
            flags: REQUEST,
            sequence,
            body: vec![0, 0, high, low],
        }
    }

    /// A message about packet rules.
    pub(super) fn rules(kind: u16, flags: u16, sequence: u32, attributes: Attributes) -> Self {
        let mut body = vec![FAMILY_IPV4, 0, 0, 0];
        body.extend(attributes.bytes);
        Self {
            kind: SUBSYSTEM_RULES << 8 | kind,
            flags,
            sequence,
            body,
        }
    }

    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        let header = header(self.kind, self.flags, self.sequence, self.body.len());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&self.body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
}

/// Attributes that were read, by number.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    by_kind: HashMap<u16, &'a [u8]>,
}

impl<'a> Found<'a> {
    /// The bytes of an attribute; none where it is not there.
    pub(super) fn bytes(&self, kind: u16) -> &'a [u8] {
        self.by_kind.get(&kind).copied().unwrap_or_default()
    }

    /// The text of an attribute, without the zero byte at its end.
    pub(super) fn text(&self, kind: u16) -> Option<String> {
        let bytes = self.by_kind.get(&kind)?;
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// The attributes in a body. Of those that stand there twice, the last counts.
pub(super) fn attributes(body: &[u8]) -> Found<'_> {
    Found {
        by_kind: each(body).collect(),
    }
}

/// The values in a list of attributes that all have the same number.
pub(super) fn nested(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    each(list).map(|(_, value)| value)
}

fn each(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & TYPE_MASK, value))
    })
}
