//! Reading a run directory again. A recording may be torn: the machine lost power, the disk was full, the run is still
//! going on. What is there is read; what is not is said.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::directory::read_regular;
use super::error::RecordError;
use super::layout::{EVENTS, FACTS, PLAN, RUN, RunIdentity, SAMPLES, SCHEMA_VERSION, SUMMARY};
use super::legacy::PlanOfVersion1;
use crate::domain::{Envelope, HostFacts, Reading, RunSummary, Sample};

/// Everything that a run has left.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Where it was read from.
    pub path: PathBuf,
    /// Which run.
    pub identity: Reading<RunIdentity>,
    /// The host as it was found.
    pub facts: Reading<HostFacts>,
    /// What the report must know of the plan.
    pub summary: Reading<RunSummary>,
    /// What happened, in order.
    pub events: Vec<Envelope>,
    /// What was seen, in order.
    pub samples: Vec<Sample>,
    /// What could not be read, one sentence each.
    pub damage: Vec<String>,
}

/// Reads a run directory. A torn last line is skipped; fields that are not known here are ignored; lines that cannot be
/// read are counted in [`Recording::damage`].
///
/// # Errors
/// When the directory is no run directory, cannot be read, or was written in a newer format.
pub fn read(dir: &Path) -> Result<Recording, RecordError> {
    let there = |name: &str| dir.join(name).exists();
    if !there(RUN) && !there(EVENTS) {
        return Err(RecordError::NotARun {
            path: dir.to_owned(),
        });
    }
    let identity: Reading<RunIdentity> = document(dir, RUN)?;
    if let Some(identity) = identity.present()
        && identity.schema_version > SCHEMA_VERSION
    {
        return Err(RecordError::Newer {
            path: dir.to_owned(),
            version: identity.schema_version,
            known: SCHEMA_VERSION,
        });
    }
    let mut damage = Vec::new();
    Ok(Recording {
        path: dir.to_owned(),
        identity,
        facts: document(dir, FACTS)?,
        summary: summary(dir)?,
        events: lines(dir, EVENTS, &mut damage)?,
        samples: lines(dir, SAMPLES, &mut damage)?,
        damage,
    })
}

/// The summary; in recordings of version 1 it is in the plan.
fn summary(dir: &Path) -> Result<Reading<RunSummary>, RecordError> {
    if dir.join(SUMMARY).exists() {
        return document(dir, SUMMARY);
    }
    let plan: Reading<PlanOfVersion1> = document(dir, PLAN)?;
    Ok(plan.map(RunSummary::from))
}

/// A document; a gap where it is missing or is none.
fn document<D: DeserializeOwned>(dir: &Path, name: &str) -> Result<Reading<D>, RecordError> {
    let Some(bytes) = bytes(dir, name)? else {
        return Ok(Reading::missing(format!("the run directory has no {name}")));
    };
    Ok(serde_json::from_slice(&bytes)
        .map_err(|error| format!("{name} cannot be read: {error}"))
        .into())
}

/// The lines that can be read.
fn lines<L: DeserializeOwned>(
    dir: &Path,
    name: &str,
    damage: &mut Vec<String>,
) -> Result<Vec<L>, RecordError> {
    let Some(bytes) = bytes(dir, name)? else {
        damage.push(format!("there is no {name}"));
        return Ok(Vec::new());
    };
    let mut unreadable = 0_usize;
    let mut whole = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(entry) => whole.push(entry),
            // Without its line feed it is the last line, and torn: it says nothing that the run's end does not say.
            Err(_) if line.last() != Some(&b'\n') => {
                damage.push(format!("the last line of {name} is torn"));
            }
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > 0 {
        damage.push(format!(
            "{unreadable} lines of {name} could not be read: a newer version wrote them, or they are damaged"
        ));
    }
    Ok(whole)
}

fn bytes(dir: &Path, name: &str) -> Result<Option<Vec<u8>>, RecordError> {
    let path = dir.join(name);
    match read_regular(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Read { path, source }),
    }
}
