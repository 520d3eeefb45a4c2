//! Value trees: built from a reader, and fed to a writer. Only options, details and the router's own payloads become trees.

use super::{
    ValueError,
    stream::{Mark, Shape, Sink, Step},
};
use crate::wamp::{Dict, Value};

/// A [`Sink`] that builds values.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Protocol dicts: keys are text and unique. Otherwise keys follow the JSON mapping and the last of equal ones counts.
    strict: bool,
    values_max: usize,
    left: usize,
    key: bool,
    done: Vec<Value>,
    open: Vec<Open>,
}

/// A container under construction.
#[derive(Debug)]
enum Open {
    List(Vec<Value>),
    Dict(Vec<(String, Value)>, String),
}

impl Tree {
    /// For a protocol dict of at most `values_max` values.
    pub(crate) fn strict(values_max: usize) -> Self {
        Self {
            strict: true,
            values_max,
            left: values_max,
            key: false,
            done: Vec::new(),
            open: Vec::new(),
        }
    }

    /// For payload elements of at most `values_max` values in all.
    pub(crate) fn loose(values_max: usize) -> Self {
        Self {
            strict: false,
            ..Self::strict(values_max)
        }
    }

    /// The complete values, in order.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.done
    }

    fn count(&mut self) -> Step {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(ValueError::TooManyValues { max: self.values_max })?;
        Ok(())
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.done.push(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Dict(entries, key)) => entries.push((std::mem::take(key), value)),
        }
    }

    /// Takes a value, or the text it becomes where it stands as a key.
    fn scalar(&mut self, value: Value, found: &'static str, text: impl FnOnce() -> Option<String>) -> Step {
        self.count()?;
        if !self.key {
            self.put(value);
            return Ok(());
        }
        match text().filter(|_| !self.strict) {
            Some(text) => self.name(text),
            None => return Err(ValueError::Key { found }),
        }
        Ok(())
    }

    fn name(&mut self, text: String) {
        if let Some(Open::Dict(_, key)) = self.open.last_mut() {
            *key = text;
        }
    }

    fn complete(&self, mut entries: Vec<(String, Value)>) -> Result<Dict, ValueError> {
        let doubled = doubled(&entries);
        if doubled.is_empty() {
            return Ok(Dict(entries));
        }
        if self.strict {
            return Err(ValueError::DuplicateKey);
        }
        let mut index = 0;
        entries.retain(|_| {
            index += 1;
            doubled.binary_search(&(index - 1)).is_err()
        });
        Ok(Dict(entries))
    }
}

/// The indices, in order, of entries whose key comes again later.
fn doubled(entries: &[(String, Value)]) -> Vec<usize> {
    const FEW: usize = 16;
    if entries.len() <= FEW {
        let again = |&i: &usize| entries[i + 1..].iter().any(|(key, _)| *key == entries[i].0);
        return (0..entries.len()).filter(again).collect();
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_unstable_by(|&a, &b| entries[a].0.cmp(&entries[b].0).then(a.cmp(&b)));
    let mut doubled: Vec<usize> = order
        .windows(2)
        .filter(|w| entries[w[0]].0 == entries[w[1]].0)
        .map(|w| w[0])
        .collect();
    doubled.sort_unstable();
    doubled
}

impl Sink for Tree {
    fn null(&mut self) -> Step {
        self.scalar(Value::Null, "null", || Some("null".to_owned()))
    }

    /// An undefined option is an absent one.
    fn undefined(&mut self) -> Step {
        if !self.strict || self.key || !matches!(self.open.last(), Some(Open::Dict(..))) {
            return self.null();
        }
        self.name(String::new());
        self.count()
    }

    fn bool(&mut self, value: bool) -> Step {
        self.scalar(Value::Bool(value), "a boolean", || Some(value.to_string()))
    }

    fn integer(&mut self, value: i128) -> Step {
        self.scalar(Value::Integer(value), "an integer", || Some(value.to_string()))
    }

    fn float(&mut self, value: f64) -> Step {
        self.scalar(Value::Float(value), "a float", || {
            value.is_finite().then(|| format!("{value:?}"))
        })
    }

    fn text(&mut self, value: &str) -> Step {
        self.count()?;
        if self.key {
            self.name(value.to_owned());
        } else {
            self.put(Value::Text(value.to_owned()));
        }
        Ok(())
    }

    fn binary(&mut self, value: &[u8]) -> Step {
        if self.key {
            return Err(ValueError::Key { found: "binary" });
        }
        self.scalar(Value::Binary(value.to_vec()), "binary", || None)
    }

    fn begin(&mut self, shape: Shape, _: Option<usize>) -> Result<Mark, ValueError> {
        if self.key {
            return Err(ValueError::Key { found: "a list or dict" });
        }
        self.count()?;
        self.open.push(match shape {
            Shape::List => Open::List(Vec::new()),
            Shape::Dict => Open::Dict(Vec::new(), String::new()),
        });
        Ok(Mark::WRITTEN)
    }

    fn item(&mut self, _: usize) {}

    fn key(&mut self) {
        self.key = true;
    }

    fn colon(&mut self) {
        self.key = false;
    }

    fn end(&mut self, _: Shape, _: Mark, _: usize) -> Step {
        let value = match self.open.pop() {
            Some(Open::List(list)) => Value::List(list),
            Some(Open::Dict(entries, _)) => Value::Dict(self.complete(entries)?),
            None => return Ok(()),
        };
        self.put(value);
        Ok(())
    }
}

/// Feeds one value to `sink`.
pub(crate) fn write_value<S: Sink>(value: &Value, sink: &mut S) -> Step {
    match value {
        Value::Null => sink.null(),
        Value::Bool(value) => sink.bool(*value),
        Value::Integer(value) => sink.integer(*value),
        Value::Float(value) => sink.float(*value),
        Value::Text(value) => sink.text(value),
        Value::Binary(value) => sink.binary(value),
        Value::List(list) => write_list(list, sink),
        Value::Dict(dict) => write_dict(dict, sink),
    }
}

/// Feeds a list to `sink`.
pub(crate) fn write_list<S: Sink>(list: &[Value], sink: &mut S) -> Step {
    let mark = sink.begin(Shape::List, Some(list.len()))?;
    for (index, value) in list.iter().enumerate() {
        sink.item(index);
        write_value(value, sink)?;
    }
    sink.end(Shape::List, mark, list.len())
}

/// Feeds a dict to `sink`.
pub(crate) fn write_dict<S: Sink>(dict: &Dict, sink: &mut S) -> Step {
    let mark = sink.begin(Shape::Dict, Some(dict.0.len()))?;
    for (index, (key, value)) in dict.0.iter().enumerate() {
        sink.item(index);
        sink.key();
        sink.text(key)?;
        sink.colon();
        write_value(value, sink)?;
    }
    sink.end(Shape::Dict, mark, dict.0.len())
}
