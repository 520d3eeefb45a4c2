use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use super::*;
use crate::config::Bind;

/// A node by itself, on free ports.
async fn started(change: impl FnOnce(&mut Config)) -> (RunningNode, Channel) {
    let mut config = Config::default();
    config.listeners[0].address.set_port(0);
    config.admin.address = Bind(Some(([127, 0, 0, 1], 0).into()));
    change(&mut config);
    let node = start(config).await.unwrap();
    node.wait_ready().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", node.admin_address().unwrap())).unwrap();
    (node, endpoint.connect().await.unwrap())
}

#[tokio::test]
async fn the_admin_port_answers_health_checks_and_describes_its_services() {
    let (node, channel) = started(|_| ()).await;
    let asked = HealthCheckRequest { service: String::new() };
    // It is told a moment after the node itself knows.
    let mut told = HealthClient::new(channel.clone())
        .watch(asked.clone())
        .await
        .unwrap()
        .into_inner();
    while told.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    let health = HealthClient::new(channel.clone()).check(asked).await.unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);

    let wanted = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = tokio_stream::once(wanted);
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in ["Realms", "Roles", "Principals"] {
        let name = format!("ringfort.admin.v1.{service}");
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_change_is_answered_only_if_it_could_be_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let (node, channel) = started(|config| config.audit.path = Some(path.clone())).await;
    let mut roles = ringfort_proto::admin::v1::roles_client::RolesClient::new(channel);
    let put = |role: &str| ringfort_proto::admin::v1::PutRoleRequest {
        realm: "realm1".to_owned(),
        role: role.to_owned(),
        ..Default::default()
    };
    roles.put(put("first")).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("\"step\":\"done\"") && text.contains("put_role first"),
        "{text}"
    );
    // Nothing is written any more, as where the disk is gone.
    node.audit.finish();
    let refused = roles.put(put("second")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    assert!(refused.message().contains("nothing was changed"), "{refused}");
    let request = ringfort_proto::admin::v1::ListRolesRequest {
        realm: "realm1".to_owned(),
    };
    let standing = roles.list(request).await.unwrap().into_inner().roles;
    assert!(standing.iter().any(|role| role.name == "first") && !standing.iter().any(|role| role.name == "second"));
    node.stop().await;
}

#[tokio::test]
async fn a_realm_that_is_seeded_begins_with_what_the_configuration_says() {
    let (node, channel) = started(|config| {
        config.realms[0].rights = config::RightsFrom::Seed;
        config.principals.push(config::Principal {
            realm: "realm1".to_owned(),
            authid: "lamp".to_owned(),
            role: "device".to_owned(),
            ticket: config::Secret::new("a-ticket-long-enough"),
            ..config::Principal::default()
        });
    })
    .await;
    let realm = || "realm1".to_owned();
    let mut roles = ringfort_proto::admin::v1::roles_client::RolesClient::new(channel.clone());
    let standing = roles
        .list(ringfort_proto::admin::v1::ListRolesRequest { realm: realm() })
        .await
        .unwrap()
        .into_inner()
        .roles;
    assert_eq!(standing.len(), 1);
    assert!(standing[0].name == "anonymous" && !standing[0].fixed && standing[0].revision == 1);
    let mut principals = ringfort_proto::admin::v1::principals_client::PrincipalsClient::new(channel);
    let request = ringfort_proto::admin::v1::ListPrincipalsRequest {
        realm: realm(),
        after: String::new(),
    };
    let standing = principals.list(request).await.unwrap().into_inner().principals;
    assert!(standing.len() == 1 && !standing[0].fixed, "{standing:?}");
    assert_eq!(standing[0].credentials, ["ticket (sha256)"]);
    let request = ringfort_proto::admin::v1::RemovePrincipalRequest {
        realm: realm(),
        authid: "lamp".to_owned(),
        expected: Some(1),
    };
    assert_eq!(principals.remove(request).await.unwrap().into_inner().revision, 2);
    node.stop().await;
}
