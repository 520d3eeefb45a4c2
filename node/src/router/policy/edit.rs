//! A realm changed as a whole: several roles, principals and definitions in one step, other settings, and its end.
//!
//! Invariant: an [`Edit`] that [`Authority::has_room_for`] lets pass is applied whole; no session sees a part of it.

use std::{collections::BTreeSet, time::Instant};

use super::{
    Authority, Change, Permission, Request,
    authority::{PRINCIPALS_MAX, ROLES_MAX},
};
use crate::{
    auth::Principal,
    router::{Effect, LogIndex, Realm, RealmConfig, kept::Keeper, reflection::Definition, turn::Turn},
    wamp::{SessionId, Uri, error_uri},
};

/// What is done to a realm in one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// Roles, principals and definitions that stand go first.
    pub clear: bool,
    /// Then these, in their order.
    pub changes: Vec<Change>,
    /// And these beside those that are there.
    pub definitions: Vec<Definition>,
}

impl Edit {
    /// True if it leaves roles, principals and definitions as they are.
    pub fn is_empty(&self) -> bool {
        !self.clear && self.changes.is_empty() && self.definitions.is_empty()
    }
}

impl Authority {
    /// True if the edit does not lead beyond the bounds, whatever the order of its changes.
    pub fn has_room_for(&self, edit: &Edit) -> bool {
        let (mut roles, mut principals) = (BTreeSet::new(), BTreeSet::new());
        if !edit.clear {
            roles.extend(self.roles.keys().map(String::as_str));
            principals.extend(self.principals.keys().map(String::as_str));
        }
        for change in &edit.changes {
            match change {
                Change::PutRole { role, .. } => _ = roles.insert(role),
                Change::RemoveRole { role } => _ = roles.remove(role.as_str()),
                Change::PutPrincipal { principal } => _ = principals.insert(&principal.authid),
                Change::RemovePrincipal { authid } => _ = principals.remove(authid.as_str()),
                // Asked of a realm that has nothing, on its own.
                Change::Seed { .. } => return false,
            }
        }
        roles.len() <= ROLES_MAX && principals.len() <= PRINCIPALS_MAX
    }

    /// Applies an edit for which there is room; what is to be removed and is not there is removed already. Its changes get one revision each.
    pub(in crate::router) fn edit(&mut self, edit: &Edit) -> u64 {
        if edit.clear {
            self.revision += 1;
            self.roles.clear();
            self.principals.clear();
        }
        // Removals first, so that no bound is met on the way to a state that keeps it.
        let removes = |change: &&Change| matches!(change, Change::RemoveRole { .. } | Change::RemovePrincipal { .. });
        let (removals, others): (Vec<_>, Vec<_>) = edit.changes.iter().partition(removes);
        for change in removals.into_iter().chain(others) {
            self.apply(&Request {
                change: change.clone(),
                expected: None,
            });
        }
        self.revision
    }

    /// As the log does it.
    #[cfg(test)]
    pub(crate) fn applied_in_tests(&mut self, edit: &Edit) -> u64 {
        self.edit(edit)
    }

    /// The changes that lead from nothing to what there is.
    pub fn as_changes(&self) -> Vec<Change> {
        let role = |(role, row): (&str, &super::Row<Vec<Permission>>)| Change::PutRole {
            role: role.to_owned(),
            permissions: row.value.clone(),
        };
        let principal = |row: &super::Row<Principal>| Change::PutPrincipal {
            principal: row.value.clone(),
        };
        self.roles().map(role).chain(self.principals().map(principal)).collect()
    }
}

impl Realm {
    /// The definitions that clients have made.
    pub fn definitions_of_the_log(&self) -> impl Iterator<Item = &Definition> {
        self.registry.definitions().iter().map(|row| &row.definition)
    }

    /// What changes whenever one of them does: how many were ever made, and how many there are.
    pub fn definitions_given(&self) -> u64 {
        let definitions = self.registry.definitions();
        definitions
            .counters()
            .0
            .wrapping_mul(1 << 20)
            .wrapping_add(definitions.iter().len() as u64)
    }

    /// The log reached an edit: applies it, and ends here what stood on what it takes away. Returns the revision of the realm after it.
    pub fn edit(&mut self, now: Instant, index: LogIndex, edit: &Edit, effects: &mut Vec<Effect>) -> u64 {
        self.applied = self.applied.max(index.saturating_sub(1));
        let turn = &mut Turn { now, effects };
        let before = self.registry.authority.clone();
        let revision = self.registry.authority.edit(edit);
        if edit.clear || !edit.definitions.is_empty() {
            self.registry.edit_definitions(edit.clear, &edit.definitions);
            self.refresh_schemas();
        }
        let policy = self.config.policy.with(&self.registry.authority);
        self.put_in_force(turn, policy);
        for authid in before.revoked_by(&self.registry.authority) {
            self.end_sessions_of(turn, &authid);
        }
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
        revision
    }

    /// Takes other settings. What the sessions of this node have by rights that are gone ends; so do those that are anonymous, unless
    /// `anonymous` names the role they have.
    pub fn configure(&mut self, now: Instant, config: RealmConfig, anonymous: Option<&str>, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        let own = &mut self.config;
        own.uri_check = config.uri_check;
        own.prefer_local_callees = config.prefer_local_callees;
        own.allow_force_reregister = config.allow_force_reregister;
        own.allow_define = config.allow_define;
        own.on_conflict = config.on_conflict;
        own.authorizer_timeout = config.authorizer_timeout;
        own.authorizer_cache = config.authorizer_cache;
        own.policy = config.policy;
        own.disclosure = config.disclosure;
        own.call_timeouts = config.call_timeouts;
        own.trustlevels = config.trustlevels;
        own.of_the_log = config.of_the_log;
        self.judge_plainness();
        let policy = self.config.policy.with(&self.registry.authority);
        self.put_in_force(turn, policy);
        let why = "anonymous sessions are not let in any more";
        self.end_sessions_that(turn, (why, error_uri::NOT_AUTHORIZED), |realm, id| {
            let info = realm.session_info(id);
            info.is_some_and(|info| info.authmethod == "anonymous" && anonymous != Some(info.authrole.as_str()))
        });
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
    }

    /// The realm was removed: every session of this node ends, and what was retained is forgotten.
    pub fn close(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        self.end_sessions_that(turn, ("the realm was removed", error_uri::CLOSE_REALM), |_, _| true);
        self.keeper = Keeper::new(&self.config.kept, self.config.retained);
        self.name_histories();
        self.hear_answers(turn);
        self.start_wanted_barrier(turn);
    }

    fn end_sessions_that(
        &mut self,
        turn: &mut Turn<'_>,
        (why, reason): (&'static str, &'static str),
        end: impl Fn(&Self, SessionId) -> bool,
    ) {
        let sessions: Vec<SessionId> = self.sessions.ids().into_iter().filter(|id| end(self, *id)).collect();
        for session in sessions {
            self.end_session_as(turn, session, why, Uri::from(reason));
        }
    }
}
