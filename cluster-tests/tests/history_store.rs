//! Kept events over real processes: what is retained reaches those who come later, on any node and after a restart; a history of
//! 100,000 events answers filtered questions from any node, on each node's own disk and on a real Redis.

use std::time::{Duration, Instant};

use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    long, record_result,
    redis::Redis,
    wamp::{Client, Event},
};
use serde_json::{Value, json};
use tokio::time::timeout;

const GET_EVENTS: &str = "wamp.subscription.get_events";
const PATIENCE: Duration = Duration::from_secs(180);

fn topics(redis: &Redis) -> (String, String) {
    let topics = r#"
[[realm.topics]]
uri = "test.own"
history = { max_events = 200000, max_bytes = 1000000000 }
[[realm.topics]]
uri = "test.shared"
store = "redis"
history = { max_events = 200000, max_bytes = 1000000000 }
[[realm.topics]]
uri = "test.state."
match = "prefix"
retain = "always"
empty_clears = true
"#;
    (topics.to_owned(), format!("[store.redis]\nurl = \"{}\"\n", redis.url()))
}

/// What is retained of a topic, as a new session of that node hears it.
async fn retained(cluster: &Cluster, node: usize, topic: &str) -> Option<Event> {
    let client = cluster.nodes[node].join().await.expect("join");
    let options = json!({"get_retained": true});
    let mut subscription = client
        .subscribe_with(topic, options)
        .await
        .expect("answer")
        .expect("subscribed");
    // A second answer proves that whatever was to come has come.
    let _ = client.subscribe("test.nothing").await.expect("answer").expect("subscribed");
    subscription.events.try_recv().ok()
}

/// Asks until the retained event of a topic has these arguments.
async fn hears_retained(cluster: &Cluster, node: usize, topic: &str, args: &[Value]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let heard = retained(cluster, node, topic).await;
        if let Some(event) = &heard {
            assert_eq!(event.details["retained"], true);
        }
        if heard.as_ref().map_or(&[] as &[Value], |event| &event.args) == args {
            return;
        }
        assert!(Instant::now() < deadline, "n{} retains {heard:?} and not {args:?}", node + 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retained_on_one_node_reaches_who_comes_later_to_any_node_even_after_a_restart() {
    let redis = Redis::start().expect("redis");
    let (lines, end) = topics(&redis);
    let mut cluster = Cluster::start_with(Setup::Disks, &lines, &end).await.expect("cluster");
    let client = cluster.nodes[0].join().await.expect("join");
    let features = &client.welcome()["roles"]["broker"]["features"];
    assert_eq!(
        (&features["event_retention"], &features["event_history"]),
        (&json!(true), &json!(true))
    );
    let options = json!({"acknowledge": true, "retain": true});
    client
        .publish_with("test.lamp", options.clone(), &[json!("on")])
        .await
        .expect("answer")
        .expect("published");
    client
        .publish_acknowledged("test.lamp", &[json!("flicker")])
        .await
        .expect("answer")
        .expect("published");
    client
        .publish_acknowledged("test.state.door", &[json!("open")])
        .await
        .expect("answer")
        .expect("published");
    for node in 0..3 {
        hears_retained(&cluster, node, "test.lamp", &[json!("on")]).await;
        hears_retained(&cluster, node, "test.state.door", &[json!("open")]).await;
    }
    // A node that was away hears what it missed, the clearing too.
    cluster.kill(2);
    client
        .publish_with("test.lamp", options, &[json!("off")])
        .await
        .expect("answer")
        .expect("published");
    client
        .publish_acknowledged("test.state.door", &[])
        .await
        .expect("answer")
        .expect("published");
    cluster.launch(2).expect("launch");
    cluster.wait_ready(2).await.expect("ready");
    hears_retained(&cluster, 2, "test.lamp", &[json!("off")]).await;
    hears_retained(&cluster, 2, "test.state.door", &[]).await;
    // All of them start anew from their disks.
    drop(client);
    for node in 0..3 {
        let process = cluster.process(node).expect("process");
        process
            .signal(ringfort_cluster_tests::process::Signal::Terminate)
            .expect("signal");
        process.wait(Duration::from_secs(30)).expect("end");
    }
    cluster.kill_all();
    for node in 0..3 {
        cluster.launch(node).expect("launch");
    }
    for node in 0..3 {
        cluster.wait_ready(node).await.expect("ready");
        hears_retained(&cluster, node, "test.lamp", &[json!("off")]).await;
        hears_retained(&cluster, node, "test.state.door", &[]).await;
    }
}

/// The answer to a question about a subscription, and how long it took.
async fn ask(client: &Client, subscription: u64, filter: Value) -> (Vec<Value>, Duration) {
    let begun = Instant::now();
    let answer = client
        .call_with(GET_EVENTS, &[json!(subscription)], filter.clone())
        .await
        .expect("answer");
    (answer.unwrap_or_else(|error| panic!("{filter}: {error}")), begun.elapsed())
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event["args"][0].as_u64().expect("a number"))
        .collect()
}

/// Publishes `count` events on one node and asks the others for them.
async fn history_of(cluster: &Cluster, topic: &str, count: u64) -> String {
    let publisher = cluster.nodes[0].join().await.expect("join");
    let begun = Instant::now();
    for n in 0..count {
        publisher
            .publish(topic, &[json!(n), json!("some text of an ordinary length")])
            .await
            .expect("publish");
        if n % 1_000 == 999 {
            // An answer now and then: the client does not run away from the router.
            publisher
                .publish_with("test.other", json!({"acknowledge": true}), &[])
                .await
                .expect("answer")
                .expect("published");
        }
    }
    let published = begun.elapsed();
    let mut slowest = Duration::ZERO;
    for node in [0, 2] {
        let client = cluster.nodes[node].join().await.expect("join");
        let id = client.subscribe(topic).await.expect("answer").expect("subscribed").id;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // A store that has much to write says so by not answering in time.
            let last = client
                .call_with(GET_EVENTS, &[json!(id)], json!({"reverse": true, "limit": 1}))
                .await;
            if let Ok(Ok(last)) = &last
                && numbers(last) == [count - 1]
            {
                break;
            }
            assert!(Instant::now() < deadline, "n{} has {last:?}", node + 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let mut note = |(events, took): (Vec<Value>, Duration)| {
            slowest = slowest.max(took);
            events
        };
        let newest = note(ask(&client, id, json!({"reverse": true, "limit": 3})).await);
        assert_eq!(numbers(&newest), [count - 1, count - 2, count - 3]);
        assert_eq!(newest[0]["subscription"], id);
        // A page in the middle, by time and by publication.
        let (oldest, _) = ask(&client, id, json!({"limit": 1000})).await;
        assert_eq!(numbers(&oldest), (0..1000).collect::<Vec<_>>());
        let (at, publication) = (&oldest[500]["timestamp"], &oldest[500]["publication"]);
        let page = note(ask(&client, id, json!({"from_time": at, "limit": 4})).await);
        assert_eq!(numbers(&page), [500, 501, 502, 503]);
        let page = note(ask(&client, id, json!({"after_publication": publication, "limit": 2})).await);
        assert_eq!(numbers(&page), [501, 502]);
        let page = note(
            ask(
                &client,
                id,
                json!({"until_publication": publication, "reverse": true, "limit": 2}),
            )
            .await,
        );
        assert_eq!(numbers(&page), [500, 499]);
        let narrow = json!({"after_time": oldest[498]["timestamp"], "before_publication": publication});
        assert_eq!(numbers(&note(ask(&client, id, narrow).await)), [499]);
        let other = note(ask(&client, id, json!({"topic": "test.another"})).await);
        assert_eq!(other, Vec::<Value>::new());
        let wrong = client
            .call_with(GET_EVENTS, &[json!(id)], json!({"limit": 0}))
            .await
            .expect("answer");
        assert_eq!(wrong.expect_err("no limit").uri, "wamp.error.invalid_argument");
    }
    let none = publisher
        .subscribe("test.without")
        .await
        .expect("answer")
        .expect("subscribed");
    let refused = publisher.call(GET_EVENTS, &[json!(none.id)]).await.expect("answer");
    assert_eq!(refused.expect_err("no history").uri, "wamp.error.history_unavailable");
    format!(
        "published in {:.1} s, slowest answer {} ms",
        published.as_secs_f64(),
        slowest.as_millis()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_of_a_hundred_thousand_events_answers_from_any_node() {
    let count = if long() { 300_000 } else { 100_000 };
    let redis = Redis::start().expect("redis");
    let (lines, end) = topics(&redis);
    let lines = lines.replace("200000", "1000000");
    let mut cluster = Cluster::start_with(Setup::Disks, &lines, &end).await.expect("cluster");
    let own = history_of(&cluster, "test.own", count).await;
    let shared = history_of(&cluster, "test.shared", count).await;
    // What a node has kept is there again when it starts anew.
    let process = cluster.process(2).expect("process");
    process
        .signal(ringfort_cluster_tests::process::Signal::Terminate)
        .expect("signal");
    process.wait(Duration::from_secs(30)).expect("end");
    cluster.kill(2);
    cluster.launch(2).expect("launch");
    cluster.wait_ready(2).await.expect("ready");
    let client = cluster.nodes[2].join().await.expect("join");
    for topic in ["test.own", "test.shared"] {
        let id = client.subscribe(topic).await.expect("answer").expect("subscribed").id;
        let (newest, _) = ask(&client, id, json!({"reverse": true, "limit": 2})).await;
        assert_eq!(numbers(&newest), [count - 1, count - 2], "{topic}");
    }
    record_result("history_store", &format!("{count} events; redb: {own}; redis: {shared}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_published_while_a_node_was_away_are_in_its_history_when_it_is_back() {
    let redis = Redis::start().expect("redis");
    let (lines, end) = topics(&redis);
    let mut cluster = Cluster::start_with(Setup::Disks, &lines, &end).await.expect("cluster");
    let publisher = cluster.nodes[0].join().await.expect("join");
    let topic = "test.own";
    for n in 0..100u64 {
        publisher
            .publish_acknowledged(topic, &[json!(n)])
            .await
            .expect("answer")
            .expect("published");
    }
    cluster.kill(2);
    for n in 100..2_500u64 {
        publisher.publish(topic, &[json!(n)]).await.expect("publish");
    }
    publisher
        .publish_acknowledged(topic, &[json!(2_500)])
        .await
        .expect("answer")
        .expect("published");
    cluster.launch(2).expect("launch");
    cluster.wait_ready(2).await.expect("ready");
    publisher
        .publish_acknowledged(topic, &[json!(2_501)])
        .await
        .expect("answer")
        .expect("published");
    let client = cluster.nodes[2].join().await.expect("join");
    let id = client.subscribe(topic).await.expect("answer").expect("subscribed").id;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (mut all, mut filter) = (Vec::new(), json!({"limit": 1000}));
        loop {
            let (page, _) = ask(&client, id, filter).await;
            let Some(last) = page.last() else { break };
            filter = json!({"limit": 1000, "after_publication": last["publication"]});
            all.extend(numbers(&page));
        }
        if all == (0..=2_501).collect::<Vec<_>>() {
            break;
        }
        let gap = all.windows(2).find(|pair| pair[1] != pair[0] + 1);
        assert!(Instant::now() < deadline, "{} events, a gap at {gap:?}", all.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let _ = timeout(Duration::from_secs(5), publisher.leave()).await;
}
