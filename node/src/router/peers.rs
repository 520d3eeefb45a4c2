//! Other nodes: their links, their frames, their end.
//!
//! Invariants: nothing is taken from or sent to a node life without a link that is up; the end of a link or of a node life ends
//! everything that was open with it, once.

use super::{
    Effect, LogIndex, NodeRef, PeerFrame, Realm,
    broker::Event,
    dealer::{Answer, Invoke},
    frame::FloodSource,
    turn::Turn,
};

impl Realm {
    pub(super) fn on_peer_up(&mut self, node: NodeRef) {
        self.peers.insert(node);
    }

    pub(super) fn on_peer_ready(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        if self.peers.contains(&node) {
            self.share_presence(turn, node);
            self.share_retained(turn, node);
            self.ask_for_missed(turn, node);
        }
    }

    pub(super) fn on_peer_down(&mut self, turn: &mut Turn<'_>, node: NodeRef) {
        if self.peers.remove(&node) {
            self.note_unlinked(turn, node);
        }
        self.detach_node_from_dealer(turn, node);
        self.broker.forget_node(node);
        self.end_deliveries_with(turn, node);
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
                        continues: false,
                        details,
                        payload,
                    },
                );
            }
            PeerFrame::Chunk {
                call,
                registration,
                callee,
                details,
                payload,
            } => self.on_invoke(
                turn,
                Invoke {
                    from,
                    call,
                    registration,
                    callee,
                    index: 0,
                    continues: true,
                    details,
                    payload,
                },
            ),
            PeerFrame::Progress { call, details, payload } => self.on_remote_progress(turn, from, call, details, payload),
            PeerFrame::Result { call, details, payload } => {
                self.on_remote_answer(turn, from, call, Answer::Result { details, payload });
            }
            PeerFrame::Error {
                call,
                details,
                error,
                payload,
            } => {
                self.on_remote_answer(turn, from, call, Answer::Error { details, error, payload });
            }
            PeerFrame::Kept { what } => self.on_kept(turn, from, &what),
            PeerFrame::MetaAsk { ask, question } => self.on_meta_ask(turn, from, ask, &question),
            PeerFrame::MetaAnswer { ask, index, answer } => self.on_meta_answer(turn, from, ask, index, answer),
            PeerFrame::Nack {
                call,
                callee,
                why,
                payload,
            } => self.on_nack(turn, from, call, (callee, why, payload)),
            PeerFrame::Forget { call } => self.on_forget(turn, from, call),
            PeerFrame::Flood { source, hold } => {
                let session = match source {
                    FloodSource::Publisher(session) => Some(session),
                    FloodSource::Call(call) => self.dealer.outgoing.get(&(from, call)).map(|(session, _)| *session),
                    FloodSource::Answer(call) => self.dealer.incoming.get(&(from, call)).map(|(session, _)| *session),
                };
                if let Some(session) = session.filter(|session| self.sessions.get(*session).is_some()) {
                    turn.effects.push(Effect::Flood { session, hold });
                }
            }
            PeerFrame::Interrupt { call, mode, reason } => self.on_interrupt(turn, from, call, mode, &reason),
            PeerFrame::Event {
                publication,
                topic,
                publisher,
                exclude_me,
                acknowledged,
                audience,
                keep,
                details,
                payload,
            } => {
                let mark = keep.as_deref().copied();
                let event = Event {
                    publication,
                    topic,
                    publisher,
                    exclude_me,
                    acknowledged,
                    audience,
                    keep,
                    details,
                    payload,
                };
                if let Some(mark) = mark {
                    self.keep(turn, &event, mark, false);
                }
                // Delivered here only: its publisher's node sends one copy to every node that wants it, or has to keep it.
                let wanted = match acknowledged {
                    true => self.deliver_acknowledged(turn, from, event),
                    false => self.deliver(turn, event),
                };
                if !wanted && mark.is_none() {
                    self.stats.dropped_unwanted_events += 1;
                }
            }
            PeerFrame::Delivered { publication } => self.on_delivered(turn, from, publication),
            PeerFrame::RevokeSubscription {
                session,
                subscription,
                reason,
            } => self.revoke_here(turn, session, subscription, reason),
        }
    }
}
