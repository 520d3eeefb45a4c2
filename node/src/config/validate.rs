//! The checks of values and of the relations between them, all in this one place.

use std::{collections::HashSet, time::Duration};

use super::{
    ClientCertificates, Config, Drain, Fault, Listener, Match, Node, Pages, Principal, Problem, Quota, Realm, RightsFrom,
    StoreKind, Timing,
    certificate::{self, Identity},
    drain::MOST as LONGEST_DRAIN,
    membership, traces,
};
use crate::{
    auth::{CertificateMatch, Credential, cryptosign::unhex, kdf::PBKDF2_ITERATIONS_MAX},
    wamp::{Uri, UriCheck},
};

/// Everything that is wrong with settings whose keys and types are right.
pub(super) fn validate(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    node(config, &mut problems);
    listeners(config, &mut problems);
    realms_and_principals(config, &mut problems);
    cluster(config, &mut problems);
    timing(&config.cluster.timing, &mut problems);
    drain(config, &mut problems);
    ports(config, &mut problems);
    limits(config, &mut problems);
    audit(config, &mut problems);
    seeds(config, &mut problems);
    kept(config, &mut problems);
    traces::validate(&config.observability.traces, &mut problems);
    if !config.log.is_level() {
        let remedy = "write error, warn, info, debug or trace, or info,ringfort::cluster=debug";
        problems.push(Problem::new("log.level", "not a log level", remedy).value(quoted(&config.log.level)));
    }
    problems
}

fn node(config: &Config, problems: &mut Vec<Problem>) {
    cryptosign_key(config, problems);
    if !Node::is_name(&config.node.name) {
        problems.push(bad_name("node.name", &config.node.name));
    }
    if config.node.worker_threads > 1024 {
        let problem = Problem::new(
            "node.worker_threads",
            "more threads than any machine has cores",
            "write 0 for one per core",
        );
        problems.push(problem.value(config.node.worker_threads));
    }
}

fn drain(config: &Config, problems: &mut Vec<Problem>) {
    let drain = &config.drain;
    if drain.goodbyes_per_sec == 0 {
        let remedy = "write how many sessions are told GOODBYE in a second, such as 200";
        problems.push(Problem::new("drain.goodbyes_per_sec", "nobody would ever be told", remedy).value(0));
    }
    if drain.callee_wait_ms > Drain::CALLEE_WAIT_MAX_MS {
        let remedy = "write at most 60000";
        problems.push(Problem::new("drain.callee_wait_ms", "callers would wait too long", remedy).value(drain.callee_wait_ms));
    }
    let sum = config.stops_within();
    if sum > LONGEST_DRAIN {
        let what = "the bounds of [drain] and node.drain_secs come to more than an hour";
        let remedy = "lower load_balancer_delay_ms, leadership_ms, open_calls_ms, window_ms or node.drain_secs";
        problems.push(Problem::new("drain", what, remedy).value(quoted(format!("{} s", sum.as_secs()))));
    }
}

fn cryptosign_key(config: &Config, problems: &mut Vec<Problem>) {
    if let Some(file) = &config.node.cryptosign_key
        && !std::fs::read_to_string(file).is_ok_and(|text| unhex(text.trim()).is_some())
    {
        let what = "no file that can be read and holds 64 digits of hex";
        let remedy = "make one with: openssl rand -hex 32 > FILE, and chmod 600 FILE";
        problems.push(Problem::new("node.cryptosign_key", what, remedy).value(quoted(file.display())));
    }
}

fn listeners(config: &Config, problems: &mut Vec<Problem>) {
    let mut addresses = HashSet::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let path = format!("listener[{index}]");
        if listener.address.port() != 0 && !addresses.insert(listener.address) {
            let problem = Problem::new(
                format!("{path}.address"),
                "another listener has this address",
                "give each its own port",
            );
            problems.push(problem.value(quoted(listener.address)));
        }
        if !is_http_path(&listener.path) {
            let problem = Problem::new(
                format!("{path}.path"),
                "not the path of a web address",
                "write a path such as /ws",
            );
            problems.push(problem.value(quoted(&listener.path)));
        }
        for (at, origin) in listener.origins.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
            let remedy = "write https://HOST or https://HOST:PORT without a path, or * for any";
            problems.push(Problem::new(format!("{path}.origins[{at}]"), "not a web origin", remedy).value(quoted(origin)));
        }
        pages(&path, listener, problems);
        longpoll(&path, listener, problems);
        if let Some(tls) = &listener.tls {
            let path = format!("{path}.tls");
            certificate::check_pair(&path, &tls.certificate, &tls.key, problems);
            for (at, pair) in tls.also.iter().enumerate() {
                certificate::check_pair(&format!("{path}.also[{at}]"), &pair.certificate, &pair.key, problems);
            }
            if tls.client_certificates != ClientCertificates::Off {
                certificate::check_authorities(&format!("{path}.client_ca"), &tls.client_ca, problems);
            }
        }
    }
}

fn longpoll(path: &str, listener: &Listener, problems: &mut Vec<Problem>) {
    if let Some(taken) = listener.compat.longpoll_taken
        && !matches!(taken, 202 | 204)
    {
        let path = format!("{path}.compat.longpoll_taken");
        problems.push(Problem::new(path, "no status that clients expect", "write 202 or 204").value(taken));
    }
    let Some(longpoll) = &listener.longpoll else { return };
    let path = format!("{path}.longpoll");
    if !is_http_path(&longpoll.path) {
        let problem = Problem::new(
            format!("{path}.path"),
            "not the path of a web address",
            "write a path such as /lp",
        );
        problems.push(problem.value(quoted(&longpoll.path)));
    }
    for (key, seconds) in [("wait_secs", longpoll.wait_secs), ("idle_secs", longpoll.idle_secs)] {
        if !(1..=3600).contains(&seconds) {
            problems.push(Problem::new(format!("{path}.{key}"), "out of range", "write 1 to 3600").value(seconds));
        }
    }
}

fn pages(path: &str, listener: &Listener, problems: &mut Vec<Problem>) {
    if let Pages::Directory(directory) = &listener.pages
        && !directory.is_dir()
    {
        let remedy = "name a directory, or lamp for the built-in page, or leave it out";
        problems.push(Problem::new(format!("{path}.pages"), "no such directory", remedy).value(quoted(directory.display())));
    }
}

fn topics(index: usize, realm: &Realm, problems: &mut Vec<Problem>) {
    let mut known = HashSet::new();
    for (at, topic) in realm.topics.iter().enumerate() {
        let path = format!("realm[{index}].topics[{at}].uri");
        let spaced = topic.uri.contains(|c: char| c == '#' || c.is_whitespace());
        let empty_parts = topic
            .uri
            .split('.')
            .rev()
            .skip(usize::from(topic.r#match == Match::Prefix))
            .any(str::is_empty);
        if spaced || empty_parts && topic.r#match != Match::Wildcard {
            let remedy = "join words by dots, without spaces and #; only a wildcard pattern has empty ones, a prefix the last";
            problems.push(Problem::new(path, "not a topic or pattern", remedy).value(quoted(&topic.uri)));
        } else if !known.insert((topic.r#match as u8, topic.uri.as_str())) {
            let problem = Problem::new(path, "this topic or pattern stands here twice", "put its rules together");
            problems.push(problem.value(quoted(&topic.uri)));
        }
    }
}

fn definitions(index: usize, realm: &Realm, problems: &mut Vec<Problem>) {
    let mut known = HashSet::new();
    for (at, definition) in realm.definitions.iter().enumerate() {
        let path = |key| format!("realm[{index}].definitions[{at}].{key}");
        if definition.uri.is_empty() && definition.r#match == Match::Exact {
            problems.push(missing(&path("uri"), "name the topic, procedure or error"));
        } else if !known.insert((definition.r#type, definition.r#match, definition.uri.as_str())) {
            let problem = Problem::new(
                path("uri"),
                "this URI or pattern stands here twice",
                "put its definitions together",
            );
            problems.push(problem.value(quoted(&definition.uri)));
        }
        match (&definition.json, &definition.file) {
            (None, None) => problems.push(missing(&path("json"), "write the definition as JSON text, or name a file")),
            (Some(_), Some(_)) => {
                let remedy = "write either json or file";
                problems.push(Problem::new(path("file"), "the definition is given twice", remedy));
            }
            (Some(text), None) if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_err() => {
                let remedy = "write an object, such as '{\"call\": {\"args\": {\"maxItems\": 2}}}'";
                problems.push(Problem::new(path("json"), "not a JSON object", remedy));
            }
            _ => {}
        }
    }
}

/// Roles of one realm, and permissions of one role; each costs memory, and a look where a pattern is asked for.
const ROLES_MAX: usize = 1_000;
const PERMISSIONS_MAX: usize = 1_000;

fn roles(index: usize, realm: &Realm, problems: &mut Vec<Problem>) {
    let mut known = HashSet::new();
    if realm.roles.len() > ROLES_MAX {
        let remedy = format!("write at most {ROLES_MAX}");
        problems.push(Problem::new(format!("realm[{index}].roles"), "too many roles", remedy).value(realm.roles.len()));
    }
    for (at, role) in realm.roles.iter().enumerate() {
        let path = format!("realm[{index}].roles[{at}]");
        if role.name.is_empty() {
            problems.push(missing(&format!("{path}.name"), "name the role, such as device"));
        } else if !known.insert(role.name.as_str()) {
            let problem = Problem::new(
                format!("{path}.name"),
                "this role stands here twice",
                "put its permissions together",
            );
            problems.push(problem.value(quoted(&role.name)));
        }
        if role.permissions.len() > PERMISSIONS_MAX {
            let remedy = format!("write at most {PERMISSIONS_MAX}");
            let problem = Problem::new(format!("{path}.permissions"), "too many permissions", remedy);
            problems.push(problem.value(role.permissions.len()));
        }
        for (at, permission) in role.permissions.iter().enumerate() {
            if let Err(what) = permission.check() {
                let remedy = "see realm.roles.permissions in docs/config.md";
                let problem = Problem::new(format!("{path}.permissions[{at}].uri"), what, remedy);
                problems.push(problem.value(quoted(&permission.uri)));
            }
        }
    }
}

fn realms_and_principals(config: &Config, problems: &mut Vec<Problem>) {
    if config.realms.is_empty() {
        let remedy = "add [[realm]] with name = \"realm1\"";
        problems.push(Problem::new("realm", "no realm is given, so nobody could join", remedy));
    }
    let mut names = HashSet::new();
    for (index, realm) in config.realms.iter().enumerate() {
        let path = format!("realm[{index}].name");
        if realm.name.is_empty() {
            problems.push(missing(&path, "name the realm, such as realm1"));
        } else if !Realm::is_name(&realm.name) {
            let remedy = "join words by dots, without spaces and #, such as com.example.home";
            problems.push(Problem::new(path, "not an URI", remedy).value(quoted(&realm.name)));
        } else if !names.insert(realm.name.as_str()) {
            problems.push(Problem::new(path, "another realm has this name", "give each its own").value(quoted(&realm.name)));
        }
        topics(index, realm, problems);
        definitions(index, realm, problems);
        roles(index, realm, problems);
        deciders(index, realm, problems);
        if realm.anonymous_role.is_empty() {
            problems.push(missing(
                &format!("realm[{index}].anonymous_role"),
                "name a role, such as anonymous",
            ));
        }
    }
    for (index, realm) in config.realms.iter().enumerate() {
        let path = |key| format!("realm[{index}].{key}");
        let max = match realm.call_timeout_max {
            0 => u64::MAX,
            max => max,
        };
        if realm.call_timeout_min > max {
            let problem = Problem::new(
                path("call_timeout_min"),
                "above call_timeout_max",
                "write a smaller one, or 0 for none",
            );
            problems.push(problem.value(realm.call_timeout_min));
        }
        let default = realm.call_timeout_default;
        if default != 0 && !(realm.call_timeout_min..=max).contains(&default) {
            let what = "not between call_timeout_min and call_timeout_max";
            let problem = Problem::new(path("call_timeout_default"), what, "write one between them, or 0 for none");
            problems.push(problem.value(default));
        }
    }
    let mut principals = HashSet::new();
    for (index, principal) in config.principals.iter().enumerate() {
        let path = |key: &str| format!("principal[{index}].{key}");
        if !names.contains(principal.realm.as_str()) {
            let known: Vec<&str> = config.realms.iter().map(|realm| realm.name.as_str()).collect();
            let remedy = format!("write one of the realms: {}", known.join(", "));
            problems.push(Problem::new(path("realm"), "no such realm", remedy).value(quoted(&principal.realm)));
        }
        if principal.authid.is_empty() {
            problems.push(missing(&path("authid"), "name the principal, such as lamp"));
        } else if !principals.insert((&principal.realm, &principal.authid)) {
            let problem = Problem::new(
                path("authid"),
                "another principal of this realm has this name",
                "give each its own",
            );
            problems.push(problem.value(quoted(&principal.authid)));
        }
        if principal.role.is_empty() {
            problems.push(missing(&path("role"), "name a role, such as device"));
        }
        credentials(&path, principal, problems);
    }
}

/// Issuers of tokens, and the procedures that decide who comes in and who may do what.
fn deciders(index: usize, realm: &Realm, problems: &mut Vec<Problem>) {
    let mut issuers = HashSet::new();
    for (at, jwt) in realm.jwt.iter().enumerate() {
        let path = |key: &str| format!("realm[{index}].jwt[{at}].{key}");
        for (key, what, remedy) in jwt.check() {
            problems.push(Problem::new(path(key), what, remedy));
        }
        if !issuers.insert(&jwt.issuer) {
            let problem = Problem::new(path("issuer"), "another issuer has this name", "give each its own");
            problems.push(problem.value(quoted(&jwt.issuer)));
        }
    }
    let procedures = [("authenticator", &realm.authenticator), ("authorizer", &realm.authorizer)];
    let mut procedures: Vec<_> = procedures.map(|(key, uri)| (format!("realm[{index}].{key}"), uri)).to_vec();
    let roles = realm.roles.iter().enumerate();
    procedures.extend(roles.map(|(at, role)| (format!("realm[{index}].roles[{at}].authorizer"), &role.authorizer)));
    for (path, uri) in procedures {
        let named = Uri::from(uri.as_str());
        if !uri.is_empty() && (!named.is_uri(UriCheck::Loose) || named.is_of_the_router()) {
            let remedy = "write the URI of a procedure that a client of the realm registers, such as com.example.decide";
            problems.push(Problem::new(path, "not a procedure of a client", remedy).value(quoted(uri)));
        }
    }
    for (key, value) in [
        ("authenticator_timeout_ms", realm.authenticator_timeout_ms),
        ("authorizer_timeout_ms", realm.authorizer_timeout_ms),
    ] {
        if !(10..=60_000).contains(&value) {
            let problem = Problem::new(format!("realm[{index}].{key}"), "out of range", "write 10 to 60000");
            problems.push(problem.value(value));
        }
    }
    if realm.authorizer_cache_secs > 86_400 {
        let path = format!("realm[{index}].authorizer_cache_secs");
        problems.push(Problem::new(path, "out of range", "write 0 to 86400").value(realm.authorizer_cache_secs));
    }
}

fn credentials(path: &dyn Fn(&str) -> String, principal: &Principal, problems: &mut Vec<Problem>) {
    let given: Vec<_> = principal
        .secrets()
        .into_iter()
        .filter(|(_, one)| !one.expose().is_empty())
        .collect();
    for (key, secret) in &given {
        if secret.expose().len() < SECRET_BYTES_MIN {
            let what = format!("shorter than {SECRET_BYTES_MIN} characters");
            let remedy = "write a long random text, such as 24 characters of a password tool";
            problems.push(Problem::new(path(key), what, remedy));
        }
    }
    if given.is_empty() && principal.credentials().next().is_none() {
        let remedy = "write ticket, wampcra, scram, public_keys, certificates or verifiers, or remove the principal";
        problems.push(Problem::new(
            path("ticket"),
            "this principal has no credential, so it could never join",
            remedy,
        ));
    }
    if !principal.kdf().is_sane() {
        let what = "no cost that can be paid";
        let remedy = "write 1 to 10000000 for pbkdf2; 1 to 10000 and 8 to 1048576 KiB of scram_memory for argon2id13";
        problems.push(Problem::new(path("scram_iterations"), what, remedy).value(principal.scram_iterations));
    }
    if principal.wampcra_iterations > PBKDF2_ITERATIONS_MAX {
        let remedy = format!("write at most {PBKDF2_ITERATIONS_MAX}, or 0 for none");
        let problem = Problem::new(path("wampcra_iterations"), "no cost that can be paid", remedy);
        problems.push(problem.value(principal.wampcra_iterations));
    }
    for (key, text) in principal.credentials() {
        if let Err(error) = text.parse::<Credential>() {
            let remedy = "write it as docs/config.md says; ringfort credential makes verifiers";
            problems.push(Problem::new(path(&key), error.to_string(), remedy));
        }
    }
}

/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 8;

fn cluster(config: &Config, problems: &mut Vec<Problem>) {
    let cluster = &config.cluster;
    if !Node::is_name(&cluster.id) {
        problems.push(bad_name("cluster.id", &cluster.id));
    }
    let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
    for (index, peer) in cluster.peers.iter().enumerate() {
        let path = |key| format!("cluster.peers[{index}].{key}");
        if !Node::is_name(&peer.name) {
            problems.push(bad_name(&path("name"), &peer.name));
        } else if !names.insert(&peer.name) {
            problems
                .push(Problem::new(path("name"), "another peer has this name", "give each its own").value(quoted(&peer.name)));
        }
        if peer.address.host.is_empty() || peer.address.port == 0 {
            problems.push(missing(
                &path("address"),
                "write the host and port that the other nodes dial, such as 10.0.0.1:7400",
            ));
        } else if !addresses.insert(&peer.address) {
            let problem = Problem::new(path("address"), "another peer has this address", "give each its own");
            problems.push(problem.value(quoted(&peer.address)));
        }
    }
    membership::check(config, problems);
    if !cluster.is_single() && cluster.address.port() == 0 {
        let problem = Problem::new(
            "cluster.address",
            "port 0 is chosen at random, so no peer could dial it",
            "write a fixed port",
        );
        problems.push(problem.value(quoted(cluster.address)));
    }
    if !cluster.is_single() && !cluster.is_loopback() {
        if cluster.tls.is_none() {
            let remedy = "make certificates with ringfort ca, then add [cluster.tls] with ca, certificate and key";
            problems.push(Problem::new(
                "cluster.tls",
                "missing, though the cluster reaches beyond this machine",
                remedy,
            ));
        }
        if cluster.id == super::Cluster::DEFAULT_ID {
            let remedy = "name the cluster, the same on all its nodes, such as home-1";
            problems.push(Problem::new(
                "cluster.id",
                "missing, though the cluster reaches beyond this machine",
                remedy,
            ));
        }
    }
    if let Some(tls) = &cluster.tls {
        let identity = Identity {
            cluster_id: &cluster.id,
            node_name: &config.node.name,
        };
        certificate::check_cluster("cluster.tls", tls, identity, problems);
    }
    if let Some(directory) = &cluster.data_dir
        && directory.exists()
        && !directory.is_dir()
    {
        let problem = Problem::new(
            "cluster.data_dir",
            "not a directory",
            "name a directory that only this node uses",
        );
        problems.push(problem.value(quoted(directory.display())).fault(Fault::DataDirectory));
    }
}

fn timing(timing: &Timing, problems: &mut Vec<Problem>) {
    let mut complain = |key: &str, value: u64, what: &str, remedy: String| {
        problems.push(Problem::new(format!("cluster.timing.{key}"), what, remedy).value(value));
    };
    if timing.heartbeat_ms == 0 || timing.heartbeat_ms > timing.election_min_ms / 3 {
        let remedy = format!("write 1 to {}, a third of election_min_ms", timing.election_min_ms / 3);
        complain(
            "heartbeat_ms",
            timing.heartbeat_ms,
            "one lost heartbeat would start an election",
            remedy,
        );
    }
    if timing.election_max_ms <= timing.election_min_ms {
        let remedy = format!("write more than election_min_ms, {}", timing.election_min_ms);
        complain("election_max_ms", timing.election_max_ms, "campaigns would collide", remedy);
    }
    if timing.renew_ms == 0 {
        complain("renew_ms", 0, "a node would only renew its lease", "write 500".to_owned());
    }
    let ceiling = Duration::from_secs(3600).as_millis() as u64;
    for (key, value) in [
        ("election_max_ms", timing.election_max_ms),
        ("lease_ttl_ms", timing.lease_ttl_ms),
    ] {
        if value > ceiling {
            complain(key, value, "longer than an hour", format!("write at most {ceiling}"));
            return;
        }
    }
    let lease = timing.lease_ttl_ms.saturating_mul(3) / 4;
    let election = Timing::LEADER_LEASE.as_millis() as u64 + timing.election_max_ms.saturating_mul(2);
    if lease <= timing.renew_ms.saturating_add(election) {
        let least = timing.renew_ms.saturating_add(election).saturating_mul(4) / 3 + 3;
        let what = "0.75 · lease_ttl − renew must exceed the leader lease (1 s) + 2 · election_max, or an election ends leases";
        complain(
            "lease_ttl_ms",
            timing.lease_ttl_ms,
            what,
            format!("write at least {least}, or lower election_max_ms or renew_ms"),
        );
    }
}

/// Ports that only this machine may reach, and ports that two parts want.
fn ports(config: &Config, problems: &mut Vec<Problem>) {
    admin(config, problems);
    let mut taken: Vec<(String, std::net::SocketAddr)> = Vec::new();
    let listeners = config
        .listeners
        .iter()
        .enumerate()
        .map(|(index, l)| (format!("listener[{index}].address"), Some(l.address)));
    let cluster = (!config.cluster.is_single()).then_some(config.cluster.address);
    let others = [
        ("cluster.address".to_owned(), cluster),
        ("admin.address".to_owned(), config.admin.address.0),
        ("observability.address".to_owned(), config.observability.address.0),
    ];
    for (path, address) in listeners.chain(others) {
        let Some(address) = address.filter(|address| address.port() != 0) else {
            continue;
        };
        let clash = taken.iter().find(|(other, t)| {
            let overlap = t.ip() == address.ip() || t.ip().is_unspecified() || address.ip().is_unspecified();
            // Two equal listeners were reported already.
            t.port() == address.port()
                && overlap
                && !(path.starts_with("listener") && other.starts_with("listener") && *t == address)
        });
        if let Some((other, _)) = clash {
            let problem = Problem::new(&path, format!("{other} has the same port"), "give each its own port");
            problems.push(problem.value(quoted(address)));
        }
        taken.push((path, address));
    }
}

/// All quotas, each with where it stands.
fn quotas(config: &Config) -> impl Iterator<Item = (String, &Quota)> {
    let listeners = config.listeners.iter().enumerate();
    let listeners = listeners.map(|(at, listener)| (format!("listener[{at}].quota"), &listener.quota));
    let realms = config.realms.iter().enumerate().flat_map(|(at, realm)| {
        let roles = realm.roles.iter().enumerate().flat_map(move |(role_at, role)| {
            let path = format!("realm[{at}].roles[{role_at}]");
            [
                (format!("{path}.quota"), &role.quota),
                (format!("{path}.per_principal"), &role.per_principal),
            ]
        });
        std::iter::once((format!("realm[{at}].quota"), &realm.quota)).chain(roles)
    });
    let sources = std::iter::once(("limits.per_source".to_owned(), &config.limits.per_source));
    listeners.chain(realms).chain(sources)
}

fn admin(config: &Config, problems: &mut Vec<Problem>) {
    let admin = &config.admin;
    if let Some(address) = admin.address.0.filter(|address| !address.ip().is_loopback())
        && admin.tls.is_none()
    {
        let remedy = "add [admin.tls] and [[admin.clients]], or write 127.0.0.1 and a port, or off";
        problems.push(
            Problem::new("admin.address", "reachable from other machines, with no key to it", remedy).value(quoted(address)),
        );
    }
    for (index, client) in admin.clients.iter().enumerate() {
        if CertificateMatch::from_text(&client.certificate).is_none() {
            let path = format!("admin.clients[{index}].certificate");
            let remedy = "write cn:NAME, dns:NAME, email:ADDRESS, uri:URI or sha256:FINGERPRINT";
            problems.push(Problem::new(path, "names no certificate", remedy).value(quoted(&client.certificate)));
        }
    }
    let Some(tls) = &admin.tls else { return };
    certificate::check_pair("admin.tls", &tls.certificate, &tls.key, problems);
    certificate::check_authorities("admin.tls.client_ca", &tls.client_ca, problems);
    if admin.clients.is_empty() {
        let remedy = "add [[admin.clients]] with certificate = \"cn:NAME\" and role = \"owner\"";
        problems.push(Problem::new("admin.clients", "nobody could do anything there", remedy));
    }
}

/// The seeds of a realm go through the log as one entry.
fn seeds(config: &Config, problems: &mut Vec<Problem>) {
    for (index, realm) in config.realms.iter().enumerate() {
        let principals = config
            .principals
            .iter()
            .filter(|principal| principal.realm == realm.name)
            .count();
        if realm.rights == RightsFrom::Seed && (principals > SEEDS_MAX || realm.roles.len() > SEED_ROLES_MAX) {
            let what = format!("a realm begins with at most {SEEDS_MAX} principals and {SEED_ROLES_MAX} roles");
            let remedy = "add the others with ringfort admin once it runs";
            problems.push(Problem::new(format!("realm[{index}].rights"), what, remedy).value(principals));
        }
    }
}

/// Principals with which a realm may begin.
const SEEDS_MAX: usize = 10_000;
/// Roles with which a realm may begin.
const SEED_ROLES_MAX: usize = 1_000;

fn audit(config: &Config, problems: &mut Vec<Problem>) {
    let audit = &config.audit;
    if audit.path.as_ref().is_some_and(|path| path.file_name().is_none()) {
        problems.push(Problem::new(
            "audit.path",
            "not the name of a file",
            "write the path of a file that may be made",
        ));
    }
    if audit.rotate_bytes < 4_096 {
        let problem = Problem::new(
            "audit.rotate_bytes",
            "a file would hold hardly a record",
            "write 4096 or more",
        );
        problems.push(problem.value(audit.rotate_bytes));
    }
    if !(1..=1_000_000).contains(&audit.refusals_max) {
        let problem = Problem::new("audit.refusals_max", "not from 1 to 1000000", "write 4096");
        problems.push(problem.value(audit.refusals_max));
    }
}

fn limits(config: &Config, problems: &mut Vec<Problem>) {
    for (path, quota) in quotas(config) {
        let bytes = quota.message_bytes_max;
        if bytes != 0 && !(512..=config.limits.message_bytes_max).contains(&bytes) {
            let remedy = "write at least 512, at most limits.message_bytes_max, or 0 for no limit of its own";
            let problem = Problem::new(format!("{path}.message_bytes_max"), "out of range", remedy);
            problems.push(problem.value(bytes));
        }
    }
    let limits = &config.limits;
    if limits.failed_logins_delay_max_ms >= limits.handshake_secs.saturating_mul(1000) {
        let what = "not below handshake_secs, so whoever waits would be cut off";
        let remedy = format!("write less than {}", limits.handshake_secs.saturating_mul(1000));
        let problem = Problem::new("limits.failed_logins_delay_max_ms", what, remedy);
        problems.push(problem.value(limits.failed_logins_delay_max_ms));
    }
    if limits.failed_logins_forget_secs == 0 {
        let problem = Problem::new("limits.failed_logins_forget_secs", "nothing would be remembered", "write 30");
        problems.push(problem.value(0));
    }
    let limits = &config.limits;
    let mut demand = |ok: bool, key: &str, value: u64, what: &str, remedy: &str| {
        if !ok {
            problems.push(Problem::new(format!("limits.{key}"), what, remedy).value(value));
        }
    };
    let counts = [
        ("sessions_max", limits.sessions_max),
        ("outbox_messages_max", limits.outbox_messages_max),
        ("subscriptions_per_session_max", limits.subscriptions_per_session_max),
        ("meta_calls_max", limits.meta_calls_max),
        ("meta_call_bytes_max", limits.meta_call_bytes_max),
        ("testaments_per_session_max", limits.testaments_per_session_max),
        ("schema_payload_bytes_max", limits.schema_payload_bytes_max),
        ("registrations_per_session_max", limits.registrations_per_session_max),
        ("calls_per_session_max", limits.calls_per_session_max),
    ];
    for (key, value) in counts {
        demand(
            value > 0,
            key,
            0,
            "nothing would be allowed at all",
            "write at least 1, or leave it out",
        );
    }
    let bytes = limits.message_bytes_max as u64;
    let range = (512..=16 * 1024 * 1024).contains(&bytes);
    demand(
        range,
        "message_bytes_max",
        bytes,
        "outside of what RawSocket can carry",
        "write 512 to 16777216",
    );
    let bytes = limits.handshake_bytes_max as u64;
    demand(
        bytes >= 1024,
        "handshake_bytes_max",
        bytes,
        "too small for the request of a browser",
        "write at least 1024",
    );
    let bytes = limits.handshake_message_bytes_max;
    demand(
        (1024..=limits.handshake_bytes_max.max(1024)).contains(&bytes),
        "handshake_message_bytes_max",
        bytes as u64,
        "too small for the request of a browser, or above handshake_bytes_max",
        "write at least 1024, at most handshake_bytes_max",
    );
    let outbox = limits.outbox_bytes_max;
    let fits = outbox >= limits.message_bytes_max;
    demand(
        fits,
        "outbox_bytes_max",
        outbox as u64,
        "less than limits.message_bytes_max, so the largest message fits no outbox",
        "raise it",
    );
    let ranges = [
        ("depth_max", limits.depth_max as u64, 8..=256),
        ("meta_wait_ms", limits.meta_wait_ms, 1..=60_000),
        ("overlap_wait_ms", limits.overlap_wait_ms, 1..=60_000),
        ("handshake_secs", limits.handshake_secs, 1..=300),
        ("keepalive_secs", limits.keepalive_secs, 1..=3600),
    ];
    for (key, value, range) in ranges {
        let remedy = format!("write {} to {}", range.start(), range.end());
        demand(range.contains(&value), key, value, "out of range", &remedy);
    }
    let (dead, alive) = (limits.dead_peer_secs, limits.keepalive_secs);
    let above = dead > alive && dead <= 7200;
    demand(
        above,
        "dead_peer_secs",
        dead,
        "a client would count as dead before it could answer a ping",
        "write more than keepalive_secs, at most 7200",
    );
}

/// Topics of which something is kept, and the stores.
fn kept(config: &Config, problems: &mut Vec<Problem>) {
    for (index, realm) in config.realms.iter().enumerate() {
        if realm.topics.len() > TOPICS_MAX {
            let problem = Problem::new(
                format!("realm[{index}].topics"),
                "too many entries",
                format!("write at most {TOPICS_MAX}"),
            );
            problems.push(problem.value(realm.topics.len()));
        }
        for (at, topic) in realm.topics.iter().enumerate() {
            let path = |key: &str| format!("realm[{index}].topics[{at}].{key}");
            if topic.store == StoreKind::Redis && config.store.redis.is_none() {
                let remedy = "add [store.redis] with url = \"redis://host:6379/0\", or write embedded";
                problems.push(Problem::new(path("store"), "no Redis server is given", remedy));
            }
            if let Some(history) = topic
                .history
                .as_ref()
                .filter(|history| history.max_events == 0 || history.max_bytes == 0)
            {
                let remedy = "write at least 1, or leave history out";
                let what = "a history that keeps nothing";
                problems.push(Problem::new(path("history"), what, remedy).value(history.max_events.min(history.max_bytes)));
            }
        }
    }
    let store = &config.store;
    let mut at_least = |key: &str, value: usize, least: usize| {
        if value < least {
            let remedy = format!("write at least {least}");
            problems.push(Problem::new(format!("store.{key}"), "too small to work", remedy).value(value));
        }
    };
    at_least("retained_topics_max", store.retained_topics_max, 1);
    at_least("retained_bytes_max", store.retained_bytes_max, 4096);
    at_least("answer_events_max", store.answer_events_max, 1);
    at_least("answer_bytes_max", store.answer_bytes_max, 128);
    at_least("queue_bytes_max", store.queue_bytes_max, config.limits.message_bytes_max);
    at_least("queries_max", store.queries_max, 1);
    at_least("cache_bytes", store.cache_bytes, 1 << 20);
    // The default stands for whatever messages are allowed: it is lowered with them.
    if store.answer_bytes_max > config.limits.message_bytes_max / 4
        && store.answer_bytes_max != super::Store::default().answer_bytes_max
    {
        let remedy = format!(
            "write at most {}, or raise limits.message_bytes_max",
            config.limits.message_bytes_max / 4
        );
        let what = "an answer might not fit a message";
        problems.push(Problem::new("store.answer_bytes_max", what, remedy).value(store.answer_bytes_max));
    }
    if let Some(redis) = &store.redis {
        let known = ["redis://", "rediss://"]
            .iter()
            .any(|scheme| redis.url.expose().starts_with(scheme));
        if !known {
            let remedy = "write redis://host:6379/0, or rediss:// for TLS";
            problems.push(Problem::new("store.redis.url", "not the address of a Redis server", remedy));
        }
        if redis.prefix.is_empty() || redis.prefix.contains(['{', '}']) {
            let remedy = "name a text such as ringfort, without braces";
            problems
                .push(Problem::new("store.redis.prefix", "not usable in the names of keys", remedy).value(quoted(&redis.prefix)));
        }
        if redis.timeout_ms == 0 || redis.timeout_ms > 60_000 {
            let problem = Problem::new("store.redis.timeout_ms", "out of range", "write 1 to 60000");
            problems.push(problem.value(redis.timeout_ms));
        }
    }
}

/// Entries of one realm; each costs memory and a look where its patterns match.
const TOPICS_MAX: usize = 10_000;

fn is_http_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 512
        && path
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'"' | b'<' | b'>'))
}

fn is_origin(origin: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return matches!(origin, "*" | "null");
    };
    let is_scheme =
        scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_scheme
        && !authority.is_empty()
        && authority
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'?' | b'#' | b'@' | b'*'))
}

fn bad_name(path: &str, name: &str) -> Problem {
    if name.is_empty() {
        return missing(path, "name it, such as n1");
    }
    let remedy = "use letters, digits, -, _ and ., at most 63";
    Problem::new(path, "not usable as a name", remedy).value(quoted(name))
}

pub(super) fn missing(path: &str, remedy: &str) -> Problem {
    Problem::new(path, "missing", remedy)
}

pub(super) fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}
