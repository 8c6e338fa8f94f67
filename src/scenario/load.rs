//! From a file, or a text, and what the command line overrides, to a scenario.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::check::{self, Finding};
use super::contradiction::Contradiction;
use super::error::{Origin, ScenarioError, ScenarioErrors};
use super::raw::RawScenario;
use super::resolve::{LONGEST_NAME, resolve};
use super::tree::{self, Content, Node, Place};
use super::{Scenario, schema};

/// A scenario file is text of some kilobytes: anything larger is something else.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The name of the scenario that no file says.
pub const DEFAULT_NAME: &str = "default";

/// A key that the command line sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The key, dotted from the top: `server.backlog`, `clients.groups.0.hosts`.
    pub key: String,
    /// The value, as YAML.
    pub value: String,
    /// How it was given, for messages: `--set hold=60s`, `-n 1000`.
    pub given_as: String,
}

impl Override {
    /// The override of `--set KEY=VALUE`.
    ///
    /// # Errors
    /// When there is no `=`, or nothing before it.
    pub fn from_assignment(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self {
                key: key.trim().to_owned(),
                value: value.trim().to_owned(),
                given_as: format!("--set {text}"),
            }),
            _ => Err(format!(
                "expected KEY=VALUE, such as hold=60s, not `{text}`"
            )),
        }
    }

    /// The override of another flag, such as `-n 1000`.
    #[must_use]
    pub fn from_flag(flag: &str, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        let value = value.to_string();
        Self {
            key: key.to_owned(),
            given_as: format!("{flag} {value}").trim_end().to_owned(),
            value,
        }
    }

    /// The keys from the top. Settings and thresholds are named with dots, so there the rest is one key.
    fn path(&self) -> Vec<String> {
        let named = ["settings.namespace.", "settings.host.", "thresholds."];
        let (head, last) = named
            .iter()
            .find_map(|head| {
                self.key
                    .strip_prefix(head)
                    .map(|last| (head.trim_end_matches('.'), Some(last)))
            })
            .unwrap_or((&self.key, None));
        head.split('.').chain(last).map(str::to_owned).collect()
    }
}

/// Loads the scenario of `path`, named after the file.
///
/// # Errors
/// Every error of the file and of the overrides, each with its place.
pub fn load(path: &Path, overrides: &[Override]) -> Result<Scenario, ScenarioErrors> {
    let file = path.display().to_string();
    let bytes =
        read_bounded(path).map_err(|(why, hint)| ScenarioErrors::whole(&file, why, hint))?;
    let text = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => {
            return Err(ScenarioErrors::whole(
                &file,
                "this is no text: a scenario is YAML in UTF-8",
                None,
            ));
        }
    };
    parse(&text, &file, overrides)
}

/// The bytes of a file of bounded size: a regular file, or what the shell has opened as stdin. A pipe that is named by its
/// path is refused: to open it would wait for ever where nobody writes.
fn read_bounded(path: &Path) -> Result<Vec<u8>, (String, Option<&'static str>)> {
    let meta = std::fs::metadata(path).map_err(|error| {
        let hint = (error.kind() == std::io::ErrorKind::NotFound)
            .then_some("`c1m scenarios` lists those that come with the program");
        (format!("cannot open it: {error}"), hint)
    })?;
    if meta.is_dir() {
        return Err((
            "this is a directory".to_owned(),
            Some("name one file of it"),
        ));
    }
    if !meta.is_file() && !opened_by_the_caller(path) {
        return Err((
            "this is no regular file".to_owned(),
            Some("name a file, or hand the text in by stdin and name /dev/stdin"),
        ));
    }
    let too_large = |size: String| {
        (
            format!("{size} is too large for a scenario: at most {LARGEST_FILE} bytes are read"),
            Some("is this the right file?"),
        )
    };
    if meta.len() > LARGEST_FILE {
        return Err(too_large(format!("{} bytes", meta.len())));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| (format!("cannot read it: {error}"), None))?;
    // A device or a pipe says nothing of its size beforehand.
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(too_large(format!("more than {LARGEST_FILE} bytes")));
    }
    Ok(bytes)
}

/// Whether `path` names a descriptor that this process already has: its writer is there, or was.
fn opened_by_the_caller(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

/// Reads the scenario in `text`; `file` names it in messages, and its stem names the scenario.
///
/// # Errors
/// Every error of the text and of the overrides, each with its place.
pub fn parse(text: &str, file: &str, overrides: &[Override]) -> Result<Scenario, ScenarioErrors> {
    let document = tree::read(text).map_err(|error| {
        let origin = error
            .place
            .map_or(Origin::File, |place| Origin::of(place, text, &[]));
        ScenarioErrors {
            file: file.to_owned(),
            errors: vec![ScenarioError {
                origin,
                key: String::new(),
                message: error.message,
                hint: error.hint,
            }],
        }
    })?;
    if document.content == Content::Scalar(Value::Null) {
        return Err(ScenarioErrors::whole(
            file,
            "the file is empty: a scenario has at least one key",
            Some(
                "for 1,024,000 connections write `connections: 1024000`, or run c1m without a file",
            ),
        ));
    }
    scenario(document, &name_of(file), text, file, overrides)
}

/// The name of the scenario in `file`, where the scenario itself says none.
fn name_of(file: &str) -> String {
    let stem = Path::new(file)
        .file_stem()
        .map_or_else(|| file.into(), std::ffi::OsStr::to_string_lossy);
    let name: String = stem
        .chars()
        .map(|letter| if letter.is_control() { '_' } else { letter })
        .take(LONGEST_NAME)
        .collect();
    if name.is_empty() {
        DEFAULT_NAME.to_owned()
    } else {
        name
    }
}

/// The scenario of a run without a file: 1,024,000 connections, or as many as fit, unless the overrides say otherwise. A
/// number that the user gave is not reduced unless the user says so.
///
/// # Errors
/// Every error of the overrides.
pub fn built_in(overrides: &[Override]) -> Result<Scenario, ScenarioErrors> {
    let document = Node {
        content: Content::Map(Vec::new()),
        place: Place::File {
            line: 1,
            column: 1,
            length: 1,
        },
    };
    let implied = !overrides
        .iter()
        .any(|set| matches!(set.key.as_str(), "connections" | "fit"));
    let scenario = scenario(
        document,
        DEFAULT_NAME,
        "",
        "the built-in scenario",
        overrides,
    )?;
    Ok(Scenario {
        fit: scenario.fit || implied,
        ..scenario
    })
}

fn scenario(
    mut document: Node,
    name: &str,
    text: &str,
    file: &str,
    overrides: &[Override],
) -> Result<Scenario, ScenarioErrors> {
    let given: Vec<String> = overrides.iter().map(|set| set.given_as.clone()).collect();
    let mut findings = Vec::new();
    for (index, set) in overrides.iter().enumerate() {
        findings.extend(apply(&mut document, index, set).err());
    }
    findings.extend(check::check(&document, schema::for_checking()));
    let errors = |findings: Vec<Finding>| {
        let mut errors: Vec<ScenarioError> = findings
            .into_iter()
            .map(|finding| ScenarioError {
                origin: Origin::of(finding.place, text, &given),
                key: finding.path.join("."),
                message: finding.message,
                hint: finding.hint,
            })
            .collect();
        errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        ScenarioErrors {
            file: file.to_owned(),
            errors,
        }
    };
    let mut json = document.to_json();
    if let Some(keys) = json.as_object_mut() {
        keys.retain(|key, _| !key.starts_with("x-"));
    }
    // What is wrong by itself is left out, so that what the rest contradicts is found in the same go.
    for finding in &findings {
        prune(&mut json, &finding.path);
    }
    match serde_json::from_value::<RawScenario>(json).map(|raw| resolve(raw, name)) {
        Ok(Ok(scenario)) if findings.is_empty() => return Ok(scenario),
        Ok(Err(contradictions)) => {
            let sound = |wrong: &Contradiction| !follows(wrong, &findings);
            let found: Vec<Finding> = contradictions
                .into_iter()
                .filter(sound)
                .map(|wrong| Finding {
                    place: document.place_of(&wrong.path),
                    path: wrong.path,
                    message: wrong.message,
                    hint: wrong.hint,
                })
                .collect();
            findings.extend(found);
        }
        // The schema lets through nothing that the types refuse; should it ever, this says so rather than panic.
        Err(error) if findings.is_empty() => {
            return Err(ScenarioErrors::whole(
                file,
                format!("the scenario cannot be read: {error}"),
                None,
            ));
        }
        Ok(Ok(_)) | Err(_) => {}
    }
    Err(errors(findings))
}

/// Takes what `path` leads to out of `json`, with maps that it leaves empty; an item of a list with its whole list, so that
/// the others keep their numbers.
fn prune(json: &mut Value, path: &[String]) {
    let (Some((first, rest)), Value::Object(keys)) = (path.split_first(), json) else {
        return;
    };
    let emptied = match keys.get_mut(first) {
        Some(child @ Value::Object(_)) if !rest.is_empty() => {
            prune(child, rest);
            child.as_object().is_some_and(serde_json::Map::is_empty)
        }
        _ => true,
    };
    if emptied {
        keys.remove(first);
    }
}

/// Whether a contradiction may only follow from what was left out.
fn follows(wrong: &Contradiction, findings: &[Finding]) -> bool {
    let counts = |top: &String| matches!(top.as_str(), "clients" | "server" | "connections");
    wrong.path.first().is_some_and(|top| top == "connections")
        && findings
            .iter()
            .any(|finding| finding.path.first().is_none_or(counts))
}

/// Puts the value of an override into the document.
fn apply(document: &mut Node, index: usize, set: &Override) -> Result<(), Finding> {
    let place = Place::Override(index);
    let wrong = |message: String| Finding {
        place,
        path: set.path(),
        message,
        hint: None,
    };
    let value = tree::read(&set.value).map_err(|error| wrong(error.message))?;
    document
        .set(&set.path(), value.moved_to(place))
        .map_err(wrong)
}
