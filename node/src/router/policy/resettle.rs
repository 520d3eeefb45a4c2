//! Settings of a realm that its configuration changes while it runs.
//!
//! They are each node's own, unlike what the log says; what they take away ends here as it does there.

use std::{collections::BTreeMap, time::Instant};

use super::Policy;
use crate::router::{CallTimeouts, Disclosure, Effect, Realm, RealmConfig, RealmLimits, turn::Turn};

/// The settings that can be changed.
#[derive(Clone, Debug)]
pub struct Resettled {
    /// Roles of the configuration and what they may do; `None`: as before.
    pub policy: Option<Policy>,
    /// See [`RealmConfig::disclosure`].
    pub disclosure: Disclosure,
    /// See [`RealmConfig::trustlevels`].
    pub trustlevels: BTreeMap<String, u64>,
    /// See [`RealmConfig::call_timeouts`]; for calls that are made from now on.
    pub call_timeouts: CallTimeouts,
    /// See [`RealmConfig::prefer_local_callees`].
    pub prefer_local_callees: bool,
    /// See [`RealmConfig::allow_force_reregister`].
    pub allow_force_reregister: bool,
    /// See [`RealmConfig::allow_define`].
    pub allow_define: bool,
    /// Its bounds; what is there already beyond them stays.
    pub limits: RealmLimits,
}

impl From<RealmConfig> for Resettled {
    fn from(config: RealmConfig) -> Self {
        Self {
            policy: Some(config.policy),
            disclosure: config.disclosure,
            trustlevels: config.trustlevels,
            call_timeouts: config.call_timeouts,
            prefer_local_callees: config.prefer_local_callees,
            allow_force_reregister: config.allow_force_reregister,
            allow_define: config.allow_define,
            limits: config.limits,
        }
    }
}

impl Realm {
    /// Puts other settings in force, and ends what sessions of this node have by rights that are gone. Those of `revoked`, principals of
    /// the configuration that are gone or changed, end altogether.
    pub fn resettle(&mut self, now: Instant, settings: Resettled, revoked: &[String], effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        let config = &mut self.config;
        config.disclosure = settings.disclosure;
        config.trustlevels = settings.trustlevels;
        config.call_timeouts = settings.call_timeouts;
        config.prefer_local_callees = settings.prefer_local_callees;
        config.allow_force_reregister = settings.allow_force_reregister;
        config.allow_define = settings.allow_define;
        config.limits = settings.limits;
        self.judge_plainness();
        if let Some(policy) = settings.policy {
            self.config.policy = policy;
            let policy = self.config.policy.with(&self.registry.authority);
            self.put_in_force(turn, policy);
        }
        revoked.iter().for_each(|authid| self.end_sessions_of(turn, authid));
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
    }
}
