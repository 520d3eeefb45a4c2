//! Other nodes: their links, their frames, their end.
//!
//! Invariants: nothing is taken from or sent to a node life without a link that is up; the end of a link or of a node life ends
//! everything that was open with it, once.

use super::{
    LogIndex, NodeRef, PeerFrame, Realm,
    broker::Event,
    dealer::{Answer, Invoke},
    turn::Turn,
};

impl Realm {
    pub(super) fn on_peer_up(&mut self, node: NodeRef) {
        self.peers.insert(node);
    }

    pub(super) fn on_peer_down(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        self.peers.remove(&node);
        self.detach_node_from_dealer(turn, node);
        self.broker.forget_node(node);
        self.detach_node_from_meta(turn, node);
    }

    /// The log says that a node life is over: its rows go, and with them whatever was open with it.
    pub(super) fn on_node_fenced(&mut self, turn: &mut Turn<'_>, index: LogIndex, node: NodeRef) {
        self.applied = self.applied.max(index.saturating_sub(1));
        self.registry.fence(node);
        if node == self.me {
            // This node's own life is over; the shell ends its sessions. Until then nothing here is invoked any more.
            self.settle_registrations(turn.effects);
        } else {
            self.on_peer_down(turn, node);
        }
    }

    pub(super) fn on_frame(&mut self, turn: &mut Turn<'_>, from: NodeRef, frame: PeerFrame) {
        if !self.peers.contains(&from) {
            self.stats.dropped_unlinked += 1;
            return;
        }
        match frame {
            PeerFrame::Invoke {
                call,
                registration,
                callee,
                index,
                details,
                payload,
            } => {
                self.on_invoke(
                    turn,
                    Invoke {
                        from,
                        call,
                        registration,
                        callee,
                        index,
                        details,
                        payload,
                    },
                );
            }
            // RESULT.Details is the router's to fill, and nothing that would go in is announced.
            PeerFrame::Result {
                call,
                details: _,
                payload,
            } => self.on_remote_answer(turn, from, call, Answer::Result { payload }),
            PeerFrame::Error {
                call,
                details,
                error,
                payload,
            } => {
                self.on_remote_answer(turn, from, call, Answer::Error { details, error, payload });
            }
            PeerFrame::MetaAsk { ask, question } => self.on_meta_ask(turn, from, ask, &question),
            PeerFrame::MetaAnswer { ask, index, answer } => self.on_meta_answer(turn, from, ask, index, answer),
            PeerFrame::Nack { call, callee, why } => self.on_nack(turn, from, call, callee, why),
            PeerFrame::Forget { call } => self.on_forget(turn, from, call),
            PeerFrame::Event {
                publication,
                topic,
                publisher,
                exclude_me,
                audience,
                details,
                payload,
            } => {
                // Delivered here only: its publisher's node sends one copy to every node that wants it.
                let event = Event {
                    publication,
                    topic,
                    publisher,
                    exclude_me,
                    audience,
                    details,
                    payload,
                };
                if !self.deliver(turn, event) {
                    self.stats.dropped_unwanted_events += 1;
                }
            }
            PeerFrame::RevokeSubscription {
                session,
                subscription,
                reason,
            } => self.revoke_here(turn, session, subscription, reason),
        }
    }
}
