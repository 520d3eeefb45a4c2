//! The order of the router's modules (STYLE, "Direction of dependencies"), and proof that the check sees what breaks it.

use std::path::Path;

use ringfort_cluster_tests::{layers, workspace_root};

#[test]
fn the_modules_of_the_router_use_each_other_in_one_direction_only() {
    let breaches = layers::check(&workspace_root().join("node/src")).expect("sources");
    assert!(
        breaches.is_empty(),
        "\n{}",
        breaches.iter().map(|breach| format!("{breach}\n")).collect::<String>()
    );
}

/// What the check says about one planted text.
fn reasons(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut breaches = Vec::new();
    layers::check_file(Path::new(file), text, &mut breaches);
    breaches.into_iter().map(|breach| (breach.line, breach.reason)).collect()
}

#[test]
fn an_arrow_the_wrong_way_is_seen_in_every_way_to_write_it() {
    let planted = [
        ("router/realm.rs", "use crate::session::Outbox;", "session"),
        (
            "router/realm.rs",
            "use crate::{\n    wamp::Uri,\n    cluster::raft,\n};",
            "cluster",
        ),
        (
            "router/dealer/call.rs",
            "fn f() { super::super::super::session::go() }",
            "session",
        ),
        ("router/mod.rs", "use super::transport::Frame;", "transport"),
        ("wamp/mod.rs", "fn f(x: &crate::router::Realm) {}", "router"),
        ("cluster/mod.rs", "use crate::admin;", "admin"),
        (
            "session/task.rs",
            "use crate::{wamp::{Uri, Message}, cluster::Link};",
            "cluster",
        ),
        ("client/mod.rs", "use crate::router::Op;", "router"),
        ("admin/mod.rs", "use crate::node::Node;", "node"),
        ("config/mod.rs", "use crate::session::Limits;", "session"),
    ];
    for (file, text, target) in planted {
        let layer = file.split('/').next().unwrap_or_default();
        let found = reasons(file, text);
        assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
        assert_eq!(found[0].1, format!("`{layer}` must not use `{target}`"), "{text}");
    }
}

#[test]
fn clocks_randomness_and_the_runtime_are_seen_in_the_core() {
    for (file, text) in [
        ("router/realm.rs", "let now = std::time::Instant::now();"),
        ("router/realm.rs", "use std::time::SystemTime;"),
        ("router/realm.rs", "use rand::Rng;"),
        ("wamp/id.rs", "getrandom::fill(&mut bytes)"),
        ("router/mod.rs", "tokio::spawn(async {});"),
        ("router/mod.rs", "HashMap::with_hasher(RandomState::new())"),
    ] {
        assert_eq!(reasons(file, text).len(), 1, "{file}: {text}");
    }
}

#[test]
fn foreign_types_outside_their_folder_are_seen() {
    assert_eq!(reasons("cluster/leader.rs", "use openraft::Raft;").len(), 1);
    assert_eq!(reasons("session/mod.rs", "use ringfort_proto::cluster::v1::Frame;").len(), 1);
    assert_eq!(
        reasons("cluster/raft/network.rs", "use openraft::Raft;\nuse ringfort_proto::x;"),
        []
    );
}

#[test]
fn what_is_allowed_or_only_talked_about_passes() {
    for (file, text) in [
        (
            "router/realm.rs",
            "// tokio would be wrong here, and so would crate::session\n/* Instant::now() /* nested */ tokio */",
        ),
        (
            "router/realm.rs",
            "const HELP: &str = \"tokio \\\" crate::session\"; const RAW: &str = r#\"a \"tokio\" b\"#;",
        ),
        (
            "router/realm.rs",
            "fn f(now: std::time::Instant, c: char) -> bool { c == '\"' || c == '\\'' }",
        ),
        (
            "router/realm.rs",
            "#[cfg(test)]\nmod tests {\n    use crate::session::X;\n    fn f() { Instant::now(); }\n}\nuse crate::wamp::Uri;",
        ),
        ("router/realm.rs", "#[cfg(test)]\nmod tests;\nuse crate::wamp::Uri;"),
        (
            "router/dealer/call.rs",
            "use super::super::registry::Registry; let operand = 1;",
        ),
        ("cluster/mod.rs", "use crate::{session::cluster::Cluster, router::Op};"),
        ("main.rs", "use ringfort::cli;"),
    ] {
        assert_eq!(reasons(file, text), [], "{file}: {text}");
    }
}

#[test]
fn only_modules_behind_cfg_test_are_left_out() {
    let text = "#[cfg(test)]\nmod testing;\nmod real;\n#[cfg(test)]\npub(crate) mod more;\n// #[cfg(test)] mod talk;\n";
    let found = layers::test_modules(Path::new("router/mod.rs"), text);
    assert_eq!(found, [["router", "testing"], ["router", "more"]]);
}

#[test]
fn lines_are_counted_in_the_file_as_it_is() {
    let text = "//! A core.\n\n/* two\nlines */\nuse crate::session::X;\n";
    assert_eq!(
        reasons("router/mod.rs", text),
        [(5, "`router` must not use `session`".to_owned())]
    );
}

#[test]
fn a_folder_that_the_order_does_not_know_is_reported() {
    assert_eq!(reasons("misc/mod.rs", "").len(), 1);
}
