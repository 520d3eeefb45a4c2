use super::*;

fn classes(text: &str, check: UriCheck) -> (bool, bool, bool) {
    let uri = Uri::new(text);
    (uri.is_uri(check), uri.is_prefix(check), uri.is_wildcard(check))
}

/// The text, then whether it is a URI, a prefix pattern and a wildcard pattern by the loose and by the strict rules.
const TABLE: &[(&str, [u8; 3], [u8; 3])] = &[
    ("com.example.topic_1", [1, 1, 1], [1, 1, 1]),
    ("a", [1, 1, 1], [1, 1, 1]),
    ("0.1", [1, 1, 1], [1, 1, 1]),
    ("Com.Example", [1, 1, 1], [0, 0, 0]),
    ("com.ex-ample", [1, 1, 1], [0, 0, 0]),
    ("köln.wetter", [1, 1, 1], [0, 0, 0]),
    ("com.example.", [0, 1, 1], [0, 1, 1]),
    ("", [0, 1, 1], [0, 1, 1]),
    (".", [0, 0, 1], [0, 0, 1]),
    ("..", [0, 0, 1], [0, 0, 1]),
    ("com..topic", [0, 0, 1], [0, 0, 1]),
    (".example", [0, 0, 1], [0, 0, 1]),
    ("com..", [0, 0, 1], [0, 0, 1]),
    ("com.exa mple", [0, 0, 0], [0, 0, 0]),
    ("com.example\n", [0, 0, 0], [0, 0, 0]),
    ("com.\u{a0}x", [0, 0, 0], [0, 0, 0]),
    ("com.a#b", [0, 0, 0], [0, 0, 0]),
    ("#", [0, 0, 0], [0, 0, 0]),
    (" ", [0, 0, 0], [0, 0, 0]),
];

#[test]
fn uris_and_patterns_follow_the_loose_and_strict_rules() {
    for &(text, loose, strict) in TABLE {
        let bools = |[a, b, c]: [u8; 3]| (a == 1, b == 1, c == 1);
        assert_eq!(classes(text, UriCheck::Loose), bools(loose), "{text:?} loose");
        assert_eq!(classes(text, UriCheck::Strict), bools(strict), "{text:?} strict");
        assert_eq!(Uri::new(text).is_loose(), loose[0] == 1);
        assert_eq!(Uri::new(text).is_strict(), strict[0] == 1);
    }
}

#[test]
fn only_the_first_component_reserves_a_uri() {
    for reserved in ["wamp", "wamp.session.count", "wamp."] {
        assert!(Uri::new(reserved).is_reserved(), "{reserved}");
    }
    for free in ["wampish", "wamp_x.y", "com.wamp", "Wamp.x", "", ".wamp"] {
        assert!(!Uri::new(free).is_reserved(), "{free}");
    }
}
