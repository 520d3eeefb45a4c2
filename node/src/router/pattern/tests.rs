//! The index against an oracle written from the text, and what the text shows by example.

use std::{cmp::Ordering, collections::BTreeMap};

use super::*;
use MatchPolicy::{Exact, Prefix, Wildcard};

/// True if a URI matches a pattern, as the text says it.
fn oracle_matches(policy: MatchPolicy, pattern: &str, uri: &str) -> bool {
    let (pattern_parts, parts): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), uri.split('.').collect());
    match policy {
        Exact => pattern == uri,
        Prefix => uri.starts_with(pattern),
        Wildcard => {
            pattern_parts.len() == parts.len() && pattern_parts.iter().zip(&parts).all(|(p, part)| p.is_empty() || p == part)
        }
    }
}

/// The lengths of the runs of components between a wildcard pattern's empty ones, from the left.
fn oracle_runs(pattern: &str) -> Vec<usize> {
    let parts: Vec<&str> = pattern.split('.').collect();
    parts.split(|part| part.is_empty()).map(<[&str]>::len).collect()
}

/// Which of two patterns that match the same URI comes first.
fn oracle_order(a: &(MatchPolicy, String), b: &(MatchPolicy, String)) -> Ordering {
    let by_policy = a.0.cmp(&b.0);
    by_policy.then_with(|| match a.0 {
        Exact => Ordering::Equal,
        Prefix => b.1.len().cmp(&a.1.len()),
        Wildcard => oracle_runs(&b.1).cmp(&oracle_runs(&a.1)),
    })
}

/// All matches, the best first.
fn oracle(all: &BTreeMap<(MatchPolicy, String), u32>, uri: &str) -> Vec<u32> {
    let matching = all
        .iter()
        .filter(|((policy, pattern), _)| oracle_matches(*policy, pattern, uri));
    let mut matching: Vec<_> = matching.collect();
    matching.sort_by(|(a, _), (b, _)| oracle_order(a, b));
    matching.into_iter().map(|(_, value)| *value).collect()
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A URI of few, short components, so that patterns meet it often; `holes` in ten of them are empty.
    fn uri(&mut self, holes: u64) -> String {
        let count = 1 + self.below(5);
        let mut component = || {
            if self.below(10) < holes {
                return "";
            }
            ["a", "b", "ab", "ä"][self.below(4) as usize]
        };
        (0..count).map(|_| component()).collect::<Vec<_>>().join(".")
    }

    fn pattern(&mut self) -> (MatchPolicy, String) {
        match self.below(5) {
            0 => (Exact, self.uri(0)),
            1 | 2 => {
                let mut prefix = self.uri(0);
                let end = prefix.char_indices().map(|(at, _)| at).nth(self.below(6) as usize);
                prefix.truncate(end.unwrap_or(prefix.len()));
                (Prefix, prefix)
            }
            _ => (Wildcard, self.uri(4)),
        }
    }
}

const CASES: u32 = 1_000_000;

#[test]
fn a_million_lookups_agree_with_the_text() {
    let mut numbers = Numbers(7);
    let (mut index, mut all) = (Index::default(), BTreeMap::<(MatchPolicy, String), u32>::new());
    let (mut matched, mut widest) = (0_u32, 0);
    for case in 0..CASES {
        if case % 4 == 0 {
            let (policy, pattern) = numbers.pattern();
            let uri = Uri::from(pattern.as_str());
            // Shrinks as often as it grows, around 20 patterns.
            if all.len() as u64 > numbers.below(40) {
                let gone = all.keys().nth(numbers.below(all.len() as u64) as usize).cloned().unwrap();
                assert_eq!(index.remove(gone.0, &gone.1), all.remove(&gone));
            } else {
                assert_eq!(index.insert(policy, &uri, case), all.insert((policy, pattern.clone()), case));
                assert_eq!(index.get(policy, &pattern), Some(&case));
                assert_eq!(index.get_mut(policy, &pattern).map(|value| *value), Some(case));
            }
            assert_eq!(index.len(), all.len());
        }
        let uri = numbers.uri(0);
        let expected = oracle(&all, &uri);
        assert_eq!(index.best(&uri), expected.first(), "{uri} in {all:?}");
        assert_eq!(index.matches(&uri).copied().collect::<Vec<_>>(), expected, "{uri} in {all:?}");
        matched += u32::from(!expected.is_empty());
        widest = widest.max(expected.len());
    }
    assert!(
        matched > CASES / 4 && widest > 5,
        "{matched} of {CASES} matched, {widest} at most"
    );
}

/// One of them with `k3` for `c3`: as the text has it, its second and third registration, prefixes, match it too.
#[test]
fn the_examples_of_the_text_resolve_as_it_says() {
    let mut index = Index::default();
    let registrations = [
        (Exact, "a1.b2.c3.d4.e55"),
        (Prefix, "a1.b2.c3"),
        (Prefix, "a1.b2.c3.d4"),
        (Wildcard, "a1.b2..d4.e5"),
        (Wildcard, "a1.b2.k3..e5"),
        (Wildcard, "a1.b2..d4.e5..g7"),
        (Wildcard, "a1.b2..d4..f6.g7"),
    ];
    for (number, (policy, pattern)) in registrations.into_iter().enumerate() {
        index.insert(policy, &Uri::from(pattern), number);
    }
    for (called, expected) in [
        ("a1.b2.c3.d4.e55", Some(0)),
        ("a1.b2.c3.d98.e74", Some(1)),
        ("a1.b2.c3.d4.e325", Some(2)),
        ("a1.b2.c55.d4.e5", Some(3)),
        ("a1.b2.k3.d4.e5", Some(4)),
        ("a1.b2.c88.d4.e5.f6.g7", Some(5)),
        ("a2.b2.c2.d2.e2", None),
    ] {
        assert_eq!(index.best(called).copied(), expected, "{called}");
    }
}

#[test]
fn a_prefix_is_one_of_characters_not_of_components() {
    let mut index = Index::default();
    index.insert(Prefix, &Uri::from("a.b"), ());
    for (uri, matches) in [("a.b", true), ("a.b.c", true), ("a.b-x", true), ("a.", false), ("a.c", false)] {
        assert_eq!(index.best(uri).is_some(), matches, "{uri}");
    }
    let mut all = Index::default();
    all.insert(Prefix, &Uri::from(""), ());
    assert!(all.best("whatever").is_some());
}

#[test]
fn what_is_taken_out_leaves_no_node_behind() {
    let mut numbers = Numbers(3);
    let mut index = Index::default();
    let kept = [(Prefix, "keep.me"), (Wildcard, "keep..me")];
    for (policy, pattern) in kept {
        index.insert(policy, &Uri::from(pattern), 0);
    }
    let before = (index.prefix.node_count(), index.wildcard.node_count());
    let patterns: Vec<_> = (0..500).map(|_| numbers.pattern()).collect();
    for (policy, pattern) in &patterns {
        index.insert(*policy, &Uri::from(pattern.as_str()), 1);
    }
    assert!(index.prefix.node_count() > before.0 + 20 && index.wildcard.node_count() > before.1 + 100);
    for (policy, pattern) in &patterns {
        index.remove(*policy, pattern);
    }
    assert_eq!((index.prefix.node_count(), index.wildcard.node_count()), before);
    assert_eq!((index.len(), index.pattern_count()), (2, 2));
    assert!(index.remove(Prefix, "keep").is_none() && index.remove(Wildcard, "keep..").is_none());
}

#[test]
fn the_deepest_chain_a_peer_can_make_is_walked_copied_and_dropped() {
    let mut index = Index::default();
    let deepest = "a".repeat(BYTES_MAX);
    for length in 1..=BYTES_MAX {
        index.insert(Prefix, &Uri::from(&deepest[..length]), length);
    }
    assert_eq!(index.best(&deepest), Some(&BYTES_MAX));
    assert_eq!(index.clone().matches(&deepest).count(), BYTES_MAX);
    for length in (1..=BYTES_MAX).rev() {
        assert_eq!(index.remove(Prefix, &deepest[..length]), Some(length));
    }
    assert!(index.is_empty());
}

#[test]
fn a_pattern_is_checked_by_its_policy() {
    let check = |policy, text: &str| is_valid(policy, &Uri::from(text), UriCheck::Loose);
    for (text, valid) in [
        ("a.b", [true, true, true]),
        ("a.", [false, true, true]),
        ("", [false, true, true]),
        ("a..b", [false, false, true]),
        ("a b", [false, false, false]),
    ] {
        assert_eq!([Exact, Prefix, Wildcard].map(|policy| check(policy, text)), valid, "{text:?}");
    }
    let long = "a".repeat(BYTES_MAX + 1);
    assert_eq!([Exact, Prefix, Wildcard].map(|policy| check(policy, &long)), [false; 3]);
    let dots = ".".repeat(WILDCARD_COMPONENTS_MAX - 1);
    assert!(check(Wildcard, &dots) && !check(Wildcard, &format!("{dots}.")));
}
