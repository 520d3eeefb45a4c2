//! A node dies, falls silent, comes back, or is not who it says: what callers hear and how soon a name is free again.
//!
//! Every cluster here has disks and mutual TLS. Bounds are those of DESIGN §4.1.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, Setup, make_certificates},
    process::Signal,
    record_result,
    wamp::{Answer, Client, Registration, WampError},
};
use serde_json::json;

const CALLS: usize = 100;
const PROCEDURE: &str = "test.loss.silent";

/// A callee that never answers on one node, and 100 calls to it that are open, from sessions on the other two.
struct OpenCalls {
    _callee: Client,
    callers: Vec<Client>,
    answers: Vec<Answer>,
}

async fn open_calls(cluster: &Cluster, victim: usize) -> Result<OpenCalls> {
    let callee = cluster.nodes[victim].join().await?;
    let Registration { mut invocations, .. } = callee.register(PROCEDURE).await??;
    let (mut callers, mut answers) = (Vec::new(), Vec::new());
    for number in 0..10 {
        callers.push(cluster.nodes[(victim + 1 + number % 2) % 3].join().await?);
    }
    for number in 0..CALLS {
        answers.push(
            callers[number % callers.len()]
                .start_call(PROCEDURE, &[json!(number)])
                .await?,
        );
    }
    for _ in 0..CALLS {
        ensure!(
            tokio::time::timeout(Duration::from_secs(10), invocations.recv())
                .await?
                .is_some(),
            "callee's session ended"
        );
    }
    Ok(OpenCalls {
        _callee: callee,
        callers,
        answers,
    })
}

/// Waits for all answers; each must be the ERROR that says that the callee's node is lost. Returns how long the slowest took.
async fn all_end_in_errors(answers: Vec<Answer>, since: Instant, bound: Duration) -> Result<Duration> {
    let mut uris = std::collections::BTreeMap::new();
    for answer in answers {
        let outcome = answer
            .within((bound + Duration::from_secs(5)).saturating_sub(since.elapsed()))
            .await?;
        let error: WampError = outcome.expect_err("a call whose callee is gone returned");
        *uris.entry(error.uri).or_insert(0) += 1;
    }
    println!("errors: {uris:?}");
    ensure!(
        uris.keys().eq(["wamp.error.network_failure"]),
        "errors that do not say that the node is lost: {uris:?}"
    );
    Ok(since.elapsed())
}

/// Registers the lost callee's procedure as soon as it is free; returns how long that took.
async fn taken_over(client: &Client, since: Instant) -> Result<(Duration, Registration)> {
    loop {
        match client.register(PROCEDURE).await? {
            Ok(registration) => return Ok((since.elapsed(), registration)),
            Err(error) => {
                let waiting = [
                    "wamp.error.procedure_already_exists",
                    "wamp.error.not_available",
                    "wamp.error.unavailable",
                ];
                ensure!(
                    waiting.contains(&error.uri.as_str()) || error.uri.contains("leader") || error.uri.contains("quorum"),
                    "{error}"
                );
                ensure!(since.elapsed() < Duration::from_secs(30), "not free after 30 s: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Calls across the two nodes that are left, both ways, and an event.
async fn still_works(cluster: &Cluster, one: usize, other: usize) -> Result<()> {
    let (near, far) = (cluster.nodes[one].join().await?, cluster.nodes[other].join().await?);
    for (number, (callee, caller)) in [(&near, &far), (&far, &near)].into_iter().enumerate() {
        let procedure = format!("test.loss.alive.{one}.{other}.{number}");
        let registration = callee.register(&procedure).await??;
        let id = registration.id;
        let _served = callee.serve_echo(registration);
        let result = caller
            .call(&procedure, &[json!("x")])
            .await?
            .with_context(|| format!("call {number} between {one} and {other}"))?;
        ensure!(result == [json!("x")]);
        let mut subscription = callee.subscribe(&procedure).await??;
        caller.publish(&procedure, &[json!("e")]).await?;
        let event = tokio::time::timeout(Duration::from_secs(5), subscription.events.recv()).await?;
        ensure!(event.is_some_and(|event| event.args == [json!("e")]));
        callee.unregister(id).await??;
    }
    Ok(())
}

async fn killed(leader_too: bool) -> Result<()> {
    let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
    let leader = cluster.leader().await?;
    let victim = if leader_too { leader } else { (leader + 1) % 3 };
    let (one, other) = ((victim + 1) % 3, (victim + 2) % 3);
    let open = open_calls(&cluster, victim).await?;
    let bystander = open.callers[0].session();

    let since = Instant::now();
    cluster.kill(victim);
    let (ended, freed) = tokio::join!(
        all_end_in_errors(open.answers, since, Duration::from_secs(1)),
        taken_over(&open.callers[0], since)
    );
    let (ended, (freed, registration)) = (ended?, freed?);
    let free_bound = Duration::from_secs(if leader_too { 13 } else { 7 });
    let what = if leader_too {
        "callee's node and leader killed"
    } else {
        "callee's node killed"
    };
    record_result(
        if leader_too { "loss-leader" } else { "loss-kill" },
        &format!(
            "{what}: {CALLS} errors after {} ms, procedure free after {} ms",
            ended.as_millis(),
            freed.as_millis()
        ),
    );
    ensure!(
        ended < Duration::from_secs(1),
        "{what}: the last of {CALLS} callers heard after {ended:?}"
    );
    ensure!(freed < free_bound, "{what}: free after {freed:?}");

    // The sessions on the other nodes lived through it, and the new callee is reached from both.
    ensure!(open.callers[0].session() == bystander && open.callers.iter().all(|caller| caller.ended().is_none()));
    let _served = open.callers[0].serve_echo(registration);
    ensure!(
        open.callers[1]
            .call(PROCEDURE, &[json!(1)])
            .await?
            .context("call of the new callee from the other node")?
            == [json!(1)]
    );
    still_works(&cluster, one, other).await?;

    // Back with its disk: the same node, a new life, reached from the others and reaching them.
    cluster.launch(victim)?;
    cluster.wait_ready(victim).await?;
    let again = cluster.nodes[victim].join().await?;
    ensure!(
        again
            .call(PROCEDURE, &[json!(2)])
            .await?
            .context("call from the node that came back")?
            == [json!(2)]
    );
    still_works(&cluster, victim, one).await?;
    still_works(&cluster, victim, other).await?;
    let status = cluster.nodes[victim].status().await?;
    ensure!(
        status["members"].as_array().is_some_and(|members| members.len() == 3),
        "{status}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_ends_its_calls_within_a_second_and_frees_its_procedures_within_seven() {
    killed(false).await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_ends_its_calls_within_a_second_and_frees_its_procedures_within_thirteen() {
    killed(true).await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_node_ends_its_calls_within_four_seconds_and_starts_a_new_life_when_it_goes_on() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let victim = (cluster.leader().await? + 1) % 3;
        let (one, other) = ((victim + 1) % 3, (victim + 2) % 3);
        let open = open_calls(&cluster, victim).await?;
        let since = Instant::now();
        cluster.process(victim)?.signal(Signal::Stop)?;
        let (ended, freed) = tokio::join!(
            all_end_in_errors(open.answers, since, Duration::from_secs(4)),
            taken_over(&open.callers[0], since)
        );
        let (ended, (freed, registration)) = (ended?, freed?);
        record_result(
            "loss-stop",
            &format!(
                "callee's node stopped: {CALLS} errors after {} ms, procedure free after {} ms",
                ended.as_millis(),
                freed.as_millis()
            ),
        );
        ensure!(
            ended < Duration::from_secs(4),
            "the last of {CALLS} callers heard after {ended:?}"
        );
        ensure!(freed < Duration::from_secs(7), "free after {freed:?}");
        still_works(&cluster, one, other).await?;

        // It wakes up fenced: what it believed to own is another's by now, and it must learn that before it serves anyone.
        let _served = open.callers[0].serve_echo(registration);
        cluster.process(victim)?.signal(Signal::Continue)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let again = async {
                let client = cluster.nodes[victim].join().await?;
                client.call(PROCEDURE, &[json!("after")]).await
            };
            if let Ok(Ok(result)) = again.await {
                ensure!(result == [json!("after")]);
                break;
            }
            if let Some(status) = cluster.process(victim)?.exited() {
                // A node that finds itself fenced may end and leave its restart to whoever runs it.
                println!("the fenced node ended with {status}");
                cluster.kill(victim);
                cluster.launch(victim)?;
                cluster.wait_ready(victim).await?;
            }
            ensure!(Instant::now() < deadline, "the node that went on does not serve");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        still_works(&cluster, victim, one).await
    };
    scenario.await.expect("scenario");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_foreign_certificate_or_another_cluster_id_is_refused() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let place = (cluster.leader().await? + 1) % 3;
        let (one, other) = ((place + 1) % 3, (place + 2) % 3);
        let name = cluster.nodes[place].name.clone();
        let secret = cluster.nodes[one].join().await?;
        let registration = secret.register("test.loss.secret").await??;
        let served = secret.serve_echo(registration);
        cluster.kill(place);

        // The same name and address each time; only what proves it differs.
        let (foreign, own) = (cluster.dir().join("foreign-ca"), cluster.dir().join("ca"));
        let (stranger, misnamed) = (cluster.dir().join("stranger-ca"), cluster.dir().join("misnamed-ca"));
        make_certificates(&foreign, &cluster.id, &[&name])?;
        make_certificates(&stranger, "another-cluster", &[&name])?;
        std::fs::create_dir_all(&misnamed)?;
        std::fs::copy(own.join("ca.pem"), misnamed.join("ca.pem"))?;
        let borrowed = &cluster.nodes[one].name;
        std::fs::copy(own.join(format!("{borrowed}.pem")), misnamed.join(format!("{name}.pem")))?;
        std::fs::copy(own.join(format!("{borrowed}.key")), misnamed.join(format!("{name}.key")))?;
        let impostors = [
            ("a certificate of another authority", &foreign, cluster.id.clone()),
            (
                "another cluster's certificate and id",
                &stranger,
                "another-cluster".to_owned(),
            ),
            ("another cluster id in its configuration", &own, "another-cluster".to_owned()),
            ("another node's certificate", &misnamed, cluster.id.clone()),
        ];
        for (number, (what, ca, id)) in impostors.into_iter().enumerate() {
            let file = cluster.dir().join(format!("impostor{number}.toml"));
            std::fs::write(
                &file,
                cluster.config(place, &id, ca, &cluster.dir().join(format!("impostor{number}"))),
            )?;
            cluster.launch_with(place, &file)?;
            // Long enough for every dialer of either side to have tried more than once; what it shows is that nothing happens.
            let until = Instant::now() + Duration::from_secs(4);
            while Instant::now() < until && cluster.process(place)?.exited().is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if let Ok(client) = cluster.nodes[place].join().await {
                    let reached = client.call("test.loss.secret", &[json!(1)]).await;
                    ensure!(
                        !matches!(reached, Ok(Ok(_))),
                        "{what}: a client of the impostor reached the cluster"
                    );
                }
            }
            let ended = cluster.process(place)?.exited();
            ensure!(
                ended.is_some() || !cluster.process(place)?.stdout().contains('{'),
                "{what}: the impostor says it is ready"
            );
            println!(
                "{what}: {}",
                ended.map_or("kept out".to_owned(), |status| format!("refused to start, {status}"))
            );
            let status = cluster.nodes[one].status().await?;
            let linked = |member: &serde_json::Value| member["name"] == name.as_str() && member["link"] == "up";
            ensure!(
                !status["members"].as_array().is_some_and(|members| members.iter().any(linked)),
                "{what}: {status}"
            );
            still_works(&cluster, one, other).await?;
            cluster.kill(place);
        }
        ensure!(!served.is_finished(), "the callee's session ended meanwhile");

        // The real one is taken back.
        cluster.launch(place)?;
        cluster.wait_ready(place).await?;
        let real = cluster.nodes[place].join().await?;
        ensure!(real.call("test.loss.secret", &[json!(1)]).await?? == [json!(1)]);
        Ok(())
    };
    scenario.await.expect("scenario");
}
