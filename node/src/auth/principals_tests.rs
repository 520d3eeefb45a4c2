use super::*;
use crate::auth::{Secret, kdf::Kdf};

fn seed(authid: &str, clear: Vec<Clear>) -> Seed {
    Seed {
        principal: principal(authid, vec![]),
        clear,
    }
}

fn principal(authid: &str, credentials: Vec<Credential>) -> Principal {
    Principal {
        authid: authid.into(),
        role: "device".into(),
        credentials,
    }
}

fn ticket() -> Clear {
    Clear::Ticket(Secret::new("open-sesame"))
}

fn scram() -> Clear {
    Clear::Scram {
        password: Secret::new("open-sesame"),
        kdf: Kdf::Pbkdf2 { iterations: 2 },
    }
}

#[test]
fn clear_secrets_become_the_same_verifiers_on_every_node_of_a_cluster() {
    let realm = || Principals::new("realm1", vec![seed("lamp", vec![ticket(), scram()])]);
    let (one, two, other) = (realm(), realm(), realm());
    assert!(one.by_authid("lamp").is_none(), "locked");
    one.unlock(b"key");
    two.unlock(b"key");
    other.unlock(b"another cluster");
    assert_eq!(one.by_authid("lamp"), two.by_authid("lamp"));
    assert_ne!(one.by_authid("lamp"), other.by_authid("lamp"));
    assert_eq!(one.by_authid("lamp").unwrap().credentials.len(), 2);
    assert_eq!(one.stand_in("ghost", |_| true), two.stand_in("ghost", |_| true));
    assert_ne!(one.stand_in("ghost", |_| true), other.stand_in("ghost", |_| true));
    assert_ne!(
        one.stand_in("ghost", |_| true).credentials,
        one.stand_in("ghost2", |_| true).credentials
    );
}

#[test]
fn stand_ins_look_like_the_principals_there_are() {
    let shape = |one: &Principal| one.credentials.iter().map(Credential::shape).collect::<Vec<_>>();
    let seeds = (0..30).map(|n| seed(&format!("t{n}"), vec![ticket()]));
    let realm = Principals::new("realm1", seeds.chain([seed("s", vec![scram()])]).collect());
    realm.unlock(b"key");
    let (mut tickets, mut scrams) = (0, 0);
    for n in 0..1000 {
        let ghost = realm.stand_in(&format!("ghost{n}"), |_| true);
        if shape(&ghost) == shape(&realm.by_authid("t0").unwrap()) {
            tickets += 1;
        } else {
            assert_eq!(shape(&ghost), shape(&realm.by_authid("s").unwrap()));
            scrams += 1;
        }
    }
    assert!(tickets > 900 && scrams > 5, "as often as they occur: {tickets} {scrams}");
    let empty = Principals::new("realm1", vec![]);
    empty.unlock(b"key");
    assert!(empty.stand_in("ghost", |_| true).credentials.is_empty());
}

#[test]
fn replicated_principals_come_change_and_go_and_never_cover_those_of_the_configuration() {
    let realm = Principals::new("realm1", vec![seed("lamp", vec![ticket()])]);
    realm.unlock(b"key");
    let key = |byte: u8| Credential::CryptoSign([byte; 32]);
    let named = |text: &str| CertificateMatch::from_text(text).unwrap();
    realm.put(principal("fan", vec![key(1), Credential::Certificate(named("cn:fan"))]));
    realm.put(principal("lamp", vec![key(2)]));
    assert!(realm.is_fixed("lamp") && !realm.is_fixed("fan"));
    assert_eq!(realm.by_key(&[1; 32]).unwrap().authid, "fan");
    assert!(realm.by_key(&[2; 32]).is_none(), "lamp stands in the configuration");
    assert_eq!(
        realm.by_certificate(&[named("dns:x"), named("cn:fan")]).unwrap().authid,
        "fan"
    );
    let before = realm.by_authid("fan").unwrap();
    assert!(realm.is_current(&before));
    realm.put(principal("fan", vec![key(3)]));
    assert!(!realm.is_current(&before), "its credentials changed");
    assert!(realm.by_key(&[1; 32]).is_none());
    assert_eq!(realm.by_key(&[3; 32]).unwrap().authid, "fan");
    let before = realm.by_authid("fan").unwrap();
    realm.remove("fan");
    realm.remove("lamp");
    assert!(!realm.is_current(&before) && realm.by_authid("fan").is_none() && realm.by_key(&[3; 32]).is_none());
    assert!(realm.by_authid("lamp").is_some());
    assert!(!realm.any(|one| matches!(one, Credential::CryptoSign(_))));
    realm.replace([principal("x", vec![key(9)]), principal("lamp", vec![key(8)])]);
    assert!(realm.by_key(&[9; 32]).is_some() && realm.by_key(&[8; 32]).is_none());
}
