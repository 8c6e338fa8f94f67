//! Frames of netlink(7): the header of a request, and the walk through the messages of an answer. Nothing is copied: a list
//! of a million sockets passes here.

/// `struct nlmsghdr`: length, type, flags, sequence, port.
pub(super) const HEADER: usize = 16;

/// `NLM_F_REQUEST`, `NLM_F_ACK` and `NLM_F_DUMP` (`linux/netlink.h`).
pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACKNOWLEDGE: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;

/// `NLMSG_ERROR` and `NLMSG_DONE`.
pub(super) const ERROR: u16 = 2;
pub(super) const DONE: u16 = 3;

/// The header of a request whose body has `body` bytes.
pub(super) fn header(kind: u16, flags: u16, sequence: u32, body: usize) -> [u8; HEADER] {
    let length = u32::try_from(HEADER + body).expect("a request is far below 4 GiB");
    let mut bytes = [0; HEADER];
    bytes[0..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    bytes
}

/// A message of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    /// With its header.
    pub(super) whole: &'a [u8],
}

impl<'a> Frame<'a> {
    /// What is behind the header.
    #[inline]
    pub(super) fn body(&self) -> &'a [u8] {
        &self.whole[HEADER..]
    }

    /// The errno of a refusal, positive, and 0 for an acknowledgement; nothing where it is another message.
    pub(super) fn errno(&self) -> Option<i32> {
        if self.kind != ERROR {
            return None;
        }
        let code = self.body().first_chunk::<4>()?;
        Some(i32::from_ne_bytes(*code).saturating_neg())
    }
}

/// The length of a message does not fit what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadLength;

/// The messages of one piece of an answer. A message that does not fit is the last.
#[derive(Debug, Clone)]
pub(super) struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Those of what one recv(2) brought.
    pub(super) const fn of(piece: &'a [u8]) -> Self {
        Self { rest: piece }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, BadLength>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let piece = std::mem::take(&mut self.rest);
        let Some(header) = piece.first_chunk::<HEADER>() else {
            return Some(Err(BadLength));
        };
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length < HEADER || length > piece.len() {
            return Some(Err(BadLength));
        }
        // Messages begin at multiples of four bytes; the last one may end without its padding.
        self.rest = piece.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(Frame {
            kind: u16::from_ne_bytes([k0, k1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            whole: &piece[..length],
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = header(kind, 0, sequence, body.len()).to_vec();
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn what_was_framed_comes_out_of_the_walk() {
        let mut piece = framed(20, 7, &[1, 2, 3]);
        piece.extend(framed(ERROR, 8, &(-2_i32).to_ne_bytes()));
        let frames: Vec<_> = Frames::of(&piece)
            .map(|frame| frame.expect("fits"))
            .collect();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].kind, frames[0].sequence), (20, 7));
        assert_eq!(frames[0].body(), [1, 2, 3]);
        assert_eq!(frames[0].errno(), None);
        assert_eq!(frames[1].errno(), Some(2));
    }

    #[test]
    fn a_message_that_does_not_fit_is_the_last() {
        let mut piece = framed(20, 7, &[]);
        piece.extend(&framed(20, 8, &[0; 8])[..20]);
        let frames: Vec<_> = Frames::of(&piece).collect();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[1], Err(BadLength));
        assert_eq!(Frames::of(&[0; 16]).next(), Some(Err(BadLength)));
        assert_eq!(Frames::of(&[0; 3]).next(), Some(Err(BadLength)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_run_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Frames::of(&bytes).count() <= bytes.len());
        }
    }
}
