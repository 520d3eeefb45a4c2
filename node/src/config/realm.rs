//! `[[realm]]`: a separate world of procedures and topics.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Definition, Jwt, Quota, Role, Topic};

/// One realm. Others can be made while the cluster runs; see docs/operating.md.
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
    /// Whether callees learn who calls them, and subscribers who publishes: `allow` where either side asks for it, `deny` never, and
    /// who asks gets an error, `always` whether asked for or not. Default `allow`.
    pub disclose: Disclose,
    /// How far callees and subscribers are told to trust a client, by its role: `{ admin = 5, guest = 0 }`, from 0, the lowest.
    /// A role that is not named gets what `listener.trustlevel` says. Default none.
    pub trustlevels: BTreeMap<String, u32>,
    /// The shortest time in milliseconds after which a call may end with `wamp.error.timeout`, however little its caller asks for.
    /// Default `0`: none.
    pub call_timeout_min: u64,
    /// The timeout in milliseconds of calls that name none. Default `0`: they may take as long as they like.
    pub call_timeout_default: u64,
    /// The longest timeout in milliseconds, whatever the caller asks for, also for calls that name none. A callee that answers in
    /// parts has this long for each. Default `0`: none.
    pub call_timeout_max: u64,
    /// In what clients of this realm count the timeouts of their calls: `ms`, as WAMP says, or `s`, for clients that were written for
    /// routers that read seconds, such as Crossbar. Autobahn documents seconds: with `ms`, its `timeout=10` ends after 10 ms. Default `ms`.
    pub timeout_unit: TimeoutUnit,
    /// Whether a call of a procedure with several callees goes to one on the caller's own node where there is one. Default `false`:
    /// the callees of all nodes take turns. With `true` calls cross nodes less, and callees beside busy clients get more of them.
    pub prefer_local_callees: bool,
    /// Whether a client may take a procedure from whoever registered it, with the option `force_reregister` of REGISTER. Default
    /// `false`, since any client of the realm could silence a device.
    pub allow_force_reregister: bool,
    /// Whether clients may say what topics, procedures and errors are like, and so which payloads are let through, with
    /// `wamp.reflect.define`. Default `false`, since any client of the realm could shut a procedure to all others.
    pub allow_define: bool,
    /// What becomes of a registration with one callee when it is registered again: `refuse` keeps it; `same_principal_replaces`
    /// gives it to the newcomer if that has the same authid and role, such as a device that came back before its old session was
    /// known to be dead. Default `refuse`.
    pub on_conflict: OnConflict,
    /// Whose the roles of this realm, and the principals that the file gives it, are: `fixed` the file's, on each node, where they are
    /// changed; `seed` those with which the realm begins: the first node that serves it puts them into the cluster's log, once; from then
    /// on they are changed there (`ringfort admin`), and what the file says of them is not looked at any more. Default `fixed`. The same
    /// on every node.
    pub rights: RightsFrom,
    /// What the sessions of each role may do, each a `[[realm.roles]]`. Default: none, so that nobody may do anything.
    pub roles: Vec<Role>,
    /// Topics with rules of their own, each a `[[realm.topics]]`. Default: none.
    pub topics: Vec<Topic>,
    /// The procedure that is asked who a client is that names no principal of the realm: it gets the realm, the authid and details, and
    /// gives the role, or the credential to verify with. docs/security.md says how. Whoever may register it decides who comes in.
    /// Default none: only principals come in.
    pub authenticator: String,
    /// How long that may take, in milliseconds, 10 to 60000. Then the client is refused. Default 3000.
    pub authenticator_timeout_ms: u32,
    /// The procedure that is asked whether a session may do what no permission of its role decides. docs/authorization.md says how.
    /// For roles without an `authorizer` of their own. Whoever may register it decides what they may do. Default none: what no
    /// permission allows is denied.
    pub authorizer: String,
    /// How long that may take, in milliseconds, 10 to 60000. Then the request is refused. Default 3000.
    pub authorizer_timeout_ms: u32,
    /// How long a decision counts for later requests of the same session, in seconds, up to 86400. `0`: each request is asked about.
    /// Default 60.
    pub authorizer_cache_secs: u32,
    /// Whose tokens clients may show as tickets, each a `[[realm.jwt]]`. Default: nobody's.
    pub jwt: Vec<Jwt>,
    /// What is said of topics, procedures and errors, each a `[[realm.definitions]]`. Default: nothing.
    pub definitions: Vec<Definition>,
    /// What all its sessions of one node may take together; see `[realm.quota]`. Default: anything.
    pub quota: Quota,
}

/// Whose the roles and principals of a realm are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RightsFrom {
    /// The file's.
    #[default]
    Fixed,
    /// The log's, which begins with those of the file.
    Seed,
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

/// Whether callees learn who calls them, and subscribers who publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Disclose {
    /// Where either side asks for it.
    #[default]
    Allow,
    /// Never.
    Deny,
    /// Always.
    Always,
}

/// In what clients count the timeouts of their calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum TimeoutUnit {
    /// Milliseconds.
    #[default]
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
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
            rights: RightsFrom::Fixed,
            roles: Vec::new(),
            topics: Vec::new(),
            definitions: Vec::new(),
            authenticator: String::new(),
            authenticator_timeout_ms: 3000,
            authorizer: String::new(),
            authorizer_timeout_ms: 3000,
            authorizer_cache_secs: 60,
            jwt: Vec::new(),
            quota: Quota::default(),
            allow_define: false,
            call_timeout_min: 0,
            call_timeout_default: 0,
            call_timeout_max: 0,
            timeout_unit: TimeoutUnit::Milliseconds,
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
