pub(crate) mod router;

use std::time::Duration;

use self::router::Router;
use super::*;

const SERIALIZERS: [Serializer; 3] = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor];

fn options(url: &str, serializer: Serializer) -> Options {
    let mut options = Options::new(url.parse().unwrap(), "realm1");
    options.serializer = serializer;
    options.timeout = Duration::from_secs(5);
    options
}

fn values() -> (Vec<Value>, Dict) {
    let list = vec![
        Value::Null,
        Value::Bool(true),
        Value::Integer(-7),
        Value::Float(0.5),
        Value::from("ü"),
        Value::Binary(vec![0, 255]),
    ];
    (
        vec![Value::List(list), Value::Integer(1 << 53)],
        Dict::new().with("on", true).with("deep", Dict::new().with("x", 1_u64)),
    )
}

#[tokio::test]
async fn calls_events_and_registrations_work_over_both_transports_in_all_serializers() {
    let router = Router::start(None).await;
    for scheme in ["ws", "tcp"] {
        for serializer in SERIALIZERS {
            let client = Client::connect(options(&router.url(scheme), serializer)).await.unwrap();
            let (args, kwargs) = values();

            let reply = client.call("echo", &args, &kwargs).await.unwrap();
            assert_eq!(
                (reply.args, reply.kwargs),
                (args.clone(), kwargs.clone()),
                "{scheme} {serializer:?}"
            );

            let mut first = client.subscribe("topic").await.unwrap();
            let mut second = client.subscribe("topic").await.unwrap();
            client.publish("topic", &args, &kwargs).await.unwrap();
            assert_eq!(first.next().await.unwrap().args, args);
            assert_eq!(second.next().await.unwrap().kwargs, kwargs);
            client.unsubscribe(first).await.unwrap();
            client.publish_unacknowledged("topic", &[], &Dict::new()).await.unwrap();
            assert_eq!(second.next().await.unwrap().args, []);
            client.unsubscribe(second).await.unwrap();

            let mut registration = client.register("twice").await.unwrap();
            let callee = tokio::spawn(async move {
                let twice = |args: Vec<Value>, kwargs: Dict| async move {
                    let text = args.first().and_then(Value::as_text).map(|text| text.repeat(2));
                    let refused = || Failure {
                        error: "not.text".to_owned(),
                        message: "text is wanted".to_owned(),
                    };
                    Ok(Reply {
                        args: vec![Value::from(text.ok_or_else(refused)?)],
                        kwargs,
                    })
                };
                registration.serve(twice).await;
            });
            let reply = client.call("twice", &[Value::from("ab")], &Dict::new()).await.unwrap();
            assert_eq!(reply.args, [Value::from("abab")]);
            let error = client.call("twice", &[], &Dict::new()).await.unwrap_err();
            assert_eq!(error.to_string(), "not.text: text is wanted");

            client.leave().await.unwrap();
            callee.await.unwrap();
            assert!(matches!(
                client.call("echo", &[], &Dict::new()).await,
                Err(Error::Closed { .. })
            ));
        }
    }
}

#[tokio::test]
async fn a_large_message_passes_and_a_too_large_one_is_not_sent() {
    let router = Router::start(None).await;
    for scheme in ["ws", "tcp"] {
        let client = Client::connect(options(&router.url(scheme), Serializer::MsgPack))
            .await
            .unwrap();
        let big = [Value::Binary(vec![7; 3 << 20])];
        assert_eq!(client.call("echo", &big, &Dict::new()).await.unwrap().args, big);
        let error = client
            .call("echo", &[Value::Binary(vec![7; 17 << 20])], &Dict::new())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::TooLarge { limit: 16_777_216, .. }), "{error}");
        // The refused call took no request id: the router would end the session over a gap.
        assert!(client.call("echo", &[], &Dict::new()).await.is_ok());
    }
}

#[tokio::test]
async fn many_callers_share_a_session_and_ids_stay_in_order() {
    let router = Router::start(None).await;
    let mut options = options(&router.url("tcp"), Serializer::Cbor);
    options.queue = 2;
    let client = Client::connect(options).await.unwrap();
    let callers = (0..50_u64).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(
                    client.call("echo", &[number.into()], &Dict::new()).await.unwrap().args,
                    [number.into()]
                );
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn an_unanswered_invocation_ends_in_an_error_for_its_caller() {
    let router = Router::start(None).await;
    let client = Client::connect(options(&router.url("ws"), Serializer::Json)).await.unwrap();
    let mut registration = client.register("forgetful").await.unwrap();
    let nothing = Dict::new();
    let (answer, ()) = tokio::join!(client.call("forgetful", &[], &nothing), async {
        drop(registration.next().await)
    });
    assert!(answer.unwrap_err().to_string().starts_with("wamp.error.canceled"));
    client.unregister(registration).await.unwrap();
    let error = client.call("forgetful", &[], &Dict::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "wamp.error.no_such_procedure");
}

#[tokio::test]
async fn open_calls_end_when_the_router_goes() {
    let router = Router::start(None).await;
    let client = Client::connect(options(&router.url("tcp"), Serializer::Json)).await.unwrap();
    let mut subscription = client.subscribe("topic").await.unwrap();
    let call = client.call("die", &[], &Dict::new()).await;
    assert!(matches!(call, Err(Error::Closed { .. })), "{call:?}");
    assert_eq!(subscription.next().await, None);
    assert!(matches!(client.closed().await, Error::Closed { .. }));
    let client = Client::connect(options(&router.url("ws"), Serializer::Json)).await.unwrap();
    let call = client.call("goodbye", &[], &Dict::new()).await.unwrap_err();
    assert_eq!(
        call.to_string(),
        "the session has ended: the router said goodbye: wamp.close.system_shutdown"
    );
}

#[tokio::test]
async fn a_call_without_an_answer_times_out_and_the_session_goes_on() {
    let router = Router::start(None).await;
    let mut options = options(&router.url("tcp"), Serializer::Json);
    options.timeout = Duration::from_millis(200);
    let client = Client::connect(options).await.unwrap();
    let error = client.call("silence", &[], &Dict::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "no RESULT within 200 ms");
    assert!(client.call("echo", &[], &Dict::new()).await.is_ok());
}

#[tokio::test]
async fn a_ticket_opens_the_door_and_is_printed_nowhere() {
    let router = Router::start(None).await;
    let mut options = options(&router.url("ws"), Serializer::Json);
    options.auth = Auth::Ticket {
        authid: "lamp".to_owned(),
        ticket: Ticket::new("open sesame"),
    };
    assert!(!format!("{options:?}").contains("sesame"));
    let client = Client::connect(options.clone()).await.unwrap();
    assert_eq!(client.welcome().text("authid"), Some("lamp"));
    options.auth = Auth::Ticket {
        authid: "lamp".to_owned(),
        ticket: Ticket::new("wrong"),
    };
    let error = Client::connect(options).await.map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the router ended the session: wamp.error.authentication_failed (not that ticket)"
    );
}

#[tokio::test]
async fn tls_trusts_the_named_authority_only() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let router = Router::start(Some((certificate.der().clone(), key.serialize_der()))).await;
    for scheme in ["wss", "tcps"] {
        let mut options = options(&router.url(scheme), Serializer::Cbor);
        options.trust = Trust::File(ca.clone());
        Client::connect(options.clone())
            .await
            .unwrap()
            .call("echo", &[], &Dict::new())
            .await
            .unwrap();
        options.url = router.url(scheme).replace("localhost", "127.0.0.1").parse().unwrap();
        let error = Client::connect(options.clone()).await.map(drop).unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "another name must be refused: {error}");
        options.trust = Trust::Anybody;
        Client::connect(options.clone()).await.unwrap();
        options.trust = Trust::File(directory.path().join("none.pem"));
        assert!(
            Client::connect(options)
                .await
                .map(drop)
                .unwrap_err()
                .to_string()
                .contains("none.pem")
        );
    }
}

#[tokio::test]
async fn what_is_no_router_is_told_apart() {
    let router = Router::start(None).await;
    let error = |url: String| async move {
        Client::connect(options(&url, Serializer::Json))
            .await
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(
        error(format!("ws://{free}/ws"))
            .await
            .starts_with("cannot connect to 127.0.0.1:")
    );
    assert!(
        error(router.url("ws").replace("/ws", "/other"))
            .await
            .contains("it answered 404")
    );
    let mut options = options(&router.url("ws"), Serializer::Json);
    options.realm = "nowhere".to_owned();
    let refused = Client::connect(options).await.map(drop).unwrap_err().to_string();
    assert_eq!(refused, "the router ended the session: wamp.error.no_such_realm");
}

#[test]
fn urls_are_read_and_wrong_ones_explained() {
    let url: Url = "wss://[::1]/ws".parse().unwrap();
    assert_eq!((url.scheme, url.host.as_str(), url.port), (Scheme::Wss, "::1", 443));
    assert_eq!(url.authority(), "[::1]:443");
    let url: Url = "tcp://example.org:8080".parse().unwrap();
    assert_eq!((url.scheme, url.host.as_str(), url.port), (Scheme::Tcp, "example.org", 8080));
    for (text, why) in [
        ("http://x/", "ws://, wss://, tcp:// or tcps://"),
        ("tcp://x", "the port is missing"),
        ("x", "ws://, wss://"),
        ("ws://a:b@x/", "credentials"),
        ("ws:// x", "not readable"),
    ] {
        let error = text.parse::<Url>().unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
