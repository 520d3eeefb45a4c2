//! How links begin, end, and take each other's place.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_connection_ends_the_link_once_and_it_comes_back() {
    for which in [0..1, 1..2] {
        let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
        let proxy = Proxy::before(&two).await;
        one.addresses.learn("n2", &proxy.address.to_string());
        one.knows(&[]);
        one.links.set_members(one.me, vec![member(2, 1)]);
        two.links.set_members(two.me, vec![member(1, 1)]);
        synced(&[&one, &two]).await;
        let since = std::time::Instant::now();
        proxy.cut(which);
        one.seen
            .until("down at node 1", |seen| seen.contains(&Noted::Down(two.me)))
            .await;
        two.seen
            .until("down at node 2", |seen| seen.contains(&Noted::Down(one.me)))
            .await;
        assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
        for (node, other) in [(&one, &two), (&two, &one)] {
            node.seen
                .until("up again", |seen| {
                    seen.iter().filter(|s| **s == Noted::Up(other.me)).count() == 2
                })
                .await;
            assert_eq!(node.seen.count(&Noted::Down(other.me)), 1);
            assert_eq!(
                node.seen
                    .seen()
                    .iter()
                    .filter(|s| !matches!(s, Noted::Up(_) | Noted::Down(_)))
                    .count(),
                0
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_given_up_after_three_seconds() {
    let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    let proxy = Proxy::before(&two).await;
    one.addresses.learn("n2", &proxy.address.to_string());
    one.links.set_members(one.me, vec![member(2, 1)]);
    two.links.set_members(two.me, vec![member(1, 1)]);
    synced(&[&one, &two]).await;
    // Longer than the limit: pings keep a link without traffic alive.
    tokio::time::sleep(Duration::from_millis(3_300)).await;
    assert_eq!(one.seen.seen(), [Noted::Up(two.me)]);
    let since = std::time::Instant::now();
    proxy.paused.send_replace(true);
    for (node, other) in [(&one, &two), (&two, &one)] {
        node.seen.until("down", |seen| seen.contains(&Noted::Down(other.me))).await;
        let took = since.elapsed().as_millis();
        assert!((1_900..4_000).contains(&took), "{took} ms");
        assert_eq!(node.seen.count(&Noted::Down(other.me)), 1);
    }
    assert!(!one.sends(&two, 1, result(1, 1)), "nothing is queued for a lost node");
    proxy.paused.send_replace(false);
    synced(&[&one, &two]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_epoch_or_cluster_or_with_other_lanes_is_refused_until_that_is_put_right() {
    let (one, two) = (Node::start(1, quick()).await, Node::start(2, quick()).await);
    one.addresses.learn("n2", &two.address.to_string());
    two.knows(&[&one]);
    one.links.set_members(one.me, vec![member(2, 5)]);
    until("the refusal", || {
        one.last_error()
            .contains("means n2 (slot 2 epoch 5), this is n2 (slot 2 epoch 1)")
    })
    .await;
    two.links.set_members(two.me, vec![]);
    one.links.set_members(one.me, vec![member(2, 1)]);
    until("the refusal", || {
        one.last_error().contains("n1 (slot 1 epoch 1) is not in the node table here")
    })
    .await;
    assert_eq!((one.seen.seen(), two.seen.seen()), (vec![], vec![]));
    two.knows(&[&one]);
    synced(&[&one, &two]).await;

    let other = Identity::new("other", "n1").unwrap();
    let foreign = Node::start_as(1, quick(), other, Security::Plain, Handle::current(), Handle::current()).await;
    foreign.knows(&[&two]);
    until("the refusal", || {
        foreign.last_error().contains("cluster \"other\" is not cluster \"test\"")
    })
    .await;
    let lanes = Node::start(1, Config { lanes: 2, ..quick() }).await;
    lanes.knows(&[&two]);
    until("the refusal", || {
        lanes.last_error().contains("2 lanes on one end, 1 on the other")
    })
    .await;
    assert_eq!(two.seen.seen(), [Noted::Up(one.me)], "the link that was up is not disturbed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_of_a_node_takes_the_place_of_the_old_one() {
    let (one, mut two) = pair().await;
    two.me = life(2, 2);
    two.links.set_members(two.me, vec![member(1, 1)]);
    one.links.set_members(one.me, vec![member(2, 2)]);
    synced(&[&one, &two]).await;
    one.seen
        .until("the end of the old life", |seen| seen.contains(&Noted::Down(life(2, 1))))
        .await;
    // Two lives are two peers: each has its own order, and nothing is promised between them.
    let of = |node| {
        let seen = one.seen.seen();
        seen.into_iter()
            .filter(move |noted| *noted == Noted::Up(node) || *noted == Noted::Down(node))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(life(2, 1)), [Noted::Up(life(2, 1)), Noted::Down(life(2, 1))]);
    assert_eq!(of(life(2, 2)), [Noted::Up(life(2, 2))]);
    assert!(!one.links.forward(&"realm1".into(), life(2, 1), session(1), result(1, 1)));
    assert_eq!(one.links.unroutable(), 1);
    two.links.stop();
    one.seen
        .until("the end", |seen| seen.last() == Some(&Noted::Down(life(2, 2))))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_that_comes_again_takes_the_place_of_its_own_dead_link() {
    let two = Node::start(2, quick()).await;
    let first = Node::start(1, quick()).await;
    two.links.set_members(two.me, vec![member(1, 1)]);
    first.knows(&[&two]);
    synced(&[&first, &two]).await;
    // Another process claims to be the same life: for node 2 that is what a lost connection nobody noticed looks like.
    let second = Node::start(1, quick()).await;
    second.knows(&[&two]);
    synced(&[&second, &two]).await;
    two.seen
        .until("two links", |seen| {
            seen.iter().filter(|s| matches!(s, Noted::Up(_))).count() > 1
        })
        .await;
    first.links.stop();
    let seen = two.seen.seen();
    let shape: Vec<_> = seen.iter().map(|s| matches!(s, Noted::Up(_))).collect();
    assert!(
        shape.iter().enumerate().all(|(i, up)| *up == (i % 2 == 0)),
        "up and down take turns: {seen:?}"
    );
    assert!(shape.len() >= 3);
}
