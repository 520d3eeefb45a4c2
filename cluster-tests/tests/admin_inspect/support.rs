//! What the tests of the admin API share: a cluster that may be watched, and waiting for what the log carries.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, Setup},
    wamp::Client,
};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

/// Three nodes with an audit log each, which permit payload in taps.
pub async fn cluster() -> Result<Cluster> {
    let mut cluster = Cluster::prepare(Setup::Disks, "cluster-looked-at")?;
    for node in 0..3 {
        let file = cluster.config_path(node);
        let text = std::fs::read_to_string(&file)?;
        let audit = cluster.dir().join(format!("audit-{node}.jsonl"));
        let text = text.replace("[admin]\n", "[admin]\ntap_payload = true\n");
        std::fs::write(
            &file,
            format!("{text}\n[audit]\npath = {audit:?}\n[limits]\nmessage_bytes_max = 131072\noutbox_bytes_max = 262144\n"),
        )?;
        cluster.launch(node)?;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await?;
    }
    Ok(cluster)
}

pub async fn channel(cluster: &Cluster, node: usize) -> Result<Channel> {
    Ok(Channel::from_shared(cluster.nodes[node].admin.clone())?.connect().await?)
}

/// Looks again until it holds: what the log carries takes a moment.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < Duration::from_secs(20), "not so within 20 s: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

pub fn records(cluster: &Cluster, node: usize, kind: &str) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(cluster.dir().join(format!("audit-{node}.jsonl")))?;
    let all = text
        .lines()
        .map(serde_json::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(all.into_iter().filter(|one| one["kind"] == kind).collect())
}

/// The next GOODBYE of a session.
pub async fn goodbye(client: &mut Client) -> Result<Value> {
    let wait = async {
        while let Some(message) = client.strays.recv().await {
            if message[0] == 6 {
                return Ok(message);
            }
        }
        anyhow::bail!("no GOODBYE: {:?}", client.ended())
    };
    timeout(Duration::from_secs(10), wait).await?
}
