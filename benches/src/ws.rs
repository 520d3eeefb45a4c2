//! WebSocket frames, as bytes: what a client writes and what it reads, and the unmasked frames of a server for the proxy.
//!
//! Spec: RFC 6455, section 5. No extensions are negotiated, so reserved bits are a fault.

use anyhow::{Result, bail};

/// Opcodes.
pub mod opcode {
    #![allow(missing_docs)]
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// Frames beyond this are refused: no load sends such.
const PAYLOAD_MAX: u64 = 64 << 20;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The last frame of its message.
    pub fin: bool,
    /// See [`opcode`].
    pub opcode: u8,
    /// The masking key, in frames of a client.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the head.
    pub len: usize,
    /// Bytes that follow.
    pub payload_len: usize,
}

impl Head {
    /// Reads the head at the start of `bytes`; `None` if it is not complete yet. The payload may still be missing.
    ///
    /// # Errors
    /// On reserved bits and on absurd lengths.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            bail!("a WebSocket frame with reserved bits");
        }
        let (extended, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let masked = second & 0x80 != 0;
        let len = 2 + extended + if masked { 4 } else { 0 };
        if bytes.len() < len {
            return Ok(None);
        }
        let payload_len = rest[..extended].iter().fold(short, |sum, byte| sum << 8 | u64::from(*byte));
        if payload_len > PAYLOAD_MAX {
            bail!("a WebSocket frame of {payload_len} bytes");
        }
        let mask = masked.then(|| [bytes[len - 4], bytes[len - 3], bytes[len - 2], bytes[len - 1]]);
        Ok(Some(Self {
            fin: first & 0x80 != 0,
            opcode: first & 0x0f,
            mask,
            len,
            payload_len: payload_len as usize,
        }))
    }

    /// Head and payload together.
    pub fn total(&self) -> usize {
        self.len + self.payload_len
    }
}

/// Appends a whole message as one frame, masked with `mask` if given.
pub fn append(out: &mut Vec<u8>, opcode: u8, mask: Option<[u8; 4]>, payload: &[u8]) {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        len @ 0..=125 => out.push(bit | len as u8),
        len @ 126..=0xffff => {
            out.push(bit | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(bit | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let Some(mask) = mask else {
        out.extend_from_slice(payload);
        return;
    };
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask);
}

/// Masks or unmasks in place.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask) {
        *byte ^= key;
    }
    // The remainder can be longer than the key.
    for (byte, key) in rest.iter_mut().skip(4).zip(mask) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_reads_back_at_every_length_form() {
        for len in [0, 1, 7, 8, 13, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut out = Vec::new();
            append(&mut out, opcode::BINARY, Some([1, 2, 3, 250]), &payload);
            let head = Head::read(&out).unwrap().unwrap();
            assert!(head.fin);
            assert_eq!(
                (head.opcode, head.payload_len, head.total()),
                (opcode::BINARY, len, out.len())
            );
            apply_mask(&mut out[head.len..], head.mask.unwrap());
            assert_eq!(out[head.len..], payload);
        }
    }

    #[test]
    fn masking_equals_the_definition() {
        let key = [0x11, 0x22, 0x44, 0x88];
        let mut bytes = [0xa5; 23];
        apply_mask(&mut bytes, key);
        assert!(bytes.iter().enumerate().all(|(i, b)| *b == 0xa5 ^ key[i % 4]));
    }

    #[test]
    fn heads_wait_until_they_are_complete_and_refuse_nonsense() {
        let mut out = Vec::new();
        append(&mut out, opcode::TEXT, None, &[0; 300]);
        for cut in 0..4 {
            assert_eq!(Head::read(&out[..cut]).unwrap(), None);
        }
        assert_eq!(Head::read(&out[..4]).unwrap().unwrap().payload_len, 300);
        assert!(Head::read(&[0xc1, 0]).is_err());
        assert!(Head::read(&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
