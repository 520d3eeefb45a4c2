//! The checker's verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Counts and a few examples. A run is good only if [`Report::is_clean`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Messages sent.
    pub sent: u64,
    /// Deliveries seen, the doubled ones included.
    pub delivered: u64,
    /// Calls (or acknowledged publications) answered by a result.
    pub answered: u64,
    /// Calls answered by an error or given up as unknown; no violation by itself, but a load run expects none.
    pub failed: u64,
    /// Violation: sent, not excused by an error, and never delivered (counted per group).
    pub lost: u64,
    /// Violation: delivered again.
    pub doubled: u64,
    /// Violation: delivered after a later message of the same source to the same sink.
    pub reordered: u64,
    /// Violation: calls without any final answer.
    pub unanswered: u64,
    /// Violation: final answers beyond the first.
    pub answered_twice: u64,
    /// Violation: delivered or answered, but never sent.
    pub invented: u64,
    /// Violation: payloads that do not carry what was sent.
    pub damaged: u64,
    /// Violation: answers under another call's request id.
    pub misdirected: u64,
    /// The first few violations in words.
    pub examples: Vec<String>,
}

/// Examples kept; the counts go on.
const EXAMPLES_MAX: usize = 10;

impl Report {
    /// True if there is no violation of any kind.
    pub fn is_clean(&self) -> bool {
        self.violations() == 0
    }

    /// The number of violations of all kinds.
    pub fn violations(&self) -> u64 {
        self.lost
            + self.doubled
            + self.reordered
            + self.unanswered
            + self.answered_twice
            + self.invented
            + self.damaged
            + self.misdirected
    }

    /// Adds the counts of `other`, and its examples while there is room.
    pub(crate) fn add(&mut self, other: &Report) {
        self.sent = self.sent.saturating_add(other.sent);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.answered = self.answered.saturating_add(other.answered);
        self.failed = self.failed.saturating_add(other.failed);
        self.lost = self.lost.saturating_add(other.lost);
        self.doubled = self.doubled.saturating_add(other.doubled);
        self.reordered = self.reordered.saturating_add(other.reordered);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.answered_twice = self.answered_twice.saturating_add(other.answered_twice);
        self.invented = self.invented.saturating_add(other.invented);
        self.damaged = self.damaged.saturating_add(other.damaged);
        self.misdirected = self.misdirected.saturating_add(other.misdirected);
        for example in &other.examples {
            self.example(|| example.clone());
        }
    }

    pub(super) fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} delivered", self.sent, self.delivered)?;
        if self.failed > 0 {
            write!(f, ", {} failed", self.failed)?;
        }
        if self.is_clean() {
            return write!(f, ": nothing lost, doubled or reordered");
        }
        write!(
            f,
            ": {} lost, {} doubled, {} reordered",
            self.lost, self.doubled, self.reordered
        )?;
        let others = [
            (self.unanswered, "unanswered"),
            (self.answered_twice, "answered twice"),
            (self.invented, "invented"),
            (self.damaged, "damaged"),
            (self.misdirected, "misdirected"),
        ];
        for (count, name) in others.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {name}")?;
        }
        for example in &self.examples {
            write!(f, "\n  {example}")?;
        }
        Ok(())
    }
}
