//! All nodes die at once while registrations are being written: what was acknowledged is in the recovered log.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    http, long, record_result,
};

/// One line of a node's `/log`.
struct Line {
    index: u64,
    kind: String,
    detail: String,
}

async fn log_of(cluster: &Cluster, node: usize) -> Result<Vec<Line>> {
    let answer = http::get_json(&format!("{}/log?from=0", cluster.nodes[node].admin)).await?;
    let lines = answer["lines"].as_array().context("lines")?;
    lines
        .iter()
        .map(|line| {
            Ok(Line {
                index: line["index"].as_u64().context("index")?,
                kind: line["kind"].as_str().context("kind")?.to_owned(),
                detail: line["detail"].as_str().context("detail")?.to_owned(),
            })
        })
        .collect()
}

/// The procedure a log line is about: ours are the only words in it that begin with `test.`.
fn procedure(line: &Line) -> Option<&str> {
    line.detail
        .split(|c: char| c.is_whitespace() || c == ':' || c == ',')
        .find(|word| word.starts_with("test."))
}

async fn round(number: usize, setup: Setup) -> Result<(usize, usize)> {
    let mut cluster = Cluster::start(setup).await?;
    // On each node some sessions that register one procedure after the other, as fast as they are answered.
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = Vec::new();
    for node in 0..3 {
        for session in 0..4 {
            let client = cluster.nodes[node].join().await?;
            let written = Arc::clone(&written);
            writers.push(tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                while acknowledged.len() < 2_000 {
                    let procedure = format!("test.recovery.r{number}.n{node}.s{session}.p{}", acknowledged.len());
                    match client.register(&procedure).await {
                        Ok(Ok(_)) => {
                            acknowledged.push(procedure);
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                        // The node is gone; whether the last one was written is unknown.
                        Ok(Err(_)) | Err(_) => break,
                    }
                }
                acknowledged
            }));
        }
    }
    // Killed in the middle of the load, at another point of it in each round.
    let enough = 300 + 37 * number;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while written.load(Ordering::Relaxed) < enough {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "only {} registrations in 30 s",
            written.load(Ordering::Relaxed)
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.kill_all();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await?);
    }
    let total: usize = acknowledged.iter().map(Vec::len).sum();
    ensure!(total >= enough, "{total} acknowledged");

    for node in 0..3 {
        cluster.launch(node)?;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await?;
    }
    let mut fences = 0;
    for node in 0..3 {
        let log = log_of(&cluster, node).await?;
        ensure!(
            log.windows(2).all(|pair| pair[0].index <= pair[1].index),
            "log of {} out of order",
            cluster.nodes[node].name
        );
        let written: HashMap<&str, (usize, u64)> = log
            .iter()
            .enumerate()
            .filter(|(_, line)| line.kind == "register")
            .filter_map(|(at, line)| Some((procedure(line)?, (at, line.index))))
            .collect();
        let first_fence = log
            .iter()
            .position(|line| line.kind == "fence")
            .context("no fence of the lives that ended")?;
        fences = log.iter().filter(|line| line.kind == "fence").count();
        ensure!(fences >= 3, "three lives ended, {fences} fences");
        for session in &acknowledged {
            let mut before = None;
            for procedure in session {
                let (at, index) = *written.get(procedure.as_str()).with_context(|| {
                    format!(
                        "{procedure} was acknowledged and is not in the log of {}",
                        cluster.nodes[node].name
                    )
                })?;
                ensure!(
                    before < Some(at),
                    "{procedure} stands before one that was acknowledged earlier"
                );
                ensure!(at < first_fence, "{procedure} (index {index}) stands behind a fence");
                before = Some(at);
            }
        }
    }

    // What the dead lives held is free, and the cluster takes new writes.
    let client = cluster.nodes[0].join().await?;
    let old = acknowledged.iter().flatten().next().context("nothing acknowledged")?;
    ensure!(
        client
            .call(old, &[])
            .await?
            .is_err_and(|error| error.uri == "wamp.error.no_such_procedure")
    );
    client.register(old).await?.context("a procedure of an ended life")?;
    Ok((total, fences))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_registration_survives_the_death_of_all_nodes() {
    let rounds = if long() { 10 } else { 2 };
    let mut total = 0;
    for number in 0..rounds {
        let setup = if number % 2 == 0 { Setup::DisksAndTls } else { Setup::Disks };
        let (acknowledged, _) = round(number, setup)
            .await
            .unwrap_or_else(|error| panic!("round {number}: {error:#}"));
        total += acknowledged;
    }
    record_result(
        "recovery",
        &format!("{total} acknowledged registrations in {rounds} rounds, all in the recovered logs"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_starts_in_any_order_and_waits_for_its_quorum() {
    let scenario = async {
        let mut cluster = Cluster::prepare(Setup::DisksAndTls, "any-order")?;
        cluster.launch(2)?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        ensure!(
            !cluster.process(2)?.stdout().contains('{'),
            "one node of three says it is ready"
        );
        cluster.launch(0)?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        cluster.launch(1)?;
        for node in 0..3 {
            cluster.wait_ready(node).await?;
        }
        let (near, far) = (cluster.nodes[2].join().await?, cluster.nodes[1].join().await?);
        let _served = near.serve_echo(near.register("test.order").await??);
        ensure!(far.call("test.order", &[]).await?.is_ok());
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}
