//! The settings before they are typed: a tree in which every value remembers where it came from.

use std::collections::BTreeMap;

use toml::{
    Spanned, Value,
    de::{DeTable, DeValue},
};

use super::Problem;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Origin {
    /// A place in the file, both counted from 1.
    Line { line: usize, column: usize },
    /// An environment variable.
    Environment(String),
    /// The settings that hold when there is no file.
    BuiltIn,
}

/// A value, a section or a list, with its origin.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) origin: Origin,
}

/// The shapes of an entry.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A plain value. `text` is what an environment variable held literally, for settings that want text.
    Leaf {
        value: Value,
        text: Option<String>,
    },
    Table(BTreeMap<String, Entry>),
    List(Vec<Entry>),
}

/// Syntax errors are reported together, but no more than these: one slip can cause many.
const SYNTAX_ERRORS_MAX: usize = 5;

impl Entry {
    /// Reads TOML. Every syntax error comes back with its place.
    pub(super) fn parse(text: &str, built_in: bool) -> Result<Self, Vec<Problem>> {
        let (spans, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors
                .iter()
                .take(SYNTAX_ERRORS_MAX)
                .map(|error| syntax(text, error))
                .collect());
        }
        let values = text.parse::<toml::Table>().map_err(|error| vec![syntax(text, &error)])?;
        // Found once: a file may hold thousands of keys.
        let line_feeds: Vec<usize> = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at)
            .collect();
        let place = |offset| {
            if built_in {
                return Origin::BuiltIn;
            }
            let before = line_feeds.partition_point(|at| *at < offset);
            let line_start = before.checked_sub(1).map_or(0, |last| line_feeds[last] + 1);
            Origin::Line {
                line: before + 1,
                column: text.get(line_start..offset).map_or(1, |before| before.chars().count() + 1),
            }
        };
        Ok(Self {
            node: table(values, spans.get_ref(), &place),
            origin: place(0),
        })
    }

    /// Replaces or adds the value at `path` (keys and list indexes) by what the environment variable `name` holds.
    pub(super) fn set(&mut self, path: &[String], name: &str, text: &str) -> Result<(), String> {
        let origin = Origin::Environment(name.to_owned());
        let Some((key, rest)) = path.split_first() else {
            *self = parse_value(text, &origin);
            return Ok(());
        };
        let empty = |rest: &[String]| Entry {
            node: match rest.first().map(|key| key.parse::<usize>()) {
                Some(Ok(_)) => Node::List(Vec::new()),
                _ => Node::Table(BTreeMap::new()),
            },
            origin: origin.clone(),
        };
        match &mut self.node {
            Node::Table(entries) => entries
                .entry(key.clone())
                .or_insert_with(|| empty(rest))
                .set(rest, name, text),
            Node::List(entries) => {
                let index: usize = key
                    .parse()
                    .map_err(|_| format!("{key} is no index, but the setting is a list"))?;
                if index > entries.len() {
                    return Err(format!("index {index} skips some: the list has {} so far", entries.len()));
                }
                if index == entries.len() {
                    entries.push(empty(rest));
                }
                entries[index].set(rest, name, text)
            }
            Node::Leaf { .. } => {
                *self = empty(path);
                self.set(path, name, text)
            }
        }
    }

    /// The plain TOML value.
    pub(super) fn to_value(&self) -> Value {
        match &self.node {
            Node::Leaf { value, .. } => value.clone(),
            Node::Table(entries) => Value::Table(entries.iter().map(|(k, e)| (k.clone(), e.to_value())).collect()),
            Node::List(entries) => Value::Array(entries.iter().map(Entry::to_value).collect()),
        }
    }

    /// Where the setting `path` (as in [`Problem::path`]) came from, or else the section it would stand in.
    pub(super) fn origin_of(&self, path: &str) -> Option<Origin> {
        let mut entry = self;
        let mut found = None;
        for key in path.split(['.', '[', ']']).filter(|key| !key.is_empty()) {
            let next = match &entry.node {
                Node::Table(entries) => entries.get(key),
                Node::List(entries) => key.parse::<usize>().ok().and_then(|index| entries.get(index)),
                Node::Leaf { .. } => None,
            };
            let Some(next) = next else { break };
            entry = next;
            found = Some(entry.origin.clone());
        }
        found
    }
}

/// What an environment variable holds: TOML if it reads as such, else text.
fn parse_value(text: &str, origin: &Origin) -> Entry {
    let mut parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let single = parsed.as_ref().is_some_and(|table| table.len() == 1);
    let value = parsed.as_mut().filter(|_| single).and_then(|table| table.remove("value"));
    let mut entry = from_value(value.unwrap_or_else(|| Value::String(text.to_owned())), origin);
    if let Node::Leaf { text: literal, .. } = &mut entry.node {
        *literal = Some(text.to_owned());
    }
    entry
}

fn from_value(value: Value, origin: &Origin) -> Entry {
    let node = match value {
        Value::Table(table) => Node::Table(table.into_iter().map(|(k, v)| (k, from_value(v, origin))).collect()),
        Value::Array(list) => Node::List(list.into_iter().map(|v| from_value(v, origin)).collect()),
        value => Node::Leaf { value, text: None },
    };
    Entry {
        node,
        origin: origin.clone(),
    }
}

/// Joins the values of a table with the places of its keys.
fn table(values: toml::Table, spans: &DeTable<'_>, place: &impl Fn(usize) -> Origin) -> Node {
    let entry = |(key, value): (String, Value)| {
        let (offset, span) = spans
            .get_key_value(key.as_str())
            .map_or((0, None), |(k, v)| (k.span().start, Some(v)));
        (key, join(value, span, place(offset), place))
    };
    Node::Table(values.into_iter().map(entry).collect())
}

fn join(value: Value, span: Option<&Spanned<DeValue<'_>>>, origin: Origin, place: &impl Fn(usize) -> Origin) -> Entry {
    let node = match (value, span.map(Spanned::get_ref)) {
        (Value::Table(values), Some(DeValue::Table(spans))) => table(values, spans, place),
        (Value::Array(values), Some(DeValue::Array(spans))) => {
            let items = values.into_iter().zip(spans.iter());
            Node::List(
                items
                    .map(|(value, span)| join(value, Some(span), place(span.span().start), place))
                    .collect(),
            )
        }
        (value, _) => from_value(value, &origin).node,
    };
    Entry { node, origin }
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let what = format!("not readable as TOML: {}", error.message().replace('\n', ", "));
    let origin = position(text, error.span().map_or(0, |span| span.start));
    Problem::new("", what, "mend the line; text stands in quotes, sections in [brackets]").at(Some(origin))
}

fn position(text: &str, offset: usize) -> Origin {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Origin::Line {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}
