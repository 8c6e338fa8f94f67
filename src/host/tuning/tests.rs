//! For any point at which a run or a recovery dies, the originals come back; what is not ours is left alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::domain::{SettingScope, SettingValue};
use crate::host::{Durable, Readers, Recovery, recover_with};
use crate::kernel::identity::ProcessIdentity;
use crate::kernel::sysctl::Sysctl;

/// Burns down by one with each operation on the outside world; when it is down, nothing works any more.
#[derive(Clone)]
struct Fuse(Arc<AtomicUsize>);

impl Fuse {
    fn of(operations: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(operations)))
    }

    fn burn(&self) -> io::Result<()> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .map(|_| ())
            .map_err(|_| io::Error::other("dead"))
    }
}

struct FusedStore(Sysctl, Fuse);

impl SettingStore for FusedStore {
    fn read(&self, key: &str) -> io::Result<String> {
        self.1.burn()?;
        self.0.read(key)
    }

    fn write(&self, key: &str, value: &str) -> io::Result<()> {
        self.1.burn()?;
        self.0.write(key, value)
    }
}

/// A file whose last write before the end gets only a part of its bytes to the disk.
struct FusedFile(File, Fuse, usize);

impl Write for FusedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(dead) = self.1.burn() {
            let part = bytes.len().min(std::mem::take(&mut self.2));
            self.0.write_all(&bytes[..part])?;
            return Err(dead);
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Durable for FusedFile {
    fn sync(&mut self) -> io::Result<()> {
        self.1.burn()
    }
}

/// A host of plain files.
struct Host {
    _folder: TempDir,
    root: PathBuf,
    runtime: Runtime,
}

impl Host {
    fn with(values: &BTreeMap<String, String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("sys");
        fs::create_dir_all(root.join("kernel/random")).expect("makes folders");
        fs::write(root.join("kernel/random/boot_id"), "this-boot\n").expect("writes");
        for (key, value) in values {
            fs::write(root.join(key), value).expect("writes");
        }
        let runtime = Runtime::at(folder.path().join("run"), Readers::Owner).expect("makes it");
        Self {
            _folder: folder,
            root,
            runtime,
        }
    }

    fn sysctl(&self) -> Sysctl {
        Sysctl::below(&self.root)
    }

    fn values(&self, keys: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let read = |key: &String| (key.clone(), self.sysctl().read(key).expect("reads"));
        keys.keys().map(read).collect()
    }

    /// The settings of a run in a process that is not there any more.
    fn run(&self, fuse: &Fuse, torn_at: usize) -> Tuning {
        let file_fuse = fuse.clone();
        Tuning::with_parts(
            &self.runtime,
            dead_owner("this-boot"),
            Box::new(FusedStore(self.sysctl(), fuse.clone())),
            no_objects,
            Box::new(move |file| Box::new(FusedFile(file, file_fuse.clone(), torn_at))),
        )
    }

    fn recover(&self) -> Vec<crate::host::Recovered> {
        match recover_with(&self.runtime, &self.sysctl(), no_objects).expect("recovers") {
            Recovery::Done(recovered) => recovered,
            Recovery::LiveRun(who) => panic!("nobody lives: {who}"),
        }
    }

    fn journals(&self) -> Vec<PathBuf> {
        fs::read_dir(self.runtime.path())
            .expect("lists")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
            .collect()
    }
}

fn dead_owner(boot: &str) -> JournalOwner {
    JournalOwner {
        journal: 1,
        run: RunId::from_random(1),
        pid: 1,
        start_time: Some(u64::MAX),
        boot_id: Some(boot.to_owned()),
        pid_namespace: None,
        time_namespace: None,
        uid: None,
    }
}

fn no_objects(kind: &str, name: &str) -> Result<(), String> {
    Err(format!("nobody made {kind} {name}"))
}

fn change(key: &str, wanted: SettingValue) -> SettingChange {
    SettingChange {
        key: key.to_owned(),
        scope: SettingScope::Host,
        wanted,
        reason: "a test wants it".to_owned(),
    }
}

fn originals() -> impl Strategy<Value = BTreeMap<String, String>> {
    proptest::collection::vec(0..100_u32, 4).prop_map(|values| {
        let named = values.into_iter().enumerate();
        named
            .map(|(n, value)| (format!("key{n}"), value.to_string()))
            .collect()
    })
}

fn changes() -> impl Strategy<Value = Vec<SettingChange>> {
    let wanted = prop_oneof![
        (0..200_u64).prop_map(SettingValue::AtLeast),
        (0..200_u32).prop_map(|value| SettingValue::Exactly(value.to_string())),
    ];
    // key4 does not exist: one missing key must not matter.
    let one = (0..5_usize, wanted).prop_map(|(n, wanted)| change(&format!("key{n}"), wanted));
    proptest::collection::vec(one, 1..8)
}

proptest! {
    // Each case syncs real files.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whenever_a_run_dies_the_originals_come_back(
        originals in originals(),
        changes in changes(),
        dies_after in 0..60_usize,
        torn_at in 0..200_usize,
    ) {
        let host = Host::with(&originals);
        let mut settings = host.run(&Fuse::of(dies_after), torn_at);
        settings.apply(&changes);
        // A killed process drops nothing.
        std::mem::forget(settings);
        for recovered in host.recover() {
            prop_assert!(recovered.restoration.is_complete(), "{recovered:?}");
        }
        prop_assert_eq!(host.values(&originals), originals);
        prop_assert!(host.journals().is_empty());
    }

    #[test]
    fn whenever_a_recovery_dies_the_next_one_finishes_it(
        originals in originals(),
        changes in changes(),
        dies_after in 0..20_usize,
    ) {
        let host = Host::with(&originals);
        let mut settings = host.run(&Fuse::of(usize::MAX), 0);
        settings.apply(&changes);
        std::mem::forget(settings);
        let kept: Vec<(PathBuf, Vec<u8>)> = host
            .journals()
            .into_iter()
            .map(|path| { let bytes = fs::read(&path).expect("reads"); (path, bytes) })
            .collect();
        let dying = FusedStore(host.sysctl(), Fuse::of(dies_after));
        recover_with(&host.runtime, &dying, no_objects).expect("recovers what it can");
        // Dead before the journal was removed.
        for (path, bytes) in kept {
            fs::write(path, bytes).expect("writes");
        }
        host.recover();
        prop_assert_eq!(host.values(&originals), originals);
        prop_assert!(host.journals().is_empty());
    }

    #[test]
    fn a_run_that_ends_puts_everything_back_in_reverse_order(
        originals in originals(),
        changes in changes(),
    ) {
        let host = Host::with(&originals);
        let mut settings = host.run(&Fuse::of(usize::MAX), 0);
        let records = settings.apply(&changes);
        let restoration = settings.restore();
        prop_assert!(restoration.is_complete());
        prop_assert_eq!(host.values(&originals), originals);
        prop_assert!(host.journals().is_empty());
        let mut touched: Vec<&String> = Vec::new();
        for record in records.iter().filter(|record| record.changed) {
            if !touched.contains(&&record.change.key) {
                touched.push(&record.change.key);
            }
        }
        let restored: Vec<&String> = restoration.settings.iter().rev().map(|(key, _)| key).collect();
        prop_assert_eq!(restored, touched);
    }
}

fn to_twenty() -> Vec<SettingChange> {
    vec![change("key0", SettingValue::AtLeast(20))]
}

fn host_with_one(value: &str) -> (Host, BTreeMap<String, String>) {
    let originals = BTreeMap::from([("key0".to_owned(), value.to_owned())]);
    (Host::with(&originals), originals)
}

#[test]
fn a_value_that_somebody_else_wrote_is_reported_and_left_alone() {
    let (host, _) = host_with_one("10");
    let mut settings = host.run(&Fuse::of(usize::MAX), 0);
    settings.apply(&to_twenty());
    host.sysctl().write("key0", "30").expect("writes");
    let restoration = settings.restore();
    let expected = RestoreOutcome::ChangedByOthers("30".to_owned());
    assert_eq!(restoration.settings, [("key0".to_owned(), expected)]);
    assert_eq!(host.sysctl().read("key0").expect("reads"), "30");
}

#[test]
fn a_value_that_is_large_enough_needs_no_journal() {
    let (host, _) = host_with_one("50");
    let mut settings = host.run(&Fuse::of(usize::MAX), 0);
    let records = settings.apply(&to_twenty());
    assert!(!records[0].changed);
    assert_eq!(records[0].error, None);
    assert!(host.journals().is_empty());
}

#[test]
fn a_panic_puts_everything_back() {
    let (host, originals) = host_with_one("10");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut settings = host.run(&Fuse::of(usize::MAX), 0);
        settings.apply(&to_twenty());
        assert_eq!(host.sysctl().read("key0").expect("reads"), "20");
        panic!("as a defect would");
    }));
    assert!(result.is_err());
    assert_eq!(host.values(&originals), originals);
}

#[test]
fn a_journal_of_another_boot_is_dropped_with_a_note() {
    let (host, _) = host_with_one("10");
    let mut settings = Tuning::with_parts(
        &host.runtime,
        dead_owner("another-boot"),
        Box::new(host.sysctl()),
        no_objects,
        Box::new(|file| Box::new(file)),
    );
    settings.apply(&to_twenty());
    std::mem::forget(settings);
    let recovered = host.recover();
    assert!(
        recovered[0]
            .dropped
            .as_ref()
            .expect("dropped")
            .contains("another boot")
    );
    assert_eq!(host.sysctl().read("key0").expect("reads"), "20");
    assert!(host.journals().is_empty());
}

#[test]
fn nothing_is_undone_while_a_run_is_under_way() {
    let (host, _) = host_with_one("10");
    let lock = Lock::take(&host.runtime, None).expect("takes it");
    let mut settings = host.run(&Fuse::of(usize::MAX), 0);
    settings.apply(&to_twenty());
    let found = recover_with(&host.runtime, &host.sysctl(), no_objects).expect("looks");
    assert!(matches!(found, Recovery::LiveRun(_)));
    assert_eq!(host.sysctl().read("key0").expect("reads"), "20");
    drop(lock);
    assert!(settings.restore().is_complete());
}

/// The lock's file may have been removed under it.
#[test]
fn nothing_is_undone_while_it_cannot_be_told_whether_a_run_is_under_way() {
    let (host, _) = host_with_one("10");
    let own = ProcessIdentity::current();
    // Process 1 is there, and of another time namespace nobody knows when it began.
    let elsewhere = JournalOwner {
        pid_namespace: own.pid_namespace,
        time_namespace: Some(1),
        ..dead_owner("this-boot")
    };
    let mut settings = Tuning::with_parts(
        &host.runtime,
        elsewhere,
        Box::new(host.sysctl()),
        no_objects,
        Box::new(|file| Box::new(file)),
    );
    settings.apply(&to_twenty());
    let found = recover_with(&host.runtime, &host.sysctl(), no_objects).expect("looks");
    assert!(matches!(found, Recovery::LiveRun(_)), "{found:?}");
    assert_eq!(host.sysctl().read("key0").expect("reads"), "20");
    assert!(settings.restore().is_complete());
}

/// As a kernel that rounds up to a power of two.
struct Rounding(Sysctl);

impl SettingStore for Rounding {
    fn read(&self, key: &str) -> io::Result<String> {
        self.0.read(key)
    }

    fn write(&self, key: &str, value: &str) -> io::Result<()> {
        let number: u64 = value.parse().map_err(io::Error::other)?;
        self.0.write(key, &number.next_power_of_two().to_string())
    }
}

#[test]
fn a_value_that_the_kernel_rounded_is_still_ours() {
    let (host, originals) = host_with_one("16");
    let mut settings = Tuning::with_parts(
        &host.runtime,
        dead_owner("this-boot"),
        Box::new(Rounding(host.sysctl())),
        no_objects,
        Box::new(|file| Box::new(file)),
    );
    let records = settings.apply(&[change("key0", SettingValue::AtLeast(100))]);
    assert_eq!(records[0].in_force.as_deref(), Some("128"));
    std::mem::forget(settings);
    assert!(host.recover()[0].restoration.is_complete());
    assert_eq!(host.values(&originals), originals);
}

#[test]
fn an_object_that_could_not_be_removed_keeps_its_journal() {
    fn remove(kind: &str, name: &str) -> Result<(), String> {
        match (kind, name) {
            ("table", "c1m-00000001") => Ok(()),
            _ => Err(format!("nobody made {kind} {name}")),
        }
    }
    let (host, _) = host_with_one("10");
    let mut settings = host.run(&Fuse::of(usize::MAX), 0);
    settings
        .note_object("table", "c1m-00000001")
        .expect("notes it");
    let restoration = settings.restore();
    assert!(!restoration.is_complete());
    assert_eq!(host.journals().len(), 1);
    let found = recover_with(&host.runtime, &host.sysctl(), remove).expect("recovers");
    assert!(matches!(found, Recovery::Done(all) if all[0].restoration.is_complete()));
    assert!(host.journals().is_empty());
}

#[test]
fn the_journal_is_the_owners_alone() {
    use std::os::unix::fs::MetadataExt;
    let (host, _) = host_with_one("10");
    let mut settings = host.run(&Fuse::of(usize::MAX), 0);
    settings.apply(&to_twenty());
    let mode = |path: &Path| path.metadata().expect("is there").mode() & 0o777;
    assert_eq!(mode(&host.journals()[0]), 0o600);
}
