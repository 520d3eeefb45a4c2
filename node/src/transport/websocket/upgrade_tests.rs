use super::*;

fn head(fields: &str) -> Head {
    let text = format!("GET /ws?x=1 HTTP/1.1\r\nHost: lamp.example:8080\r\n{fields}\r\n");
    Head::parse(text.as_bytes(), 4096).unwrap().unwrap()
}

const GOOD: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn judge(more: &str, origins: &Origins) -> Result<Upgrade, Refusal> {
    accept(&head(&format!("{GOOD}{more}")), origins, Subprotocol::Required, "")
}

fn status(result: Result<Upgrade, Refusal>) -> u16 {
    result.map_or_else(|refusal| refusal.status.as_u16(), |_| 101)
}

#[test]
fn the_first_offered_subprotocol_that_is_known_is_taken() {
    let upgrade = judge(
        "Sec-WebSocket-Protocol: wamp.2.ubjson.batched, wamp.2.cbor\r\nSec-WebSocket-Protocol: wamp.2.json\r\n",
        &Origins::Any,
    );
    let upgrade = upgrade.unwrap();
    assert_eq!(upgrade.serializer, Serializer::Cbor);
    assert!(upgrade.response.starts_with("HTTP/1.1 101 "));
    // The example of RFC 6455.
    assert!(
        upgrade
            .response
            .contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
    );
    assert!(upgrade.response.contains("Sec-WebSocket-Protocol: wamp.2.cbor\r\n"));
}

#[test]
fn batched_subprotocols_are_chosen_like_the_others() {
    for (offered, chosen, framing) in [
        (
            "wamp.2.json.batched, wamp.2.json",
            "wamp.2.json.batched",
            Framing::WebSocketTextBatch,
        ),
        ("wamp.2.json, wamp.2.json.batched", "wamp.2.json", Framing::WebSocketText),
        ("wamp.2.cbor.batched", "wamp.2.cbor.batched", Framing::WebSocketBinaryBatch),
        (
            "wamp.2.batched, wamp.2.msgpack.batched",
            "wamp.2.msgpack.batched",
            Framing::WebSocketBinaryBatch,
        ),
    ] {
        let upgrade = judge(&format!("Sec-WebSocket-Protocol: {offered}\r\n"), &Origins::Any).unwrap();
        assert_eq!(upgrade.framing, framing, "{offered}");
        let told = format!("Sec-WebSocket-Protocol: {chosen}\r\n");
        assert!(upgrade.response.contains(&told), "{offered}: {}", upgrade.response);
    }
    assert_eq!(
        status(judge(
            "Sec-WebSocket-Protocol: wamp.2.json.batched.batched\r\n",
            &Origins::Any
        )),
        400
    );
}

#[test]
fn without_a_known_subprotocol_there_is_no_upgrade() {
    assert_eq!(status(judge("", &Origins::Any)), 400);
    assert_eq!(
        status(judge("Sec-WebSocket-Protocol: chat, wamp.2.flurry\r\n", &Origins::Any)),
        400
    );
}

#[test]
fn where_the_subprotocol_is_optional_a_client_that_names_none_speaks_json() {
    let judge = |more: &str| accept(&head(&format!("{GOOD}{more}")), &Origins::Any, Subprotocol::Optional, "");
    let upgrade = judge("").unwrap();
    assert_eq!(upgrade.serializer, Serializer::Json);
    assert!(!upgrade.response.contains("Sec-WebSocket-Protocol"), "{}", upgrade.response);
    assert!(upgrade.response.ends_with("=\r\n\r\n"));
    let named = judge("Sec-WebSocket-Protocol: wamp.2.cbor\r\n").unwrap();
    assert_eq!(named.serializer, Serializer::Cbor);
    assert_eq!(status(judge("Sec-WebSocket-Protocol: chat\r\n")), 400, "it names another");
}

#[test]
fn malformed_handshakes_are_refused() {
    let protocol = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
    let with = |from: &str, to: &str| {
        accept(
            &head(&format!("{}{protocol}", GOOD.replace(from, to))),
            &Origins::Any,
            Subprotocol::Required,
            "",
        )
    };
    assert_eq!(status(with("", "")), 101);
    assert_eq!(status(with("Version: 13", "Version: 8")), 426);
    assert_eq!(status(with("dGhlIHNhbXBsZSBub25jZQ==", "short")), 400);
    assert_eq!(status(with("Sec-WebSocket-Key", "X-Key")), 400);
    assert!(!is_upgrade(&head("Upgrade: h2c\r\nConnection: Upgrade\r\n")));
    assert!(!is_upgrade(&head("Upgrade: websocket\r\nConnection: close\r\n")));
    assert!(is_upgrade(&head(GOOD)));
}

#[test]
fn origins_are_admitted_as_configured() {
    let origin = |origin: &str, origins: &Origins| {
        status(judge(
            &format!("Sec-WebSocket-Protocol: wamp.2.json\r\nOrigin: {origin}\r\n"),
            origins,
        ))
    };
    let listed = Origins::from_list(&["https://a.example".to_owned()]);
    assert_eq!(origin("https://a.example", &listed), 101);
    assert_eq!(origin("https://A.Example", &listed), 101);
    assert_eq!(origin("https://a.example.evil", &listed), 403);
    assert_eq!(origin("http://a.example", &listed), 403);
    assert_eq!(origin("http://lamp.example:8080", &listed), 101);
    assert_eq!(origin("null", &listed), 403);
    let same = Origins::from_list(&[]);
    assert_eq!(origin("http://lamp.example:8080", &same), 101);
    assert_eq!(origin("https://lamp.example:8080", &same), 101);
    assert_eq!(origin("http://lamp.example", &same), 403);
    assert_eq!(origin("https://evil.example", &same), 403);
    assert_eq!(origin("null", &same), 403);
    assert_eq!(origin("https://evil.example", &Origins::from_list(&["*".to_owned()])), 101);
    // A client that is no browser sends none.
    assert_eq!(status(judge("Sec-WebSocket-Protocol: wamp.2.json\r\n", &same)), 101);
}
