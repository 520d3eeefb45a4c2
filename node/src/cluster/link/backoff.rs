//! Back-off with jitter: how long to wait before the next attempt at something that failed. The one helper for it in `cluster/`.

use std::time::Duration;

/// Doubling delays between `first` and `max`, each drawn from the upper half of its step so that nodes do not march in step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    step: u32,
    random: Random,
}

impl Backoff {
    /// Delays from `first` to `max`; `seed` decides the jitter.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            step: 0,
            random: Random::new(seed),
        }
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.step.min(20)).min(self.max);
        self.step = self.step.saturating_add(1);
        let half = full / 2;
        let span = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_nanos(self.random.next_u64() % span)
    }

    /// The attempt succeeded: the next failure starts over.
    pub fn reset(&mut self) {
        self.step = 0;
    }
}

/// A small generator for jitter and attempt numbers (SplitMix64); not for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_keep_at_least_half_of_each_step() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), 7);
        for full in [100, 200, 400, 800, 1600, 2000, 2000] {
            let delay = backoff.next_delay().as_millis();
            assert!((full / 2..=full).contains(&delay), "{delay} ms for a step of {full} ms");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[test]
    fn the_seed_decides_the_jitter() {
        let draw = |seed| {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2), seed);
            [backoff.next_delay(), backoff.next_delay()]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
