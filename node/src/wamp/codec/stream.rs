//! The two sides of every conversion: a [`Reader`] walks bytes, a [`Sink`] takes what it finds. No value tree in between.

use std::borrow::Cow;

use super::{DecodeError, TranscodeError, ValueError};

/// The most levels of lists and dicts that any setting allows; [`Reader::skip`] recurses once a level.
pub(crate) const DEPTH_CEILING: usize = 256;

/// The two containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A list.
    List,
    /// A dict.
    Dict,
}

/// What stands at a reader's cursor, as far as the message layout asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8 text; in JSON a string that does not begin with U+0000.
    Text,
    /// Binary; in JSON a string that begins with U+0000.
    Binary,
    /// A list.
    List,
    /// A dict.
    Dict,
    /// Anything else.
    Other,
}

/// A container that a sink has begun and not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(pub(crate) usize);

impl Mark {
    /// The container's length was known and is written.
    pub(crate) const WRITTEN: Mark = Mark(usize::MAX);
}

/// The outcome of one step of a sink.
pub(crate) type Step = Result<(), ValueError>;

/// Takes one value, event by event.
///
/// A list is `begin`, then `item` and a value for each element, then `end`. A dict is `begin`, then `item`, `key`, a value,
/// `colon` and a value for each entry, then `end`.
pub(crate) trait Sink {
    fn null(&mut self) -> Step;
    /// `undefined`, which is null to everybody but protocol dicts.
    fn undefined(&mut self) -> Step {
        self.null()
    }
    fn bool(&mut self, value: bool) -> Step;
    /// `value` lies in -2^64..=2^64-1.
    fn integer(&mut self, value: i128) -> Step;
    /// An integer that is an id or a count, as nearly all of the router's own are.
    fn unsigned(&mut self, value: u64) -> Step {
        self.integer(value.into())
    }
    fn float(&mut self, value: f64) -> Step;
    fn text(&mut self, value: &str) -> Step;
    fn binary(&mut self, value: &[u8]) -> Step;
    /// Opens a container of `len` items or entries, or of a number that only `end` will tell.
    fn begin(&mut self, shape: Shape, len: Option<usize>) -> Result<Mark, ValueError>;
    /// The next item or entry, number `index`, follows.
    fn item(&mut self, index: usize);
    /// The next value is a key.
    fn key(&mut self);
    /// The key is complete, its value follows.
    fn colon(&mut self);
    /// Closes the container that `mark` opened; it has `len` items or entries.
    fn end(&mut self, shape: Shape, mark: Mark, len: usize) -> Step;
}

/// A [`Sink`] that writes the bytes of one serializer.
pub(crate) trait Writer: Sink {
    /// Copies elements that are already encoded; `index` is the number of the first of them in the list around.
    fn splice(&mut self, index: usize, elements: &[u8]);
    /// Writes what had to wait for the end.
    fn finish(self);
}

/// Walks the bytes of one serializer: first through the elements of one message, value by value.
///
/// Nothing here allocates except `text` where a string is escaped or comes in pieces, and `event` for the same. A stated length
/// is believed only as far as bytes are there.
pub(crate) trait Reader<'a> {
    /// The byte the next step looks at.
    fn offset(&self) -> usize;
    /// Enters the list that is the message.
    fn open(&mut self) -> Result<(), DecodeError>;
    /// Goes to the next element of that list; false at its end.
    fn next(&mut self) -> Result<bool, DecodeError>;
    /// Proves that the frame ends here.
    fn finish(&mut self) -> Result<(), DecodeError>;
    /// What stands here.
    fn kind(&self) -> Result<Kind, DecodeError>;
    /// Reads an integer of any width, or a float without a fraction up to 2^53; `None` for everything else.
    fn unsigned(&mut self) -> Result<Option<u64>, DecodeError>;
    /// Reads the text that [`Self::kind`] promised.
    fn text(&mut self) -> Result<Cow<'a, str>, DecodeError>;
    /// Passes an empty dict, if that is what stands here and its first byte or two say so.
    fn empty_dict(&mut self) -> bool;
    /// Proves that the value here is well formed and passes it; a container's number of items or entries comes back.
    fn skip(&mut self, keys: Keys) -> Result<usize, DecodeError>;
    /// How many levels the value here may still nest.
    fn depth(&self) -> usize;
    /// Reads the value here, or enters it if it is a container. `key` tells whether it stands as a key.
    fn event(&mut self, key: bool) -> Result<Event<'a>, TranscodeError>;
    /// Goes to item or entry number `index` of the container around, or leaves it; false if it has ended.
    fn item(&mut self, shape: Shape, len: Option<usize>, index: usize) -> Result<bool, DecodeError>;
    /// Goes from a key to its value.
    fn colon(&mut self) -> Result<(), DecodeError>;
}

/// A value, or the beginning of a container whose length is stated or not.
#[derive(Clone, Debug)]
pub(crate) enum Event<'a> {
    Null,
    /// What JavaScript clients write for an option they do not set.
    Undefined,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
    Begin(Shape, Option<usize>),
}

/// Feeds the value at the cursor of `reader` to `sink`. The levels stand on the heap, so depth costs no stack.
pub(crate) fn pump<'a, R: Reader<'a>, S: Sink>(reader: &mut R, sink: &mut S) -> Result<(), TranscodeError> {
    struct Level {
        shape: Shape,
        len: Option<usize>,
        mark: Mark,
        index: usize,
        /// The value read now is a key of this dict.
        key: bool,
    }
    let depth = reader.depth();
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let at = reader.offset();
        let key = levels.last().is_some_and(|level| level.key);
        match reader.event(key)? {
            Event::Null => sink.null()?,
            Event::Undefined => sink.undefined()?,
            Event::Bool(value) => sink.bool(value)?,
            Event::Integer(value) => sink.integer(value)?,
            Event::Float(value) => sink.float(value)?,
            Event::Text(value) => sink.text(&value)?,
            Event::Binary(value) => sink.binary(&value)?,
            Event::Begin(..) if levels.len() == depth => return Err(DecodeError::TooDeep { at }.into()),
            Event::Begin(shape, len) => {
                let mark = sink.begin(shape, len)?;
                levels.push(Level {
                    shape,
                    len,
                    mark,
                    index: 0,
                    key: false,
                });
            }
        }
        // A value is complete, or a container has begun: go to what comes next.
        loop {
            let Some(level) = levels.last_mut() else { return Ok(()) };
            if std::mem::take(&mut level.key) {
                reader.colon()?;
                sink.colon();
                break;
            }
            if reader.item(level.shape, level.len, level.index)? {
                sink.item(level.index);
                level.index += 1;
                level.key = level.shape == Shape::Dict;
                if level.key {
                    sink.key();
                }
                break;
            }
            sink.end(level.shape, level.mark, level.index)?;
            levels.pop();
        }
    }
}

/// Which keys a skipped dict may have at its top level. Deeper down every key that the serializer knows is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Text only.
    Text,
    /// Anything.
    Any,
}

/// The level below `depth`, or the error that there is none.
#[inline]
pub(crate) fn deeper(depth: usize, at: usize) -> Result<usize, DecodeError> {
    depth.checked_sub(1).ok_or(DecodeError::TooDeep { at })
}

/// `value` as an id-like integer: no fraction, no sign, at most 2^53.
pub(crate) fn integral(value: f64) -> Option<u64> {
    (value.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&value)).then_some(value as u64)
}
