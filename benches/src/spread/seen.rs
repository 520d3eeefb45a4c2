//! What a worker has seen, on its way to the coordinator: histories cut into chunks, and figures.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer as _, V2Serializer},
};
use prost::Message as _;
use ringfort_proto::bench::v1;

use crate::{
    history::{Arrival, History, Report, SequenceSet, Source},
    load::{ensemble::Witness, histogram},
};

/// A chunk is sent when it has grown to this size; well below the largest message.
const CHUNK_BYTES: usize = 256 * 1024;

/// Words of one set in one chunk; a longer set goes in pieces. At most some 20 bytes each.
const WORDS_MAX: usize = 8 * 1024;

/// No source sends more; it would take a day at 50,000 messages per second.
const SEQUENCES_MAX: u64 = 1 << 32;

/// Cuts a history into chunks.
pub(super) fn chunks(history: &History) -> impl Iterator<Item = v1::Chunk> {
    let sources = history.sources().flat_map(|(number, source)| source_pieces(number, source));
    let arrivals = history.arrivals().flat_map(|arrival| arrival_pieces(&arrival));
    let mut pieces = sources.map(Piece::Source).chain(arrivals.map(Piece::Arrival));
    std::iter::from_fn(move || {
        let (mut chunk, mut bytes) = (v1::Chunk::default(), 0);
        while bytes < CHUNK_BYTES {
            match pieces.next() {
                Some(Piece::Source(source)) => {
                    bytes += source.encoded_len();
                    chunk.sources.push(source);
                }
                Some(Piece::Arrival(arrival)) => {
                    bytes += arrival.encoded_len();
                    chunk.arrivals.push(arrival);
                }
                None => break,
            }
        }
        (bytes > 0).then_some(chunk)
    })
}

enum Piece {
    Source(v1::Source),
    Arrival(v1::Arrival),
}

fn source_pieces(number: u32, source: &Source) -> Vec<v1::Source> {
    let empty = || v1::Source {
        source: number,
        ..v1::Source::default()
    };
    let sent = set_pieces(&source.sent).map(|set| v1::Source {
        sent: Some(set),
        ..empty()
    });
    let answered = set_pieces(&source.answered).map(|set| v1::Source {
        answered: Some(set),
        ..empty()
    });
    let excused = set_pieces(&source.excused).map(|set| v1::Source {
        excused: Some(set),
        ..empty()
    });
    sent.chain(answered).chain(excused).collect()
}

fn arrival_pieces(arrival: &Arrival) -> Vec<v1::Arrival> {
    let pieces = set_pieces(&arrival.arrived).map(|set| v1::Arrival {
        group: arrival.group,
        source: arrival.source,
        arrived: Some(set),
    });
    pieces.collect()
}

/// The set as one or more sets without common members; none if it is empty.
fn set_pieces(set: &SequenceSet) -> impl Iterator<Item = v1::Sequences> {
    let (next, words) = set.parts();
    let words: Vec<(u64, u64)> = words.collect();
    let mut pieces: Vec<v1::Sequences> = words.chunks(WORDS_MAX).map(write_words).collect();
    match pieces.first_mut() {
        Some(first) => first.next = next,
        None if next > 0 => pieces.push(v1::Sequences {
            next,
            ..v1::Sequences::default()
        }),
        None => {}
    }
    pieces.into_iter()
}

fn write_words(words: &[(u64, u64)]) -> v1::Sequences {
    let mut sequences = v1::Sequences::default();
    let mut at = 0;
    for (index, bits) in words {
        sequences.steps.push(index - at);
        sequences.words.push(*bits);
        at = *index;
    }
    sequences
}

fn read_set(sequences: Option<v1::Sequences>) -> Result<SequenceSet> {
    let Some(sequences) = sequences else {
        return Ok(SequenceSet::default());
    };
    let v1::Sequences { next, steps, words } = sequences;
    ensure!(next <= SEQUENCES_MAX, "a source with more than {SEQUENCES_MAX} messages");
    ensure!(steps.len() == words.len(), "a set whose words have no place");
    let mut at = 0u64;
    let mut placed = Vec::with_capacity(words.len());
    for (step, bits) in steps.into_iter().zip(words) {
        at = at.saturating_add(step);
        ensure!(at < SEQUENCES_MAX / 64, "a source with more than {SEQUENCES_MAX} messages");
        placed.push((at, bits));
    }
    Ok(SequenceSet::from_parts(next, placed))
}

/// Adds a chunk to the history of all.
///
/// # Errors
/// When it speaks of more sessions than `senders` and `groups`, or is damaged.
pub(super) fn add_chunk(whole: &mut History, chunk: v1::Chunk, senders: u32, groups: u32) -> Result<()> {
    for v1::Source {
        source,
        sent,
        answered,
        excused,
    } in chunk.sources
    {
        ensure!(source < senders, "there is no sender {source}");
        let seen = Source {
            sent: read_set(sent)?,
            answered: read_set(answered)?,
            excused: read_set(excused)?,
        };
        whole.add_source(source, &seen);
    }
    for v1::Arrival { group, source, arrived } in chunk.arrivals {
        // What nobody sent may have come from any number; but a number that big is none of ours.
        ensure!(group < groups && source < senders, "there is no pair of {source} and {group}");
        let arrived = read_set(arrived)?;
        whole.add_arrival(&Arrival { group, source, arrived });
    }
    Ok(())
}

/// The figures of one worker.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) counts: Report,
    pub(super) operations: u64,
    pub(super) elapsed: Duration,
    pub(super) client_cpu_us: u64,
    pub(super) latencies: Histogram<u64>,
    pub(super) first_failure: Option<String>,
}

/// Bytes of a text that was not made for figures; a router chooses an error's.
const TEXT_MAX: usize = 1000;

/// Writes the figures of a witness, whose history goes ahead in chunks.
pub(super) fn write_result(witness: &Witness) -> Result<v1::Result> {
    let measured = &witness.measured;
    let mut histogram = Vec::new();
    V2Serializer::new()
        .serialize(&witness.latencies, &mut histogram)
        .context("the histogram cannot be written")?;
    let counts = witness.history.counts();
    Ok(v1::Result {
        counts: Some(v1::Counts {
            delivered: counts.delivered,
            answered: counts.answered,
            failed: counts.failed,
            doubled: counts.doubled,
            reordered: counts.reordered,
            answered_twice: counts.answered_twice,
            damaged: counts.damaged,
            misdirected: counts.misdirected,
            examples: counts.examples.iter().map(|text| shortened(text)).collect(),
        }),
        operations: measured.operations,
        elapsed_us: u64::try_from(measured.elapsed.as_micros()).unwrap_or(u64::MAX),
        client_cpu_us: measured.client_cpu_us,
        histogram: histogram.into(),
        first_failure: measured.first_failure.as_deref().map(shortened).unwrap_or_default(),
    })
}

/// Reads the figures of a worker.
///
/// # Errors
/// When they are incomplete or the histogram is not one of ours.
pub(super) fn read_result(result: v1::Result) -> Result<Figures> {
    let counts = result.counts.context("a result without counts")?;
    Ok(Figures {
        counts: Report {
            delivered: counts.delivered,
            answered: counts.answered,
            failed: counts.failed,
            doubled: counts.doubled,
            reordered: counts.reordered,
            answered_twice: counts.answered_twice,
            damaged: counts.damaged,
            misdirected: counts.misdirected,
            examples: counts.examples,
            ..Report::default()
        },
        operations: result.operations,
        elapsed: Duration::from_micros(result.elapsed_us),
        client_cpu_us: result.client_cpu_us,
        latencies: read_histogram(&result.histogram)?,
        first_failure: (!result.first_failure.is_empty()).then_some(result.first_failure),
    })
}

/// The head of a V2 histogram: cookie, length of what follows, and then what makes ours all alike.
const HEAD: usize = 40;

fn read_histogram(bytes: &[u8]) -> Result<Histogram<u64>> {
    let mut ours = Vec::new();
    V2Serializer::new().serialize(&histogram(), &mut ours)?;
    // The library makes room for whatever the head promises.
    let like_ours = bytes.len() >= HEAD && bytes[..4] == ours[..4] && bytes[8..HEAD] == ours[8..HEAD];
    let promised = bytes.get(4..8).and_then(|len| Some(u32::from_be_bytes(len.try_into().ok()?)));
    ensure!(
        like_ours && promised.is_some_and(|len| len as usize == bytes.len() - HEAD),
        "the histogram is not of the form that this version writes"
    );
    Deserializer::new()
        .deserialize(&mut &*bytes)
        .context("the histogram is damaged")
}

pub(super) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Expect, Observation};

    /// Calls of two sources, of which every third arrived here, out of some hundred thousand.
    fn scattered() -> History {
        let mut history = History::new(Expect::Calls);
        for sequence in 0..1_500_000 {
            let source = (sequence % 2) as u32;
            let sequence = sequence / 2;
            history.apply(Observation::Sent { source, sequence });
            if sequence % 3 == 0 {
                history.apply(Observation::Delivered {
                    group: 0,
                    sink: 1,
                    source,
                    sequence,
                });
            }
            let answer = if sequence % 7 == 0 { Answer::Error } else { Answer::Result };
            history.apply(Observation::Answered {
                source,
                sequence,
                answer,
            });
        }
        history
    }

    #[test]
    fn a_history_survives_its_chunks_which_stay_small() {
        let history = scattered();
        let mut whole = History::new(Expect::Calls);
        let mut count = 0;
        for chunk in chunks(&history) {
            count += 1;
            assert!(chunk.encoded_len() < super::super::MESSAGE_BYTES_MAX / 2);
            add_chunk(&mut whole, chunk, 2, 1).unwrap();
        }
        assert!(count > 1, "nothing was cut");
        whole.add_counts(history.counts());
        let sources = |history: &History| history.sources().map(|(n, s)| (n, s.clone())).collect::<Vec<_>>();
        assert_eq!(sources(&whole), sources(&history));
        let arrivals = |history: &History| {
            let mut arrivals: Vec<_> = history.arrivals().collect();
            arrivals.sort_by_key(|arrival| arrival.source);
            arrivals
        };
        assert_eq!(arrivals(&whole), arrivals(&history));
        assert_eq!(whole.counts(), history.counts());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let arrival = |group, source, set| v1::Chunk {
            sources: Vec::new(),
            arrivals: vec![v1::Arrival {
                group,
                source,
                arrived: Some(set),
            }],
        };
        let set = |next, steps: &[u64], words: &[u64]| v1::Sequences {
            next,
            steps: steps.to_vec(),
            words: words.to_vec(),
        };
        let mut whole = History::new(Expect::Calls);
        let mut add = |chunk| add_chunk(&mut whole, chunk, 2, 1).is_ok();
        assert!(add(arrival(0, 1, set(5, &[1], &[3]))));
        for bad in [
            arrival(1, 0, set(5, &[], &[])),
            arrival(0, 2, set(5, &[], &[])),
            arrival(0, 0, set(u64::MAX, &[], &[])),
            arrival(0, 0, set(0, &[1], &[])),
            arrival(0, 0, set(0, &[u64::MAX, u64::MAX], &[1, 1])),
        ] {
            assert!(!add(bad));
        }
    }

    #[test]
    fn a_histogram_survives_and_a_mangled_one_is_an_error() {
        let mut sent = histogram();
        for value in [1, 1_000, 1_000_000, 3_000_000_000] {
            sent.saturating_record(value);
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&sent, &mut bytes).unwrap();
        assert_eq!(read_histogram(&bytes).unwrap(), sent);
        assert!(read_histogram(&bytes[..bytes.len() - 1]).is_err());
        assert!(read_histogram(&[]).is_err());
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut mangled = bytes.clone();
                mangled[place] ^= 1 << bit;
                // A count may change unnoticed; the form may not, and nothing may panic.
                let read = read_histogram(&mangled);
                assert!(place >= HEAD || read.is_err(), "{place}");
            }
        }
    }
}
