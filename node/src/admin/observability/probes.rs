//! Whether the node lives, has started and is ready, and which condition does not hold.
//!
//! *Live* looks at this process alone: a node without a quorum, or behind its cluster, is not helped by a restart, and an answer at
//! all shows that the worker threads go on. *Ready* is for those who send clients here. A node stays ready while its leader changes:
//! its lease outlasts an election.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    cluster::{Inspect, drain::Phase, health::Health, member::Stage},
    session::sessions::Service,
};

/// One thing that has to be so.
#[derive(Debug)]
pub(super) struct Condition {
    /// What, in a word.
    pub(super) name: &'static str,
    /// Whether it is.
    pub(super) holds: bool,
    /// How it stands.
    pub(super) detail: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.holds { "ok  " } else { "FAIL" };
        writeln!(f, "{word} {}: {}", self.name, self.detail)
    }
}

/// True if nothing is amiss.
pub(super) fn all_hold(conditions: &[Condition]) -> bool {
    conditions.iter().all(|condition| condition.holds)
}

/// A node becomes ready with at most so many entries to catch up with…
const LAG_MAX_AT_FIRST: u64 = 500;
/// …and stays so up to here: what others apply meanwhile is no reason to turn clients away.
const LAG_MAX: u64 = 20_000;
/// The control thread shows that it goes on every second; silent for longer than this, it hangs.
const PULSE_WITHIN: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Probes {
    inspect: Inspect,
    service: Arc<Service>,
    was_ready: AtomicBool,
}

impl Probes {
    pub(super) fn new(inspect: Inspect, service: Arc<Service>) -> Self {
        Self {
            inspect,
            service,
            was_ready: AtomicBool::new(false),
        }
    }

    /// Whether this process goes on.
    pub(super) fn live(&self) -> Vec<Condition> {
        let pulse = self.inspect.pulse.borrow().elapsed();
        let failed: Vec<String> = self
            .inspect
            .shared
            .realms()
            .filter(|realm| realm.has_failed())
            .map(|realm| realm.name().to_string())
            .collect();
        vec![
            Condition {
                name: "control thread",
                holds: pulse < PULSE_WITHIN,
                detail: format!("went on {:.1} s ago", pulse.as_secs_f64()),
            },
            Condition {
                name: "realms",
                holds: failed.is_empty(),
                detail: match failed.as_slice() {
                    [] => "none has failed".to_owned(),
                    failed => format!("failed: {}", failed.join(", ")),
                },
            },
        ]
    }

    /// Whether clients should come here.
    pub(super) fn ready(&self) -> Vec<Condition> {
        let stage = self.inspect.stage.borrow().clone();
        let lease = lease(&self.inspect, Instant::now());
        let behind = lag(&self.inspect);
        let bound = if self.was_ready.load(Ordering::Relaxed) {
            LAG_MAX
        } else {
            LAG_MAX_AT_FIRST
        };
        let drain = self.inspect.drain.now();
        let conditions = vec![
            Condition {
                name: "drain",
                holds: drain.phase == Phase::Serving,
                detail: match drain.phase {
                    Phase::Serving => "nobody wants this node to go".to_owned(),
                    phase => format!("{}, asked for by {}", phase.name(), drain.wish.by),
                },
            },
            Condition {
                name: "joined",
                holds: matches!(stage, Stage::Member(_)),
                detail: match stage {
                    Stage::Member(node) => format!("slot {}, epoch {}", node.slot.0, node.epoch),
                    Stage::Joining => "waits for a quorum, a slot, a lease or links".to_owned(),
                    Stage::Left => "has left".to_owned(),
                },
            },
            Condition {
                name: "lease",
                holds: lease > Duration::ZERO,
                detail: format!("for {:.1} s", lease.as_secs_f64()),
            },
            Condition {
                name: "log",
                holds: behind <= bound,
                detail: format!("{behind} entries behind, {bound} at most"),
            },
            Condition {
                name: "listeners",
                holds: self.service.sessions.is_ready(),
                detail: (if self.service.sessions.is_ready() { "open" } else { "closed" }).to_owned(),
            },
        ];
        if all_hold(&conditions) {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        conditions
    }

    /// Whether it was ready once: until then a long log or a snapshot is being read, and nobody should think that it hangs.
    pub(super) fn started(&self) -> Vec<Condition> {
        if self.was_ready.load(Ordering::Relaxed) {
            let detail = "has been ready".to_owned();
            return vec![Condition {
                name: "started",
                holds: true,
                detail,
            }];
        }
        self.ready()
    }
}

/// For how long this node may still start invocations of `single` registrations; the shortest of its realms.
pub(super) fn lease(inspect: &Inspect, now: Instant) -> Duration {
    Health::lease(&inspect.shared, now)
}

/// How many entries some node has applied and this one has not, as far as the gossip says.
pub(super) fn lag(inspect: &Inspect) -> u64 {
    let applied = *inspect.consensus.applied().borrow();
    let furthest = inspect.heard.as_ref().and_then(|heard| {
        let heard = heard.borrow();
        heard.values().filter(|seen| seen.live).map(|seen| seen.vitals.applied).max()
    });
    furthest.unwrap_or(applied).saturating_sub(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_does_not_hold_is_told() {
        let ok = Condition {
            name: "lease",
            holds: true,
            detail: "for 4.4 s".to_owned(),
        };
        let bad = Condition {
            name: "log",
            holds: false,
            detail: "501 entries behind, 500 at most".to_owned(),
        };
        assert_eq!(ok.to_string(), "ok   lease: for 4.4 s\n");
        assert_eq!(bad.to_string(), "FAIL log: 501 entries behind, 500 at most\n");
        assert!(!all_hold(&[ok, bad]));
    }
}
