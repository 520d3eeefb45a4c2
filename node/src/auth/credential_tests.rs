use super::*;

fn clears() -> Vec<Clear> {
    let secret = || Secret::new("open-sesame");
    vec![
        Clear::Ticket(secret()),
        Clear::WampCra {
            secret: secret(),
            iterations: 0,
        },
        Clear::WampCra {
            secret: secret(),
            iterations: 10,
        },
        Clear::Scram {
            password: secret(),
            kdf: Kdf::Pbkdf2 { iterations: 10 },
        },
        Clear::Scram {
            password: secret(),
            kdf: Kdf::Argon2id {
                memory: 16,
                iterations: 1,
            },
        },
    ]
}

#[test]
fn every_credential_is_itself_after_its_text_form_and_shows_nothing() {
    let mut all: Vec<Credential> = clears().iter().map(|clear| clear.credential([3; 16]).unwrap()).collect();
    all.push(Credential::CryptoSign([0xAB; 32]));
    for text in [
        "tls:cn:lamp",
        "tls:dns:lamp.example.org",
        "tls:uri:urn:dev:1",
        "tls:email:a@b.c",
    ] {
        all.push(text.parse().unwrap());
    }
    all.push(format!("tls:sha256:{}", "AB:".repeat(31) + "AB").parse().unwrap());
    let slow = TicketVerifier::of(b"open-sesame", Some(Kdf::Pbkdf2 { iterations: 3 }), vec![1; 16]);
    all.push(Credential::Ticket(slow.unwrap()));
    for credential in all {
        let text = credential.to_text();
        assert_eq!(text.parse::<Credential>().unwrap(), credential);
        let json = serde_json::to_string(&credential).unwrap();
        assert_eq!(serde_json::from_str::<Credential>(&json).unwrap(), credential);
        let shown = format!("{credential:?} {}", credential.shape());
        assert!(!shown.contains("sesame"));
        let last = text.rsplit(':').next().unwrap();
        if !matches!(credential, Credential::CryptoSign(_) | Credential::Certificate(_)) {
            assert!(!shown.contains(last), "{shown}");
        }
    }
    for clear in clears() {
        assert!(!format!("{clear:?}").contains("sesame"));
    }
}

#[test]
fn what_is_no_credential_is_refused_without_repeating_it() {
    for text in [
        "",
        "sesame",
        "password:sesame",
        "ticket:sha256:AAAA:AAAA",
        "ticket:md5:AAAAAAAAAAAAAAAAAAAAAA==:AAAA",
        "wampcra:plain:",
        "wampcra:pbkdf2:0:32:AAAA:AAAA",
        "scram:pbkdf2:4096:AAAAAAAAAAAAAAAAAAAAAA==:AAAA:AAAA",
        "scram:argon2id13:4294967295:1:AAAAAAAAAAAAAAAAAAAAAA==",
        "cryptosign:abcd",
        "tls:sha256:abcd",
        "tls:ip:10.0.0.1",
        "tls:cn:",
    ] {
        let error = text.parse::<Credential>().unwrap_err().to_string();
        assert!(!error.contains("sesame") && !error.contains("AAAA"), "{error}");
    }
    let ticket = clears()[0].credential([3; 16]).unwrap().to_text();
    assert!(format!("{ticket}:AAAA").parse::<Credential>().is_err(), "a field too many");
}

#[test]
fn verifiers_know_their_secret_and_no_other() {
    let ticket = |kdf| TicketVerifier::of(b"open-sesame", kdf, vec![1; 16]).unwrap();
    for verifier in [ticket(None), ticket(Some(Kdf::Pbkdf2 { iterations: 2 }))] {
        assert!(verifier.verify(b"open-sesame"));
        assert!(!verifier.verify(b"open-sesamE") && !verifier.verify(b""));
    }
}

#[test]
fn a_derived_key_of_wampcra_is_base64_text() {
    // Made with autobahn-python 26.10: derive_key("secret123", "salt1", 1000, 32), compute_wcs(key, "{\"nonce\": 1}").
    let salting = Salting {
        salt: "salt1".into(),
        iterations: 1000,
        keylen: 32,
    };
    let key = CraKey::salted(b"secret123", salting).unwrap();
    assert_eq!(std::str::from_utf8(key.key.expose()).unwrap(), DERIVED);
    assert!(key.verify("{\"nonce\": 1}", SIGNED));
    assert!(!key.verify("{\"nonce\": 2}", SIGNED));
    for bad in ["", "zz", "ü"] {
        assert!(!key.verify("{\"nonce\": 1}", bad));
    }
    let plain = CraKey::plain(b"secret123");
    assert!(plain.verify("{\"nonce\": 1}", SIGNED_PLAIN));
}

const DERIVED: &str = "sOELdICoXhExmX1zIVFpviV7+/xnlgwBCKXKTWQqtqA=";
const SIGNED: &str = "V0aQGop/3n699EawkEveZrKglrjS9cVc8y6QwdhibtQ=";
const SIGNED_PLAIN: &str = "9FbajS3ewN9pNNuN102ysmVUWqXwGgiNTBreysei/B0=";

#[test]
fn a_secret_is_recognised_in_its_verifier_and_no_other_is() {
    let secret = |text: &str| Secret::new(text.as_bytes());
    let all = |text: &str| {
        [
            Clear::Ticket(secret(text)),
            Clear::WampCra {
                secret: secret(text),
                iterations: 0,
            },
            Clear::WampCra {
                secret: secret(text),
                iterations: 10,
            },
            Clear::Scram {
                password: secret(text),
                kdf: Kdf::Pbkdf2 { iterations: 10 },
            },
        ]
    };
    let made: Vec<Credential> = all("right-one")
        .iter()
        .map(|clear| clear.credential([7; 16]).unwrap())
        .collect();
    for (at, (right, wrong)) in all("right-one").iter().zip(all("wrong-one")).enumerate() {
        let found: Vec<bool> = made.iter().map(|credential| right.is_behind(credential)).collect();
        let expected: Vec<bool> = (0..4).map(|n| n == at).collect();
        assert_eq!(found, expected, "{right:?}");
        assert!(made.iter().all(|credential| !wrong.is_behind(credential)));
    }
}
