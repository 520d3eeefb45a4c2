//! The configuration of a node: what it is, where it listens, whom it lets in, which cluster it belongs to.
//!
//! Owns: the documented settings, one struct per part and file; reading them from a file, standard input and
//! `RINGFORT__SECTION__KEY` variables; the checks of single values and of relations between them; the report an operator gets
//! when something is wrong. Does not own what the parts do with their settings: each part receives its own struct, and nothing
//! reads the environment or a global later.
//!
//! Start reading at [`Config`], then [`load`](Config::load). The text of `docs/config.md` is made from the doc comments of the
//! structs here; a test keeps both equal.

mod address;
mod admin;
mod audit;
mod certificate;
mod cluster;
mod compat;
mod definition;
mod document;
mod drain;
mod jwt;
mod limits;
mod listener;
mod load;
mod log;
mod membership;
mod node;
mod observability;
mod principal;
mod quota;
mod realm;
mod reload;
mod report;
mod role;
mod schema;
mod secret;
mod store;
mod topic;
mod traces;
mod tree;
mod validate;

use serde::{Deserialize, Serialize};

pub use address::{Bind, HostPort};
pub use admin::{Admin, AdminClient, AdminRole, AdminTls};
pub use audit::Audit;
pub use cluster::{Cluster, ClusterTls, NodeKind, Peer, Timing};
pub use compat::{CancelAnswer, Compat, ErrorUris, MetaResults, OnLeave, Profile, RequestIdCheck};
pub use definition::{Definition, DefinitionType};
pub use document::Document;
pub use drain::Drain;
pub use jwt::Jwt;
pub use limits::Limits;
pub use listener::{CertificateAndKey, ClientCertificates, CrlExpired, Listener, ListenerTls, Longpoll, Pages, UnknownName};
pub use load::Source;
pub use log::{Log, LogFormat, is_level};
pub use node::Node;
pub use observability::Observability;
pub use principal::{Principal, ScramKdf};
pub use quota::Quota;
pub use realm::{Anonymous, Disclose, OnConflict, Realm, RightsFrom, TimeoutUnit, UriCheck};
pub use report::{Fault, Problem, Report};
pub use role::{Permission, Right, Role};
pub use secret::Secret;
pub use store::{Store, StoreRedis};
pub use topic::{History, Match, Retain, SlowConsumer, StoreKind, Topic};
pub use traces::Traces;

/// Everything a node is told at its start. A value of this type that came from [`Config::load`] has passed every check.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[node]`
    #[serde(default)]
    pub node: Node,
    /// `[[listener]]`
    #[serde(default = "one_listener", rename = "listener")]
    pub listeners: Vec<Listener>,
    /// `[[realm]]`
    #[serde(default, rename = "realm")]
    pub realms: Vec<Realm>,
    /// `[[principal]]`
    #[serde(default, rename = "principal")]
    pub principals: Vec<Principal>,
    /// `[cluster]`
    #[serde(default)]
    pub cluster: Cluster,
    /// `[drain]`
    #[serde(default)]
    pub drain: Drain,
    /// `[admin]`
    #[serde(default)]
    pub admin: Admin,
    /// `[audit]`
    #[serde(default)]
    pub audit: Audit,
    /// `[observability]`
    #[serde(default)]
    pub observability: Observability,
    /// `[limits]`
    #[serde(default)]
    pub limits: Limits,
    /// `[store]`
    #[serde(default)]
    pub store: Store,
    /// `[log]`
    #[serde(default)]
    pub log: Log,
}

impl Default for Config {
    /// What `ringfort serve` runs without a file: one node on loopback, `realm1` open to anonymous clients of this machine.
    fn default() -> Self {
        Self {
            node: Node::default(),
            listeners: one_listener(),
            realms: vec![Realm {
                name: "realm1".to_owned(),
                anonymous: Anonymous::Loopback,
                roles: vec![Role::open("anonymous")],
                ..Realm::default()
            }],
            principals: Vec::new(),
            cluster: Cluster::default(),
            drain: Drain::default(),
            admin: Admin::default(),
            audit: Audit::default(),
            observability: Observability::default(),
            limits: Limits::default(),
            store: Store::default(),
            log: Log::default(),
        }
    }
}

impl Config {
    /// The effective settings as TOML, for the log line at start: every secret reads `***`.
    pub fn redacted(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# not printable: {error}\n"))
    }
}

fn one_listener() -> Vec<Listener> {
    vec![Listener::default()]
}

#[cfg(test)]
mod tests;
