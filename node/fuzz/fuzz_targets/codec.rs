//! Arbitrary bytes as a frame: the first byte picks the serializer, the rest is what a peer might send.
//!
//! Whatever they are, nothing panics; a frame that is a message can be written again, in its own serializer always, in the others
//! unless it holds what they cannot carry, and what was written reads as the same message.
//!
//! Run with `cargo fuzz run codec` in `node/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfort::wamp::{
    Message, Payload, Serializer,
    codec::{Frame, Limits, decode, encode},
};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, frame)) = data.split_first() else { return };
    let from = Serializer::ALL[usize::from(choice) % Serializer::ALL.len()];
    let limits = Limits {
        payload_transparency: choice & 0x80 != 0,
        ..Limits::default()
    };
    let Ok(message) = decode(from, Frame::Borrowed(frame), &limits) else {
        return;
    };
    let payload = message.payload().cloned().unwrap_or(Payload::EMPTY);
    let _ = payload.to_values();
    for to in Serializer::ALL {
        let mut out = Vec::new();
        match encode(&message, to, &mut out) {
            Ok(()) => check(&message, &payload, to, &out, &limits),
            Err(_) => assert!(out.is_empty(), "a failed encode leaves nothing behind"),
        }
    }
});

fn check(message: &Message, payload: &Payload, to: Serializer, written: &[u8], limits: &Limits) {
    let again = decode(to, Frame::Borrowed(written), limits).expect("what was written can be read");
    assert_eq!(again.code(), message.code());
    let transcoded = payload.transcode(to).expect("the message was written with it");
    assert_eq!(
        again.payload().map_or(&b""[..], |payload| payload.bytes()),
        &transcoded.bytes()[..]
    );
    let mut twice = Vec::new();
    encode(&again, to, &mut twice).expect("it was written before");
    assert_eq!(twice, written, "one more round changes nothing");
}
