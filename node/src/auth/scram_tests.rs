use super::*;

/// The exchange of RFC 7677, "SCRAM-SHA-256": `i=4096`, user `user`, password `pencil`.
fn rfc7677() -> (ScramKeys, Exchange) {
    let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = ScramKeys::of("pencil", Kdf::Pbkdf2 { iterations: 4096 }, salt).unwrap();
    let exchange = Exchange {
        authid: "user".into(),
        client_nonce: "rOprNGfwEbeRWgbNEkqO".into(),
        nonce: "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into(),
        binding: None,
    };
    (keys, exchange)
}

#[test]
fn the_exchange_of_rfc_7677_is_accepted_and_answered() {
    let (keys, exchange) = rfc7677();
    let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(
        keys.verify(&exchange, proof).as_deref(),
        Some("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    );
    let mut other = exchange.clone();
    other.nonce.push('x');
    assert_eq!(keys.verify(&other, proof), None);
    for bad in ["", "dHzb", "ÿ", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
        assert_eq!(keys.verify(&exchange, bad), None, "{bad}");
    }
    let bound = Exchange {
        binding: Some(("tls-exporter".into(), vec![1; 32])),
        ..exchange
    };
    assert_eq!(
        keys.verify(&bound, proof),
        None,
        "a proof without binding for a bound exchange"
    );
}

/// A client's proof over this AuthMessage.
fn prove(salted: &[u8], message: &str) -> String {
    let client_key = hmac_sha256(salted, &[b"Client Key"]);
    let stored: [u8; 32] = Sha256::digest(client_key).into();
    let signature = hmac_sha256(&stored, &[message.as_bytes()]);
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    BASE64_STANDARD.encode(proof)
}

#[test]
fn argon2_is_taken_in_the_form_of_the_text_and_of_autobahn() {
    let kdf = Kdf::Argon2id {
        memory: 64,
        iterations: 2,
    };
    let keys = ScramKeys::of("pencil", kdf, vec![9; 16]).unwrap();
    let salted = kdf.derive(b"pencil", &[9; 16]).unwrap();
    let exchange = Exchange {
        authid: "a=b,c".into(),
        client_nonce: "AAAA".into(),
        nonce: "AAAABBBB".into(),
        binding: None,
    };
    let message = |binding: &str| {
        let salt = BASE64_STANDARD.encode([9; 16]);
        format!("n=a=3Db=2Cc,r=AAAA,r=AAAABBBB,s={salt},i=2,c={binding},r=AAAABBBB")
    };
    let text = prove(&*salted, &message("biws"));
    let autobahn = prove(BASE64_STANDARD_NO_PAD.encode(*salted).as_bytes(), &message(""));
    let expected = |salted: &[u8], binding: &str| {
        let server = hmac_sha256(salted, &[b"Server Key"]);
        Some(BASE64_STANDARD.encode(hmac_sha256(&server, &[message(binding).as_bytes()])))
    };
    assert_eq!(keys.verify(&exchange, &text), expected(&*salted, "biws"));
    assert_eq!(
        keys.verify(&exchange, &autobahn),
        expected(BASE64_STANDARD_NO_PAD.encode(*salted).as_bytes(), "")
    );
    assert_eq!(keys.verify(&exchange, &prove(&*salted, &message("eSws"))), None);
}

#[test]
fn passwords_are_normalized() {
    assert_eq!(normalized("I\u{AD}X"), "IX", "RFC 4013, example 1");
    assert_eq!(normalized("\u{AA}"), "a", "example 3");
    assert_eq!(normalized("\u{7}"), "\u{7}", "what is forbidden is taken as it is");
}
