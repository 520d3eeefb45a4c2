//! Writing MessagePack, each value in its shortest form; doubles stay doubles.

use super::super::{
    ValueError,
    lengths::{Header, Lengths},
    stream::{Mark, Shape, Sink, Step, Writer},
};

/// Appends MessagePack to a buffer.
#[derive(Debug)]
pub(crate) struct MsgPackWriter<'a> {
    out: &'a mut Vec<u8>,
    lengths: Lengths,
}

impl<'a> MsgPackWriter<'a> {
    /// Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            lengths: Lengths::default(),
        }
    }

    #[inline]
    fn push<const N: usize>(&mut self, byte: u8, rest: [u8; N]) {
        self.out.push(byte);
        self.out.extend_from_slice(&rest);
    }
}

/// The header of a container of less than 16, without the length.
fn short_header(shape: Shape) -> u8 {
    match shape {
        Shape::List => 0x90,
        Shape::Dict => 0x80,
    }
}

/// The header of a container; its length was checked to fit.
fn header(shape: Shape, len: usize) -> Header {
    let short = short_header(shape);
    let medium = match shape {
        Shape::List => 0xdc,
        Shape::Dict => 0xde,
    };
    let mut bytes = [0; 9];
    let width = if len < 16 {
        bytes[0] = short | len as u8;
        1
    } else if let Ok(len) = u16::try_from(len) {
        bytes[0] = medium;
        bytes[1..3].copy_from_slice(&len.to_be_bytes());
        3
    } else {
        bytes[0] = medium + 1;
        bytes[1..5].copy_from_slice(&(len as u32).to_be_bytes());
        5
    };
    (bytes, width)
}

impl Sink for MsgPackWriter<'_> {
    fn null(&mut self) -> Step {
        self.out.push(0xc0);
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Step {
        self.out.push(0xc2 | u8::from(value));
        Ok(())
    }

    #[inline]
    fn unsigned(&mut self, value: u64) -> Step {
        match value {
            0..0x80 => self.out.push(value as u8),
            0x80..0x100 => self.push(0xcc, [value as u8]),
            0x100..0x1_0000 => self.push(0xcd, (value as u16).to_be_bytes()),
            0x1_0000..0x1_0000_0000 => self.push(0xce, (value as u32).to_be_bytes()),
            _ => self.push(0xcf, value.to_be_bytes()),
        }
        Ok(())
    }

    fn integer(&mut self, value: i128) -> Step {
        if let Ok(value) = u64::try_from(value) {
            return self.unsigned(value);
        }
        let value = i64::try_from(value).map_err(|_| ValueError::IntegerTooWide)?;
        if let Ok(value) = i8::try_from(value) {
            if value >= -32 {
                self.out.push(value as u8);
            } else {
                self.push(0xd0, value.to_be_bytes());
            }
        } else if let Ok(value) = i16::try_from(value) {
            self.push(0xd1, value.to_be_bytes());
        } else if let Ok(value) = i32::try_from(value) {
            self.push(0xd2, value.to_be_bytes());
        } else {
            self.push(0xd3, value.to_be_bytes());
        }
        Ok(())
    }

    fn float(&mut self, value: f64) -> Step {
        self.push(0xcb, value.to_bits().to_be_bytes());
        Ok(())
    }

    fn text(&mut self, value: &str) -> Step {
        match u32::try_from(value.len()).map_err(|_| ValueError::TooLong)? {
            len @ 0..32 => self.out.push(0xa0 | len as u8),
            len @ 32..0x100 => self.push(0xd9, [len as u8]),
            len @ 0x100..0x1_0000 => self.push(0xda, (len as u16).to_be_bytes()),
            len => self.push(0xdb, len.to_be_bytes()),
        }
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn binary(&mut self, value: &[u8]) -> Step {
        match u32::try_from(value.len()).map_err(|_| ValueError::TooLong)? {
            len @ 0..0x100 => self.push(0xc4, [len as u8]),
            len @ 0x100..0x1_0000 => self.push(0xc5, (len as u16).to_be_bytes()),
            len => self.push(0xc6, len.to_be_bytes()),
        }
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn begin(&mut self, shape: Shape, len: Option<usize>) -> Result<Mark, ValueError> {
        let Some(len) = len else {
            return Ok(self.lengths.open(self.out.len(), shape));
        };
        if len < 16 {
            // Every message, and nearly all options and details.
            self.out.push(short_header(shape) | len as u8);
            return Ok(Mark::WRITTEN);
        }
        u32::try_from(len).map_err(|_| ValueError::TooLong)?;
        let (bytes, width) = header(shape, len);
        self.out.extend_from_slice(&bytes[..width]);
        Ok(Mark::WRITTEN)
    }

    fn item(&mut self, _: usize) {}

    fn key(&mut self) {}

    fn colon(&mut self) {}

    fn end(&mut self, _: Shape, mark: Mark, len: usize) -> Step {
        u32::try_from(len).map_err(|_| ValueError::TooLong)?;
        self.lengths.close(mark, len);
        Ok(())
    }
}

impl Writer for MsgPackWriter<'_> {
    fn splice(&mut self, _: usize, elements: &[u8]) {
        self.out.extend_from_slice(elements);
    }

    fn finish(self) {
        self.lengths.fill(self.out, header);
    }
}
