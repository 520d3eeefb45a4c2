//! Retained events and histories, as far as the core decides them.

use std::time::Duration;

use crate::{
    router::{
        Effect, Input, MatchPolicy, NodeRef, PeerFrame, TopicKey,
        kept::{Copies, HistoryAnswer, HistoryFailure, HistoryPage, Keep, KeepMark, KeptRule, Retain},
        testing::*,
    },
    wamp::{
        Dict, Message, Payload, PublicationId, RequestId, Serializer, SessionId, Uri, Value, error_uri,
        history::{Filter, Found},
    },
};

const LAMP: &str = "com.lamp";

fn publishes(who: &TestSession, topic: &str, options: Dict, payload: Payload) -> Vec<Effect> {
    who.says(Message::Publish {
        request: who.next(),
        options,
        topic: Uri::from(topic),
        payload,
    })
}

fn retains(who: &TestSession, topic: &str, what: &str) -> Vec<Effect> {
    publishes(who, topic, Dict::new().with("retain", true), payload(what))
}

fn asks_for_retained(who: &TestSession, topic: &str) -> Vec<Effect> {
    who.says(Message::Subscribe {
        request: who.next(),
        options: Dict::new().with("get_retained", true),
        topic: Uri::from(topic),
    })
}

/// The nodes that a SUBSCRIBE waits for, if it does.
fn echoes(effects: &[Effect]) -> Vec<(NodeRef, u64)> {
    let asks = effects.iter().filter_map(|effect| match effect {
        Effect::Forward {
            to,
            frame: PeerFrame::MetaAsk { ask, .. },
            ..
        } => Some((*to, *ask)),
        _ => None,
    });
    asks.collect()
}

fn answers(realm: &TestRealm, node: NodeRef, ask: u64) -> Vec<Effect> {
    let (index, answer) = (0, Dict::new());
    realm.hears(node, PeerFrame::MetaAnswer { ask, index, answer })
}

/// Subscribes with `get_retained`; the payloads of what is retained.
fn hears_retained(realm: &TestRealm, who: &TestSession, topic: &str) -> Vec<Payload> {
    let mut effects = asks_for_retained(who, topic);
    for (node, ask) in echoes(&effects) {
        effects = answers(realm, node, ask);
    }
    if let [
        Effect::Interest {
            wanted: true, ticket, ..
        },
    ] = effects.as_slice()
    {
        effects = realm.input(Input::InterestAcked { ticket: *ticket });
    }
    let mut effects = effects.into_iter();
    assert!(
        matches!(effects.next(), Some(Effect::Send { message: Message::Subscribed { .. }, session }) if session == who.id),
        "SUBSCRIBED comes first"
    );
    let retained = effects.map(|effect| match effect {
        Effect::Send {
            session,
            message: Message::Event { details, payload, .. },
        } if session == who.id => {
            assert_eq!(details.bool("retained"), Some(true));
            payload
        }
        other => panic!("not a retained event but {other:?}"),
    });
    retained.collect()
}

fn rule(policy: MatchPolicy, uri: &str) -> KeptRule {
    KeptRule {
        policy,
        uri: Uri::from(uri),
        retain: None,
        empty_clears: false,
        history: None,
    }
}

fn keeps(effects: &[Effect]) -> Vec<&Keep> {
    let keeps = effects.iter().filter_map(|effect| match effect {
        Effect::Keep(keep) => Some(&**keep),
        _ => None,
    });
    keeps.collect()
}

#[test]
fn the_newest_retained_event_follows_subscribed_for_those_who_ask() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    assert_eq!(hears_retained(&realm, &bob, LAMP), []);
    retains(&alice, LAMP, "off");
    retains(&alice, LAMP, "on");
    publishes(&alice, LAMP, Dict::new(), payload("flicker"));
    assert_eq!(hears_retained(&realm, &carol, LAMP), [payload("on")]);
    // Subscribed already; asking again tells again.
    assert_eq!(hears_retained(&realm, &bob, LAMP), [payload("on")]);
    let dave = realm.join();
    let (_, effects) = dave.asks_to_subscribe(LAMP);
    assert_eq!(effects.len(), 1, "who does not ask gets SUBSCRIBED alone");
}

#[test]
fn what_is_retained_waits_for_subscribed_and_ends_with_the_session() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    retains(&alice, LAMP, "on");
    let ticket = match asks_for_retained(&bob, LAMP).as_slice() {
        [Effect::Interest { ticket, .. }] => *ticket,
        other => panic!("{other:?}"),
    };
    assert_eq!(asks_for_retained(&carol, LAMP), []);
    carol.leaves();
    let effects = realm.input(Input::InterestAcked { ticket });
    assert_eq!(effects.len(), 2, "{effects:?}");
    assert!(matches!(&effects[1], Effect::Send { session, message: Message::Event { .. } } if *session == bob.id));
}

#[test]
fn what_other_nodes_have_sent_before_is_there_when_somebody_subscribes() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    let (alice, bob) = (there.join(), here.join());
    [NODE_2, NODE_3].into_iter().for_each(|node| here.link(node));
    there.link(ME);
    let sent = retains(&alice, LAMP, "on");
    let asked = echoes(&asks_for_retained(&bob, LAMP));
    assert_eq!(asked.iter().map(|(node, _)| *node).collect::<Vec<_>>(), [NODE_2, NODE_3]);
    // The event is on its way, and the answer behind it.
    for effect in sent {
        if let Effect::Forward { frame, .. } = effect {
            here.hears(NODE_2, frame);
        }
    }
    assert_eq!(answers(&here, NODE_2, asked[0].1), [], "another one has not answered");
    let effects = here.input(Input::PeerDown { node: NODE_3 });
    let [Effect::Interest { ticket, .. }] = effects[..] else {
        panic!("{effects:?}")
    };
    let effects = here.input(Input::InterestAcked { ticket });
    assert!(
        matches!(&effects[..], [Effect::Send { message: Message::Subscribed { .. }, .. },
            Effect::Send { message: Message::Event { payload: retained, .. }, .. }] if *retained == payload("on")),
        "{effects:?}"
    );
}

#[test]
fn a_node_that_does_not_answer_is_waited_for_until_something_else_comes_of_the_session_or_its_time_is_over() {
    let realm = TestRealm::new();
    realm.link(NODE_2);
    let (alice, bob) = (realm.join(), realm.join());
    for who in [&alice, &bob] {
        assert_eq!(echoes(&asks_for_retained(who, LAMP)).len(), 1);
    }
    alice.leaves();
    let effects = bob
        .unsubscribes(realm.inside(|realm| realm.ids.subscription(MatchPolicy::Exact, "com.other")))
        .1;
    assert!(
        matches!(effects[..], [Effect::Interest { wanted: true, .. }, Effect::Send { .. }]),
        "{effects:?}"
    );
    let carol = realm.join();
    assert_eq!(echoes(&asks_for_retained(&carol, "com.new")).len(), 1);
    let effects = realm.pass(Duration::from_millis(250));
    assert!(matches!(effects[..], [Effect::Interest { wanted: true, .. }]), "{effects:?}");
    assert_eq!(realm.inside(|realm| realm.broker.by_id.len()), 2);
}

#[test]
fn a_retained_event_for_some_stands_beside_the_one_for_all() {
    let realm = TestRealm::new();
    let (alice, bob, carol) = (realm.join(), realm.join(), realm.join());
    let name = |who: &TestSession| format!("user{}", who.id);
    retains(&alice, LAMP, "for all");
    let eligible = Dict::new()
        .with("retain", true)
        .with("eligible_authid", vec![Value::from(name(&bob))]);
    publishes(&alice, LAMP, eligible, payload("for bob"));
    assert_eq!(hears_retained(&realm, &bob, LAMP), [payload("for bob")]);
    assert_eq!(hears_retained(&realm, &carol, LAMP), [payload("for all")]);
    // Lists of session ids mean nothing later: such an event is not kept.
    let listed = Dict::new()
        .with("retain", true)
        .with("exclude", vec![Value::from(carol.id.get())]);
    assert_eq!(keeps(&publishes(&alice, LAMP, listed, payload("secret"))), [] as [&Keep; 0]);
    retains(&alice, LAMP, "for all again");
    assert_eq!(hears_retained(&realm, &bob, LAMP), [payload("for all again")]);
}

#[test]
fn a_retained_event_goes_to_every_node_and_is_retained_there() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    here.link(NODE_2);
    there.link(NODE_3);
    let (alice, bob) = (here.join(), there.join());
    let effects = retains(&alice, LAMP, "on");
    let frames: Vec<&PeerFrame> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Forward { frame, .. } => Some(frame),
            _ => None,
        })
        .collect();
    let [frame @ PeerFrame::Event { keep: Some(mark), .. }] = frames.as_slice() else {
        panic!("{effects:?}")
    };
    assert!(mark.retain);
    // Nobody there wants it; it is kept all the same, on the disk too.
    let effects = there.hears(NODE_3, (*frame).clone());
    assert!(
        matches!(keeps(&effects).as_slice(), [Keep::Retain { own: false, .. }]),
        "{effects:?}"
    );
    assert_eq!(there.stats().dropped_unwanted_events, 0);
    assert_eq!(hears_retained(&there, &bob, LAMP), [payload("on")]);
    // An older one that comes late changes nothing.
    let late = PeerFrame::Event {
        publication: PublicationId::new(7).unwrap(),
        topic: Uri::from(LAMP),
        publisher: alice.id,
        exclude_me: true,
        acknowledged: false,
        audience: None,
        keep: Some(Box::new(KeepMark {
            time: mark.time - 1,
            retain: true,
        })),
        details: Dict::new(),
        payload: payload("late"),
    };
    there.hears(NODE_3, late);
    assert_eq!(hears_retained(&there, &bob, LAMP), [payload("on")]);
}

#[test]
fn a_node_whose_link_comes_up_is_told_everything_part_by_part() {
    let (here, there) = (TestRealm::new(), TestRealm::new());
    let (alice, bob) = (here.join(), there.join());
    let big = Payload::from_proven(Serializer::Json, 1, format!("[\"{}\"]", "x".repeat(50_000)).into());
    for n in 0..10 {
        publishes(&alice, &format!("com.lamp{n}"), Dict::new().with("retain", true), big.clone());
    }
    here.link(NODE_2);
    let mut to_there = here.input(Input::PeerReady { node: NODE_2 });
    there.link(ME);
    let mut parts = 0;
    while !to_there.is_empty() {
        parts += 1;
        let mut back = Vec::new();
        for effect in to_there {
            let Effect::Forward { frame, .. } = effect else { continue };
            let answers = there.hears(ME, frame);
            back.extend(answers.into_iter().filter(|effect| matches!(effect, Effect::Forward { .. })));
        }
        to_there = Vec::new();
        for effect in back {
            let Effect::Forward { frame, .. } = effect else { continue };
            to_there.extend(here.hears(NODE_2, frame));
        }
    }
    assert!((3..8).contains(&parts), "{parts}");
    for n in 0..10 {
        let heard = hears_retained(&there, &bob, &format!("com.lamp{n}"));
        assert_eq!(heard.as_slice(), std::slice::from_ref(&big));
    }
}

#[test]
fn the_configuration_says_what_is_retained_and_what_clears_it() {
    let realm = TestRealm::with(|config| {
        config.kept = vec![
            KeptRule {
                retain: Some(Retain::Always),
                empty_clears: true,
                ..rule(MatchPolicy::Prefix, "com.state.")
            },
            KeptRule {
                retain: Some(Retain::Never),
                ..rule(MatchPolicy::Exact, "com.state.secret")
            },
        ];
    });
    let (alice, bob) = (realm.join(), realm.join());
    publishes(&alice, "com.state.door", Dict::new(), payload("open"));
    retains(&alice, "com.state.secret", "4711");
    assert_eq!(hears_retained(&realm, &bob, "com.state.door"), [payload("open")]);
    assert_eq!(hears_retained(&realm, &bob, "com.state.secret"), []);
    publishes(&alice, "com.state.door", Dict::new(), Payload::EMPTY);
    assert_eq!(hears_retained(&realm, &bob, "com.state.door"), []);
    // Elsewhere an event without arguments is retained like any other.
    publishes(&alice, LAMP, Dict::new().with("retain", true), Payload::EMPTY);
    assert_eq!(hears_retained(&realm, &bob, LAMP), [Payload::EMPTY]);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_a_topic_from_changing() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    let now = realm.now();
    realm.inside(|core| core.set_wall_clock(now, 5_000_000));
    retains(&alice, LAMP, "on");
    let restored = realm.inside(|core| core.keeper.retained.get(&Uri::from(LAMP))).unwrap();
    assert_eq!(restored.events[0].stamp.time, 5_000_000);
    // The node starts again, with a clock that is an hour behind, and has what its store had.
    let again = TestRealm::new();
    let (carol, dave) = (again.join(), again.join());
    again.input(Input::Retained(vec![restored]));
    assert_eq!(hears_retained(&again, &dave, LAMP), [payload("on")]);
    retains(&carol, LAMP, "off");
    assert_eq!(hears_retained(&again, &dave, LAMP), [payload("off")]);
    assert_eq!(hears_retained(&realm, &bob, LAMP), [payload("on")]);
}

/// A realm with a history of one topic and of a pattern, and the ids of their subscriptions.
fn with_histories() -> (TestRealm, u64, u64) {
    let realm = TestRealm::with(|config| {
        config.kept = vec![
            KeptRule {
                history: Some(Copies::OnEachNode),
                ..rule(MatchPolicy::Exact, LAMP)
            },
            KeptRule {
                history: Some(Copies::Shared),
                ..rule(MatchPolicy::Prefix, "com.")
            },
        ];
    });
    let id = |policy, uri: &str| realm.inside(|core| core.ids.subscription(policy, uri)).get();
    let ids = (id(MatchPolicy::Exact, LAMP), id(MatchPolicy::Prefix, "com."));
    (realm, ids.0, ids.1)
}

#[test]
fn an_event_goes_into_every_history_that_matches_and_to_nodes_that_keep_their_own() {
    let (realm, ..) = with_histories();
    realm.link(NODE_2);
    let alice = realm.join();
    let effects = publishes(&alice, LAMP, Dict::new(), payload("on"));
    assert!(matches!(keeps(&effects).as_slice(), [Keep::Append { rules, own: true, .. }] if *rules == [0, 1]));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Forward { .. })));
    // Shared only: the publisher's node writes, nobody else need hear of it.
    let effects = publishes(&alice, "com.other", Dict::new(), payload("x"));
    assert!(matches!(effects.as_slice(), [Effect::Keep(_)]), "{effects:?}");
    assert_eq!(publishes(&alice, "org.other", Dict::new(), payload("x")), []);
    let listed = Dict::new().with("eligible", vec![Value::from(1u64)]);
    assert_eq!(publishes(&alice, LAMP, listed, payload("x")), []);
}

fn get_events(who: &TestSession, args: &[Value], kwargs: Dict) -> (RequestId, Vec<Effect>) {
    who.calls_with(
        "wamp.subscription.get_events",
        Payload::from_values(Serializer::Cbor, args, &kwargs),
    )
}

/// The filter of the question that a call became.
fn asked(effects: &[Effect]) -> (usize, Filter) {
    match effects {
        [Effect::AskHistory(ask)] => (ask.rule, ask.filter.clone()),
        other => panic!("no question but {other:?}"),
    }
}

fn refusal(effects: &[Effect]) -> &str {
    match effects {
        [
            Effect::Send {
                message: Message::Error { error, .. },
                ..
            },
        ] => error,
        other => panic!("no ERROR but {other:?}"),
    }
}

#[test]
fn a_question_reads_every_filter_of_the_text() {
    let (realm, exact, prefix) = with_histories();
    let alice = realm.join();
    let all = Dict::new()
        .with("reverse", true)
        .with("limit", 5u64)
        .with("from_time", "1970-01-01T00:00:01Z")
        .with("after_time", "1970-01-01T00:00:00.000005Z")
        .with("before_time", "1970-01-01T00:00:09Z")
        .with("until_time", "1970-01-01T01:00:08+01:00")
        .with("topic", "com.x")
        .with("from_publication", 1u64)
        .with("after_publication", 2u64)
        .with("before_publication", 3u64)
        .with("until_publication", 4u64);
    let id = |raw| PublicationId::new(raw);
    let expected = Filter {
        reverse: true,
        limit: 5,
        times: 1_000_000..=8_000_000,
        topic: Some(Uri::from("com.x")),
        from_publication: id(1),
        after_publication: id(2),
        before_publication: id(3),
        until_publication: id(4),
        asker: realm.inside(|core| core.asker(alice.id)),
    };
    assert_eq!(asked(&get_events(&alice, &[Value::from(prefix)], all).1), (1, expected));
    let (rule, filter) = asked(&get_events(&alice, &[Value::from(exact)], Dict::new()).1);
    assert_eq!((rule, filter.limit, filter.times), (0, 1_000, 0..=u64::MAX));
    let (_, filter) = asked(&get_events(&alice, &[Value::from(exact)], Dict::new().with("limit", 99_999u64)).1);
    assert_eq!(filter.limit, 1_000);
    let before_all = Dict::new().with("before_time", "1970-01-01T00:00:00Z");
    let (_, filter) = asked(&get_events(&alice, &[Value::from(exact)], before_all).1);
    assert!(filter.times.is_empty());
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    let (_realm, exact, _) = with_histories();
    let alice = _realm.join();
    let exact = Value::from(exact);
    for (args, kwargs) in [
        (vec![], Dict::new()),
        (vec![Value::from("x")], Dict::new()),
        (vec![exact.clone(), exact.clone()], Dict::new()),
        (vec![exact.clone()], Dict::new().with("limit", 0u64)),
        (vec![exact.clone()], Dict::new().with("limit", "5")),
        (vec![exact.clone()], Dict::new().with("reverse", 1u64)),
        (vec![exact.clone()], Dict::new().with("from_time", "yesterday")),
        (vec![exact.clone()], Dict::new().with("from_publication", 0u64)),
        (vec![exact.clone()], Dict::new().with("form_time", "1970-01-01T00:00:00Z")),
    ] {
        let text = format!("{args:?} {kwargs:?}");
        assert_eq!(
            refusal(&get_events(&alice, &args, kwargs).1),
            error_uri::INVALID_ARGUMENT,
            "{text}"
        );
    }
    let unknown = get_events(&alice, &[Value::from(4711u64)], Dict::new()).1;
    assert_eq!(refusal(&unknown), error_uri::NO_SUCH_SUBSCRIPTION);
    let other = alice.subscribes("org.other");
    let none = get_events(&alice, &[Value::from(other.get())], Dict::new()).1;
    assert_eq!(refusal(&none), error_uri::HISTORY_UNAVAILABLE);
    // One topic of a pattern whose history is kept.
    let lane = alice.subscribes("com.lane");
    let (rule, filter) = asked(&get_events(&alice, &[Value::from(lane.get())], Dict::new()).1);
    assert_eq!((rule, filter.topic), (1, Some(Uri::from("com.lane"))));
}

#[test]
fn a_topic_that_only_another_node_subscribes_to_has_its_history_too() {
    let (realm, ..) = with_histories();
    let alice = realm.join();
    realm.link(NODE_2);
    let far = realm.inside(|core| core.ids.subscription(MatchPolicy::Exact, "com.far"));
    let asks = || get_events(&alice, &[Value::from(far.get())], Dict::new()).1;
    assert_eq!(refusal(&asks()), error_uri::NO_SUCH_SUBSCRIPTION);
    let wants = |wanted| {
        let changes = vec![(TopicKey::exact("com.far"), wanted)];
        realm.input(Input::PeerInterest { node: NODE_2, changes })
    };
    wants(true);
    let (rule, filter) = asked(&asks());
    assert_eq!((rule, filter.topic), (1, Some(Uri::from("com.far"))));
    wants(false);
    assert_eq!(refusal(&asks()), error_uri::NO_SUCH_SUBSCRIPTION);
}

#[test]
fn a_question_gets_one_answer_or_none_if_its_caller_left() {
    let (realm, exact, _) = with_histories();
    let (alice, bob) = (realm.join(), realm.join());
    let exact = Value::from(exact);
    let answer = |session: SessionId, request, result| {
        Input::HistoryAnswer(Box::new(HistoryAnswer {
            session,
            request,
            result,
        }))
    };
    let (request, effects) = get_events(&alice, std::slice::from_ref(&exact), Dict::new());
    let [Effect::AskHistory(ask)] = effects.as_slice() else {
        panic!()
    };
    let found = crate::router::kept::history_payload(ask, Found::default());
    let effects = realm.input(answer(alice.id, request, Ok(found)));
    assert_eq!(result_of(&effects, &alice), []);
    assert_eq!(realm.input(answer(alice.id, request, Ok(Payload::EMPTY))), []);
    let (request, _) = get_events(&alice, std::slice::from_ref(&exact), Dict::new());
    let failure = HistoryFailure::UnknownPublication(PublicationId::new(5).unwrap());
    assert_eq!(
        refusal(&realm.input(answer(alice.id, request, Err(failure)))),
        error_uri::INVALID_ARGUMENT
    );
    let (request, _) = get_events(&alice, std::slice::from_ref(&exact), Dict::new());
    let failed = realm.input(answer(alice.id, request, Err(HistoryFailure::Unavailable)));
    assert_eq!(refusal(&failed), error_uri::HISTORY_UNAVAILABLE);
    let (request, _) = get_events(&bob, &[exact], Dict::new());
    bob.leaves();
    assert_eq!(realm.input(answer(bob.id, request, Ok(Payload::EMPTY))), []);
}

#[test]
fn one_session_cannot_fill_the_store_with_questions() {
    let (realm, exact, _) = with_histories();
    let (alice, bob) = (realm.join(), realm.join());
    let exact = [Value::from(exact)];
    for _ in 0..16 {
        asked(&get_events(&alice, &exact, Dict::new()).1);
    }
    assert_eq!(refusal(&get_events(&alice, &exact, Dict::new()).1), error_uri::UNAVAILABLE);
    asked(&get_events(&bob, &exact, Dict::new()).1);
}

#[test]
fn times_of_kept_events_follow_the_clock_and_never_stand_still() {
    let (realm, ..) = with_histories();
    let alice = realm.join();
    let now = realm.now();
    realm.inside(|core| core.set_wall_clock(now, 1_000));
    let time = |effects: Vec<Effect>| match keeps(&effects).as_slice() {
        [Keep::Append { event, .. }] => event.stamp.time,
        other => panic!("{other:?}"),
    };
    assert_eq!(time(publishes(&alice, LAMP, Dict::new(), payload("a"))), 1_000);
    assert_eq!(time(publishes(&alice, LAMP, Dict::new(), payload("b"))), 1_001);
    realm.pass(Duration::from_millis(5));
    assert_eq!(time(publishes(&alice, LAMP, Dict::new(), payload("c"))), 6_000);
}

#[test]
fn a_node_asks_for_what_it_missed_and_keeps_it_page_by_page() {
    let (realm, ..) = with_histories();
    let now = realm.now();
    realm.inside(|core| {
        core.set_wall_clock(now, 500_000_000);
        core.set_history_ends(vec![100_000_000, 0]);
    });
    let asks = |effects: Vec<Effect>| match effects.as_slice() {
        [
            Effect::Forward {
                frame: PeerFrame::Kept { what },
                ..
            },
        ] => what.clone(),
        other => panic!("{other:?}"),
    };
    let since = |what: &Dict| what.get("since").and_then(Value::as_integer).unwrap();
    // Only the history that each node keeps on its own is asked for.
    realm.link(NODE_2);
    let what = asks(realm.input(Input::PeerReady { node: NODE_2 }));
    assert_eq!((what.text("history"), since(&what)), (Some(LAMP), 70_000_000));
    realm.input(Input::PeerDown { node: NODE_2 });
    realm.pass(Duration::from_secs(60));
    realm.link(NODE_2);
    let what = asks(realm.input(Input::PeerReady { node: NODE_2 }));
    assert_eq!(since(&what), 470_000_000);

    // The other node looks its store up, answers with a page, and is asked for the next.
    let (other, ..) = with_histories();
    other.link(ME);
    let tell = match other.hears(ME, PeerFrame::Kept { what }).as_slice() {
        [Effect::TellHistory(tell)] => tell.clone(),
        effects => panic!("{effects:?}"),
    };
    assert_eq!((tell.rule, *tell.filter.times.start()), (0, 470_000_000));
    let alice = other.join();
    let mut events = Vec::new();
    for text in ["a", "b"] {
        match keeps(&publishes(&alice, LAMP, Dict::new(), payload(text))).as_slice() {
            [Keep::Append { event, .. }] => events.push((**event).clone()),
            keeps => panic!("{keeps:?}"),
        }
    }
    let last = events[1].stamp.time;
    let page = HistoryPage {
        to: ME,
        rule: 0,
        found: Found {
            events: events.clone(),
            cut: true,
        },
    };
    let what = asks(other.input(Input::HistoryPage(Box::new(page))));
    let effects = realm.hears(NODE_2, PeerFrame::Kept { what });
    let kept: Vec<_> = keeps(&effects)
        .into_iter()
        .map(|keep| match keep {
            Keep::Append {
                rules,
                event,
                own: false,
            } if *rules == [0] => (**event).clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kept, events);
    let next = effects.last().cloned().into_iter().collect();
    assert_eq!(since(&asks(next)), i128::from(last));
}

#[test]
fn a_pattern_hears_what_each_of_its_topics_retains_and_of_which() {
    let realm = TestRealm::new();
    let (alice, bob) = (realm.join(), realm.join());
    for topic in ["com.b.state", "com.a.state", "com.a.other", "org.a.state"] {
        retains(&alice, topic, topic);
    }
    let heard = |policy: &str, pattern: &str| {
        let request = bob.next();
        let mut effects = bob.says(Message::Subscribe {
            request,
            options: Dict::new().with("get_retained", true).with("match", policy),
            topic: Uri::from(pattern),
        });
        if let [
            Effect::Interest {
                wanted: true, ticket, ..
            },
        ] = effects.as_slice()
        {
            effects = realm.input(Input::InterestAcked { ticket: *ticket });
        }
        let topics = effects.iter().filter_map(|effect| match effect {
            Effect::Send {
                message: Message::Event {
                    details, payload: told, ..
                },
                ..
            } => {
                let topic = details.text("topic").expect("an event of a pattern names its topic");
                assert_eq!(*told, payload(topic));
                Some(topic.to_owned())
            }
            _ => None,
        });
        topics.collect::<Vec<String>>()
    };
    assert_eq!(heard("prefix", "com.a"), ["com.a.other", "com.a.state"]);
    assert_eq!(heard("wildcard", "com..state"), ["com.a.state", "com.b.state"]);
    assert_eq!(heard("wildcard", ".a.state"), ["com.a.state", "org.a.state"]);
    assert_eq!(heard("exact", "com.a"), [] as [String; 0]);
}
