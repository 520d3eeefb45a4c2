//! MessagePack: reading. Writing is in [`mod@write`].
//!
//! Spec: the MessagePack format, fifth version on (text and binary are distinct).

mod write;

use std::borrow::Cow;

use super::{
    DecodeError, TranscodeError, ValueError,
    cursor::Cursor,
    stream::{Event, Keys, Kind, Reader, Shape, deeper, integral},
};
pub(crate) use write::MsgPackWriter;

/// Walks MessagePack bytes.
#[derive(Debug)]
pub(crate) struct MsgPackReader<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    /// Elements of the message still to come.
    left: usize,
}

/// One value, or the header of a container.
enum Token<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Binary(&'a [u8]),
    List(usize),
    Dict(usize),
    /// Extension type 0 with the one byte 0: how JavaScript libraries write `undefined`.
    Undefined,
    Extension(i8),
}

impl<'a> MsgPackReader<'a> {
    /// Before a message, which may nest `depth` levels.
    pub(crate) fn new(frame: &'a [u8], depth: usize) -> Self {
        Self {
            cursor: Cursor::new(frame),
            depth,
            left: 0,
        }
    }

    /// Before `count` elements without a list around them.
    pub(crate) fn elements(bytes: &'a [u8], count: u8, depth: usize) -> Self {
        Self {
            left: count.into(),
            ..Self::new(bytes, depth)
        }
    }

    #[inline]
    fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let at = self.cursor.at();
        let cursor = &mut self.cursor;
        let byte = cursor.byte()?;
        Ok(match byte {
            0x00..=0x7f => Token::Integer(byte.into()),
            0x80..=0x8f => Token::Dict(cursor.items(u64::from(byte & 15), 2)?),
            0x90..=0x9f => Token::List(cursor.items(u64::from(byte & 15), 1)?),
            0xa0..=0xbf => Token::Text(cursor.take_text(u64::from(byte & 31))?),
            0xc0 => Token::Null,
            0xc1 => {
                return Err(DecodeError::Syntax {
                    what: "unused messagepack type",
                    at,
                });
            }
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4..=0xc6 => {
                let len = length(cursor, byte - 0xc4)?;
                Token::Binary(cursor.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = length(cursor, byte - 0xc7)?;
                extension(cursor, len)?
            }
            0xca => Token::Float(f32::from_bits(cursor.u32()?).into()),
            0xcb => Token::Float(f64::from_bits(cursor.u64()?)),
            0xcc => Token::Integer(cursor.byte()?.into()),
            0xcd => Token::Integer(cursor.u16()?.into()),
            0xce => Token::Integer(cursor.u32()?.into()),
            0xcf => Token::Integer(cursor.u64()?.into()),
            0xd0 => Token::Integer((cursor.byte()? as i8).into()),
            0xd1 => Token::Integer((cursor.u16()? as i16).into()),
            0xd2 => Token::Integer((cursor.u32()? as i32).into()),
            0xd3 => Token::Integer((cursor.u64()? as i64).into()),
            0xd4..=0xd8 => extension(cursor, 1 << (byte - 0xd4))?,
            0xd9..=0xdb => {
                let len = length(cursor, byte - 0xd9)?;
                Token::Text(cursor.take_text(len)?)
            }
            0xdc | 0xdd => {
                let len = length(cursor, byte - 0xdb)?;
                Token::List(cursor.items(len, 1)?)
            }
            0xde | 0xdf => {
                let len = length(cursor, byte - 0xdd)?;
                Token::Dict(cursor.items(len, 2)?)
            }
            0xe0..=0xff => Token::Integer((byte as i8).into()),
        })
    }

    fn skip_items(&mut self, len: usize, depth: usize, at: usize) -> Result<usize, DecodeError> {
        let depth = deeper(depth, at)?;
        for _ in 0..len {
            self.skip_value(depth, Keys::Any)?;
        }
        Ok(len)
    }

    fn skip_value(&mut self, depth: usize, keys: Keys) -> Result<usize, DecodeError> {
        let at = self.cursor.at();
        // The common scalars at once; the rest costs a little more as a token.
        let scalar = match self.cursor.peek()? {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 1,
            byte @ 0xa0..=0xbf => {
                self.cursor.take(1)?;
                return self.cursor.skip_text(u64::from(byte & 31)).map(|()| 0);
            }
            0xd9 => {
                self.cursor.take(1)?;
                let len = self.cursor.byte()?;
                return self.cursor.skip_text(len.into()).map(|()| 0);
            }
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            byte @ 0x90..=0x9f => {
                self.cursor.byte()?;
                let len = self.cursor.items(u64::from(byte & 15), 1)?;
                return self.skip_items(len, depth, at);
            }
            _ => 0,
        };
        if scalar > 0 {
            return self.cursor.take(scalar).map(|_| 0);
        }
        match self.token()? {
            Token::List(len) => self.skip_items(len, depth, at),
            Token::Dict(len) => {
                let depth = deeper(depth, at)?;
                for _ in 0..len {
                    if keys == Keys::Text && self.kind()? != Kind::Text {
                        return Err(DecodeError::Syntax {
                            what: "key is not text",
                            at: self.cursor.at(),
                        });
                    }
                    self.skip_value(depth, Keys::Any)?;
                    self.skip_value(depth, Keys::Any)?;
                }
                Ok(len)
            }
            _ => Ok(0),
        }
    }
}

/// A stated length in 1, 2 or 4 bytes (`width` 0, 1, 2).
#[inline]
fn length(cursor: &mut Cursor<'_>, width: u8) -> Result<u64, DecodeError> {
    Ok(match width {
        0 => cursor.byte()?.into(),
        1 => cursor.u16()?.into(),
        _ => cursor.u32()?.into(),
    })
}

fn extension<'a>(cursor: &mut Cursor<'a>, len: u64) -> Result<Token<'a>, DecodeError> {
    let kind = cursor.byte()? as i8;
    Ok(match (kind, cursor.take(len)?) {
        (0, [0]) => Token::Undefined,
        _ => Token::Extension(kind),
    })
}

impl MsgPackReader<'_> {
    /// An integer in a form that nobody would choose for an id: a float, or signed.
    #[cold]
    fn unusual_integer(&mut self) -> Result<Option<u64>, DecodeError> {
        Ok(match self.token()? {
            Token::Integer(value) => u64::try_from(value).ok(),
            Token::Float(value) => integral(value),
            _ => None,
        })
    }
}

impl<'a> Reader<'a> for MsgPackReader<'a> {
    fn offset(&self) -> usize {
        self.cursor.at()
    }

    #[inline]
    fn open(&mut self) -> Result<(), DecodeError> {
        let at = self.cursor.at();
        if let byte @ 0x90..=0x9f = self.cursor.peek()? {
            self.cursor.byte()?;
            self.left = self.cursor.items(u64::from(byte & 15), 1)?;
            self.depth = deeper(self.depth, at)?;
            return Ok(());
        }
        match self.token()? {
            Token::List(len) => {
                self.depth = deeper(self.depth, at)?;
                self.left = len;
                Ok(())
            }
            _ => Err(DecodeError::NotAList),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<bool, DecodeError> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                self.cursor.peek().map(|_| true)
            }
            None => Ok(false),
        }
    }

    fn finish(&mut self) -> Result<(), DecodeError> {
        self.cursor.finish()
    }

    #[inline]
    fn kind(&self) -> Result<Kind, DecodeError> {
        Ok(match self.cursor.peek()? {
            0xa0..=0xbf | 0xd9..=0xdb => Kind::Text,
            0xc4..=0xc6 => Kind::Binary,
            0x90..=0x9f | 0xdc | 0xdd => Kind::List,
            0x80..=0x8f | 0xde | 0xdf => Kind::Dict,
            _ => Kind::Other,
        })
    }

    #[inline]
    fn unsigned(&mut self) -> Result<Option<u64>, DecodeError> {
        // The forms in which ids come; the rest is for the general reader.
        let value = match self.cursor.peek()? {
            byte @ 0..=0x7f => {
                self.cursor.byte()?;
                return Ok(Some(byte.into()));
            }
            0xcc => {
                self.cursor.byte()?;
                self.cursor.byte()?.into()
            }
            0xcd => {
                self.cursor.byte()?;
                self.cursor.u16()?.into()
            }
            0xce => {
                self.cursor.byte()?;
                self.cursor.u32()?.into()
            }
            0xcf => {
                self.cursor.byte()?;
                self.cursor.u64()?
            }
            _ => return self.unusual_integer(),
        };
        Ok(Some(value))
    }

    #[inline]
    fn text(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let at = self.cursor.at();
        if let byte @ 0xa0..=0xbf = self.cursor.peek()? {
            self.cursor.byte()?;
            return self.cursor.take_text(u64::from(byte & 31)).map(Cow::Borrowed);
        }
        match self.token()? {
            Token::Text(text) => Ok(Cow::Borrowed(text)),
            _ => Err(DecodeError::Syntax {
                what: "expected text",
                at,
            }),
        }
    }

    fn empty_dict(&mut self) -> bool {
        self.cursor.pass(0x80)
    }

    fn skip(&mut self, keys: Keys) -> Result<usize, DecodeError> {
        self.skip_value(self.depth, keys)
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn event(&mut self, _: bool) -> Result<Event<'a>, TranscodeError> {
        Ok(match self.token()? {
            Token::Null => Event::Null,
            Token::Undefined => Event::Undefined,
            Token::Bool(value) => Event::Bool(value),
            Token::Integer(value) => Event::Integer(value),
            Token::Float(value) => Event::Float(value),
            Token::Text(value) => Event::Text(Cow::Borrowed(value)),
            Token::Binary(value) => Event::Binary(Cow::Borrowed(value)),
            Token::Extension(kind) => return Err(ValueError::Extension { kind }.into()),
            Token::List(len) => Event::Begin(Shape::List, Some(len)),
            Token::Dict(len) => Event::Begin(Shape::Dict, Some(len)),
        })
    }

    fn item(&mut self, _: Shape, len: Option<usize>, index: usize) -> Result<bool, DecodeError> {
        Ok(len.is_some_and(|len| index < len))
    }

    fn colon(&mut self) -> Result<(), DecodeError> {
        Ok(())
    }
}
