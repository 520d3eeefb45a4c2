use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn ed25519() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn jwk(kid: &str, pair: &Ed25519KeyPair) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key().as_ref())})
}

fn keys() -> KeySet {
    KeySet::read(&json!({"keys": [jwk("a", &ed25519())]}).to_string()).unwrap()
}

fn rules() -> Rules {
    Rules {
        issuer: "https://issuer.example".into(),
        audience: "ringfort".into(),
        algorithms: Algorithm::ALL.to_vec(),
        leeway: 5,
        authid_claim: "sub".into(),
        role_claim: "role".into(),
        role: None,
        roles: vec!["device".into(), "operator".into()],
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "ringfort", "sub": "lamp", "role": "device", "exp": NOW + 60, "iat": NOW,
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    change(&mut claims);
    claims
}

fn signed(header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = ed25519().sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

fn token(claims: &Value) -> String {
    signed(&json!({"alg": "EdDSA", "kid": "a"}), claims)
}

fn judged(token: &str) -> Result<Claims, Bad> {
    rules().verify(&keys(), token, NOW)
}

#[test]
fn a_good_token_says_who_and_until_when() {
    let good = Claims {
        subject: "lamp".into(),
        authid: "lamp".into(),
        role: "device".into(),
        until: NOW + 65,
    };
    assert_eq!(judged(&token(&claims())), Ok(good.clone()));
    let list = with(|claims| {
        claims["aud"] = json!(["other", "ringfort"]);
        claims["role"] = json!(["admin", "operator", "device"]);
    });
    assert_eq!(judged(&token(&list)), Ok(good));
}

#[test]
fn whatever_is_wrong_with_its_claims_a_token_is_refused() {
    let judge = |change: &dyn Fn(&mut Value)| judged(&token(&with(change)));
    assert_eq!(judge(&|c| c["iss"] = json!("https://other.example")), Err(Bad::Issuer));
    assert_eq!(judge(&|c| _ = c.as_object_mut().unwrap().remove("iss")), Err(Bad::Issuer));
    assert_eq!(judge(&|c| c["aud"] = json!("other")), Err(Bad::Audience));
    assert_eq!(judge(&|c| c["aud"] = json!([])), Err(Bad::Audience));
    assert_eq!(judge(&|c| _ = c.as_object_mut().unwrap().remove("aud")), Err(Bad::Audience));
    assert_eq!(judge(&|c| c["exp"] = json!(NOW - 5)), Err(Bad::Expired));
    assert!(judge(&|c| c["exp"] = json!(NOW - 4)).is_ok(), "within the leeway");
    assert_eq!(judge(&|c| _ = c.as_object_mut().unwrap().remove("exp")), Err(Bad::Claim));
    assert_eq!(judge(&|c| c["exp"] = json!("tomorrow")), Err(Bad::Claim));
    assert_eq!(judge(&|c| c["exp"] = json!(-1)), Err(Bad::Claim));
    assert_eq!(judge(&|c| c["nbf"] = json!(NOW + 6)), Err(Bad::Early));
    assert_eq!(judge(&|c| c["iat"] = json!(NOW + 6)), Err(Bad::Early));
    assert_eq!(judge(&|c| c["sub"] = json!("")), Err(Bad::Claim));
    assert_eq!(judge(&|c| c["sub"] = json!(4)), Err(Bad::Claim));
    assert_eq!(judge(&|c| c["role"] = json!("admin")), Err(Bad::Role));
    assert_eq!(judge(&|c| c["role"] = json!(["admin"])), Err(Bad::Role));
    assert_eq!(judge(&|c| c["role"] = json!(7)), Err(Bad::Claim));
    assert_eq!(judge(&|c| _ = c.as_object_mut().unwrap().remove("role")), Err(Bad::Role));
}

#[test]
fn the_algorithm_is_never_the_tokens_own_choice() {
    for alg in ["none", "None", "HS256", "HS512", "RS512", "PS256", "ES256", "RS256", ""] {
        let forged = signed(&json!({"alg": alg, "kid": "a"}), &claims());
        assert_eq!(judged(&forged), Err(Bad::Algorithm), "{alg}");
    }
    // The public key as the secret of an HMAC, whatever the key is said to be.
    let message = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"a"}"#), b64(claims().to_string()));
    let mac = crate::auth::hmac_sha256(ed25519().public_key().as_ref(), &[message.as_bytes()]);
    assert_eq!(judged(&format!("{message}.{}", b64(mac))), Err(Bad::Algorithm));
    let only = Rules {
        algorithms: vec![Algorithm::Rs256],
        ..rules()
    };
    assert_eq!(only.verify(&keys(), &token(&claims()), NOW), Err(Bad::Algorithm));
    // A key that is for something else, or for another algorithm, is none.
    for (name, value) in [("use", "enc"), ("alg", "ES256")] {
        let mut jwk = jwk("a", &ed25519());
        jwk[name] = json!(value);
        assert!(KeySet::read(&jwk.to_string()).is_err(), "{name}");
    }
    let shared = json!({"keys": [{"kty": "oct", "kid": "a", "k": b64([1; 32])}]});
    assert!(KeySet::read(&shared.to_string()).is_err());
}

#[test]
fn keys_are_found_by_name_and_rotate() {
    let token = token(&claims());
    let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
    let set = |keys: Vec<Value>| KeySet::read(&json!({ "keys": keys }).to_string()).unwrap();
    let judge = |keys: Vec<Value>| rules().verify(&set(keys), &token, NOW).map(drop);
    assert_eq!(judge(vec![jwk("b", &other), jwk("a", &ed25519())]), Ok(()));
    assert_eq!(judge(vec![jwk("b", &other)]), Err(Bad::UnknownKey));
    assert_eq!(judge(vec![jwk("a", &other)]), Err(Bad::Signature));
    let unnamed = signed(&json!({"alg": "EdDSA"}), &claims());
    assert!(rules().verify(&keys(), &unnamed, NOW).is_ok());
    let two = set(vec![jwk("b", &other), jwk("a", &ed25519())]);
    assert_eq!(rules().verify(&two, &unnamed, NOW), Err(Bad::UnknownKey));
    let odd = signed(&json!({"alg": "EdDSA", "kid": 4}), &claims());
    assert_eq!(judged(&odd), Err(Bad::Form));
}

#[test]
fn what_is_changed_cut_or_mangled_is_refused() {
    let token = token(&claims());
    let parts: Vec<&str> = token.split('.').collect();
    let other = b64(with(|claims| claims["role"] = json!("operator")).to_string());
    let swapped = format!("{}.{other}.{}", parts[0], parts[2]);
    assert_eq!(judged(&swapped), Err(Bad::Signature));
    assert_eq!(judged(&format!("{}.{}.", parts[0], parts[1])), Err(Bad::Signature));
    let critical = signed(&json!({"alg": "EdDSA", "kid": "a", "crit": ["b64"]}), &claims());
    assert_eq!(judged(&critical), Err(Bad::Form));
    for text in ["", "eyJ", "eyJ.eyJ.x", "a.b.c", "eyJh.b.c.d", "eyJ..", &format!("{token}=")] {
        assert_eq!(judged(text).map(drop), Err(Bad::Form), "{text}");
    }
    for at in 0..token.len() {
        let mut mangled = token.clone().into_bytes();
        mangled[at] = if mangled[at] == b'A' { b'B' } else { b'A' };
        assert!(judged(&String::from_utf8(mangled).unwrap()).is_err(), "byte {at}");
    }
    let long = with(|claims| claims["sub"] = json!("x".repeat(TOKEN_BYTES_MAX)));
    assert_eq!(judged(&self::token(&long)), Err(Bad::Form));
}

#[test]
fn es256_and_rs256_are_verified_too() {
    // RFC 7515, appendix A.3. Its signature is right; it is of somebody else.
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let keys = KeySet::read(&jwk.to_string()).unwrap();
    let token = concat!(
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    assert_eq!(rules().verify(&keys, token, 1_300_819_000), Err(Bad::Issuer));
    let mangled = token.replacen("DtEh", "DtEi", 1);
    assert_eq!(rules().verify(&keys, &mangled, 1_300_819_000), Err(Bad::Signature));
    assert_eq!(rules().verify(&self::keys(), token, NOW), Err(Bad::UnknownKey));

    // RFC 7515, appendix A.2.
    let jwk = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR",
        "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB",
        "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia",
        "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ")});
    let keys = KeySet::read(&jwk.to_string()).unwrap();
    let token = concat!(
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb",
        "F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383",
        "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy",
        "wlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    // Its signature is right; it is of somebody else.
    assert_eq!(rules().verify(&keys, token, 1_300_819_000), Err(Bad::Issuer));
    let mangled = token.replacen("cC4h", "cC4i", 1);
    assert_eq!(rules().verify(&keys, &mangled, 1_300_819_000), Err(Bad::Signature));
}

#[test]
fn a_claim_may_lie_deeper() {
    let rules = Rules {
        authid_claim: "preferred_username".into(),
        role_claim: "realm_access.roles".into(),
        ..rules()
    };
    let nested = with(|claims| {
        claims["preferred_username"] = json!("desk");
        claims["realm_access"] = json!({"roles": ["offline", "operator"]});
    });
    let judged = rules.verify(&keys(), &token(&nested), NOW).unwrap();
    assert_eq!((judged.authid.as_str(), judged.role.as_str()), ("desk", "operator"));
    assert_eq!(judged.subject, "lamp");
}
