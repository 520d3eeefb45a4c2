//! What a session may do, as far as it has asked.

use std::{collections::HashMap, sync::Arc};

use super::{Policy, Right, Rights, Role, Who, dynamic::Dynamic, reach::Reach};
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
    /// What somebody else decides, where the role has an authorizer.
    dynamic: Option<Box<Dynamic>>,
    known: HashMap<Uri, Verdicts>,
}

/// What was decided about a URI.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    asked: Rights,
    allowed: Rights,
    /// The permission that allows it says something about disclosure.
    discloses: Rights,
    /// No permission decides.
    undecided: Rights,
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
        let authorizer = role.authorizer().filter(|_| !role.is_open());
        Self {
            open: role.is_open(),
            dynamic: authorizer.map(|authorizer| Box::new(Dynamic::new(Some(authorizer.clone())))),
            role,
            known: HashMap::new(),
        }
    }

    /// Everything, whatever the policy: for the router itself.
    pub(in crate::router) fn everything() -> Self {
        Self {
            open: true,
            role: Arc::default(),
            dynamic: None,
            known: HashMap::new(),
        }
    }

    /// True if requests may have to be asked about, or wait behind such.
    pub(in crate::router) fn asks(&self) -> bool {
        self.dynamic.is_some()
    }

    /// What is known of the answers of an authorizer.
    pub(in crate::router) fn dynamic(&mut self) -> Option<&mut Dynamic> {
        self.dynamic.as_deref_mut()
    }

    /// True if permissions decide about a request, one way or the other.
    pub(in crate::router) fn is_decided(&mut self, info: &SessionInfo, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        if self.open {
            return true;
        }
        if policy == MatchPolicy::Exact {
            return !self.judge_statically(info, right, uri).1;
        }
        let needed = needed(right);
        let reach = Reach { policy, uri };
        self.role.judge_all(who(info), &needed, reach).allowed || self.role.denies_part(who(info), &needed, reach)
    }

    /// True if a subscription or registration, or a call, may stand that was allowed once: by a permission, or by an authorizer that has
    /// not said otherwise since.
    pub(in crate::router) fn lets_stand(&mut self, info: &SessionInfo, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        if self.is_decided(info, right, policy, uri) {
            return match policy {
                MatchPolicy::Exact => self.judge_statically(info, right, uri).0.allowed,
                _ => self.judge_all(info, &needed(right), policy, uri),
            };
        }
        self.dynamic
            .as_ref()
            .is_some_and(|dynamic| dynamic.lets_stand(right, policy, uri))
    }

    /// Takes the role anew from a policy that has changed; false if it is the same.
    pub(in crate::router) fn renew(&mut self, policy: &Policy, role: &str) -> bool {
        if Arc::ptr_eq(&self.role, policy.role(role)) {
            return false;
        }
        let mut renewed = Self::new(policy, role);
        if let Some(former) = self.dynamic.take() {
            // What waits must not be lost, even if nobody is asked any more.
            renewed.dynamic.get_or_insert_default().succeed(*former);
        }
        *self = renewed;
        true
    }

    /// True if a CALL without options is known to be permitted and to carry no word about its caller.
    pub(in crate::router) fn plainly_call(&self, procedure: &str) -> bool {
        self.open
            || self
                .known
                .get(procedure)
                .is_some_and(|known| known.allowed.has(Right::Call) && !known.discloses.has(Right::Call))
                && !self.dynamic.as_ref().is_some_and(|dynamic| dynamic.is_waiting())
    }

    /// Decides about one URI.
    pub(in crate::router) fn judge(&mut self, info: &SessionInfo, right: Right, uri: &Uri) -> Verdict {
        if self.open {
            return Verdict {
                allowed: true,
                discloses: false,
            };
        }
        let (verdict, undecided) = self.judge_statically(info, right, uri);
        match &self.dynamic {
            Some(dynamic) if undecided => dynamic.verdict(right, MatchPolicy::Exact, uri),
            _ => verdict,
        }
    }

    /// What permissions say about one URI, and whether none does.
    fn judge_statically(&mut self, info: &SessionInfo, right: Right, uri: &Uri) -> (Verdict, bool) {
        if let Some(known) = self.known.get(uri).filter(|known| known.asked.has(right)) {
            let verdict = Verdict {
                allowed: known.allowed.has(right),
                discloses: known.discloses.has(right),
            };
            return (verdict, known.undecided.has(right));
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
            if ruling.is_undecided() {
                known.undecided = known.undecided.with(right);
            }
            if verdict.allowed {
                known.allowed = known.allowed.with(right);
            }
            if verdict.discloses {
                known.discloses = known.discloses.with(right);
            }
        }
        (verdict, ruling.is_undecided())
    }

    /// The same without remembering it.
    pub(in crate::router) fn would(&self, info: &SessionInfo, right: Right, uri: &str) -> bool {
        self.open || self.role.judge(who(info), right, uri).allowed
    }

    /// Decides about all that a pattern matches; each right has to be there.
    pub(in crate::router) fn judge_all(&self, info: &SessionInfo, needed: &[Right], policy: MatchPolicy, uri: &Uri) -> bool {
        self.open || self.role.judge_all(who(info), needed, Reach { policy, uri }).allowed
    }

    /// The same, and what an authorizer has said where no permission decides.
    pub(in crate::router) fn judge_pattern(&mut self, info: &SessionInfo, right: Right, policy: MatchPolicy, uri: &Uri) -> bool {
        let allowed = self.judge_all(info, &needed(right), policy, uri);
        if allowed || self.dynamic.is_none() || self.is_decided(info, right, policy, uri) {
            return allowed;
        }
        self.dynamic
            .as_ref()
            .is_some_and(|dynamic| dynamic.verdict(right, policy, uri).allowed)
    }

    /// What the deciding permission says about disclosure.
    pub(in crate::router) fn disclosure(&self, info: &SessionInfo, right: Right, uri: &str) -> Option<Disclosure> {
        if self.open {
            return None;
        }
        let ruling = self.role.judge(who(info), right, uri);
        match &self.dynamic {
            Some(dynamic) if ruling.is_undecided() => dynamic.disclosure(right, uri),
            _ => ruling.disclose,
        }
    }

    #[cfg(test)]
    pub(in crate::router) fn known_count(&self) -> usize {
        self.known.len()
    }
}

/// The rights that a pattern takes.
fn needed(right: Right) -> Vec<Right> {
    match right {
        Right::Subscribe => vec![right, Right::SubscribePattern],
        Right::Register => vec![right, Right::RegisterPattern],
        _ => vec![right],
    }
}

fn who(info: &SessionInfo) -> Who<'_> {
    Who {
        authid: &info.authid,
        authrole: &info.authrole,
    }
}
