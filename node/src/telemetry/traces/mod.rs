//! Traces of calls and publications: which are taken, what is told of them, and how they get to a collector.
//!
//! Owns: the decision ([`Tracer`]), ids, [`Span`]s, their bounded queue and the [`Exporter`] that empties it. Does not own where spans begin
//! and end: that is the shell of each realm (`session/realm/traced.rs`). The pure core knows none of this; it only hands `_traceparent` on.
//!
//! OTLP's messages and service are those of the crate `opentelemetry-proto`, over the tonic that is here anyway. Its sister crate with
//! a finished exporter reads `OTEL_*` variables behind the back of the configuration, and retries on a schedule of its own; the SDK keeps
//! spans of its own making. Neither is needed to send a batch and count what was lost.

mod bound;
mod convert;
mod export;
#[cfg(test)]
mod recorded;
mod span;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

pub use export::{Error, Exporter};
#[cfg(test)]
pub use recorded::{Recorded, Told};
pub use span::{Attribute, Kind, Span};

use self::bound::Bound;
use crate::{config, wamp::TraceContext};

/// What decides which calls and publications of a node are traced, and takes their spans.
#[derive(Debug)]
pub struct Tracer {
    began: Instant,
    /// The part that is traced unasked, as the bits of an `f64`.
    ratio: AtomicU64,
    own: Bound,
    clients: Bound,
    queue: mpsc::Sender<Span>,
    counts: Arc<Counts>,
}

/// On whose account something is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The router has picked it.
    Own,
    /// Its client has asked for it.
    Client,
}

/// What became of spans, and of traces that were to be.
#[derive(Debug, Default)]
pub struct Counts {
    /// Spans that the collector has taken.
    pub exported: AtomicU64,
    /// Spans for which there was no room in the queue.
    pub overflowed: AtomicU64,
    /// Spans that the collector has not taken.
    pub failed: AtomicU64,
    /// Traces that were not begun since there were as many in this second as may be, on the router's own account.
    pub own_bounded: AtomicU64,
    /// The same on account of clients.
    pub clients_bounded: AtomicU64,
    /// Some spans have left the queue and are on their way.
    sending: AtomicBool,
}

impl Tracer {
    fn new(settings: &config::Traces, queue: mpsc::Sender<Span>, counts: Arc<Counts>) -> Self {
        let tracer = Self {
            began: Instant::now(),
            ratio: AtomicU64::new(0),
            own: Bound::default(),
            clients: Bound::default(),
            queue,
            counts,
        };
        tracer.set(settings);
        tracer
    }

    /// Puts the part that is traced and its bounds in force; a picked call of each realm may still be that of the former part.
    pub fn set(&self, settings: &config::Traces) {
        self.ratio.store(settings.ratio.to_bits(), Ordering::Relaxed);
        self.own.set(settings.per_second_max);
        self.clients.set(settings.from_clients_per_second_max);
    }

    /// How many calls and publications go untraced before the next one that is picked, so that a countdown is all that most of them pay.
    pub fn gap(&self) -> u32 {
        let ratio = f64::from_bits(self.ratio.load(Ordering::Relaxed));
        let drawn = u64::from_le_bytes(random());
        // In (0, 1]: 53 bits of it.
        let drawn = ((drawn >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        gap(ratio, drawn)
    }

    /// Whether one more may be traced in this second; counts if not.
    pub fn admits(&self, whose: Whose) -> bool {
        let (bound, refused) = match whose {
            Whose::Own => (&self.own, &self.counts.own_bounded),
            Whose::Client => (&self.clients, &self.counts.clients_bounded),
        };
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let admitted = bound.draw(now);
        if !admitted {
            refused.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// Takes a span that has ended. Never waits: one for which there is no room is dropped and counted.
    pub fn take(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Resolves when the exporter has taken everything and sent it, or after `bound`.
    pub async fn drained(&self, bound: Duration) {
        let idle = async {
            while self.queue.capacity() < self.queue.max_capacity() || self.counts.sending.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // What is not sent by then is lost, as with a collector that is gone.
        let _ = tokio::time::timeout(bound, idle).await;
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// A new trace that nobody has asked for.
pub fn new_trace() -> [u8; 16] {
    random()
}

/// The context in which what a span causes is told: the same trace, this span.
pub fn context(span: &Span) -> TraceContext {
    TraceContext {
        trace: span.trace,
        span: span.id,
        sampled: true,
    }
}

/// Not all zero, which would be no id.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() || bytes == [0; N] {
        // Without randomness ids may repeat; a trace is not worth more than that.
        bytes[N - 1] = 1;
    }
    bytes
}

/// The gap of a geometric distribution, from a number in (0, 1].
fn gap(ratio: f64, drawn: f64) -> u32 {
    if ratio >= 1.0 {
        return 0;
    }
    if ratio <= 0.0 {
        return NEVER;
    }
    // The cast keeps to the range of its type.
    (drawn.ln() / (1.0 - ratio).ln()) as u32
}

/// So many go untraced where none is to be traced; then it is looked again, for the part may have been changed.
const NEVER: u32 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn tracer(settings: &config::Traces) -> (Tracer, mpsc::Receiver<Span>) {
        let (sender, receiver) = mpsc::channel(1);
        (Tracer::new(settings, sender, Arc::default()), receiver)
    }

    #[test]
    fn gaps_are_such_that_the_stated_part_is_traced() {
        assert_eq!(gap(1.0, 0.3), 0);
        assert_eq!(gap(0.0, 0.3), NEVER);
        for ratio in [0.01, 0.25, 0.9] {
            let steps = 10_000;
            let gaps: f64 = (1..=steps)
                .map(|step| f64::from(gap(ratio, f64::from(step) / f64::from(steps))))
                .sum();
            let traced = f64::from(steps) / (gaps + f64::from(steps));
            assert!((traced / ratio - 1.0).abs() < 0.02, "{ratio}: {traced}");
        }
    }

    #[test]
    fn the_bounds_of_the_router_and_of_clients_are_apart_and_what_meets_them_is_counted() {
        let settings = config::Traces {
            per_second_max: 2,
            from_clients_per_second_max: 0,
            ..config::Traces::default()
        };
        let (tracer, _receiver) = tracer(&settings);
        assert_eq!([Whose::Own; 3].map(|whose| tracer.admits(whose)), [true, true, false]);
        assert!(!tracer.admits(Whose::Client));
        assert_eq!(tracer.counts().own_bounded.load(Ordering::Relaxed), 1);
        assert_eq!(tracer.counts().clients_bounded.load(Ordering::Relaxed), 1);
        tracer.set(&config::Traces::default());
        assert!(tracer.admits(Whose::Client));
    }

    #[test]
    fn a_span_for_which_there_is_no_room_is_counted() {
        let (tracer, mut receiver) = tracer(&config::Traces::default());
        for _ in 0..3 {
            tracer.take(Span::begin("CALL", Kind::Server, new_trace(), None));
        }
        assert!(receiver.try_recv().is_ok() && receiver.try_recv().is_err());
        assert_eq!(tracer.counts().overflowed.load(Ordering::Relaxed), 2);
    }
}
