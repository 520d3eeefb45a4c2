//! The admin port with certificates: who may do what there, what the others hear, and what of it stands in the audit log.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    ports::free_port,
    process::{Process, Signal, binary},
};
use serde_json::Value;

/// A node with mutual TLS on its admin port.
struct Node {
    dir: tempfile::TempDir,
    process: Process,
    admin: u16,
}

const TICKET: &str = "nobody-ever-reads-this-ticket";

fn ringfort(words: &[&str]) -> Output {
    Command::new(binary()).args(words).output().expect("run ringfort")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn made(words: &[&str]) -> Result<()> {
    let output = ringfort(words);
    ensure!(output.status.success(), "{words:?}: {}", said(&output));
    Ok(())
}

impl Node {
    async fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name).display().to_string();
        let (nodes, people, foreign) = (at("nodes"), at("people"), at("foreign"));
        made(&["ca", "init", "--cluster-id", "admin-port", "--out", &nodes])?;
        made(&["ca", "node", "--dir", &nodes, "--name", "n1"])?;
        for authority in [&people, &foreign] {
            made(&["ca", "init", "--cluster-id", "people", "--out", authority])?;
        }
        for name in ["vera", "oleg", "olga", "eve"] {
            made(&["ca", "client", "--dir", &people, "--name", name])?;
        }
        made(&["ca", "client", "--dir", &foreign, "--name", "olga"])?;
        let (public, admin) = (free_port(), free_port());
        let text = format!(
            "[node]\nname = \"n1\"\n[[listener]]\naddress = \"127.0.0.1:{public}\"\n[[realm]]\nname = \"realm1\"\n\
             anonymous = \"loopback\"\nanonymous_role = \"guest\"\n[observability]\naddress = \"off\"\n\
             [audit]\npath = \"{}\"\n[admin]\naddress = \"127.0.0.1:{admin}\"\n\
             tls = {{ certificate = \"{nodes}/n1.pem\", key = \"{nodes}/n1.key\", client_ca = \"{people}/ca.pem\" }}\n\
             clients = [{{ certificate = \"cn:vera\", role = \"viewer\" }}, {{ certificate = \"cn:oleg\", role = \"operator\" }},\n\
             {{ certificate = \"cn:olga\", role = \"owner\" }}]\n",
            at("audit.jsonl"),
        );
        let file = dir.path().join("n1.toml");
        std::fs::write(&file, text)?;
        let mut command = Command::new(binary());
        command.arg("serve").arg("--config").arg(&file);
        command.args(["--ready-json", "--exit-with-stdin"]);
        let mut process = Process::start("n1", command, dir.path())?;
        process.first_json_line(Duration::from_secs(30)).await?;
        Ok(Self { dir, process, admin })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What `ringfort admin` says with the certificate of that name, signed by that authority.
    fn admin(&self, authority: &str, name: &str, words: &[&str]) -> Output {
        let file = |ending: &str| self.path(authority).join(format!("{name}.{ending}")).display().to_string();
        let (url, ca) = (
            format!("https://127.0.0.1:{}", self.admin),
            self.path("nodes").join("ca.pem").display().to_string(),
        );
        let mut all = vec!["admin", "--url", &url, "--ca", &ca];
        let (certificate, key) = (file("pem"), file("key"));
        if !name.is_empty() {
            all.extend(["--cert", &certificate, "--key", &key]);
        }
        all.extend(words);
        ringfort(&all)
    }

    fn records(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.path("audit.jsonl"))?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}

#[tokio::test]
async fn each_method_takes_its_role_and_a_refusal_says_which() -> Result<()> {
    let mut node = Node::start().await?;
    let ticket = node.path("ticket");
    std::fs::write(&ticket, TICKET)?;
    let ticket_file = ticket.display().to_string();
    // The least role of each, in an order in which all of them can be done.
    let methods: [(&[&str], usize); 8] = [
        (&["realms"], 0),
        (&["roles", "realm1"], 0),
        (&["principals", "realm1"], 0),
        (&["why", "lamp", "call", "com.a", "--role", "device"], 0),
        (
            &["put-principal", "realm1", "lamp", "device", "--ticket-file", &ticket_file],
            1,
        ),
        (&["remove-principal", "realm1", "lamp", "--yes"], 1),
        (&["put-role", "realm1", "guest", "--allow", "call prefix com."], 2),
        (&["remove-role", "realm1", "guest", "--yes"], 2),
    ];
    let people = [("vera", "viewer"), ("oleg", "operator"), ("olga", "owner")];
    for (rank, (name, role)) in people.iter().enumerate() {
        for (words, least) in &methods {
            let output = node.admin("people", name, words);
            let text = said(&output);
            if rank >= *least {
                ensure!(output.status.success(), "{name} {words:?}: {text}");
                continue;
            }
            let needed = people[*least].1;
            ensure!(
                !output.status.success()
                    && text.contains(&format!("takes the role {needed}"))
                    && text.contains(&format!("cn:{name} has the role {role}"))
                    && text.contains("[[admin.clients]]"),
                "{name} {words:?}: {text}"
            );
        }
    }
    for (words, _) in &methods {
        let text = said(&node.admin("people", "eve", words));
        ensure!(text.contains("the certificate cn:eve has no role here"), "{words:?}: {text}");
        for (authority, name) in [("foreign", "olga"), ("", "")] {
            let output = node.admin(authority, name, words);
            ensure!(
                !output.status.success() && !said(&output).contains("realm1:"),
                "{authority} {name}: {}",
                said(&output)
            );
        }
        let plain = format!("http://127.0.0.1:{}", node.admin);
        let mut all = vec!["admin", "--url", &plain];
        all.extend(*words);
        ensure!(!ringfort(&all).status.success(), "without TLS: {words:?}");
    }

    // Refusals are written once a second.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let records = node.records()?;
    let of = |kind: &str, step: &str| -> Vec<&Value> {
        records
            .iter()
            .filter(|one| one["kind"] == kind && one["step"] == step)
            .collect()
    };
    let refused = of("refused", "admin");
    let by = |name: &str| refused.iter().any(|one| one["admin"] == name && one["source"] == "127.0.0.1");
    ensure!(by("cn:vera") && by("cn:eve"), "{refused:?}");
    let counted = |reason: &str| -> u64 {
        let alike = refused
            .iter()
            .filter(|one| one["reason"].as_str().is_some_and(|text| text.contains(reason)));
        alike.filter_map(|one| one["count"].as_u64()).sum()
    };
    ensure!(counted("role does not suffice") == 4 + 2 + 8, "{refused:?}");
    // Whoever gets no connection may try more than once.
    ensure!(counted("no TLS") >= 24, "{refused:?}");
    let (asked, done) = (of("change", "asked"), of("change", "done"));
    ensure!(asked.len() == 6 && done.len() == 6, "{records:?}");
    ensure!(
        done.iter().all(|one| one["index"].is_u64() && one["revision"].is_u64()),
        "{done:?}"
    );
    let put = &done[0];
    ensure!(
        put["admin"] == "cn:oleg" && put["what"] == "put_principal lamp" && put["before"].is_null(),
        "{put}"
    );
    ensure!(
        put["after"]["role"] == "device" && done[1]["before"]["role"] == "device" && done[1]["after"].is_null(),
        "{done:?}"
    );
    ensure!(
        done[4]["admin"] == "cn:olga" && done[4]["after"]["permissions"][0]["uri"] == "com.",
        "{}",
        done[4]
    );

    // A failure is recorded too, and so is the end. Then the file is as it was, until somebody writes to it.
    ensure!(
        !node
            .admin("people", "olga", &["remove-role", "realm1", "nobody", "--yes"])
            .status
            .success(),
        "there is none"
    );
    ensure!(
        node.records()?
            .iter()
            .any(|one| one["step"] == "failed" && one["what"] == "remove_role nobody"),
        "a failure"
    );
    node.process.signal(Signal::Terminate)?;
    node.process.wait(Duration::from_secs(15))?;
    let path = node.path("audit.jsonl");
    let text = std::fs::read_to_string(&path)?;
    ensure!(
        text.lines().last().is_some_and(|line| line.contains("\"kind\":\"stop\"")),
        "{text}"
    );
    ensure!(!text.contains(TICKET), "a credential in the audit log");
    verified(&path, None)?;
    let (cut, _) = text.trim_end().rsplit_once('\n').context("lines")?;
    std::fs::write(&path, format!("{cut}\n{{\"seq\":999,\"prev\":\"\"}}\n"))?;
    verified(&path, Some("record 999"))?;
    std::fs::write(&path, text.replacen("cn:oleg", "cn:olga", 1))?;
    verified(&path, Some("it was changed"))
}

#[tokio::test]
async fn looking_and_stepping_in_take_their_roles_too() -> Result<()> {
    let node = Node::start().await?;
    // The least role of each; 0 or 10, for there is nothing of that name, say that it was done.
    let methods: [(&[&str], usize); 11] = [
        (&["sessions"], 0),
        (&["session", "4711"], 0),
        (&["registrations"], 0),
        (&["registration", "realm1", "com.a"], 0),
        (&["subscriptions"], 0),
        (&["subscription", "realm1", "com.a"], 0),
        (&["slow"], 0),
        (&["kill", "--authid", "nobody", "--yes"], 1),
        (&["remove-registration", "realm1", "4711", "--yes"], 1),
        (&["tap", "--uri", "com.a", "--seconds", "1"], 1),
        (&["tap", "--uri", "com.a", "--seconds", "1", "--payload"], 2),
    ];
    let people = ["vera", "oleg", "olga", "eve"];
    for (rank, name) in people.iter().enumerate() {
        for (words, least) in &methods {
            let output = node.admin("people", name, words);
            let (code, text) = (output.status.code(), said(&output));
            let refused = text.contains("takes the role") || text.contains("has no role here");
            if *name == "eve" || rank < *least {
                ensure!(code == Some(9) && refused, "{name} {words:?}: {code:?} {text}");
            } else if words.contains(&"--payload") {
                // The role is not all that it takes.
                ensure!(
                    code == Some(9) && text.contains("admin.tap_payload"),
                    "{name} {words:?}: {text}"
                );
            } else {
                ensure!(matches!(code, Some(0 | 10)) && !refused, "{name} {words:?}: {code:?} {text}");
            }
        }
    }
    Ok(())
}

/// Checks what `ringfort audit verify` says.
fn verified(path: &Path, broken: Option<&str>) -> Result<()> {
    let output = ringfort(&["audit", "verify", &path.display().to_string()]);
    let text = said(&output);
    match broken {
        None => ensure!(output.status.success() && text.contains("are whole"), "{text}"),
        Some(what) => ensure!(output.status.code() == Some(8) && text.contains(what), "{text}"),
    }
    Ok(())
}
