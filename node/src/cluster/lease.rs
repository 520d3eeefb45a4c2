//! Leases and fences: how the cluster knows that a node has stopped before its registrations are given away.
//!
//! A node holds a lease while the leader renews it. It stops starting invocations of `single` registrations at three quarters of
//! the TTL, counted from when it *sent* the last granted renewal. The leader fences a life one TTL and a margin after it *received* the last one. Three clauses make
//! that safe when leaders change (`reference/cluster.md` §3.6):
//!
//! - the leader grants only while its own quorum contact is younger than the leader lease, so a deposed leader soon stops granting;
//! - a new leader fences nobody before its election + TTL + leader lease + margin, since it does not know what was granted before;
//! - gossip fences nobody, ever.
//!
//! [`Book`] decides and is pure; [`LeaseBook`] is its lock and clock; [`fence_silent`] and [`keep`] are the two tasks.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    command::Command,
    consensus::Consensus,
    leader::{Leader, Renewal},
    machine::ClusterView,
};
use crate::router::NodeRef;

/// The times that leases are built from. Relations are checked by [`Timing::validate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often the leader shows that it lives.
    pub heartbeat: Duration,
    /// Shortest silence after which a voter campaigns.
    pub election_min: Duration,
    /// Longest such silence.
    pub election_max: Duration,
    /// A leader's promise not to be superseded counts this long from its last quorum contact.
    pub leader_lease: Duration,
    /// How often a node renews.
    pub renew: Duration,
    /// What a renewal is worth at the leader; the node itself stops at three quarters of it.
    pub ttl: Duration,
    /// Added to every wait before a fence.
    pub margin: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(1_000),
            leader_lease: Duration::from_millis(1_000),
            renew: Duration::from_millis(500),
            ttl: Duration::from_secs(6),
            margin: Duration::from_millis(500),
        }
    }
}

impl Timing {
    /// For how long a granted renewal lets the node work, counted from when it was sent.
    pub fn node_lease(&self) -> Duration {
        self.ttl * 3 / 4
    }

    /// Checks that a lease outlives an ordinary election, so that a change of leader costs no node its lease.
    ///
    /// # Errors
    /// Names the relation that does not hold.
    pub fn validate(&self) -> Result<(), String> {
        if self.election_min <= self.heartbeat * 2 || self.election_max <= self.election_min {
            return Err("heartbeat must be below half of election_min, and election_min below election_max".to_owned());
        }
        if self.node_lease().saturating_sub(self.renew) <= self.leader_lease + 2 * self.election_max {
            return Err("0.75 * lease_ttl - renew must exceed leader_lease + 2 * election_max".to_owned());
        }
        Ok(())
    }
}

/// Who was heard when, as far as the present leader knows.
#[derive(Debug, Default)]
struct Book {
    /// The term this node leads in and since when; `None` while another leads.
    leading: Option<(u64, Instant)>,
    /// When a life was last granted a renewal in this term.
    granted: HashMap<NodeRef, Instant>,
    /// When a life without a renewal in this term was first seen in the table.
    first_seen: HashMap<NodeRef, Instant>,
}

impl Book {
    fn lead(&mut self, term: Option<u64>, now: Instant) {
        if self.leading.map(|(held, _)| held) != term {
            self.leading = term.map(|term| (term, now));
            self.granted.clear();
            self.first_seen.clear();
        }
    }

    /// The lives among `live` whose lease has certainly ended.
    fn expired(&mut self, live: &[NodeRef], timing: &Timing, now: Instant) -> Vec<NodeRef> {
        let Some((_, since)) = self.leading else { return Vec::new() };
        self.granted.retain(|node, _| live.contains(node));
        self.first_seen.retain(|node, _| live.contains(node));
        let mut expired = Vec::new();
        for node in live {
            let ends = match self.granted.get(node) {
                Some(granted) => *granted + timing.ttl + timing.margin,
                None => {
                    let seen = *self.first_seen.entry(*node).or_insert(now);
                    seen.max(since + timing.leader_lease) + timing.ttl + timing.margin
                }
            };
            if now >= ends {
                expired.push(*node);
            }
        }
        expired
    }
}

/// The leases this node grants while it leads.
pub struct LeaseBook {
    book: Mutex<Book>,
    timing: Timing,
    view: watch::Receiver<ClusterView>,
}

impl LeaseBook {
    /// An empty book over the node table in `view`.
    pub fn new(timing: Timing, view: watch::Receiver<ClusterView>) -> Self {
        Self {
            book: Mutex::default(),
            timing,
            view,
        }
    }

    /// Extends the lease of `node`, if this node may promise that now.
    pub fn renew(&self, node: NodeRef, consensus: &Consensus) -> Renewal {
        let leadership = consensus.leadership().borrow().clone();
        let fresh = consensus
            .quorum_contact_age()
            .is_some_and(|age| age < self.timing.leader_lease);
        if !leadership.is_me || !fresh {
            return Renewal::Refused;
        }
        {
            let view = self.view.borrow();
            match view.table.rows().find(|(slot, _)| *slot == node.slot) {
                Some((_, row)) if row.epoch == node.epoch && row.live => {}
                Some((_, row)) if row.epoch >= node.epoch => return Renewal::Fenced,
                // A new leader may not have applied the joining yet.
                _ => return Renewal::Refused,
            }
        }
        let now = Instant::now();
        let mut book = self.book.lock();
        book.lead(Some(leadership.term), now);
        book.granted.insert(node, now);
        Renewal::Granted
    }
}

/// Proposes the fence of every life whose lease has ended, while this node leads. Runs until the node stops.
pub async fn fence_silent(book: Arc<LeaseBook>, consensus: Consensus, leader: Leader) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let leadership = consensus.leadership().borrow().clone();
        let live: Vec<NodeRef> = book.view.borrow().table.live().map(|(node, _)| node).collect();
        let expired = {
            let mut inner = book.book.lock();
            let now = Instant::now();
            inner.lead(leadership.is_me.then_some(leadership.term), now);
            inner.expired(&live, &book.timing, now)
        };
        for node in expired {
            tracing::warn!(slot = node.slot.0, epoch = node.epoch, "fencing a silent node");
            let fence = Command::Fence {
                node,
                reason: "its lease ended".to_owned(),
            };
            if let Err(error) = leader.propose(&fence).await {
                tracing::warn!(slot = node.slot.0, %error, "fence not committed, trying again");
            }
        }
    }
}

/// Renews the lease of `node` until that life is over; returns when it is.
///
/// `granted` hears the end of each extension.
pub async fn keep(node: NodeRef, timing: Timing, leader: Leader, mut granted: impl FnMut(Instant)) {
    let mut tick = tokio::time::interval(timing.renew);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tick.tick().await;
        let sent = Instant::now();
        match leader.renew(node).await {
            Ok(Renewal::Granted) => {
                if failing {
                    tracing::info!("lease renewed again");
                }
                failing = false;
                granted(sent + timing.node_lease());
            }
            Ok(Renewal::Fenced) => return,
            Ok(Renewal::Refused) => {}
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "lease not renewed");
                }
                failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Slot;

    const NODE: NodeRef = NodeRef { slot: Slot(1), epoch: 1 };

    fn secs(s: f64) -> Duration {
        Duration::from_secs_f64(s)
    }

    #[test]
    fn the_default_timing_is_valid_and_a_short_ttl_is_not() {
        assert_eq!(Timing::default().validate(), Ok(()));
        assert!(
            Timing {
                ttl: secs(4.0),
                ..Timing::default()
            }
            .validate()
            .is_err()
        );
    }

    #[test]
    fn a_silent_life_expires_a_ttl_and_a_margin_after_its_last_grant() {
        let (mut book, t0, timing) = (Book::default(), Instant::now(), Timing::default());
        book.lead(Some(3), t0);
        book.granted.insert(NODE, t0 + secs(20.0));
        assert!(book.expired(&[NODE], &timing, t0 + secs(26.4)).is_empty());
        assert_eq!(book.expired(&[NODE], &timing, t0 + secs(26.5)), [NODE]);
    }

    #[test]
    fn a_new_leader_waits_for_what_its_predecessor_may_have_granted() {
        let (mut book, t0, timing) = (Book::default(), Instant::now(), Timing::default());
        book.lead(Some(3), t0);
        book.granted.insert(NODE, t0);
        book.lead(Some(4), t0 + secs(5.0));
        assert!(book.expired(&[NODE], &timing, t0 + secs(5.0)).is_empty());
        assert!(book.expired(&[NODE], &timing, t0 + secs(12.4)).is_empty());
        assert_eq!(book.expired(&[NODE], &timing, t0 + secs(12.5)), [NODE]);
    }

    #[test]
    fn a_life_that_joins_late_gets_a_whole_ttl() {
        let (mut book, t0, timing) = (Book::default(), Instant::now(), Timing::default());
        book.lead(Some(3), t0);
        assert!(book.expired(&[NODE], &timing, t0 + secs(60.0)).is_empty());
        assert!(book.expired(&[NODE], &timing, t0 + secs(66.4)).is_empty());
        assert_eq!(book.expired(&[NODE], &timing, t0 + secs(66.5)), [NODE]);
    }

    /// One node and two leaders; schedules drawn from a seed. At no instant may the node still trust its lease after a fence of it.
    #[test]
    fn no_schedule_of_grants_and_elections_lets_a_fence_overtake_a_lease() {
        let timing = Timing::default();
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..20_000 {
            let t0 = Instant::now();
            let at = |ms: u64| t0 + Duration::from_millis(ms);
            // The old leader's last quorum contact, and the election of the new one no earlier than that.
            let contact = 2_000 + random(2_000);
            let elected = contact + random(3_000);
            let (mut old, mut new) = (Book::default(), Book::default());
            old.lead(Some(1), at(0));
            let (mut lease, mut fenced) = (at(0), None);
            for ms in (0..30_000).step_by(100) {
                let to_old = random(2) == 0 && ms <= contact + 1_000;
                let delay = random(500);
                let silent = ms > 3_000 + random(4_000);
                if ms % 500 == 0 && !silent && fenced.is_none() {
                    if to_old {
                        old.granted.insert(NODE, at(ms + delay));
                        lease = lease.max(at(ms) + timing.node_lease());
                    } else if ms + delay >= elected {
                        new.lead(Some(2), at(elected));
                        new.granted.insert(NODE, at(ms + delay));
                        lease = lease.max(at(ms) + timing.node_lease());
                    }
                }
                if ms >= elected {
                    new.lead(Some(2), at(elected));
                    if !new.expired(&[NODE], &timing, at(ms)).is_empty() && fenced.is_none() {
                        fenced = Some(at(ms));
                    }
                }
                if let Some(fenced) = fenced {
                    assert!(lease <= fenced, "the lease outlived the fence");
                }
            }
        }
    }
}
