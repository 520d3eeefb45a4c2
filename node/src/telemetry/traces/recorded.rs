//! A tracer whose spans a test reads.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Span, Tracer, context};
use crate::{config, wamp::TraceContext};

/// See the module.
pub struct Recorded {
    tracer: Arc<Tracer>,
    queue: mpsc::Receiver<Span>,
}

/// What a span has told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its name.
    pub name: &'static str,
    /// Its trace and itself.
    pub context: TraceContext,
    /// What has caused it.
    pub parent: Option<[u8; 8]>,
    /// What went wrong.
    pub error: Option<String>,
}

impl Recorded {
    /// A tracer, and what reads it.
    pub fn new(settings: &config::Traces) -> (Arc<Tracer>, Self) {
        let (sender, queue) = mpsc::channel(settings.queue_max);
        let tracer = Arc::new(Tracer::new(settings, sender, Arc::default()));
        (Arc::clone(&tracer), Self { tracer, queue })
    }

    /// The tracer.
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// The spans that have ended since it was last asked.
    pub fn take(&mut self) -> Vec<Told> {
        let mut spans = Vec::new();
        while let Ok(span) = self.queue.try_recv() {
            spans.push(Told {
                name: span.name,
                context: context(&span),
                parent: span.parent,
                error: span.error,
            });
        }
        spans
    }
}
