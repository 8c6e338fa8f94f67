//! Scenario files: each file of `tests/fixtures/scenarios/valid` resolves to the JSON beside it, each of `invalid` gives
//! the message beside it, the shipped scenarios are valid, and what is generated from the code is not stale.
//!
//! `C1M_BLESS=1 cargo test --test scenarios` writes the expected files anew; read the difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

use c1m::scenario::{self, Override, ScenarioErrors};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no scenario");
    files
}

/// Compares `found` with the file at `path`, or writes it there when blessing.
fn compare(path: &Path, found: &str) {
    if std::env::var_os("C1M_BLESS").is_some() {
        fs::write(path, found).expect("the expected file is written");
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{} is not as expected", path.display());
}

/// Messages name the file as it was given: without the folder of this checkout.
fn shown(path: &Path, errors: &ScenarioErrors) -> String {
    let folder = format!("{}/", path.parent().expect("a folder").display());
    format!("{errors}\n").replace(&folder, "")
}

#[test]
fn valid_files_resolve_as_expected() {
    for path in yaml_files("tests/fixtures/scenarios/valid") {
        let scenario = scenario::load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let json = serde_json::to_string_pretty(&scenario).expect("serialises");
        compare(&path.with_extension("json"), &format!("{json}\n"));
    }
}

#[test]
fn invalid_files_are_refused_with_every_error() {
    for path in yaml_files("tests/fixtures/scenarios/invalid") {
        let errors = scenario::load(&path, &[]).expect_err(&path.display().to_string());
        compare(&path.with_extension("txt"), &shown(&path, &errors));
    }
}

#[test]
fn shipped_scenarios_are_valid_and_name_their_schema() {
    let schema = scenario::schema();
    let validator = jsonschema::validator_for(&schema).expect("the schema is one");
    for path in yaml_files("lab/scenarios") {
        scenario::load(&path, &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let text = fs::read_to_string(&path).expect("readable");
        assert!(
            text.starts_with("# yaml-language-server: $schema=../schema/scenario.schema.json\n"),
            "{} does not name its schema",
            path.display()
        );
        let json: Value = serde_yaml::from_str(&text).expect("YAML");
        assert!(
            validator.is_valid(&json),
            "{} breaks the published schema",
            path.display()
        );
    }
}

#[test]
fn the_published_schema_is_not_stale() {
    let json = serde_json::to_string_pretty(&scenario::schema()).expect("serialises");
    compare(
        &root().join("lab/schema/scenario.schema.json"),
        &format!("{json}\n"),
    );
}

#[test]
fn every_scenario_has_a_row_in_the_table() {
    let table = fs::read_to_string(root().join("lab/README.md")).expect("readable");
    for path in yaml_files("lab/scenarios") {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            table.contains(&format!("`{name}`")),
            "lab/README.md does not list {name}"
        );
    }
}

#[test]
fn overrides_change_any_key_and_errors_point_at_them() {
    let set = |text: &str| Override::from_assignment(text).expect("an assignment");
    let path = root().join("lab/scenarios/article.yaml");
    let scenario = scenario::load(
        &path,
        &[
            Override::from_flag("--hold", "hold", &"5s"),
            set("clients.groups.1.interfaces=3"),
            set("settings.host.fs.file-max={at_least: 2000000}"),
            set("server.keepalive={idle: 1s, interval: 1s, probes: 1}"),
        ],
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(scenario.hold.as_secs(), 5);
    assert_eq!(scenario.clients[1].interfaces, 3);
    assert_eq!(scenario.host_settings.len(), 1);
    assert_eq!(scenario.connections.count(), 8 * 64_000);

    let errors = scenario::load(
        &path,
        &[
            set("hold=5"),
            set("sever.backlog=5"),
            set("clients.groups.9.hosts=1"),
            Override::from_flag("-n", "connections", &9_999_999),
            set("ramp={"),
        ],
    )
    .expect_err("four of them are wrong");
    compare(
        &root().join("tests/fixtures/scenarios/overrides.txt"),
        &shown(&path, &errors),
    );
}

#[test]
fn a_huge_file_and_an_endless_one_are_refused_unread() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("huge.yaml");
    let file = fs::File::create(&path).expect("a file");
    file.set_len(2 * 1024 * 1024 * 1024).expect("a sparse file");
    for path in [path.as_path(), Path::new("/dev/zero")] {
        let errors = scenario::load(path, &[]).expect_err("too large");
        assert!(
            errors.to_string().contains("too large for a scenario"),
            "{errors}"
        );
    }
}

#[test]
fn a_number_that_the_user_gave_is_not_reduced_unasked() {
    assert!(scenario::built_in_default().fit);
    let asked =
        scenario::built_in(&[Override::from_flag("-n", "connections", &5000)]).expect("valid");
    assert!(!asked.fit);
    assert_eq!(asked.connections.count(), 5000);
}
