//! What `/status` and `/log` show.

use std::sync::Arc;

use serde_json::{Value, json};

use super::reload::Standing;
use crate::{
    cluster::{Inspect, member::Stage},
    router::{LogIndex, NodeRef},
    session::{realm::Realms, sessions::Sessions},
};

/// At most this many log lines in one answer.
const LINES_MAX: usize = 10_000;

/// Where the answers come from.
#[derive(Clone)]
pub struct Source {
    /// This node's name.
    pub name: String,
    /// The cluster part.
    pub inspect: Inspect,
    /// The realms clients join.
    pub realms: Arc<Realms>,
    /// The connections of clients.
    pub sessions: Arc<Sessions>,
    /// How the settings stand.
    pub settings: Arc<Standing>,
}

fn node(node: NodeRef) -> Value {
    json!({ "slot": node.slot.0, "epoch": node.epoch })
}

impl Source {
    /// True while clients are served.
    pub fn ready(&self) -> bool {
        matches!(*self.inspect.stage.borrow(), Stage::Member(_)) && !self.inspect.drain.is_draining()
    }

    /// The node as JSON.
    pub fn status(&self) -> Value {
        let stage = self.inspect.stage.borrow().clone();
        let leadership = self.inspect.consensus.leadership().borrow().clone();
        let view = self.inspect.view.borrow().clone();
        let links = self
            .inspect
            .shared
            .links()
            .map(|links| links.link_states())
            .unwrap_or_default();
        let heard = self
            .inspect
            .heard
            .as_ref()
            .map(|heard| heard.borrow().clone())
            .unwrap_or_default();
        let members = view.table.live().map(|(life, row)| {
            let link = links.iter().find(|link| link.member.node == life);
            json!({
                "name": row.name,
                "node": node(life),
                "version": row.version,
                "link": link.map(|link| format!("{:?}", link.phase).to_lowercase()),
                "heard": heard.get(&row.name).map(|seen| seen.live),
                "link_error": link.map(|link| link.last_error.as_str()).filter(|error| !error.is_empty()),
            })
        });
        let realms = self.realms.all();
        let realms = realms.iter().map(|realm| {
            realm.handle.with_core(|core| {
                json!({
                    "name": core.name().as_str(),
                    "registrations": core.registry().registrations().len(),
                    "sessions": core.registry().sessions().len(),
                    "local_sessions": core.session_count(),
                    "subscriptions": core.subscription_count(),
                })
            })
        });
        json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "audit": self.realms.audit.head().map(|head| json!({ "seq": head.seq, "sha256": head.hash })),
            "stage": match stage { Stage::Joining => "joining", Stage::Member(_) => "member", Stage::Left => "left" },
            "ready": self.ready(),
            "drain": self.inspect.drain.now().phase.name(),
            "node": match stage { Stage::Member(life) => node(life), _ => Value::Null },
            "leader": leadership.leader.map(|(_, name)| name),
            "term": leadership.term,
            "applied": *self.inspect.consensus.applied().borrow(),
            "durable": self.inspect.consensus.log_state().durable,
            "cluster": view.cluster_id,
            "authentication": self.authentication(),
            "limits": self.limits(),
            "settings": self.settings.told(),
            "tls": json!({ "sessions_revoked": self.sessions.revoked() }),
            "members": members.collect::<Vec<_>>(),
            "realms": realms.collect::<Vec<_>>(),
        })
    }

    fn authentication(&self) -> Value {
        let (failed, refused) = self.realms.guard.counts();
        let verifications: u64 = self
            .realms
            .all()
            .iter()
            .map(|realm| realm.auth.principals.verifications())
            .sum();
        json!({ "verifications": verifications, "failed": failed, "refused": refused })
    }

    /// How often each limit was met, by scope; what was never met is left out.
    fn limits(&self) -> Value {
        let mut scopes = serde_json::Map::new();
        for (scope, reason, count) in self.realms.quotas.counts.all().filter(|(_, _, count)| *count > 0) {
            let counts = scopes.entry(scope).or_insert_with(|| json!({}));
            counts[reason] = json!(count);
        }
        let over: u64 = self
            .inspect
            .shared
            .realms()
            .map(|realm| realm.with_core(|core| core.stats().over_limits))
            .sum();
        scopes.insert("held_refused".to_owned(), json!(over));
        Value::Object(scopes)
    }

    /// The applied commands from log index `from` on; the oldest ones may be forgotten.
    pub fn log(&self, from: LogIndex) -> Value {
        let recent = self.inspect.recent.lock();
        let lines = recent
            .iter()
            .filter(|line| line.index >= from)
            .take(LINES_MAX)
            .map(|line| json!({ "index": line.index, "kind": line.kind, "detail": line.detail }));
        json!({ "lines": lines.collect::<Vec<_>>() })
    }
}
