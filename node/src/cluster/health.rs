//! How this node stands, for the other nodes and for operators.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ringfort_proto::cluster::v1 as pb;
use tokio::sync::watch;

use super::{consensus::Consensus, member::Stage, shared::Shared};
use crate::router::Realm;

/// What is looked at.
#[derive(Clone)]
pub struct Health {
    /// This node's name.
    pub name: String,
    /// Where it stands.
    pub stage: watch::Receiver<Stage>,
    /// Its part in consensus.
    pub consensus: Consensus,
    /// Its links and realms.
    pub shared: Arc<Shared>,
    /// True once it is told to leave.
    pub leaving: watch::Receiver<bool>,
}

impl Health {
    /// For how long this node may still start invocations of `single` registrations; the shortest of its realms.
    pub fn lease(shared: &Shared, now: Instant) -> Duration {
        let leases = shared.realms().map(|realm| {
            let until = realm.with_core(Realm::lease_until);
            until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
        });
        leases.min().unwrap_or_default()
    }

    /// All of it.
    pub fn status(&self) -> pb::NodeStatus {
        let stage = match *self.stage.borrow() {
            Stage::Joining => "joining",
            Stage::Member(_) => "member",
            Stage::Left => "left",
        };
        let leader = self.consensus.leadership().borrow().leader.clone();
        let links = self.shared.links().map(|links| links.link_states()).unwrap_or_default();
        let links = links.into_iter().map(|link| pb::LinkHealth {
            name: link.member.name,
            phase: format!("{:?}", link.phase).to_lowercase(),
            error: link.last_error,
            queued_bytes: link.queued_bytes as u64,
        });
        let sessions: usize = self
            .shared
            .realms()
            .map(|realm| realm.with_core(|core| core.session_count()))
            .sum();
        let lease = Self::lease(&self.shared, Instant::now());
        pb::NodeStatus {
            name: self.name.clone(),
            stage: stage.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            leader: leader.map(|(_, name)| name).unwrap_or_default(),
            applied: *self.consensus.applied().borrow(),
            lease_ms: u64::try_from(lease.as_millis()).unwrap_or(u64::MAX),
            draining: *self.leaving.borrow(),
            links: links.collect(),
            sessions: sessions as u64,
        }
    }
}
