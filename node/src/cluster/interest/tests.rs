use super::*;
use crate::router::{MatchPolicy, Slot};

fn node(slot: u16) -> NodeRef {
    NodeRef {
        slot: Slot(slot),
        epoch: 1,
    }
}

struct Origin {
    own: Own,
    now: Instant,
    next_ticket: u64,
}

impl Origin {
    fn new() -> Self {
        Self {
            own: Own::new(Key::of("test"), Duration::from_secs(2)),
            now: Instant::now(),
            next_ticket: 0,
        }
    }

    fn wants(&mut self, topic: &str) -> u64 {
        self.next_ticket += 1;
        self.own.want(&"realm1".into(), &topic.into(), self.next_ticket, self.now);
        self.next_ticket
    }

    fn gives_up(&mut self, topic: &str) {
        self.own.unwant(&"realm1".into(), &topic.into(), self.now);
    }

    fn passes(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
        self.own.expire(self.now);
    }

    fn messages_for(&mut self, node: NodeRef) -> Vec<Message> {
        std::iter::from_fn(|| self.own.next_message(node).unwrap()).collect()
    }

    /// Lets `replicas` apply whatever is to be sent, and acknowledges it.
    fn syncs(&mut self, follower: NodeRef, replicas: &mut Replicas) {
        let mut messages = self.own.followers[&follower].acked;
        loop {
            let batch = self.messages_for(follower);
            if batch.is_empty() {
                return;
            }
            for message in batch {
                let (_, version) = replicas.apply(node(1), message).unwrap();
                messages += 1;
                self.own.acked(follower, messages, version, self.now).unwrap();
            }
        }
    }

    fn ready(&mut self) -> Vec<u64> {
        self.own.take_ready().into_iter().map(|(_, ticket)| ticket).collect()
    }
}

fn topics(table: &Table) -> Vec<String> {
    let mut topics: Vec<String> = table.entries().iter().map(|entry| entry.topic.uri.to_string()).collect();
    topics.sort();
    topics
}

#[test]
fn without_followers_a_ticket_is_ready_at_once_and_only_once() {
    let mut origin = Origin::new();
    let ticket = origin.wants("a");
    assert_eq!(origin.ready(), [ticket]);
    assert_eq!(origin.ready(), [0; 0]);
}

#[test]
fn a_ticket_waits_until_every_follower_has_applied_the_change() {
    let (mut origin, mut at_two, mut at_three) = (Origin::new(), Replicas::new(Key::of("test")), Replicas::new(Key::of("test")));
    origin.own.follow(node(2), origin.now);
    origin.syncs(node(2), &mut at_two);
    let ticket = origin.wants("a");
    origin.own.follow(node(3), origin.now);
    origin.syncs(node(2), &mut at_two);
    assert_eq!(origin.ready(), [0; 0], "node 3 is linked and knows nothing yet");
    origin.syncs(node(3), &mut at_three);
    assert_eq!(origin.ready(), [ticket]);
    assert_eq!(topics(at_three.get(node(1)).unwrap()), ["a"]);
}

#[test]
fn a_follower_that_leaves_is_not_waited_for() {
    let mut origin = Origin::new();
    origin.own.follow(node(2), origin.now);
    let ticket = origin.wants("a");
    assert_eq!(origin.ready(), [0; 0]);
    origin.own.unfollow(node(2));
    assert_eq!(origin.ready(), [ticket]);
}

#[test]
fn a_topic_lingers_and_is_ready_at_once_when_it_is_wanted_again() {
    let (mut origin, mut replica) = (Origin::new(), Replicas::new(Key::of("test")));
    origin.own.follow(node(2), origin.now);
    origin.wants("a");
    origin.syncs(node(2), &mut replica);
    origin.ready();

    origin.gives_up("a");
    origin.passes(1);
    assert_eq!(origin.messages_for(node(2)), []);
    let again = origin.wants("a");
    assert_eq!(origin.ready(), [again], "the follower has known it all the time");
    origin.passes(5);
    assert_eq!(origin.messages_for(node(2)), [], "the wish came back before the time was up");

    origin.gives_up("a");
    origin.passes(2);
    origin.syncs(node(2), &mut replica);
    assert_eq!(topics(replica.get(node(1)).unwrap()), [""; 0]);
    assert_eq!(replica.get(node(1)).unwrap().digest(), 0);
}

#[test]
fn giving_up_twice_counts_from_the_second_time() {
    let mut origin = Origin::new();
    origin.wants("a");
    origin.gives_up("a");
    origin.passes(1);
    origin.wants("a");
    origin.gives_up("a");
    origin.passes(1);
    assert_eq!(origin.own.table().version(), 1);
    origin.passes(1);
    assert_eq!(origin.own.table().version(), 2);
}

#[test]
fn snapshots_and_deltas_of_any_size_arrive_whole() {
    let (mut origin, mut replica) = (Origin::new(), Replicas::new(Key::of("test")));
    for i in 0..20_000 {
        origin.wants(&format!("com.topic.{i}"));
    }
    origin.own.follow(node(2), origin.now);
    let first = origin.messages_for(node(2));
    assert_eq!(
        first.len() as u64,
        WINDOW,
        "no more than the window before an acknowledgement"
    );
    for i in 20_000..25_000 {
        origin.wants(&format!("com.topic.{i}"));
    }
    let mut messages = 0;
    for message in first {
        let (_, version) = replica.apply(node(1), message).unwrap();
        messages += 1;
        origin.own.acked(node(2), messages, version, origin.now).unwrap();
    }
    assert!(!origin.own.snapshot_acked(node(2)));
    origin.syncs(node(2), &mut replica);
    assert!(origin.own.snapshot_acked(node(2)));
    let table = replica.get(node(1)).unwrap();
    assert_eq!(table.entries().len(), 25_000);
    assert_eq!(
        (table.version(), table.digest()),
        (origin.own.table().version(), origin.own.table().digest())
    );
    assert_eq!(origin.own.log.len(), 0, "what everybody was sent is forgotten");
}

#[test]
fn only_a_follower_without_progress_is_overdue() {
    let (mut origin, mut replica) = (Origin::new(), Replicas::new(Key::of("test")));
    let deadline = Duration::from_secs(2);
    origin.own.follow(node(2), origin.now);
    origin.syncs(node(2), &mut replica);
    origin.passes(100);
    assert_eq!(origin.own.overdue(origin.now, deadline), []);
    origin.wants("a");
    origin.passes(3);
    assert_eq!(origin.own.overdue(origin.now, deadline), [node(2)]);
    origin.syncs(node(2), &mut replica);
    assert_eq!(origin.own.overdue(origin.now, deadline), []);
}

#[test]
fn a_gap_a_wrong_digest_and_a_false_acknowledgement_are_noticed() {
    let mut replica = Replicas::new(Key::of("test"));
    let change = Change {
        realm: "realm1".into(),
        topic: "a".into(),
        wanted: true,
    };
    let delta = |from_version, digest| Message::Delta {
        from_version,
        version: from_version + 1,
        digest,
        changes: vec![change.clone()],
    };
    assert_eq!(replica.apply(node(1), delta(0, 0)), Err(Broken::NoSnapshot));
    let empty = Message::Snapshot {
        first: true,
        last: true,
        version: 3,
        digest: 0,
        changes: vec![],
    };
    assert_eq!(replica.apply(node(1), empty), Ok((vec![], 3)));
    assert_eq!(replica.apply(node(1), delta(4, 0)), Err(Broken::Gap { have: 3, from: 4 }));
    assert_eq!(replica.apply(node(1), delta(3, 99)), Err(Broken::Digest { version: 4 }));

    let mut origin = Origin::new();
    origin.own.follow(node(2), origin.now);
    assert_eq!(origin.own.acked(node(2), 1, 0, origin.now), Err(Broken::Acknowledged));
}

#[test]
fn a_pulled_table_says_what_it_changes_and_overlapping_deltas_do_no_harm() {
    let (mut origin, mut replica) = (Origin::new(), Replicas::new(Key::of("test")));
    origin.own.follow(node(2), origin.now);
    origin.wants("a");
    origin.wants("b");
    origin.syncs(node(2), &mut replica);
    origin.wants("c");
    origin.gives_up("a");
    origin.passes(2);
    let table = origin.own.table().clone();
    assert!(replica.disagrees(node(1), table.version(), table.digest()));
    let changes = replica.replace(node(1), table.version(), &table.entries());
    let said: Vec<_> = changes.iter().map(|change| (&*change.topic.uri, change.wanted)).collect();
    assert_eq!(said, [("a", false), ("c", true)]);
    assert!(!replica.disagrees(node(1), table.version(), table.digest()));

    origin.wants("d");
    origin.syncs(node(2), &mut replica);
    assert_eq!(topics(replica.get(node(1)).unwrap()), ["b", "c", "d"]);
    assert_eq!(replica.replace(node(1), 1, &[]), [], "older than what is known");
}

#[test]
fn a_follower_too_far_behind_is_told_so() {
    for (changes, lags) in [(100, false), (101, true)] {
        let mut origin = Origin::new();
        origin.own.log_max = 100;
        origin.own.follow(node(2), origin.now);
        origin.own.next_message(node(2)).unwrap();
        for i in 0..changes {
            origin.wants(&format!("{i}"));
        }
        assert_eq!(origin.own.next_message(node(2)) == Err(Broken::Lagging), lags);
    }
}

#[test]
fn a_topic_a_pattern_and_a_shard_of_one_name_are_three_entries() {
    let (mut origin, mut replica) = (Origin::new(), Replicas::new(Key::of("test")));
    origin.own.follow(node(2), origin.now);
    let key = |policy, shard: Option<&str>| TopicKey {
        policy,
        uri: "com.a".into(),
        shard: shard.map(Into::into),
    };
    let keys = [
        key(MatchPolicy::Exact, None),
        key(MatchPolicy::Prefix, None),
        key(MatchPolicy::Prefix, Some("")),
        key(MatchPolicy::Prefix, Some("n1")),
    ];
    let mut digests = vec![origin.own.table().digest()];
    for key in &keys {
        origin.own.want(&"realm1".into(), key, 1, origin.now);
        digests.push(origin.own.table().digest());
    }
    let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
    assert_eq!(distinct.len(), 5);
    origin.own.unwant(&"realm1".into(), &keys[1], origin.now);
    origin.passes(2);
    origin.syncs(node(2), &mut replica);
    let mut known: Vec<_> = replica
        .get(node(1))
        .unwrap()
        .entries()
        .into_iter()
        .map(|entry| entry.topic)
        .collect();
    known.sort();
    assert_eq!(known, [&keys[0], &keys[2], &keys[3]].map(Clone::clone));
}
