//! Realms that are made and taken away while the cluster runs, and documents that are applied: through the generated client, seen by
//! WAMP clients of other nodes.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, REALM, Setup},
    process::binary,
    wamp::Client,
};
use ringfort_proto::admin::v1::{
    self as pb, documents_client::DocumentsClient, principals_client::PrincipalsClient, realms_client::RealmsClient,
    roles_client::RolesClient,
};
use serde_json::json;
use tonic::{Code, Status, transport::Channel};

const MADE: &str = "com.example.made";

async fn channel(cluster: &Cluster, node: usize) -> Result<Channel> {
    let endpoint = Channel::from_shared(cluster.nodes[node].admin.clone())?;
    Ok(endpoint.timeout(Duration::from_secs(10)).connect().await?)
}

fn refused<T>(answer: Result<T, Status>, code: Code, says: &str) -> Result<()> {
    let Err(status) = answer else {
        bail!("not refused, though {says}")
    };
    ensure!(
        status.code() == code && status.message().contains(says),
        "{status:?} is not {code:?} {says}"
    );
    Ok(())
}

fn everywhere(reply: &pb::ChangeReply) -> Result<()> {
    ensure!(reply.confirmed.len() == 3 && reply.unconfirmed.is_empty(), "{reply:?}");
    Ok(())
}

fn put(settings: pb::RealmSettings, expected: Option<u64>) -> pb::PutRealmRequest {
    pb::PutRealmRequest {
        realm: MADE.to_owned(),
        settings: Some(settings),
        expected,
    }
}

fn open_settings() -> pb::RealmSettings {
    pb::RealmSettings {
        anonymous: "loopback".to_owned(),
        anonymous_role: "guest".to_owned(),
        ..pb::RealmSettings::default()
    }
}

fn guests_may(realm: &str) -> pb::PutRoleRequest {
    let everything = pb::Permission {
        r#match: "prefix".to_owned(),
        allow: vec!["all".to_owned()],
        ..pb::Permission::default()
    };
    pb::PutRoleRequest {
        realm: realm.to_owned(),
        role: "guest".to_owned(),
        permissions: vec![everything],
        expected: None,
    }
}

/// A call and an event from node 1 to node 3.
async fn works(cluster: &Cluster, word: &str) -> Result<()> {
    let callee = Client::join(&cluster.nodes[2].websocket, MADE).await?;
    let registration = callee.register("com.echo").await??;
    let mut subscription = callee.subscribe("com.news").await??;
    let echo = callee.serve_echo(registration);
    let caller = Client::join(&cluster.nodes[0].websocket, MADE).await?;
    let answer = caller.call("com.echo", &[json!(word)]).await??;
    ensure!(answer == [json!(word)], "{answer:?}");
    caller.publish("com.news", &[json!(word)]).await?;
    let event = tokio::time::timeout(Duration::from_secs(5), subscription.events.recv()).await?;
    ensure!(event.is_some_and(|event| event.args == [json!(word)]), "the event");
    caller.leave().await?;
    callee.leave().await?;
    echo.abort();
    Ok(())
}

/// Whether the topic still has the event that was retained.
async fn is_retained(client: &Client) -> Result<bool> {
    let mut subscription = client.subscribe_with("com.kept", json!({ "get_retained": true })).await??;
    let event = tokio::time::timeout(Duration::from_secs(1), subscription.events.recv()).await;
    client.unsubscribe(subscription.id).await??;
    Ok(event.is_ok())
}

async fn is_gone(cluster: &Cluster, node: usize) -> Result<()> {
    match Client::join(&cluster.nodes[node].websocket, MADE).await {
        Ok(_) => bail!("node {node} still has the realm"),
        Err(error) => ensure!(format!("{error:#}").contains("no_such_realm"), "{error:#}"),
    }
    Ok(())
}

#[tokio::test]
async fn a_realm_is_made_joined_on_every_node_survives_a_restart_of_all_and_is_taken_away() -> Result<()> {
    let mut cluster = Cluster::start(Setup::Disks).await?;
    let mut realms = RealmsClient::new(channel(&cluster, 1).await?);
    let mut roles = RolesClient::new(channel(&cluster, 2).await?);
    for node in 0..3 {
        is_gone(&cluster, node).await?;
    }

    let made = realms.put(put(open_settings(), Some(0))).await?.into_inner();
    everywhere(&made)?;
    everywhere(&roles.put(guests_may(MADE)).await?.into_inner())?;
    works(&cluster, "at once").await?;
    let listed = RealmsClient::new(channel(&cluster, 0).await?);
    let listed = listed.clone().list(pb::ListRealmsRequest {}).await?.into_inner().realms;
    let found = listed.iter().find(|realm| realm.name == MADE).context("it is listed")?;
    ensure!(
        !found.fixed && found.settings_revision == made.revision && found.roles == 1,
        "{found:?}"
    );
    ensure!(listed.iter().any(|realm| realm.name == REALM && realm.fixed), "{listed:?}");

    // What cannot be done is said, and nothing is changed by it.
    refused(realms.put(put(open_settings(), Some(0))).await, Code::Aborted, "has changed")?;
    let wrong = pb::RealmSettings {
        disclose: "perhaps".to_owned(),
        ..open_settings()
    };
    refused(realms.put(put(wrong, None)).await, Code::InvalidArgument, "disclose")?;
    let wrong = pb::RealmSettings {
        authorizer_timeout_ms: 1,
        ..open_settings()
    };
    refused(realms.put(put(wrong, None)).await, Code::InvalidArgument, "10 to 60000")?;
    let configured = pb::PutRealmRequest {
        realm: REALM.to_owned(),
        ..put(open_settings(), None)
    };
    refused(
        realms.put(configured).await,
        Code::FailedPrecondition,
        "configuration of this node",
    )?;
    let missing = pb::RemoveRealmRequest {
        realm: "com.example.missing".to_owned(),
        expected: None,
    };
    refused(realms.remove(missing).await, Code::NotFound, "no such realm")?;

    // All nodes lose what they had in memory.
    cluster.kill_all();
    for node in 0..3 {
        cluster.launch(node)?;
    }
    for node in 0..3 {
        cluster.wait_ready(node).await?;
    }
    works(&cluster, "after a restart").await?;

    let mut realms = RealmsClient::new(channel(&cluster, 0).await?);
    let mut clients = Vec::new();
    for node in 0..3 {
        clients.push(Client::join(&cluster.nodes[node].websocket, MADE).await?);
    }
    clients[0]
        .publish_with("com.kept", json!({ "retain": true, "acknowledge": true }), &[json!(1)])
        .await??;
    ensure!(is_retained(&clients[2]).await?, "an event is retained");
    let bystander = Client::join(&cluster.nodes[1].websocket, REALM).await?;
    let remove = |expected| pb::RemoveRealmRequest {
        realm: MADE.to_owned(),
        expected,
    };
    refused(
        realms.remove(remove(Some(made.revision + 9))).await,
        Code::Aborted,
        "has changed",
    )?;
    let removed = realms.remove(remove(Some(made.revision))).await?.into_inner();
    everywhere(&removed)?;
    for (node, client) in clients.iter_mut().enumerate() {
        let goodbye = tokio::time::timeout(Duration::from_secs(5), client.strays.recv()).await?;
        let goodbye = goodbye.with_context(|| format!("a GOODBYE on node {node}"))?;
        ensure!(goodbye[0] == 6 && goodbye[2] == "wamp.close.close_realm", "{goodbye:?}");
        is_gone(&cluster, node).await?;
    }
    ensure!(bystander.ended().is_none(), "nobody else has to go");
    let mut roles = RolesClient::new(channel(&cluster, 0).await?);
    refused(roles.put(guests_may(MADE)).await, Code::NotFound, MADE)?;

    // A later realm of that name begins with nothing of the former.
    let again = realms.put(put(open_settings(), Some(0))).await?.into_inner();
    ensure!(again.revision > removed.revision, "{again:?} after {removed:?}");
    let client = Client::join(&cluster.nodes[2].websocket, MADE).await?;
    let called = client.call("com.echo", &[]).await?;
    ensure!(
        called.is_err_and(|error| error.uri == "wamp.error.not_authorized"),
        "its roles are gone"
    );

    everywhere(&roles.put(guests_may(MADE)).await?.into_inner())?;
    ensure!(!is_retained(&client).await?, "what was retained is gone");

    // Whom other settings do not let in does not stay.
    let mut client = client;
    let closed = realms
        .put(put(pb::RealmSettings::default(), Some(again.revision)))
        .await?
        .into_inner();
    everywhere(&closed)?;
    let goodbye = tokio::time::timeout(Duration::from_secs(5), client.strays.recv()).await?;
    ensure!(goodbye.is_some_and(|message| message[0] == 6), "anonymous sessions end");
    ensure!(
        Client::join(&cluster.nodes[0].websocket, MADE).await.is_err(),
        "anonymous is off"
    );
    Ok(())
}

const DOCUMENT: &str = r#"
[[realm]]
name = "com.example.made"
anonymous = "loopback"
anonymous_role = "guest"
roles = [
    { name = "guest", permissions = [{ uri = "com.", match = "prefix", allow = ["call"] }] },
    { name = "device", permissions = [{ uri = "com.", match = "prefix", allow = ["register", "call"] }] },
]

[[principal]]
realm = "com.example.made"
authid = "lamp"
role = "device"
ticket = "a-ticket-for-the-lamp-of-the-document"
"#;
const TICKET: &str = "a-ticket-for-the-lamp-of-the-document";

fn diff(document: &str, prune: bool) -> pb::DiffRequest {
    pb::DiffRequest {
        document: document.to_owned(),
        prune,
    }
}

fn apply(document: &str, prune: bool, seen: &pb::DiffReply) -> pb::ApplyRequest {
    pb::ApplyRequest {
        document: document.to_owned(),
        prune,
        revisions: seen.revisions.clone(),
    }
}

fn told(differences: &[pb::Difference]) -> Vec<String> {
    let one = |one: &pb::Difference| format!("{} {} {}", one.action().as_str_name(), one.kind().as_str_name(), one.name);
    differences.iter().map(one).collect()
}

#[tokio::test]
async fn a_document_is_shown_as_a_difference_and_applied_as_a_whole_for_what_was_seen() -> Result<()> {
    let cluster = Cluster::start(Setup::Disks).await?;
    let mut here = DocumentsClient::new(channel(&cluster, 0).await?);
    let mut there = DocumentsClient::new(channel(&cluster, 2).await?);

    let first = here.diff(diff(DOCUMENT, false)).await?.into_inner();
    ensure!(
        told(&first.differences)
            == [
                "ADDED REALM ",
                "ADDED ROLE device",
                "ADDED ROLE guest",
                "ADDED PRINCIPAL lamp"
            ],
        "{:?}",
        told(&first.differences)
    );
    ensure!(!format!("{first:?}").contains(TICKET), "a secret is not shown");
    is_gone(&cluster, 1).await?;
    refused(
        here.apply(apply(DOCUMENT, false, &pb::DiffReply::default())).await,
        Code::InvalidArgument,
        "take them from Diff",
    )?;

    let done = there.apply(apply(DOCUMENT, false, &first)).await?.into_inner();
    ensure!(done.confirmed.len() == 3 && done.differences == first.differences, "{done:?}");
    let lamp = Client::login(&cluster.nodes[1].websocket, MADE, "lamp", TICKET).await?;
    let registration = lamp.register("com.lamp").await??;
    let echo = lamp.serve_echo(registration);
    let guest = Client::join(&cluster.nodes[0].websocket, MADE).await?;
    ensure!(guest.call("com.lamp", &[json!(1)]).await?? == [json!(1)], "the lamp answers");

    // The same again differs in nothing, though the ticket is in clear here and hashed there.
    let second = here.diff(diff(DOCUMENT, true)).await?.into_inner();
    ensure!(second.differences.is_empty() && second.unchanged == 4, "{second:?}");
    let nothing = here.apply(apply(DOCUMENT, true, &second)).await?.into_inner();
    ensure!(nothing.index == 0, "{nothing:?}");

    // Something changes between the difference and the change.
    let less = DOCUMENT.replace("\"register\", \"call\"", "\"call\"");
    let seen = here.diff(diff(&less, false)).await?.into_inner();
    ensure!(
        told(&seen.differences) == ["CHANGED ROLE device"] && seen.differences[0].takes_away,
        "{seen:?}"
    );
    let mut principals = PrincipalsClient::new(channel(&cluster, 1).await?);
    let other = pb::PutPrincipalRequest {
        realm: MADE.to_owned(),
        authid: "other".to_owned(),
        role: "device".to_owned(),
        credentials: vec![pb::Credential {
            credential: Some(pb::credential::Credential::Ticket("a-ticket-of-another-one".to_owned())),
        }],
        expected: Some(0),
    };
    everywhere(&principals.put(other).await?.into_inner())?;
    refused(
        there.apply(apply(&less, false, &seen)).await,
        Code::Aborted,
        "has changed since the diff",
    )?;
    ensure!(
        guest.call("com.lamp", &[json!(2)]).await?.is_ok(),
        "nothing was changed by it"
    );

    // With what stands now it is done; the lamp loses its registration, and who is not named goes where that is asked for.
    let seen = there.diff(diff(&less, true)).await?.into_inner();
    ensure!(
        told(&seen.differences) == ["CHANGED ROLE device", "REMOVED PRINCIPAL other"],
        "{:?}",
        told(&seen.differences)
    );
    let done = here.apply(apply(&less, true, &seen)).await?.into_inner();
    ensure!(done.confirmed.len() == 3, "{done:?}");
    let called = guest.call("com.lamp", &[]).await?;
    ensure!(
        called.is_err_and(|error| error.uri == "wamp.error.no_such_procedure"),
        "the registration is gone"
    );
    let other = Client::login(&cluster.nodes[2].websocket, MADE, "other", "a-ticket-of-another-one").await;
    ensure!(other.is_err(), "who was pruned does not come in");
    ensure!(lamp.ended().is_none(), "whose credentials stand stays");
    echo.abort();

    // What is wrong is said before anything happens.
    for (document, code, says) in [
        (
            "[node]\nname = \"x\"\n".to_owned(),
            Code::InvalidArgument,
            "[[realm]] and [[principal]] only",
        ),
        (
            DOCUMENT.replace("lamp\"\nrole", "lamp\"\ncolour"),
            Code::InvalidArgument,
            "colour",
        ),
        (
            DOCUMENT.replace(MADE, REALM),
            Code::FailedPrecondition,
            "stands in the configuration of this node",
        ),
    ] {
        refused(here.diff(diff(&document, false)).await, code, says)?;
        refused(
            here.apply(apply(&document, false, &pb::DiffReply::default())).await,
            code,
            says,
        )?;
    }

    // A realm of another document goes with all that is in it, where pruning is asked for.
    let another = "[[realm]]\nname = \"com.example.another\"\n";
    let seen = here.diff(diff(another, true)).await?.into_inner();
    ensure!(told(&seen.differences) == ["ADDED REALM ", "REMOVED REALM "], "{seen:?}");
    here.apply(apply(another, true, &seen)).await?;
    is_gone(&cluster, 1).await
}

#[tokio::test]
async fn the_command_line_shows_the_difference_and_asks_before_it_takes_anything_away() -> Result<()> {
    let cluster = Cluster::start(Setup::Disks).await?;
    let file = cluster.dir().join("document.toml");
    let ringfort = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["admin", "--url", &cluster.nodes[1].admin]).args(words);
        let output = command.stdin(std::process::Stdio::null()).output().expect("run ringfort");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let path = file.display().to_string();
    std::fs::write(&file, DOCUMENT)?;

    let (code, text) = ringfort(&["apply", &path, "--dry-run"]);
    ensure!(
        code == Some(0) && text.contains("+ realm com.example.made") && text.contains("4 added"),
        "{text}"
    );
    ensure!(!text.contains(TICKET) && !text.contains('\x1b'), "{text}");
    is_gone(&cluster, 0).await?;
    let (code, text) = ringfort(&["apply", &path]);
    ensure!(
        code == Some(0) && text.contains("4 changed at log index") && text.contains("n1, n2, n3"),
        "{text}"
    );
    let (code, text) = ringfort(&["apply", &path]);
    ensure!(
        code == Some(0) && text.contains("0 added, 0 changed, 0 removed, 4 as they are"),
        "{text}"
    );

    std::fs::write(&file, DOCUMENT.replace("role = \"device\"", "role = \"guest\""))?;
    let (code, text) = ringfort(&["apply", &path]);
    ensure!(
        code == Some(2) && text.contains("--yes") && text.contains("- role device"),
        "{text}"
    );
    let (code, text) = ringfort(&["apply", &path, "--yes"]);
    ensure!(code == Some(0) && text.contains("1 changed at log index"), "{text}");

    let (code, text) = ringfort(&[
        "put-realm",
        "com.example.other",
        "--set",
        "anonymous=loopback",
        "--set",
        "call_timeout_max=50",
    ]);
    ensure!(code == Some(0) && text.contains("in force on n1, n2, n3"), "{text}");
    Client::join(&cluster.nodes[2].websocket, "com.example.other").await?;
    let (code, text) = ringfort(&["realms"]);
    ensure!(code == Some(0) && text.contains("com.example.other"), "{text}");
    let (code, text) = ringfort(&[
        "put-realm",
        "com.example.other",
        "--set",
        "topics=[]",
        "--set",
        "anonymous=maybe",
    ]);
    ensure!(code == Some(2) && text.contains("anonymous"), "{text}");
    let (code, text) = ringfort(&["remove-realm", "com.example.other", "--yes"]);
    ensure!(code == Some(0), "{text}");
    let gone = Client::join(&cluster.nodes[2].websocket, "com.example.other").await;
    ensure!(
        gone.is_err_and(|error| format!("{error:#}").contains("no_such_realm")),
        "it is gone"
    );
    Ok(())
}
