//! `ringfort admin`: tables, JSON, watching, asking before it ends anything, exit codes, completions.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, REALM},
    process::binary,
};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::support::{cluster, goodbye, records, until};

fn admin(cluster: &Cluster, node: usize, words: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["admin", "--url", &cluster.nodes[node].admin])
        .args(words)
        .stdin(Stdio::null());
    command.output().expect("run ringfort admin")
}

fn done(cluster: &Cluster, node: usize, words: &[&str]) -> Result<String> {
    let output = admin(cluster, node, words);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{words:?}: {error}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn document(cluster: &Cluster, node: usize, words: &[&str]) -> Result<Value> {
    let all: Vec<&str> = words.iter().copied().chain(["--output", "json"]).collect();
    let text = done(cluster, node, &all)?;
    serde_json::from_str(&text).with_context(|| format!("{words:?}: {text}"))
}

#[tokio::test]
async fn the_command_line_shows_tables_and_json_asks_before_it_ends_anything_and_has_exit_codes() -> Result<()> {
    let cluster = cluster().await?;
    let mut client = cluster.nodes[2].join().await?;
    let _subscription = client.subscribe("com.a").await?.expect("SUBSCRIBED");
    let _registration = client.register("com.b").await?.expect("REGISTERED");
    let id = client.session().to_string();
    until("the log has it", async || {
        let listed = document(&cluster, 0, &["sessions", "--realm", REALM])?;
        let rows = listed["sessions"].as_array().cloned().unwrap_or_default();
        Ok(rows
            .iter()
            .any(|row| row["id"] == client.session() && row["node"] == "n3")
            .then_some(()))
    })
    .await?;
    // Aligned: every cell of a column begins where its head does.
    let table = done(&cluster, 0, &["sessions", "--realm", REALM])?;
    let (head, rows) = table.split_once('\n').context("lines")?;
    let at = head.find("REALM").context("a column")?;
    ensure!(
        head.trim_start().starts_with("SESSION") && rows.lines().all(|row| row[at..].starts_with(REALM)),
        "{table}"
    );
    for (words, says) in [
        (&["session", &id][..], "websocket, json"),
        (&["registrations", "--prefix", "com."], "\"com.b\""),
        (&["registration", REALM, "com.b"], "CONCURRENCY"),
        (&["subscriptions", "--prefix", "com."], "n3:1"),
        (&["subscription", REALM, "com.a"], &id),
        (&["slow"], "DROPPED"),
        (&["realms"], "REVISION"),
        (&["roles", REALM], "fixed by the configuration"),
        (&["principals", REALM], "CREDENTIALS"),
    ] {
        let text = done(&cluster, 1, words)?;
        ensure!(text.contains(says), "{words:?}: {text}");
    }
    for (words, pointer) in [
        (&["session", &id][..], "/session/node"),
        (&["registrations"], "/registrations/0/uri"),
        (&["registration", REALM, "com.b"], "/callees/0/open_invocations"),
        (&["subscriptions"], "/subscriptions/0/nodes/0/subscribers"),
        (&["subscription", REALM, "com.a"], "/nodes/0/sessions/0"),
        (&["slow"], "/consumers"),
        (&["realms"], "/realms/0/name"),
        (&["roles", REALM], "/roles/0/permissions/0/allow"),
        (&["principals", REALM], "/principals"),
        (&["log-level"], "/level"),
        (&["why", "x", "call", "com.b", "--role", "anonymous"], "/allowed"),
    ] {
        let json = document(&cluster, 1, words)?;
        ensure!(json.pointer(pointer).is_some(), "{words:?}: {json}");
    }

    // Again and again, until somebody ends it.
    let mut command = Command::new(binary());
    command.args([
        "admin",
        "--url",
        &cluster.nodes[0].admin,
        "sessions",
        "--watch",
        "1",
        "--output",
        "json",
    ]);
    let mut watching = command.stdout(Stdio::piped()).spawn()?;
    sleep(Duration::from_millis(3_500)).await;
    watching.kill()?;
    let text = String::from_utf8(watching.wait_with_output()?.stdout)?;
    ensure!(text.lines().count() >= 2, "{text}");
    ensure!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|one| one["sessions"].is_array())),
        "{text}"
    );

    // A tap: one line a message.
    let mut command = Command::new(binary());
    command.args([
        "admin",
        "--url",
        &cluster.nodes[0].admin,
        "tap",
        "--session",
        &id,
        "--seconds",
        "3",
        "--output",
        "json",
    ]);
    let tap = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    until("the tap is on", async || {
        Ok((!records(&cluster, 2, "tap")?.is_empty()).then_some(()))
    })
    .await?;
    client.publish("com.c", &[json!(1)]).await?;
    let output = tokio::task::spawn_blocking(move || tap.wait_with_output()).await??;
    let first: Value = serde_json::from_str(String::from_utf8(output.stdout)?.lines().next().context("a line")?)?;
    ensure!(
        first["type"] == "PUBLISH" && first["uri"] == "com.c" && first["payload"].is_null(),
        "{first}"
    );
    let error = String::from_utf8(output.stderr)?;
    ensure!(error.contains("the time is over"), "{error}");

    // Not without being asked; with --yes it is done.
    let asked = admin(&cluster, 0, &["kill", "--session", &id]);
    ensure!(
        asked.status.code() == Some(2) && String::from_utf8_lossy(&asked.stderr).contains("--yes"),
        "{asked:?}"
    );
    ensure!(client.ended().is_none(), "nothing was ended");
    let code = |words: &[&str]| admin(&cluster, 0, words).status.code();
    ensure!(code(&["remove-role", REALM, "x"]) == Some(2) && code(&["remove-registration", REALM, "1"]) == Some(2));
    ensure!(code(&["session", "4711"]) == Some(10), "not found");
    ensure!(code(&["kill", "--yes"]) == Some(9), "refused");
    ensure!(code(&["remove-role", REALM, "x", "--yes"]) == Some(10), "not found");
    let nobody = format!("http://127.0.0.1:{}", ringfort_cluster_tests::ports::free_port());
    let output = Command::new(binary())
        .args(["admin", "--url", &nobody, "sessions"])
        .output()?;
    ensure!(output.status.code() == Some(11), "{output:?}");
    let ended = document(
        &cluster,
        0,
        &["kill", "--session", &id, "--yes", "--reason", "com.example.bye"],
    )?;
    ensure!(ended["ended"] == 1 && ended["nodes"][0]["node"] == "n3", "{ended}");
    ensure!(goodbye(&mut client).await?[2] == "com.example.bye");

    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(binary()).args(["completions", shell]).output()?;
        let script = String::from_utf8(output.stdout)?;
        ensure!(output.status.success() && script.contains("remove-registration"), "{shell}");
    }
    Ok(())
}
