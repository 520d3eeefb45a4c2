//! `ringfort demo`: three processes that find each other, the lamp device on node 1, and nothing left behind.

use std::time::Duration;

use ringfort_cluster_tests::{cluster::Demo, http, record_result};
use serde_json::json;

#[tokio::test]
async fn the_demo_starts_within_two_seconds_and_its_lamp_can_be_switched_from_every_node() {
    let demo = Demo::start(60).await.expect("demo");
    record_result("demo", &format!("ready in {} ms", demo.started_in.as_millis()));
    assert!(demo.started_in < Duration::from_secs(2), "ready after {:?}", demo.started_in);

    let mut pids: Vec<_> = demo.nodes.iter().map(|node| node.pid).collect();
    pids.dedup();
    assert_eq!(pids.len(), 3, "three processes: {pids:?}");
    for on in [true, false] {
        for node in &demo.nodes {
            let client = node.join().await.expect("join");
            let result = client.call("lamp.set", &[json!(on)]).await.expect("answer");
            assert!(result.is_ok(), "lamp.set on {}: {result:?}", node.name);
        }
    }
    for node in &demo.nodes[1..] {
        let (status, body) = http::get(&node.page).await.expect("page");
        assert_eq!(status, 200, "{}", node.page);
        assert!(body.contains("id=\"lamp\""), "{}: {body}", node.page);
    }
    for node in &demo.nodes {
        let status = node.status().await.expect("status");
        assert_eq!(status["name"], node.name.as_str());
        assert_eq!(status["ready"], true, "{status}");
        assert_eq!(status["durable"], false, "the demo keeps nothing: {status}");
    }
    assert_eq!(demo.stop().expect("end"), Vec::<u32>::new(), "processes left behind");
}

#[tokio::test]
async fn the_demo_ends_by_itself_after_the_time_it_was_given() {
    let demo = Demo::start(3).await.expect("demo");
    let nodes = demo.nodes.clone();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(12);
    let alive = |pid: u32| std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists();
    while nodes.iter().any(|node| alive(node.pid)) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "still there: {nodes:?}\n{}",
            demo.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn every_node_takes_part_in_one_cluster() {
    let demo = Demo::start(60).await.expect("demo");
    let mut leaders = Vec::new();
    for node in &demo.nodes {
        let status = node.status().await.expect("status");
        leaders.push(status["leader"].clone());
        assert_eq!(status["members"].as_array().map(Vec::len), Some(3), "{status}");
    }
    assert!(
        leaders[0].is_string() && leaders.iter().all(|leader| *leader == leaders[0]),
        "{leaders:?}"
    );
}
