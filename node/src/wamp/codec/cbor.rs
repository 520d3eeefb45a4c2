//! CBOR: reading. Writing is in [`mod@write`].
//!
//! Spec: RFC 8949. Indefinite lengths, tags, half floats and wide integers are read; everything is written in its shortest form.

mod write;

use std::borrow::Cow;

use super::{
    DecodeError, TranscodeError, ValueError,
    cursor::Cursor,
    stream::{Event, Keys, Kind, Reader, Shape, deeper, integral},
};
pub(crate) use write::CborWriter;

/// Walks CBOR bytes.
#[derive(Debug)]
pub(crate) struct CborReader<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    /// Elements of the message still to come.
    left: Len,
}

/// A stated length, or none: then a break ends the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Len {
    Definite(u64),
    Indefinite,
}

/// The head of an item.
#[derive(Clone, Copy, Debug)]
enum Head {
    Unsigned(u64),
    /// The value is -1 - this.
    Negative(u64),
    Binary(Len),
    Text(Len),
    List(Len),
    Dict(Len),
    Tag(u64),
    Simple(u8),
    Float(f64),
    Break,
}

const BREAK: u8 = 0xff;
const POSITIVE_BIGNUM: u64 = 2;
const NEGATIVE_BIGNUM: u64 = 3;

impl<'a> CborReader<'a> {
    /// Before a message, which may nest `depth` levels.
    pub(crate) fn new(frame: &'a [u8], depth: usize) -> Self {
        Self {
            cursor: Cursor::new(frame),
            depth,
            left: Len::Definite(0),
        }
    }

    /// Before `count` elements without a list around them.
    pub(crate) fn elements(bytes: &'a [u8], count: u8, depth: usize) -> Self {
        Self {
            left: Len::Definite(count.into()),
            ..Self::new(bytes, depth)
        }
    }

    #[inline]
    fn head(&mut self) -> Result<Head, DecodeError> {
        let at = self.cursor.at();
        let cursor = &mut self.cursor;
        let byte = cursor.byte()?;
        let (major, info) = (byte >> 5, byte & 31);
        let argument = match info {
            0..=23 => u64::from(info),
            24 => cursor.byte()?.into(),
            25 => cursor.u16()?.into(),
            26 => cursor.u32()?.into(),
            27 => cursor.u64()?,
            31 => {
                return match major {
                    2 => Ok(Head::Binary(Len::Indefinite)),
                    3 => Ok(Head::Text(Len::Indefinite)),
                    4 => Ok(Head::List(Len::Indefinite)),
                    5 => Ok(Head::Dict(Len::Indefinite)),
                    7 => Ok(Head::Break),
                    _ => Err(DecodeError::Syntax {
                        what: "indefinite length of an integer or tag",
                        at,
                    }),
                };
            }
            _ => {
                return Err(DecodeError::Syntax {
                    what: "reserved cbor length",
                    at,
                });
            }
        };
        Ok(match major {
            0 => Head::Unsigned(argument),
            1 => Head::Negative(argument),
            2 => Head::Binary(Len::Definite(argument)),
            3 => Head::Text(Len::Definite(argument)),
            4 => Head::List(Len::Definite(cursor.items(argument, 1)? as u64)),
            5 => Head::Dict(Len::Definite(cursor.items(argument, 2)? as u64)),
            6 => Head::Tag(argument),
            _ => match info {
                24 if argument < 32 => {
                    return Err(DecodeError::Syntax {
                        what: "simple value in two bytes",
                        at,
                    });
                }
                0..=24 => Head::Simple(argument as u8),
                25 => Head::Float(half(argument as u16)),
                26 => Head::Float(f32::from_bits(argument as u32).into()),
                _ => Head::Float(f64::from_bits(argument)),
            },
        })
    }

    /// Whether item `index` of a container of `len` follows; passes the break that ends an indefinite one.
    #[inline]
    fn goto(&mut self, len: Len, index: usize) -> Result<bool, DecodeError> {
        match len {
            Len::Definite(len) => Ok((index as u64) < len),
            Len::Indefinite => {
                self.cursor.peek()?;
                Ok(!self.cursor.pass(BREAK))
            }
        }
    }

    /// The next piece of an indefinite string whose pieces have the major type `major`; `None` at its end.
    fn piece(&mut self, major: u8) -> Result<Option<u64>, DecodeError> {
        let at = self.cursor.at();
        match self.head()? {
            Head::Break => Ok(None),
            Head::Binary(Len::Definite(len)) if major == 2 => Ok(Some(len)),
            Head::Text(Len::Definite(len)) if major == 3 => Ok(Some(len)),
            _ => Err(DecodeError::Syntax {
                what: "wrong piece of an indefinite string",
                at,
            }),
        }
    }

    fn skip_binary(&mut self, len: Len) -> Result<(), DecodeError> {
        match len {
            Len::Definite(len) => self.cursor.take(len).map(|_| ()),
            Len::Indefinite => {
                while let Some(len) = self.piece(2)? {
                    self.cursor.take(len)?;
                }
                Ok(())
            }
        }
    }

    #[inline]
    fn skip_text(&mut self, len: Len) -> Result<(), DecodeError> {
        match len {
            Len::Definite(len) => self.cursor.skip_text(len),
            Len::Indefinite => {
                while let Some(len) = self.piece(3)? {
                    self.cursor.skip_text(len)?;
                }
                Ok(())
            }
        }
    }

    fn take_binary(&mut self, len: Len) -> Result<Cow<'a, [u8]>, DecodeError> {
        match len {
            Len::Definite(len) => self.cursor.take(len).map(Cow::Borrowed),
            Len::Indefinite => {
                let mut whole = Vec::new();
                while let Some(len) = self.piece(2)? {
                    whole.extend_from_slice(self.cursor.take(len)?);
                }
                Ok(Cow::Owned(whole))
            }
        }
    }

    #[inline]
    fn take_text(&mut self, len: Len) -> Result<Cow<'a, str>, DecodeError> {
        match len {
            Len::Definite(len) => self.cursor.take_text(len).map(Cow::Borrowed),
            Len::Indefinite => {
                let mut whole = String::new();
                while let Some(len) = self.piece(3)? {
                    whole.push_str(self.cursor.take_text(len)?);
                }
                Ok(Cow::Owned(whole))
            }
        }
    }

    fn skip_value(&mut self, mut depth: usize, keys: Keys) -> Result<usize, DecodeError> {
        loop {
            let at = self.cursor.at();
            match self.head()? {
                Head::Tag(_) => depth = deeper(depth, at)?,
                Head::Binary(len) => return self.skip_binary(len).map(|()| 0),
                Head::Text(len) => return self.skip_text(len).map(|()| 0),
                Head::List(len) => {
                    let depth = deeper(depth, at)?;
                    let mut items = 0;
                    while self.goto(len, items)? {
                        self.skip_value(depth, Keys::Any)?;
                        items += 1;
                    }
                    return Ok(items);
                }
                Head::Dict(len) => {
                    let depth = deeper(depth, at)?;
                    let mut entries = 0;
                    while self.goto(len, entries)? {
                        if keys == Keys::Text && self.kind()? != Kind::Text {
                            return Err(DecodeError::Syntax {
                                what: "key is not text",
                                at: self.cursor.at(),
                            });
                        }
                        self.skip_value(depth, Keys::Any)?;
                        self.skip_value(depth, Keys::Any)?;
                        entries += 1;
                    }
                    return Ok(entries);
                }
                Head::Break => {
                    return Err(DecodeError::Syntax {
                        what: "unexpected break",
                        at,
                    });
                }
                Head::Unsigned(_) | Head::Negative(_) | Head::Simple(_) | Head::Float(_) => return Ok(0),
            }
        }
    }

    /// The integer behind a bignum tag.
    fn bignum(&mut self, negative: bool) -> Result<Event<'a>, TranscodeError> {
        let Head::Binary(len) = self.head()? else {
            return Err(ValueError::Bignum.into());
        };
        let bytes = self.take_binary(len)?;
        let digits = &bytes[bytes.iter().take_while(|&&b| b == 0).count()..];
        if digits.len() > 8 {
            return Err(ValueError::IntegerTooWide.into());
        }
        let magnitude = digits.iter().fold(0, |value, &byte| (value << 8) | i128::from(byte));
        Ok(Event::Integer(if negative { -1 - magnitude } else { magnitude }))
    }
}

impl Len {
    /// The length, where it is stated. [`CborReader::head`] has held it against the bytes that are there.
    fn known(self) -> Option<usize> {
        match self {
            Len::Definite(len) => usize::try_from(len).ok(),
            Len::Indefinite => None,
        }
    }
}

/// A half float as a double. Spec: RFC 8949, appendix "Half-Precision".
fn half(bits: u16) -> f64 {
    let sign = u64::from(bits >> 15) << 63;
    let exponent = u64::from(bits >> 10 & 31);
    let fraction = u64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => (fraction as f64 * 2f64.powi(-24)).to_bits(),
        31 => 0x7ff << 52 | fraction << 42,
        _ => (exponent + 1023 - 15) << 52 | fraction << 42,
    };
    f64::from_bits(sign | magnitude)
}

impl<'a> Reader<'a> for CborReader<'a> {
    fn offset(&self) -> usize {
        self.cursor.at()
    }

    fn open(&mut self) -> Result<(), DecodeError> {
        let at = self.cursor.at();
        match self.head()? {
            Head::List(len) => {
                self.depth = deeper(self.depth, at)?;
                self.left = len;
                Ok(())
            }
            _ => Err(DecodeError::NotAList),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<bool, DecodeError> {
        let more = self.goto(self.left, 0)?;
        if let Len::Definite(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        if more {
            self.cursor.peek()?;
        }
        Ok(more)
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        self.cursor.finish()
    }

    #[inline]
    fn kind(&self) -> Result<Kind, DecodeError> {
        Ok(match self.cursor.peek()? >> 5 {
            2 => Kind::Binary,
            3 => Kind::Text,
            4 => Kind::List,
            5 => Kind::Dict,
            _ => Kind::Other,
        })
    }

    #[inline]
    fn unsigned(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(match self.head()? {
            Head::Unsigned(value) => Some(value),
            Head::Float(value) => integral(value),
            _ => None,
        })
    }

    fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let at = self.cursor.at();
        match self.head()? {
            Head::Text(len) => self.take_text(len),
            _ => Err(DecodeError::Syntax {
                what: "expected text",
                at,
            }),
        }
    }

    fn empty_dict(&mut self) -> bool {
        self.cursor.pass(0xa0)
    }

    fn skip(&mut self, keys: Keys) -> Result<usize, DecodeError> {
        self.skip_value(self.depth, keys)
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn event(&mut self, _: bool) -> Result<Event<'a>, TranscodeError> {
        loop {
            let at = self.cursor.at();
            return Ok(match self.head()? {
                Head::Tag(tag @ (POSITIVE_BIGNUM | NEGATIVE_BIGNUM)) => return self.bignum(tag == NEGATIVE_BIGNUM),
                Head::Tag(_) => continue,
                Head::Unsigned(value) => Event::Integer(value.into()),
                Head::Negative(value) => Event::Integer(-1 - i128::from(value)),
                Head::Binary(len) => Event::Binary(self.take_binary(len)?),
                Head::Text(len) => Event::Text(self.take_text(len)?),
                Head::Float(value) => Event::Float(value),
                Head::Simple(20) => Event::Bool(false),
                Head::Simple(21) => Event::Bool(true),
                Head::Simple(22) => Event::Null,
                Head::Simple(23) => Event::Undefined,
                Head::Simple(value) => return Err(ValueError::Simple { value }.into()),
                Head::List(len) => Event::Begin(Shape::List, len.known()),
                Head::Dict(len) => Event::Begin(Shape::Dict, len.known()),
                Head::Break => {
                    return Err(DecodeError::Syntax {
                        what: "unexpected break",
                        at,
                    }
                    .into());
                }
            });
        }
    }

    fn item(&mut self, _: Shape, len: Option<usize>, index: usize) -> Result<bool, DecodeError> {
        match len {
            Some(len) => Ok(index < len),
            None => self.goto(Len::Indefinite, index),
        }
    }

    fn colon(&mut self) -> Result<(), DecodeError> {
        Ok(())
    }
}
