//! One load carried by several processes: whose sessions are whose, and how the processes keep step.
//!
//! A load goes through the same steps whether it is alone or not: all sessions are up, sending begins, sending has ended, what was
//! under way has arrived. [`Ensemble`] is what waits at each step for the others; [`Alone`] waits for nobody.

use std::ops::Range;

use anyhow::Result;

use super::{Measured, Pace};
use crate::history::History;

/// The sessions of one kind that belong to this process, out of those of the whole load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The first one.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// How many the whole load has.
    pub total: u32,
}

impl Share {
    /// All of them.
    pub fn whole(total: u32) -> Self {
        Self {
            first: 0,
            count: total,
            total,
        }
    }

    /// Part `index` of `parts` that differ by one at most; the larger ones come first.
    pub fn split(total: u32, index: u32, parts: u32) -> Self {
        let parts = parts.max(1);
        let (least, larger) = (total / parts, total % parts);
        Self {
            first: least * index + index.min(larger),
            count: least + u32::from(index < larger),
            total,
        }
    }

    /// Their numbers.
    pub fn range(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }

    /// What these senders contribute to the pace of all.
    pub(super) fn pace(&self, pace: Pace) -> Pace {
        match pace {
            Pace::Closed => Pace::Closed,
            Pace::Rate(_) if self.count == 0 => Pace::Closed,
            Pace::Rate(rate) => Pace::Rate(rate * f64::from(self.count) / f64::from(self.total)),
        }
    }
}

/// What of a load is this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Callers or publishers.
    pub senders: Share,
    /// Callees or subscribers.
    pub receivers: Share,
}

/// The others that carry the same load. Each step returns when all of them have reached it.
pub trait Ensemble: Send {
    /// Every session is ready. Sending may begin when this returns.
    ///
    /// # Errors
    /// When the run is over: another process was lost, or the coordinator gave up. The same holds for the steps below.
    fn ready(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Makes the count of operations known that is measured so far, for whoever watches.
    fn watch(&mut self, operations: Box<dyn Fn() -> u64 + Send + Sync>);

    /// This process will send nothing more after `messages`. The result is how many were sent by all.
    ///
    /// # Errors
    /// See [`Ensemble::ready`].
    fn sent(&mut self, messages: u64) -> impl Future<Output = Result<u64>> + Send;

    /// What is to arrive in this process has arrived, or patience is over.
    ///
    /// # Errors
    /// See [`Ensemble::ready`].
    fn drained(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Nobody else.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ensemble for Alone {
    async fn ready(&mut self) -> Result<()> {
        Ok(())
    }

    fn watch(&mut self, _operations: Box<dyn Fn() -> u64 + Send + Sync>) {}

    async fn sent(&mut self, messages: u64) -> Result<u64> {
        Ok(messages)
    }

    async fn drained(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What one process of an ensemble has measured and seen.
#[derive(Debug)]
pub struct Witness {
    /// The figures; without a verdict, which only all histories together allow.
    pub measured: Measured,
    /// What was seen.
    pub history: History,
    /// The latencies in nanoseconds. Fewer than [`Measured::operations`] where the sender's clock is another process's.
    pub latencies: hdrhistogram::Histogram<u64>,
}

impl Witness {
    /// The measurement with the verdict over this process's history, which must be all of it.
    pub fn judged(self) -> Measured {
        Measured {
            history: self.history.report(),
            ..self.measured
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once_and_differ_by_one_at_most() {
        for (total, parts) in [(0, 3), (1, 4), (10, 3), (16, 2), (7, 7)] {
            let shares: Vec<_> = (0..parts).map(|index| Share::split(total, index, parts)).collect();
            let numbers: Vec<u32> = shares.iter().flat_map(Share::range).collect();
            assert_eq!(numbers, (0..total).collect::<Vec<_>>(), "{total} in {parts}");
            let counts = shares.iter().map(|share| share.count);
            assert!(counts.clone().max().unwrap() - counts.min().unwrap() <= 1);
        }
        assert_eq!(Share::split(9, 0, 1), Share::whole(9));
    }

    #[test]
    fn a_rate_is_shared_by_the_number_of_senders() {
        let rates: Vec<_> = (0..3)
            .map(|index| Share::split(4, index, 3).pace(Pace::Rate(400.0)))
            .collect();
        assert_eq!(rates, [Pace::Rate(200.0), Pace::Rate(100.0), Pace::Rate(100.0)]);
        assert_eq!(Share::split(1, 1, 2).pace(Pace::Rate(5.0)), Pace::Closed);
    }
}
