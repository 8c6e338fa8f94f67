//! The kernel's log as it grows, from `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`): of it only what bears on
//! connections, memory, files, connection tracking and neighbours. Reading never waits, and takes nothing away from other
//! readers. Containers and ordinary users often may not open it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::domain::KernelMessage;

/// Words that make a message worth keeping, in lower case.
const WORDS: [&str; 14] = [
    "tcp",
    "socket memory",
    "orphan",
    "oom",
    "out of memory",
    "killed process",
    "page allocation failure",
    "slub: unable to allocate",
    "file-max",
    "conntrack",
    "neighbor",
    "neighbour",
    "fd table",
    "too many open files",
];

/// A record has at most this many bytes (`PRINTK_MESSAGE_MAX`, 2048 since Linux 6.2; 8192 before).
const RECORD: usize = 8192;

/// At most so many messages are kept from one reading: the OOM killer's report alone has hundreds of lines.
const KEPT: usize = 100;

/// The log, from a moment on.
#[derive(Debug)]
pub struct KernelLog {
    file: File,
    record: Vec<u8>,
}

/// What came since the last reading.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct NewMessages {
    /// The messages that bear on us.
    pub messages: Vec<KernelMessage>,
    /// Whether the kernel wrote over messages before they were read.
    pub overrun: bool,
}

impl KernelLog {
    /// Opens `dev/kmsg` below `root`; what was logged before is left out.
    ///
    /// # Errors
    /// When it is not there or may not be read (`kernel.dmesg_restrict`, containers).
    pub fn open(root: &Path) -> io::Result<Self> {
        let mut file = open(&root.join("dev/kmsg"))?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self::over(file))
    }

    fn over(file: File) -> Self {
        Self {
            file,
            record: vec![0; RECORD],
        }
    }

    /// The messages since the last call. Where more came than are kept, the last one says how many were left out.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new_messages(&mut self) -> io::Result<NewMessages> {
        let mut messages = Vec::new();
        let mut overrun = false;
        let mut left_out = 0_u64;
        loop {
            match self.file.read(&mut self.record) {
                Ok(0) => break,
                Ok(length) => {
                    let text = String::from_utf8_lossy(&self.record[..length]);
                    for message in parse(&text).filter(concerns_us) {
                        if messages.len() < KEPT {
                            messages.push(message);
                        } else {
                            left_out += 1;
                        }
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => break,
                    // Records were overwritten before we came; the next read goes on with the oldest that is left.
                    io::ErrorKind::BrokenPipe => overrun = true,
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        if let (Some(last), 1..) = (messages.last(), left_out) {
            messages.push(KernelMessage {
                boot_seconds: last.boot_seconds,
                text: format!("({left_out} more messages left out)"),
            });
        }
        Ok(NewMessages { messages, overrun })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits())
        .expect("flags of open(2) fit into an int");
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Records `priority,sequence,microseconds,flags[,…];text`; lines that begin with a space belong to the record before.
fn parse(text: &str) -> impl Iterator<Item = KernelMessage> {
    text.lines().filter_map(|line| {
        let (prefix, text) = line.split_once(';')?;
        if prefix.starts_with(' ') {
            return None;
        }
        let microseconds: u64 = prefix.split(',').nth(2)?.parse().ok()?;
        Some(KernelMessage {
            boot_seconds: microseconds as f64 / 1e6,
            text: text.to_owned(),
        })
    })
}

fn concerns_us(message: &KernelMessage) -> bool {
    let text = message.text.to_ascii_lowercase();
    WORDS.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    const LOG: &str = "\
6,339,5140900,-;NET: Registered PF_INET6 protocol family
3,340,90110000,-;TCP: too many orphaned sockets
 SUBSYSTEM=net
 DEVICE=+net:eth0
6,341,90110007,c;TCP: out of memory -- consider tuning tcp_mem
4,342,91000000,-;mc invoked oom-killer: gfp_mask=0x140cca
3,343,91000100,-;Out of memory: Killed process 812 (mc) anon-rss:253056kB
6,344,92000000,-;VFS: file-max limit 1048576 reached
4,345,93000000,-;nf_conntrack: nf_conntrack: table full, dropping packet
6,346,94000000,-;neighbour: arp_cache: neighbor table overflow!
6,347,95000000,-;EXT4-fs (vda): mounted filesystem
";

    #[test]
    fn what_bears_on_connections_is_kept_with_its_time() {
        let kept: Vec<_> = parse(LOG).filter(concerns_us).collect();
        assert_eq!(kept.len(), 7);
        assert_eq!(kept[0].text, "TCP: too many orphaned sockets");
        assert!((kept[0].boot_seconds - 90.11).abs() < 1e-9);
        assert!(kept[6].text.contains("neighbor table overflow"));
    }

    #[test]
    fn only_what_comes_after_opening_is_read() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("dev")).unwrap();
        let path = root.path().join("dev/kmsg");
        fs::write(&path, "3,1,1000000,-;TCP: old\n").unwrap();
        let mut log = KernelLog::open(root.path()).unwrap();
        assert_eq!(log.new_messages().unwrap(), NewMessages::default());
        fs::write(&path, "3,1,1000000,-;TCP: old\n3,2,2000000,-;TCP: new\n").unwrap();
        let texts = log.new_messages().unwrap().messages;
        assert_eq!(texts.len(), 1);
        assert_eq!(texts[0].text, "TCP: new");
    }

    #[test]
    fn a_flood_is_cut_short_and_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kmsg");
        fs::write(&path, "3,2,2000000,-;TCP: x\n".repeat(KEPT + 5)).unwrap();
        let messages = KernelLog::over(open(&path).unwrap())
            .new_messages()
            .unwrap()
            .messages;
        assert_eq!(messages.len(), KEPT + 1);
        assert_eq!(messages[KEPT].text, "(5 more messages left out)");
    }

    #[test]
    fn a_missing_log_is_an_error_and_no_silence() {
        let root = tempfile::tempdir().unwrap();
        assert!(KernelLog::open(root.path()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in "\\PC*") {
            parse(&text).for_each(drop);
        }
    }
}
