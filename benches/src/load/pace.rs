//! When messages are due: at once whenever the window allows, or at instants fixed beforehand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::sync::Notify;

use crate::tag::Clock;

/// How fast a load goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as the answers (or deliveries) come.
    Closed,
    /// This many messages per second, all senders together.
    Rate(f64),
}

/// The instants at which one sender's messages are due.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    first: f64,
    interval: f64,
    taken: u64,
}

impl Schedule {
    /// Sender `index` of `senders`, which share `rate` messages per second in turn; times are nanoseconds of the run's clock.
    pub(super) fn new(start: u64, rate: f64, index: u32, senders: u32) -> Self {
        let spacing = 1e9 / rate;
        Self {
            first: start as f64 + spacing * f64::from(index),
            interval: spacing * f64::from(senders),
            taken: 0,
        }
    }

    /// When the next message is due.
    pub(super) fn next(&self) -> u64 {
        (self.first + self.interval * self.taken as f64) as u64
    }

    /// Takes the next message if it is due by `now`; the result is when it was due, and so where its latency begins.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        (due <= now).then(|| {
            self.taken += 1;
            due
        })
    }
}

/// One sender's share of a paced load: its schedule, and the bell that rings when a message is due.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) schedule: Schedule,
    pub(super) bell: Arc<Notify>,
}

/// Rings the bells. A thread of its own sleeps to within some 50 µs, where the runtime's timers round to a millisecond.
#[derive(Debug)]
pub(super) struct Pacer {
    stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Starts the thread for `senders`; nothing for a closed loop.
    pub(super) fn start(pace: Pace, clock: Clock, senders: u32) -> Result<(Option<Self>, Vec<Option<Paced>>)> {
        let Pace::Rate(rate) = pace else {
            return Ok((None, (0..senders).map(|_| None).collect()));
        };
        ensure!(
            rate.is_finite() && rate > 0.0 && senders > 0,
            "the rate must be a number above 0"
        );
        let start = clock.nanos();
        let paced: Vec<Paced> = (0..senders)
            .map(|index| Paced {
                schedule: Schedule::new(start, rate, index, senders),
                bell: Arc::new(Notify::new()),
            })
            .collect();
        let bells: Vec<_> = paced.iter().map(|p| (p.schedule.clone(), p.bell.clone())).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        thread::Builder::new()
            .name("pacer".to_owned())
            .spawn(move || ring(clock, bells, &stopped))?;
        Ok((Some(Self { stop }), paced.into_iter().map(Some).collect()))
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ring(clock: Clock, mut bells: Vec<(Schedule, Arc<Notify>)>, stopped: &AtomicBool) {
    loop {
        for (schedule, bell) in &mut bells {
            let due = clock.instant(schedule.next());
            while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // In slices, so that a slow load ends soon after its run.
                thread::sleep(wait.min(Duration::from_millis(50)));
            }
            schedule.take(u64::MAX);
            bell.notify_one();
        }
        if stopped.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::recorder::Shared;

    #[test]
    fn senders_share_the_rate_in_turn() {
        let mut schedules: Vec<_> = (0..4).map(|index| Schedule::new(1000, 1e6, index, 4)).collect();
        let mut due: Vec<u64> = schedules
            .iter_mut()
            .flat_map(|s| [s.take(u64::MAX), s.take(u64::MAX)])
            .flatten()
            .collect();
        due.sort_unstable();
        assert_eq!(due, (1000..9000).step_by(1000).collect::<Vec<_>>());
        let mut early = Schedule::new(1000, 1e6, 0, 1);
        assert_eq!(
            (early.take(999), early.take(1000), early.take(1999)),
            (None, Some(1000), None)
        );
    }

    /// A router that answers within 1 ms but hangs for 1 s in the middle of 10 s at 1,000 messages a second, asked one at a time.
    /// A tenth of the messages fall into the stall; a closed loop sees one of them.
    #[test]
    fn a_stall_is_charged_to_every_message_that_was_due_in_it() {
        let millisecond = 1_000_000;
        let (corrected, naive) = (Shared::default(), Shared::default());
        let mut schedule = Schedule::new(0, 1000.0, 0, 1);
        let mut now = 0;
        while schedule.next() < 10_000 * millisecond {
            now = now.max(schedule.next());
            let due = schedule.take(now).unwrap();
            let sent = now;
            now += millisecond / 2;
            if (5_000 * millisecond..6_000 * millisecond).contains(&sent) {
                now = 6_000 * millisecond;
            }
            corrected.lock().record(now - due);
            naive.lock().record(now - sent);
        }
        let (corrected, naive) = (corrected.lock().latency(), naive.lock().latency());
        assert!(naive.p99_us < 1_000.0, "{naive:?}");
        assert!(corrected.p99_us > 800_000.0, "{corrected:?}");
        assert!(corrected.p50_us < 1_000.0, "{corrected:?}");
        assert_eq!(corrected.max_us.round(), naive.max_us.round());
    }

    #[tokio::test]
    async fn the_pacer_rings_for_every_sender_and_stops() {
        let clock = Clock::start();
        let (pacer, paced) = Pacer::start(Pace::Rate(2000.0), clock, 2).unwrap();
        for paced in paced.iter().flatten() {
            paced.bell.notified().await;
            assert!(clock.nanos() >= paced.schedule.next());
        }
        drop(pacer);
        assert!(Pacer::start(Pace::Rate(0.0), clock, 1).is_err());
        assert!(Pacer::start(Pace::Closed, clock, 3).unwrap().1.iter().all(Option::is_none));
    }
}
