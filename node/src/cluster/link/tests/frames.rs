//! What lanes carry, and in which order.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_frames_arrive_in_order_per_source_while_large_ones_pass() {
    let (one, two) = pair().await;
    const SOURCES: u64 = 8;
    const EACH: u64 = 12_500;
    let send = |from: &Node, to: NodeRef, sources: std::ops::Range<u64>| {
        let links = from.links.clone();
        std::thread::spawn(move || {
            for number in 1..=EACH {
                for source in sources.clone() {
                    let length = if number % 500 == source { 200_000 } else { 64 };
                    // The lane is bounded: one that is full refuses, and the sender comes again.
                    while !links.forward(&"realm1".into(), to, session(source), event(source, number, length)) {
                        links.flush();
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                if number % 8 == 0 {
                    links.flush();
                }
            }
            links.flush();
        })
    };
    let threads = [
        send(&one, two.me, 1..3),
        send(&one, two.me, 3..5),
        send(&two, one.me, 5..7),
        send(&two, one.me, 7..9),
    ];
    let expected = (SOURCES / 2 * EACH) as usize;
    for node in [&two, &one] {
        until("all frames", || node.seen.counted.load(Relaxed) >= expected).await;
        assert_eq!(node.seen.counted.load(Relaxed), expected);
        assert_eq!(node.seen.last.lock().values().copied().collect::<Vec<_>>(), [EACH; 4]);
        assert_eq!(
            node.seen.count(&Noted::Down(one.me)) + node.seen.count(&Noted::Down(two.me)),
            0
        );
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let state = &one.links.link_states()[0];
    assert_eq!(state.queued_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_lanes_keep_the_order_of_each_source() {
    let config = || Config { lanes: 3, ..quick() };
    let (one, two) = (Node::start(1, config()).await, Node::start(2, config()).await);
    one.knows(&[&two]);
    two.knows(&[&one]);
    synced(&[&one, &two]).await;
    for number in 1..=500 {
        for source in 1..=16 {
            assert!(one.sends(
                &two,
                source,
                event(source, number, if number % 50 == 0 { 100_000 } else { 0 })
            ));
        }
        one.links.flush();
    }
    until("all frames", || two.seen.counted.load(Relaxed) == 8_000).await;
    let used: std::collections::HashSet<_> = (1..=16).map(|source| lane_of(session(source), 3)).collect();
    assert_eq!(used.len(), 3, "the sources are spread over the lanes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_frame_arrives_whole() {
    let (one, two) = pair().await;
    let large = result(1, 5 << 20);
    assert!(one.sends(&two, 1, large.clone()));
    assert!(one.sends(&two, 2, result(2, 1)));
    one.links.flush();
    two.seen
        .until("both", |seen| {
            seen.iter().filter(|seen| matches!(seen, Noted::Frame(..))).count() == 2
        })
        .await;
    let frames: Vec<_> = two
        .seen
        .seen()
        .into_iter()
        .filter(|seen| matches!(seen, Noted::Frame(..)))
        .collect();
    assert!(
        frames == [Noted::Frame(one.me, result(2, 1)), Noted::Frame(one.me, large)],
        "the small one passes, the large one is whole"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_sends_what_is_queued_and_is_seen_by_the_peer() {
    let (one, two) = pair().await;
    for number in 1..=2_000 {
        assert!(one.sends(&two, 1, event(1, number, 1_000)));
    }
    one.links.drain(Duration::from_secs(5)).await;
    until("all frames", || two.seen.counted.load(Relaxed) == 2_000).await;
    until("the phase", || two.links.link_states()[0].phase == Phase::Draining).await;
    assert_eq!(one.links.link_states()[0].phase, Phase::Draining);
}
