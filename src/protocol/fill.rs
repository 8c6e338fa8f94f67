//! Writes the values of one connection into a text that has places for them.

use std::io::Write as _;
use std::net::Ipv4Addr;

use super::Output;
use crate::domain::{Piece, Template};

/// Digits of the largest number, and letters of the longest address.
const LONGEST_VALUE: usize = 15;

/// Writes `template` with the values of this connection.
pub(super) fn fill(template: &Template, index: u32, source: Ipv4Addr, out: &mut Output) {
    for piece in template.pieces() {
        let mut value = [0; LONGEST_VALUE];
        let mut left = value.as_mut_slice();
        // The room is enough for both.
        let _ = match piece {
            Piece::Bytes(bytes) => {
                out.write(bytes);
                continue;
            }
            Piece::Number => write!(left, "{index}"),
            Piece::Source => write!(left, "{source}"),
        };
        let unused = left.len();
        out.write(&value[..LONGEST_VALUE - unused]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_values_have_room() {
        let template = Template::parse(r"a{n}b{source}\n").expect("a template");
        let mut out = Output::new();
        fill(
            &template,
            u32::MAX,
            Ipv4Addr::new(255, 254, 253, 252),
            &mut out,
        );
        assert_eq!(out.bytes(), b"a4294967295b255.254.253.252\n");
    }
}
