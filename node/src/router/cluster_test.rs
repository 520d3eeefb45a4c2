//! Three realms, one log and the links between them, driven at random and watched by an oracle.
//!
//! Every node applies the log at its own pace; proposals, frames, interest, confirmations and barriers take their time, each
//! queue in its order; links break, nodes die, time passes, a node skips entries by a snapshot. After every input the invariants
//! of that realm are walked. In the end all faults are removed, and whatever is open must end and whatever stands must work.

mod clients;
mod created;
mod faults;
mod flows;
mod meta;
mod oracle;
mod overlap;
mod plain;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use proptest::{prelude::*, strategy::ValueTree};

use super::{
    BarrierOutcome, Effect, Input, InvokePolicy, MatchPolicy, NodeRef, Op, PeerFrame, Policy, Realm, RealmConfig, Slot, TopicKey,
    testing::some_instant,
};
use crate::wamp::{SessionId, Uri};
use InvokePolicy::{First, Last, Random, RoundRobin, Single};
use MatchPolicy::{Exact, Prefix, Wildcard};
use oracle::Oracle;

const NODES: usize = 3;
const LANES: u64 = 2;
const PROCEDURES: [&str; 4] = ["com.a", "com.b", "com.c", "org.d"];
/// What clients register: a URI, how it is compared, who is invoked. The second way to share a procedure is refused.
const OFFERS: [(&str, MatchPolicy, InvokePolicy); 14] = [
    ("com.a", Exact, Single),
    ("com.a", Exact, Single),
    ("com.b", Exact, RoundRobin),
    ("com.b", Exact, RoundRobin),
    ("com.b", Exact, RoundRobin),
    ("com.c", Exact, Random),
    ("com.c", Exact, Random),
    ("org.d", Exact, Single),
    ("org.d", Exact, Single),
    ("org.d", Exact, First),
    ("com.", Prefix, Last),
    ("com.b", Prefix, Single),
    ("com.", Wildcard, First),
    (".a", Wildcard, Single),
];
/// The room for definitions: less than walks ask for.
const DEFINITIONS_MAX: u32 = 3;
const TOPICS: [&str; 3] = ["com.x", "com.y", "com.x.y"];
/// What is subscribed to.
const PATTERNS: [(MatchPolicy, &str); 8] = [
    (MatchPolicy::Exact, "com.x"),
    (MatchPolicy::Exact, "com.y"),
    (MatchPolicy::Exact, "com.x.y"),
    (MatchPolicy::Prefix, ""),
    (MatchPolicy::Prefix, "com.x"),
    (MatchPolicy::Wildcard, "com."),
    (MatchPolicy::Wildcard, "..y"),
    // Sharded by its subscribers.
    (MatchPolicy::Wildcard, ".y"),
];

/// One random step; the numbers pick among what is possible.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u16,
    b: u16,
}

/// An entry of the log. Ops of one batch share an index.
enum Entry {
    Ops(NodeRef, Vec<Op>),
    Fence(NodeRef),
}

enum Control {
    Interest {
        topic: TopicKey,
        wanted: bool,
        ticket: Option<u64>,
    },
    Ack {
        ticket: u64,
    },
}

struct Node {
    me: NodeRef,
    realm: Realm,
    alive: bool,
    /// How many entries it applied.
    applied: usize,
    proposals: VecDeque<Op>,
    /// For each barrier asked for, how many entries there were then.
    barriers: VecDeque<usize>,
    /// Announcements and who has not confirmed them.
    unconfirmed: BTreeMap<u64, BTreeSet<usize>>,
}

struct World {
    nodes: Vec<Node>,
    log: Vec<Entry>,
    /// How many inputs there were.
    inputs: u64,
    /// The registry after each entry, as the first node that got there has it.
    snapshots: Vec<Option<Vec<u8>>>,
    data: BTreeMap<(usize, usize, u64), VecDeque<PeerFrame>>,
    control: BTreeMap<(usize, usize), VecDeque<Control>>,
    /// (i, j): node i believes that its link to j is up.
    up: BTreeSet<(usize, usize)>,
    /// Links that broke once; what passes over them is not counted on.
    broken: BTreeSet<(usize, usize)>,
    /// Dead nodes that the log does not know to be dead.
    unfenced: Vec<usize>,
    now: Instant,
    last_session: u64,
    /// All sessions are on the first node.
    alone: bool,
    oracle: Oracle,
}

impl World {
    fn new() -> Self {
        let now = some_instant();
        let nodes = (0..NODES).map(|n| {
            let me = NodeRef {
                slot: Slot(n as u16 + 1),
                epoch: 1,
            };
            let mut config = RealmConfig::new(Uri::from("realm1"), n as u64, [9; 16]);
            config.policy = Policy::open();
            config.allow_define = true;
            config.limits.definitions_max = DEFINITIONS_MAX;
            let realm = Realm::new(config, me);
            Node {
                me,
                realm,
                alive: true,
                applied: 0,
                proposals: VecDeque::new(),
                barriers: VecDeque::new(),
                unconfirmed: BTreeMap::new(),
            }
        });
        let mut world = Self {
            nodes: nodes.collect(),
            log: Vec::new(),
            inputs: 0,
            snapshots: Vec::new(),
            data: BTreeMap::new(),
            control: BTreeMap::new(),
            up: BTreeSet::new(),
            broken: BTreeSet::new(),
            unfenced: Vec::new(),
            now,
            last_session: 100,
            alone: false,
            oracle: Oracle::default(),
        };
        for i in 0..NODES {
            world.input(
                i,
                Input::Lease {
                    until: now + Duration::from_secs(1_000_000),
                },
            );
            for j in 0..i {
                world.connect(j, i);
            }
        }
        world
    }

    fn step(&mut self, Step { kind, a, b }: Step) {
        let (a, b) = (usize::from(a), usize::from(b));
        match kind {
            0..=3 => self.join(a),
            4 => self.leave(a),
            5..=10 => self.register(a, b),
            11..=12 => self.unregister(a, b),
            13..=23 => self.call(a, PROCEDURES[b % PROCEDURES.len()]),
            24..=33 => self.answer(a, b),
            34..=37 => self.subscribe(a, PATTERNS[b % PATTERNS.len()]),
            39 => self.revoke(a, b),
            38 => self.unsubscribe(a, b),
            40..=45 => self.publish(a, b),
            46..=54 => self.commit(a, b % 3 + 1),
            55..=68 => self.apply(a),
            69..=94 => self.deliver_data(a),
            95..=106 => self.deliver_control(a),
            107..=111 => self.confirm(a),
            112..=117 => self.answer_barrier(
                a,
                if b % 8 == 0 {
                    BarrierOutcome::Failed
                } else {
                    BarrierOutcome::Passed
                },
            ),
            118 => self.pass(Duration::from_millis(1 + b as u64 % 2_000)),
            119 if b % 4 == 1 => self.define(a, b / 4),
            119 if b % 4 != 0 => self.list_sessions(a),
            125 if b % 8 == 1 => self.kill_session(a, b / 8),
            127 if b % 2 == 1 => self.watch_sessions(a),
            119 if b % 4 == 0 => self.pass(Duration::from_secs(11)),
            120 => self.break_link(a % NODES, b % NODES),
            121..=122 => self.notice_loss(a),
            123..=124 => self.reconnect(a),
            125 if b % 8 == 0 => self.kill(a % NODES),
            125 => self.revoke_registration(a, b),
            126 => self.fence(),
            127 if b % 2 == 0 => self.jump(a % NODES, b % NODES),
            128.. => self.flow(kind, a, b),
            _ => {}
        }
    }

    /// Hands a node one input and carries out what it asks for.
    fn input(&mut self, node: usize, input: Input) {
        self.inputs += 1;
        let realm = &mut self.nodes[node].realm;
        let shortly = self.inputs.is_multiple_of(2).then(|| plain::shortly(realm, self.now, &input));
        if let Some(effects) = shortly.flatten() {
            return self.carry_out(node, effects);
        }
        let mut effects = Vec::new();
        realm.handle(self.now, input, &mut effects);
        self.carry_out(node, effects);
    }

    fn carry_out(&mut self, node: usize, effects: Vec<Effect>) {
        self.nodes[node].realm.check_invariants().expect("invariants hold");
        for effect in effects {
            match effect {
                Effect::Send { session, message } => self.oracle.receives(session, message),
                Effect::Fanout { sessions, message } | Effect::FanoutAs { sessions, message, .. } => {
                    sessions
                        .into_iter()
                        .for_each(|session| self.oracle.receives(session, message.clone()));
                }
                // Nobody retains anything here, and no history is configured.
                Effect::Keep(keep) => panic!("nobody asked for {keep:?}"),
                Effect::AskHistory(ask) => panic!("nobody asked {ask:?}"),
                Effect::Note(noted) => panic!("nobody keeps {noted:?}"),
                Effect::TellHistory(tell) => panic!("nobody asked {tell:?}"),
                Effect::Kill { session, .. } => _ = self.oracle.leaves(session),
                Effect::Abort { session, message } => panic!("{session} kept the protocol and got {message:?}"),
                Effect::Propose { op } => self.nodes[node].proposals.push_back(op),
                Effect::Barrier => {
                    let committed = self.log.len();
                    self.nodes[node].barriers.push_back(committed);
                }
                // There are no outboxes here.
                Effect::SubscriptionEnded { .. } => {}
                Effect::Refresh(refresh) => panic!("nobody stands on a token, and {refresh:?}"),
                Effect::Answered(answered) => panic!("no shell asked, and {answered:?}"),
                Effect::Flood { .. } => panic!("no outbox of this test fills"),
                Effect::Interest { topic, wanted, ticket } => self.announce(node, topic, wanted, ticket),
                Effect::Forward { to, source, frame } => {
                    let peer = usize::from(to.slot.0) - 1;
                    assert!(self.up.contains(&(node, peer)), "a frame for a node without a link");
                    self.oracle.sees_frame(node, peer, &frame);
                    if self.is_whole(node, peer) {
                        self.data
                            .entry((node, peer, source.get() % LANES))
                            .or_default()
                            .push_back(frame);
                    }
                }
            }
        }
    }

    fn announce(&mut self, node: usize, topic: TopicKey, wanted: bool, ticket: u64) {
        let peers: BTreeSet<usize> = (0..NODES).filter(|peer| self.up.contains(&(node, *peer))).collect();
        let reached: Vec<usize> = peers.iter().copied().filter(|peer| self.is_whole(node, *peer)).collect();
        for peer in reached {
            let message = Control::Interest {
                topic: topic.clone(),
                wanted,
                ticket: wanted.then_some(ticket),
            };
            self.control.entry((node, peer)).or_default().push_back(message);
        }
        if wanted {
            self.nodes[node].unconfirmed.insert(ticket, peers);
        }
    }

    /// Commits up to `count` proposals of one node as one entry. A dead node's may still arrive, even after its fence.
    fn commit(&mut self, a: usize, count: usize) {
        let proposing: Vec<usize> = (0..NODES).filter(|n| !self.nodes[*n].proposals.is_empty()).collect();
        if proposing.is_empty() {
            return;
        }
        let node = &mut self.nodes[proposing[a % proposing.len()]];
        let count = count.min(node.proposals.len());
        let ops = node.proposals.drain(..count).collect();
        self.log.push(Entry::Ops(node.me, ops));
        self.snapshots.push(None);
    }

    fn apply(&mut self, a: usize) {
        let behind: Vec<usize> = self
            .alive()
            .into_iter()
            .filter(|n| self.nodes[*n].applied < self.log.len())
            .collect();
        if behind.is_empty() {
            return;
        }
        let node = behind[a % behind.len()];
        let entry = self.nodes[node].applied;
        self.nodes[node].applied += 1;
        let index = entry as u64 + 1;
        let inputs: Vec<Input> = match &self.log[entry] {
            Entry::Fence(node) => vec![Input::NodeFenced { index, node: *node }],
            Entry::Ops(by, ops) => ops
                .iter()
                .map(|op| Input::Applied {
                    index,
                    by: *by,
                    op: op.clone(),
                })
                .collect(),
        };
        inputs.into_iter().for_each(|input| self.input(node, input));
        self.input(node, Input::AppliedTo { index });
        self.compare_registry(node, entry);
    }

    /// Equal index, equal registry.
    fn compare_registry(&mut self, node: usize, entry: usize) {
        let mut bytes = Vec::new();
        self.nodes[node].realm.snapshot_registry(&mut bytes);
        match &self.snapshots[entry] {
            Some(known) => assert_eq!(*known, bytes, "two registries differ after entry {entry}"),
            None => self.snapshots[entry] = Some(bytes),
        }
    }

    /// A node that is behind takes over the registry of another.
    fn jump(&mut self, node: usize, from: usize) {
        let index = self.nodes[from].applied;
        if !self.nodes[node].alive || index <= self.nodes[node].applied {
            return;
        }
        let (mut bytes, mut effects) = (Vec::new(), Vec::new());
        self.nodes[from].realm.snapshot_registry(&mut bytes);
        self.nodes[node]
            .realm
            .restore_registry(index as u64, &bytes, &mut effects)
            .expect("a snapshot of this build");
        self.nodes[node].applied = index;
        self.carry_out(node, effects);
        self.input(node, Input::AppliedTo { index: index as u64 });
        self.compare_registry(node, index - 1);
    }

    fn deliver_data(&mut self, a: usize) {
        let filled: Vec<_> = self
            .data
            .iter()
            .filter(|(_, q)| !q.is_empty())
            .map(|(lane, _)| *lane)
            .collect();
        if filled.is_empty() {
            return;
        }
        let lane = filled[a % filled.len()];
        let Some(frame) = self.data.get_mut(&lane).and_then(VecDeque::pop_front) else {
            return;
        };
        let (from, to, _) = lane;
        self.oracle.sees_delivery(from, to, &frame);
        let from = self.nodes[from].me;
        self.input(to, Input::Peer { from, frame });
    }

    fn deliver_control(&mut self, a: usize) {
        let filled: Vec<_> = self
            .control
            .iter()
            .filter(|(_, q)| !q.is_empty())
            .map(|(link, _)| *link)
            .collect();
        if filled.is_empty() {
            return;
        }
        let (from, to) = filled[a % filled.len()];
        match self.control.get_mut(&(from, to)).and_then(VecDeque::pop_front) {
            Some(Control::Interest { topic, wanted, ticket }) => {
                let node = self.nodes[from].me;
                self.input(
                    to,
                    Input::PeerInterest {
                        node,
                        changes: vec![(topic, wanted)],
                    },
                );
                if let Some(ticket) = ticket {
                    self.control.entry((to, from)).or_default().push_back(Control::Ack { ticket });
                }
            }
            Some(Control::Ack { ticket }) => {
                if let Some(waiting) = self.nodes[to].unconfirmed.get_mut(&ticket) {
                    waiting.remove(&from);
                }
            }
            None => {}
        }
    }

    /// Tells a node that an announcement is known everywhere.
    fn confirm(&mut self, a: usize) {
        let confirmed: Vec<(usize, u64)> = self
            .alive()
            .into_iter()
            .flat_map(|n| {
                self.nodes[n]
                    .unconfirmed
                    .iter()
                    .filter(|(_, w)| w.is_empty())
                    .map(move |(t, _)| (n, *t))
            })
            .collect();
        if confirmed.is_empty() {
            return;
        }
        let (node, ticket) = confirmed[a % confirmed.len()];
        self.nodes[node].unconfirmed.remove(&ticket);
        self.input(node, Input::InterestAcked { ticket });
    }

    fn answer_barrier(&mut self, a: usize, outcome: BarrierOutcome) {
        let asking: Vec<usize> = self
            .alive()
            .into_iter()
            .filter(|n| !self.nodes[*n].barriers.is_empty())
            .collect();
        if asking.is_empty() {
            return;
        }
        let node = asking[a % asking.len()];
        let Some(committed) = self.nodes[node].barriers.pop_front() else {
            return;
        };
        if outcome == BarrierOutcome::Passed {
            while self.nodes[node].applied < committed {
                let behind: Vec<usize> = self
                    .alive()
                    .into_iter()
                    .filter(|n| self.nodes[*n].applied < self.log.len())
                    .collect();
                self.apply(behind.iter().position(|n| *n == node).expect("it is behind"));
            }
        }
        self.input(node, Input::Barrier { outcome });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for node in self.alive() {
            if self.nodes[node].realm.next_deadline().is_some_and(|at| at <= self.now) {
                self.input(node, Input::Tick);
            }
            assert!(
                self.nodes[node].realm.next_deadline().is_none_or(|at| at > self.now),
                "a tick leaves nothing due"
            );
        }
    }

    fn alive(&self) -> Vec<usize> {
        (0..NODES).filter(|n| self.nodes[*n].alive).collect()
    }

    /// True if both ends believe in the link.
    fn is_whole(&self, i: usize, j: usize) -> bool {
        self.up.contains(&(i, j)) && self.up.contains(&(j, i))
    }

    fn pick(&self, a: usize) -> Option<SessionId> {
        let living = self.oracle.living();
        (!living.is_empty()).then(|| living[a % living.len()])
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..160_u8, any::<u16>(), any::<u16>()).prop_map(|(kind, a, b)| Step { kind, a, b });
    prop::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: walks(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
    }

    #[test]
    fn whatever_happens_on_one_node_the_promises_hold(steps in steps()) {
        let mut world = World::new();
        world.alone = true;
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
    }
}

/// How many walks are made: 300, or what `RINGFORT_WALKS` says.
fn walks() -> u32 {
    std::env::var("RINGFORT_WALKS").map_or(300, |n| n.parse().expect("a number"))
}

/// The random walk is worth something only if it gets everywhere.
#[test]
fn the_random_walk_reaches_every_kind_of_outcome() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::new();
    for _ in 0..400 {
        let steps = steps().new_tree(&mut runner).expect("no filter").current();
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.settle();
        world.nodes.iter().for_each(|n| settle::add(&mut seen, n.realm.stats()));
        seen.extend(world.oracle.outcomes().map(|o| (o, 1)));
    }
    let never: Vec<_> = settle::EXPECTED
        .iter()
        .filter(|what| seen.get(**what).is_none_or(|n| *n == 0))
        .collect();
    assert!(never.is_empty(), "never seen: {never:?} in {seen:?}");
}
