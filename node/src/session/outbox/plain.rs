//! Putting in an INVOCATION or RESULT whose payload lies in a read buffer: copied once, from there to here.

use std::sync::Arc;

use super::{Outbox, Pushed, Touched};
use crate::wamp::{
    Dict, Message,
    codec::plain::{Elements, PlainHead},
};

impl Outbox {
    /// Puts a message in that consists of `head` and `payload`, which is in this outbox's serializer.
    pub fn push_plain(self: &Arc<Self>, head: PlainHead, payload: Elements<'_>, touched: &mut Touched) -> Pushed {
        debug_assert_eq!(payload.serializer, self.wire.serializer);
        let mut inner = self.inner.lock();
        if !self.is_open() {
            return Pushed::Closed;
        }
        let written = head.write(self.wire.serializer, payload.count);
        let len = written.before().len() + payload.bytes.len() + written.after().len();
        let header = self.wire.framing.header(len);
        let header = header.bytes();
        let added = header.len() + len;
        if len > self.plain_bytes_max || inner.laggard || self.would_congest(&inner, added) {
            drop(inner);
            return self.push(&message(head, payload), touched);
        }
        let tail = inner.tail();
        tail.reserve(added);
        for part in [header, written.before(), payload.bytes, written.after()] {
            tail.extend_from_slice(part);
        }
        inner.count(added);
        if !inner.touched {
            inner.touched = true;
            touched.note(self);
        }
        Pushed::Queued
    }
}

fn message(head: PlainHead, payload: Elements<'_>) -> Message {
    let (details, payload) = (Dict::new(), payload.to_payload());
    match head {
        PlainHead::Invocation { request, registration } => Message::Invocation {
            request,
            registration,
            details,
            payload,
        },
        PlainHead::Result { request } => Message::Result {
            request,
            details,
            payload,
        },
    }
}
