use super::*;

fn read_one(method: &str, authid: Option<&str>, answer: Value) -> Option<Learned> {
    read(
        method,
        authid,
        &Payload::from_values(Serializer::Json, &[answer], &Dict::new()),
    )
}

#[test]
fn an_answer_gives_a_role_and_what_is_to_be_proved() {
    let learned = read_one("ticket", Some("joe"), Value::from("device")).unwrap();
    assert_eq!(
        (learned.principal.authid.as_str(), learned.principal.role.as_str()),
        ("joe", "device")
    );
    assert!(learned.principal.credentials.is_empty());
    let dict = Dict::new()
        .with("role", "user")
        .with("authid", "joe2")
        .with("secret", "open-sesame")
        .with("extra", Dict::new().with("floor", 3_u64));
    let learned = read_one("wampcra", Some("joe"), dict.into()).unwrap();
    assert_eq!(learned.principal.authid, "joe2");
    assert_eq!(learned.extra, Some(Dict::new().with("floor", 3_u64)));
    assert_eq!(
        learned.principal.credentials,
        [Credential::WampCra(CraKey::plain(b"open-sesame"))]
    );
    let key = "07".repeat(32);
    let dict = Dict::new()
        .with("role", "user")
        .with("authid", "joe")
        .with("pubkey", key.as_str());
    let learned = read_one("cryptosign", None, dict.into()).unwrap();
    assert_eq!(learned.principal.credentials, [Credential::CryptoSign([7; 32])]);
    let keys = ScramKeys::of("pencil", Kdf::Pbkdf2 { iterations: 7 }, vec![1; 16]).unwrap();
    let dict = Dict::new()
        .with("role", "user")
        .with("kdf", "pbkdf2")
        .with("iterations", 7_u64)
        .with("salt", BASE64_STANDARD.encode([1; 16]).as_str())
        .with("stored-key", crate::auth::cryptosign::hex(&keys.keys.stored).as_str())
        .with("server-key", BASE64_STANDARD.encode(keys.keys.server).as_str());
    let learned = read_one("scram", Some("joe"), dict.into()).unwrap();
    assert_eq!(learned.principal.credentials, [Credential::Scram(keys.clone())]);
    let text = Credential::Scram(keys.clone()).to_text();
    let dict = Dict::new().with("role", "user").with("credential", text.as_str());
    let learned = read_one("wamp-scram", Some("joe"), dict.clone().into()).unwrap();
    assert_eq!(learned.principal.credentials, [Credential::Scram(keys)]);
    assert!(read_one("wampcra", Some("joe"), dict.into()).is_none(), "of another method");
}

#[test]
fn what_says_too_little_or_nonsense_names_nobody() {
    let role = || Dict::new().with("role", "user");
    let salted = |iterations: u64| role().with("secret", "x").with("salt", "y").with("iterations", iterations);
    for (method, authid, answer) in [
        ("ticket", Some("joe"), Value::Null),
        ("ticket", Some("joe"), Value::from(true)),
        ("ticket", Some("joe"), Value::from("")),
        ("ticket", Some("joe"), Value::from("a\nb")),
        ("ticket", None, Value::from("user")),
        ("ticket", Some("joe"), Dict::new().with("authid", "joe").into()),
        ("wampcra", Some("joe"), Value::from("user")),
        ("wampcra", Some("joe"), role().with("secret", "").into()),
        ("wampcra", Some("joe"), salted(0).into()),
        ("wampcra", Some("joe"), salted(u64::MAX).into()),
        ("cryptosign", Some("joe"), role().with("pubkey", "07").into()),
        ("cryptosign", Some("joe"), role().into()),
        (
            "scram",
            Some("joe"),
            role().with("kdf", "md5").with("iterations", 7_u64).into(),
        ),
    ] {
        assert!(read_one(method, authid, answer.clone()).is_none(), "{method} {answer:?}");
    }
}
