mod certificates;
mod json_schema;
mod reference;

use std::path::PathBuf;

use super::*;

/// The configuration from `text` with `variables` of the environment, or the report as an operator reads it.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::from_text(text, false, environment).map_err(|problems| {
        Report {
            source_name: "n1.toml".to_owned(),
            problems,
        }
        .to_string()
    })
}

/// Asserts that the report on `text` has all of `parts`.
#[track_caller]
fn refused(text: &str, variables: &[(&str, &str)], parts: &[&str]) {
    let report = load(text, variables).expect_err("must be refused");
    for part in parts {
        assert!(report.contains(part), "{part:?} is missing in:\n{report}");
    }
}

const REALM: &str = "[[realm]]\nname = \"realm1\"\n";

#[test]
fn the_built_in_settings_are_the_default() {
    let config = Config::load(&Source::BuiltIn, []).unwrap();
    assert_eq!(config.redacted(), Config::default().redacted());
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(
        (config.realms[0].name.as_str(), config.realms[0].anonymous),
        ("realm1", Anonymous::Loopback)
    );
    assert!(config.cluster.is_single() && config.cluster.data_dir.is_none());
}

#[test]
fn a_whole_cluster_file_reads_as_written() {
    let text = r#"
        [node]
        name = "n2"
        [[listener]]
        address = "127.0.0.1:0"
        origins = ["*", "https://example.org:8443"]
        pages = "lamp"
        [[realm]]
        name = "com.example.Haus"
        anonymous = "on"
        uri_check = "strict"
        disclose = "deny"
        trustlevels = { device = 2 }
        call_timeout_default = 30000
        timeout_unit = "s"
        [[principal]]
        realm = "com.example.Haus"
        authid = "lamp"
        role = "device"
        ticket = "long enough"
        [cluster]
        peers = [{ name = "n1", address = "127.0.0.1:7401" }, { name = "n2", address = "localhost:7402" }, { name = "n3", address = "[::1]:7403" }]
        address = "127.0.0.1:7402"
        [observability]
        address = "off"
    "#;
    let config = load(text, &[]).unwrap();
    assert_eq!(config.node.name, "n2");
    assert_eq!(config.listeners[0].pages, Pages::Lamp);
    assert_eq!(config.realms[0].uri_check, UriCheck::Strict);
    let realm = &config.realms[0];
    assert_eq!((realm.disclose, realm.timeout_unit), (Disclose::Deny, TimeoutUnit::Seconds));
    assert_eq!((realm.call_timeout_default, realm.trustlevels["device"]), (30_000, 2));
    assert_eq!(config.principals[0].ticket.expose(), "long enough");
    assert_eq!(
        config.cluster.peer("n3").unwrap().address,
        HostPort {
            host: "::1".to_owned(),
            port: 7403
        }
    );
    assert!(config.cluster.is_loopback() && !config.cluster.is_single());
    assert_eq!(config.observability.address, Bind(None));
}

#[test]
fn every_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    let text = "[node]\nnmae = \"n1\"\n\n[[listener]]\n  adress = \"127.0.0.1:1\"\n[listeners]\n[[realm]]\nname = \"r\"\n";
    refused(
        text,
        &[],
        &["3 problems", "n1.toml:2:1: node.nmae: unknown setting", "did you mean name?"],
    );
    refused(
        text,
        &[],
        &["n1.toml:5:3: listener[0].adress: unknown setting", "did you mean address?"],
    );
    refused(
        text,
        &[],
        &["n1.toml:6:2: listeners: unknown setting", "did you mean listener?"],
    );
    refused(
        &format!("{REALM}zebra = 1"),
        &[],
        &["realm[0].zebra: unknown setting", "remove it; known here: name, anonymous"],
    );
}

#[test]
fn wrong_types_and_values_are_named_in_an_operators_words() {
    let refused = |text: &str, part: &str| refused(&format!("{REALM}{text}"), &[], &[part, "n1.toml:"]);
    refused(
        "[node]\nworker_threads = \"two\"",
        "node.worker_threads = \"two\": wrong type: a whole number from 0 is expected",
    );
    refused(
        "[node]\nworker_threads = -1",
        "node.worker_threads = -1: out of range: a whole number from 0 is expected",
    );
    refused(
        "anonymous = \"yes\"",
        "realm[0].anonymous = \"yes\": not one of the values off, loopback, on",
    );
    refused(
        "timeout_unit = \"min\"",
        "realm[0].timeout_unit = \"min\": not one of the values ms or s",
    );
    refused(
        "call_timeout_min = 9\ncall_timeout_max = 8",
        "realm[0].call_timeout_min = 9: above call_timeout_max",
    );
    refused(
        "call_timeout_default = 9\ncall_timeout_max = 8",
        "realm[0].call_timeout_default = 9: not between",
    );
    refused("anonymous = true", "realm[0].anonymous = true: ");
    refused(
        "[[listener]]\naddress = \"localhost\"",
        "listener[0].address = \"localhost\": not an IP address and port",
    );
    refused(
        "[[listener]]\nrawsocket = 1",
        "listener[0].rawsocket = 1: wrong type: true or false is expected",
    );
    refused(
        "[listener]\naddress = \"127.0.0.1:1\"",
        "write [[listener]] instead of [listener]",
    );
    refused("[[node]]\nname = \"n1\"", "node: wrong type: a section is expected");
    refused(
        "[admin]\naddress = \"0.0.0.0:7500\"",
        "admin.address = \"0.0.0.0:7500\": reachable from other machines",
    );
    refused(
        "[[listener]]\norigins = [\"example.org/x\"]",
        "listener[0].origins[0] = \"example.org/x\": not a web origin",
    );
    refused(
        "[[listener]]\npath = \"ws\"",
        "listener[0].path = \"ws\": not the path of a web address",
    );
    refused(
        "[[listener]]\npages = \"./none\"",
        "listener[0].pages = \"./none\": no such directory",
    );
    refused(
        "[cluster]\npeers = [{ name = \"n1\", address = \"n1\" }]",
        "cluster.peers[0].address = \"n1\": not a host and port",
    );
    refused("[log]\nlevel = \"a=b=c\"", "log.level = \"a=b=c\": not a log level");
}

#[test]
fn relations_between_settings_are_checked() {
    let refused = |text: &str, part: &str| refused(&format!("{REALM}{text}"), &[], &[part]);
    refused(
        "[[realm]]\nname = \"realm1\"",
        "realm[1].name = \"realm1\": another realm has this name",
    );
    refused(
        "[[principal]]\nrealm = \"r\"\nauthid = \"a\"\nrole = \"x\"\nticket = \"12345678\"",
        "principal[0].realm = \"r\": no such realm",
    );
    refused(
        "[[listener]]\n[[listener]]",
        "listener[1].address = \"127.0.0.1:8080\": another listener has this address",
    );
    refused(
        "[admin]\naddress = \"127.0.0.1:8080\"",
        "admin.address = \"127.0.0.1:8080\": listener[0].address has the same port",
    );
    refused(
        "[limits]\nmessage_bytes_max = 65536\noutbox_bytes_max = 4096",
        "limits.outbox_bytes_max = 4096: less than",
    );
    refused(
        "[limits]\nkeepalive_secs = 30",
        "limits.dead_peer_secs = 25: a client would count as dead",
    );
    refused(
        "[limits]\nhandshake_message_bytes_max = 20000",
        "limits.handshake_message_bytes_max = 20000: too small for the request of a browser, or above",
    );
    refused(
        "[limits.per_source]\nmessage_bytes_max = 17",
        "limits.per_source.message_bytes_max = 17: out of range",
    );
    let peers = |list: &str| format!("[cluster]\npeers = [{list}]");
    refused(
        &peers("{ name = \"n2\", address = \"127.0.0.1:1\" }"),
        "this node, n1, is not among the peers",
    );
    let two = "{ name = \"n1\", address = \"127.0.0.1:1\" }, { name = \"n1\", address = \"127.0.0.1:1\" }";
    refused(&peers(two), "cluster.peers[1].name = \"n1\": another peer has this name");
    refused(
        &peers(two),
        "cluster.peers[1].address = \"127.0.0.1:1\": another peer has this address",
    );
    refused(&peers(two), "cluster.peers = 2: not a useful number of voters");
    let one = "peers = [{ name = \"n2\", address = \"127.0.0.1:1\" }]";
    let edge = |more: &str| format!("[cluster]\nkind = \"edge\"\n{more}");
    refused(&edge(""), "cluster.peers: missing");
    refused(
        &edge(&format!("{one}\ndata_dir = \"x\"")),
        "cluster.data_dir = \"x\": an edge node keeps nothing",
    );
    refused(
        &edge(&one.replace("n2", "n1")),
        "this node, n1, is an edge node and has no vote",
    );
    refused(
        &edge(&format!("{one}\naddress = \"0.0.0.0:1\"")),
        "cluster.advertise: missing",
    );
    refused(&edge(&format!("{one}\njoin = true")), "cluster.join = true");
    refused("[cluster]\njoin = true", "cluster.peers: missing");
    refused(
        "[cluster]\nadvertise = \"n1:0\"",
        "cluster.advertise = \"n1:0\": nobody can dial it",
    );
    let far = "{ name = \"n1\", address = \"10.0.0.1:1\" }, { name = \"n2\", address = \"10.0.0.2:1\" }, { name = \"n3\", address = \"n3.example:1\" }";
    refused(
        &peers(far),
        "cluster.tls: missing, though the cluster reaches beyond this machine",
    );
    refused(
        &peers(far),
        "cluster.id: missing, though the cluster reaches beyond this machine",
    );
}

#[test]
fn who_joins_a_running_cluster_need_not_be_among_its_peers() {
    let two = "peers = [{ name = \"n2\", address = \"127.0.0.1:1\" }, { name = \"n3\", address = \"127.0.0.1:2\" }]";
    for kind in ["kind = \"edge\"", "join = true"] {
        let config = load(&format!("{REALM}[cluster]\n{kind}\naddress = \"127.0.0.1:7409\"\n{two}"), &[]).unwrap();
        assert!(!config.cluster.is_single() && !config.cluster.founds());
        assert_eq!(config.cluster.advertised("n1").to_string(), "127.0.0.1:7409");
    }
    let lone = load(&format!("{REALM}[cluster]\nadvertise = \"127.0.0.1:7400\""), &[]).unwrap();
    assert!(!lone.cluster.is_single() && lone.cluster.founds(), "others can join it");
}

#[test]
fn a_lease_must_outlast_an_election() {
    let timing = |text: &str| load(&format!("{REALM}[cluster.timing]\n{text}"), &[]);
    assert!(timing("lease_ttl_ms = 5000").is_ok());
    let report = timing("lease_ttl_ms = 4666").unwrap_err();
    assert!(report.contains("n1.toml:4:1: cluster.timing.lease_ttl_ms = 4666"), "{report}");
    let least = report
        .split("write at least ")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap();
    assert!(
        timing(&format!("lease_ttl_ms = {least}")).is_ok(),
        "the remedy {least} does not work"
    );
    assert!(
        timing("heartbeat_ms = 201")
            .unwrap_err()
            .contains("heartbeat_ms = 201: one lost heartbeat")
    );
    assert!(
        timing("election_max_ms = 600")
            .unwrap_err()
            .contains("campaigns would collide")
    );
    assert!(timing("lease_ttl_ms = 18446744073709551615").is_err());
    assert!(
        timing("lease_ttl_ms = 9223372036854775807\nrenew_ms = 9223372036854775807")
            .unwrap_err()
            .contains("longer than an hour")
    );
}

#[test]
fn syntax_errors_have_a_place_and_no_content() {
    refused(
        "[node\nname = \"n1\"",
        &[],
        &["n1.toml:1:", "not readable as TOML", "remedy:"],
    );
    let report = load("[[principal]]\nticket = \"secret words\nrole = ", &[]).unwrap_err();
    assert!(report.contains("n1.toml:2:") && !report.contains("secret words"), "{report}");
    refused("[node]\nname = \"a\"\nname = \"b\"", &[], &["n1.toml:3:1", "duplicate key"]);
}

#[test]
fn variables_override_the_file() {
    let variables = [
        ("RINGFORT__NODE__NAME", "n7"),
        ("RINGFORT__NODE__WORKER_THREADS", "2"),
        ("RINGFORT__LISTENER__0__ADDRESS", "127.0.0.1:9000"),
        ("RINGFORT__LISTENER__1__ADDRESS", "127.0.0.1:9001"),
        ("RINGFORT__LISTENER__1__ORIGINS", "[\"*\"]"),
        ("RINGFORT__PRINCIPAL__0__REALM", "realm1"),
        ("RINGFORT__PRINCIPAL__0__AUTHID", "7"),
        ("RINGFORT__PRINCIPAL__0__ROLE", "true"),
        ("RINGFORT__PRINCIPAL__0__TICKET", "1234567890"),
        ("RINGFORT_TICKET", "is another variable"),
        ("PATH", "/bin"),
    ];
    let config = load(&format!("{REALM}[node]\nname = \"n1\""), &variables).unwrap();
    assert_eq!((config.node.name.as_str(), config.node.worker_threads), ("n7", 2));
    let addresses: Vec<String> = config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:9000", "127.0.0.1:9001"]);
    assert_eq!(config.listeners[1].origins, ["*"]);
    let principal = &config.principals[0];
    assert_eq!(
        (principal.authid.as_str(), principal.role.as_str(), principal.ticket.expose()),
        ("7", "true", "1234567890")
    );
}

#[test]
fn variables_can_extend_lists_past_nine_in_order() {
    let variables: Vec<(String, String)> = (0..12)
        .map(|i| (format!("RINGFORT__REALM__{i}__NAME"), format!("realm{i}")))
        .rev()
        .collect();
    let config = Config::load(&Source::BuiltIn, variables).unwrap();
    let names: Vec<String> = (0..12).map(|i| format!("realm{i}")).collect();
    assert_eq!(
        config.realms.iter().map(|realm| realm.name.clone()).collect::<Vec<_>>(),
        names
    );
}

#[test]
fn wrong_variables_are_named() {
    refused(
        REALM,
        &[("RINGFORT__NODE__NAEM", "x")],
        &[
            "environment RINGFORT__NODE__NAEM: node.naem: unknown setting",
            "did you mean name?",
        ],
    );
    refused(
        REALM,
        &[("RINGFORT__LISTENER__5__PATH", "/x")],
        &["RINGFORT__LISTENER__5__PATH", "index 5 skips some"],
    );
    refused(
        REALM,
        &[("RINGFORT__NODE__WORKER_THREADS", "many")],
        &["environment RINGFORT__NODE__WORKER_THREADS", "= \"many\": wrong type"],
    );
    refused(REALM, &[("RINGFORT____X", "1")], &["the name has an empty part"]);
    refused(
        REALM,
        &[("RINGFORT__REALM__0__NAME__X", "1")],
        &["RINGFORT__REALM__0__NAME__X"],
    );
    refused(REALM, &[("RINGFORT__NODE__NAME", "a\nname = 1")], &["node.name"]);
}

#[test]
fn a_ticket_is_shown_nowhere() {
    let principal = "[[principal]]\nrealm = \"realm1\"\nauthid = \"a\"\nrole = \"b\"\nticket = \"TOPSECRET\"\n";
    let config = load(&format!("{REALM}{principal}"), &[]).unwrap();
    assert!(!format!("{config:?} {:#?} {}", config, config.redacted()).contains("TOPSECRET"));
    assert!(config.redacted().contains("ticket = \"***\""));
    for wrong in [
        "ticket = 12121212",
        "tickt = \"12121212\"",
        "ticket = \"1212\"",
        "ticket = [\"12121212\"]",
    ] {
        let report = load(&format!("{REALM}[[principal]]\n{wrong}"), &[]).unwrap_err();
        assert!(report.contains("principal[0].tick") && !report.contains("1212"), "{report}");
    }
}

#[test]
fn the_effective_settings_read_back_as_themselves() {
    let text = Config::default().redacted();
    assert_eq!(load(&text, &[]).unwrap().redacted(), text);
}

#[test]
fn each_sort_of_problem_has_its_exit_code() {
    let code = |text: &str| {
        let problems = Config::from_text(text, false, []).unwrap_err();
        Report {
            source_name: String::new(),
            problems,
        }
        .exit_code()
    };
    assert_eq!(code("x"), 3);
    assert_eq!(code("[nod]"), 3);
    assert_eq!(
        code(&format!(
            "{REALM}[[listener]]\ntls = {{ certificate = \"/none/a.pem\", key = \"/none/a.key\" }}"
        )),
        5
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(code(&format!("{REALM}[cluster]\ndata_dir = {:?}", file.path())), 6);
}

#[test]
fn a_file_is_named_when_it_cannot_be_read() {
    let report = Config::load(&Source::File(PathBuf::from("/none/n1.toml")), []).unwrap_err();
    let text = report.to_string();
    assert!(
        text.contains("/none/n1.toml") && text.contains("cannot be read") && text.contains("--config"),
        "{text}"
    );
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn topics_and_stores_read_as_written() {
    let text = r#"
        [[realm]]
        name = "realm1"
        [[realm.topics]]
        uri = "com.lamp"
        history = { max_events = 7, max_age_secs = 60 }
        [[realm.topics]]
        uri = "com.state."
        match = "prefix"
        retain = "always"
        empty_clears = true
        store = "redis"
        history = {}
        [store]
        answer_events_max = 50
        [store.redis]
        url = "redis://user:a secret@localhost/1"
    "#;
    let config = load(text, &[]).unwrap();
    let [lamp, state] = config.realms[0].topics.as_slice() else {
        panic!()
    };
    let history = History {
        max_events: 7,
        max_age_secs: 60,
        ..History::default()
    };
    assert_eq!(
        (lamp.r#match, lamp.store, lamp.retain, lamp.history.clone()),
        (Match::Exact, StoreKind::Embedded, None, Some(history))
    );
    assert_eq!(
        (state.r#match, state.store, state.retain),
        (Match::Prefix, StoreKind::Redis, Some(Retain::Always))
    );
    assert_eq!(state.history, Some(History::default()));
    assert_eq!(config.store.answer_events_max, 50);
    assert!(!config.redacted().contains("a secret"));
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let topic = |lines: &str| format!("{REALM}[[realm.topics]]\n{lines}");
    refused(
        &topic("uri = \"\""),
        &[],
        &["realm[0].topics[0].uri", "not a topic or pattern"],
    );
    refused(&topic("uri = \"a..b\""), &[], &["realm[0].topics[0].uri"]);
    refused(
        &topic("uri = \"a\"\nmatch = \"sharp\""),
        &[],
        &["realm[0].topics[0].match", "wildcard"],
    );
    refused(
        &topic("uri = \"a\"\nstore = \"redis\""),
        &[],
        &["realm[0].topics[0].store", "[store.redis]"],
    );
    refused(
        &topic("uri = \"a\"\nhistory = { max_events = 0 }"),
        &[],
        &["realm[0].topics[0].history", "keeps nothing"],
    );
    refused(&topic("uri = \"a\"\nhistroy = {}"), &[], &["did you mean history?"]);
    refused(
        &topic("uri = \"a\"\n[[realm.topics]]\nuri = \"a\""),
        &[],
        &["realm[0].topics[1].uri", "twice"],
    );
    let redis = |lines: &str| format!("{REALM}[store.redis]\n{lines}");
    refused(&redis("url = \"http://x\""), &[], &["store.redis.url", "redis://host:6379/0"]);
    refused(&redis("url = \"redis://x\"\nprefix = \"{a}\""), &[], &["store.redis.prefix"]);
    refused(&format!("{REALM}[store]\nqueries_max = 0"), &[], &["store.queries_max"]);
}

#[test]
fn rules_of_topics_and_of_disclosure_read_as_written_and_bad_ones_are_refused() {
    let text = format!(
        r#"{REALM}
        disclose = "always"
        trustlevels = {{ admin = 10, device = 1 }}
        [[realm.topics]]
        match = "prefix"
        uri = "com.state."
        slow_consumer = "keep_last"
        "#
    );
    let realm = load(&text, &[]).unwrap().realms.remove(0);
    assert_eq!(realm.disclose, Disclose::Always);
    assert_eq!(realm.trustlevels, [("admin".to_owned(), 10), ("device".to_owned(), 1)].into());
    let expected = Topic {
        r#match: Match::Prefix,
        uri: "com.state.".to_owned(),
        slow_consumer: SlowConsumer::KeepLast,
        ..Topic::default()
    };
    assert_eq!(realm.topics, [expected]);
    let topic = |rest: &str| format!("{REALM}[[realm.topics]]\n{rest}\n");
    refused(
        &topic("uri = \"com..a\""),
        &[],
        &["realm[0].topics[0].uri", "not a topic or pattern"],
    );
    refused(
        &topic("match = \"prefix\"\nuri = \"com. a\""),
        &[],
        &["not a topic or pattern"],
    );
    refused(
        &topic("uri = \"a\"\nslow_consumer = \"wait\""),
        &[],
        &["realm[0].topics[0].slow_consumer", "drop_newest"],
    );
    refused(&topic("urn = \"a\""), &[], &["did you mean uri?"]);
    let twice = topic("uri = \"a\"\n[[realm.topics]]\nuri = \"a\"");
    refused(&twice, &[], &["realm[0].topics[1].uri", "twice"]);
    assert!(load(&topic("match = \"wildcard\"\nuri = \"com..a\""), &[]).is_ok());
}

#[test]
fn a_listener_has_a_profile_and_single_switches() {
    let text = r#"
        [[listener]]
        profile = "crossbar"
        [listener.compat]
        timeout_unit = "ms"
        request_id_check = "off"
        [[realm]]
        name = "realm1"
    "#;
    let listener = &load(text, &[]).unwrap().listeners[0];
    let compat = listener.compat.over(listener.profile);
    assert_eq!(listener.profile, Profile::Crossbar);
    assert_eq!(
        (compat.timeout_unit, compat.request_id_check, compat.on_leave),
        (Some(TimeoutUnit::Milliseconds), Some(RequestIdCheck::Off), Some(OnLeave::Id))
    );
    assert_eq!(Listener::default().profile, Profile::Strict);
    refused(
        "[[listener]]\nprofile = \"nexus\"\n[listener.compat]\nrequest_id_chek = \"off\"\n",
        &[],
        &[
            "listener[0].profile = \"nexus\": not one of the values strict, autobahn, crossbar",
            "did you mean request_id_check?",
        ],
    );
}

#[test]
fn definitions_read_as_written_and_bad_ones_are_refused() {
    let text = r#"
        [[realm]]
        name = "realm1"
        allow_define = true
        [[realm.definitions]]
        uri = "com.lamp.set"
        json = '{"call": {"args": {"maxItems": 1}}}'
        [[realm.definitions]]
        uri = "com.lamp."
        match = "prefix"
        type = "topic"
        file = "lamp.json"
        [limits]
        definitions_max = 7
        schema_payload_bytes_max = 4096
        meta_wait_ms = 500
    "#;
    let config = load(text, &[]).unwrap();
    let [set, lamp] = config.realms[0].definitions.as_slice() else {
        panic!()
    };
    assert_eq!((set.r#type, set.r#match), (DefinitionType::Procedure, Match::Exact));
    assert_eq!(
        (lamp.r#type, lamp.r#match, lamp.file.clone()),
        (DefinitionType::Topic, Match::Prefix, Some("lamp.json".into()))
    );
    assert!(config.realms[0].allow_define && !Config::default().realms[0].allow_define);
    let with = |keys: &str| format!("{REALM}[[realm.definitions]]\n{keys}\n");
    refused(&with("json = '{}'"), &[], &["realm[0].definitions[0].uri: missing"]);
    refused(&with("uri = 'a'"), &[], &["realm[0].definitions[0].json: missing"]);
    refused(&with("uri = 'a'\njson = '[]'"), &[], &["not a JSON object"]);
    refused(&with("uri = 'a'\njson = '{}'\nfile = 'x'"), &[], &["given twice"]);
    let twice = with("uri = 'a'\njson = '{}'\n[[realm.definitions]]\nuri = 'a'\njson = '{}'");
    refused(&twice, &[], &["stands here twice"]);
    refused(&format!("{REALM}[limits]\nmeta_wait_ms = 0\n"), &[], &["limits.meta_wait_ms"]);
}
