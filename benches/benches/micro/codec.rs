//! Bytes to messages and back, and from one serializer to another.

use divan::{Bencher, black_box, counter::BytesCount};
use ringfort::wamp::{
    Serializer,
    codec::{self, Frame, Limits},
};

use crate::{SERIALIZERS, call, payload, structured};

const PAYLOADS: [usize; 2] = [64, 1024];

fn encoded(serializer: Serializer, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(
        &call(7, "com.example.echo".into(), payload(serializer, len)),
        serializer,
        &mut bytes,
    )
    .unwrap();
    bytes
}

/// A CALL out of a reading buffer.
#[divan::bench(args = SERIALIZERS, consts = PAYLOADS)]
fn decode_call<const LEN: usize>(bencher: Bencher<'_, '_>, serializer: Serializer) {
    let (bytes, limits) = (encoded(serializer, LEN), Limits::default());
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench_local(|| codec::decode(serializer, Frame::Borrowed(black_box(&bytes)), &limits).unwrap());
}

/// A CALL into a buffer that has grown before.
#[divan::bench(args = SERIALIZERS, consts = PAYLOADS)]
fn encode_call<const LEN: usize>(bencher: Bencher<'_, '_>, serializer: Serializer) {
    let message = call(7, "com.example.echo".into(), payload(serializer, LEN));
    let mut out = Vec::with_capacity(2 * LEN);
    bencher.bench_local(|| {
        out.clear();
        codec::encode(black_box(&message), serializer, &mut out).unwrap();
        out.len()
    });
}

/// From each serializer to each other: eight readings of a device in a list of dicts.
#[divan::bench(args = pairs())]
fn transcode_readings(bencher: Bencher<'_, '_>, pair: Pair) {
    let Pair(from, to) = pair;
    let payload = structured(from);
    bencher
        .counter(BytesCount::of_slice(payload.bytes()))
        .bench_local(|| black_box(&payload).transcode(to).unwrap());
}

#[derive(Clone, Copy, Debug)]
struct Pair(Serializer, Serializer);

fn pairs() -> Vec<Pair> {
    let all = SERIALIZERS.into_iter().flat_map(|from| SERIALIZERS.map(|to| Pair(from, to)));
    all.filter(|Pair(from, to)| from != to).collect()
}
