//! Settings that change while a node runs: by the file, by SIGHUP and over the admin port; what is put in force, what is refused as a whole,
//! and what is named as waiting for a restart.

use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    http,
    ports::free_port,
    process::{Process, Signal, binary},
    secrets,
    wamp::Client,
};
use serde_json::{Value, json};

/// A node whose file the tests change.
struct Node {
    dir: tempfile::TempDir,
    process: Process,
    public: u16,
    admin: u16,
    observed: u16,
}

/// What varies in the file.
#[derive(Clone)]
struct File {
    level: &'static str,
    calls_max: u32,
    /// What the role `device` may do.
    device: &'static str,
    principals: &'static [(&'static str, &'static str)],
    end: &'static str,
}

const OPEN: &str = "{ uri = \"\", match = \"prefix\", allow = [\"all\"] }";
const FIRST: File = File {
    level: "info",
    calls_max: 100,
    device: OPEN,
    principals: &[("lamp", "first-secret-of-the-lamp"), ("fan", "first-secret-of-the-fan")],
    end: "",
};

impl Node {
    async fn start(file: &File) -> Result<Self> {
        let dir = secrets::folder("ringfort-reload-")?;
        let (public, admin, observed) = (free_port(), free_port(), free_port());
        let text = text(file, (public, admin, observed));
        let path = dir.path().join("n1.toml");
        std::fs::write(&path, text)?;
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(&path);
        command.args(["--ready-json", "--exit-with-stdin"]);
        let mut process = Process::start("n1", command, dir.path())?;
        process.first_json_line(Duration::from_secs(30)).await?;
        Ok(Self {
            dir,
            process,
            public,
            admin,
            observed,
        })
    }

    /// Puts another file in the place of the former, as editors and Kubernetes do.
    fn write(&self, file: &File) -> Result<()> {
        let text = text(file, (self.public, self.admin, self.observed));
        let path = self.dir.path().join("n1.toml");
        let beside = self.dir.path().join("next");
        std::fs::write(&beside, text)?;
        secrets::of_config(&beside);
        Ok(std::fs::rename(beside, path)?)
    }

    async fn login(&self, name: &str, ticket: &str) -> Result<Client> {
        Client::login(&format!("ws://127.0.0.1:{}/ws", self.public), "realm1", name, ticket).await
    }

    fn reload(&self) -> Output {
        let url = format!("http://127.0.0.1:{}", self.admin);
        Command::new(binary())
            .args(["admin", "--url", &url, "reload"])
            .output()
            .expect("run ringfort")
    }

    async fn status(&self) -> Result<Value> {
        http::get_json(&format!("http://127.0.0.1:{}/status", self.admin)).await
    }

    async fn metric(&self, series: &str) -> Result<u64> {
        let (_, page) = http::get(&format!("http://127.0.0.1:{}/metrics", self.observed)).await?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        line.with_context(|| format!("{series} in\n{page}"))
    }

    async fn until_read(&self, outcome: &str, count: u64) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(15);
        let series = format!("ringfort_settings_reloads_total{{outcome=\"{outcome}\"}}");
        while self.metric(&series).await? < count {
            ensure!(Instant::now() < until, "not read: {}", self.process.stderr());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

fn text(file: &File, (public, admin, observed): (u16, u16, u16)) -> String {
    let principals: Vec<String> = file
        .principals
        .iter()
        .map(|(name, ticket)| {
            format!("[[principal]]\nrealm = \"realm1\"\nauthid = \"{name}\"\nrole = \"device\"\nticket = \"{ticket}\"\n")
        })
        .collect();
    format!(
        "[node]\nname = \"n1\"\n[[listener]]\naddress = \"127.0.0.1:{public}\"\n[[realm]]\nname = \"realm1\"\n\
         roles = [{{ name = \"device\", permissions = [{}] }}]\n{}[admin]\naddress = \"127.0.0.1:{admin}\"\n\
         [observability]\naddress = \"127.0.0.1:{observed}\"\n[limits]\ncalls_per_session_max = {}\n[log]\nlevel = \"{}\"\n{}",
        file.device,
        principals.join(""),
        file.calls_max,
        file.level,
        file.end
    )
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn ended(client: &Client) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(5);
    while client.ended().is_none() {
        ensure!(Instant::now() < until, "the session goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn what_the_file_takes_away_ends_and_what_it_gives_is_there() -> Result<()> {
    let node = Node::start(&FIRST).await?;
    let (lamp, fan) = (
        node.login("lamp", "first-secret-of-the-lamp").await?,
        node.login("fan", "first-secret-of-the-fan").await?,
    );
    let mut news = fan.subscribe("com.secret.news").await??;
    lamp.publish_acknowledged("com.secret.news", &[json!(1)]).await??;
    ensure!(news.events.recv().await.is_some());

    // By the file alone: the lamp is gone, the vent is new, and what is secret is not for devices any more.
    node.write(&File {
        level: "debug",
        device: "{ uri = \"\", match = \"prefix\", allow = [\"all\"] }, { uri = \"com.secret.\", match = \"prefix\", deny = [\"all\"] }",
        principals: &[("fan", "first-secret-of-the-fan"), ("vent", "first-secret-of-the-vent")],
        ..FIRST
    })?;
    node.until_read("applied", 1).await?;
    ended(&lamp).await?;
    ensure!(fan.ended().is_none(), "whoever has not changed stays");
    node.login("lamp", "first-secret-of-the-lamp")
        .await
        .err()
        .context("the lamp is let in")?;
    let vent = node.login("vent", "first-secret-of-the-vent").await?;
    let refused = vent
        .publish_acknowledged("com.secret.news", &[])
        .await?
        .expect_err("it is denied");
    ensure!(refused.uri == "wamp.error.not_authorized", "{refused}");
    vent.publish_acknowledged("com.news", &[]).await??;
    let denied = fan.subscribe("com.secret.news").await?.expect_err("it is denied");
    ensure!(denied.uri == "wamp.error.not_authorized", "{denied}");
    let log = node.process.stderr();
    ensure!(
        log.contains("the settings were read again") && log.contains("realm[0].roles"),
        "{log}"
    );

    // A changed secret ends its sessions, and counts.
    node.write(&File {
        level: "debug",
        principals: &[("fan", "second-secret-of-the-fan"), ("vent", "first-secret-of-the-vent")],
        ..FIRST
    })?;
    let output = node.reload();
    ensure!(
        output.status.success() && said(&output).contains("applied: principal[0] (fan)"),
        "{}",
        said(&output)
    );
    ended(&fan).await?;
    node.login("fan", "first-secret-of-the-fan")
        .await
        .err()
        .context("the old secret counts")?;
    node.login("fan", "second-secret-of-the-fan").await?;
    let log = node.process.stderr();
    for secret in ["first-secret", "second-secret"] {
        ensure!(!log.contains(secret), "a secret is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_wrong_changes_nothing_and_is_told_until_it_is_right() -> Result<()> {
    let node = Node::start(&FIRST).await?;
    let lamp = node.login("lamp", "first-secret-of-the-lamp").await?;
    ensure!(node.metric("ringfort_settings_refused").await? == 0);
    let wrong = File {
        principals: &[],
        end: "[audit]\nrotate_bytes = 1\n",
        ..FIRST
    };
    node.write(&wrong)?;
    node.until_read("refused", 1).await?;
    ensure!(node.metric("ringfort_settings_refused").await? == 1);
    let output = node.reload();
    let text = said(&output);
    ensure!(output.status.code() == Some(3), "{text}");
    ensure!(
        text.contains("nothing was changed") && text.contains("audit.rotate_bytes"),
        "{text}"
    );
    ensure!(lamp.ended().is_none(), "a part of a wrong file was put in force");
    node.login("lamp", "first-secret-of-the-lamp").await?;
    let status = node.status().await?;
    ensure!(
        status["settings"]["refused"][0]
            .as_str()
            .is_some_and(|text| text.contains("rotate_bytes")),
        "{status}"
    );
    let log = node.process.stderr();
    ensure!(log.contains("the settings are wrong; the former stay in force"), "{log}");

    node.write(&File { end: "", ..wrong })?;
    node.until_read("applied", 1).await?;
    ensure!(node.metric("ringfort_settings_refused").await? == 0);
    ended(&lamp).await
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_counts_at_once() -> Result<()> {
    let node = Node::start(&FIRST).await?;
    let lamp = node.login("lamp", "first-secret-of-the-lamp").await?;
    let _silent = lamp.register("com.slow").await??;
    let output = node.reload();
    ensure!(said(&output).contains("nothing has changed"), "{}", said(&output));
    let next = File {
        level: "debug",
        calls_max: 1,
        end: "[audit]\nkeep = 3\n[cluster]\nid = \"another\"\n",
        ..FIRST
    };
    node.write(&next)?;
    let output = node.reload();
    let text = said(&output);
    for line in [
        "applied: limits.calls_per_session_max",
        "applied: log.level",
        "needs a restart: audit.keep",
        "needs a restart: cluster.id",
    ] {
        ensure!(output.status.success() && text.contains(line), "{line} in\n{text}");
    }
    ensure!(node.metric("ringfort_settings_waiting").await? == 2);
    let status = node.status().await?;
    ensure!(
        status["settings"]["needs_restart"] == json!(["audit.keep", "cluster.id"]),
        "{status}"
    );
    // The limit counts for the session that is there.
    let _first = lamp.start_call("com.slow", &[]).await?;
    let refused = lamp.call("com.slow", &[]).await?.expect_err("there is one call already");
    ensure!(refused.uri == "wamp.error.unavailable", "{refused}");

    // SIGHUP does the same: by it the file is as it was.
    node.write(&FIRST)?;
    node.process.signal(Signal::Hangup)?;
    node.until_read("applied", 2).await?;
    ensure!(node.metric("ringfort_settings_waiting").await? == 0);
    let other = node.login("fan", "first-secret-of-the-fan").await?;
    let _one = other.start_call("com.slow", &[]).await?;
    let _two = other.start_call("com.slow", &[]).await?;
    let log = node.process.stderr();
    ensure!(log.contains("needs_restart") && log.contains("audit.keep"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_log_for_machines_is_one_object_a_line_and_holds_no_payload_and_no_secret_at_any_level() -> Result<()> {
    const PAYLOAD: &str = "what-the-lamp-says-is-nobodys-business";
    let node = Node::start(&File {
        level: "trace",
        // The last line but one of the file is the level.
        end: "format = \"json\"\n",
        ..FIRST
    })
    .await?;
    let lamp = node.login("lamp", "first-secret-of-the-lamp").await?;
    node.login("fan", "a-wrong-secret-of-the-fan")
        .await
        .err()
        .context("a wrong secret is taken")?;
    let mut news = lamp.subscribe("com.news").await??;
    lamp.publish_with(
        "com.news",
        json!({"acknowledge": true, "exclude_me": false}),
        &[json!(PAYLOAD)],
    )
    .await??;
    ensure!(news.events.recv().await.is_some());
    let registration = lamp.register("com.echo").await??;
    let _echo = lamp.serve_echo(registration);
    ensure!(lamp.call("com.echo", &[json!(PAYLOAD)]).await?? == [json!(PAYLOAD)]);
    node.reload();
    let log = node.process.stderr();
    let mut levels = std::collections::BTreeSet::new();
    for line in log.lines() {
        let object: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        levels.insert(object["level"].as_str().with_context(|| line.to_owned())?.to_owned());
        ensure!(object["timestamp"].is_string() && object["target"].is_string(), "{line}");
    }
    ensure!(
        levels.contains("INFO") && (levels.contains("DEBUG") || levels.contains("TRACE")),
        "{levels:?}"
    );
    for secret in [
        PAYLOAD,
        "first-secret-of-the-lamp",
        "first-secret-of-the-fan",
        "a-wrong-secret-of-the-fan",
    ] {
        ensure!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}
