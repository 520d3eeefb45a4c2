//! How sessions come and go.
//!
//! Invariant: there is one way out. GOODBYE, ABORT, a lost transport and a kill all end here, and a second end is none.

use super::{Op, Realm, SessionInfo, meta::Own, turn::Turn};
use crate::wamp::SessionId;

impl Realm {
    pub(super) fn on_session_joined(&mut self, turn: &mut Turn<'_>, session: SessionId, info: SessionInfo) {
        if info.trustlevel.is_some() {
            self.trust_told = true;
            self.judge_plainness();
        }
        let (authid, authrole) = (info.authid.clone(), info.authrole.clone());
        let (authmethod, authprovider) = (info.authmethod.clone(), info.authprovider.clone());
        let may = self.may_of(&authrole);
        if self.sessions.add(session, info, may, &self.config) {
            self.meta.note_proposed(session, Own::Joined);
            turn.propose(Op::SessionJoined {
                session,
                authid,
                authrole,
                authmethod,
                authprovider,
            });
            if self.rights_stale {
                self.end_if_revocable(turn, session);
            }
        }
    }

    /// Takes a session out: settles its calls both ways, its subscriptions and registrations, and tells the cluster.
    pub(super) fn detach(&mut self, turn: &mut Turn<'_>, session: SessionId) {
        if self.sessions.get(session).is_none() {
            return;
        }
        self.detach_dealer(turn, session);
        self.detach_broker(turn, session);
        self.detach_meta(session);
        self.detach_bearer(session);
        self.keeper.detach(session);
        self.sessions.remove(session);
        // Also takes its registrations away everywhere, and any REGISTER of it that is still on its way.
        self.meta.note_proposed(session, Own::Gone);
        turn.propose(Op::SessionGone { session });
    }
}
