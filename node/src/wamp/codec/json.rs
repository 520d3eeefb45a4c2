//! JSON: reading. Writing is in [`mod@write`], strings in [`string`], numbers in [`number`].
//!
//! Spec: RFC 8259; WAMP basic profile, "Serializers" (binary as U+0000 and base64). The whole frame is checked to be UTF-8 once;
//! after that only structure, escapes and numbers are looked at.

mod number;
mod string;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    DecodeError, TranscodeError, ValueError,
    stream::{Event, Keys, Kind, Reader, Shape, deeper},
};
use string::Span;
pub(crate) use write::JsonWriter;

/// Walks JSON text.
#[derive(Debug)]
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// The next element of the message is the first: no comma before it.
    first: bool,
    /// The elements stand without a list around them.
    bare: bool,
}

impl<'a> JsonReader<'a> {
    /// Before a message, which may nest `depth` levels.
    pub(crate) fn new(frame: &'a [u8], depth: usize) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(frame).map_err(|e| DecodeError::Unicode { at: e.valid_up_to() })?;
        Ok(Self {
            text,
            at: 0,
            depth,
            first: true,
            bare: false,
        })
    }

    /// Before elements joined by commas.
    pub(crate) fn elements(bytes: &'a [u8], depth: usize) -> Result<Self, DecodeError> {
        Ok(Self {
            bare: true,
            ..Self::new(bytes, depth)?
        })
    }

    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The byte at the cursor.
    #[inline]
    fn here(&self) -> Result<u8, DecodeError> {
        self.bytes()
            .get(self.at)
            .copied()
            .ok_or(DecodeError::Truncated { at: self.at })
    }

    /// Steps over white space, then shows the byte there.
    #[inline]
    fn peek(&mut self) -> Result<u8, DecodeError> {
        loop {
            match self.here()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Ok(byte),
            }
        }
    }

    fn syntax<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Syntax { what, at: self.at })
    }

    /// Passes one of the three words.
    fn word(&mut self, word: &'static str) -> Result<(), DecodeError> {
        let rest = &self.bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else if word.as_bytes().starts_with(rest) {
            Err(DecodeError::Truncated { at: self.text.len() })
        } else {
            self.syntax("expected a json value")
        }
    }

    /// Passes the string that begins here.
    #[inline]
    fn string(&mut self) -> Result<Span, DecodeError> {
        let span = string::scan(self.bytes(), self.at)?;
        self.at = span.end + 1;
        Ok(span)
    }

    /// Passes a key and the colon behind it.
    #[inline]
    fn skip_key(&mut self) -> Result<(), DecodeError> {
        if self.here()? != b'"' {
            return self.syntax("expected a string as key");
        }
        self.string()?;
        self.colon()
    }

    /// After `[`, `{` or a complete item: whether item `index` follows. Leaves the cursor on it, or behind `close`.
    #[inline]
    fn goto(&mut self, index: usize, close: u8) -> Result<bool, DecodeError> {
        match self.peek()? {
            byte if byte == close => {
                self.at += 1;
                return Ok(false);
            }
            b',' if index > 0 => self.at += 1,
            _ if index > 0 => return self.syntax("expected a comma or the end of a list or dict"),
            _ => return Ok(true),
        }
        if self.peek()? == close {
            self.syntax("expected a json value")
        } else {
            Ok(true)
        }
    }

    /// Proves the value at the cursor and passes it.
    fn skip_value(&mut self, depth: usize) -> Result<usize, DecodeError> {
        match self.peek()? {
            b'"' => self.string().map(|_| 0),
            b'[' => {
                let depth = deeper(depth, self.at)?;
                self.at += 1;
                let mut items = 0;
                while self.goto(items, b']')? {
                    self.skip_value(depth)?;
                    items += 1;
                }
                Ok(items)
            }
            b'{' => {
                let depth = deeper(depth, self.at)?;
                self.at += 1;
                let mut entries = 0;
                while self.goto(entries, b'}')? {
                    self.skip_key()?;
                    self.skip_value(depth)?;
                    entries += 1;
                }
                Ok(entries)
            }
            b't' => self.word("true").map(|()| 0),
            b'f' => self.word("false").map(|()| 0),
            b'n' => self.word("null").map(|()| 0),
            b'-' | b'0'..=b'9' => {
                self.at = number::scan(self.bytes(), self.at)?.end;
                Ok(0)
            }
            _ => self.syntax("expected a json value"),
        }
    }

    /// The string that begins here, which is binary if it begins with U+0000 and is no key.
    fn string_event(&mut self, key: bool) -> Result<Event<'a>, TranscodeError> {
        let span = self.string()?;
        let text = span.text(self.text);
        if key || !span.is_binary(self.bytes()) {
            return Ok(Event::Text(text));
        }
        let base64 = text.strip_prefix('\0').unwrap_or(&text);
        let binary = STANDARD.decode(base64).map_err(|_| ValueError::BadBase64)?;
        Ok(Event::Binary(Cow::Owned(binary)))
    }
}

impl<'a> Reader<'a> for JsonReader<'a> {
    fn offset(&self) -> usize {
        self.at
    }

    fn open(&mut self) -> Result<(), DecodeError> {
        match self.peek()? {
            b'[' => {
                self.depth = deeper(self.depth, self.at)?;
                self.at += 1;
                Ok(())
            }
            _ => {
                self.skip_value(self.depth)?;
                Err(DecodeError::NotAList)
            }
        }
    }

    fn next(&mut self) -> Result<bool, DecodeError> {
        let first = std::mem::replace(&mut self.first, false);
        if !self.bare {
            return self.goto(usize::from(!first), b']');
        }
        match self.peek() {
            Err(_) => Ok(false),
            Ok(b',') if !first => {
                self.at += 1;
                self.peek().map(|_| true)
            }
            Ok(_) if first => Ok(true),
            Ok(_) => self.syntax("expected a comma"),
        }
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(DecodeError::Trailing { at: self.at }),
        }
    }

    fn kind(&self) -> Result<Kind, DecodeError> {
        Ok(match self.here()? {
            b'"' if string::begins_with_nul(self.bytes(), self.at) => Kind::Binary,
            b'"' => Kind::Text,
            b'[' => Kind::List,
            b'{' => Kind::Dict,
            _ => Kind::Other,
        })
    }

    fn unsigned(&mut self) -> Result<Option<u64>, DecodeError> {
        if let Some((value, end)) = number::small(self.bytes(), self.at) {
            self.at = end;
            return Ok(Some(value));
        }
        match self.here()? {
            b'-' | b'0'..=b'9' => {
                let span = number::scan(self.bytes(), self.at)?;
                self.at = span.end;
                Ok(span.unsigned(self.text))
            }
            _ => {
                self.skip_value(self.depth)?;
                Ok(None)
            }
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        Ok(self.string()?.text(self.text))
    }

    fn empty_dict(&mut self) -> bool {
        let empty = self.bytes()[self.at..].starts_with(b"{}");
        self.at += if empty { 2 } else { 0 };
        empty
    }

    fn skip(&mut self, _: Keys) -> Result<usize, DecodeError> {
        self.skip_value(self.depth)
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn event(&mut self, key: bool) -> Result<Event<'a>, TranscodeError> {
        Ok(match self.peek()? {
            b'"' => return self.string_event(key),
            b'[' => {
                self.at += 1;
                Event::Begin(Shape::List, None)
            }
            b'{' => {
                self.at += 1;
                Event::Begin(Shape::Dict, None)
            }
            b't' => {
                self.word("true")?;
                Event::Bool(true)
            }
            b'f' => {
                self.word("false")?;
                Event::Bool(false)
            }
            b'n' => {
                self.word("null")?;
                Event::Null
            }
            b'-' | b'0'..=b'9' => {
                let span = number::scan(self.bytes(), self.at)?;
                self.at = span.end;
                span.event(self.text)?
            }
            _ => self.syntax("expected a json value")?,
        })
    }

    fn item(&mut self, shape: Shape, _: Option<usize>, index: usize) -> Result<bool, DecodeError> {
        let close = if shape == Shape::List { b']' } else { b'}' };
        let more = self.goto(index, close)?;
        if more && shape == Shape::Dict && self.here()? != b'"' {
            return self.syntax("expected a string as key");
        }
        Ok(more)
    }

    fn colon(&mut self) -> Result<(), DecodeError> {
        if self.peek()? != b':' {
            return self.syntax("expected a colon");
        }
        self.at += 1;
        Ok(())
    }
}
