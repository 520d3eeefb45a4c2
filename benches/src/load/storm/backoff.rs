//! Jittered exponential backoff, as clients wait between attempts to come back.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each drawn evenly from nothing to the whole ("full jitter"), so that clients that
/// were lost at one instant do not return at one instant.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// Waits of up to `first` before the first attempt and up to `longest` later; the same `seed` waits the same.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self {
            first,
            longest: longest.max(first),
            attempts: 0,
            random: seed,
        }
    }

    /// The backoff of one of many sessions.
    pub(super) fn of_session(&self, index: u32) -> Self {
        let mut of = self.clone();
        of.random = self.random ^ (u64::from(index) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        of
    }

    /// Begins again with short waits.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Attempts since the last reset.
    pub(super) fn attempts(&self) -> usize {
        self.attempts as usize
    }

    /// How long to wait before the next attempt.
    pub(super) fn wait(&mut self) -> Duration {
        let most = self.first.saturating_mul(1 << self.attempts.min(30)).min(self.longest);
        self.attempts = self.attempts.saturating_add(1);
        most.mul_f64(self.share())
    }

    /// An even draw from 0 to 1 (SplitMix64).
    fn share(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let second = Duration::from_secs(1);
        let mut means = [0.0; 8];
        for index in 0..2000 {
            let mut backoff = Backoff::new(second, 10 * second, 7).of_session(index);
            for (attempt, mean) in means.iter_mut().enumerate() {
                let wait = backoff.wait();
                assert!(wait <= second * (1 << attempt).min(10));
                *mean += wait.as_secs_f64() / 2000.0;
            }
            backoff.reset();
            assert!(backoff.wait() <= second);
        }
        for (mean, expected) in means.into_iter().zip([0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0, 5.0]) {
            assert!((mean / expected - 1.0).abs() < 0.1, "{means:?}");
        }
    }

    #[test]
    fn the_same_seed_waits_the_same_and_sessions_differ() {
        let all = Backoff::new(Duration::from_secs(1), Duration::from_secs(1), 1);
        let waits = |index| {
            let mut backoff = all.of_session(index);
            [backoff.wait(), backoff.wait()]
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
        assert_eq!(Backoff::new(Duration::ZERO, Duration::ZERO, 1).wait(), Duration::ZERO);
    }
}
