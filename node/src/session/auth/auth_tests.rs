use super::*;
use crate::{auth::CertificateMatch, wamp::Value};

fn realm(anonymous: Anonymous) -> RealmAuth {
    let lamp = ("lamp".to_owned(), ("device".to_owned(), "shines".to_owned()));
    RealmAuth {
        anonymous,
        anonymous_role: "guest".into(),
        ..RealmAuth::with_tickets("realm1", &HashMap::from([lamp]))
    }
}

fn peer(address: [u8; 4]) -> PeerFacts {
    PeerFacts::from_address(address.into())
}

const HERE: [u8; 4] = [127, 0, 0, 1];
const AWAY: [u8; 4] = [10, 0, 0, 1];

fn begin(realm: &RealmAuth, methods: &[&str], authid: Option<&str>, peer: &PeerFacts) -> Result<Begin, NoMethod> {
    begin_with(realm, methods, authid, &Dict::new(), peer)
}

fn begin_with(
    realm: &RealmAuth,
    methods: &[&str],
    authid: Option<&str>,
    extra: &Dict,
    peer: &PeerFacts,
) -> Result<Begin, NoMethod> {
    let offer = Offer {
        methods,
        authid,
        extra: Some(extra),
    };
    let cluster: Arc<dyn crate::session::cluster::Cluster> = Arc::new(Ids);
    realm.begin(
        "realm1",
        offer,
        peer,
        &cookie::Cookies::new(1, std::time::Duration::ZERO),
        || Promise::draw(&cluster),
    )
}

/// A cluster that only gives out ids.
struct Ids;

impl crate::session::cluster::Cluster for Ids {
    fn propose(&self, _: &crate::wamp::Uri, _: crate::router::Op) {}
    fn forward(&self, _: &crate::wamp::Uri, _: crate::router::NodeRef, _: crate::wamp::SessionId, _: crate::router::PeerFrame) {}
    fn interest(&self, _: &crate::wamp::Uri, _: &crate::router::TopicKey, _: bool, _: u64) {}
    fn barrier(&self, _: &crate::wamp::Uri) {}
    fn flush(&self) {}
    fn new_session_id(&self) -> Option<crate::wamp::SessionId> {
        crate::wamp::SessionId::new(4711)
    }
}

fn challenge(begun: Result<Begin, NoMethod>) -> Challenged {
    match begun {
        Ok(Begin::Challenge(challenged)) => *challenged,
        other => panic!("no challenge but {other:?}"),
    }
}

#[test]
fn anonymous_is_admitted_where_the_realm_says_so() {
    for (anonymous, from, admitted) in [
        (Anonymous::Off, HERE, false),
        (Anonymous::Loopback, HERE, true),
        (Anonymous::Loopback, AWAY, false),
        (Anonymous::On, AWAY, true),
    ] {
        match begin(&realm(anonymous), &["anonymous"], Some("root"), &peer(from)) {
            Ok(Begin::Known(identity)) => {
                assert!(admitted);
                assert_eq!((identity.authrole.as_str(), identity.authmethod), ("guest", "anonymous"));
                assert_ne!(identity.authid, "root");
            }
            Err(NoMethod::AuthenticationRequired) => assert!(!admitted),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_first_offered_method_that_is_possible_is_taken() {
    let (realm, away) = (realm(Anonymous::On), peer(AWAY));
    let begun = challenge(begin(&realm, &["scram", "ticket", "anonymous"], Some("lamp"), &away));
    assert_eq!(begun.method, "ticket");
    assert!(matches!(
        begin(&realm, &["anonymous", "ticket"], Some("lamp"), &away),
        Ok(Begin::Known(_))
    ));
    assert!(matches!(
        begin(&realm, &["scram"], Some("lamp"), &away),
        Err(NoMethod::NoMatch)
    ));
    let nobody = RealmAuth::default();
    for methods in [["ticket", "scram"], ["ticket", "anonymous"]] {
        assert!(matches!(
            begin(&nobody, &methods, Some("lamp"), &away),
            Err(NoMethod::NoMatch)
        ));
    }
}

fn all_methods() -> RealmAuth {
    let seed = |authid: &str, clear: Vec<Clear>, credentials: Vec<Credential>| Seed {
        principal: Principal {
            authid: authid.into(),
            role: "device".into(),
            credentials,
        },
        clear,
    };
    let secret = || Secret::new("open-sesame");
    let kdf = crate::auth::kdf::Kdf::Pbkdf2 { iterations: 3 };
    let key = SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
    let certificate = CertificateMatch::from_text("cn:lamp").unwrap();
    let auth = RealmAuth::new(
        "realm1",
        vec![
            seed("ticket", vec![Clear::Ticket(secret())], vec![]),
            seed(
                "wampcra",
                vec![Clear::WampCra {
                    secret: secret(),
                    iterations: 10,
                }],
                vec![],
            ),
            seed("scram", vec![Clear::Scram { password: secret(), kdf }], vec![]),
            seed("cryptosign", vec![], vec![Credential::CryptoSign(key)]),
            seed("tls", vec![], vec![Credential::Certificate(certificate)]),
        ],
    );
    auth.principals.unlock(&[1; 16]);
    auth
}

fn extra() -> Dict {
    let key = SigningKey::from_bytes(&[5; 32]).verifying_key().to_bytes();
    Dict::new()
        .with("nonce", "AAAABBBB")
        .with("pubkey", crate::auth::cryptosign::hex(&key).as_str())
}

const METHODS: [&str; 4] = ["ticket", "wampcra", "scram", "cryptosign"];

#[test]
fn somebody_unknown_meets_the_same_challenge_always_and_the_verifier_runs() {
    let (realm, away) = (all_methods(), peer(AWAY));
    for method in METHODS {
        let keys = |challenged: &Challenged| {
            let keys = challenged.extra.0.iter().map(|(key, _)| key.clone());
            (challenged.method, keys.collect::<Vec<_>>())
        };
        let fixed = |challenged: &Challenged| {
            let of = |key: &str| challenged.extra.get(key).cloned();
            [of("salt"), of("iterations"), of("kdf"), of("keylen"), of("memory")]
        };
        let begun = |authid: &str| challenge(begin_with(&realm, &[method], Some(authid), &extra(), &away));
        let real = begun(method);
        // Unknown, and known without this method.
        for authid in ["ghost", "phantom", METHODS[usize::from(method == METHODS[0])]] {
            let ghost = begun(authid);
            assert_eq!(keys(&ghost), keys(&real), "{method} {authid}");
            assert_eq!(fixed(&ghost), fixed(&begun(authid)), "{method} {authid}");
            let length = |one: &Challenged| one.extra.text("salt").map(str::len);
            assert_eq!(length(&ghost), length(&real), "{method} {authid}");
            let before = realm.principals.verifications();
            assert!(matches!(ghost.pending.verify("AAAA", &Dict::new()), Verified::Denied));
            assert_eq!(realm.principals.verifications(), before + 1);
        }
        let before = realm.principals.verifications();
        assert!(matches!(real.pending.verify("AAAA", &Dict::new()), Verified::Denied));
        assert_eq!(realm.principals.verifications(), before + 1);
    }
}

#[test]
fn a_ticket_is_right_wrong_or_of_nobody() {
    let realm = realm(Anonymous::Off);
    let verify = |authid: &str, ticket: &str| {
        let begun = challenge(begin(&realm, &["ticket"], Some(authid), &peer(AWAY)));
        match begun.pending.verify(ticket, &Dict::new()) {
            Verified::As(identity) => Some((identity.authid, identity.authrole, identity.authmethod)),
            Verified::Denied | Verified::Learned(_) => None,
        }
    };
    assert_eq!(verify("lamp", "shines"), Some(("lamp".into(), "device".into(), "ticket")));
    for (authid, ticket) in [("lamp", "shine"), ("lamp", ""), ("ghost", "shines"), ("", "")] {
        assert_eq!(verify(authid, ticket), None);
    }
}

#[test]
fn a_principal_that_is_removed_while_it_authenticates_is_not_let_in() {
    let realm = all_methods();
    let key = SigningKey::from_bytes(&[9; 32]);
    let fan = Principal {
        authid: "fan".into(),
        role: "device".into(),
        credentials: vec![Credential::CryptoSign(key.verifying_key().to_bytes())],
    };
    for removed in [false, true] {
        realm.principals.put(fan.clone());
        let extra = Dict::new().with(
            "pubkey",
            crate::auth::cryptosign::hex(key.verifying_key().as_bytes()).as_str(),
        );
        // Without an authid: the key tells who it is.
        let begun = challenge(begin_with(&realm, &["cryptosign"], None, &extra, &peer(AWAY)));
        let asked = crate::auth::cryptosign::unhex(begun.extra.text("challenge").unwrap()).unwrap();
        if removed {
            realm.principals.remove("fan");
        }
        let verified = begun
            .pending
            .verify(&crate::auth::cryptosign::sign(&key, &asked), &Dict::new());
        match verified {
            Verified::As(identity) => assert!(!removed && identity.authid == "fan"),
            Verified::Denied | Verified::Learned(_) => assert!(removed),
        }
    }
}

#[test]
fn cryptosign_is_bound_to_the_channel_and_the_router_proves_itself() {
    let mut realm = all_methods();
    let router = SigningKey::from_bytes(&[8; 32]);
    realm.router_key = Some(Arc::new(router.clone()));
    let channel = [0x5A; 32];
    let bound = PeerFacts {
        tls: Some(Arc::new(TlsFacts {
            exporter: Some(channel),
            ..TlsFacts::default()
        })),
        ..peer(AWAY)
    };
    use crate::auth::cryptosign::{hex, message, sign, unhex, verify};
    let extra = extra()
        .with("channel_binding", "tls-exporter")
        .with("challenge", hex(&[3; 32]).as_str());
    let client = SigningKey::from_bytes(&[5; 32]);
    for (peer, id) in [(&bound, Some(&channel)), (&peer(AWAY), None)] {
        let begun = || challenge(begin_with(&realm, &["cryptosign"], Some("cryptosign"), &extra, peer));
        let one = begun();
        let binding = one.extra.get("channel_binding").cloned().unwrap();
        assert_eq!(binding.as_text(), id.map(|_| "tls-exporter"));
        assert_eq!(binding == Value::Null, id.is_none());
        let public = unhex(one.extra.text("pubkey").unwrap()).unwrap();
        assert_eq!(public, router.verifying_key().to_bytes());
        assert!(verify(&public, &message(&[3; 32], id), one.extra.text("signature").unwrap()));
        let asked = unhex(one.extra.text("challenge").unwrap()).unwrap();
        let signed = sign(&client, &message(&asked, id));
        assert!(matches!(one.pending.verify(&signed, &Dict::new()), Verified::As(_)));
        let two = begun();
        let asked = unhex(two.extra.text("challenge").unwrap()).unwrap();
        let signed = sign(&client, &message(&asked, Some(&[1; 32])));
        assert!(matches!(two.pending.verify(&signed, &Dict::new()), Verified::Denied));
    }
    let other = extra.with(
        "pubkey",
        hex(SigningKey::from_bytes(&[6; 32]).verifying_key().as_bytes()).as_str(),
    );
    let begun = challenge(begin_with(&realm, &["cryptosign"], Some("cryptosign"), &other, &bound));
    let asked = unhex(begun.extra.text("challenge").unwrap()).unwrap();
    let signed = sign(&SigningKey::from_bytes(&[6; 32]), &message(&asked, Some(&channel)));
    assert!(
        matches!(begun.pending.verify(&signed, &Dict::new()), Verified::Denied),
        "a key that is not the principal's"
    );
}

#[test]
fn a_client_certificate_is_the_principal_it_names_and_no_other() {
    let realm = all_methods();
    let with = |name: &str| PeerFacts {
        tls: Some(Arc::new(TlsFacts {
            certificate: vec![CertificateMatch::from_text(name).unwrap()],
            ..TlsFacts::default()
        })),
        ..peer(AWAY)
    };
    for (authid, name, known) in [
        (None, "cn:lamp", true),
        (Some("tls"), "cn:lamp", true),
        (Some("ticket"), "cn:lamp", false),
        (None, "cn:fan", false),
        (None, "dns:lamp", false),
    ] {
        let begun = begin(&realm, &["tls"], authid, &with(name));
        assert_eq!(matches!(&begun, Ok(Begin::Known(i)) if i.authid == "tls"), known, "{begun:?}");
    }
    assert!(begin(&realm, &["tls"], None, &peer(AWAY)).is_err());
}

#[test]
fn a_cookie_is_whom_it_was_bound_to_until_it_is_forgotten() {
    let realm = all_methods();
    let cookies = cookie::Cookies::new(2, std::time::Duration::from_secs(60));
    let drawn = |value: &str| Cookie {
        value: value.into(),
        drawn: true,
    };
    let with = |cookie: &str| PeerFacts {
        cookie: Some(drawn(cookie)),
        ..peer(AWAY)
    };
    let who = |cookie: &str, realm_name: &str, authid: Option<&str>| {
        cookies
            .identity(realm_name, authid, &with(cookie), &realm.principals)
            .map(|identity| identity.authid)
    };
    let ticket = realm.principals.by_authid("ticket").unwrap();
    assert_eq!(who("a", "realm1", None), None);
    cookies.bind(&drawn("a"), "realm1", &ticket);
    assert_eq!(who("a", "realm1", None).as_deref(), Some("ticket"));
    assert_eq!(who("a", "realm1", Some("lamp")), None);
    assert_eq!(who("a", "realm2", None), None);
    cookies.bind(&drawn("b"), "realm1", &ticket);
    cookies.bind(&drawn("c"), "realm1", &ticket);
    assert_eq!(who("a", "realm1", None), None, "the oldest makes room");
    cookies.forget("b");
    assert_eq!(who("b", "realm1", None), None);
    assert_eq!(who("c", "realm1", None).as_deref(), Some("ticket"));
    let fresh = cookie::Cookies::draw().unwrap();
    assert_eq!(cookie::Cookies::read(&format!("x=1; ringfort={fresh}; y=2")), Some(fresh));
    assert_eq!(cookie::Cookies::read("ringfort=short"), None);
}

#[test]
fn debug_prints_no_secret() {
    assert!(!format!("{:?}", realm(Anonymous::On)).contains("shines"));
    assert!(!format!("{:?}", all_methods()).contains("sesame"));
}
