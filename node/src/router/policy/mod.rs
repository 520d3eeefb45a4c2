//! Who may do what in a realm: roles, their permissions, and which of them decides.
//!
//! Owns: the rights, the rule by which permissions are weighed, the explanation of a decision, what each session's decisions are
//! remembered in, and what the realm does where a right is missing or was taken. Does not own where permissions come from: a
//! [`Policy`] is handed in whole.
//!
//! # The rule
//!
//! A session acts in a role. Of the permissions of that role those count for a request that match its URI and name the right that it
//! needs, as allowed or as denied. Among them:
//!
//! 1. One with the exact URI beats every pattern.
//! 2. Of two patterns, the one that names more components of the URI is better. A prefix names as many as it has dots, a wildcard
//!    pattern as many as are not empty in it.
//! 3. Of two prefixes that are equal by that, the longer one is better.
//! 4. Among those that are still equal, a denial beats an allowance.
//!
//! The best one decides. Where none counts, the request is denied; so is every request of a role that is not there.
//!
//! **Patterns.** To subscribe or register by a pattern takes the right to do so for all that the pattern matches, and beside it
//! [`Right::SubscribePattern`] or [`Right::RegisterPattern`]: some permission that covers the whole pattern has to allow each. A
//! denial that could decide about a single URI of the pattern refuses the whole. So what a pattern brings was permitted one by one,
//! and nothing has to be asked for each event or call.
//!
//! **Variables.** `{authid}` and `{authrole}` in the URI of a permission stand for those of the session. A value that is no single
//! component of a URI (it is empty, has a dot, a `#` or white space) would reach into what is another's: such a permission then allows
//! nothing. What it denies it denies all the same.
//!
//! Invariants: nothing is permitted that no permission allows; a decision follows from the policy, role and authid alone, so every
//! node decides alike; what is remembered of a session's decisions is bounded, and never outlives the policy.
//!
//! Spec: WAMP advanced profile, "Authorization" (a sketch: it names the verbs and leaves the rest to the router).

pub mod authority;
mod dynamic;
mod edit;
mod enforce;
mod known;
mod noted;
mod reach;
mod resettle;
mod role;

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Disclosure, MatchPolicy};
use crate::wamp::Uri;

pub use authority::{Authority, Change, Changed, Request, Row};
pub(super) use dynamic::Asked;
pub use edit::Edit;
pub(super) use enforce::About;
pub(super) use known::May;
pub use noted::{Noted, NotedWhat};
pub use resettle::Resettled;
pub use role::{Explanation, Role, Who};

/// Something a permission allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// CALL.
    Call,
    /// REGISTER of a procedure.
    Register,
    /// REGISTER with `match` prefix or wildcard; needs [`Self::Register`] too.
    RegisterPattern,
    /// REGISTER with `force_reregister`, where the realm allows it at all; needs [`Self::Register`] too.
    ForceReregister,
    /// PUBLISH, and testaments.
    Publish,
    /// SUBSCRIBE to a topic, and questions about its history.
    Subscribe,
    /// SUBSCRIBE with `match` prefix or wildcard; needs [`Self::Subscribe`] too.
    SubscribePattern,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Call,
        Self::Register,
        Self::RegisterPattern,
        Self::ForceReregister,
        Self::Publish,
        Self::Subscribe,
        Self::SubscribePattern,
    ];

    /// Its name in the configuration and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Register => "register",
            Self::RegisterPattern => "register_pattern",
            Self::ForceReregister => "force_reregister",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::SubscribePattern => "subscribe_pattern",
        }
    }

    /// The right of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|right| right.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights(u8);

impl Rights {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self((1 << Right::ALL.len()) - 1);

    /// True if it is among them.
    pub const fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }

    /// The same and one more.
    #[must_use]
    pub const fn with(self, right: Right) -> Self {
        Self(self.0 | right.bit())
    }

    /// True if there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their number in the log and in snapshots; never changes.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The rights with that number.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code > Self::ALL.0 {
            return None;
        }
        Some(Self(code))
    }

    /// Them, in the order of [`Right::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Right> {
        Right::ALL.into_iter().filter(move |right| self.has(*right))
    }
}

impl FromIterator<Right> for Rights {
    fn from_iter<T: IntoIterator<Item = Right>>(rights: T) -> Self {
        rights.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
        let names: Vec<&str> = self.iter().map(Right::name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What a role may do, or may not, with the URIs that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The URI or pattern; may hold `{authid}` and `{authrole}`.
    pub uri: Uri,
    /// How URIs are compared with it.
    pub policy: MatchPolicy,
    /// What it allows.
    pub allow: Rights,
    /// What it denies; what stands in both is denied.
    pub deny: Rights,
    /// Whether callers and publishers to whom it is the permission that decides are disclosed; `None`: as the realm says.
    pub disclose: Option<Disclosure>,
}

impl Permission {
    /// Everything, everywhere.
    pub fn all() -> Self {
        Self {
            uri: Uri::from(""),
            policy: MatchPolicy::Prefix,
            allow: Rights::ALL,
            deny: Rights::NONE,
            disclose: None,
        }
    }
}

/// `deny call, publish on prefix "com.example."`.
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.allow.is_empty() {
            parts.push(format!("allow {}", self.allow));
        }
        if !self.deny.is_empty() {
            parts.push(format!("deny {}", self.deny));
        }
        write!(f, "{} on {} \"{}\"", parts.join(" and "), self.policy.name(), self.uri)
    }
}

/// The roles of a realm and what each may do.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    roles: BTreeMap<String, Arc<Role>>,
    /// Those that are not named.
    others: Arc<Role>,
    /// Who is asked about what no permission decides, for roles that name nobody.
    authorizer: Option<Uri>,
}

impl Policy {
    /// Nobody may do anything but these.
    pub fn new(roles: impl IntoIterator<Item = (String, Role)>) -> Self {
        Self {
            roles: roles.into_iter().map(|(name, role)| (name, Arc::new(role))).collect(),
            others: Arc::default(),
            authorizer: None,
        }
    }

    /// Everybody may do everything: for tests and measurements of what lies behind.
    pub fn open() -> Self {
        Self {
            roles: BTreeMap::new(),
            others: Arc::new(Role::new(vec![Permission::all()])),
            authorizer: None,
        }
    }

    /// The same, with somebody who is asked about what no permission decides, for roles that name nobody themselves, those that are not
    /// here included.
    #[must_use]
    pub fn asking(self, authorizer: Option<Uri>) -> Self {
        let asking = |role: &Arc<Role>| match role.authorizer() {
            Some(_) => Arc::clone(role),
            None => Arc::new(Role::clone(role).asking(authorizer.clone())),
        };
        Self {
            roles: self.roles.iter().map(|(name, role)| (name.clone(), asking(role))).collect(),
            others: asking(&self.others),
            authorizer: authorizer.clone(),
        }
    }

    /// A role with these permissions, as the log has them.
    fn role_of(&self, permissions: &[Permission]) -> Arc<Role> {
        Arc::new(Role::new(permissions.to_vec()).asking(self.authorizer.clone()))
    }

    /// The role of that name, or what there is of one that is not named: nothing is permitted.
    pub fn role(&self, name: &str) -> &Arc<Role> {
        self.roles.get(name).unwrap_or(&self.others)
    }

    /// The same roles, and those of `authority` beside them: a role that both name is what it is here.
    #[must_use]
    pub fn with(&self, authority: &Authority) -> Self {
        let mut policy = self.clone();
        for (name, row) in authority.roles() {
            if !self.has_role(name) {
                policy.set_role(name, Some(self.role_of(&row.value)));
            }
        }
        policy
    }

    /// True if the role is named.
    pub fn has_role(&self, name: &str) -> bool {
        self.roles.contains_key(name)
    }

    /// The named roles.
    pub fn roles(&self) -> impl Iterator<Item = (&str, &Arc<Role>)> {
        self.roles.iter().map(|(name, role)| (name.as_str(), role))
    }

    /// Puts a role there, or takes it away.
    fn set_role(&mut self, name: &str, role: Option<Arc<Role>>) {
        match role {
            Some(role) => _ = self.roles.insert(name.to_owned(), role),
            None => _ = self.roles.remove(name),
        }
    }

    /// Which permission decides about a request, and why.
    pub fn why(&self, who: Who<'_>, right: Right, policy: MatchPolicy, uri: &Uri) -> Explanation {
        if !self.has_role(who.authrole) && self.role(who.authrole).permissions().is_empty() {
            return Explanation::no_such_role(who, right, uri);
        }
        self.role(who.authrole).why(who, right, policy, uri)
    }
}

#[cfg(test)]
pub(in crate::router) mod testing;
#[cfg(test)]
mod tests;
