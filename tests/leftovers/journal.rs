//! A journal that is not understood is kept, named, and ends every command that needs the host as it was found.

use std::fs;
use std::path::{Path, PathBuf};

use c1m::host::{Readers, Runtime};

use crate::engine::FakeEngine;
use crate::{alone, c1m};

const OWNER: &str =
    r#"{"journal":1,"run":"0badcafe","pid":1,"start_time":18446744073709551615,"boot_id":null}"#;
const ENTRY: &str = r#"{"object":{"kind":"nothing","name":"of ours"}}"#;

/// A runtime folder with a journal of this text.
fn journal(folder: &Path, text: &str) -> (PathBuf, PathBuf) {
    let path = folder.join("c1m");
    Runtime::at(&path, Readers::Owner).expect("makes it");
    let file = path.join("journal-0badcafe.jsonl");
    fs::write(&file, text).expect("writes");
    (path, file)
}

#[test]
fn a_journal_that_is_not_understood_is_kept_and_named() {
    let _alone = alone();
    let engine = FakeEngine::empty();
    let newer = OWNER.replace("\"journal\":1", "\"journal\":2");
    let texts = [
        (format!("{newer}\n{ENTRY}\n"), "format 2"),
        (format!("{{}}\n{ENTRY}\n"), "first line"),
        (format!("{OWNER}\n{{\"sysc\n{ENTRY}\n"), "line 2"),
        (format!("{OWNER}\n{ENTRY}\n{{\"later\":1}}\n"), "line 3"),
    ];
    for (text, why) in texts {
        let folder = tempfile::tempdir().expect("a folder");
        let (runtime, file) = journal(folder.path(), &text);
        let run = ["run", "-n", "10", "--place", "loopback"];
        let doctor = ["doctor", "-n", "10", "--place", "loopback"];
        for arguments in [&["restore"][..], &["clean"], &doctor, &run] {
            let kept = c1m(&runtime, &engine, arguments)
                .env("C1M_RESULTS_DIR", folder.path().join("results"))
                .assert()
                .code(9);
            let output = kept.get_output();
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            let name = file.display().to_string();
            assert!(
                said.contains(&name) && said.contains(why),
                "{arguments:?}: {said}"
            );
            assert_eq!(
                fs::read_to_string(&file).expect("is there"),
                text,
                "{arguments:?}"
            );
        }
        assert!(!folder.path().join("results").exists());
    }
}

#[test]
fn a_torn_last_line_is_no_change_that_was_made() {
    let _alone = alone();
    let engine = FakeEngine::empty();
    for text in [
        OWNER[..20].to_owned(),
        String::new(),
        format!("{OWNER}\n{{\"sysc"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (runtime, file) = journal(folder.path(), &text);
        c1m(&runtime, &engine, &["restore"]).assert().success();
        assert!(!file.exists(), "{text:?}");
    }
}

#[test]
fn looking_makes_and_undoes_nothing() {
    let _alone = alone();
    let engine = FakeEngine::empty();
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{OWNER}\n");
    let (runtime, file) = journal(folder.path(), &text);
    let run = ["run", "-n", "10", "--place", "loopback", "--dry-run"];
    let planned = c1m(&runtime, &engine, &run).assert().success();
    let said = String::from_utf8_lossy(&planned.get_output().stderr).into_owned();
    assert!(said.contains("run would first undo"), "{said}");
    c1m(&runtime, &engine, &["clean", "--dry-run"])
        .assert()
        .success();
    c1m(&runtime, &engine, &["restore", "--dry-run"])
        .assert()
        .success();
    c1m(
        &runtime,
        &engine,
        &["doctor", "-n", "10", "--place", "loopback"],
    )
    .assert()
    .code(9);
    assert_eq!(fs::read_to_string(&file).expect("is there"), text);
    assert!(!runtime.join("lock").exists(), "nobody took the lock");
    let absent = folder.path().join("absent");
    for arguments in [&run[..], &["clean", "--dry-run"], &["restore", "--dry-run"]] {
        c1m(&absent, &engine, arguments).assert().success();
        assert!(!absent.exists(), "{arguments:?}");
    }
}
