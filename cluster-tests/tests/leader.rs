//! What the consensus has to do with calls: nothing.

use std::{fs, pin::pin, time::Duration};

use futures_util::{StreamExt as _, stream};
use ringfort_cluster_tests::{
    cluster::{Addresses, Demo},
    record_result,
    wamp::PATIENCE,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

const CALLS: u32 = 100_000;

/// Calls under way at a time.
const WINDOW: usize = 64;

/// Of one processor. A leader that has nothing to do keeps its followers, and its peers' leases, for about half of that.
const LEADER_SHARE_MAX: f64 = 0.02;

/// Seconds of processor that a process has used.
fn cpu_secs(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, fields) = stat.rsplit_once(") ").expect("the name ends with a parenthesis");
    let field = |n: usize| {
        fields
            .split(' ')
            .nth(n)
            .and_then(|f| f.parse::<f64>().ok())
            .expect("a number")
    };
    // Fields 14 and 15 of proc(5): user and system time in hundredths of a second.
    (field(11) + field(12)) / 100.0
}

/// The last entry of the log that the node has applied, once nothing has been added for a second.
async fn settled(node: &Addresses) -> u64 {
    let mut last = (0, Instant::now());
    loop {
        let applied = node.status().await.expect("status")["applied"].as_u64().expect("an index");
        if applied != last.0 {
            last = (applied, Instant::now());
        } else if last.1.elapsed() > Duration::from_secs(1) {
            return applied;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_between_two_followers_add_nothing_to_the_log_and_leave_the_leader_alone() {
    let demo = Demo::start(300).await.expect("demo");
    let status = demo.node(1).status().await.expect("status");
    let name = status["leader"].as_str().expect("a leader").to_owned();
    let mut nodes = Vec::new();
    for node in &demo.nodes {
        let status = node.status().await.expect("status");
        nodes.push((status["name"] == name.as_str(), node));
    }
    nodes.sort_by_key(|(leads, _)| !leads);
    let [(true, leader), (false, one), (false, two)] = nodes[..] else {
        panic!("one of three leads: {nodes:?}")
    };
    let callee = one.join().await.expect("callee");
    let caller = two.join().await.expect("caller");
    let registration = callee
        .register("test.leader.echo")
        .await
        .expect("answer")
        .expect("registered");
    let echo = callee.serve_echo(registration);

    let applied = settled(leader).await;
    let (began, cpu) = (Instant::now(), cpu_secs(leader.pid));
    let answers = stream::iter(0..CALLS)
        .then(|n| {
            let caller = &caller;
            async move { (n, caller.start_call("test.leader.echo", &[json!(n)]).await.expect("call")) }
        })
        .map(|(n, answer)| async move { (n, answer.within(PATIENCE).await.expect("an answer")) })
        .buffered(WINDOW);
    let mut answers = pin!(answers);
    while let Some((n, answer)) = answers.next().await {
        assert_eq!(answer, Ok(vec![json!(n)]));
    }
    let took = began.elapsed().as_secs_f64();
    let share = (cpu_secs(leader.pid) - cpu) / took;
    assert_eq!(settled(leader).await, applied, "entries of the log");
    assert!(
        share <= LEADER_SHARE_MAX,
        "the leader used {:.1} % of a processor",
        share * 100.0
    );
    record_result(
        "leader",
        &format!(
            "{CALLS} calls between two followers in {took:.1} s: no entry after {applied}, the leader used {:.1} % of a processor",
            share * 100.0
        ),
    );
    echo.abort();
    assert_eq!(demo.stop().expect("end"), Vec::<u32>::new(), "processes left behind");
}
