//! A rate that many threads draw on, without a lock and without a clock of its own.
//!
//! It is one number: the time at which all that was drawn so far will have been due, at the allowed rate. Drawing moves it on; a burst of
//! one second is free.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A rate; see the module.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// Nanoseconds since the beginning of the node's time.
    due: AtomicU64,
}

/// What may be drawn at once.
const BURST: Duration = Duration::from_secs(1);
/// How far ahead of its time a scope can get: nobody is made to wait longer.
const DEBT_MAX: Duration = Duration::from_secs(30);

impl Bucket {
    /// Draws `amount`, whatever was drawn before; how long whoever draws has to wait before it draws again. `per_second` is not 0.
    pub(super) fn draw(&self, now: Duration, amount: u64, per_second: u64) -> Duration {
        let now = nanos(now);
        let most = now.saturating_add(nanos(BURST)).saturating_add(nanos(DEBT_MAX));
        let after = |due: u64| due.max(now).saturating_add(cost(amount, per_second)).min(most);
        let before = self
            .due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| Some(after(due)))
            .unwrap_or_else(|due| due);
        Duration::from_nanos(after(before).saturating_sub(now.saturating_add(nanos(BURST))))
    }

    /// Draws one, if it is there.
    pub(super) fn try_draw(&self, now: Duration, per_second: u64) -> bool {
        let now = nanos(now);
        let drawn = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let after = due.max(now).saturating_add(cost(1, per_second));
            // At least one is there after a pause, however slow the rate.
            (due <= now || after <= now.saturating_add(nanos(BURST))).then_some(after)
        });
        drawn.is_ok()
    }

    /// True if nothing would be remembered of it.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.due.load(Ordering::Relaxed) <= nanos(now)
    }
}

fn cost(amount: u64, per_second: u64) -> u64 {
    let nanos = u128::from(amount) * 1_000_000_000 / u128::from(per_second.max(1));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_second_is_free_and_what_is_drawn_beyond_has_to_be_waited_for() {
        let bucket = Bucket::default();
        assert_eq!(bucket.draw(at(0), 100, 100), Duration::ZERO);
        assert_eq!(bucket.draw(at(0), 50, 100), Duration::from_millis(500));
        assert_eq!(bucket.draw(at(400), 0, 100), Duration::from_millis(100));
        assert_eq!(bucket.draw(at(1_500), 100, 100), Duration::ZERO, "all was paid");
        assert_eq!(bucket.draw(at(1_500), 1_000_000, 100), DEBT_MAX, "nobody waits for ever");
    }

    #[test]
    fn what_is_not_there_is_not_drawn() {
        let bucket = Bucket::default();
        let drawn = (0..10).filter(|_| bucket.try_draw(at(0), 3)).count();
        assert_eq!(drawn, 3);
        assert!(!bucket.is_idle(at(900)));
        assert!(bucket.try_draw(at(400), 3), "one came back");
        assert!(!bucket.try_draw(at(400), 3));
        let slow = Bucket::default();
        assert!(slow.try_draw(at(0), 1) && !slow.try_draw(at(500), 1) && slow.try_draw(at(1_001), 1));
    }
}
