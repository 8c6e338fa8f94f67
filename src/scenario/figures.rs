//! The figures that a threshold may bound: every number of `result.json`, found in the schema of its type.

use schemars::schema_for;
use serde_json::Value;

use crate::domain::RunResult;

/// What a figure of a map of figures is called here: any key may stand in its place.
const ANY: &str = "*";

/// The dotted paths of all figures; a part that may be anything is `*`.
pub(super) fn figures() -> Vec<String> {
    let schema = schema_for!(RunResult).to_value();
    let mut figures = Vec::new();
    collect(&schema, &schema, "", &mut figures);
    figures
}

/// Whether `name` is one of `figures`.
pub(super) fn is_figure(name: &str, figures: &[String]) -> bool {
    figures.iter().any(|figure| match figure.strip_suffix(ANY) {
        Some(head) => name.len() > head.len() && name.starts_with(head),
        None => figure == name,
    })
}

fn collect(root: &Value, schema: &Value, path: &str, figures: &mut Vec<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or(&Value::Null);
        return collect(root, target, path, figures);
    }
    for branch in schema
        .get("anyOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        collect(root, branch, path, figures);
    }
    let types = schema.get("type");
    let is = |name: &str| match types {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    };
    if is("number") || is("integer") {
        figures.push(path.to_owned());
    }
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    for (key, part) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        collect(root, part, &below(key), figures);
    }
    if let Some(part) = schema
        .get("additionalProperties")
        .filter(|part| part.is_object())
    {
        collect(root, part, &below(ANY), figures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_issue_are_found() {
        let figures = figures();
        for name in [
            "connections.held",
            "ramp.rate_per_second",
            "memory.server.bytes_per_connection",
            "ramp.connect_latency_microseconds.p99",
            "elapsed_seconds.ramp",
        ] {
            assert!(is_figure(name, &figures), "{name} is not among {figures:?}");
        }
        for name in ["connections", "verdict", "ramp.rate"] {
            assert!(!is_figure(name, &figures), "{name}");
        }
    }
}
