//! Looking at a cluster and stepping in, over the admin port: sessions, registrations, subscriptions, slow consumers and taps, each asked of
//! one node about others, with its effect seen by WAMP clients; by the generated client, by one that knows reflection alone, and by the
//! command line.

#[path = "admin_inspect/support.rs"]
mod support;

#[path = "admin_inspect/generic.rs"]
mod generic;

#[path = "admin_inspect/command_line.rs"]
mod command_line;
#[path = "admin_inspect/tap.rs"]
mod tap;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use generic::Generic;
use ringfort_cluster_tests::{
    cluster::{Cluster, OTHER_REALM, REALM},
    process::Signal,
    wamp::Client,
};
use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use support::{channel, cluster, goodbye, records, until};
use tonic::Code;

#[tokio::test]
async fn sessions_of_all_nodes_are_listed_page_by_page_shown_and_ended() -> Result<()> {
    let mut cluster = cluster().await?;
    let mut clients = Vec::new();
    for turn in 0..9 {
        clients.push(cluster.nodes[turn % 3].join().await?);
    }
    let _elsewhere = Client::join(&cluster.nodes[0].websocket, OTHER_REALM).await?;
    let mine: BTreeSet<u64> = clients.iter().map(Client::session).collect();
    let mut sessions = pb::sessions_client::SessionsClient::new(channel(&cluster, 1).await?);
    let filter = |node: &str, source: &str| pb::ListSessionsRequest {
        realm: REALM.to_owned(),
        node: node.to_owned(),
        source: source.to_owned(),
        ..Default::default()
    };
    until("all are in the index", async || {
        let reply = sessions.list(filter("", "")).await?.into_inner();
        let seen: BTreeSet<u64> = reply.sessions.iter().map(|one| one.id).collect();
        Ok(seen.is_superset(&mine).then_some(()))
    })
    .await?;

    // Page by page, while others come and go: those that stay are seen once each.
    let (mut seen, mut token, mut passing) = (Vec::new(), String::new(), Vec::new());
    loop {
        let request = pb::ListSessionsRequest {
            page_size: 2,
            page_token: token,
            ..filter("", "")
        };
        let reply = sessions.list(request).await?.into_inner();
        ensure!(reply.sessions.len() <= 2 && reply.index > 0, "{reply:?}");
        seen.extend(reply.sessions.iter().map(|one| one.id).filter(|id| mine.contains(id)));
        token = reply.next_page_token;
        passing.push(cluster.nodes[seen.len() % 3].join().await?);
        if passing.len() > 2 {
            drop(passing.remove(0));
        }
        if token.is_empty() {
            break;
        }
    }
    drop(passing);
    ensure!(
        seen.iter().copied().collect::<BTreeSet<_>>() == mine && seen.len() == 9,
        "{seen:?}"
    );

    // Filters: a node, a place, another realm.
    let on_n3 = sessions.list(filter("n3", "")).await?.into_inner().sessions;
    ensure!(
        on_n3.len() >= 3 && on_n3.iter().all(|one| one.node == "n3" && one.authrole == "anonymous"),
        "{on_n3:?}"
    );
    let from_here = sessions.list(filter("", "127.0.0.1")).await?.into_inner();
    let seen: BTreeSet<u64> = from_here.sessions.iter().map(|one| one.id).collect();
    ensure!(seen.is_superset(&mine) && from_here.missing.is_empty(), "{from_here:?}");
    ensure!(
        from_here.sessions.iter().all(|one| one.source == "127.0.0.1"),
        "{from_here:?}"
    );
    ensure!(sessions.list(filter("", "192.0.2.7")).await?.into_inner().sessions.is_empty());
    // One that stays: those that were passing may be in the index for a moment yet.
    let one_of_mine = on_n3.iter().find(|one| mine.contains(&one.id)).context("none of mine")?;
    let by_name = pb::ListSessionsRequest {
        authid: one_of_mine.authid.clone(),
        ..Default::default()
    };
    ensure!(
        sessions
            .list(by_name)
            .await?
            .into_inner()
            .sessions
            .iter()
            .any(|one| one.id == one_of_mine.id)
    );
    for (request, says) in [
        (filter("n9", ""), "members are n1, n2, n3"),
        (filter("", "nowhere"), "IP address"),
        (
            pb::ListSessionsRequest {
                page_token: "x".to_owned(),
                ..Default::default()
            },
            "next_page_token",
        ),
    ] {
        let status = sessions.list(request).await.unwrap_err();
        ensure!(status.message().contains(says) && !status.details().is_empty(), "{status:?}");
    }

    // One, from another node than its own.
    let lamp = &clients[2];
    lamp.subscribe("com.a").await?.expect("SUBSCRIBED");
    let registered = lamp.register("com.b").await?.expect("REGISTERED");
    let shown = sessions.get(pb::GetSessionRequest { id: lamp.session() }).await?.into_inner();
    let session = shown.session.clone().context("a session")?;
    ensure!(
        (session.id, session.node.as_str(), session.source.as_str()) == (lamp.session(), "n3", "127.0.0.1"),
        "{shown:?}"
    );
    ensure!(
        (shown.transport.as_str(), shown.serializer.as_str(), shown.tls) == ("websocket", "json", false),
        "{shown:?}"
    );
    ensure!(
        (shown.registrations, shown.subscriptions, shown.last_request) == (1, 1, 2),
        "{shown:?}"
    );
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis() as u64;
    ensure!(now.abs_diff(shown.since_ms) < 120_000 && shown.bytes_out > 0, "{shown:?}");
    let status = sessions.get(pb::GetSessionRequest { id: 4711 }).await.unwrap_err();
    ensure!(status.code() == Code::NotFound, "{status:?}");
    drop(registered);

    // Ended: not without a selector; one; those of a node.
    let status = sessions.kill(pb::KillSessionsRequest::default()).await.unwrap_err();
    ensure!(
        status.code() == Code::InvalidArgument && status.message().contains("at least one of"),
        "{status:?}"
    );
    let one = pb::KillSessionsRequest {
        id: clients[2].session(),
        reason: "com.example.enough".to_owned(),
        message: "it is late".to_owned(),
        ..Default::default()
    };
    let reply = sessions.kill(one.clone()).await?.into_inner();
    ensure!(
        reply.nodes
            == [pb::EndedOnNode {
                node: "n3".to_owned(),
                ended: 1
            }]
            && reply.missing.is_empty(),
        "{reply:?}"
    );
    let said = goodbye(&mut clients[2]).await?;
    ensure!(
        said[2] == "com.example.enough" && said[1]["message"] == "it is late",
        "{said}"
    );
    let free = until("its procedure is free on another node", async || {
        Ok(clients[0].register("com.b").await?.ok())
    })
    .await?;
    drop(free);
    ensure!(sessions.kill(one).await.unwrap_err().code() == Code::NotFound);
    let of_node = pb::KillSessionsRequest {
        node: "n1".to_owned(),
        realm: REALM.to_owned(),
        authrole: "anonymous".to_owned(),
        ..Default::default()
    };
    let reply = sessions.kill(of_node).await?.into_inner();
    ensure!(reply.nodes.len() == 1 && reply.nodes[0].ended >= 3, "{reply:?}");
    for at in [0, 3, 6] {
        ensure!(goodbye(&mut clients[at]).await?[2] == "wamp.close.killed");
    }
    ensure!(
        clients[1].ended().is_none() && clients[4].ended().is_none(),
        "those of other nodes stay"
    );
    let changes = records(&cluster, 1, "change")?;
    let done: Vec<_> = changes.iter().filter(|one| one["step"] == "done").collect();
    ensure!(
        done.len() == 3 && done[0]["count"] == 1 && done[0]["admin"] == "loopback",
        "{changes:?}"
    );
    ensure!(
        done[2]["what"] == format!("kill_sessions authrole=anonymous realm={REALM} node=n1"),
        "{changes:?}"
    );

    // A node that does not answer is named, whether a list needs it or a session is there.
    cluster.process(2)?.signal(Signal::Stop)?;
    let begun = Instant::now();
    let partial = sessions.list(filter("", "127.0.0.1")).await?.into_inner();
    ensure!(partial.missing == ["n3"] && !partial.sessions.is_empty(), "{partial:?}");
    ensure!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let mut hurried = tonic::Request::new(filter("", "127.0.0.1"));
    hurried.set_timeout(Duration::from_millis(1_200));
    let begun = Instant::now();
    let reply = sessions.list(hurried).await?.into_inner();
    ensure!(
        reply.missing == ["n3"] && begun.elapsed() < Duration::from_millis(1_800),
        "{:?}",
        begun.elapsed()
    );
    let status = sessions
        .get(pb::GetSessionRequest {
            id: clients[5].session(),
        })
        .await
        .unwrap_err();
    ensure!(
        status.code() == Code::Unavailable && status.message().contains("n3"),
        "{status:?}"
    );
    cluster.process(2)?.signal(Signal::Continue)?;
    Ok(())
}

#[tokio::test]
async fn registrations_are_listed_with_what_callees_have_under_way_and_taken_back() -> Result<()> {
    let cluster = cluster().await?;
    let callee = cluster.nodes[2].join().await?;
    let caller = cluster.nodes[0].join().await?;
    let mut alarm = callee.register("com.house.alarm").await?.expect("REGISTERED");
    let _light = cluster.nodes[1].join().await?;
    let light = _light.register("com.house.light").await?.expect("REGISTERED");
    let mut registrations = pb::registrations_client::RegistrationsClient::new(channel(&cluster, 0).await?);
    let filter = |prefix: &str, node: &str| pb::ListRegistrationsRequest {
        realm: REALM.to_owned(),
        uri_prefix: prefix.to_owned(),
        node: node.to_owned(),
        ..Default::default()
    };
    let uris = |reply: pb::ListRegistrationsReply| reply.registrations.into_iter().map(|one| one.uri).collect::<Vec<_>>();
    until("both are listed on another node", async || {
        let found = uris(registrations.list(filter("com.house.", "")).await?.into_inner());
        Ok((found.len() == 2).then_some(()))
    })
    .await?;
    ensure!(uris(registrations.list(filter("com.house.", "n3")).await?.into_inner()) == ["com.house.alarm"]);
    ensure!(uris(registrations.list(filter("com.house.l", "")).await?.into_inner()) == ["com.house.light"]);
    let first = pb::ListRegistrationsRequest {
        page_size: 1,
        ..filter("com.house.", "")
    };
    let first = registrations.list(first).await?.into_inner();
    let second = pb::ListRegistrationsRequest {
        page_size: 1,
        page_token: first.next_page_token.clone(),
        ..filter("com.house.", "")
    };
    let second = registrations.list(second).await?.into_inner();
    ensure!(
        first.registrations[0].id < second.registrations[0].id && second.next_page_token.is_empty(),
        "{first:?} {second:?}"
    );

    // What a callee of another node has under way.
    let open = caller.start_call("com.house.alarm", &[json!(1)]).await?;
    let invocation = alarm.invocations.recv().await.context("an invocation")?;
    let by_uri = pb::GetRegistrationRequest {
        realm: REALM.to_owned(),
        uri: "com.house.alarm".to_owned(),
        ..Default::default()
    };
    let shown = registrations.get(by_uri.clone()).await?.into_inner();
    let state = shown.callees[0].state.context("a state")?;
    ensure!(
        shown.callees[0].session == callee.session() && shown.callees[0].node == "n3",
        "{shown:?}"
    );
    ensure!(
        (state.open_invocations, state.concurrency) == (1, 0) && shown.missing.is_empty(),
        "{shown:?}"
    );

    // Taken back: what is with the callee goes on, nothing new goes there, and it may come again.
    let id = shown.registration.context("a registration")?.id;
    let remove = |session| pb::RemoveRegistrationRequest {
        realm: REALM.to_owned(),
        id,
        session,
        ..Default::default()
    };
    let status = registrations.remove(remove(caller.session())).await.unwrap_err();
    ensure!(
        status.code() == Code::NotFound && status.message().contains("no callee"),
        "{status:?}"
    );
    let reply = registrations.remove(remove(callee.session())).await?.into_inner();
    ensure!(
        reply.removed == 1 && reply.confirmed.len() == 3 && reply.unconfirmed.is_empty(),
        "{reply:?}"
    );
    callee.yields(invocation.request, &[json!(2)]).await?;
    ensure!(open.within(Duration::from_secs(10)).await?.expect("RESULT") == [json!(2)]);
    for node in &cluster.nodes {
        let missed = node
            .join()
            .await?
            .call("com.house.alarm", &[])
            .await?
            .expect_err("nobody is there");
        ensure!(missed.uri == "wamp.error.no_such_procedure", "{missed:?}");
    }
    ensure!(registrations.get(by_uri).await.unwrap_err().code() == Code::NotFound);
    ensure!(registrations.remove(remove(0)).await.unwrap_err().code() == Code::NotFound);
    callee.register("com.house.alarm").await?.expect("REGISTERED again");
    let all = pb::RemoveRegistrationRequest {
        realm: REALM.to_owned(),
        id: light.id,
        reason: "com.example.off".to_owned(),
        ..Default::default()
    };
    ensure!(registrations.remove(all).await?.into_inner().removed == 1);
    let changes = records(&cluster, 0, "change")?;
    ensure!(
        changes
            .iter()
            .any(|one| one["step"] == "done" && one["what"] == "remove_registration exact com.house.light"),
        "{changes:?}"
    );
    Ok(())
}

#[tokio::test]
async fn subscriptions_and_slow_consumers_are_put_together_from_all_nodes() -> Result<()> {
    let cluster = cluster().await?;
    let mut subscribers = Vec::new();
    for node in [0, 1, 1, 2] {
        let client = cluster.nodes[node].join().await?;
        let subscription = client.subscribe("com.news.local").await?.expect("SUBSCRIBED");
        subscribers.push((client, subscription));
    }
    let prefix = json!({ "match": "prefix" });
    let _all = subscribers[3]
        .0
        .subscribe_with("com.news.", prefix)
        .await?
        .expect("SUBSCRIBED");
    let mut subscriptions = pb::subscriptions_client::SubscriptionsClient::new(channel(&cluster, 2).await?);
    let filter = |prefix: &str, node: &str, page_size| pb::ListSubscriptionsRequest {
        realm: REALM.to_owned(),
        uri_prefix: prefix.to_owned(),
        node: node.to_owned(),
        page_size,
        ..Default::default()
    };
    let all = subscriptions.list(filter("com.news.", "", 0)).await?.into_inner();
    ensure!(
        all.subscriptions.len() == 2 && all.missing.is_empty() && all.next_page_token.is_empty(),
        "{all:?}"
    );
    let exact = all.subscriptions.iter().find(|one| one.r#match == "exact").context("exact")?;
    let by_node: Vec<_> = exact.nodes.iter().map(|of| (of.node.as_str(), of.subscribers)).collect();
    ensure!(by_node == [("n1", 1), ("n2", 2), ("n3", 1)], "{exact:?}");
    let first = subscriptions.list(filter("com.news.", "", 1)).await?.into_inner();
    ensure!(
        first.subscriptions.len() == 1 && !first.next_page_token.is_empty(),
        "{first:?}"
    );
    let second = pb::ListSubscriptionsRequest {
        page_token: first.next_page_token.clone(),
        ..filter("com.news.", "", 1)
    };
    let second = subscriptions.list(second).await?.into_inner();
    ensure!(
        second.subscriptions.len() == 1 && second.subscriptions[0].id != first.subscriptions[0].id,
        "{second:?}"
    );
    let on_n2 = subscriptions.list(filter("com.news.", "n2", 0)).await?.into_inner();
    ensure!(
        on_n2.subscriptions.len() == 1 && on_n2.subscriptions[0].nodes[0].subscribers == 2,
        "{on_n2:?}"
    );
    let get = |uri: &str, id| pb::GetSubscriptionRequest {
        realm: REALM.to_owned(),
        id,
        uri: uri.to_owned(),
        ..Default::default()
    };
    let shown = subscriptions
        .get(get("com.news.local", 0))
        .await?
        .into_inner()
        .subscription
        .context("one")?;
    let seen: BTreeSet<u64> = shown.nodes.iter().flat_map(|of| of.sessions.clone()).collect();
    ensure!(
        seen == subscribers.iter().map(|(client, _)| client.session()).collect(),
        "{shown:?}"
    );
    ensure!(
        subscriptions
            .get(get("", shown.id))
            .await?
            .into_inner()
            .subscription
            .context("one")?
            .uri
            == "com.news.local"
    );
    ensure!(subscriptions.get(get("com.nobody", 0)).await.unwrap_err().code() == Code::NotFound);

    // One that does not read falls behind, is seen from another node, and is gone from the list when it is gone.
    let mut slow = pb::slow_consumers_client::SlowConsumersClient::new(channel(&cluster, 0).await?);
    let none = slow.list(pb::ListSlowConsumersRequest::default()).await?.into_inner();
    ensure!(none.consumers.is_empty() && none.missing.is_empty(), "{none:?}");
    let stuck = stuck(&cluster, 2).await?;
    let publisher = cluster.nodes[2].join().await?;
    let text = "x".repeat(16 << 10);
    let found = until("it is seen", async || {
        for _ in 0..50 {
            publisher.publish("com.flood", &[json!(text)]).await?;
        }
        let reply = slow.list(pb::ListSlowConsumersRequest::default()).await?.into_inner();
        Ok(reply.consumers.into_iter().find(|one| one.dropped > 0))
    })
    .await?;
    ensure!(
        found.node == "n3" && found.realm == REALM && found.outbox_bytes > 0 && found.since_ms > 0,
        "{found:?}"
    );
    ensure!(found.outbox_bytes <= found.outbox_bytes_max, "{found:?}");
    drop(stuck);
    until("it is gone", async || {
        let reply = slow.list(pb::ListSlowConsumersRequest::default()).await?.into_inner();
        Ok(reply.consumers.is_empty().then_some(()))
    })
    .await
}

/// A session that subscribes to `com.flood` and never reads again.
async fn stuck(cluster: &Cluster, node: usize) -> Result<tokio::net::TcpStream> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address = cluster.nodes[node].rawsocket.trim_start_matches("tcp://");
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(&[0x7f, 0xf1, 0, 0]).await?;
    stream.read_exact(&mut [0; 4]).await?;
    for text in [r#"[1,"realm1",{"roles":{"subscriber":{}}}]"#, r#"[32,1,{},"com.flood"]"#] {
        stream.write_all(&u32::try_from(text.len())?.to_be_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
        let length = stream.read_u32().await?;
        stream.read_exact(&mut vec![0; length as usize]).await?;
    }
    Ok(stream)
}

#[tokio::test]
async fn a_client_that_knows_reflection_alone_finds_and_calls_every_service() -> Result<()> {
    let cluster = cluster().await?;
    let client = cluster.nodes[1].join().await?;
    client.subscribe("com.a").await?.expect("SUBSCRIBED");
    client.register("com.b").await?.expect("REGISTERED");
    let generic = Generic::learn(channel(&cluster, 0).await?).await?;
    let methods = [
        ("Sessions", &["List", "Get", "Kill"][..]),
        ("Registrations", &["List", "Get", "Remove"]),
        ("Subscriptions", &["List", "Get"]),
        ("SlowConsumers", &["List"]),
        ("Tap", &["Watch"]),
    ];
    for (service, expected) in methods {
        let name = format!("ringfort.admin.v1.{service}");
        ensure!(generic.services.contains(&name), "{:?}", generic.services);
        ensure!(generic.methods(&name) == expected, "{service}: {:?}", generic.methods(&name));
    }
    ensure!(
        !generic.services.iter().any(|name| name.contains("cluster.v1")),
        "{:?}",
        generic.services
    );
    let call = |service: &str, method: &str, request: String| {
        let service = format!("ringfort.admin.v1.{service}");
        let (generic, method) = (&generic, method.to_owned());
        async move { generic.call(&service, &method, &request).await }
    };
    let id = client.session();
    until("the log has it", async || {
        let reply = call("Sessions", "List", format!("realm: '{REALM}'")).await?;
        Ok(reply.to_string().contains(&id.to_string()).then_some(()))
    })
    .await?;
    let shown = call("Sessions", "Get", format!("id: {id}")).await?.to_string();
    ensure!(
        shown.contains("node:\"n2\"") && shown.contains("transport:\"websocket\""),
        "{shown}"
    );
    let listed = call("Registrations", "List", String::new()).await?.to_string();
    ensure!(listed.contains("com.b"), "{listed}");
    let shown = call("Registrations", "Get", format!("realm: '{REALM}', uri: 'com.b'"))
        .await?
        .to_string();
    ensure!(shown.contains(&format!("session:{id}")), "{shown}");
    let listed = call("Subscriptions", "List", String::new()).await?.to_string();
    ensure!(listed.contains("com.a"), "{listed}");
    call("SlowConsumers", "List", String::new()).await?;
    let refused = call("Sessions", "Kill", String::new()).await.unwrap_err();
    ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
    Ok(())
}
