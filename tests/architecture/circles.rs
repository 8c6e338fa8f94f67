//! Circles: no two files below `src/` import from each other, unless one holds the other as its module. Paths are followed
//! through re-exports to the file that has the item.

use std::collections::{BTreeMap, BTreeSet};

use super::{is_test_file, sources};

/// For each module that is a file, by its path such as `plan::budget`: where the names come from that it hands on.
type HandedOn = BTreeMap<String, BTreeMap<String, String>>;

/// The module that `path` below `src/` is.
fn module_at(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.replace('/', "::")
}

/// Every path that a use tree such as `a::{b, c::d as e}` names.
fn paths_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((before, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.trim().to_owned()];
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in inside.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("never empty").push(letter);
    }
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| paths_of(part))
        .map(|path| format!("{before}{path}"))
        .collect()
}

/// The use trees of `code`, each with whether it hands its names on; and the rest of the code.
fn use_trees(code: &[String]) -> (Vec<(String, bool)>, String) {
    let mut trees = Vec::new();
    let mut rest = String::new();
    let mut open: Option<(String, bool)> = None;
    for line in code {
        if open.is_none() {
            let words = line.trim_start();
            let (public, words) = match words.strip_prefix("pub") {
                Some(words) => (true, words.trim_start_matches(|letter| letter != ' ')),
                None => (false, words),
            };
            if let Some(tree) = words.trim_start().strip_prefix("use ") {
                open = Some((tree.to_owned(), public));
            } else {
                rest.push_str(line);
                rest.push('\n');
            }
        } else if let Some((tree, _)) = &mut open {
            tree.push_str(line.trim());
        }
        if let Some((tree, public)) = open.take() {
            match tree.split_once(';') {
                Some((tree, _)) => trees.push((tree.to_owned(), public)),
                None => open = Some((tree, public)),
            }
        }
    }
    (trees, rest)
}

/// Paths in `code` that begin with `crate`, `super` or `self`.
fn paths_in(code: &str) -> Vec<String> {
    code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
        .filter(|word| {
            ["crate::", "super::", "self::"]
                .iter()
                .any(|start| word.starts_with(start))
        })
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect()
}

fn joined(module: &str, name: &str) -> String {
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}::{name}")
    }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// The module that has what `path` names, seen from `here`; nothing for a path to elsewhere.
fn home_of(
    here: &str,
    path: &str,
    files: &BTreeSet<String>,
    handed_on: &HandedOn,
) -> Option<String> {
    let mut names = path.split("::").map(str::trim).peekable();
    let mut at = match *names.peek()? {
        "crate" => {
            names.next();
            String::new()
        }
        "self" => {
            names.next();
            here.to_owned()
        }
        "super" => {
            let mut at = here;
            while names.peek() == Some(&"super") {
                names.next();
                at = parent(at);
            }
            at.to_owned()
        }
        name if files.contains(&joined(here, name)) => here.to_owned(),
        _ => return None,
    };
    for name in names {
        if files.contains(&joined(&at, name)) {
            at = joined(&at, name);
            continue;
        }
        let mut seen = BTreeSet::new();
        while let Some(from) = handed_on.get(&at).and_then(|names| names.get(name)) {
            if !seen.insert(at.clone()) {
                break;
            }
            at.clone_from(from);
        }
        break;
    }
    (!at.is_empty()).then_some(at)
}

/// What each file imports from other files, those that hold it or that it holds left out.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut trees = BTreeMap::new();
    for source in sources() {
        if !is_test_file(&source.path) && !matches!(source.path.as_str(), "lib.rs" | "main.rs") {
            trees.insert(module_at(&source.path), use_trees(&source.code));
        }
    }
    let files: BTreeSet<String> = trees.keys().cloned().collect();
    let mut handed_on = HandedOn::new();
    for (module, (trees, _)) in &trees {
        for (tree, _) in trees.iter().filter(|(_, public)| *public) {
            for path in paths_of(tree) {
                let Some((from, name)) = path.rsplit_once("::") else {
                    continue;
                };
                if let Some(from) = home_of(module, from, &files, &HandedOn::new()) {
                    handed_on
                        .entry(module.clone())
                        .or_default()
                        .insert(name.to_owned(), from);
                }
            }
        }
    }
    let holds = |one: &str, other: &str| other.starts_with(&format!("{one}::"));
    trees
        .iter()
        .map(|(module, (trees, rest))| {
            let mut paths: Vec<String> =
                trees.iter().flat_map(|(tree, _)| paths_of(tree)).collect();
            paths.extend(paths_in(rest));
            let from = paths
                .iter()
                .filter_map(|path| home_of(module, path, &files, &handed_on))
                .filter(|from| from != module && !holds(from, module) && !holds(module, from))
                .collect();
            (module.clone(), from)
        })
        .collect()
}

#[test]
fn no_two_files_import_from_each_other() {
    let imports = imports();
    assert!(
        imports.values().map(BTreeSet::len).sum::<usize>() > 300,
        "the walk found hardly an import"
    );
    let mut circles = BTreeSet::new();
    for start in imports.keys() {
        // The shortest way back.
        let mut ways = vec![vec![start]];
        let mut seen = BTreeSet::new();
        'search: while !ways.is_empty() {
            let mut longer = Vec::new();
            for way in &ways {
                for next in way
                    .last()
                    .and_then(|last| imports.get(*last))
                    .into_iter()
                    .flatten()
                {
                    if next == start {
                        let mut circle: Vec<&str> = way.iter().map(|name| name.as_str()).collect();
                        circle.sort_unstable();
                        circles.insert(circle.join(" and "));
                        break 'search;
                    }
                    if seen.insert(next) {
                        longer.push(way.iter().copied().chain([next]).collect());
                    }
                }
            }
            ways = longer;
        }
    }
    let circles: Vec<_> = circles.into_iter().collect();
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn use_trees_are_read_as_the_compiler_reads_them() {
    let code = [
        "use super::a;",
        "pub(super) use b::{",
        "    C, d::{E as F, self},",
        "};",
        "let x = super::g::H;",
    ];
    let code: Vec<String> = code.iter().map(|line| (*line).to_owned()).collect();
    let (trees, rest) = use_trees(&code);
    let paths: Vec<_> = trees
        .iter()
        .flat_map(|(tree, public)| paths_of(tree).into_iter().map(move |path| (path, *public)))
        .collect();
    let expected = [
        ("super::a", false),
        ("b::C", true),
        ("b::d::E", true),
        ("b::d::self", true),
    ];
    let expected = expected.map(|(path, public)| (path.to_owned(), public));
    assert_eq!(paths, expected);
    assert_eq!(paths_in(&rest), ["super::g::H"]);
}
