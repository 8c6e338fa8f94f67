//! A YAML document as a tree whose every key and value knows where it stands, because serde stops at the first error and
//! a user wants all of them. Also the limits that a document has to keep: no bomb gets past them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_yaml::Spanned;
use serde_yaml::options::DuplicateKeyPolicy;

/// Nodes of a document once aliases are expanded: the largest honest scenario has some hundreds.
const MOST_NODES: usize = 10_000;

/// Levels of a document: the deepest honest one has six.
const MOST_LEVELS: usize = 32;

/// Aliases and anchors.
const MOST_ALIASES: usize = 100;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file: line and column count from 1, in characters.
    File {
        line: usize,
        column: usize,
        length: usize,
    },
    /// In the override of this number.
    Override(usize),
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) place: Place,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file, duplicates kept.
    Map(Vec<(Key, Node)>),
    /// Neither list nor map.
    Scalar(Value),
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) place: Option<Place>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Node, SyntaxError> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: MOST_NODES,
            max_events: 4 * MOST_NODES,
            max_depth: MOST_LEVELS,
            max_aliases: MOST_ALIASES,
            max_anchors: MOST_ALIASES,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options::<Spanned<Content>>(text, options)
        .map(Node::from)
        .map_err(|error| syntax_error(&error, text))
}

fn syntax_error(error: &serde_yaml::Error, text: &str) -> SyntaxError {
    let place = error.location().map(|location| Place::File {
        line: to_usize(location.line()),
        column: to_usize(location.column()),
        length: to_usize(location.span().len()),
    });
    let said = error.to_string();
    if said.contains("budget breached") || said.contains("alias replay") || said.contains("depth") {
        return SyntaxError {
            place,
            message: format!(
                "this document is larger than any scenario once its aliases are expanded (limits: {MOST_NODES} nodes, {MOST_LEVELS} levels, {MOST_ALIASES} aliases)"
            ),
            hint: Some(
                "a document that grows through aliases of aliases is known as a YAML bomb"
                    .to_owned(),
            ),
        };
    }
    if said.starts_with("multiple YAML documents") {
        return SyntaxError {
            place,
            message: "a second document begins here; a file holds one scenario".to_owned(),
            hint: Some(
                "remove the line `---`, or put the second scenario into a file of its own"
                    .to_owned(),
            ),
        };
    }
    // The parser names the token before the tab.
    let from = error
        .location()
        .map_or(1, |location| to_usize(location.line()));
    if let Some(place) = said
        .contains("tab")
        .then(|| indenting_tab(text, from))
        .flatten()
    {
        return SyntaxError {
            place: Some(place),
            message: "not YAML: a tab stands in the indentation".to_owned(),
            hint: Some("indent with spaces".to_owned()),
        };
    }
    // The place is shown beside the message.
    let message = said.split(" at line ").next().unwrap_or(&said);
    SyntaxError {
        place,
        message: format!("not YAML: {message}"),
        hint: None,
    }
}

/// The first tab that indents a line, from line `from` (counted from 1) on.
fn indenting_tab(text: &str, from: usize) -> Option<Place> {
    text.lines()
        .enumerate()
        .skip(from.saturating_sub(1))
        .find_map(|(index, line)| {
            let letter = |c: char| c != ' ' && c != '\t';
            let indent = &line[..line.find(letter)?];
            let column = indent.find('\t')? + 1;
            Some(Place::File {
                line: index + 1,
                column,
                length: 1,
            })
        })
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Node {
    /// The value in the map under `key`; the last where there are several.
    pub(super) fn child(&self, key: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .rev()
                .find(|(known, _)| known.name == key)
                .map(|(_, node)| node),
            Content::List(items) => items.get(key.parse::<usize>().ok()?),
            Content::Scalar(_) => None,
        }
    }

    /// The place of what `path` leads to, or of the nearest thing on the way that there is.
    pub(super) fn place_of(&self, path: &[String]) -> Place {
        match path.split_first() {
            Some((first, rest)) => self
                .child(first)
                .map_or(self.place, |child| child.place_of(rest)),
            None => self.place,
        }
    }

    /// As JSON, without places.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect(),
            Content::Scalar(value) => value.clone(),
        }
    }

    /// Puts `value` where `path` leads, making maps and lists on the way: a number is an item of a list. A list grows by one
    /// item at its end.
    pub(super) fn set(&mut self, path: &[String], value: Self) -> Result<(), String> {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return Ok(());
        };
        let place = value.place;
        if matches!(&self.content, Content::Scalar(_)) {
            *self = Self::to_hold(first, place);
        }
        match &mut self.content {
            Content::Map(entries) => {
                if let Some((_, child)) =
                    entries.iter_mut().rev().find(|(key, _)| key.name == *first)
                {
                    return child.set(rest, value);
                }
                let child = Self::leading_to(rest, value)?;
                let name = first.clone();
                entries.push((Key { name, place }, child));
                Ok(())
            }
            Content::List(items) => {
                let count = items.len();
                match first.parse::<usize>() {
                    Ok(index) if index < count => items[index].set(rest, value),
                    Ok(index) if index == count => {
                        items.push(Self::leading_to(rest, value)?);
                        Ok(())
                    }
                    _ => Err(format!(
                        "`{first}` is no item of a list of {count} (the first is 0)"
                    )),
                }
            }
            Content::Scalar(_) => Err(format!("`{first}` does not lead into a value")),
        }
    }

    /// A new node with `value` where `path` leads.
    fn leading_to(path: &[String], value: Self) -> Result<Self, String> {
        let Some(first) = path.first() else {
            return Ok(value);
        };
        let mut node = Self::to_hold(first, value.place);
        node.set(path, value)?;
        Ok(node)
    }

    /// What can hold the key: a list for a number, a map for a name.
    fn to_hold(key: &str, place: Place) -> Self {
        let content = if key.parse::<usize>().is_ok() {
            Content::List(Vec::new())
        } else {
            Content::Map(Vec::new())
        };
        Self { content, place }
    }

    /// The same tree, standing in the override of this number.
    pub(super) fn moved_to(mut self, place: Place) -> Self {
        self.place = place;
        self.content = match self.content {
            Content::List(items) => {
                Content::List(items.into_iter().map(|item| item.moved_to(place)).collect())
            }
            Content::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, node)| (Key { place, ..key }, node.moved_to(place)))
                    .collect(),
            ),
            scalar @ Content::Scalar(_) => scalar,
        };
        self
    }
}

impl From<Spanned<Content>> for Node {
    fn from(spanned: Spanned<Content>) -> Self {
        Self {
            place: place(&spanned),
            content: spanned.value,
        }
    }
}

/// Where it is used: for an alias that is where it stands, not where its anchor does.
fn place<T>(spanned: &Spanned<T>) -> Place {
    let location = spanned.referenced;
    Place::File {
        line: to_usize(location.line()).max(1),
        column: to_usize(location.column()).max(1),
        length: to_usize(location.span().len()).max(1),
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Content, D::Error> {
        Content::deserialize(from)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Content>>()? {
            items.push(item.into());
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Content>>()? {
            let key = Key {
                place: place(&key),
                name: key.value,
            };
            entries.push((key, value.into()));
        }
        Ok(Content::Map(entries))
    }
}
