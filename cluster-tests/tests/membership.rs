//! Core nodes are added, replaced and removed while the cluster serves clients.
//!
//! Every cluster here has disks and mutual TLS.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{Addresses, Cluster, Newcomer, Setup},
    process::Signal,
    record_result,
    wamp::Client,
};
use serde_json::json;

const PROCEDURE: &str = "test.membership.echo";
/// The exit code of a node that was removed for good.
const REMOVED: i32 = 12;
/// A newcomer has to keep up for a moment before it gets its vote; the rest is a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `node` tells that exactly these vote.
async fn voters_are(cluster: &Cluster, node: usize, expected: &[&str]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let nodes = cluster.known_nodes(node)?;
        let voters: Vec<&str> = nodes
            .iter()
            .filter(|(_, node)| node["vote"] == "voter")
            .map(|(name, _)| name.as_str())
            .collect();
        if voters == expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "voters are {voters:?}, not {expected:?}: {nodes:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Calls the procedure from every node that runs, and registers something on each.
async fn all_serve(cluster: &Cluster) -> Result<()> {
    let running: Vec<&Addresses> = cluster.nodes.iter().filter(|node| node.pid != 0).collect();
    for node in running {
        let client = node.join().await?;
        let result = client
            .call(PROCEDURE, &[json!("x")])
            .await?
            .with_context(|| node.name.clone())?;
        ensure!(result == [json!("x")]);
        let own = format!("test.membership.of.{}", node.name);
        let registration = client.register(&own).await?.with_context(|| node.name.clone())?;
        let id = registration.id;
        let _served = client.serve_echo(registration);
        client.unregister(id).await??;
    }
    Ok(())
}

/// What says in the end how many calls there were and which failed.
type Calls = tokio::task::JoinHandle<Result<(u32, Vec<String>)>>;

/// Calls one after the other until told to stop.
fn keep_calling(client: Client) -> (tokio::sync::watch::Sender<bool>, Calls) {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let calls = tokio::spawn(async move {
        let (mut calls, mut failed) = (0, Vec::new());
        while !*stopped.borrow() {
            calls += 1;
            match client.call(PROCEDURE, &[json!(calls)]).await? {
                Ok(result) => ensure!(result == [json!(calls)]),
                Err(error) => failed.push(error.to_string()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((calls, failed))
    });
    (stop, calls)
}

fn said(answer: (i32, String), code: i32, words: &[&str]) -> Result<()> {
    let (found, text) = answer;
    ensure!(
        found == code && words.iter().all(|word| text.contains(word)),
        "exit code {found}: {text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_grow_to_five_and_shrink_to_three_while_calls_go_on() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let callee = cluster.nodes[0].join().await?;
        let served = callee.serve_echo(callee.register(PROCEDURE).await??);
        let (stop, calls) = keep_calling(cluster.nodes[1].join().await?);

        // A leader that was elected a moment ago may have to hear from its quorum first.
        cluster.leader().await?;
        let deadline = Instant::now() + PATIENCE;
        while cluster.admin(0, &["move-leadership", "n1"])?.0 != 0 {
            ensure!(Instant::now() < deadline, "no leader");
        }
        // Announced, then started.
        said(cluster.admin(2, &["add-node", "n4"])?, 0, &["n4 is announced"])?;
        ensure!(cluster.known_nodes(0)?["n4"]["stage"] == "announced");
        let n4 = cluster.add("n4", Newcomer::Core)?;
        let since = Instant::now();
        cluster.launch(n4)?;
        cluster.wait_ready(n4).await?;
        let ready = since.elapsed();
        voters_are(&cluster, 0, &["n1", "n2", "n3", "n4"]).await?;
        let voted = since.elapsed();

        // Started, then announced: until then it waits, and says for what.
        let n5 = cluster.add("n5", Newcomer::Core)?;
        cluster.launch(n5)?;
        let deadline = Instant::now() + PATIENCE;
        while !cluster.process(n5)?.stderr().contains("add-node n5") {
            ensure!(Instant::now() < deadline, "n5 does not say what it waits for");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(!cluster.known_nodes(0)?.contains_key("n5"), "nobody expected it");
        said(cluster.admin(n4, &["add-node", "n5"])?, 0, &[])?;
        cluster.wait_ready(n5).await?;
        voters_are(&cluster, n5, &["n1", "n2", "n3", "n4", "n5"]).await?;
        let said_by_all = cluster.known_nodes(n5)?;
        for (name, node) in &said_by_all {
            let links = node["links"].as_array().context("links")?;
            ensure!(
                node["answered"] == true && node["stage"] == "member" && node["kind"] == "core",
                "{name}: {node}"
            );
            ensure!(
                links.len() == 4 && links.iter().all(|link| link["phase"] == "up"),
                "{name}: {node}"
            );
            ensure!(node["lease_ms"].as_u64().is_some_and(|lease| lease > 0), "{name}: {node}");
        }
        all_serve(&cluster).await?;
        stop.send_replace(true);
        let (made, failed) = calls.await??;
        ensure!(failed.is_empty(), "of {made} calls failed: {failed:?}");

        // Two of five are lost, and the rest decides.
        let leader = cluster.leader().await?;
        let victims: Vec<usize> = (1..3).filter(|node| *node != leader).chain([leader]).take(2).collect();
        let victims: Vec<usize> = victims.into_iter().filter(|node| *node != 0).collect();
        for victim in &victims {
            cluster.kill(*victim);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let client = cluster.nodes[n5].join().await;
            if let Ok(client) = client
                && let Ok(Ok(_)) = client.register("test.membership.decided").await
            {
                break;
            }
            ensure!(Instant::now() < deadline, "three of five do not decide");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for victim in &victims {
            cluster.launch(*victim)?;
        }
        for victim in &victims {
            cluster.wait_ready(*victim).await?;
        }

        // Down again, the leader among those who go. Its clients hear goodbye.
        let guest = cluster.nodes[n4].join().await?;
        said(cluster.admin(0, &["move-leadership", "n4"])?, 0, &["n4 leads"])?;
        ensure!(cluster.leader().await? == n4);
        said(cluster.admin(0, &["remove-node", "n4"])?, 2, &["--yes"])?;
        let (stop, calls) = keep_calling(cluster.nodes[1].join().await?);
        said(cluster.admin(0, &["remove-node", "n4", "--yes"])?, 0, &["n4 is removed"])?;
        ensure!(cluster.wait_end(n4, PATIENCE).await? == REMOVED, "exit code of n4");
        tokio::time::sleep(Duration::from_millis(100)).await;
        ensure!(guest.ended().is_some(), "a session of the removed node goes on");
        // Asked itself, by its own admin port.
        said(cluster.admin(n5, &["remove-node", "n5", "--yes"])?, 0, &[])?;
        ensure!(cluster.wait_end(n5, PATIENCE).await? == REMOVED, "exit code of n5");
        voters_are(&cluster, 0, &["n1", "n2", "n3"]).await?;
        stop.send_replace(true);
        let (made_then, failed) = calls.await??;
        ensure!(failed.is_empty(), "of {made_then} calls failed: {failed:?}");

        // It does not come back by itself, neither with its disk nor with an empty one.
        cluster.launch(n4)?;
        ensure!(cluster.wait_end(n4, PATIENCE).await? == REMOVED, "second exit code of n4");
        std::fs::remove_dir_all(cluster.data_dir(n4))?;
        cluster.launch(n4)?;
        let deadline = Instant::now() + PATIENCE;
        while !cluster
            .process(n4)?
            .stderr()
            .contains("n4 was removed from the cluster: to have it back")
        {
            ensure!(Instant::now() < deadline, "n4 does not say what it waits for");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        voters_are(&cluster, 0, &["n1", "n2", "n3"]).await?;
        cluster.kill(n4);
        all_serve(&cluster).await?;
        served.abort();
        record_result(
            "membership",
            &format!(
                "n4 served after {} ms and voted after {} ms; {} calls while nodes came and went, none failed",
                ready.as_millis(),
                voted.as_millis(),
                made + made_then
            ),
        );
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_founds_nothing_and_is_replaced_on_an_operators_word() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        // The one that would found a cluster, were it alone.
        let (victim, one, other) = (0, 1, 2);
        let callee = cluster.nodes[victim].join().await?;
        let _gone = callee.register(PROCEDURE).await??;
        cluster.kill(victim);
        std::fs::remove_dir_all(cluster.data_dir(victim))?;
        cluster.launch(victim)?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let status = cluster.nodes[victim].status().await?;
        ensure!(status["ready"] == false && status["cluster"].is_null(), "{status}");
        let log = cluster.process(victim)?.stderr();
        let nodes = cluster.known_nodes(one)?;
        ensure!(
            nodes["n1"]["answered"] == false || nodes["n1"]["stage"] == "joining",
            "{nodes:?}"
        );
        ensure!(log.contains("--replaces n1") || log.contains("add-node n1"), "{log}");
        // What it held is free meanwhile.
        let second = cluster.nodes[one].join().await?;
        let served = second.serve_echo(second.register(PROCEDURE).await??);

        said(
            cluster.admin(one, &["add-node", "n1"])?,
            9,
            &["n1 is a core node already", "--replaces n1"],
        )?;
        said(
            cluster.admin(one, &["add-node", "n9", "--replaces", "n8"])?,
            9,
            &["no core node n8", "n1", "n2", "n3"],
        )?;
        said(cluster.admin(one, &["add-node", "n1", "--replaces", "n1"])?, 0, &[])?;
        let since = Instant::now();
        cluster.wait_ready(victim).await?;
        let took = since.elapsed();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, text) = cluster.admin(other, &["nodes"])?;
            if text.contains("last change: n1: done") {
                break;
            }
            ensure!(Instant::now() < deadline, "{text}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        voters_are(&cluster, victim, &["n1", "n2", "n3"]).await?;
        all_serve(&cluster).await?;

        // Its vote counts: with another one lost, the two decide.
        cluster.kill(other);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = cluster.nodes[victim].join().await
                && let Ok(Ok(_)) = client.register("test.membership.two").await
            {
                break;
            }
            ensure!(Instant::now() < deadline, "the replaced node and another do not decide");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        served.abort();
        record_result(
            "membership-replace",
            &format!("a lost disk replaced {} ms after the word", took.as_millis()),
        );
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_lose_the_quorum_and_a_second_change_at_a_time_are_refused_with_the_remedy() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let leader = cluster.leader().await?;
        let (stays, lost) = ((leader + 1) % 3, (leader + 2) % 3);
        let name = |node: usize| cluster.nodes[node].name.clone();
        let (staying, losing) = (name(stays), name(lost));
        said(
            cluster.admin(leader, &["remove-node", "n8", "--yes"])?,
            9,
            &["no core node n8", "n1", "n2", "n3"],
        )?;
        said(
            cluster.admin(leader, &["move-leadership", "n8"])?,
            9,
            &["n8 is no core node with a vote"],
        )?;

        // A newcomer that stops on its way holds the change open.
        said(cluster.admin(leader, &["add-node", "n4"])?, 0, &[])?;
        let n4 = cluster.add("n4", Newcomer::Core)?;
        cluster.launch(n4)?;
        let deadline = Instant::now() + PATIENCE;
        while !cluster.admin(leader, &["nodes"])?.1.contains("under way: n4 is being added") {
            ensure!(Instant::now() < deadline, "n4 does not come");
        }
        cluster.process(n4)?.signal(Signal::Stop)?;
        let held = cluster.admin(leader, &["remove-node", &losing, "--yes"])?;
        said(held, 9, &["another change is open", "n4 is being added"])?;
        // Called off, it is not waited for.
        said(cluster.admin(leader, &["remove-node", "n4", "--yes"])?, 0, &[])?;
        cluster.kill(n4);
        voters_are(&cluster, leader, &["n1", "n2", "n3"]).await?;

        cluster.kill(lost);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let refused = cluster.admin(leader, &["remove-node", &staying, "--yes"])?;
        said(
            refused,
            9,
            &[
                "lose its quorum",
                "bring the lost nodes back, or remove or replace them first",
            ],
        )?;
        // As it says: the lost one may go. It is told when it comes back, and disturbs nobody.
        said(cluster.admin(leader, &["remove-node", &losing, "--yes"])?, 0, &[])?;
        let mut rest = [name_of(&cluster, leader), name_of(&cluster, stays)];
        rest.sort();
        voters_are(&cluster, stays, &[&rest[0], &rest[1]]).await?;
        let before = cluster.nodes[leader].status().await?;
        let since = Instant::now();
        cluster.launch(lost)?;
        ensure!(
            cluster.wait_end(lost, PATIENCE).await? == REMOVED,
            "exit code of the lost node"
        );
        let told = since.elapsed();
        let after = cluster.nodes[leader].status().await?;
        ensure!(before["term"] == after["term"], "it had another election: {before} {after}");
        record_result(
            "membership-told",
            &format!("a removed node that was down is told after {} ms", told.as_millis()),
        );
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}

fn name_of(cluster: &Cluster, node: usize) -> String {
    cluster.nodes[node].name.clone()
}
