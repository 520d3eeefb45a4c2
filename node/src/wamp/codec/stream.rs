//! The two sides of every conversion: a [`Reader`] walks bytes, a [`Sink`] takes what it finds. No value tree in between.

use std::borrow::Cow;

use super::{DecodeError, TranscodeError, ValueError};

/// The most levels of lists and dicts that any setting allows; readers recurse once a level.
pub(crate) const DEPTH_CEILING: usize = 512;

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

/// The outcome of feeding a value to a sink.
pub(crate) type Pumped = Result<(), TranscodeError>;

/// Takes one value, event by event.
///
/// A list is `begin`, then `item` and a value for each element, then `end`. A dict is `begin`, then `item`, `key`, a value,
/// `colon` and a value for each entry, then `end`.
pub(crate) trait Sink {
    fn null(&mut self) -> Step;
    fn bool(&mut self, value: bool) -> Step;
    /// `value` lies in -2^64..=2^64-1.
    fn integer(&mut self, value: i128) -> Step;
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
/// Nothing here allocates except `text` where a string is escaped or comes in pieces, and `pump` for the same. A stated length
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
    /// Feeds the value here to `sink`.
    fn pump<S: Sink>(&mut self, sink: &mut S) -> Pumped;
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
