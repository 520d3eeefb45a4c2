//! A bound on how often something happens in a second, as one number: the time at which all that was drawn will have been due.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A second's worth may come at once.
#[derive(Debug, Default)]
pub(super) struct Bound {
    per_second: AtomicU32,
    due: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Bound {
    pub(super) fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Draws one, if there is one left at `now`, in nanoseconds since whatever.
    pub(super) fn draw(&self, now: u64) -> bool {
        let per_second = u64::from(self.per_second.load(Ordering::Relaxed));
        let Some(step) = SECOND.checked_div(per_second) else {
            return false;
        };
        let next = |due: u64| {
            let due = due.max(now);
            (due - now <= SECOND - step).then_some(due.saturating_add(step))
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_comes_at_once_and_then_as_often_as_stated() {
        let bound = Bound::default();
        assert!(!bound.draw(0), "none is allowed until it is said");
        bound.set(10);
        let drawn = |now: u64| (0..1_000).filter(|_| bound.draw(now)).count();
        assert_eq!(drawn(5 * SECOND), 10);
        assert_eq!(drawn(5 * SECOND + SECOND / 10 - 1), 0);
        assert_eq!(drawn(5 * SECOND + SECOND / 10), 1);
        assert_eq!(drawn(9 * SECOND), 10);
        bound.set(1);
        assert_eq!(drawn(99 * SECOND), 1);
        assert_eq!(drawn(99 * SECOND + SECOND / 2), 0);
    }
}
