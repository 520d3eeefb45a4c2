//! Once SUBSCRIBED is out, an event published on any node arrives; once UNSUBSCRIBED is out, none does.

use std::time::Duration;

use ringfort_cluster_tests::{cluster::Demo, long, record_result};
use serde_json::json;
use tokio::time::timeout;

const TURNS: [(usize, usize); 6] = [(1, 2), (2, 3), (3, 1), (2, 1), (3, 2), (1, 3)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_published_on_another_node_right_after_subscribed_arrives() {
    let demo = Demo::start(240).await.expect("demo");
    let mut clients = Vec::new();
    for node in &demo.nodes {
        clients.push((node.join().await.expect("subscriber"), node.join().await.expect("publisher")));
    }
    let rounds = if long() { 2_000 } else { 200 };
    for round in 0..rounds {
        let (at, from) = TURNS[round % TURNS.len()];
        let (subscriber, publisher) = (&clients[at - 1].0, &clients[from - 1].1);
        let topic = format!("test.interest.t{round}");
        let mut subscription = subscriber.subscribe(&topic).await.expect("answer").expect("subscribed");
        publisher.publish(&topic, &[json!(round)]).await.expect("publish");
        let event = timeout(Duration::from_secs(5), subscription.events.recv()).await;
        let event = event
            .unwrap_or_else(|_| panic!("round {round}: published on {from}, not seen on {at}"))
            .expect("session");
        assert_eq!(event.args, [json!(round)]);
        if round % 2 == 0 {
            subscriber
                .unsubscribe(subscription.id)
                .await
                .expect("answer")
                .expect("unsubscribed");
            publisher
                .publish_acknowledged(&topic, &[json!("late")])
                .await
                .expect("answer")
                .expect("published");
        }
    }
    // A last event on a topic that all have proves that everything before it would have arrived.
    for (subscriber, _) in &mut clients {
        assert!(
            subscriber.strays.try_recv().is_err(),
            "an event for a subscription that had ended"
        );
        assert_eq!(subscriber.ended(), None);
    }
    record_result("subscriptions", &format!("{rounds} first events across nodes, none missed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_publication_reaches_subscribers_on_every_node_once_and_not_its_publisher() {
    let demo = Demo::start(60).await.expect("demo");
    let topic = "test.fanout";
    let (mut clients, mut subscriptions) = (Vec::new(), Vec::new());
    for node in demo.nodes.iter().chain(&demo.nodes) {
        let client = node.join().await.expect("join");
        subscriptions.push(client.subscribe(topic).await.expect("answer").expect("subscribed"));
        clients.push(client);
    }
    assert!(
        subscriptions
            .iter()
            .all(|subscription| subscription.id == subscriptions[0].id),
        "one id for one topic on all nodes"
    );
    for (publisher, client) in clients.iter().enumerate() {
        let id = client
            .publish_acknowledged(topic, &[json!(publisher)])
            .await
            .expect("answer")
            .expect("published");
        for (index, subscription) in subscriptions.iter_mut().enumerate() {
            if index != publisher {
                let event = timeout(Duration::from_secs(5), subscription.events.recv())
                    .await
                    .expect("event")
                    .expect("session");
                assert_eq!((event.publication, event.args), (id, vec![json!(publisher)]));
            }
        }
    }
    // Nothing twice, nothing to oneself: what is left in any queue would show here.
    for subscription in &mut subscriptions {
        assert!(subscription.events.try_recv().is_err());
    }
}
