//! Writing CBOR, each value in its shortest form; doubles stay doubles.

use super::super::{
    ValueError,
    lengths::{Header, Lengths},
    stream::{Mark, Shape, Sink, Step, Writer},
};

/// Appends CBOR to a buffer.
#[derive(Debug)]
pub(crate) struct CborWriter<'a> {
    out: &'a mut Vec<u8>,
    lengths: Lengths,
}

impl<'a> CborWriter<'a> {
    /// Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            lengths: Lengths::default(),
        }
    }

    #[inline]
    fn head(&mut self, major: u8, argument: u64) {
        let (bytes, width) = head(major, argument);
        self.out.extend_from_slice(&bytes[..width]);
    }
}

/// The head of an item: its major type and argument.
#[inline]
fn head(major: u8, argument: u64) -> Header {
    let major = major << 5;
    let mut bytes = [0; 9];
    let width = match argument {
        0..24 => {
            bytes[0] = major | argument as u8;
            1
        }
        24..0x100 => {
            bytes[..2].copy_from_slice(&[major | 24, argument as u8]);
            2
        }
        0x100..0x1_0000 => {
            bytes[0] = major | 25;
            bytes[1..3].copy_from_slice(&(argument as u16).to_be_bytes());
            3
        }
        0x1_0000..0x1_0000_0000 => {
            bytes[0] = major | 26;
            bytes[1..5].copy_from_slice(&(argument as u32).to_be_bytes());
            5
        }
        _ => {
            bytes[0] = major | 27;
            bytes[1..9].copy_from_slice(&argument.to_be_bytes());
            9
        }
    };
    (bytes, width)
}

fn header(shape: Shape, len: usize) -> Header {
    match shape {
        Shape::List => head(4, len as u64),
        Shape::Dict => head(5, len as u64),
    }
}

impl Sink for CborWriter<'_> {
    fn null(&mut self) -> Step {
        self.out.push(0xf6);
        Ok(())
    }

    fn bool(&mut self, value: bool) -> Step {
        self.out.push(0xf4 | u8::from(value));
        Ok(())
    }

    fn unsigned(&mut self, value: u64) -> Step {
        self.head(0, value);
        Ok(())
    }

    fn integer(&mut self, value: i128) -> Step {
        let (major, argument) = if value >= 0 {
            (0, value.unsigned_abs())
        } else {
            (1, (-1 - value).unsigned_abs())
        };
        match u64::try_from(argument) {
            Ok(argument) => self.head(major, argument),
            // A bignum, tag 2 or 3. No reader yields one; it takes a `Value` outside its documented range.
            Err(_) => {
                self.head(6, u64::from(2 + major));
                let bytes = argument.to_be_bytes();
                self.binary(&bytes[argument.leading_zeros() as usize / 8..])?;
            }
        }
        Ok(())
    }

    fn float(&mut self, value: f64) -> Step {
        self.out.push(0xfb);
        self.out.extend_from_slice(&value.to_bits().to_be_bytes());
        Ok(())
    }

    fn text(&mut self, value: &str) -> Step {
        self.head(3, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn binary(&mut self, value: &[u8]) -> Step {
        self.head(2, value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn begin(&mut self, shape: Shape, len: Option<usize>) -> Result<Mark, ValueError> {
        let Some(len) = len else {
            return Ok(self.lengths.open(self.out.len(), shape));
        };
        let (bytes, width) = header(shape, len);
        self.out.extend_from_slice(&bytes[..width]);
        Ok(Mark::WRITTEN)
    }

    fn item(&mut self, _: usize) {}

    fn key(&mut self) {}

    fn colon(&mut self) {}

    fn end(&mut self, _: Shape, mark: Mark, len: usize) -> Step {
        self.lengths.close(mark, len);
        Ok(())
    }
}

impl Writer for CborWriter<'_> {
    fn splice(&mut self, _: usize, elements: &[u8]) {
        self.out.extend_from_slice(elements);
    }

    fn finish(self) {
        self.lengths.fill(self.out, header);
    }
}
