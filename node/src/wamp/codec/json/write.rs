//! Writing JSON, without spaces.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::{
    ValueError,
    stream::{Mark, Shape, Sink, Step, Writer},
};
use super::{number, string};

/// Appends JSON text to a buffer.
#[derive(Debug)]
pub(crate) struct JsonWriter<'a> {
    out: &'a mut Vec<u8>,
    /// The next value is a key, so it must become a string.
    key: bool,
}

impl<'a> JsonWriter<'a> {
    /// Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, key: false }
    }

    /// Writes what `write` writes, as a string where it is a key. It must need no escapes.
    fn plain(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Step) -> Step {
        if !self.key {
            return write(self.out);
        }
        self.out.push(b'"');
        write(self.out)?;
        self.out.push(b'"');
        Ok(())
    }

    fn word(&mut self, word: &str) -> Step {
        self.plain(|out| {
            out.extend_from_slice(word.as_bytes());
            Ok(())
        })
    }
}

impl Sink for JsonWriter<'_> {
    fn null(&mut self) -> Step {
        self.word("null")
    }

    fn bool(&mut self, value: bool) -> Step {
        self.word(if value { "true" } else { "false" })
    }

    fn integer(&mut self, value: i128) -> Step {
        self.plain(|out| {
            number::write_integer(out, value);
            Ok(())
        })
    }

    fn float(&mut self, value: f64) -> Step {
        self.plain(|out| number::write_float(out, value))
    }

    fn text(&mut self, value: &str) -> Step {
        if value.starts_with('\0') && !self.key {
            return Err(ValueError::NulText);
        }
        string::write(self.out, value);
        Ok(())
    }

    fn binary(&mut self, value: &[u8]) -> Step {
        if self.key {
            return Err(ValueError::Key { found: "binary" });
        }
        self.out.extend_from_slice(br#""\u0000"#);
        let start = self.out.len();
        let len = base64::encoded_len(value.len(), true).ok_or(ValueError::TooLong)?;
        self.out.resize(start + len, 0);
        STANDARD
            .encode_slice(value, &mut self.out[start..])
            .map_err(|_| ValueError::TooLong)?;
        self.out.push(b'"');
        Ok(())
    }

    fn begin(&mut self, shape: Shape, _: Option<usize>) -> Result<Mark, ValueError> {
        if self.key {
            return Err(ValueError::Key { found: "a list or dict" });
        }
        self.out.push(match shape {
            Shape::List => b'[',
            Shape::Dict => b'{',
        });
        Ok(Mark::WRITTEN)
    }

    fn item(&mut self, index: usize) {
        if index > 0 {
            self.out.push(b',');
        }
    }

    fn key(&mut self) {
        self.key = true;
    }

    fn colon(&mut self) {
        self.key = false;
        self.out.push(b':');
    }

    fn end(&mut self, shape: Shape, _: Mark, _: usize) -> Step {
        self.out.push(match shape {
            Shape::List => b']',
            Shape::Dict => b'}',
        });
        Ok(())
    }
}

impl Writer for JsonWriter<'_> {
    fn splice(&mut self, index: usize, elements: &[u8]) {
        self.item(index);
        self.out.extend_from_slice(elements);
    }

    fn finish(self) {}
}
