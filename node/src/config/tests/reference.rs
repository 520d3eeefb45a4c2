//! Keeps `docs/config.md` equal to the structs: their keys, their doc comments, their defaults.
//!
//! `RINGFORT_WRITE_DOCS=docs/config.md cargo test -p ringfort config_reference` writes it anew (the path is taken from the
//! package's folder, so `../docs/config.md`).

use std::fmt::Write;

use crate::config::schema::{SECTIONS, Section};

/// The files of the structs, in which their doc comments are read.
const SOURCES: &[(&str, &str, &str)] = &[
    ("node", "Node", include_str!("../node.rs")),
    ("listener", "Listener", include_str!("../listener.rs")),
    ("listener.compat", "Compat", include_str!("../compat.rs")),
    ("listener.longpoll", "Longpoll", include_str!("../listener.rs")),
    ("listener.tls", "ListenerTls", include_str!("../listener.rs")),
    ("listener.tls.also", "CertificateAndKey", include_str!("../listener.rs")),
    ("listener.quota", "Quota", include_str!("../quota.rs")),
    ("realm", "Realm", include_str!("../realm.rs")),
    ("realm.roles", "Role", include_str!("../role.rs")),
    ("realm.roles.permissions", "Permission", include_str!("../role.rs")),
    ("realm.roles.quota", "Quota", include_str!("../quota.rs")),
    ("realm.roles.per_principal", "Quota", include_str!("../quota.rs")),
    ("realm.topics", "Topic", include_str!("../topic.rs")),
    ("realm.topics.history", "History", include_str!("../topic.rs")),
    ("realm.definitions", "Definition", include_str!("../definition.rs")),
    ("realm.quota", "Quota", include_str!("../quota.rs")),
    ("realm.jwt", "Jwt", include_str!("../jwt.rs")),
    ("principal", "Principal", include_str!("../principal.rs")),
    ("cluster", "Cluster", include_str!("../cluster.rs")),
    ("cluster.peers", "Peer", include_str!("../cluster.rs")),
    ("cluster.tls", "ClusterTls", include_str!("../cluster.rs")),
    ("cluster.timing", "Timing", include_str!("../cluster.rs")),
    ("drain", "Drain", include_str!("../drain.rs")),
    ("admin", "Admin", include_str!("../admin.rs")),
    ("admin.tls", "AdminTls", include_str!("../admin.rs")),
    ("admin.clients", "AdminClient", include_str!("../admin.rs")),
    ("audit", "Audit", include_str!("../audit.rs")),
    ("observability", "Observability", include_str!("../observability.rs")),
    ("observability.traces", "Traces", include_str!("../traces.rs")),
    ("limits", "Limits", include_str!("../limits.rs")),
    ("limits.per_source", "Quota", include_str!("../quota.rs")),
    ("store", "Store", include_str!("../store.rs")),
    ("store.redis", "StoreRedis", include_str!("../store.rs")),
    ("log", "Log", include_str!("../log.rs")),
];

const INTRODUCTION: &str = r#"# Configuration

`ringfort serve --config FILE` reads one TOML file; `--config -` reads it from standard input; without `--config` a single node runs
on loopback. `ringfort check FILE` looks a file over without starting anything. Unknown settings are refused, and everything that is
wrong is reported at once, with the remedy. Paths are relative to the directory in which ringfort was started.

A variable of the environment overrides a setting: `RINGFORT__SECTION__KEY`, items of a list by their index, as in
`RINGFORT__LISTENER__0__ADDRESS` or `RINGFORT__CLUSTER__PEERS__2__ADDRESS`. Its value is read as TOML (`true`, `5`, `["*"]`), and as
plain text where it is none.

Editors that know JSON Schema take [config.schema.json](config.schema.json), which `ringfort check --schema` prints too: in VS Code with Even Better
TOML or with Taplo, write `#:schema https://…/config.schema.json` or a path into the first line. What can be changed while a node runs is listed in
[operating.md](operating.md#change-settings-while-it-runs).

Exit codes: 2 wrong command line, 3 wrong settings, 4 a port that is in use or cannot be opened, 5 a certificate or key, 6 the data
directory or the audit log, 12 a node that an operator has removed from its cluster for good, 1 anything else.

```toml
[node]
name = "n1"

[[listener]]
address = "0.0.0.0:8443"
[listener.tls]
certificate = "server.pem"
key = "server.key"

[[realm]]
name = "realm1"
[[realm.roles]]
name = "device"
permissions = [
    { uri = "device.{authid}.", match = "prefix", allow = ["register", "publish"] },
    { uri = "device.", match = "prefix", allow = ["call", "subscribe"] },
]

[[principal]]
realm = "realm1"
authid = "lamp"
role = "device"
ticket = "a long random text"

[cluster]
id = "home-1"
address = "10.0.0.1:7400"
data_dir = "/var/lib/ringfort"
peers = [
    { name = "n1", address = "10.0.0.1:7400" },
    { name = "n2", address = "10.0.0.2:7400" },
    { name = "n3", address = "10.0.0.3:7400" },
]
[cluster.tls]
ca = "ca.pem"
certificate = "n1.pem"
key = "n1.key"
```

This page is made from the source; a test keeps both equal.
"#;

#[test]
fn config_reference_matches_the_structs() {
    let mut text = INTRODUCTION.to_owned();
    for section in SECTIONS {
        describe(section, "", &mut text);
    }
    if let Ok(file) = std::env::var("RINGFORT_WRITE_DOCS") {
        std::fs::write(file, &text).unwrap();
        return;
    }
    let committed = include_str!("../../../../docs/config.md");
    assert!(
        text == committed,
        "docs/config.md is not what the structs say; see the top of this file"
    );
}

fn describe(section: &Section, parent: &str, out: &mut String) {
    let path = format!("{parent}{}", section.key);
    let heading = match (section.repeated, path.contains('.')) {
        (true, false) => format!("[[{path}]]"),
        (true, true) => format!("{path} (a list of tables)"),
        _ => format!("[{path}]"),
    };
    writeln!(out, "\n## {heading}\n\n{}\n", about(&path)).unwrap();
    for key in (section.keys)() {
        writeln!(out, "- **`{key}`** — {}", meaning(&path, key)).unwrap();
    }
    for inner in section.sections {
        describe(inner, &format!("{path}."), out);
    }
}

fn source(path: &str) -> (&'static str, &'static str) {
    let found = SOURCES.iter().find(|(key, ..)| *key == path);
    let (_, name, source) = found.expect("each section has its source here");
    (name, source)
}

/// What the section at that path is about.
pub(super) fn about(path: &str) -> String {
    let (name, source) = source(path);
    doc_before(source, &format!("pub struct {name} {{"))
}

/// What a key of the section at that path means.
pub(super) fn meaning(path: &str, key: &str) -> String {
    let (name, source) = source(path);
    let body = source
        .split(&format!("pub struct {name} {{"))
        .nth(1)
        .and_then(|rest| rest.split("\n}").next())
        .unwrap();
    // A key that is a word of the language is written with r# before it.
    let body = body.replace("pub r#", "pub ");
    let doc = doc_before(&body, &format!("pub {key}:"));
    assert!(!doc.is_empty(), "{path}.{key} has no doc comment");
    doc
}

/// The doc comment above the line that begins with `item`, as one paragraph per paragraph.
fn doc_before(source: &str, item: &str) -> String {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with(item))
        .unwrap_or_else(|| panic!("{item} is not in the source"));
    let is_above = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let mut doc: Vec<&str> = lines[..at]
        .iter()
        .rev()
        .take_while(is_above)
        .filter_map(|line| line.strip_prefix("///"))
        .collect();
    doc.reverse();
    let mut text = String::new();
    for line in doc {
        match line.trim() {
            "" => text.push_str("\n\n"),
            line if text.is_empty() || text.ends_with('\n') => text.push_str(line),
            line => write!(text, " {line}").unwrap(),
        }
    }
    text
}
