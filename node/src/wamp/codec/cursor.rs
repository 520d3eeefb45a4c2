//! A position in a binary frame. Never reads past the end, never believes a length it cannot see.

use super::DecodeError;

/// Bytes and how far they were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the first byte of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte, which stays unread.
    #[inline]
    pub(crate) fn peek(&self) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or(DecodeError::Truncated { at: self.at })
    }

    /// Passes the next byte if it is this one.
    #[inline]
    pub(crate) fn pass(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    /// The next byte.
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { at: self.at }),
        }
    }

    /// The next `len` bytes as UTF-8.
    #[inline]
    pub(crate) fn take_text(&mut self, len: u64) -> Result<&'a str, DecodeError> {
        let start = self.at;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|e| DecodeError::Unicode {
            at: start + e.valid_up_to(),
        })
    }

    /// Proves the next `len` bytes to be UTF-8 and passes them.
    #[inline]
    pub(crate) fn skip_text(&mut self, len: u64) -> Result<(), DecodeError> {
        let start = self.at;
        let bytes = self.take(len)?;
        // Most text is ASCII, and that is seen faster.
        if bytes.is_ascii() {
            return Ok(());
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(()),
            Err(e) => Err(DecodeError::Unicode {
                at: start + e.valid_up_to(),
            }),
        }
    }

    /// The next `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(DecodeError::Truncated { at: self.at }),
        }
    }

    /// A big-endian integer of two bytes.
    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A big-endian integer of four bytes.
    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A big-endian integer of eight bytes.
    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// `len` as the number of items to come, each of at least `least` bytes; a lie ends here and not in a long loop.
    #[inline]
    pub(crate) fn items(&self, len: u64, least: u64) -> Result<usize, DecodeError> {
        let rest = self.bytes.len() - self.at;
        match usize::try_from(len) {
            Ok(items) if len.checked_mul(least).is_some_and(|bytes| bytes <= rest as u64) => Ok(items),
            _ => Err(DecodeError::Truncated { at: self.at }),
        }
    }

    /// Proves that everything was read.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { at: self.at })
        }
    }
}
