//! Keeps the house: layers, homes of external crates, unsafe code in its room, a header on every file, short files, paths
//! that documents name, and the form of the changelog; circles of imports, marks of unfinished work and addresses of the web in
//! files of their own. An ordinary test over the source text.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/marks.rs"]
mod marks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up, each with the modules that it may import.
const LAYERS: [(&str, &[&str]); 15] = [
    ("domain", &[]),
    ("scenario", &["domain"]),
    ("control", &["domain"]),
    ("kernel", &["domain"]),
    ("protocol", &["domain"]),
    ("record", &["domain"]),
    ("plan", &["domain", "scenario"]),
    ("host", &["domain", "kernel"]),
    ("engine", &["domain", "kernel", "protocol"]),
    ("observe", &["domain", "kernel"]),
    ("report", &["domain", "record"]),
    (
        "provision",
        &["control", "domain", "host", "kernel", "plan"],
    ),
    (
        "worker",
        &["control", "domain", "engine", "host", "kernel", "observe"],
    ),
    (
        "run",
        &[
            "control",
            "domain",
            "host",
            "observe",
            "plan",
            "provision",
            "record",
            "scenario",
        ],
    ),
    (
        "cli",
        &[
            "control",
            "domain",
            "host",
            "observe",
            "plan",
            "provision",
            "record",
            "report",
            "run",
            "scenario",
            "worker",
        ],
    ),
];

/// External crates that do something, each with the paths below `src/` where it may be named.
const HOMES: [(&str, &[&str]); 21] = [
    ("anyhow", &["cli/"]),
    ("bollard", &["provision/docker/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    ("console", &["cli/"]),
    ("futures_util", &["provision/docker/", "engine/"]),
    ("hdrhistogram", &["engine/"]),
    ("indicatif", &["cli/"]),
    ("libc", &["kernel/"]),
    ("netlink_packet_core", &["kernel/netlink/"]),
    ("netlink_packet_route", &["kernel/netlink/"]),
    ("plotters", &["report/"]),
    ("rustix", &["kernel/", "record/directory.rs"]),
    ("schemars", &["domain/", "scenario/"]),
    ("serde_yaml", &["scenario/"]),
    ("signal_hook", &["run/interrupt.rs", "worker/", "cli/"]),
    ("socket2", &["kernel/", "engine/"]),
    ("tar", &["provision/docker/"]),
    ("tokio", &["engine/", "provision/docker/"]),
    ("tracing_subscriber", &["cli/"]),
];

/// Lines of a source file, tests at its end left out.
const LONGEST_FILE: usize = 500;

struct Source {
    /// Path below `src/`, with forward slashes.
    path: String,
    /// Its lines, without comments and without the tests at the end.
    code: Vec<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(below: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(below)
        .unwrap_or_else(|error| panic!("{}: {error}", below.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let source = root().join("src");
    let mut paths = Vec::new();
    files(&source, ".rs", &mut paths);
    assert!(
        paths.len() > 50,
        "the walk found only {} files",
        paths.len()
    );
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file");
            let code = text
                .lines()
                .take_while(|line| line.trim() != "#[cfg(test)]")
                .map(|line| line.split("//").next().unwrap_or_default().to_owned())
                .collect();
            let path = path
                .strip_prefix(&source)
                .expect("below src")
                .to_string_lossy()
                .into_owned();
            Source { path, code }
        })
        .collect()
}

fn module_of(path: &str) -> &str {
    path.split('/')
        .next()
        .unwrap_or_default()
        .trim_end_matches(".rs")
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Words that follow `marker` in `line`, up to the first character that cannot be part of a name.
fn names_after<'a>(line: &'a str, marker: &str) -> Vec<&'a str> {
    line.match_indices(marker)
        .filter(|(at, _)| {
            !line[..*at].ends_with(|before: char| before.is_alphanumeric() || before == '_')
        })
        .map(|(at, _)| {
            let rest = &line[at + marker.len()..];
            let end = rest
                .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

#[test]
fn imports_point_down_only() {
    let allowed: BTreeMap<_, _> = LAYERS.into_iter().collect();
    let mut wrong = Vec::new();
    for source in sources() {
        let here = module_of(&source.path);
        if matches!(here, "lib" | "main") {
            continue;
        }
        let may = allowed
            .get(here)
            .unwrap_or_else(|| panic!("module {here} has no place in the house"));
        for line in &source.code {
            for name in names_after(line, "crate::") {
                let known = allowed.contains_key(name);
                if known && name != here && !may.contains(&name) {
                    wrong.push(format!("{}: {here} must not import {name}", source.path));
                }
            }
            // Forms that would blind this test.
            if line.contains("use crate::{") || line.contains("super::super") {
                wrong.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_layers_have_no_cycle() {
    for (index, (module, may)) in LAYERS.iter().enumerate() {
        for other in *may {
            let at = LAYERS.iter().position(|(name, _)| name == other);
            assert!(
                at.is_some_and(|at| at < index),
                "{module} imports {other}, which is not below it"
            );
        }
    }
}

#[test]
fn each_external_crate_has_one_home() {
    let mut wrong = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !is_test_file(&source.path))
    {
        for (krate, homes) in HOMES {
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            let named = source.code.iter().any(|line| {
                let path = format!("{krate}::");
                line.match_indices(&path).any(|(at, _)| {
                    let before = line[..at].chars().last();
                    !before.is_some_and(|letter| letter.is_alphanumeric() || "_:".contains(letter))
                        || line[..at].ends_with("use ::")
                })
            });
            if named && !at_home {
                wrong.push(format!("{}: {krate} lives in {homes:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_home_is_lived_in() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut stale = Vec::new();
    for (krate, homes) in HOMES {
        let declared = manifest.lines().any(|line| {
            let name = line.split([' ', '=']).next().unwrap_or_default();
            name.replace('-', "_") == krate
        });
        if !declared {
            stale.push(format!("{krate} is no dependency"));
        }
        for home in homes {
            let lived_in = sources()
                .iter()
                .filter(|source| source.path.starts_with(home))
                .any(|source| source.code.iter().any(|line| line.contains(krate)));
            if !lived_in {
                stale.push(format!("nothing in src/{home} names {krate}"));
            }
        }
    }
    for (module, may) in LAYERS {
        let inside: Vec<_> = sources()
            .into_iter()
            .filter(|source| module_of(&source.path) == module)
            .collect();
        if inside.is_empty() {
            stale.push(format!("there is no module {module}"));
        }
        for other in may {
            let imports = inside
                .iter()
                .flat_map(|source| &source.code)
                .any(|line| names_after(line, "crate::").contains(other));
            if !imports {
                stale.push(format!("{module} imports nothing from {other}"));
            }
        }
    }
    assert!(stale.is_empty(), "stale entries:\n{}", stale.join("\n"));
}

#[test]
fn unsafe_code_stays_in_its_room() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|source| !source.path.starts_with("kernel/sys"))
        .filter(|source| {
            source
                .code
                .iter()
                .any(|line| line.contains("unsafe ") || line.contains("allow(unsafe_code)"))
        })
        .map(|source| source.path)
        .collect();
    assert!(wrong.is_empty(), "unsafe outside src/kernel/sys: {wrong:?}");
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches"] {
        if root().join(folder).exists() {
            files(&root().join(folder), ".rs", &mut paths);
        }
    }
    let mut wrong = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a source file");
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: no //! line", path.display()));
        }
        let lines = text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_that_documents_name_exist() {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    files(&root().join("docs"), ".md", &mut pages);
    files(&root().join("lab"), ".md", &mut pages);
    let mut wrong = Vec::new();
    for page in pages {
        // Reports of real runs speak of the machine that they were made on.
        if page.starts_with(root().join("docs/results")) {
            continue;
        }
        let text =
            fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        for (number, line) in text.lines().enumerate() {
            for word in line.split('`').skip(1).step_by(2) {
                // What follows is a test in the file.
                let word = word.split("::").next().unwrap_or_default();
                let ours = [
                    "src/", "tests/", "docs/", "lab/", "compose/", "benches/", ".ci/",
                ]
                .iter()
                .any(|folder| word.starts_with(folder));
                let plain =
                    !word.contains(['*', '<', '{', ' ', '…', '$']) && !word.contains("NAME");
                if ours && plain && !root().join(word).exists() {
                    wrong.push(format!("{}:{}: {word}", page.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "no such path:\n{}", wrong.join("\n"));
}

#[test]
fn the_changelog_keeps_its_form() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("a changelog");
    assert!(text.starts_with("# Changelog\n"));
    assert!(text.contains("\n## [Unreleased]\n"));
    for line in text.lines().filter(|line| line.starts_with("### ")) {
        assert!(
            [
                "Added",
                "Changed",
                "Deprecated",
                "Removed",
                "Fixed",
                "Security"
            ]
            .contains(&line.trim_start_matches("### ")),
            "heading {line:?} is none of Keep a Changelog"
        );
    }
}

/// A sentence of `docs/safety.md` is worth what its test is worth: each that it names is there.
#[test]
fn the_tests_that_the_page_on_safety_names_exist() {
    let page = fs::read_to_string(root().join("docs/safety.md")).expect("the page");
    let mut named = 0;
    let mut missing = Vec::new();
    for quoted in page.split('`').skip(1).step_by(2) {
        let Some((file, name)) = quoted.split_once(".rs::") else {
            continue;
        };
        named += 1;
        let file = if file.starts_with("src/") {
            root().join(format!("{file}.rs"))
        } else {
            root().join(format!("tests/{file}.rs"))
        };
        let text = fs::read_to_string(&file).unwrap_or_default();
        // A suite without the usual harness has a main function of its own, which calls its tests by name.
        let is_run = if text.contains("\nfn main()") {
            text.matches(name).count() > 1
        } else {
            text.contains("#[test]")
        };
        if !text.contains(&format!("fn {name}(")) || !is_run {
            missing.push(quoted);
        }
    }
    assert!(named > 30, "only {named} tests are named");
    assert!(missing.is_empty(), "no such test: {}", missing.join(", "));
}
