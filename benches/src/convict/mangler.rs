//! The dice: which delivery passes, vanishes, comes twice or comes late.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use super::Counts;

/// The likelihood of each disturbance of a delivery, 0 to 1; together at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Odds {
    /// Held back behind later deliveries.
    pub reorder: f64,
    /// Not delivered.
    pub drop: f64,
    /// Delivered twice.
    pub double: f64,
}

/// A held delivery goes out behind so many later ones: enough that one of the same sender is among them in a load of a few.
const HOLD_BEHIND: u32 = 8;

pub(super) struct Mangler {
    odds: Odds,
    state: u64,
    /// What is held back, and behind how many deliveries it still has to wait.
    held: VecDeque<(Vec<u8>, u32)>,
    counts: Arc<Counts>,
}

impl Mangler {
    pub(super) fn new(odds: Odds, seed: u64, counts: Arc<Counts>) -> Self {
        Self {
            odds,
            state: seed,
            held: VecDeque::new(),
            counts,
        }
    }

    /// Treats one delivery; what is to go out now is appended to `output`.
    pub(super) fn pass(&mut self, frame: &[u8], output: &mut Vec<u8>) {
        let Odds { reorder, drop, double } = self.odds;
        let throw = self.throw();
        self.counts.seen.fetch_add(1, Ordering::Relaxed);
        if throw < drop {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if throw < drop + double {
            self.counts.doubled.fetch_add(1, Ordering::Relaxed);
            output.extend_from_slice(frame);
        } else if throw < drop + double + reorder {
            self.counts.reordered.fetch_add(1, Ordering::Relaxed);
            self.held.push_back((frame.to_vec(), HOLD_BEHIND));
            return;
        }
        output.extend_from_slice(frame);
        for (_, behind) in &mut self.held {
            *behind -= 1;
        }
        while let Some((late, _)) = self.held.pop_front_if(|(_, behind)| *behind == 0) {
            output.extend_from_slice(&late);
        }
    }

    /// True if something is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Lets everything go that is held back.
    pub(super) fn release(&mut self, output: &mut Vec<u8>) {
        self.held.drain(..).for_each(|(late, _)| output.extend_from_slice(&late));
    }

    /// A number from 0 up to 1 (SplitMix64).
    fn throw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Expect, History, Observation, Report};

    /// One source sends 10,000 numbered events through the dice to one subscriber.
    fn judge(odds: Odds) -> (Report, Arc<Counts>) {
        let counts = Arc::<Counts>::default();
        let mut mangler = Mangler::new(odds, 7, counts.clone());
        let mut history = History::new(Expect::Events { groups: 1 });
        let mut output = Vec::new();
        for sequence in 0..10_000u64 {
            history.apply(Observation::Sent { source: 0, sequence });
            mangler.pass(&sequence.to_be_bytes(), &mut output);
        }
        mangler.release(&mut output);
        for event in output.as_chunks().0 {
            let sequence = u64::from_be_bytes(*event);
            history.apply(Observation::Delivered {
                group: 0,
                sink: 0,
                source: 0,
                sequence,
            });
        }
        (history.report(), counts)
    }

    #[test]
    fn each_disturbance_is_convicted_as_what_it_is_and_counted_exactly() {
        let count = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let (report, counts) = judge(Odds {
            drop: 0.01,
            ..Odds::default()
        });
        assert!((50..200).contains(&report.lost), "{report}");
        assert_eq!((report.lost, report.violations()), (count(&counts.dropped), report.lost));

        let (report, counts) = judge(Odds {
            double: 0.01,
            ..Odds::default()
        });
        assert!((50..200).contains(&report.doubled), "{report}");
        assert_eq!(
            (report.doubled, report.violations()),
            (count(&counts.doubled), report.doubled)
        );

        let (report, counts) = judge(Odds {
            reorder: 0.01,
            ..Odds::default()
        });
        assert!((50..200).contains(&report.reordered), "{report}");
        assert_eq!(
            (report.reordered, report.violations()),
            (count(&counts.reordered), report.reordered)
        );
    }

    #[test]
    fn without_odds_nothing_changes() {
        let (report, counts) = judge(Odds::default());
        assert!(report.is_clean(), "{report}");
        assert_eq!((report.delivered, counts.disturbed()), (10_000, 0));
    }

    #[test]
    fn the_same_seed_throws_the_same() {
        let odds = Odds {
            reorder: 0.1,
            drop: 0.1,
            double: 0.1,
        };
        assert_eq!(judge(odds).0, judge(odds).0);
    }
}
