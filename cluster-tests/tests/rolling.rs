//! Nodes go away in good order: a rolling restart under load, and what a drain does with what does not end, with a second signal, and with
//! an operator who watches.
//!
//! Every cluster here has disks and mutual TLS.

#[path = "rolling/load.rs"]
mod load;

use std::{
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use load::{Load, Served};
use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    http,
    ports::free_port,
    process::{Process, Signal, binary},
    record_result, secrets,
    wamp::Client,
};
use serde_json::json;

/// Calls a second, all callers together.
const RATE: f64 = 1_000.0;
const CALLERS: usize = 12;
/// How many calls may fail that were not in flight on the closing node.
const WRONG_MAX: u64 = 5;
/// Which part of all calls may fail in flight there, in percent. The load is short; 0.1 is what a restart may cost.
const SHARE_MAX: f64 = 0.3;
/// Procedures with one callee each, spread over the nodes.
const SINGLES: usize = 6;
/// Procedures with two callees on each node.
const SHARED: [&str; 4] = ["roundrobin", "random", "first", "last"];

fn procedures() -> Vec<String> {
    let singles = (0..SINGLES).map(|number| format!("test.rolling.single.{number}"));
    let shared = SHARED.iter().map(|policy| format!("test.rolling.shared.{policy}"));
    singles.chain(shared).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_a_thousand_calls_a_second_fails_only_calls_in_flight_on_the_closing_node() {
    rolling().await.expect("scenario");
}

async fn rolling() -> Result<()> {
    // Ten sessions a second, so that a node's dozen take a second and not a moment.
    let mut cluster = Cluster::start_with(Setup::DisksAndTls, "", "[drain]\ngoodbyes_per_sec = 10\n").await?;
    let load = Load::new(&cluster.nodes);
    let mut clients = tokio::task::JoinSet::new();
    let (ready, mut are_ready) = tokio::sync::mpsc::channel(64);
    for number in 0..SINGLES {
        let procedure = format!("test.rolling.single.{number}");
        let served = vec![Served {
            procedure,
            options: json!({}),
        }];
        clients.spawn(Arc::clone(&load).callee(number, served, ready.clone()));
    }
    for number in 0..6 {
        let served = SHARED.map(|policy| Served {
            procedure: format!("test.rolling.shared.{policy}"),
            options: json!({ "invoke": policy }),
        });
        clients.spawn(Arc::clone(&load).callee(number, served.to_vec(), ready.clone()));
    }
    for _ in 0..SINGLES + 6 {
        are_ready.recv().await.context("callees")?;
    }
    let all = Arc::new(procedures());
    let began = Instant::now();
    for number in 0..CALLERS {
        clients.spawn(Arc::clone(&load).caller(number, RATE / CALLERS as f64, Arc::clone(&all)));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = load.ended();
    ensure!(
        before.failed() == 0 && before.wrong.is_empty(),
        "before anything was closed: {before:?}"
    );

    let mut took = Vec::new();
    for node in 0..3 {
        load.closes(Some(node));
        let since = Instant::now();
        cluster.process(node)?.signal(Signal::Terminate)?;
        // Off this thread: the load goes on here.
        while cluster.process(node)?.exited().is_none() {
            ensure!(since.elapsed() < Duration::from_secs(30), "n{} does not end", node + 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let status = cluster.process(node)?.wait(Duration::from_secs(1))?;
        took.push(since.elapsed());
        ensure!(status.success(), "n{} ended with {status}", node + 1);
        cluster.kill(node);
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.launch(node)?;
        cluster.wait_ready(node).await?;
        load.closes(None);
        // Clients are on it again before the next one goes; nobody moves them, so new ones are.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    load.stop();
    let secs = began.elapsed().as_secs_f64();
    while clients.join_next().await.is_some() {}

    let (asked, ended) = (load.asked(), load.ended());
    let share = ended.failed() as f64 / asked as f64 * 100.0;
    let took: Vec<String> = took.iter().map(|took| format!("{:.1}", took.as_secs_f64())).collect();
    record_result(
        "rolling",
        &format!(
            "rolling restart of 3 nodes, {asked} calls in {secs:.1} s ({:.0}/s): {} answered, {} failed in flight on the closing node ({share:.4} %), {} otherwise, \
             {} hung, {} mixed up; slowest {} ms, {} above 250 ms; {} clients came back; drains took {} s",
            asked as f64 / secs,
            ended.good,
            ended.failed(),
            ended.wrong.values().sum::<u64>(),
            ended.hung,
            ended.mixed_up,
            ended.slowest.as_millis(),
            ended.slow,
            load.came_back(),
            took.join(", ")
        ),
    );
    println!("in flight: {:?}\notherwise: {:?}", ended.in_flight, ended.wrong);
    // None is what is wanted. A node that has just come back may not know of a callee on its way yet: a handful of 17,000.
    ensure!(
        ended.wrong.values().sum::<u64>() <= WRONG_MAX,
        "calls failed that were not in flight on the closing node: {:?}",
        ended.wrong
    );
    ensure!(ended.hung == 0 && ended.mixed_up == 0, "{ended:?}");
    let answered = ended.good + ended.failed() + ended.wrong.values().sum::<u64>();
    ensure!(answered == asked, "{asked} calls were made: {ended:?}");
    ensure!(share <= SHARE_MAX, "{share} % of {asked} calls failed: {:?}", ended.in_flight);
    ensure!(asked as f64 >= 0.95 * RATE * secs, "only {asked} calls in {secs} s");
    // Each of the clients was on some node that closed, most on several.
    ensure!(load.came_back() >= 24, "{} clients came back", load.came_back());
    Ok(())
}

/// Waits for the end of a process without holding up the runtime.
async fn ends(cluster: &mut Cluster, node: usize, bound: Duration) -> Result<Duration> {
    let since = Instant::now();
    loop {
        if let Some(status) = cluster.process(node)?.exited() {
            ensure!(status.success(), "n{} ended with {status}", node + 1);
            return Ok(since.elapsed());
        }
        ensure!(since.elapsed() < bound, "n{} still runs after {bound:?}", node + 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn readiness(cluster: &Cluster, node: usize) -> Result<u16> {
    Ok(http::get(&format!("{}/readyz", cluster.nodes[node].admin)).await?.0)
}

fn admin(cluster: &Cluster, asked: usize, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["admin", "--url", &cluster.nodes[asked].admin, "drain"])
        .args(words);
    command.output().expect("run ringfort")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_never_ends_delays_its_node_no_longer_than_it_may_and_then_ends_in_an_error() {
    let scenario = async {
        let mut cluster = Cluster::start_with(Setup::DisksAndTls, "", "[drain]\nopen_calls_ms = 1500\n").await?;
        let (mut callee, caller) = (cluster.nodes[1].join().await?, cluster.nodes[0].join().await?);
        let mut registration = callee.register("test.rolling.endless").await??;
        let answer = caller.start_call("test.rolling.endless", &[]).await?;
        registration.invocations.recv().await.context("invocation")?;
        let since = Instant::now();
        cluster.process(1)?.signal(Signal::Terminate)?;
        let error = answer.within(Duration::from_secs(5)).await?.expect_err("nobody answers it");
        let told = since.elapsed();
        ensure!(error.uri == "wamp.error.canceled", "{error}");
        ensure!(told >= Duration::from_millis(1_400), "its callee had {told:?}");
        let (details, reason) = callee.sent_away().await.context("GOODBYE")?;
        ensure!(reason == "wamp.close.system_shutdown", "{reason}");
        ensure!(details["_reconnect_after_ms"].as_u64().is_some(), "{details}");
        let ended = ends(&mut cluster, 1, Duration::from_secs(4)).await?;
        record_result(
            "rolling-endless",
            &format!(
                "a call that never ends: error after {} ms, node gone {} ms later",
                told.as_millis(),
                ended.as_millis()
            ),
        );
        Ok(())
    };
    Box::pin(scenario)
        .await
        .map_err(|error: anyhow::Error| error)
        .expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_skips_the_pacing_and_what_is_waited_for() {
    let scenario = async {
        let mut cluster = Cluster::start_with(Setup::DisksAndTls, "", "[drain]\ngoodbyes_per_sec = 1\n").await?;
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(cluster.nodes[2].join().await?);
        }
        let endless = cluster.nodes[2].join().await?;
        let registration = endless.register("test.rolling.endless").await??;
        let _open = clients[0].start_call("test.rolling.endless", &[]).await?;
        cluster.process(2)?.signal(Signal::Terminate)?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let left = clients.iter().filter(|client| client.ended().is_none()).count();
        ensure!(
            cluster.process(2)?.exited().is_none() && left >= 15,
            "{left} are left without a second signal"
        );
        ensure!(readiness(&cluster, 2).await? == 503, "a node that drains is not ready");
        ensure!(cluster.nodes[2].join().await.is_err(), "it takes no more clients");
        cluster.process(2)?.signal(Signal::Terminate)?;
        let mut told = 0;
        for client in &mut clients {
            told += usize::from(
                tokio::time::timeout(Duration::from_secs(2), client.sent_away())
                    .await?
                    .is_some(),
            );
        }
        // As clients do that have heard it: their sockets close.
        drop((clients, endless));
        let ended = ends(&mut cluster, 2, Duration::from_secs(3)).await?;
        record_result(
            "rolling-twice",
            &format!(
                "a second signal: {told} of 20 clients heard GOODBYE, {left} of them by it, node gone after {} ms",
                ended.as_millis()
            ),
        );
        ensure!(told == 20, "{told} of 20 heard GOODBYE");
        drop(registration);
        anyhow::Ok(())
    };
    Box::pin(scenario).await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callees_are_sent_away_first_and_subscribers_last_and_the_others_go_on() {
    let scenario = async {
        let mut cluster = Cluster::start_with(Setup::DisksAndTls, "", "[drain]\ngoodbyes_per_sec = 3\n").await?;
        let at = cluster.nodes[0].clone();
        let mut subscriber = at.join().await?;
        let mut subscription = subscriber.subscribe("test.rolling.news").await??;
        let (mut client, mut callee) = (at.join().await?, at.join().await?);
        let registration = callee.register("test.rolling.echo").await??;
        let _served = callee.serve_echo(registration);
        let elsewhere = cluster.nodes[1].join().await?;
        let since = Instant::now();
        cluster.process(0)?.signal(Signal::Terminate)?;
        let goodbye = async |client: &mut Client| {
            let (details, _) = tokio::time::timeout(Duration::from_secs(5), client.sent_away())
                .await?
                .context("GOODBYE")?;
            anyhow::Ok((since.elapsed(), details["_reconnect_after_ms"].as_u64().context("the hint")?))
        };
        let news = async {
            tokio::time::sleep(Duration::from_millis(450)).await;
            elsewhere.publish("test.rolling.news", &[json!("late")]).await
        };
        let (callee, client, subscriber, sent) =
            tokio::join!(goodbye(&mut callee), goodbye(&mut client), goodbye(&mut subscriber), news);
        sent?;
        let (callee, client, subscriber) = (callee?, client?, subscriber?);
        record_result(
            "rolling-order",
            &format!(
                "GOODBYE to the callee after {} ms, to the client after {} ms, to the subscriber after {} ms",
                callee.0.as_millis(),
                client.0.as_millis(),
                subscriber.0.as_millis()
            ),
        );
        ensure!(
            callee.0 < client.0 && client.0 < subscriber.0,
            "{callee:?} {client:?} {subscriber:?}"
        );
        ensure!(callee.1 <= 750, "a callee comes back soon: {callee:?}");
        ensure!(
            client.1 <= 1_000 && subscriber.1 <= 1_000,
            "within the window: {client:?} {subscriber:?}"
        );
        let event = subscription
            .events
            .recv()
            .await
            .context("it was a subscriber until its GOODBYE")?;
        ensure!(event.args == [json!("late")]);
        ends(&mut cluster, 0, Duration::from_secs(3)).await?;
        anyhow::Ok(())
    };
    Box::pin(scenario).await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_drains_a_node_through_another_one_watches_it_and_may_call_it_off_in_time() {
    let scenario = async {
        let end = "[drain]\ngoodbyes_per_sec = 5\n\n[audit]\npath = \"AUDIT\"\n";
        let mut cluster = Cluster::prepare(Setup::DisksAndTls, "cluster-to-drain")?;
        for node in 0..3 {
            let file = cluster.config_path(node);
            let audit = cluster.dir().join(format!("audit{node}"));
            let text = std::fs::read_to_string(&file)? + &end.replace("AUDIT", &audit.display().to_string());
            std::fs::write(&file, text)?;
            cluster.launch(node)?;
        }
        for node in 0..3 {
            cluster.wait_ready(node).await?;
        }
        let leader = cluster.leader().await?;
        let (asked, name) = ((leader + 1) % 3, cluster.nodes[leader].name.clone());
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(cluster.nodes[leader].join().await?);
        }
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();

        // Called off during the delay: nothing has happened to anybody.
        let output = admin(&cluster, asked, &[&name, "--delay", "60"]);
        ensure!(output.status.success() && text(&output).contains("announced"), "{output:?}");
        ensure!(readiness(&cluster, leader).await? == 503, "a node that drains is not ready");
        ensure!(text(&admin(&cluster, asked, &[&name, "--status"])).contains(&format!("{name}: announced")));
        drop(
            cluster.nodes[leader]
                .join()
                .await
                .context("it takes clients until the delay is over")?,
        );
        let output = admin(&cluster, asked, &[&name, "--cancel"]);
        ensure!(output.status.success() && text(&output).contains("serving"), "{output:?}");
        ensure!(readiness(&cluster, leader).await? == 200, "it was called off");
        ensure!(
            !admin(&cluster, asked, &[&name, "--cancel"]).status.success(),
            "there is nothing to call off"
        );
        ensure!(!admin(&cluster, asked, &["n9"]).status.success(), "there is no n9");

        let watching = Command::new(binary())
            .args(["admin", "--url", &cluster.nodes[asked].admin, "drain", &name, "--watch"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()?;
        let ended = ends(&mut cluster, leader, Duration::from_secs(10)).await?;
        let output = tokio::task::spawn_blocking(move || watching.wait_with_output()).await??;
        let seen = text(&output);
        println!("{seen}");
        ensure!(output.status.success(), "{output:?}");
        ensure!(
            seen.contains("saying_goodbye, ") && seen.contains(" of 5 sessions left"),
            "{seen}"
        );
        ensure!(seen.trim_end().ends_with(&format!("{name}: left")), "{seen}");
        cluster.kill(leader);
        let next = cluster.leader().await?;
        ensure!(next != leader);
        let audit = std::fs::read_to_string(cluster.dir().join(format!("audit{asked}")))?;
        for (what, step) in [("drain", "asked"), ("drain", "done"), ("cancel_drain", "failed")] {
            let has = |line: &str| line.contains(&format!("\"{what} {name}\"")) && line.contains(&format!("\"{step}\""));
            ensure!(audit.lines().any(has), "no {what} {step} in {audit}");
        }
        record_result(
            "rolling-admin",
            &format!(
                "an operator drains the leader with 5 sessions: gone after {} ms",
                ended.as_millis()
            ),
        );
        anyhow::Ok(())
    };
    Box::pin(scenario).await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_idle_or_alone_is_gone_at_once() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let leader = cluster.leader().await?;
        cluster.process(leader)?.signal(Signal::Terminate)?;
        let idle = ends(&mut cluster, leader, Duration::from_secs(2)).await?;

        let dir = secrets::folder("ringfort-alone-")?;
        let (file, port) = (dir.path().join("n1.toml"), free_port());
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[[realm]]\nname = \"realm1\"\nanonymous = \"loopback\"\n[admin]\naddress = \"off\"\n\
             [drain]\nload_balancer_delay_ms = 60000\n"
        );
        std::fs::write(&file, text)?;
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(&file).arg("--ready-json");
        let mut process = Process::start("alone", command, dir.path())?;
        process.first_json_line(Duration::from_secs(20)).await?;
        let mut client = Client::join(&format!("ws://127.0.0.1:{port}/ws"), "realm1").await?;
        let since = Instant::now();
        process.signal(Signal::Terminate)?;
        client.sent_away().await.context("GOODBYE")?;
        drop(client);
        let status = tokio::task::spawn_blocking(move || process.wait(Duration::from_secs(2))).await??;
        let alone = since.elapsed();
        ensure!(status.success(), "{status}");
        record_result(
            "rolling-idle",
            &format!(
                "an idle leader is gone after {} ms, a node alone with a client after {} ms",
                idle.as_millis(),
                alone.as_millis()
            ),
        );
        ensure!(alone < Duration::from_secs(1), "{alone:?}");
        anyhow::Ok(())
    };
    Box::pin(scenario).await.expect("scenario");
}
