//! Taps: heads of a session elsewhere, payload only when it may be shown, and nothing that slows the router.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::cluster::{Cluster, REALM};
use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use tokio::time::timeout;
use tonic::{Code, transport::Channel};

use super::support::{channel, cluster, records, until};

type Replies = tonic::Streaming<pb::WatchReply>;

/// Puts a tap on by asking `node`, and takes its first reply, which says that it is on.
async fn watch(cluster: &Cluster, node: usize, request: pb::WatchRequest) -> Result<Replies> {
    let mut replies = pb::tap_client::TapClient::new(channel(cluster, node).await?)
        .watch(request)
        .await?
        .into_inner();
    let first = replies.message().await?.context("a first reply")?;
    ensure!(first.heads.is_empty() && first.missing.is_empty(), "{first:?}");
    Ok(replies)
}

/// Reads a tap until it has shown `count` heads or is over.
async fn heads(replies: &mut Replies, count: usize) -> Result<Vec<pb::MessageHead>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let reply = timeout(Duration::from_secs(15), replies.message()).await??;
        match reply {
            Some(reply) => seen.extend(reply.heads),
            None => break,
        }
    }
    Ok(seen)
}

#[tokio::test]
async fn a_tap_shows_heads_of_a_session_elsewhere_and_payload_only_when_it_may() -> Result<()> {
    const SECRET: &str = "nobody-may-read-this-1f3a";
    let cluster = cluster().await?;
    let callee = cluster.nodes[2].join().await?;
    let caller = cluster.nodes[1].join().await?;
    callee.serve_echo(callee.register("com.echo").await?.expect("REGISTERED"));
    until("it is called", async || Ok(caller.call("com.echo", &[]).await?.ok())).await?;
    let of_session = |payload| pb::WatchRequest {
        session: callee.session(),
        seconds: 30,
        payload,
        ..Default::default()
    };
    // Asked of node 1 about a session of node 3.
    let mut replies = watch(&cluster, 0, of_session(false)).await?;
    let options = json!({ "acknowledge": true, "com_private": SECRET });
    callee
        .publish_with("com.topic", options, &[json!(SECRET)])
        .await?
        .expect("PUBLISHED");
    caller.call("com.echo", &[json!(SECRET)]).await?.expect("RESULT");
    let seen = heads(&mut replies, 4).await?;
    let told: Vec<_> = seen
        .iter()
        .map(|one| (one.from_client, one.r#type.as_str(), one.uri.as_str()))
        .collect();
    ensure!(
        told == [
            (true, "PUBLISH", "com.topic"),
            (false, "PUBLISHED", "com.topic"),
            (false, "INVOCATION", "com.echo"),
            (true, "YIELD", "com.echo")
        ],
        "{told:?}"
    );
    ensure!(!format!("{seen:?}").contains(SECRET), "{seen:?}");
    ensure!(
        seen[0].options.contains("\"acknowledge\":true") && seen[0].options.contains("com_private"),
        "{:?}",
        seen[0]
    );
    ensure!(
        seen[0].payload_bytes as usize == SECRET.len() + 4 && seen[2].registration > 0 && seen[1].publication > 0,
        "{seen:?}"
    );
    ensure!(
        seen.iter()
            .all(|one| one.session == callee.session() && one.payload.is_none()),
        "{seen:?}"
    );
    drop(replies);

    // By URI, on all nodes, with payload: configured, and loopback is an owner.
    let by_uri = pb::WatchRequest {
        realm: REALM.to_owned(),
        uri: "com.ec".to_owned(),
        r#match: "prefix".to_owned(),
        seconds: 30,
        payload: true,
        ..Default::default()
    };
    let mut replies = watch(&cluster, 0, by_uri).await?;
    caller.call("com.echo", &[json!("seen")]).await?.expect("RESULT");
    let seen = heads(&mut replies, 4).await?;
    let types: BTreeSet<&str> = seen.iter().map(|one| one.r#type.as_str()).collect();
    ensure!(types == ["CALL", "INVOCATION", "RESULT", "YIELD"].into(), "{seen:?}");
    ensure!(
        seen.iter()
            .all(|one| one.payload.as_deref() == Some(r#"["seen"]"#) && one.uri == "com.echo"),
        "{seen:?}"
    );
    drop(replies);

    // Ends with its session, and with its time; both stand in the audit log of the session's node.
    let passing = cluster.nodes[2].join().await?;
    let of_passing = pb::WatchRequest {
        session: passing.session(),
        ..Default::default()
    };
    let mut replies = watch(&cluster, 0, of_passing).await?;
    passing.leave().await?;
    let last = last(&mut replies).await?;
    ensure!(last.node == "n3" && last.ended == "the session has ended", "{last:?}");
    let short = pb::WatchRequest {
        seconds: 1,
        ..of_session(false)
    };
    let mut replies = watch(&cluster, 1, short).await?;
    let begun = Instant::now();
    ensure!(self::last(&mut replies).await?.ended == "the time is over");
    ensure!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let taps = until("both ends are written", async || {
        let taps = records(&cluster, 2, "tap")?;
        Ok((taps.iter().filter(|one| one["step"] == "ended").count() == 4).then_some(taps))
    })
    .await?;
    ensure!(
        taps.len() == 8 && taps[0]["step"] == "begun" && taps[0]["admin"] == "loopback on n1",
        "{taps:?}"
    );
    ensure!(
        taps.iter().any(|one| one["what"] == "prefix com.ec, with payload"),
        "{taps:?}"
    );
    let file = std::fs::read_to_string(cluster.dir().join("audit-2.jsonl"))?;
    ensure!(!file.contains(SECRET), "a payload in the audit log");

    // No more than four on a node, and none that says nothing.
    let mut on = Vec::new();
    for _ in 0..4 {
        on.push(watch(&cluster, 0, of_session(false)).await?);
    }
    let mut taps = pb::tap_client::TapClient::new(channel(&cluster, 0).await?);
    let status = taps.watch(of_session(false)).await.unwrap_err();
    ensure!(
        status.code() == Code::ResourceExhausted && status.message().contains("end another one"),
        "{status:?}"
    );
    let status = taps.watch(pb::WatchRequest::default()).await.unwrap_err();
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    drop(on);
    until("they are off", async || Ok(watch(&cluster, 0, of_session(false)).await.ok())).await?;
    Ok(())
}

/// The last reply of a tap.
async fn last(replies: &mut Replies) -> Result<pb::WatchReply> {
    let mut last = None;
    while let Some(reply) = timeout(Duration::from_secs(15), replies.message()).await?? {
        last = Some(reply);
    }
    last.context("a reply")
}

#[tokio::test]
async fn a_tap_that_nobody_reads_loses_and_slows_nothing() -> Result<()> {
    const CALLS: usize = 4_000;
    let cluster = cluster().await?;
    let callee = cluster.nodes[0].join().await?;
    let caller = cluster.nodes[0].join().await?;
    callee.serve_echo(callee.register("com.echo").await?.expect("REGISTERED"));
    let calls = async || -> Result<Duration> {
        let begun = Instant::now();
        for _ in 0..CALLS / 50 {
            let mut open = Vec::new();
            for n in 0..50 {
                open.push(caller.start_call("com.echo", &[json!(n)]).await?);
            }
            for answer in open {
                answer.within(Duration::from_secs(20)).await?.expect("RESULT");
            }
        }
        Ok(begun.elapsed())
    };
    let request = || pb::WatchRequest {
        realm: REALM.to_owned(),
        uri: "com.echo".to_owned(),
        node: "n1".to_owned(),
        seconds: 120,
        ..Default::default()
    };
    calls().await?;
    let without = calls().await?;
    // A reader of a window of its own, or the connection would take it all in.
    let narrow = Channel::from_shared(cluster.nodes[0].admin.clone())?
        .initial_stream_window_size(16 << 10)
        .initial_connection_window_size(16 << 10);
    let mut taps = pb::tap_client::TapClient::new(narrow.connect().await?);
    let mut stalled = taps.watch(request()).await?.into_inner();
    let first = stalled.message().await?.context("a first reply")?;
    ensure!(first.missing.is_empty(), "{first:?}");
    let before = resident_kib(&cluster, 0)?;
    let mut beside = Vec::new();
    for _ in 0..5 {
        beside.push(calls().await?);
    }
    let grown = resident_kib(&cluster, 0)?.saturating_sub(before);
    let fastest = beside.iter().min().copied().unwrap_or_default();
    println!("{CALLS} calls: {without:?} without a tap, {beside:?} with one that nobody reads, {grown} KiB more");
    // The ordinary way costs more than the short one, but nobody waits: a stall would show as seconds.
    ensure!(fastest < without * 3 + Duration::from_millis(500), "{without:?} {beside:?}");
    ensure!(grown < 16 << 10, "{grown} KiB");
    // Reads on: what did not fit was counted, and all of both is what passed.
    let (mut seen, mut lost) = (0, 0);
    let total = 5 * CALLS as u64 * 4;
    while seen + lost < total {
        let reply = timeout(Duration::from_secs(15), stalled.message())
            .await??
            .context("it goes on")?;
        seen += reply.heads.len() as u64;
        lost += reply.lost;
    }
    println!("{seen} heads seen, {lost} lost");
    ensure!(seen + lost == total && lost > 0 && seen > 0, "{seen} {lost} of {total}");
    Ok(())
}

fn resident_kib(cluster: &Cluster, node: usize) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", cluster.nodes[node].pid))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
    line.split_whitespace()
        .nth(1)
        .context("a number")?
        .parse()
        .context("a number")
}
