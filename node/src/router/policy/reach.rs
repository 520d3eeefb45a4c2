//! Which URIs a permission reaches, compared with those a request is for.
//!
//! Published and called URIs have no empty components; the comparisons of patterns rely on that.

use crate::router::{MatchPolicy, pattern::wildcard_matches};

/// The URIs that match a pattern; of an exact one, itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach<'a> {
    pub(super) policy: MatchPolicy,
    pub(super) uri: &'a str,
}

impl Reach<'_> {
    /// How many components of a matching URI it names.
    pub(super) fn named(&self) -> usize {
        match self.policy {
            MatchPolicy::Exact => usize::MAX,
            MatchPolicy::Prefix => self.uri.bytes().filter(|byte| *byte == b'.').count(),
            MatchPolicy::Wildcard => self.uri.split('.').filter(|component| !component.is_empty()).count(),
        }
    }

    /// True if the URI is among them.
    pub(super) fn matches(&self, uri: &str) -> bool {
        match self.policy {
            MatchPolicy::Exact => self.uri == uri,
            MatchPolicy::Prefix => uri.starts_with(self.uri),
            MatchPolicy::Wildcard => wildcard_matches(self.uri, uri),
        }
    }

    /// True if all of the other's URIs are among them. May be false where they are, never true where they are not.
    pub(super) fn covers(&self, other: Reach<'_>) -> bool {
        match (self.policy, other.policy) {
            (_, MatchPolicy::Exact) => self.matches(other.uri),
            (MatchPolicy::Prefix, MatchPolicy::Prefix) => other.uri.starts_with(self.uri),
            (MatchPolicy::Prefix, MatchPolicy::Wildcard) => fixed_beginning(other.uri).starts_with(self.uri),
            (MatchPolicy::Wildcard, MatchPolicy::Wildcard) => {
                let same_length = self.uri.split('.').count() == other.uri.split('.').count();
                let mut pairs = self.uri.split('.').zip(other.uri.split('.'));
                same_length && pairs.all(|(mine, its)| mine.is_empty() || mine == its)
            }
            (MatchPolicy::Exact, MatchPolicy::Wildcard) => self.uri == other.uri && !other.uri.split('.').any(str::is_empty),
            // A prefix matches URIs of any length.
            (MatchPolicy::Exact | MatchPolicy::Wildcard, MatchPolicy::Prefix) => false,
        }
    }

    /// True if some URI is among both. May be true where there is none, never false where there is one.
    pub(super) fn meets(&self, other: Reach<'_>) -> bool {
        match (self.policy, other.policy) {
            (MatchPolicy::Exact, _) => other.matches(self.uri),
            (_, MatchPolicy::Exact) => self.matches(other.uri),
            (MatchPolicy::Prefix, MatchPolicy::Prefix) => self.uri.starts_with(other.uri) || other.uri.starts_with(self.uri),
            (MatchPolicy::Prefix, MatchPolicy::Wildcard) => prefix_meets_wildcard(self.uri, other.uri),
            (MatchPolicy::Wildcard, MatchPolicy::Prefix) => prefix_meets_wildcard(other.uri, self.uri),
            (MatchPolicy::Wildcard, MatchPolicy::Wildcard) => {
                let same_length = self.uri.split('.').count() == other.uri.split('.').count();
                let mut pairs = self.uri.split('.').zip(other.uri.split('.'));
                same_length && pairs.all(|(mine, its)| mine.is_empty() || its.is_empty() || mine == its)
            }
        }
    }
}

/// With what every URI begins that matches a wildcard pattern: all before its first empty component.
fn fixed_beginning(wildcard: &str) -> &str {
    let mut end = 0;
    for component in wildcard.split('.') {
        if component.is_empty() {
            return &wildcard[..end];
        }
        // The dot behind it belongs to it; there is none behind the last.
        end = (end + component.len() + 1).min(wildcard.len());
    }
    wildcard
}

fn prefix_meets_wildcard(prefix: &str, wildcard: &str) -> bool {
    let mut components = wildcard.split('.');
    let (whole, begun) = match prefix.rsplit_once('.') {
        Some((whole, begun)) => (Some(whole), begun),
        None => (None, prefix),
    };
    let same = whole.into_iter().flat_map(|whole| whole.split('.')).all(|wanted| {
        components
            .next()
            .is_some_and(|component| component.is_empty() || component == wanted)
    });
    same && components
        .next()
        .is_some_and(|component| component.is_empty() || component.starts_with(begun))
}
