//! A role: its permissions, ready to be asked.

use std::{borrow::Cow, fmt};

use super::{Permission, Right, Rights, reach::Reach};
use crate::{
    router::{Disclosure, MatchPolicy, pattern::Index},
    wamp::{
        Uri,
        uri::{AUTHID, AUTHROLE},
    },
};

/// Whom a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who<'a> {
    /// The authenticated name.
    pub authid: &'a str,
    /// The role it acts in.
    pub authrole: &'a str,
}

/// What a role may do. An empty one may do nothing.
#[derive(Clone, Debug, Default)]
pub struct Role {
    permissions: Vec<Permission>,
    /// Places of permissions without variables.
    fixed: Index<Vec<usize>>,
    /// Places of those with.
    variable: Vec<usize>,
    /// It may do everything, and nothing else is said of it.
    open: bool,
    /// Who is asked about what none of them decides.
    authorizer: Option<Uri>,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) struct Ruling {
    pub(in crate::router) allowed: bool,
    /// Whether the caller or publisher is disclosed, if the permission says so.
    pub(in crate::router) disclose: Option<Disclosure>,
    /// The place of the permission that decided; `None`: none counted.
    by: Option<usize>,
}

impl Ruling {
    /// True if no permission counted.
    pub(in crate::router) fn is_undecided(&self) -> bool {
        self.by.is_none()
    }
}

/// A permission that counts.
#[derive(Clone, Copy)]
struct Candidate {
    at: usize,
    denies: bool,
    named: usize,
    length: usize,
}

/// The best permission of each kind among those that count.
#[derive(Default)]
struct Best {
    exact: Option<Candidate>,
    prefix: Option<Candidate>,
    wildcard: Option<Candidate>,
}

impl Best {
    fn consider(&mut self, policy: MatchPolicy, candidate: Candidate) {
        let (best, better) = match policy {
            MatchPolicy::Exact => (&mut self.exact, candidate.denies),
            MatchPolicy::Prefix => {
                let best = &mut self.prefix;
                let rank = |c: &Candidate| (c.length, c.denies);
                let better = best.as_ref().is_none_or(|best| rank(&candidate) > rank(best));
                (best, better)
            }
            MatchPolicy::Wildcard => {
                let best = &mut self.wildcard;
                let rank = |c: &Candidate| (c.named, c.denies);
                let better = best.as_ref().is_none_or(|best| rank(&candidate) > rank(best));
                (best, better)
            }
        };
        if better || best.is_none() {
            *best = Some(candidate);
        }
    }

    fn winner(self) -> Option<Candidate> {
        match (self.exact, self.prefix, self.wildcard) {
            (Some(exact), _, _) => Some(exact),
            (None, Some(prefix), Some(wildcard)) => {
                let wildcard_wins = (wildcard.named, wildcard.denies) > (prefix.named, prefix.denies);
                Some(if wildcard_wins { wildcard } else { prefix })
            }
            (None, prefix, wildcard) => prefix.or(wildcard),
        }
    }
}

impl Role {
    /// A role with these permissions.
    pub fn new(permissions: Vec<Permission>) -> Self {
        let mut role = Self::default();
        for (at, permission) in permissions.iter().enumerate() {
            if permission.uri.contains('{') {
                role.variable.push(at);
                continue;
            }
            match role.fixed.get_mut(permission.policy, &permission.uri) {
                Some(places) => places.push(at),
                None => _ = role.fixed.insert(permission.policy, &permission.uri, vec![at]),
            }
        }
        let says_nothing_else = |p: &Permission| p.deny.is_empty() && p.disclose.is_none();
        role.open = permissions.contains(&Permission::all()) && permissions.iter().all(says_nothing_else);
        role.permissions = permissions;
        role
    }

    /// The same, with somebody to be asked about what no permission decides.
    #[must_use]
    pub fn asking(mut self, authorizer: Option<Uri>) -> Self {
        self.authorizer = authorizer;
        self
    }

    /// Who is asked about what no permission decides.
    pub fn authorizer(&self) -> Option<&Uri> {
        self.authorizer.as_ref()
    }

    /// Its permissions, as they were given.
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// True if it may do everything and says nothing about disclosure.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Decides about one URI.
    pub(in crate::router) fn judge(&self, who: Who<'_>, right: Right, uri: &str) -> Ruling {
        let mut best = Best::default();
        for at in self.fixed.matches(uri).flatten() {
            self.weigh(&mut best, *at, who, right, |_| true);
        }
        for at in &self.variable {
            self.weigh(&mut best, *at, who, right, |reach| reach.matches(uri));
        }
        self.ruling(best)
    }

    /// Decides about all URIs of a pattern at once: allowed only if each of them would be, as far as that can be told from the
    /// patterns. `needed` are rights of which each has to be allowed.
    pub(super) fn judge_all(&self, who: Who<'_>, needed: &[Right], wanted: Reach<'_>) -> Ruling {
        let mut decisive = Ruling {
            allowed: false,
            disclose: None,
            by: None,
        };
        for right in needed {
            let mut best = Best::default();
            for at in 0..self.permissions.len() {
                self.weigh(&mut best, at, who, *right, |reach| reach.covers(wanted));
            }
            let winner = best.winner();
            let Some(winner) = winner.filter(|winner| !winner.denies) else {
                return Ruling {
                    allowed: false,
                    disclose: None,
                    by: winner.map(|winner| winner.at),
                };
            };
            let exception = self.permissions.iter().enumerate().find(|(_, permission)| {
                let uri = permission.expanded(who);
                let denied = Reach {
                    policy: permission.policy,
                    uri: &uri.text,
                };
                permission.deny.has(*right) && denied.meets(wanted) && !self.outranks(winner, denied)
            });
            if let Some((at, _)) = exception {
                return Ruling {
                    allowed: false,
                    disclose: None,
                    by: Some(at),
                };
            }
            decisive = Ruling {
                allowed: true,
                disclose: self.permissions.get(winner.at).and_then(|p| p.disclose),
                by: Some(winner.at),
            };
        }
        decisive
    }

    /// True if a denial of one of the rights could decide about a URI of a pattern.
    pub(super) fn denies_part(&self, who: Who<'_>, needed: &[Right], wanted: Reach<'_>) -> bool {
        self.permissions.iter().any(|permission| {
            let uri = permission.expanded(who);
            let denied = Reach {
                policy: permission.policy,
                uri: &uri.text,
            };
            needed.iter().any(|right| permission.deny.has(*right)) && denied.meets(wanted)
        })
    }

    /// True if the permission decides wherever it and the other one match.
    fn outranks(&self, winner: Candidate, other: Reach<'_>) -> bool {
        let named = other.named();
        let prefixes = other.policy == MatchPolicy::Prefix
            && self
                .permissions
                .get(winner.at)
                .is_some_and(|permission| permission.policy == MatchPolicy::Prefix);
        winner.named > named || prefixes && winner.length > other.uri.len()
    }

    /// Counts a permission in if it names the right and `counts` for the request.
    fn weigh(&self, best: &mut Best, at: usize, who: Who<'_>, right: Right, counts: impl FnOnce(Reach<'_>) -> bool) {
        let Some(permission) = self.permissions.get(at) else { return };
        let denies = permission.deny.has(right);
        if !denies && !permission.allow.has(right) {
            return;
        }
        let uri = permission.expanded(who);
        let reach = Reach {
            policy: permission.policy,
            uri: &uri.text,
        };
        // What would reach into what is another's allows nothing.
        if !denies && !uri.usable || !counts(reach) {
            return;
        }
        let candidate = Candidate {
            at,
            denies,
            named: reach.named(),
            length: reach.uri.len(),
        };
        best.consider(permission.policy, candidate);
    }

    fn ruling(&self, best: Best) -> Ruling {
        let winner = best.winner();
        let allowed = winner.is_some_and(|winner| !winner.denies);
        let permission = winner.and_then(|winner| self.permissions.get(winner.at));
        Ruling {
            allowed,
            disclose: permission.filter(|_| allowed).and_then(|permission| permission.disclose),
            by: winner.map(|winner| winner.at),
        }
    }

    /// Which permission decides about a request, and why.
    pub fn why(&self, who: Who<'_>, right: Right, policy: MatchPolicy, uri: &Uri) -> Explanation {
        let wanted = Reach { policy, uri };
        let by_pattern = policy != MatchPolicy::Exact;
        let (right, ruling) = match right {
            Right::Subscribe | Right::SubscribePattern if by_pattern => {
                let needed = [Right::Subscribe, Right::SubscribePattern];
                (Right::SubscribePattern, self.judge_all(who, &needed, wanted))
            }
            Right::Register | Right::RegisterPattern if by_pattern => {
                let needed = [Right::Register, Right::RegisterPattern];
                (Right::RegisterPattern, self.judge_all(who, &needed, wanted))
            }
            right if by_pattern => (right, self.judge_all(who, &[right], wanted)),
            right => (right, self.judge(who, right, uri)),
        };
        let mut others = Vec::new();
        for (at, permission) in self.permissions.iter().enumerate() {
            let expanded = permission.expanded(who);
            let reach = Reach {
                policy: permission.policy,
                uri: &expanded.text,
            };
            let names_it = permission.allow.has(right) || permission.deny.has(right);
            if Some(at) == ruling.by || !reach.meets(wanted) {
                continue;
            }
            let why_not = if !names_it {
                "does not name this right"
            } else if !expanded.usable && !permission.deny.has(right) {
                "has a variable whose value is no single component of a URI, so it allows nothing"
            } else if by_pattern && !reach.covers(wanted) {
                "is about a part of the pattern only"
            } else {
                "is less specific, or an allowance as specific as a denial"
            };
            others.push(format!("permission {} ({permission}) {why_not}", at + 1));
        }
        Explanation {
            allowed: ruling.allowed,
            what: format!(
                "{} with role {} {} {} {}{uri}",
                who.authid,
                who.authrole,
                if ruling.allowed { "may" } else { "may not" },
                right.name(),
                if by_pattern {
                    format!("by {} ", policy.name())
                } else {
                    String::new()
                },
            ),
            by: ruling.by.and_then(|at| {
                let permission = self.permissions.get(at)?;
                Some(format!("permission {}: {permission}", at + 1))
            }),
            others,
        }
    }
}

/// The URI of a permission with the variables of a session filled in.
struct Expanded<'a> {
    text: Cow<'a, str>,
    /// Each value is a single component of a URI.
    usable: bool,
}

impl Permission {
    fn expanded(&self, who: Who<'_>) -> Expanded<'_> {
        let mut expanded = Expanded {
            text: Cow::Borrowed(&self.uri),
            usable: true,
        };
        if !self.uri.contains('{') {
            return expanded;
        }
        // In one pass: what a value holds is never taken for a variable.
        let (mut text, mut rest) = (String::new(), self.uri.as_str());
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            let found = VARIABLES.iter().find(|name| from.starts_with(**name));
            let Some(name) = found else {
                // Unknown ones are refused where permissions are made; were there one, it stands for itself.
                text.push('{');
                rest = &from[1..];
                continue;
            };
            let value = if *name == AUTHID { who.authid } else { who.authrole };
            let odd = |c: char| matches!(c, '.' | '#') || c.is_whitespace();
            expanded.usable &= !value.is_empty() && !value.contains(odd);
            text.push_str(value);
            rest = &from[name.len()..];
        }
        text.push_str(rest);
        expanded.text = Cow::Owned(text);
        expanded
    }

    /// What is wrong with it, if anything: a text for an operator.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let Some(plain) = self.uri.with_words() else {
            return Err(format!("unknown variable: {AUTHID} and {AUTHROLE} are known"));
        };
        let valid = crate::router::pattern::is_valid(self.policy, &plain, crate::router::UriCheck::Loose);
        if !valid {
            return Err(format!("not a URI that can be matched by {}", self.policy.name()));
        }
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err("it allows nothing and denies nothing".to_owned());
        }
        let disclosing = Rights::NONE.with(Right::Call).with(Right::Publish);
        if self.disclose.is_some() && self.allow.code() & disclosing.code() == 0 {
            return Err("disclose is about callers and publishers, and it allows neither call nor publish".to_owned());
        }
        Ok(())
    }
}

const VARIABLES: [&str; 2] = [AUTHID, AUTHROLE];

/// Why something is permitted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub allowed: bool,
    /// The same in words.
    pub what: String,
    /// The permission that decides, counted from 1; `None`: none counts.
    pub by: Option<String>,
    /// Permissions that have to do with the URI, and why each does not decide.
    pub others: Vec<String>,
}

impl Explanation {
    pub(super) fn no_such_role(who: Who<'_>, right: Right, uri: &Uri) -> Self {
        Self {
            allowed: false,
            what: format!("{} with role {} may not {} {uri}", who.authid, who.authrole, right.name()),
            by: None,
            others: vec![format!("role {} has no permissions in this realm", who.authrole)],
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        match &self.by {
            Some(by) => write!(f, "decided by {by}")?,
            None => f.write_str("no permission of the role allows it, and what is not allowed is denied")?,
        }
        for other in &self.others {
            write!(f, "\n  {other}")?;
        }
        Ok(())
    }
}
