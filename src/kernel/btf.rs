//! Sizes of kernel structures from the kernel's own type information, `/sys/kernel/btf/vmlinux`
//! (`Documentation/bpf/btf.rst`). Everybody may read it, unlike slabinfo. Of the format only what a size needs is read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// The first two bytes, in the byte order of the rest.
const MAGIC: u16 = 0xeb9f;
/// `struct btf_header` up to the length of the strings.
const HEADER: usize = 24;
/// `struct btf_type`.
const TYPE: usize = 12;

/// Why no sizes could be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no BTF, or of a kind that this program does not know.
    #[error("cannot understand the kernel's type information: {0}")]
    Malformed(&'static str),
}

/// Sizes in bytes of those of `names` that are structures of the kernel, from `sys/kernel/btf/vmlinux` below `root`.
///
/// # Errors
/// When there is no such file (a kernel without `CONFIG_DEBUG_INFO_BTF`) or it is malformed.
pub fn struct_sizes<'name>(
    root: &Path,
    names: &[&'name str],
) -> Result<HashMap<&'name str, u64>, BtfError> {
    let path = root.join("sys/kernel/btf/vmlinux");
    let bytes = std::fs::read(&path).map_err(|source| BtfError::Read { path, source })?;
    parse(&bytes, names)
}

/// Walks over all types. The first structure of a name that has a size counts; the kernel has some names twice, but none
/// of those that are asked for here.
fn parse<'name>(bytes: &[u8], names: &[&'name str]) -> Result<HashMap<&'name str, u64>, BtfError> {
    let order = Order::of(bytes)?;
    if bytes.len() < HEADER {
        return Err(BtfError::Malformed("it ends within the header"));
    }
    let length = |at: usize| {
        order
            .word(bytes, at)
            .and_then(|word| usize::try_from(word).ok())
            .ok_or(BtfError::Malformed("it ends within the header"))
    };
    let header = length(4)?;
    let section = |offset: usize, size: usize| {
        let start = header.checked_add(offset)?;
        bytes.get(start..start.checked_add(size)?)
    };
    let missing = BtfError::Malformed("a section lies outside of the file");
    let types = section(length(8)?, length(12)?).ok_or(missing)?;
    let strings = section(length(16)?, length(20)?)
        .ok_or(BtfError::Malformed("a section lies outside of the file"))?;

    let mut sizes = HashMap::new();
    let mut at = 0;
    while let Some(kind) = TypeHeader::read(order, types, at) {
        at = at.saturating_add(TYPE).saturating_add(
            kind.extra_bytes()
                .ok_or(BtfError::Malformed("a type of an unknown kind"))?,
        );
        if kind.kind == STRUCT
            && kind.size > 0
            && let Some(name) = names.iter().find(|name| is_at(strings, kind.name, name))
        {
            sizes.entry(*name).or_insert_with(|| u64::from(kind.size));
        }
    }
    Ok(sizes)
}

/// The byte order that the file was written in.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn of(bytes: &[u8]) -> Result<Self, BtfError> {
        match bytes {
            [a, b, ..] if u16::from_le_bytes([*a, *b]) == MAGIC => Ok(Self::Little),
            [a, b, ..] if u16::from_be_bytes([*a, *b]) == MAGIC => Ok(Self::Big),
            _ => Err(BtfError::Malformed(
                "it does not begin with the magic number",
            )),
        }
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let word = bytes.get(at..at.checked_add(4)?)?;
        let word = [word[0], word[1], word[2], word[3]];
        Some(match self {
            Self::Big => u32::from_be_bytes(word),
            Self::Little => u32::from_le_bytes(word),
        })
    }
}

/// `BTF_KIND_STRUCT`.
const STRUCT: u32 = 4;

/// `struct btf_type`: offset of the name, kind and number of members, size.
struct TypeHeader {
    name: usize,
    kind: u32,
    members: usize,
    size: u32,
}

impl TypeHeader {
    fn read(order: Order, types: &[u8], at: usize) -> Option<Self> {
        let info = order.word(types, at.checked_add(4)?)?;
        Some(Self {
            name: usize::try_from(order.word(types, at)?).ok()?,
            kind: (info >> 24) & 0x1f,
            members: usize::try_from(info & 0xffff).ok()?,
            size: order.word(types, at.checked_add(8)?)?,
        })
    }

    /// What follows the header, by kind (`include/uapi/linux/btf.h`, up to `BTF_KIND_ENUM64` of Linux 6.0).
    fn extra_bytes(&self) -> Option<usize> {
        Some(match self.kind {
            // Integer, variable, declaration tag.
            1 | 14 | 17 => 4,
            // Array.
            3 => 12,
            // Structure, union, data section, 64-bit enumeration.
            4 | 5 | 15 | 19 => 12 * self.members,
            // Enumeration, prototype of a function.
            6 | 13 => 8 * self.members,
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        })
    }
}

/// Whether the string at `offset` is `name`.
fn is_at(strings: &[u8], offset: usize, name: &str) -> bool {
    strings
        .get(offset..)
        .and_then(|rest| rest.strip_prefix(name.as_bytes()))
        .is_some_and(|behind| behind.first() == Some(&0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with an integer, a structure of 2304 bytes with two members, an enumeration with one value, a pointer, and
    /// a structure of 768 bytes, as the kernel would write it.
    fn blob(write: impl Fn(u32) -> [u8; 4], magic: [u8; 2]) -> Vec<u8> {
        let strings = b"\0int\0tcp_sock\0socket_alloc\0tcp_socket\0";
        let info = |kind: u32, members: u32| (kind << 24) | members;
        let words = [
            [1, info(1, 0), 4, 0x20].as_slice(),
            &[5, info(4, 2), 2304, 1, 1, 0, 1, 1, 32],
            &[1, info(6, 1), 4, 1, 0],
            &[0, info(2, 0), 2],
            &[14, info(4, 0), 768],
            &[27, info(4, 0), 9],
        ]
        .concat();
        let types: Vec<u8> = words.into_iter().flat_map(&write).collect();
        let size = |bytes: usize| write(u32::try_from(bytes).unwrap());
        let mut file = magic.to_vec();
        file.extend([1, 0]);
        for field in [
            size(HEADER),
            size(0),
            size(types.len()),
            size(types.len()),
            size(strings.len()),
        ] {
            file.extend(field);
        }
        file.extend(types);
        file.extend(strings);
        file
    }

    #[test]
    fn structures_are_found_in_either_byte_order() {
        let names = ["tcp_sock", "socket_alloc", "absent"];
        for file in [
            blob(u32::to_le_bytes, MAGIC.to_le_bytes()),
            blob(u32::to_be_bytes, MAGIC.to_be_bytes()),
        ] {
            let sizes = parse(&file, &names).unwrap();
            assert_eq!(sizes.get("tcp_sock"), Some(&2304));
            assert_eq!(sizes.get("socket_alloc"), Some(&768));
            assert_eq!(sizes.get("absent"), None);
        }
    }

    #[test]
    fn what_is_no_type_information_is_refused() {
        assert!(parse(b"", &[]).is_err());
        assert!(parse(b"\x7fELF", &[]).is_err());
        let whole = blob(u32::to_le_bytes, MAGIC.to_le_bytes());
        assert!(parse(&whole[..40], &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, &["tcp_sock"]);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0_usize..200, byte in any::<u8>()) {
            let mut file = blob(u32::to_le_bytes, MAGIC.to_le_bytes());
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&file, &["tcp_sock"]);
        }
    }
}
