//! `[[realm.roles]]`: what the sessions of a role may do.

use serde::{Deserialize, Serialize};

use super::{Disclose, Match, Quota};
use crate::wamp::{
    self, Uri,
    uri::{AUTHID, AUTHROLE},
};

/// One role of a realm. What no permission allows is denied, so a role without permissions may do nothing; nor may one that is not
/// listed. docs/authorization.md says which permission decides where several match. The same list on every node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// The role's name, as `principal.role` and `realm.anonymous_role` give it. Required, unique within its realm.
    pub name: String,
    /// The procedure that is asked about what no permission of this role decides, in place of `realm.authorizer`. Default: that one.
    pub authorizer: String,
    /// What it may do, each a `[[realm.roles.permissions]]`. Default: nothing.
    pub permissions: Vec<Permission>,
    /// What all its sessions may take together; see `[realm.roles.quota]`. Default: anything. Of roles that are listed here only.
    pub quota: Quota,
    /// What the sessions of each of its principals may take together; see `[realm.roles.per_principal]`. Default: anything. Each anonymous
    /// session is a principal of its own.
    pub per_principal: Quota,
}

/// Rights on a URI, or on all URIs that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permission {
    /// The procedure or topic, or the pattern. `{authid}` and `{authrole}` stand for those of the session, if each is one component
    /// of a URI: `device.{authid}.` with `match = "prefix"` is a device's own. Required; the empty prefix is everything.
    pub uri: String,
    /// How URIs are compared with `uri`: `exact`, `prefix` or `wildcard`, as in SUBSCRIBE. Default `exact`.
    pub r#match: Match,
    /// What it allows: `call`, `register`, `publish`, `subscribe`; `register_pattern` and `subscribe_pattern` to do so with
    /// `match` prefix or wildcard; `force_reregister` to take a procedure from its callee, where the realm allows it; or `all`. Default: nothing.
    pub allow: Vec<Right>,
    /// What it denies; the same words. A denial as specific as an allowance beats it. Default: nothing.
    pub deny: Vec<Right>,
    /// Whether callees learn who calls, and subscribers who publishes, where this permission decides: `allow`, `deny` or `always`, as
    /// `realm.disclose`. Default: as that says.
    pub disclose: Option<Disclose>,
}

/// Something that can be allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// CALL.
    Call,
    /// REGISTER.
    Register,
    /// REGISTER by a pattern.
    RegisterPattern,
    /// REGISTER in place of another callee.
    ForceReregister,
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// SUBSCRIBE by a pattern.
    SubscribePattern,
    /// All of these.
    All,
}

impl Permission {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// The text for the operator.
    pub(super) fn check(&self) -> Result<(), String> {
        let Some(uri) = Uri::from(self.uri.as_str()).with_words() else {
            return Err(format!("unknown variable: {AUTHID} and {AUTHROLE} are known"));
        };
        let loose = wamp::UriCheck::Loose;
        let valid = match self.r#match {
            Match::Exact => uri.is_uri(loose),
            Match::Prefix => uri.is_prefix(loose),
            Match::Wildcard => uri.is_wildcard(loose),
        };
        if !valid {
            return Err("not a URI, or no pattern of that kind: join words by dots, without spaces and #".to_owned());
        }
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err("it allows nothing and denies nothing: write allow = [...] or deny = [...]".to_owned());
        }
        let discloses = [Right::Call, Right::Publish, Right::All];
        if self.disclose.is_some() && !self.allow.iter().any(|right| discloses.contains(right)) {
            return Err("disclose is about callers and publishers, and it allows neither call nor publish".to_owned());
        }
        Ok(())
    }
}

impl Role {
    /// A role that may do everything.
    pub fn open(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            authorizer: String::new(),
            permissions: vec![Permission {
                r#match: Match::Prefix,
                allow: vec![Right::All],
                ..Permission::default()
            }],
            ..Self::default()
        }
    }
}
