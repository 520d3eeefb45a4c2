//! Edge nodes: no disk, no vote, and all that clients can ask for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, Newcomer, REALM, Setup},
    process::Signal,
    record_result,
    wamp::{Client, Registration},
};
use serde_json::{Value, json};

const PROCEDURE: &str = "test.edge.lamp";
const PATIENCE: Duration = Duration::from_secs(30);
const TICKET: &str = "a-ticket-for-the-edge";

async fn edges(cluster: &mut Cluster, names: &[&str]) -> Result<Vec<usize>> {
    let mut edges = Vec::new();
    for name in names {
        let edge = cluster.add(name, Newcomer::Edge)?;
        cluster.launch(edge)?;
        edges.push(edge);
    }
    for edge in &edges {
        cluster.wait_ready(*edge).await?;
    }
    Ok(edges)
}

/// Registers the procedure as soon as it is free; returns how long that took.
async fn taken_over(client: &Client, since: Instant) -> Result<(Duration, Registration)> {
    loop {
        match client.register(PROCEDURE).await? {
            Ok(registration) => return Ok((since.elapsed(), registration)),
            Err(error) => {
                ensure!(since.elapsed() < Duration::from_secs(20), "not free after 20 s: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A call from `caller` that `what` is in the error of.
async fn called(caller: &Client, what: &str) -> Result<()> {
    let result = caller
        .call(PROCEDURE, &[json!(what)])
        .await?
        .with_context(|| what.to_owned())?;
    ensure!(result == [json!(what)], "{what}: {result:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_and_a_browser_on_two_edge_nodes_and_what_becomes_of_them_when_nodes_die() {
    let scenario = async {
        let mut cluster = Cluster::start(Setup::DisksAndTls).await?;
        let since = Instant::now();
        let edges = edges(&mut cluster, &["e1", "e2"]).await?;
        let ready = since.elapsed();
        let (one, two) = (edges[0], edges[1]);
        let device = cluster.nodes[one].join().await?;
        let browser = cluster.nodes[two].join().await?;
        let on_core = cluster.nodes[0].join().await?;
        let served = device.serve_echo(device.register(PROCEDURE).await??);
        // Found at once from everywhere: a miss on an edge node asks the leader how far the log is.
        called(&browser, "edge to edge").await?;
        called(&on_core, "core to edge").await?;
        let mut watched = browser.subscribe("test.edge.topic").await??;
        for (number, publisher) in [&device, &on_core].into_iter().enumerate() {
            publisher.publish("test.edge.topic", &[json!(number)]).await?;
            let event = tokio::time::timeout(Duration::from_secs(5), watched.events.recv()).await?;
            ensure!(event.is_some_and(|event| event.args == [json!(number)]), "event {number}");
        }
        let count = browser.call("wamp.session.count", &[]).await??;
        ensure!(count == [json!(3)], "sessions as an edge node counts them: {count:?}");

        let nodes = cluster.known_nodes(two)?;
        for (name, node) in &nodes {
            let edge = name.starts_with('e');
            let links = node["links"].as_array().context("links")?;
            ensure!(node["kind"] == if edge { "edge" } else { "core" }, "{node}");
            ensure!(node["vote"] == if edge { "none" } else { "voter" }, "{node}");
            ensure!(
                node["answered"] == true && node["stage"] == "member" && node["lease_ms"] != 0,
                "{node}"
            );
            ensure!(links.len() == 4 && links.iter().all(|link| link["phase"] == "up"), "{node}");
        }
        ensure!(nodes.len() == 5, "{nodes:?}");
        let (code, text) = cluster.admin(two, &["remove-node", "e1", "--yes"])?;
        ensure!(code == 9 && text.contains("stop its process"), "{text}");
        let (code, text) = cluster.admin(one, &["move-leadership", "e1"])?;
        ensure!(code == 9 && text.contains("e1 is no core node with a vote"), "{text}");

        // What is revoked is revoked on edge nodes too, and they say so; asked through an edge node.
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("ticket");
        std::fs::write(&file, TICKET)?;
        let file = file.display().to_string();
        let put = ["put-principal", REALM, "lamp", "anonymous", "--ticket-file", &file];
        let (code, text) = cluster.admin(one, &put)?;
        ensure!(
            code == 0 && ["e1", "e2", "n1", "n2", "n3"].iter().all(|name| text.contains(name)),
            "{text}"
        );
        let mut lamp = Client::login(&cluster.nodes[two].websocket, REALM, "lamp", TICKET).await?;
        let (code, text) = cluster.admin(1, &["remove-principal", REALM, "lamp", "--yes"])?;
        ensure!(code == 0 && ["e1", "e2"].iter().all(|name| text.contains(name)), "{text}");
        // Over with its GOODBYE; a client that does not answer that is cut off a while later.
        let goodbye = async { while lamp.strays.recv().await.is_some_and(|message| message[0] != 6) {} };
        tokio::time::timeout(Duration::from_secs(3), goodbye)
            .await
            .context("a revoked session goes on on an edge node")?;

        // kill -9 of the device's node: open calls end, the name is free, and until then nobody else has it.
        let open = browser.start_call("test.edge.silent", &[]).await?;
        ensure!(open.within(PATIENCE).await?.is_err(), "nobody has that");
        let silent = device.register("test.edge.silent").await??;
        let open = browser.start_call("test.edge.silent", &[]).await?;
        let mut invocations = silent.invocations;
        ensure!(tokio::time::timeout(PATIENCE, invocations.recv()).await?.is_some());
        let early = browser.register(PROCEDURE).await?;
        ensure!(early.is_err_and(|error| error.uri == "wamp.error.procedure_already_exists"));
        let since = Instant::now();
        cluster.kill(one);
        ensure!(open.within(Duration::from_secs(5)).await?.is_err());
        let ended = since.elapsed();
        let (free, registration) = taken_over(&browser, since).await?;
        ensure!(ended < Duration::from_secs(1), "the caller heard after {ended:?}");
        ensure!(free < Duration::from_secs(7), "free after {free:?}");
        served.abort();
        let _served = browser.serve_echo(registration);
        called(&on_core, "core to the edge node that is left").await?;

        // Core nodes go and come, one after the other: whoever feeds the edge node is among them. Its sessions live on.
        let session = browser.session();
        for core in 0..3 {
            cluster.kill(core);
            let deadline = Instant::now() + PATIENCE;
            loop {
                // Takes the log: REGISTERED comes once it is applied on the edge node.
                let name = format!("test.edge.without.{core}");
                match browser.register(&name).await? {
                    Ok(registration) => {
                        browser.unregister(registration.id).await??;
                        break;
                    }
                    Err(error) => ensure!(Instant::now() < deadline, "without n{}: {error}", core + 1),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            cluster.launch(core)?;
            cluster.wait_ready(core).await?;
            let visitor = cluster.nodes[core].join().await?;
            called(&visitor, "the node that came back").await?;
        }
        ensure!(browser.ended().is_none() && browser.session() == session);

        // Back again: a new life in the slot that was left.
        let slot = nodes["e1"]["slot"].clone();
        cluster.launch(one)?;
        cluster.wait_ready(one).await?;
        let again = cluster.known_nodes(1)?;
        ensure!(
            again["e1"]["slot"] == slot && again["e1"]["epoch"].as_u64() > nodes["e1"]["epoch"].as_u64(),
            "{again:?}"
        );
        called(&cluster.nodes[one].join().await?, "the edge node that came back").await?;
        record_result(
            "edge",
            &format!(
                "two edge nodes serve after {} ms; of one that was killed the caller heard after {} ms, its name was free after {} ms",
                ready.as_millis(),
                ended.as_millis(),
                free.as_millis()
            ),
        );
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}

/// Registrations and sessions of the realm, and the nodes, as a node knows them from the log.
async fn replicated(cluster: &Cluster, node: usize) -> Result<(Value, Value, Vec<String>)> {
    let status = cluster.nodes[node].status().await?;
    let realms = status["realms"].as_array().context("realms")?;
    let realm = realms.iter().find(|realm| realm["name"] == REALM).context("the realm")?;
    let members = status["members"].as_array().context("members")?.iter();
    let names = members.map(|member| member["name"].as_str().unwrap_or_default().to_owned());
    Ok((realm["registrations"].clone(), realm["sessions"].clone(), names.collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_edge_nodes_come_and_go_and_leave_nothing_behind() {
    const AT_ONCE: usize = 5;
    let scenario = async {
        let mut cluster = Cluster::start(Setup::Disks).await?;
        let keeper = cluster.nodes[0].join().await?;
        let _served = keeper.serve_echo(keeper.register(PROCEDURE).await??);
        let before = replicated(&cluster, 0).await?;
        let mut slots = std::collections::BTreeSet::new();
        for round in 0..10 {
            let names: Vec<String> = (0..AT_ONCE).map(|number| format!("edge-{round}-{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let edges = edges(&mut cluster, &names).await?;
            let mut guests = Vec::new();
            for edge in &edges {
                let guest = cluster.nodes[*edge].join().await?;
                let own = match guest.register(&format!("test.edge.of.{edge}")).await? {
                    Ok(own) => own,
                    Err(error) => {
                        let log = cluster.process(*edge)?.log_tail();
                        bail!("round {round}: {error}: {}\n{log}", cluster.nodes[*edge].status().await?);
                    }
                };
                called(&guest, "from an edge node").await?;
                guests.push((guest, own));
            }
            for (name, node) in cluster.known_nodes(0)? {
                ensure!(
                    node["kind"] == "core" || node["vote"] == "none",
                    "{name} has entered the membership: {node}"
                );
                if node["kind"] == "edge" {
                    slots.insert(node["slot"].as_u64().context("slot")?);
                }
            }
            for (number, edge) in edges.into_iter().enumerate() {
                // Some say goodbye, some do not.
                if number % 2 == 0 {
                    cluster.process(edge)?.signal(Signal::Terminate)?;
                    cluster.wait_end(edge, PATIENCE).await?;
                } else {
                    cluster.kill(edge);
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while replicated(&cluster, 0).await? != before {
            let now = replicated(&cluster, 0).await?;
            ensure!(Instant::now() < deadline, "{now:?} is left, {before:?} was there");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for node in 0..3 {
            ensure!(replicated(&cluster, node).await? == before, "n{}", node + 1);
        }
        let nodes: Vec<String> = cluster.known_nodes(1)?.into_keys().collect();
        ensure!(nodes == ["n1", "n2", "n3"], "{nodes:?}");
        // Those that were killed hold theirs for a lease.
        ensure!(slots.len() <= 3 * AT_ONCE, "slots are not used again: {slots:?}");
        record_result(
            "edge-churn",
            &format!("50 edge nodes came and went through {} slots", slots.len()),
        );
        Ok::<_, anyhow::Error>(())
    };
    scenario.await.expect("scenario");
}
