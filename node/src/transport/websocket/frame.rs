//! WebSocket frames: a resumable decoder of what clients send, and the headers of what is sent to them.
//!
//! Spec: RFC 6455, "Data Framing". The decoder takes input in any pieces, unmasks in place, joins fragments, and lets control
//! frames come between them. It keeps bytes only of a frame or message that is not complete yet.

use crate::transport::framing::{Data, Fault, Header, Incoming, reserve_announced};

/// The frame types of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment.
    Continuation = 0,
    /// A text message or its first fragment.
    Text = 1,
    /// A binary message or its first fragment.
    Binary = 2,
    /// The peer closes.
    Close = 8,
    /// To be answered by a pong.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// The header of one whole, unmasked frame.
pub fn header(opcode: Opcode, len: usize) -> Header {
    let first = 0x80 | opcode as u8;
    match len {
        0..=125 => Header::new([first, len as u8, 0, 0, 0, 0, 0, 0, 0, 0], 2),
        126..=0xFFFF => {
            let [a, b] = (len as u16).to_be_bytes();
            Header::new([first, 126, a, b, 0, 0, 0, 0, 0, 0], 4)
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
            Header::new([first, 127, a, b, c, d, e, f, g, h], 10)
        }
    }
}

/// Appends a whole control frame. Payloads above 125 bytes, which a control frame cannot carry, are cut.
pub fn append_control(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    out.extend_from_slice(header(opcode, payload.len()).bytes());
    out.extend_from_slice(payload);
}

/// Appends a close frame with a code and a short reason.
pub fn append_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    append_control(Opcode::Close, &payload, out);
}

/// The incoming side of one WebSocket connection.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The longest message that is accepted, all fragments together.
    pub message_bytes_max: usize,
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    frame: Option<Frame>,
    /// The message whose fragments, or whose only frame's pieces, are being gathered.
    message: Option<Box<Gathered>>,
    /// The payload of a control frame that came in pieces.
    control: Vec<u8>,
}

/// A frame whose header is complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Payload bytes taken so far.
    taken: usize,
    /// Payload bytes still to come.
    left: usize,
}

#[derive(Debug)]
struct Gathered {
    text: bool,
    bytes: Vec<u8>,
}

const HEAD_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: usize = 125;

impl Decoder {
    /// A decoder at the beginning of a connection.
    pub fn new(message_bytes_max: usize) -> Self {
        Self {
            message_bytes_max,
            ..Self::default()
        }
    }

    /// See [`crate::transport::framing::Decoder::next`].
    ///
    /// # Errors
    /// The peer broke RFC 6455 or the size limit.
    pub fn next(&mut self, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        if let Some(whole) = self.whole(input, at)? {
            return Ok(Some(whole));
        }
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.header(input, at)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            if let Some(incoming) = self.payload(frame, input, at)? {
                return Ok(Some(incoming));
            }
            if self.frame.is_some() {
                return Ok(None);
            }
        }
    }

    /// The usual case at the usual cost: a message in one frame of less than 64 KiB that lies in the input as a whole. `None`, with
    /// nothing taken, for everything else.
    #[inline]
    fn whole(&self, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        if self.head_len != 0 || self.frame.is_some() || self.message.is_some() {
            return Ok(None);
        }
        let (len, mask, head_len) = match input.get(*at..) {
            Some([0x81 | 0x82, len @ 0x80..=0xFD, a, b, c, d, ..]) => (usize::from(len & 0x7F), [*a, *b, *c, *d], 6),
            Some([0x81 | 0x82, 0xFE, high, low, a, b, c, d, ..]) => {
                (usize::from(u16::from_be_bytes([*high, *low])), [*a, *b, *c, *d], 8)
            }
            _ => return Ok(None),
        };
        let range = *at + head_len..*at + head_len + len;
        if range.end > input.len() || len > self.message_bytes_max {
            return Ok(None);
        }
        let text = input[*at] == 0x81;
        let payload = &mut input[range.clone()];
        unmask(payload, mask, 0);
        if text && std::str::from_utf8(payload).is_err() {
            return Err(Fault::NotUtf8);
        }
        *at = range.end;
        Ok(Some(Incoming::Message {
            text: Some(text),
            data: Data::Input(range),
        }))
    }

    /// Reads the header that begins, or goes on, at `input[*at..]`.
    fn header(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Frame>, Fault> {
        let mut needed = header_len(&self.head[..self.head_len])?;
        while self.head_len < needed {
            let Some(&byte) = input.get(*at) else { return Ok(None) };
            self.head[self.head_len] = byte;
            self.head_len += 1;
            *at += 1;
            if self.head_len <= 2 {
                needed = header_len(&self.head[..self.head_len])?;
            }
        }
        let head = &self.head[..self.head_len];
        self.head_len = 0;
        let left = match head[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes([head[2], head[3]])),
            127 => u64::from_be_bytes([head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9]]),
            short => short.into(),
        };
        let mask = [head[needed - 4], head[needed - 3], head[needed - 2], head[needed - 1]];
        let opcode = Opcode::from_bits(head[0] & 0x0F).ok_or(Fault::Protocol("reserved opcode"))?;
        if left > i64::MAX as u64 {
            return Err(Fault::Protocol("frame length above 2^63"));
        }
        match opcode {
            Opcode::Continuation if self.message.is_none() => return Err(Fault::Protocol("continuation of no message")),
            Opcode::Text | Opcode::Binary if self.message.is_some() => {
                return Err(Fault::Protocol("new message inside a fragmented one"));
            }
            _ => {}
        }
        if !opcode.is_control() {
            let before = self.message.as_ref().map_or(0, |m| m.bytes.len());
            if left.saturating_add(before as u64) > self.message_bytes_max as u64 {
                return Err(Fault::TooBig);
            }
        }
        let left = usize::try_from(left).map_err(|_| Fault::TooBig)?;
        let frame = Frame {
            last: head[0] & 0x80 != 0,
            opcode,
            mask,
            taken: 0,
            left,
        };
        self.frame = Some(frame);
        Ok(Some(frame))
    }

    /// Takes what is there of the frame's payload; says what it completes.
    fn payload(&mut self, mut frame: Frame, input: &mut [u8], at: &mut usize) -> Result<Option<Incoming>, Fault> {
        let take = frame.left.min(input.len() - *at);
        let range = *at..*at + take;
        *at += take;
        unmask(&mut input[range.clone()], frame.mask, frame.taken);
        frame.taken += take;
        frame.left -= take;
        let whole = frame.left == 0;
        self.frame = if whole { None } else { Some(frame) };

        if frame.opcode.is_control() {
            let data = if whole && frame.taken == take {
                Data::Input(range)
            } else {
                self.control.extend_from_slice(&input[range]);
                if !whole {
                    return Ok(None);
                }
                Data::Owned(std::mem::take(&mut self.control))
            };
            return control(frame.opcode, data, input).map(Some);
        }

        if whole && frame.last && frame.taken == take && self.message.is_none() {
            let text = frame.opcode == Opcode::Text;
            if text && std::str::from_utf8(&input[range.clone()]).is_err() {
                return Err(Fault::NotUtf8);
            }
            return Ok(Some(Incoming::Message {
                text: Some(text),
                data: Data::Input(range),
            }));
        }
        let message = self.message.get_or_insert_with(|| {
            Box::new(Gathered {
                text: frame.opcode == Opcode::Text,
                bytes: Vec::new(),
            })
        });
        let mut piece = &input[range];
        while !piece.is_empty() {
            reserve_announced(&mut message.bytes, piece.len() + frame.left);
            let (now, later) = piece.split_at(piece.len().min(message.bytes.capacity() - message.bytes.len()));
            message.bytes.extend_from_slice(now);
            piece = later;
        }
        if !(whole && frame.last) {
            return Ok(None);
        }
        let Some(message) = self.message.take() else { return Ok(None) };
        if message.text && std::str::from_utf8(&message.bytes).is_err() {
            return Err(Fault::NotUtf8);
        }
        Ok(Some(Incoming::Message {
            text: Some(message.text),
            data: Data::Owned(message.bytes),
        }))
    }
}

/// How long the header that begins with `head` is; two bytes tell.
fn header_len(head: &[u8]) -> Result<usize, Fault> {
    if let Some(first) = head.first() {
        if first & 0x70 != 0 {
            return Err(Fault::Protocol("reserved bits set"));
        }
        if Opcode::from_bits(first & 0x0F).is_none() {
            return Err(Fault::Protocol("reserved opcode"));
        }
    }
    let [first, second, ..] = head else { return Ok(2) };
    if second & 0x80 == 0 {
        return Err(Fault::Protocol("client frame is not masked"));
    }
    if first & 0x08 != 0 {
        if first & 0x80 == 0 {
            return Err(Fault::Protocol("fragmented control frame"));
        }
        if second & 0x7F > CONTROL_BYTES_MAX as u8 {
            return Err(Fault::Protocol("control frame longer than 125 bytes"));
        }
    }
    Ok(match second & 0x7F {
        126 => 8,
        127 => 14,
        _ => 6,
    })
}

fn control(opcode: Opcode, data: Data, input: &[u8]) -> Result<Incoming, Fault> {
    Ok(match opcode {
        Opcode::Ping => Incoming::Ping(data),
        Opcode::Close => Incoming::Close(close_code(data.bytes(input))?),
        _ => Incoming::Pong,
    })
}

/// The code of a close frame. Spec: RFC 6455, "Status Codes".
fn close_code(payload: &[u8]) -> Result<Option<u16>, Fault> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Fault::Protocol("close frame of one byte"))
        };
    };
    let code = u16::from_be_bytes([*high, *low]);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Fault::Protocol("illegal close code"));
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Fault::NotUtf8);
    }
    Ok(Some(code))
}

/// Takes the mask off a piece of payload that begins `offset` bytes into its frame.
fn unmask(piece: &mut [u8], mask: [u8; 4], offset: usize) {
    let phase = offset % 4;
    let turned = [
        mask[phase],
        mask[(phase + 1) % 4],
        mask[(phase + 2) % 4],
        mask[(phase + 3) % 4],
    ];
    let wide = u128::from(u32::from_ne_bytes(turned)) * 0x0000_0001_0000_0001_0000_0001_0000_0001;
    let (words, rest) = piece.as_chunks_mut::<16>();
    for word in words {
        *word = (u128::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ wide as u32).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(turned) {
        *byte ^= key;
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
