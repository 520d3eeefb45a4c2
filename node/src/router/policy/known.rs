//! What a session may do, as far as it has asked.

use std::{collections::HashMap, sync::Arc};

use super::{Policy, Right, Rights, Role, Who, reach::Reach};
use crate::{
    router::{Disclosure, MatchPolicy, SessionInfo},
    wamp::Uri,
};

/// A session's role, and what was decided by it.
#[derive(Debug)]
pub(in crate::router) struct May {
    /// Everything. Then nothing else is looked at.
    pub(in crate::router) open: bool,
    role: Arc<Role>,
    known: HashMap<Uri, Verdicts>,
}

/// What was decided about a URI.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    asked: Rights,
    allowed: Rights,
    /// The permission that allows it says something about disclosure.
    discloses: Rights,
}

/// What a session may do with a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) struct Verdict {
    pub(in crate::router) allowed: bool,
    /// Whether it is disclosed is not the realm's setting.
    pub(in crate::router) discloses: bool,
}

/// URIs of which a session's decisions are remembered. Beyond it they are forgotten and begun anew.
const KNOWN_MAX: usize = 256;
/// Longer URIs are judged each time.
const KNOWN_BYTES_MAX: usize = 256;

impl May {
    pub(in crate::router) fn new(policy: &Policy, role: &str) -> Self {
        let role = Arc::clone(policy.role(role));
        Self {
            open: role.is_open(),
            role,
            known: HashMap::new(),
        }
    }

    /// Takes the role anew from a policy that has changed; false if it is the same.
    pub(in crate::router) fn renew(&mut self, policy: &Policy, role: &str) -> bool {
        if Arc::ptr_eq(&self.role, policy.role(role)) {
            return false;
        }
        *self = Self::new(policy, role);
        true
    }

    /// True if a CALL without options is known to be permitted and to carry no word about its caller.
    pub(in crate::router) fn plainly_call(&self, procedure: &str) -> bool {
        self.open
            || self
                .known
                .get(procedure)
                .is_some_and(|known| known.allowed.has(Right::Call) && !known.discloses.has(Right::Call))
    }

    /// Decides about one URI.
    pub(in crate::router) fn judge(&mut self, info: &SessionInfo, right: Right, uri: &Uri) -> Verdict {
        if self.open {
            return Verdict {
                allowed: true,
                discloses: false,
            };
        }
        if let Some(known) = self.known.get(uri).filter(|known| known.asked.has(right)) {
            return Verdict {
                allowed: known.allowed.has(right),
                discloses: known.discloses.has(right),
            };
        }
        let ruling = self.role.judge(who(info), right, uri);
        let verdict = Verdict {
            allowed: ruling.allowed,
            discloses: ruling.disclose.is_some(),
        };
        if uri.len() <= KNOWN_BYTES_MAX {
            if self.known.len() >= KNOWN_MAX && !self.known.contains_key(uri) {
                self.known.clear();
            }
            let known = self.known.entry(uri.clone()).or_default();
            known.asked = known.asked.with(right);
            if verdict.allowed {
                known.allowed = known.allowed.with(right);
            }
            if verdict.discloses {
                known.discloses = known.discloses.with(right);
            }
        }
        verdict
    }

    /// The same without remembering it.
    pub(in crate::router) fn would(&self, info: &SessionInfo, right: Right, uri: &str) -> bool {
        self.open || self.role.judge(who(info), right, uri).allowed
    }

    /// Decides about all that a pattern matches; each right has to be there.
    pub(in crate::router) fn judge_all(&self, info: &SessionInfo, needed: &[Right], policy: MatchPolicy, uri: &Uri) -> bool {
        self.open || self.role.judge_all(who(info), needed, Reach { policy, uri }).allowed
    }

    /// What the deciding permission says about disclosure.
    pub(in crate::router) fn disclosure(&self, info: &SessionInfo, right: Right, uri: &str) -> Option<Disclosure> {
        if self.open {
            return None;
        }
        self.role.judge(who(info), right, uri).disclose
    }

    #[cfg(test)]
    pub(in crate::router) fn known_count(&self) -> usize {
        self.known.len()
    }
}

fn who(info: &SessionInfo) -> Who<'_> {
    Who {
        authid: &info.authid,
        authrole: &info.authrole,
    }
}
