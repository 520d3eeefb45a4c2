use super::*;

fn sent(source: u32, sequence: u64) -> Observation {
    Observation::Sent { source, sequence }
}

fn delivered(sink: u32, source: u32, sequence: u64) -> Observation {
    Observation::Delivered {
        group: 0,
        sink,
        source,
        sequence,
    }
}

fn event(subscriber: u32, source: u32, sequence: u64) -> Observation {
    Observation::Delivered {
        group: subscriber,
        sink: subscriber,
        source,
        sequence,
    }
}

fn answered(source: u32, sequence: u64, answer: Answer) -> Observation {
    Observation::Answered {
        source,
        sequence,
        answer,
    }
}

fn judge(expect: Expect, observations: impl IntoIterator<Item = Observation>) -> Report {
    let mut history = History::new(expect);
    observations.into_iter().for_each(|o| history.apply(o));
    history.report()
}

/// Two callers, two calls each, one callee, everything as it should be.
fn clean_calls() -> Vec<Observation> {
    let mut log = Vec::new();
    for sequence in 0..2 {
        for source in 0..2 {
            log.push(sent(source, sequence));
            log.push(delivered(9, source, sequence));
            log.push(answered(source, sequence, Answer::Result));
        }
    }
    log
}

#[test]
fn a_clean_run_is_acquitted() {
    let report = judge(Expect::Calls, clean_calls());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.sent, report.delivered, report.answered), (4, 4, 4));
    assert!(report.to_string().contains("nothing lost"));
}

#[test]
fn answers_in_another_order_than_the_calls_are_legal() {
    let log = [
        sent(0, 0),
        sent(0, 1),
        delivered(9, 0, 0),
        delivered(9, 0, 1),
        answered(0, 1, Answer::Result),
        answered(0, 0, Answer::Result),
    ];
    assert!(judge(Expect::Calls, log).is_clean());
}

#[test]
fn logs_of_several_processes_may_be_applied_one_after_another() {
    let mut log = clean_calls();
    log.sort_by_key(|o| match o {
        Observation::Delivered { .. } => 0,
        Observation::Answered { .. } => 1,
        _ => 2,
    });
    let report = judge(Expect::Calls, log);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_lost_call_is_found_and_so_is_the_missing_answer() {
    let log = clean_calls().into_iter().filter(|o| {
        !matches!(
            o,
            Observation::Delivered {
                source: 1,
                sequence: 1,
                ..
            } | Observation::Answered {
                source: 1,
                sequence: 1,
                ..
            }
        )
    });
    let report = judge(Expect::Calls, log);
    assert_eq!((report.lost, report.unanswered, report.violations()), (1, 1, 2), "{report}");
}

#[test]
fn an_answer_without_a_delivery_is_a_lost_call() {
    let report = judge(Expect::Calls, [sent(0, 0), answered(0, 0, Answer::Result)]);
    assert_eq!((report.lost, report.violations()), (1, 1));
}

#[test]
fn a_call_that_failed_may_have_been_delivered_or_not_but_not_twice() {
    let mut log = vec![
        sent(0, 0),
        answered(0, 0, Answer::Error),
        sent(0, 1),
        delivered(9, 0, 1),
        answered(0, 1, Answer::Unknown),
    ];
    let report = judge(Expect::Calls, log.clone());
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.failed, 2);
    log.push(delivered(9, 0, 1));
    assert_eq!(judge(Expect::Calls, log).doubled, 1);
}

#[test]
fn a_doubled_delivery_is_found_also_at_another_callee_of_the_group() {
    let mut log = clean_calls();
    log.push(delivered(8, 0, 1));
    let report = judge(Expect::Calls, log.clone());
    assert_eq!((report.doubled, report.violations()), (1, 1));
    log.push(delivered(9, 0, 0));
    let report = judge(Expect::Calls, log);
    assert_eq!(
        (report.doubled, report.violations()),
        (2, 2),
        "a late double is no reordering on top"
    );
}

#[test]
fn a_second_final_answer_is_found() {
    let mut log = clean_calls();
    log.push(answered(0, 1, Answer::Error));
    let report = judge(Expect::Calls, log);
    assert_eq!((report.answered_twice, report.violations()), (1, 1));
}

#[test]
fn reordering_is_found_per_source_and_sink() {
    let log = [
        sent(0, 0),
        sent(0, 1),
        sent(0, 2),
        event(0, 0, 0),
        event(0, 0, 2),
        event(0, 0, 1),
    ];
    let report = judge(Expect::Events { groups: 1 }, log);
    assert_eq!((report.reordered, report.violations()), (1, 1));
    assert_eq!(report.examples, ["source 0: message 1 reached sink 0 after 2"]);
}

#[test]
fn different_sources_and_the_callees_of_a_group_are_not_compared() {
    let log = [
        sent(0, 0),
        sent(0, 1),
        sent(1, 0),
        delivered(8, 0, 1),
        delivered(9, 0, 0),
        delivered(8, 1, 0),
        answered(0, 0, Answer::Result),
        answered(0, 1, Answer::Result),
        answered(1, 0, Answer::Result),
    ];
    assert!(judge(Expect::Calls, log).is_clean());
}

#[test]
fn an_event_must_reach_every_subscriber() {
    let log = [sent(0, 0), event(0, 0, 0), event(2, 0, 0)];
    let report = judge(Expect::Events { groups: 3 }, log);
    assert_eq!((report.lost, report.violations()), (1, 1));
    assert_eq!(report.examples, ["source 0: message 0 never reached group 1"]);
    assert_eq!(
        judge(Expect::Events { groups: 3 }, [sent(0, 0)]).lost,
        3,
        "a silent subscriber counts too"
    );
}

#[test]
fn what_was_never_sent_is_an_invention() {
    let mut log = clean_calls();
    log.extend([delivered(9, 0, 77), delivered(9, 5, 0), answered(1, 40, Answer::Result)]);
    let report = judge(Expect::Calls, log);
    assert_eq!((report.invented, report.violations()), (3, 3), "{report}");
}

#[test]
fn damaged_payloads_and_misdirected_answers_count() {
    let report = judge(Expect::Calls, [Observation::Damaged, Observation::Misdirected]);
    assert_eq!((report.damaged, report.misdirected, report.violations()), (1, 1, 2));
}

#[test]
fn observations_travel_as_json_lines() {
    let line = serde_json::to_string(&answered(3, 4, Answer::Error)).unwrap();
    assert_eq!(line, r#"{"answered":{"source":3,"sequence":4,"answer":"Error"}}"#);
    assert_eq!(
        serde_json::from_str::<Observation>(&line).unwrap(),
        answered(3, 4, Answer::Error)
    );
}

/// Takes each history apart and puts all together in one, as a coordinator of several processes does.
fn together(expect: Expect, parts: impl IntoIterator<Item = Vec<Observation>>) -> Report {
    let mut whole = History::new(expect);
    for part in parts {
        let mut history = History::new(expect);
        part.into_iter().for_each(|o| history.apply(o));
        for (number, source) in history.sources() {
            whole.add_source(number, source);
        }
        for arrival in history.arrivals() {
            whole.add_arrival(&arrival);
        }
        whole.add_counts(history.counts());
    }
    whole.report()
}

#[test]
fn sender_and_receiver_in_two_processes_are_judged_together() {
    let events = Expect::Events { groups: 2 };
    let publisher = || (0..200).map(|sequence| sent(0, sequence)).collect::<Vec<_>>();
    let subscriber = |sink, left_out: Option<u64>| {
        let arrived = (0..200).filter(move |sequence| Some(*sequence) != left_out);
        arrived.map(|sequence| event(sink, 0, sequence)).collect::<Vec<_>>()
    };
    let clean = together(events, [subscriber(1, None), publisher(), subscriber(0, None)]);
    assert!(clean.is_clean(), "{clean}");
    assert_eq!((clean.sent, clean.delivered), (200, 400));
    let gap = together(events, [publisher(), subscriber(0, None), subscriber(1, Some(77))]);
    assert_eq!((gap.lost, gap.violations()), (1, 1), "{gap}");
    assert!(gap.examples[0].contains("message 77 never reached group 1"), "{gap}");
    let unsent = together(
        events,
        [publisher()[..199].to_vec(), subscriber(0, None), subscriber(1, None)],
    );
    assert_eq!((unsent.invented, unsent.violations()), (2, 2), "{unsent}");
    let absent = together(events, [publisher(), subscriber(0, None)]);
    assert_eq!(absent.lost, 200);
}

#[test]
fn a_call_that_reached_callees_in_two_processes_was_doubled() {
    let caller = (0..4)
        .flat_map(|n| [sent(0, n), answered(0, n, Answer::Result)])
        .collect::<Vec<_>>();
    let in_turn = |sink, calls: [u64; 2]| calls.map(|n| delivered(sink, 0, n)).to_vec();
    let clean = together(Expect::Calls, [caller.clone(), in_turn(8, [0, 2]), in_turn(9, [1, 3])]);
    assert!(clean.is_clean(), "{clean}");
    let twice = together(
        Expect::Calls,
        [caller.clone(), in_turn(8, [0, 2]), in_turn(9, [1, 2]), in_turn(7, [3, 3])],
    );
    assert_eq!((twice.doubled, twice.lost, twice.violations()), (2, 0, 2), "{twice}");
    assert!(twice.examples.iter().any(|text| text.contains("in two processes")), "{twice}");
    let reordered = together(Expect::Calls, [caller, in_turn(8, [2, 0]), in_turn(9, [1, 3])]);
    assert_eq!((reordered.reordered, reordered.violations()), (1, 1), "{reordered}");
}
