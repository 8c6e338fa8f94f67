//! How the program answers to what is wrong on its command line and in its environment, and which scenarios travel with it.
//! Nothing is started here.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;

/// The program in an empty folder of its own.
fn c1m(arguments: &[&str]) -> (Command, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::cargo_bin("c1m").expect("the program");
    command
        .args(arguments)
        .env("C1M_RUNTIME_DIR", folder.path().join("runtime"))
        .current_dir(folder.path());
    (command, folder)
}

fn says(arguments: &[&str], code: i32, what: &str) {
    let (mut command, _folder) = c1m(arguments);
    let output = command.assert().code(code).get_output().clone();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains(what), "{arguments:?}: {text}");
}

#[test]
fn a_wrong_value_of_a_flag_is_a_wrong_command_line() {
    for verb in ["plan", "run", "doctor"] {
        says(&[verb, "-n", "0"], 2, "at least 1 connection");
        says(&[verb, "-n", "abc"], 2, "expected a whole number");
        says(&[verb, "--hold", "5"], 2, "did you mean 5s?");
        says(&[verb, "--hold", "1e300s"], 2, "a length of time");
        says(&[verb, "--place", "moon"], 2, "possible values");
        says(&[verb, "--set", "hold"], 2, "expected KEY=VALUE");
    }
    says(&["bench", "-n", "0"], 2, "at least 1 connection");
    says(&["bench", "--place", "moon"], 2, "possible values");
    says(
        &["plan", "-n", "9223372036854775808"],
        3,
        "-n 9223372036854775808: connections: ",
    );
}

/// What the user has to change is named: the variable, not the flag that stands for it.
#[test]
fn a_wrong_value_of_a_variable_is_blamed_on_the_variable() {
    for (variable, value, code) in [
        ("C1M_FIT", "banana", 2),
        ("C1M_CONNECTIONS", "abc", 2),
        ("C1M_CONNECTIONS", "99999999999999", 3),
        ("C1M_HOLD", "5", 2),
        ("C1M_PLACE", "moon", 2),
        ("C1M_SET", "hold", 2),
        ("C1M_SET", "hold=5", 3),
        ("C1M_QUIET", "perhaps", 2),
    ] {
        let (mut command, _folder) = c1m(&["plan"]);
        command
            .env(variable, value)
            .assert()
            .code(code)
            .stderr(predicate::str::contains(variable));
    }
    let (mut command, _folder) = c1m(&["plan", "--hold", "6"]);
    command
        .env("C1M_HOLD", "7s")
        .assert()
        .code(2)
        .stderr(predicate::str::contains("C1M_HOLD").not());
}

#[test]
fn a_process_that_is_not_there_is_not_observed() {
    says(
        &["observe", "--pid", "999999999", "--count", "1"],
        1,
        "there is no such process",
    );
}

/// The last variant is wrong: none has run.
#[test]
fn bench_finds_a_wrong_variant_before_the_first_run() {
    let wrong = "mine:server.engine=epol";
    for (variant, code, what) in [
        (wrong, 3, "did you mean `epoll`?"),
        ("mine", 2, "expected NAME:KEY=VALUE"),
        ("mine:hold", 2, "expected KEY=VALUE"),
        ("mine:connections=2000000000", 4, "variant mine"),
    ] {
        let (mut command, _folder) = c1m(&[
            "bench",
            "-n",
            "100",
            "--place",
            "loopback",
            "--rounds",
            "1",
            "--variant",
            variant,
        ]);
        command
            .assert()
            .code(code)
            .stderr(predicate::str::contains(what).and(predicate::str::contains("round 1").not()));
    }
}

#[test]
fn an_item_of_a_list_is_set_where_there_is_no_list_yet() {
    let (mut command, _folder) = c1m(&[
        "validate",
        "smoke",
        "--set",
        "clients.groups.0.hosts=3",
        "--format",
        "json",
    ]);
    let output = command.assert().code(0).get_output().stdout.clone();
    let found: Value = serde_json::from_slice(&output).expect("JSON");
    assert_eq!(found[0]["valid"]["clients"][0]["hosts"], 3);
    says(
        &["validate", "smoke", "--set", "clients.groups.1.hosts=3"],
        3,
        "`1` is no item of a list of 0",
    );
}

#[test]
fn every_scenario_of_the_lab_travels_with_the_program() {
    let (mut command, _folder) = c1m(&["scenarios", "--format", "json"]);
    let output = command.assert().code(0).get_output().stdout.clone();
    let rows: Vec<Value> = serde_json::from_slice(&output).expect("JSON");
    let mut listed: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    listed.sort_unstable();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/scenarios");
    let mut there: Vec<String> = fs::read_dir(&folder)
        .expect("is there")
        .map(|entry| entry.expect("an entry").path())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    there.sort_unstable();
    assert_eq!(listed, there);
    let (mut list, _folder) = c1m(&["scenarios"]);
    let list = list.assert().code(0).get_output().stdout.clone();
    let list = String::from_utf8(list).expect("text");
    for name in there {
        assert!(list.contains(&name), "{list}");
        says(&["validate", &name], 0, ": valid: ");
        let file = fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("readable");
        let (mut command, _folder) = c1m(&["scenarios", &name]);
        command.assert().code(0).stdout(file);
    }
}

/// A name is a scenario of the program; a path is a file, whatever it is called.
#[test]
fn a_file_wins_over_a_name_only_as_a_path() {
    let (mut named, folder) = c1m(&["validate", "smoke"]);
    fs::write(folder.path().join("smoke"), "connections: 77\n").expect("writes");
    fs::write(folder.path().join("smoke.yaml"), "connections: 78\n").expect("writes");
    fs::write(folder.path().join("mine"), "connections: 79\n").expect("writes");
    let is = |text: &'static str| predicate::str::contains(text);
    named.assert().code(0).stdout(is("valid: 1,000 "));
    for (path, expected) in [
        ("./smoke", "valid: 77 "),
        ("smoke.yaml", "valid: 78 "),
        ("mine", "valid: 79 "),
    ] {
        let (mut command, _other) = c1m(&["validate", path]);
        command
            .current_dir(folder.path())
            .assert()
            .code(0)
            .stdout(is(expected));
    }
    says(&["validate", "smok"], 3, "did you mean `smoke`?");
    says(&["validate", "./smok"], 3, "cannot open it");
}

#[test]
fn init_writes_a_scenario_once() {
    let (mut command, folder) = c1m(&["init", "mine"]);
    command.assert().code(0);
    let path = folder.path().join("mine.yaml");
    let again = |code: i32| {
        let (mut command, _other) = c1m(&["init", "mine.yaml"]);
        command.current_dir(folder.path()).assert().code(code);
    };
    fs::write(&path, "connections: 5\n").expect("writes");
    again(1);
    assert_eq!(
        fs::read_to_string(&path).expect("reads"),
        "connections: 5\n"
    );
    fs::remove_file(&path).expect("removes");
    std::os::unix::fs::symlink("elsewhere", &path).expect("a link");
    again(1);
    assert!(!folder.path().join("elsewhere").exists());
}

/// What the commented file says is what a file without any key would mean, and no key is left out.
#[test]
fn the_commented_file_says_the_defaults_and_every_key() {
    let (mut command, folder) = c1m(&["init"]);
    command.assert().code(0);
    let path = folder.path().join("scenario.yaml");
    let found = c1m::scenario::load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let default = c1m::scenario::built_in_default();
    let expected = c1m::scenario::Scenario {
        name: found.name.clone(),
        description: found.description.clone(),
        ..default
    };
    assert_eq!(found, expected);
    let text = fs::read_to_string(&path).expect("reads");
    let schema = c1m::scenario::schema();
    let keys = |part: &Value| -> Vec<String> {
        let properties = part["properties"].as_object().expect("keys");
        properties.keys().cloned().collect()
    };
    let mut all = keys(&schema);
    for part in ["RawRamp", "RawServer", "RawClients", "RawGroup"] {
        all.extend(keys(&schema["$defs"][part]));
    }
    // The name of the file is its name, and two keys are older forms of `service`.
    all.retain(|key| !["name", "accept", "read"].contains(&key.as_str()));
    for key in all {
        assert!(text.contains(&format!("{key}:")), "{key} is not in {text}");
    }
    // The keys that are switched off are right too.
    let uncommented: String = text
        .lines()
        .map(|line| {
            let before = line.len() - line.trim_start().len();
            match line[before..].strip_prefix('#') {
                Some(key) if !key.starts_with(' ') || key.starts_with("  ") => {
                    format!("{}{key}\n", &line[..before])
                }
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let full = c1m::scenario::parse(&uncommented, "full.yaml", &[])
        .unwrap_or_else(|errors| panic!("{errors}\n{uncommented}"));
    assert_eq!(full.thresholds.len(), 2, "{uncommented}");
    assert_eq!(full.clients[0].hosts, 2, "{uncommented}");
    assert_eq!(full.host_settings.len(), 1, "{uncommented}");
}

/// Names of files need not be UTF-8.
#[test]
fn a_path_that_is_no_text_is_a_path() {
    let odd = OsStr::from_bytes(b"f\xff\xfe.yaml");
    let (mut command, folder) = c1m(&["validate"]);
    fs::write(folder.path().join(odd), "connections: 80\n").expect("writes");
    command
        .arg(odd)
        .assert()
        .code(0)
        .stdout(predicate::str::contains("valid: 80 "));
    let (mut command, folder) = c1m(&["plan", "--place", "loopback"]);
    fs::write(folder.path().join(odd), "connections: 80\n").expect("writes");
    command.arg(odd).assert().code(0);
    let (mut command, _folder) = c1m(&["report"]);
    command
        .arg(odd)
        .assert()
        .code(1)
        .stderr(predicate::str::contains("is not a run directory"));
    let (mut command, _folder) = c1m(&["validate"]);
    command
        .arg(OsStr::from_bytes(b"\xff"))
        .assert()
        .code(3)
        .stdout(predicate::str::contains("cannot open it"));
}
