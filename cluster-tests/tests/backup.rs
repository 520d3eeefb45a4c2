//! A backup of one cluster, put into place in another: what was in it is there on every node, and what is no whole backup is refused.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use ringfort_cluster_tests::{
    cluster::{Cluster, REALM, Setup},
    process::binary,
    wamp::Client,
};
use ringfort_proto::admin::v1::{
    self as pb, backup_client::BackupClient, principals_client::PrincipalsClient, realms_client::RealmsClient,
    roles_client::RolesClient,
};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::{Code, Status, transport::Channel};

const MADE: &str = "com.example.made";
const TICKET: &str = "a-ticket-that-is-in-no-backup-in-clear";
const SEEDED: &str = "a-ticket-of-the-configuration-file";

fn ringfort(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).args(words).output().expect("run ringfort");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

async fn channel(cluster: &Cluster, node: usize) -> Result<Channel> {
    let endpoint = Channel::from_shared(cluster.nodes[node].admin.clone())?;
    Ok(endpoint.timeout(Duration::from_secs(20)).connect().await?)
}

/// Three nodes whose configuration seeds a realm, in which clients may define.
async fn cluster() -> Result<Cluster> {
    let seeded = format!(
        "[[realm]]\nname = \"com.example.seeded\"\nrights = \"seed\"\nroles = [{{ name = \"device\" }}]\n\
         [[principal]]\nrealm = \"com.example.seeded\"\nauthid = \"seed\"\nrole = \"device\"\nticket = \"{SEEDED}\"\n"
    );
    Cluster::start_with(Setup::Disks, "", &seeded).await
}

fn ticket(text: &str) -> Vec<pb::Credential> {
    vec![pb::Credential {
        credential: Some(pb::credential::Credential::Ticket(text.to_owned())),
    }]
}

/// Fills a cluster: a realm with a role, a principal and a definition, and a role of a realm of the configuration.
async fn fill(cluster: &Cluster) -> Result<()> {
    let settings = pb::RealmSettings {
        anonymous: "loopback".to_owned(),
        anonymous_role: "device".to_owned(),
        call_timeout_max: 1_234,
        allow_define: true,
        ..pb::RealmSettings::default()
    };
    let put = pb::PutRealmRequest {
        realm: MADE.to_owned(),
        settings: Some(settings),
        expected: None,
    };
    RealmsClient::new(channel(cluster, 0).await?).put(put).await?;
    let everything = pb::Permission {
        r#match: "prefix".to_owned(),
        allow: vec!["all".to_owned()],
        ..pb::Permission::default()
    };
    let mut roles = RolesClient::new(channel(cluster, 1).await?);
    for (realm, role) in [(MADE, "device"), (REALM, "of-the-log"), ("com.example.seeded", "device")] {
        let request = pb::PutRoleRequest {
            realm: realm.to_owned(),
            role: role.to_owned(),
            permissions: vec![everything.clone()],
            expected: None,
        };
        roles.put(request).await?;
    }
    let principal = pb::PutPrincipalRequest {
        realm: MADE.to_owned(),
        authid: "lamp".to_owned(),
        role: "device".to_owned(),
        credentials: ticket(TICKET),
        expected: None,
    };
    PrincipalsClient::new(channel(cluster, 2).await?).put(principal).await?;
    let client = Client::login(&cluster.nodes[0].websocket, MADE, "lamp", TICKET).await?;
    let narrow = json!({ "type": "procedure", "call": { "args": { "maxItems": 1 } } });
    client.call("wamp.reflect.define", &[json!("com.narrow"), narrow]).await??;
    client.leave().await
}

async fn created(cluster: &Cluster, node: usize) -> Result<Vec<u8>> {
    let mut client = BackupClient::new(channel(cluster, node).await?);
    let mut chunks = client.create(pb::CreateBackupRequest {}).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?.data);
    }
    Ok(bytes)
}

async fn restored(cluster: &Cluster, node: usize, bytes: &[u8], other_cluster: bool) -> Result<Result<pb::RestoreReply, Status>> {
    let mut client = BackupClient::new(channel(cluster, node).await?);
    let chunks: Vec<pb::RestoreChunk> = bytes
        .chunks(1_000)
        .map(|data| pb::RestoreChunk {
            data: data.to_vec().into(),
            other_cluster,
        })
        .collect();
    Ok(client
        .restore(tokio_stream::iter(chunks))
        .await
        .map(tonic::Response::into_inner))
}

fn refused(answer: Result<pb::RestoreReply, Status>, code: Code, says: &str) -> Result<()> {
    let Err(status) = answer else {
        bail!("restored, though {says}")
    };
    ensure!(
        status.code() == code && status.message().contains(says),
        "{status:?} is not {code:?} {says}"
    );
    Ok(())
}

fn mode(file: &Path) -> Result<u32> {
    Ok(file.metadata()?.permissions().mode() & 0o777)
}

#[tokio::test]
async fn a_backup_is_put_into_place_in_a_fresh_cluster_and_old_credentials_work_there() -> Result<()> {
    let mut old = cluster().await?;
    fill(&old).await?;
    let file = old.dir().join("made.backup");
    let path = file.display().to_string();
    let (code, text) = ringfort(&["admin", "--url", &old.nodes[1].admin, "backup", "--out", &path]);
    ensure!(
        code == Some(0) && text.contains("1 realms, 3 roles, 2 principals, 1 definitions"),
        "{text}"
    );
    ensure!(mode(&file)? == 0o600, "for its owner alone");
    let bytes = std::fs::read(&file)?;
    for secret in [TICKET, SEEDED] {
        ensure!(
            !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "a secret in clear"
        );
    }
    let (code, text) = ringfort(&["backup", "verify", &path]);
    ensure!(code == Some(0) && text.contains("whole; cluster cluster-with-more"), "{text}");

    // It has what is there, not mixed: so does one of another node.
    let other = created(&old, 2).await?;
    ensure!(
        other.len().abs_diff(bytes.len()) < 16,
        "{} and {} bytes",
        other.len(),
        bytes.len()
    );

    // A cluster that has something of its own refuses it: this one too.
    let answer = restored(&old, 0, &bytes, false).await?;
    refused(answer, Code::FailedPrecondition, "realms, roles or principals of its own")?;
    old.kill_all();
    drop(old);

    let mut fresh = cluster().await?;
    let copy = fresh.dir().join("copy.backup");
    let copy_path = copy.display().to_string();
    // What is no whole backup is refused by the command and by the node, and nothing is changed by it.
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    let mut newer = bytes.clone();
    newer[8] += 1;
    for (bytes, says) in [
        (&bytes[..bytes.len() - 7], "cut off"),
        (&flipped, "checksum"),
        (&newer, "newer"),
        (b"PK\x03\x04 and what else an archive has", "not a backup"),
    ] {
        std::fs::write(&copy, bytes)?;
        let (code, text) = ringfort(&["backup", "verify", &copy_path]);
        ensure!(code == Some(13) && text.contains(says), "{text}");
        let (code, text) = ringfort(&["admin", "--url", &fresh.nodes[0].admin, "restore", &copy_path]);
        ensure!(code == Some(13) && text.contains(says), "{text}");
        refused(restored(&fresh, 0, bytes, true).await?, Code::InvalidArgument, says)?;
    }
    let realms = RealmsClient::new(channel(&fresh, 1).await?)
        .list(pb::ListRealmsRequest {})
        .await?
        .into_inner()
        .realms;
    ensure!(realms.iter().all(|realm| realm.name != MADE), "{realms:?}");

    std::fs::write(&copy, &bytes)?;
    let (code, text) = ringfort(&["admin", "--url", &fresh.nodes[2].admin, "restore", &copy_path]);
    ensure!(
        code == Some(0)
            && text.contains("restored 1 realms, 3 roles, 2 principals, 1 definitions")
            && text.contains("n1, n2, n3"),
        "{text}"
    );
    check_restored(&fresh).await?;

    // The log has it: it is there after all nodes were down, and it is not put into place twice.
    fresh.kill_all();
    for node in 0..3 {
        fresh.launch(node)?;
    }
    for node in 0..3 {
        fresh.wait_ready(node).await?;
    }
    check_restored(&fresh).await?;
    let again = restored(&fresh, 1, &bytes, false).await?;
    refused(again, Code::FailedPrecondition, "realms, roles or principals of its own")
}

async fn check_restored(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let lamp = Client::login(&node.websocket, MADE, "lamp", TICKET)
            .await
            .with_context(|| node.name.clone())?;
        let called = lamp.call("com.narrow", &[json!(1), json!(2)]).await?;
        ensure!(
            called.is_err_and(|error| error.uri == "wamp.error.invalid_argument"),
            "the definition stands"
        );
        lamp.leave().await?;
        let wrong = Client::login(&node.websocket, MADE, "lamp", "another-ticket-altogether").await;
        ensure!(wrong.is_err(), "a wrong ticket");
        let seed = Client::login(&node.websocket, "com.example.seeded", "seed", SEEDED).await?;
        // Its role may more than the configuration had it begin with.
        seed.subscribe("com.anything").await??;
        seed.leave().await?;
    }
    let mut realms = RealmsClient::new(channel(cluster, 1).await?);
    let realms = realms.list(pb::ListRealmsRequest {}).await?.into_inner().realms;
    let made = realms.iter().find(|realm| realm.name == MADE).context("the realm")?;
    ensure!(
        made.settings
            .as_ref()
            .is_some_and(|settings| settings.call_timeout_max == 1_234),
        "{made:?}"
    );
    let roles = pb::ListRolesRequest { realm: REALM.to_owned() };
    let roles = RolesClient::new(channel(cluster, 2).await?)
        .list(roles)
        .await?
        .into_inner()
        .roles;
    ensure!(roles.iter().any(|role| role.name == "of-the-log" && !role.fixed), "{roles:?}");
    Ok(())
}

#[tokio::test]
async fn a_backup_of_another_cluster_is_put_into_place_only_where_that_is_said() -> Result<()> {
    let old = Cluster::start(Setup::Disks).await?;
    let put = pb::PutRealmRequest {
        realm: MADE.to_owned(),
        settings: None,
        expected: None,
    };
    RealmsClient::new(channel(&old, 0).await?).put(put).await?;
    let bytes = created(&old, 0).await?;
    drop(old);
    let fresh = cluster().await?;
    refused(
        restored(&fresh, 0, &bytes, false).await?,
        Code::FailedPrecondition,
        "--other-cluster",
    )?;
    let reply = restored(&fresh, 0, &bytes, true).await??;
    ensure!(
        reply.realms == 1 && reply.confirmed.len() == 3 && reply.cluster_id == "cluster-under-test",
        "{reply:?}"
    );
    // What the configuration seeded stays where the backup has nothing in its place.
    Client::login(&fresh.nodes[2].websocket, "com.example.seeded", "seed", SEEDED).await?;
    Ok(())
}
