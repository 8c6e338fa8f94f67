//! Checks a document against the JSON schema that is generated from `raw.rs`, and collects everything that is wrong: what
//! an editor underlines and what this program refuses cannot drift apart. Only what that schema uses is understood here.

use serde_json::{Map, Value};

use super::quantity;
use super::settings;
use super::suggest::did_you_mean;
use super::tree::{Content, Key, Node, Place};

/// Something that is wrong at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) place: Place,
    /// The keys from the top.
    pub(super) path: Vec<String>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Everything in `document` that `schema` does not allow.
pub(super) fn check(document: &Node, schema: &Value) -> Vec<Finding> {
    let mut checker = Checker {
        root: schema,
        path: Vec::new(),
        findings: Vec::new(),
    };
    checker.node(document, schema);
    checker.findings
}

struct Checker<'s> {
    root: &'s Value,
    path: Vec<String>,
    findings: Vec<Finding>,
}

impl<'s> Checker<'s> {
    fn found(&mut self, place: Place, message: String, hint: Option<String>) {
        self.findings.push(Finding {
            place,
            path: self.path.clone(),
            message,
            hint,
        });
    }

    /// The schema that a reference stands for.
    fn resolved(&self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        while let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let pointer = reference.trim_start_matches('#');
            schema = self.root.pointer(pointer).unwrap_or(&Value::Null);
        }
        schema
    }

    fn node(&mut self, node: &Node, schema: &'s Value) {
        let schema = self.resolved(schema);
        if let Some(branches) = ["anyOf", "oneOf"]
            .iter()
            .find_map(|key| schema.get(key))
            .and_then(Value::as_array)
        {
            return self.branches(node, branches);
        }
        if let Some(format) = schema.get("format").and_then(Value::as_str)
            && let Err(expected) = quantity::check(format, &shallow(node))
        {
            return self.found(node.place, expected, None);
        }
        if let Some(word) = schema.get("const") {
            if shallow(node) != *word {
                self.found(
                    node.place,
                    format!("expected {}, not {}", shown(word), shown_node(node)),
                    None,
                );
            }
            return;
        }
        if !type_fits(node, schema) {
            return self.found(
                node.place,
                format!(
                    "expected {}, not {}",
                    Self::describe(schema),
                    shown_node(node)
                ),
                None,
            );
        }
        match &node.content {
            Content::Map(entries) => self.map(node.place, entries, schema),
            Content::List(items) => self.list(node.place, items, schema),
            Content::Scalar(Value::Number(number)) => {
                self.range(node.place, number.as_f64(), schema);
            }
            Content::Scalar(_) => {}
        }
    }

    /// One of several shapes: the words, and at most one shape for each type of value.
    fn branches(&mut self, node: &Node, branches: &'s [Value]) {
        let branches: Vec<&'s Value> = branches
            .iter()
            .map(|branch| self.resolved(branch))
            .flat_map(|branch| self.flattened(branch))
            .collect();
        let value = shallow(node);
        let words: Vec<&str> = branches.iter().flat_map(|branch| words(branch)).collect();
        if value.as_str().is_some_and(|text| words.contains(&text)) {
            return;
        }
        let shapes: Vec<&'s Value> = branches
            .iter()
            .copied()
            .filter(|branch| words_of(branch).is_none())
            .collect();
        let fitting: Vec<&'s Value> = shapes
            .iter()
            .copied()
            .filter(|shape| type_fits(node, shape) && has_known_key(node, shape))
            .collect();
        // Quantities tell by their format rather than by their type whether a value is theirs.
        if fitting.iter().any(|shape| self.silently(node, shape)) {
            return;
        }
        if let [.., last] = fitting.as_slice()
            && (value.as_str().is_none() || words.is_empty())
        {
            return self.node(node, last);
        }
        if let Content::Map(entries) = &node.content
            && let known = keys_of(&shapes)
            && !known.is_empty()
            && !entries.is_empty()
        {
            for (key, _) in entries {
                self.path.push(key.name.clone());
                self.unknown_key(key, &known);
                self.path.pop();
            }
            return;
        }
        let mut expected: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        expected.extend(shapes.iter().map(|shape| Self::describe(shape)));
        let hint = value
            .as_str()
            .and_then(|text| did_you_mean(text, words.iter().copied()))
            .map(|near| format!("did you mean `{near}`?"));
        self.found(
            node.place,
            format!("expected {}, not {}", either(&expected), shown_node(node)),
            hint,
        );
    }

    /// The branches of a branch that has some itself.
    fn flattened(&self, schema: &'s Value) -> Vec<&'s Value> {
        match ["anyOf", "oneOf"]
            .iter()
            .find_map(|key| schema.get(key))
            .and_then(Value::as_array)
        {
            Some(inner) => inner
                .iter()
                .map(|branch| self.resolved(branch))
                .flat_map(|branch| self.flattened(branch))
                .collect(),
            None => vec![schema],
        }
    }

    /// Whether `node` is as `schema` says.
    fn silently(&self, node: &Node, schema: &'s Value) -> bool {
        let mut trial = Checker {
            root: self.root,
            path: Vec::new(),
            findings: Vec::new(),
        };
        trial.node(node, schema);
        trial.findings.is_empty()
    }

    fn map(&mut self, place: Place, entries: &[(Key, Node)], schema: &'s Value) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = properties
            .unwrap_or(&none)
            .keys()
            .map(String::as_str)
            .collect();
        for (index, (key, value)) in entries.iter().enumerate() {
            if let Some((first, _)) = entries[..index]
                .iter()
                .find(|(other, _)| other.name == key.name)
            {
                let before = match first.place {
                    Place::File { line, .. } => format!("first on line {line}"),
                    Place::Override(_) => "first in an override".to_owned(),
                };
                self.found(
                    key.place,
                    format!("key `{}` is given twice ({before})", key.name),
                    Some("keep one of the two".to_owned()),
                );
                continue;
            }
            if self.path.is_empty() && key.name.starts_with("x-") {
                continue;
            }
            self.path.push(key.name.clone());
            match properties.and_then(|properties| properties.get(&key.name)) {
                Some(schema) => self.node(value, schema),
                None => match schema.get("additionalProperties") {
                    Some(Value::Bool(false)) => self.unknown_key(key, &known),
                    Some(schema) => self.node(value, schema),
                    None => {}
                },
            }
            self.path.pop();
        }
        for required in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !entries.iter().any(|(key, _)| key.name == required) {
                self.found(place, format!("`{required}` is missing"), None);
            }
        }
    }

    fn unknown_key(&mut self, key: &Key, known: &[&str]) {
        if let Some((message, hint)) = settings::problem(&self.path) {
            return self.found(key.place, message, Some(hint));
        }
        let hint = did_you_mean(&key.name, known.iter().copied()).map_or_else(
            || format!("known here: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        self.found(key.place, format!("unknown key `{}`", key.name), Some(hint));
    }

    fn list(&mut self, place: Place, items: &[Node], schema: &'s Value) {
        let bound = |key: &str| {
            schema
                .get(key)
                .and_then(Value::as_u64)
                .and_then(|bound| usize::try_from(bound).ok())
        };
        if bound("minItems").is_some_and(|least| items.len() < least) {
            self.found(place, "expected at least one item".to_owned(), None);
        }
        if let Some(most) = bound("maxItems").filter(|most| items.len() > *most) {
            self.found(
                place,
                format!("expected at most {most} items, not {}", items.len()),
                None,
            );
        }
        if let Some(schema) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.path.push(index.to_string());
                self.node(item, schema);
                self.path.pop();
            }
        }
    }

    fn range(&mut self, place: Place, number: Option<f64>, schema: &'s Value) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let Some(number) = number else { return };
        let below = bound("minimum").is_some_and(|least| number < least);
        let above = bound("maximum").is_some_and(|most| number > most);
        if below || above {
            self.found(
                place,
                format!("expected {}, not {number}", Self::describe(schema)),
                None,
            );
        }
    }

    /// What a schema asks for, in words.
    fn describe(schema: &Value) -> String {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        if let Some(words) = words_of(schema) {
            return either(&words.iter().map(shown).collect::<Vec<_>>());
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("count") => return "a whole number".to_owned(),
            Some("duration") => return "a length of time such as 60s".to_owned(),
            Some("rate") => return "a rate such as 20000/s".to_owned(),
            Some("bytes" | "template") => return "a text".to_owned(),
            Some("switch") => return "yes or no".to_owned(),
            Some("setting") => return "a value such as 4096 or \"1024 65535\"".to_owned(),
            _ => {}
        }
        match (
            types(schema).first().copied(),
            bound("minimum"),
            bound("maximum"),
        ) {
            (Some("integer"), Some(least), Some(most)) => {
                format!("a whole number from {least} to {most}")
            }
            (Some("integer"), ..) => "a whole number".to_owned(),
            (Some("number"), ..) => "a number".to_owned(),
            (Some("array"), ..) => "a list".to_owned(),
            (Some("object"), ..) => {
                let keys: Vec<String> = schema
                    .get("properties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flat_map(Map::keys)
                    .map(|key| format!("`{key}`"))
                    .collect();
                if keys.is_empty() || keys.len() > 4 {
                    "a map".to_owned()
                } else {
                    format!("a map with {}", keys.join(", "))
                }
            }
            (Some("string"), ..) => "a text".to_owned(),
            (Some("boolean"), ..) => "yes or no".to_owned(),
            _ => "something else".to_owned(),
        }
    }
}

/// The words that a schema allows, where it allows nothing else.
fn words_of(schema: &Value) -> Option<Vec<Value>> {
    if let Some(word) = schema.get("const") {
        return Some(vec![word.clone()]);
    }
    if schema.get("format").is_some() {
        return None;
    }
    schema.get("enum").and_then(Value::as_array).cloned()
}

fn words(schema: &Value) -> impl Iterator<Item = &str> {
    let plain = schema.get("format").is_none();
    let listed = schema
        .get("enum")
        .and_then(Value::as_array)
        .filter(|_| plain)
        .into_iter()
        .flatten();
    schema
        .get("const")
        .into_iter()
        .chain(listed)
        .filter_map(Value::as_str)
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn type_fits(node: &Node, schema: &Value) -> bool {
    let types = types(schema);
    if let Some(words) = words_of(schema) {
        return words.contains(&shallow(node));
    }
    types.is_empty()
        || types.iter().any(|name| match (&node.content, *name) {
            (Content::Map(_), "object") | (Content::List(_), "array") => true,
            (Content::Scalar(value), "string") => value.is_string(),
            (Content::Scalar(value), "boolean") => value.is_boolean(),
            (Content::Scalar(value), "number") => value.is_number(),
            (Content::Scalar(value), "integer") => value.is_u64() || value.is_i64(),
            _ => false,
        })
}

/// Every key that one of `shapes` knows.
fn keys_of<'s>(shapes: &[&'s Value]) -> Vec<&'s str> {
    shapes
        .iter()
        .filter_map(|shape| shape.get("properties").and_then(Value::as_object))
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

/// For a map: whether `shape` knows one of its keys, so that of several maps the meant one is found.
fn has_known_key(node: &Node, shape: &Value) -> bool {
    let Content::Map(entries) = &node.content else {
        return true;
    };
    shape
        .get("properties")
        .and_then(Value::as_object)
        .is_none_or(|properties| {
            (entries.is_empty() && shape.get("required").is_none())
                || entries
                    .iter()
                    .any(|(key, _)| properties.contains_key(&key.name))
        })
}

/// The value of a scalar; an empty list or map for the others, whose kind is all that matters.
fn shallow(node: &Node) -> Value {
    match &node.content {
        Content::List(_) => Value::Array(Vec::new()),
        Content::Map(_) => Value::Object(Map::new()),
        Content::Scalar(value) => value.clone(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        other => quantity::kind(other).to_owned(),
    }
}

fn shown_node(node: &Node) -> String {
    if matches!(&node.content, Content::Map(entries) if entries.is_empty()) {
        return "an empty map".to_owned();
    }
    shown(&shallow(node))
}

/// `a`, `a or b`, `a, b or c`.
fn either(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
