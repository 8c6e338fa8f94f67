//! Scenario files: each file of `tests/fixtures/scenarios/valid` resolves to the JSON beside it, each of `invalid` gives
//! the message beside it, the shipped scenarios are valid, and what is generated from the code is not stale.
//!
//! `C1M_BLESS=1 cargo test --test scenarios` writes the expected files anew; read the difference before committing it.

use std::fmt::Write as _;
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
    for (path, why) in [
        (path.as_path(), "too large for a scenario"),
        (Path::new("/dev/zero"), "this is no regular file"),
    ] {
        let errors = scenario::load(path, &[]).expect_err("not read");
        assert!(errors.to_string().contains(why), "{errors}");
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

/// The generated part of `docs/scenario.md` stands between these lines.
const BEGIN: &str = "<!-- generated from the schema; `C1M_BLESS=1 cargo test --test scenarios` writes it anew -->\n";
const END: &str = "<!-- end of the generated part -->\n";

#[test]
fn the_reference_of_keys_is_not_stale() {
    let path = root().join("docs/scenario.md");
    let text = fs::read_to_string(&path).expect("readable");
    let (before, rest) = text.split_once(BEGIN).expect("the beginning is marked");
    let (_, after) = rest.split_once(END).expect("the end is marked");
    compare(
        &path,
        &format!("{before}{BEGIN}{}{END}{after}", reference()),
    );
}

/// Every key of the schema as tables: one for each map.
fn reference() -> String {
    let schema = scenario::schema();
    let mut text = String::new();
    table(&schema, &schema, "", &mut text);
    text.push_str("\n### Settings by scope\n\n| Key | Map | Why there |\n|---|---|---|\n");
    for known in scenario::KNOWN_SETTINGS {
        let map = match known.scope {
            c1m::domain::SettingScope::Host => "host",
            c1m::domain::SettingScope::Namespace => "namespace",
        };
        writeln!(text, "| `{}` | {map} | {} |", known.key, known.note).expect("a String takes it");
    }
    text.push('\n');
    text
}

fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .map_or(schema, |reference| {
            root.pointer(reference.trim_start_matches('#'))
                .expect("a reference leads somewhere")
        })
}

fn table(root: &Value, schema: &Value, path: &str, text: &mut String) {
    let heading = if path.is_empty() {
        "The file".to_owned()
    } else {
        format!("`{path}`")
    };
    writeln!(
        text,
        "\n### {heading}\n\n| Key | Value | Meaning |\n|---|---|---|"
    )
    .expect("a String takes it");
    let properties = schema["properties"].as_object().expect("a map");
    let mut below = Vec::new();
    for (key, property) in properties {
        let target = resolved(root, property);
        let meaning = property
            .get("description")
            .or_else(|| target.get("description"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let meaning = meaning.replace(['\n', '|'], " ");
        writeln!(text, "| `{key}` | {} | {meaning} |", value(root, property))
            .expect("a String takes it");
        if path == "settings" {
            continue;
        }
        let name = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        maps_of(root, property, &name, &mut below);
    }
    for (name, map) in below {
        table(root, map, &name, text);
    }
}

/// The maps that may stand behind a key, each with its path. One whose only key has to be there is the word for a choice:
/// what stands behind that key counts.
fn maps_of<'s>(
    root: &'s Value,
    schema: &'s Value,
    name: &str,
    maps: &mut Vec<(String, &'s Value)>,
) {
    let target = resolved(root, schema);
    let (inner, name) = match target.get("items") {
        Some(items) => (resolved(root, items), format!("{name}[]")),
        None => (target, name.to_owned()),
    };
    let below = branches(root, inner);
    let all = if below.is_empty() { vec![inner] } else { below };
    for map in all {
        if map.get("items").is_some() {
            maps_of(root, map, &name, maps);
            continue;
        }
        let Some(keys) = map.get("properties").and_then(Value::as_object) else {
            continue;
        };
        match keys.iter().next() {
            Some((only, behind)) if keys.len() == 1 && map.get("required").is_some() => {
                maps_of(root, behind, &format!("{name}.{only}"), maps);
            }
            _ => maps.push((name.clone(), map)),
        }
    }
}

fn branches<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    ["anyOf", "oneOf"]
        .iter()
        .filter_map(|key| schema.get(key)?.as_array())
        .flatten()
        .map(|branch| resolved(root, branch))
        .flat_map(|branch| {
            let inner = branches(root, branch);
            if inner.is_empty() {
                vec![branch]
            } else {
                inner
            }
        })
        .collect()
}

/// What may stand behind a key, in a few words.
fn value(root: &Value, schema: &Value) -> String {
    let schema = resolved(root, schema);
    let branches = branches(root, schema);
    if !branches.is_empty() {
        let mut words: Vec<String> = branches.iter().map(|branch| value(root, branch)).collect();
        words.dedup();
        return words.join(", ");
    }
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return format!("`{word}`");
    }
    match schema.get("format").and_then(Value::as_str) {
        Some("count") => return "number".to_owned(),
        Some("duration") => return "time: `500ms`, `60s`, `5m`, `1h`".to_owned(),
        Some("rate") => return "`20000/s` or `as_fast_as_possible`".to_owned(),
        Some("switch") => return "yes, no".to_owned(),
        Some("bytes" | "template") => return "text".to_owned(),
        Some("setting") => return "value".to_owned(),
        _ => {}
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect();
        return words.join(", ");
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("integer") => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            _ => "number".to_owned(),
        },
        Some("number") => "number".to_owned(),
        Some("string") => "text".to_owned(),
        Some("array") => format!("list of: {}", value(root, &schema["items"])),
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            Some(keys) if keys.len() <= 3 => {
                let keys: Vec<String> = keys.keys().map(|key| format!("{key}: …")).collect();
                format!("`{{{}}}`", keys.join(", "))
            }
            _ => "map".to_owned(),
        },
        _ => "any".to_owned(),
    }
}
