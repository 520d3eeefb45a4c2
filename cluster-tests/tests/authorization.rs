//! Rights changed at run time on three nodes: what stood on a right that is gone ends everywhere, and nothing else does.

use std::{
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use ringfort_cluster_tests::{
    cluster::{Cluster, REALM, Setup},
    process::{Signal, binary},
    record_result,
    scripts::{clients_dir, python_command, run},
    wamp::{Client, PATIENCE},
};
use serde_json::json;

/// How soon a right that was taken away has to be gone everywhere.
const WITHIN: Duration = Duration::from_secs(2);

fn admin(cluster: &Cluster, node: usize, words: &[&str]) -> Output {
    let url = &cluster.nodes[node].admin;
    let mut command = Command::new(binary());
    command.args(["admin", "--url", url]).args(words);
    command.output().expect("run ringfort admin")
}

/// Runs `ringfort admin`, which must do it; gives what it said.
fn done(cluster: &Cluster, node: usize, words: &[&str]) -> String {
    let output = admin(cluster, node, words);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{words:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// The first row of a table whose first cell is that.
fn row<'a>(table: &'a str, first: &str) -> &'a str {
    let mut rows = table.lines();
    rows.find(|row| row.split_whitespace().next() == Some(first))
        .unwrap_or_default()
}

/// Runs `ringfort admin`, which must refuse; gives why.
fn refused(cluster: &Cluster, node: usize, words: &[&str]) -> String {
    let output = admin(cluster, node, words);
    assert!(!output.status.success(), "{words:?} was done");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A cluster whose anonymous clients act in a role that no file names.
async fn cluster() -> Cluster {
    let lines = "anonymous_role = \"guest\"";
    Cluster::start_with(Setup::Disks, lines, "").await.expect("cluster")
}

async fn clients(cluster: &Cluster) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in &cluster.nodes {
        clients.push(node.join().await.expect("join"));
    }
    clients
}

const DENIED: &str = "wamp.error.not_authorized";

#[tokio::test]
async fn a_right_that_is_taken_away_ends_what_stood_on_it_on_every_node() {
    let mut cluster = cluster().await;
    let guests = clients(&cluster).await;
    for guest in &guests {
        let error = guest.call("com.echo0", &[]).await.expect("answer").expect_err("denied");
        assert_eq!(error.uri, DENIED);
        assert!(guest.subscribe("com.news").await.expect("answer").is_err());
        assert!(guest.register("com.echo0").await.expect("answer").is_err());
    }
    let said = done(
        &cluster,
        0,
        &["put-role", REALM, "guest", "--allow", "all prefix com.", "--revision", "0"],
    );
    assert!(
        said.contains("revision 1") && ["n1", "n2", "n3"].iter().all(|name| said.contains(name)),
        "{said}"
    );

    let (mut echoes, mut news, mut other, mut slow) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (n, guest) in guests.iter().enumerate() {
        let echo = guest
            .register(&format!("com.echo{n}"))
            .await
            .expect("answer")
            .expect("registered");
        echoes.push(guest.serve_echo(echo));
        slow.push(
            guest
                .register(&format!("com.slow{n}"))
                .await
                .expect("answer")
                .expect("registered"),
        );
        news.push(guest.subscribe("com.news").await.expect("answer").expect("subscribed"));
        other.push(guest.subscribe("com.other").await.expect("answer").expect("subscribed"));
    }
    let open = guests[0].start_call("com.slow2", &[]).await.expect("sent");
    let kept = guests[0].start_call("com.slow1", &[]).await.expect("sent");
    let invocation = slow[1].invocations.recv().await.expect("invoked");
    slow[2].invocations.recv().await.expect("invoked");

    let begun = Instant::now();
    let words = [
        "put-role",
        REALM,
        "guest",
        "--allow",
        "all prefix com.",
        "--deny",
        "subscribe exact com.news",
        "--deny",
        "call exact com.slow2",
        "--deny",
        "register exact com.echo1",
    ];
    let said = done(&cluster, 1, &words);
    assert!(["n1", "n2", "n3"].iter().all(|name| said.contains(name)), "{said}");
    let ended = open.within(PATIENCE).await.expect("answer").expect_err("ended");
    assert_eq!(ended.uri, DENIED);
    let took = begun.elapsed();
    assert!(took < WITHIN + Duration::from_secs(1), "took {took:?}");
    for (n, guest) in guests.iter().enumerate() {
        let error = guest
            .call("com.echo1", &[])
            .await
            .expect("answer")
            .expect_err("its callee lost it");
        assert_eq!(error.uri, "wamp.error.no_such_procedure", "on node {}", n + 1);
        let echoed = guest
            .call("com.echo2", &[json!(n)])
            .await
            .expect("answer")
            .expect("still there");
        assert_eq!(echoed, [json!(n)]);
        assert_eq!(
            guest.call("com.slow2", &[]).await.expect("answer").expect_err("denied").uri,
            DENIED
        );
        assert_eq!(
            guest.subscribe("com.news").await.expect("answer").expect_err("denied").uri,
            DENIED
        );
        guest
            .publish_acknowledged("com.news", &[json!(n)])
            .await
            .expect("answer")
            .expect("published");
        guest
            .publish_acknowledged("com.other", &[json!(n)])
            .await
            .expect("answer")
            .expect("published");
    }
    for subscription in &mut other {
        // A publisher does not hear itself.
        for _ in 0..2 {
            tokio::time::timeout(PATIENCE, subscription.events.recv())
                .await
                .expect("an event")
                .expect("an event");
        }
    }
    assert!(
        news.iter_mut().all(|subscription| subscription.events.try_recv().is_err()),
        "nobody hears the news"
    );
    guests[1].yields(invocation.request, &[json!("late")]).await.expect("sent");
    assert_eq!(kept.within(PATIENCE).await.expect("answer").expect("stands"), [json!("late")]);
    record_result(
        "authorization-removed",
        &format!("confirmed and ended within {} ms", took.as_millis()),
    );

    // What was decided outlives a node, and what others have seen is respected.
    cluster.kill(2);
    cluster.launch(2).expect("launch");
    cluster.wait_ready(2).await.expect("ready");
    let again = cluster.nodes[2].join().await.expect("join");
    assert_eq!(
        again.call("com.slow2", &[]).await.expect("answer").expect_err("denied").uri,
        DENIED
    );
    again.subscribe("com.other").await.expect("answer").expect("subscribed");
    let words = ["remove-role", REALM, "guest", "--revision", "1", "--yes"];
    assert!(refused(&cluster, 2, &words).contains("revision 2"));
    done(&cluster, 2, &["remove-role", REALM, "guest", "--revision", "2", "--yes"]);
    for guest in guests.iter().take(2).chain([&again]) {
        assert_eq!(
            guest.call("com.echo2", &[]).await.expect("answer").expect_err("denied").uri,
            DENIED
        );
        assert_eq!(guest.ended(), None, "the session itself stands");
    }
}

#[tokio::test]
async fn the_command_explains_and_keeps_to_what_may_be_changed() {
    let cluster = cluster().await;
    let words = [
        "put-role",
        REALM,
        "device",
        "--allow",
        "call,subscribe prefix house.",
        "--deny",
        "call exact house.alarm",
    ];
    done(&cluster, 0, &words);
    let why = done(&cluster, 2, &["why", "lamp", "call", "house.alarm", "--role", "device"]);
    assert!(
        why.contains("may not call house.alarm") && why.contains("permission 2: deny call on exact"),
        "{why}"
    );
    let roles = done(&cluster, 1, &["roles", REALM]);
    assert!(
        row(&roles, "anonymous").contains("fixed by the configuration") && row(&roles, "device").contains("revision 1"),
        "{roles}"
    );
    let realms = done(&cluster, 1, &["realms"]);
    assert!(row(&realms, REALM).ends_with(" 1"), "{realms}");
    let fixed = refused(&cluster, 0, &["remove-role", REALM, "anonymous", "--yes"]);
    assert!(fixed.contains("configuration"), "{fixed}");
    for (words, says) in [
        (&["put-role", REALM, "x", "--allow", "fly prefix com."][..], "fly"),
        (&["put-role", REALM, "x", "--allow", "call exact a..b"], "permission 1"),
        (&["put-role", "nowhere", "x", "--allow", "call exact a"], "no realm"),
        (&["remove-role", REALM, "x", "--yes"], "nothing of that name"),
        (&["why", "lamp", "call", "a"], "say its role"),
    ] {
        let said = refused(&cluster, 0, words);
        assert!(said.contains(says), "{words:?}: {said}");
    }
}

#[tokio::test]
async fn a_principal_is_told_without_its_secret_which_is_written_nowhere() {
    const TICKET: &str = "zXq7-plainly-visible-ticket-91";
    let cluster = cluster().await;
    ringfort_cluster_tests::secrets::used(TICKET);
    let file = cluster.dir().join("ticket");
    std::fs::write(&file, format!("{TICKET}\n")).expect("write");
    let path = file.display().to_string();
    done(
        &cluster,
        0,
        &["put-principal", REALM, "lamp", "device", "--ticket-file", &path],
    );
    std::fs::remove_file(&file).expect("remove");
    let told = done(&cluster, 1, &["principals", REALM]);
    let lamp: Vec<&str> = row(&told, "lamp").split_whitespace().collect();
    assert_eq!(lamp, ["lamp", "device", "revision", "1", "ticket", "(sha256)"], "{told}");
    let why = done(&cluster, 2, &["why", "lamp", "call", "com.a"]);
    assert!(why.contains("lamp with role device may not call com.a"), "{why}");
    assert!(refused(&cluster, 1, &["put-principal", REALM, "x", "y", "--credential", TICKET]).contains("not a credential"));
    done(&cluster, 2, &["remove-principal", REALM, "lamp", "--revision", "1", "--yes"]);
    assert!(!done(&cluster, 0, &["principals", REALM]).contains("lamp"));
    let found = files_with(cluster.dir(), TICKET.as_bytes());
    assert!(found.is_empty(), "the ticket stands in {found:?}");
}

fn files_with(dir: &Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle)) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_node_that_does_not_confirm_is_named_and_keeps_nothing_for_long() {
    let mut cluster = cluster().await;
    done(&cluster, 0, &["put-role", REALM, "guest", "--allow", "all prefix com."]);
    let guests = clients(&cluster).await;
    let mut news = guests[2].subscribe("com.news").await.expect("answer").expect("subscribed");
    // A follower, so that the others can still decide.
    let leader = cluster.leader().await.expect("leader");
    let asked = if leader == 0 { 0 } else { 1 };
    if leader == 2 {
        // The others elect one of them once this one stands still.
        cluster.process(2).expect("running").signal(Signal::Stop).expect("stop");
        tokio::time::sleep(Duration::from_secs(3)).await;
    } else {
        cluster.process(2).expect("running").signal(Signal::Stop).expect("stop");
    }
    let words = [
        "put-role",
        REALM,
        "guest",
        "--allow",
        "all prefix com.",
        "--deny",
        "subscribe exact com.news",
    ];
    let output = admin(&cluster, asked, &words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(7),
        "{said}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(said.contains("not confirmed by n3, which stops within"), "{said}");
    cluster
        .process(2)
        .expect("running")
        .signal(Signal::Continue)
        .expect("continue");
    // It applies the change, or ends the session since it cannot know: either way the subscription is gone.
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "n3 still takes subscriptions to what is denied");
        if guests[2].ended().is_some() {
            break;
        }
        match guests[2].subscribe("com.news").await {
            Ok(Err(error)) if error.uri == DENIED => break,
            Ok(Ok(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => break,
        }
    }
    while news.events.try_recv().is_ok() {}
    guests[0]
        .publish_acknowledged("com.news", &[])
        .await
        .expect("answer")
        .expect("published");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(news.events.try_recv().is_err(), "an event of what is denied");
}

/// Who asks, and about whom is asked.
const COURT: &str = r#"
[[principal]]
realm = "realm1"
authid = "ticket"
role = "judge"
ticket = "ticket-secret-1"

[[principal]]
realm = "realm1"
authid = "guest"
role = "asked"
ticket = "guest-secret-1"
"#;

#[tokio::test]
async fn a_procedure_decides_what_no_permission_does() {
    let roles = r#"roles = [
    { name = "judge", permissions = [{ uri = "", match = "prefix", allow = ["all"] }] },
    { name = "asked", authorizer = "com.example.authorize", permissions = [
        { uri = "com.granted", allow = ["call"] },
        { uri = "com.locked", deny = ["call"] },
        { uri = "ringfort.", match = "prefix", deny = ["call"] },
    ] },
]
authorizer_timeout_ms = 2000
"#;
    // autobahn-python announces that it can lose subscriptions, and ends its session when it does.
    let listener = ["[listener.compat]\nrevoked_subscriptions_told = false"];
    let started = Cluster::start_with_listeners(Setup::Disks, &listener, roles, COURT).await;
    let (_cluster, beside) = started.expect("cluster");
    let urls = format!("{},{}", beside[0][0].websocket, beside[2][0].websocket);
    let mut command = python_command(&clients_dir().join("auth_deciders.py")).expect("packages");
    command.args(["authorizer", &urls]);
    let done = run(command, Duration::from_secs(120))
        .await
        .expect("run")
        .checked()
        .expect("the script");
    assert_eq!(done.last_line(), "1 passed, 0 failed", "{}", done.stdout);
    record_result("authorization-authorizer", done.last_line());
}
