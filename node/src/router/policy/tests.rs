use super::{
    reach::Reach,
    testing::{allow, deny},
    *,
};
use MatchPolicy::{Exact, Prefix, Wildcard};

const LAMP: Who<'_> = Who {
    authid: "lamp",
    authrole: "device",
};

fn may(permissions: &[Permission], right: Right, uri: &str) -> bool {
    let role = Role::new(permissions.to_vec());
    let ruling = role.judge(LAMP, right, uri);
    assert_eq!(role.why(LAMP, right, Exact, &Uri::from(uri)).allowed, ruling.allowed);
    // The order in which permissions are written means nothing.
    let reversed = Role::new(permissions.iter().rev().cloned().collect());
    assert_eq!(reversed.judge(LAMP, right, uri).allowed, ruling.allowed);
    ruling.allowed
}

fn may_all(permissions: &[Permission], policy: MatchPolicy, uri: &str) -> bool {
    let needed = [Right::Subscribe, Right::SubscribePattern];
    Role::new(permissions.to_vec())
        .judge_all(LAMP, &needed, Reach { policy, uri })
        .allowed
}

#[test]
fn what_no_permission_allows_is_denied() {
    assert!(!may(&[], Right::Call, "com.a"));
    assert!(!may(&[allow("publish", Prefix, "")], Right::Call, "com.a"));
    assert!(!may(&[allow("call", Exact, "com.b")], Right::Call, "com.a"));
    assert!(may(&[allow("call", Exact, "com.a")], Right::Call, "com.a"));
    let policy = Policy::new([("device".to_owned(), Role::new(vec![Permission::all()]))]);
    assert!(policy.role("device").is_open() && !policy.role("other").is_open());
}

#[test]
fn the_more_specific_permission_decides() {
    let everything = allow("call", Prefix, "");
    for (permissions, allowed) in [
        (vec![everything.clone(), deny("call", Exact, "com.a.b")], false),
        (vec![deny("call", Prefix, ""), allow("call", Exact, "com.a.b")], true),
        (vec![deny("call", Prefix, "com."), allow("call", Prefix, "com.a.")], true),
        (vec![allow("call", Prefix, "com."), deny("call", Prefix, "com.a.")], false),
        // A wildcard pattern that names more than a prefix is the better one, and the reverse.
        (vec![everything.clone(), deny("call", Wildcard, "com..b")], false),
        (vec![deny("call", Wildcard, "com.."), allow("call", Prefix, "com.a.")], true),
        // As many components: the denial, whichever it is.
        (vec![allow("call", Prefix, "com."), deny("call", Wildcard, "..b")], false),
        (vec![deny("call", Prefix, "com."), allow("call", Wildcard, "..b")], false),
        (vec![allow("call", Exact, "com.a.b"), deny("call", Exact, "com.a.b")], false),
        // A prefix is beaten by a longer one even where a wildcard is as good as both.
        (
            vec![
                deny("call", Prefix, "com.a"),
                allow("call", Wildcard, "..b"),
                allow("call", Prefix, "com.a."),
            ],
            true,
        ),
        // A permission that does not name the right does not count.
        (vec![everything, deny("publish", Exact, "com.a.b")], true),
    ] {
        assert_eq!(may(&permissions, Right::Call, "com.a.b"), allowed, "{permissions:?}");
    }
}

#[test]
fn a_variable_stands_for_one_component() {
    let own = [
        allow("publish", Prefix, "device.{authid}."),
        deny("publish", Exact, "device.{authid}.secret"),
        allow("call", Exact, "{authrole}.{authid}"),
    ];
    assert!(may(&own, Right::Publish, "device.lamp.on"));
    assert!(!may(&own, Right::Publish, "device.lamp.secret"));
    assert!(!may(&own, Right::Publish, "device.door.on"));
    assert!(may(&own, Right::Call, "device.lamp"));
    let role = Role::new(own.to_vec());
    for authid in ["lamp.more", "", "a b", "lamp#", "{authrole}.x"] {
        let who = Who { authid, ..LAMP };
        for uri in ["device.lamp.more.on", "device..on", "device.lamp.on", "device.device.x.on"] {
            assert!(!role.judge(who, Right::Publish, uri).allowed, "{authid} {uri}");
        }
    }
    // What is denied is denied whatever the value.
    let role = Role::new(vec![
        allow("publish", Prefix, ""),
        deny("publish", Prefix, "device.{authid}.secret"),
    ]);
    let dotted = Who { authid: "a.b", ..LAMP };
    assert!(!role.judge(dotted, Right::Publish, "device.a.b.secret").allowed);
    assert!(role.judge(dotted, Right::Publish, "device.a.b.open").allowed);
}

#[test]
fn a_pattern_needs_both_rights_for_all_it_matches() {
    let both = "subscribe subscribe_pattern";
    for (permissions, policy, uri, allowed) in [
        (vec![allow("subscribe", Prefix, "com.")], Prefix, "com.a.", false),
        (vec![allow("subscribe_pattern", Prefix, "com.")], Prefix, "com.a.", false),
        (vec![allow(both, Prefix, "com.")], Prefix, "com.a.", true),
        (vec![allow(both, Prefix, "com.")], Prefix, "com.", true),
        (vec![allow(both, Prefix, "com.")], Prefix, "com", false),
        (vec![allow(both, Prefix, "com.")], Prefix, "", false),
        (vec![allow(both, Prefix, "com.")], Wildcard, "com..x", true),
        (vec![allow(both, Prefix, "com.")], Wildcard, "..x", false),
        (vec![allow(both, Wildcard, "com..")], Wildcard, "com..x", true),
        (vec![allow(both, Wildcard, "com..x")], Wildcard, "com..", false),
        (vec![allow(both, Wildcard, "com..")], Prefix, "com.", false),
        (vec![allow(both, Exact, "com.a")], Prefix, "com.a", false),
        // A denial inside refuses the whole, one that is outranked everywhere does not.
        (
            vec![allow(both, Prefix, "com."), deny("subscribe", Exact, "com.a.secret")],
            Prefix,
            "com.",
            false,
        ),
        (
            vec![allow(both, Prefix, "com."), deny("subscribe", Exact, "com.a.secret")],
            Prefix,
            "com.b.",
            true,
        ),
        (
            vec![allow(both, Prefix, "com."), deny("subscribe", Wildcard, "..secret")],
            Prefix,
            "com.",
            false,
        ),
        (
            vec![allow(both, Prefix, "com.a."), deny("subscribe", Prefix, "com.")],
            Prefix,
            "com.a.",
            true,
        ),
        (
            vec![allow(both, Prefix, ""), deny("subscribe_pattern", Prefix, "com.")],
            Wildcard,
            "..x",
            false,
        ),
    ] {
        assert_eq!(
            may_all(&permissions, policy, uri),
            allowed,
            "{permissions:?} {policy:?} {uri}"
        );
    }
}

/// Every URI of one to three components out of these.
fn universe() -> Vec<String> {
    let words = ["a", "ab", "b", "x"];
    let mut uris: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    for depth in 1..3 {
        let deeper: Vec<String> = uris.iter().filter(|uri| uri.split('.').count() == depth).cloned().collect();
        for uri in deeper {
            uris.extend(words.iter().map(|word| format!("{uri}.{word}")));
        }
    }
    uris
}

/// Coverage and meeting, by brute force over a small world: the first is never claimed where it is not, the second never denied
/// where it is.
#[test]
fn patterns_are_compared_as_their_uris_are() {
    let patterns = [
        "", "a", "a.", "ab", "ab.x", "a.b", "b", ".", ".a", "a..", "..x", ".b.", "a..x", "a.b.x", "x.", "ab.", "...",
    ];
    let of = |uri: &'static str| {
        let wildcard = Reach { policy: Wildcard, uri };
        let prefix = Reach { policy: Prefix, uri };
        let exact = Reach { policy: Exact, uri };
        let is_prefix = Uri::from(uri).is_prefix(crate::router::UriCheck::Loose);
        let is_uri = Uri::from(uri).is_uri(crate::router::UriCheck::Loose);
        [Some(wildcard), is_prefix.then_some(prefix), is_uri.then_some(exact)]
    };
    let all: Vec<Reach<'_>> = patterns.iter().flat_map(|uri| of(uri)).flatten().collect();
    let universe = universe();
    let (mut covered, mut met) = (0, 0);
    for one in &all {
        for other in &all {
            let mut both = universe.iter().filter(|uri| one.matches(uri) && other.matches(uri));
            if both.next().is_some() {
                met += 1;
                assert!(one.meets(*other) && other.meets(*one), "{one:?} {other:?}");
            }
            if one.covers(*other) {
                covered += 1;
                let outside = universe.iter().find(|uri| other.matches(uri) && !one.matches(uri));
                assert_eq!(outside, None, "{one:?} {other:?}");
            }
        }
    }
    assert!(covered > 100 && met > 200, "{covered} {met}");
}

#[test]
fn an_explanation_names_the_permission_that_decides_and_why_others_do_not() {
    let role = Role::new(vec![
        allow("call", Prefix, "com."),
        deny("call", Prefix, "com.secret."),
        allow("publish", Prefix, "com.secret.x"),
    ]);
    let policy = Policy::new([("device".to_owned(), role)]);
    let why = policy.why(LAMP, Right::Call, Exact, &Uri::from("com.secret.x"));
    assert!(!why.allowed);
    assert_eq!(why.what, "lamp with role device may not call com.secret.x");
    assert_eq!(why.by.as_deref(), Some("permission 2: deny call on prefix \"com.secret.\""));
    assert_eq!(why.others.len(), 2, "{why}");
    assert!(why.others[0].contains("less specific") && why.others[1].contains("does not name this right"));
    let nobody = Who {
        authrole: "ghost",
        ..LAMP
    };
    let why = policy.why(nobody, Right::Call, Exact, &Uri::from("com.a"));
    assert!(!why.allowed && why.to_string().contains("role ghost has no permissions"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (permission, word) in [
        (allow("call", Exact, "com.{user}.a"), "variable"),
        (allow("call", Exact, "com.{authid.a"), "variable"),
        (allow("call", Exact, "com..a"), "URI"),
        (allow("call", Exact, ""), "URI"),
        (allow("call", Prefix, "com..a"), "URI"),
        (allow("call", Exact, "com. a"), "URI"),
        (allow("", Exact, "com.a"), "nothing"),
    ] {
        let error = permission.check().unwrap_err();
        assert!(error.contains(word), "{permission} {error}");
    }
    for permission in [
        allow("call", Prefix, ""),
        allow("call", Wildcard, "com..a"),
        allow("subscribe", Prefix, "{authid}."),
        deny("call", Exact, "com.{authrole}.{authid}"),
    ] {
        assert_eq!(permission.check(), Ok(()));
    }
    for right in Right::ALL {
        assert_eq!(Right::from_name(right.name()), Some(right));
        assert!(Rights::ALL.has(right) && !Rights::NONE.has(right));
    }
    assert_eq!(Rights::from_code(Rights::ALL.code()), Some(Rights::ALL));
    assert_eq!(Rights::from_code(Rights::ALL.code() + 1), None);
}
