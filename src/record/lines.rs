//! A file that grows by whole lines. When a line could be written only in part, because the disk is full, the part is
//! taken back, so that the next line does not grow out of it.

use std::fs::File;
use std::io::{self, Write};

/// A file of lines.
#[derive(Debug)]
pub(super) struct LineFile {
    file: File,
    /// Bytes of whole lines.
    length: u64,
}

impl LineFile {
    /// A file whose writes go to its end.
    pub(super) fn of(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Appends one line; `line` ends with its line feed. One write(2) for each, so that a reader never sees less than a
    /// line but at the very end.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        match self.file.write_all(line) {
            Ok(()) => {
                self.length += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Shrinking needs no space. Should it fail all the same, the reader skips the torn line.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }

    /// Bytes written so far.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// Puts everything on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_an_error_of_its_kind() {
        let full = File::options().append(true).open("/dev/full");
        let mut lines = LineFile::of(full.expect("opens")).expect("is looked at");
        let error = lines.append(b"{}\n").expect_err("is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(lines.length(), 0);
    }
}
