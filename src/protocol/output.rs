//! Bytes that a protocol wants to be sent. Short ones lie on the stack of the thread that works, long ones on the heap.

/// Bytes that fit without the heap. An engine reads no more than this at once, so that an echo always fits.
const ROOM: usize = 2048;

/// The bytes.
#[derive(Debug)]
pub struct Output {
    short: [u8; ROOM],
    filled: usize,
    /// Everything, as soon as it is more than there is room for.
    long: Vec<u8>,
}

impl Output {
    /// Bytes that fit without the heap.
    pub const ROOM: usize = ROOM;

    /// No bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            short: [0; ROOM],
            filled: 0,
            long: Vec::new(),
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.long.is_empty() && bytes.len() <= ROOM - self.filled {
            self.short[self.filled..self.filled + bytes.len()].copy_from_slice(bytes);
            self.filled += bytes.len();
            return;
        }
        if self.long.is_empty() {
            self.long.extend_from_slice(&self.short[..self.filled]);
        }
        self.long.extend_from_slice(bytes);
    }

    /// What has been added since the last [`Output::clear`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.long.is_empty() {
            &self.short[..self.filled]
        } else {
            &self.long
        }
    }

    /// Forgets the bytes.
    pub fn clear(&mut self) {
        self.filled = 0;
        self.long.clear();
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_in_order_beyond_the_room() {
        let mut out = Output::new();
        let mut expected = Vec::new();
        for part in 0..9_u8 {
            let bytes = vec![part; 300];
            out.write(&bytes);
            expected.extend(bytes);
            assert_eq!(out.bytes(), expected);
        }
        assert!(expected.len() > Output::ROOM);
        out.clear();
        assert!(out.bytes().is_empty());
        out.write(b"again");
        assert_eq!(out.bytes(), b"again");
    }
}
