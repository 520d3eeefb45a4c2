//! Decoded values: what options and details hold, and what the router's own payloads are built from.

/// Any value a WAMP serializer can carry.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON `null`, MessagePack nil, CBOR null.
    Null,
    /// A real boolean, never 0 or 1.
    Bool(bool),
    /// Any integer of the three serializers: -2^64 ..= 2^64-1 (JSON integers beyond that decode as [`Value::Float`]).
    Integer(i128),
    /// A double. JSON cannot carry NaN and infinities.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Binary; in JSON a string that begins with U+0000, followed by base64.
    Binary(Vec<u8>),
    /// An array.
    List(Vec<Value>),
    /// A map with unique text keys, in the order of the wire.
    Dict(Dict),
}

/// A map with unique text keys that keeps the order in which they came. An empty one does not allocate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dict(pub Vec<(String, Value)>);

impl Dict {
    /// An empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The boolean under `key`; `None` when absent or of another type.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// The text under `key`; `None` when absent or of another type.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_text)
    }

    /// The map under `key`; `None` when absent or of another type.
    pub fn dict(&self, key: &str) -> Option<&Dict> {
        self.get(key).and_then(Value::as_dict)
    }

    /// Adds or replaces the entry `key`.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// The same map with the entry `key` added or replaced.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }
}

impl Value {
    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(s) => Some(s),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Value::Dict(d) => Some(d),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(l) => Some(l),
            _ => None,
        }
    }

    /// The integer, if it is one or a float without a fraction within ±2^53 (sloppy JSON clients send those).
    pub fn as_integer(&self) -> Option<i128> {
        match self {
            Value::Integer(i) => Some(*i),
            Value::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => Some(*f as i128),
            _ => None,
        }
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}
impl From<u64> for Value {
    fn from(v: u64) -> Self {
        Value::Integer(v.into())
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Self {
        Value::Integer(v.into())
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Self {
        Value::Float(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Value::Text(v.to_owned())
    }
}
impl From<String> for Value {
    fn from(v: String) -> Self {
        Value::Text(v)
    }
}
impl From<Dict> for Value {
    fn from(v: Dict) -> Self {
        Value::Dict(v)
    }
}
impl From<Vec<Value>> for Value {
    fn from(v: Vec<Value>) -> Self {
        Value::List(v)
    }
}
