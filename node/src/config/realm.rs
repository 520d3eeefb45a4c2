//! `[[realm]]`: a separate world of procedures and topics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One realm.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Realm {
    /// The realm's name, an URI such as `realm1` or `com.example.home`. Required, unique, the same on every node of the cluster.
    pub name: String,
    /// Who may join without credentials: `off` nobody, `loopback` clients of the same machine, `on` everybody who reaches the
    /// port. Default `off`.
    pub anonymous: Anonymous,
    /// The role that anonymous sessions get. Default `anonymous`.
    pub anonymous_role: String,
    /// The rule for URIs that clients send: `loose` forbids only empty components, spaces and `#`; `strict` allows lower-case
    /// letters, digits and `_`. Default `loose`, since clients in use send capitals and hyphens.
    pub uri_check: UriCheck,
    /// Whether callees and subscribers learn who called or published: `allow` where the caller or publisher asks for it
    /// (`disclose_me`), `deny` never, and whoever asks is refused, `always` without being asked. Default `allow`.
    pub disclose: Disclose,
    /// How far callers and publishers are to be trusted, by their role, as in `trustlevels = { admin = 10, device = 1 }`: whole
    /// numbers from 0, told to callees and subscribers as `trustlevel`. They hear none for roles that are not named here.
    /// Default: none.
    pub trustlevels: BTreeMap<String, u64>,
    /// Whether a call of a procedure with several callees goes to one on the caller's own node where there is one. Default `false`:
    /// the callees of all nodes take turns. With `true` calls cross nodes less, and callees beside busy clients get more of them.
    pub prefer_local_callees: bool,
    /// Whether a client may take a procedure from whoever registered it, with the option `force_reregister` of REGISTER. Default
    /// `false`, since any client of the realm could silence a device.
    pub allow_force_reregister: bool,
    /// What becomes of a registration with one callee when it is registered again: `refuse` keeps it; `same_principal_replaces`
    /// gives it to the newcomer if that has the same authid and role, such as a device that came back before its old session was
    /// known to be dead. Default `refuse`.
    pub on_conflict: OnConflict,
}

/// Whether it is told who calls and publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disclose {
    /// Where the caller or publisher asks for it.
    #[default]
    Allow,
    /// Never.
    Deny,
    /// Always.
    Always,
}

/// What becomes of a registration that does not share when its procedure is registered again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It stays.
    #[default]
    Refuse,
    /// It goes if its callee has the authid and role of the newcomer.
    SamePrincipalReplaces,
}

/// Who may join a realm without credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Nobody.
    #[default]
    Off,
    /// Clients whose connection comes from a loopback address.
    Loopback,
    /// Everybody who reaches a listener.
    On,
}

/// Which rule URIs from clients are checked by.
///
/// Spec: WAMP basic profile, "URIs", strict and loose rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UriCheck {
    /// Components are non-empty and hold no `.`, `#` or whitespace.
    #[default]
    Loose,
    /// Components hold lower-case letters, digits and `_` only.
    Strict,
}

impl Default for Realm {
    fn default() -> Self {
        Self {
            name: String::new(),
            anonymous: Anonymous::Off,
            anonymous_role: "anonymous".to_owned(),
            uri_check: UriCheck::Loose,
            disclose: Disclose::Allow,
            trustlevels: BTreeMap::new(),
            prefer_local_callees: false,
            allow_force_reregister: false,
            on_conflict: OnConflict::Refuse,
        }
    }
}

impl Realm {
    /// True if `name` is an URI by the loose rule.
    pub fn is_name(name: &str) -> bool {
        let is_component = |c: &str| !c.is_empty() && !c.contains(|ch: char| ch == '#' || ch.is_whitespace() || ch.is_control());
        name.len() <= 255 && name.split('.').all(is_component)
    }
}
