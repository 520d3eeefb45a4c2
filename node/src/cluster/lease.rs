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
//! [`Rights`] say how long a node may go by what its log says of roles and principals, which takes more than a lease.
//!
//! [`Book`] decides and is pure; [`LeaseBook`] is its lock and clock; [`fence_silent`] and [`keep`] are the two tasks.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
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
use crate::router::{LogIndex, NodeRef};

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
    /// What this node leads in; `None` while another leads.
    term: Option<Term>,
    /// When a life was last granted a renewal in this term.
    granted: HashMap<NodeRef, Instant>,
    /// When a life without a renewal in this term was first seen in the table.
    first_seen: HashMap<NodeRef, Instant>,
    /// Lives whose fence was decided in this term. The decision is final: whatever becomes of the proposal, they get no renewal.
    fencing: BTreeSet<NodeRef>,
    /// When the lives were looked at last.
    looked: Option<Instant>,
    /// Until then nobody could renew, since this node stood still or had no quorum; no silence before it counts.
    deaf_until: Option<Instant>,
}

/// One term of leading.
#[derive(Clone, Copy, Debug)]
struct Term {
    number: u64,
    since: Instant,
    /// The end of the log when it began. Fences of earlier leaders are up to there; before they are applied nothing is granted.
    inherited: LogIndex,
}

/// A leader that has not looked for this long has not heard anybody either.
const STOOD_STILL: Duration = Duration::from_secs(1);

impl Book {
    fn lead(&mut self, term: Option<u64>, now: Instant, log_end: impl FnOnce() -> LogIndex) {
        if self.term.map(|held| held.number) != term {
            let begin = |number| Term {
                number,
                since: now,
                inherited: log_end(),
            };
            *self = Self {
                term: term.map(begin),
                ..Self::default()
            };
        }
    }

    /// Notes a renewal, if it may be granted: nothing that is being fenced, and nothing before the inherited log is applied.
    fn grant(&mut self, node: NodeRef, applied: LogIndex, now: Instant) -> Renewal {
        let settled = self.term.is_some_and(|term| applied >= term.inherited);
        if !settled || self.fencing.contains(&node) {
            return Renewal::Refused;
        }
        self.granted.insert(node, now);
        Renewal::Granted { log: applied }
    }

    /// The lives among `live` whose lease has certainly ended; from now on they are granted nothing. `fresh`: a quorum is heard.
    fn expired(&mut self, live: &[NodeRef], timing: &Timing, fresh: bool, now: Instant) -> Vec<NodeRef> {
        let Some(Term { since, .. }) = self.term else {
            return Vec::new();
        };
        let stood_still = self.looked.is_some_and(|looked| now.duration_since(looked) > STOOD_STILL);
        if stood_still || !fresh {
            self.deaf_until = Some(now);
        }
        self.looked = Some(now);
        self.granted.retain(|node, _| live.contains(node));
        self.first_seen.retain(|node, _| live.contains(node));
        self.fencing.retain(|node| live.contains(node));
        for node in live {
            let heard = match self.granted.get(node) {
                Some(granted) => *granted,
                None => (*self.first_seen.entry(*node).or_insert(now)).max(since + timing.leader_lease),
            };
            let silent_since = self.deaf_until.map_or(heard, |deaf| deaf.max(heard));
            if now >= silent_since + timing.ttl + timing.margin {
                self.fencing.insert(*node);
            }
        }
        self.fencing.iter().copied().collect()
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
        if !leadership.is_me || !self.hears_a_quorum(consensus) {
            return Renewal::Refused;
        }
        let mut book = self.book.lock();
        let now = Instant::now();
        book.lead(Some(leadership.term), now, || log_end(consensus));
        {
            // Looked at under the book's lock, so that no fence is decided between the look and the grant.
            let view = self.view.borrow();
            match view.table.rows().find(|(slot, _)| *slot == node.slot) {
                // Its last lease runs out, should it not end its life by itself.
                Some((_, row)) if row.epoch == node.epoch && row.live && view.roster.is_retired(row.raft_id) => {
                    return Renewal::Refused;
                }
                Some((_, row)) if row.epoch == node.epoch && row.live => {}
                Some((_, row)) if row.epoch >= node.epoch => return Renewal::Fenced,
                // A new leader may not have applied the joining yet.
                _ => return Renewal::Refused,
            }
        }
        book.grant(node, *consensus.applied().borrow(), now)
    }

    fn hears_a_quorum(&self, consensus: &Consensus) -> bool {
        consensus
            .quorum_contact_age()
            .is_some_and(|age| age < self.timing.leader_lease)
    }
}

fn log_end(consensus: &Consensus) -> LogIndex {
    consensus.log_state().last.unwrap_or(0)
}

/// Proposes the fence of every life whose lease has ended, while this node leads. Runs until the node stops.
///
/// Proposed here and nowhere else: another leader has a book of its own, and may be granting what this one would fence.
pub async fn fence_silent(book: Arc<LeaseBook>, consensus: Consensus) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let leadership = consensus.leadership().borrow().clone();
        let live: Vec<NodeRef> = book.view.borrow().table.live().map(|(node, _)| node).collect();
        let fresh = book.hears_a_quorum(&consensus);
        let expired = {
            let mut inner = book.book.lock();
            let now = Instant::now();
            inner.lead(leadership.is_me.then_some(leadership.term), now, || log_end(&consensus));
            inner.expired(&live, &book.timing, fresh, now)
        };
        if expired.is_empty() {
            continue;
        }
        let fences = expired.iter().map(|node| {
            tracing::warn!(slot = node.slot.0, epoch = node.epoch, "fencing a silent node");
            let reason = "its lease ended".to_owned();
            Command::Fence { node: *node, reason }.encode()
        });
        for result in consensus.propose(fences.collect()).await {
            if let Err(error) = result {
                tracing::warn!(%error, "fence not committed, trying again");
            }
        }
    }
}

/// Renews the lease of `node` until that life is over; returns when it is.
///
/// `granted` hears the end of each extension, and how far the leader had applied the log when it gave it.
pub async fn keep(node: NodeRef, timing: Timing, leader: Leader, mut granted: impl FnMut(Instant, LogIndex)) {
    let mut tick = tokio::time::interval(timing.renew);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tick.tick().await;
        let sent = Instant::now();
        match leader.renew(node).await {
            Ok(Renewal::Granted { log }) => {
                if failing {
                    tracing::info!("lease renewed again");
                }
                failing = false;
                granted(sent + timing.node_lease(), log);
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

/// How long after [`Rights::until`] a node still goes by the roles and principals that the log has last told it (DESIGN §4.6).
pub const MAX_AUTHZ_STALENESS: Duration = Duration::from_secs(2);

/// Until when a node may go by what its log says of roles and principals.
///
/// A grant alone does not say that the node knows of every right taken away before it: its log may be behind while it is heard well. So
/// a grant counts here only once the node has applied as much of the log as the leader had when it gave it. A change that was answered
/// is in the leader's applied log; every grant from then on waits for it, and what counted before ends at most a lease after it.
#[derive(Debug, Default)]
pub struct Rights {
    /// Grants that the log has yet to catch up with, oldest first.
    waiting: VecDeque<(LogIndex, Instant)>,
    until: Option<Instant>,
}

/// Grants beyond these are as good as none: the oldest are over by then.
const GRANTS_MAX: usize = 1_024;

impl Rights {
    /// Takes a grant up to `until`, given at `log`, while `applied` is applied here; what holds now.
    pub fn granted(&mut self, log: LogIndex, until: Instant, applied: LogIndex) -> Option<Instant> {
        if self.waiting.len() == GRANTS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back((log, until));
        // An elected leader may be behind its predecessor in what it has applied, so the order says nothing.
        let reached = self
            .waiting
            .iter()
            .filter(|(log, _)| *log <= applied)
            .map(|(_, until)| *until);
        self.until = self.until.max(reached.max());
        self.waiting.retain(|(log, _)| *log > applied);
        self.until
    }
}

/// Calls `stale` whenever what [`Rights`] say has been over for [`MAX_AUTHZ_STALENESS`] and was not renewed, and `known` whenever it was.
/// Never returns.
pub async fn watch_rights(mut rights: watch::Receiver<Option<Instant>>, stale: impl Fn(), known: impl Fn()) {
    loop {
        let until = *rights.borrow_and_update();
        if until.is_some_and(|until| until > Instant::now()) {
            known();
        }
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until((until + MAX_AUTHZ_STALENESS).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // A renewal that came at the last moment counts.
            changed = rights.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
            () = over => {
                stale();
                if rights.changed().await.is_err() {
                    return std::future::pending().await;
                }
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

    fn leading(term: u64, now: Instant) -> Book {
        let mut book = Book::default();
        book.lead(Some(term), now, || 0);
        book.looked = Some(now);
        book
    }

    /// Looks every 100 ms up to `until`, as the task does; what it last found.
    fn look_until(book: &mut Book, from: Instant, until: Instant) -> Vec<NodeRef> {
        let mut now = from;
        loop {
            let expired = book.expired(&[NODE], &Timing::default(), true, now);
            if now >= until {
                return expired;
            }
            now = (now + secs(0.1)).min(until);
        }
    }

    #[test]
    fn a_silent_life_expires_a_ttl_and_a_margin_after_its_last_grant() {
        let t0 = Instant::now();
        let mut book = leading(3, t0);
        look_until(&mut book, t0, t0 + secs(5.0));
        book.grant(NODE, 0, t0 + secs(5.0));
        assert!(look_until(&mut book, t0 + secs(5.0), t0 + secs(11.4)).is_empty());
        assert_eq!(look_until(&mut book, t0 + secs(11.4), t0 + secs(11.5)), [NODE]);
    }

    #[test]
    fn a_decided_fence_is_final_for_the_term() {
        let t0 = Instant::now();
        let mut book = leading(3, t0);
        assert_eq!(look_until(&mut book, t0, t0 + secs(7.5)), [NODE]);
        assert_eq!(book.grant(NODE, 0, t0 + secs(7.6)), Renewal::Refused);
        assert_eq!(
            look_until(&mut book, t0 + secs(7.5), t0 + secs(7.7)),
            [NODE],
            "proposed again until it is applied"
        );
    }

    #[test]
    fn a_new_leader_grants_nothing_before_it_has_applied_the_fences_it_inherited() {
        let (mut book, t0) = (Book::default(), Instant::now());
        book.lead(Some(4), t0, || 101);
        assert_eq!(book.grant(NODE, 100, t0), Renewal::Refused);
        assert_eq!(book.grant(NODE, 101, t0), Renewal::Granted { log: 101 });
    }

    #[test]
    fn a_new_leader_waits_for_what_its_predecessor_may_have_granted() {
        let t0 = Instant::now();
        let mut book = leading(3, t0);
        book.grant(NODE, 0, t0);
        book.lead(Some(4), t0 + secs(5.0), || 0);
        assert!(look_until(&mut book, t0 + secs(5.0), t0 + secs(12.4)).is_empty());
        assert_eq!(look_until(&mut book, t0 + secs(12.4), t0 + secs(12.5)), [NODE]);
    }

    #[test]
    fn a_life_that_joins_late_gets_a_whole_ttl() {
        let t0 = Instant::now();
        let mut book = leading(3, t0);
        let mut now = t0;
        while now < t0 + secs(60.0) {
            assert!(book.expired(&[], &Timing::default(), true, now).is_empty());
            now += secs(0.1);
        }
        assert!(look_until(&mut book, now, now + secs(6.4)).is_empty());
        assert_eq!(look_until(&mut book, now + secs(6.4), now + secs(6.5)), [NODE]);
    }

    #[test]
    fn a_leader_that_stood_still_or_heard_no_quorum_blames_nobody_for_that_time() {
        let t0 = Instant::now();
        let mut book = leading(3, t0);
        book.grant(NODE, 0, t0);
        assert!(
            book.expired(&[NODE], &Timing::default(), true, t0 + secs(30.0)).is_empty(),
            "it stood still"
        );
        assert!(look_until(&mut book, t0 + secs(30.0), t0 + secs(36.4)).is_empty());
        assert!(
            book.expired(&[NODE], &Timing::default(), false, t0 + secs(36.5)).is_empty(),
            "it hears no quorum"
        );
        assert_eq!(look_until(&mut book, t0 + secs(36.5), t0 + secs(43.0)), [NODE]);
    }

    #[test]
    fn a_grant_counts_for_rights_once_the_log_has_caught_up_with_it() {
        let t0 = Instant::now();
        let mut rights = Rights::default();
        assert_eq!(
            rights.granted(10, t0 + secs(4.5), 9),
            None,
            "the change at 10 is not known here"
        );
        assert_eq!(rights.granted(10, t0 + secs(5.0), 10), Some(t0 + secs(5.0)));
        // It is heard every half second, and its log stands still.
        for n in 2..100 {
            let until = t0 + secs(4.5 + 0.5 * f64::from(n));
            assert_eq!(rights.granted(11, until, 10), Some(t0 + secs(5.0)), "its log is behind");
        }
        assert_eq!(
            rights.granted(12, t0 + secs(54.5), 11),
            Some(t0 + secs(54.0)),
            "up to the grants it has caught up with"
        );
        // A new leader that has applied less.
        assert_eq!(rights.granted(11, t0 + secs(55.0), 11), Some(t0 + secs(55.0)));
        assert_eq!(rights.granted(13, t0 + secs(55.5), 12), Some(t0 + secs(55.0)), "never back");
    }

    /// Changes are applied by the leader at random times; the node's log lags at random. Whatever happens, the node stops by
    /// itself within a lease of each change that it has not applied.
    #[test]
    fn rights_never_outlive_a_change_that_the_node_has_not_applied_by_more_than_a_lease() {
        let timing = Timing::default();
        let mut state = 11_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut behind = 0;
        for _ in 0..300 {
            let t0 = Instant::now();
            let at = |ms: u64| t0 + Duration::from_millis(ms);
            let (mut leader, mut node, mut rights, mut until) = (0, 0, Rights::default(), None);
            // When the leader applied each entry.
            let mut changed = vec![t0];
            for ms in (0..60_000).step_by(100) {
                if random(20) == 0 {
                    leader += 1;
                    changed.push(at(ms));
                }
                if node < leader && random(40) == 0 {
                    node += 1 + random(leader - node);
                }
                if ms % 500 == 0 && random(3) > 0 {
                    until = rights.granted(leader, at(ms) + timing.node_lease(), node);
                }
                if until.is_some_and(|until| at(ms) < until) && node < leader {
                    behind += 1;
                    let unknown = changed[node as usize + 1];
                    assert!(
                        at(ms) < unknown + timing.node_lease(),
                        "it goes on without having heard of it"
                    );
                }
            }
        }
        assert!(behind > 1_000, "{behind} moments behind");
    }

    #[tokio::test]
    async fn who_does_not_hear_of_rights_for_too_long_is_told_so_and_told_when_they_are_known_again() {
        let (sender, receiver) = watch::channel(None);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let note = |what: &'static str| tell.send(what).unwrap();
        let watched = watch_rights(receiver, || note("stale"), || note("known"));
        let driven = async {
            sender.send_replace(Some(Instant::now() + secs(60.0)));
            assert_eq!(told.recv().await, Some("known"));
            // It was over a moment less than that ago.
            sender.send_replace(Some(Instant::now() + secs(0.05) - MAX_AUTHZ_STALENESS));
            assert_eq!(told.recv().await, Some("stale"));
            sender.send_replace(Some(Instant::now() + secs(60.0)));
            assert_eq!(told.recv().await, Some("known"));
        };
        tokio::select! {
            () = watched => {}
            () = driven => {}
        }
    }

    /// One node and two leaders; schedules drawn from a seed. A decided fence is committed up to two seconds later, and at no instant
    /// from its decision on may the node still trust its lease.
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
        let mut fences = 0;
        for _ in 0..2_000 {
            let t0 = Instant::now();
            let at = |ms: u64| t0 + Duration::from_millis(ms);
            // The old leader's last quorum contact, and the election of the new one no earlier than that.
            let contact = 2_000 + random(2_000);
            let elected = contact + random(3_000);
            let (mut old, mut new) = (leading(1, at(0)), Book::default());
            let (mut lease, mut fenced) = (at(0), None);
            let (silent_from, silent_for) = (3_000 + random(4_000), 5_000 + random(6_000));
            for ms in (0..30_000).step_by(100) {
                let silent = (silent_from..silent_from + silent_for).contains(&ms);
                if ms >= elected {
                    new.lead(Some(2), at(elected), || 0);
                    if !new.expired(&[NODE], &timing, true, at(ms)).is_empty() && fenced.is_none() {
                        fenced = Some(at(ms));
                        fences += 1;
                    }
                }
                if ms % 500 == 0 && !silent {
                    let delay = random(100);
                    let granted = if random(2) == 0 && ms <= contact + 1_000 {
                        old.grant(NODE, 0, at(ms + delay))
                    } else if ms >= elected {
                        new.grant(NODE, 0, at(ms + delay))
                    } else {
                        Renewal::Refused
                    };
                    if matches!(granted, Renewal::Granted { .. }) {
                        lease = lease.max(at(ms) + timing.node_lease());
                    }
                }
                if let Some(fenced) = fenced {
                    assert!(lease <= fenced, "the lease outlived the fence");
                }
            }
        }
        assert!(fences > 200, "{fences} schedules led to a fence");
    }
}
