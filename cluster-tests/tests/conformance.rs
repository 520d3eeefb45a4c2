//! The conformance checks of `conformance/`: none may fail, and only what is listed here with its reason may be skipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    artifacts_dir,
    cluster::{Addresses, Cluster, OTHER_REALM, REALM, Setup},
    record_result,
    scripts::{python_command, run},
    workspace_root,
};
use serde_json::Value;

/// The cases that are skipped and why.
const SKIPS: &str = include_str!("../conformance-skips.txt");

fn expected_skips() -> BTreeMap<String, String> {
    let lines = SKIPS
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (id, reason) = line
                .split_once(char::is_whitespace)
                .unwrap_or_else(|| panic!("no reason: {line}"));
            (id.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

async fn check(name: &str, nodes: &[&Addresses]) -> Result<()> {
    let report = artifacts_dir().join(format!("conformance-{name}.json"));
    let join = |pick: fn(&Addresses) -> &String| nodes.iter().map(|node| pick(node).as_str()).collect::<Vec<_>>().join(",");
    let mut command = python_command(&workspace_root().join("cluster-tests/conformance/run.py"))?;
    command
        .args(["--group", "basic,robustness", "--json"])
        .arg(&report)
        .env("WAMP_URLS", join(|node| &node.websocket))
        .env("RAWSOCKET_URLS", join(|node| &node.rawsocket))
        .env("REALM", REALM)
        .env("REALM2", OTHER_REALM)
        .env("SETTLE", "0");
    let done = run(command, Duration::from_secs(1_500)).await?;
    std::fs::write(artifacts_dir().join(format!("conformance-{name}.log")), &done.stdout)?;
    record_result(&format!("conformance-{name}"), done.last_line());

    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report)?)?;
    let cases = report["tests"].as_array().context("tests")?;
    ensure!(cases.len() >= 490, "only {} cases ran", cases.len());
    let with = |result: &str| cases.iter().filter(|case| case["result"] == result).collect::<Vec<_>>();
    let failed: Vec<_> = with("FAIL")
        .iter()
        .map(|case| format!("{} {}: {}", case["id"], case["desc"], case["message"]))
        .collect();
    ensure!(failed.is_empty(), "{name}: {} failed\n{}", failed.len(), failed.join("\n"));
    ensure!(done.success, "{}\n{}", done.last_line(), done.stderr);

    let expected = expected_skips();
    let skipped: BTreeMap<_, _> = with("SKIP")
        .iter()
        .filter_map(|case| Some((case["id"].as_str()?.to_owned(), case["message"].as_str()?.to_owned())))
        .collect();
    let listed = |id: &str| {
        expected.keys().find(|pattern| {
            pattern
                .strip_suffix('*')
                .map_or(*pattern == id, |prefix| id.starts_with(prefix))
        })
    };
    let unlisted: Vec<_> = skipped.iter().filter(|(id, _)| listed(id).is_none()).collect();
    ensure!(
        unlisted.is_empty(),
        "{name}: skipped without a reason in conformance-skips.txt: {unlisted:#?}"
    );
    let used: BTreeSet<_> = skipped.keys().filter_map(|id| listed(id)).collect();
    let stale: Vec<_> = expected.keys().filter(|pattern| !used.contains(pattern)).collect();
    ensure!(
        stale.is_empty(),
        "{name}: no longer skipped, take out of conformance-skips.txt: {stale:?}"
    );
    for (id, message) in &skipped {
        println!(
            "{name}: skipped {id} ({message}): {}",
            listed(id).map_or("", |pattern| &expected[pattern])
        );
    }
    Ok(())
}

#[tokio::test]
async fn conformance_on_one_node() {
    let cluster = Cluster::start(Setup::Disks).await.expect("cluster");
    check("one", &[&cluster.nodes[0]])
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test]
async fn conformance_across_nodes_without_settling() {
    let cluster = Cluster::start(Setup::Disks).await.expect("cluster");
    check("across", &[&cluster.nodes[0], &cluster.nodes[2]])
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
}
