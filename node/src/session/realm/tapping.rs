//! Where taps see the messages of a realm: those of clients before the core does, those to clients as the core wants them sent.
//!
//! While there is a tap in a realm, its calls take the ordinary way, for on the short one there is no message to look at. While there is
//! none, a read batch pays for one look whether there is, under the lock it holds anyway.

use std::sync::{Arc, Weak};

use super::{RealmHandle, Shell, State};
use crate::{
    router::Effect,
    session::{
        outbox::{Outbox, Slowness},
        tap::{Buffer, Filled, Tap, Watched},
    },
    wamp::{Message, SessionId, Uri},
};

/// The taps of a realm.
#[derive(Debug, Default)]
pub(super) struct Taps {
    taps: Vec<(u64, Tap)>,
    last: u64,
}

/// A tap that is on; dropping it takes it off.
#[derive(Debug)]
pub struct Tapping {
    shell: Weak<Shell>,
    number: u64,
    buffer: Arc<Buffer>,
}

impl Tapping {
    /// What it has seen since it was last asked.
    pub fn take(&self) -> Filled {
        self.buffer.take()
    }
}

impl Drop for Tapping {
    fn drop(&mut self) {
        if let Some(shell) = self.shell.upgrade() {
            let mut state = shell.lock();
            if let Some(taps) = &mut state.taps {
                taps.taps.retain(|(number, _)| *number != self.number);
                if taps.taps.is_empty() {
                    state.taps = None;
                }
            }
        }
    }
}

impl State {
    /// A message of a client, where there are taps.
    pub(super) fn tap_incoming(&mut self, session: SessionId, message: &Message) {
        if let Some(taps) = &mut self.taps {
            for (_, tap) in &mut taps.taps {
                tap.incoming(&self.core, session, message);
            }
        }
    }

    /// What the core wants done, where there are taps.
    pub(super) fn tap_outgoing(&mut self, effects: &[Effect]) {
        if let Some(taps) = &mut self.taps {
            for (_, tap) in &mut taps.taps {
                tap.outgoing(&self.core, effects);
            }
        }
    }
}

impl RealmHandle {
    /// Puts a tap on; `payload`: what messages carry is kept too.
    pub fn tap(&self, watched: Watched, payload: bool) -> Tapping {
        let buffer = Arc::new(Buffer::default());
        let mut state = self.shared.lock();
        let taps = state.taps.get_or_insert_default();
        taps.last += 1;
        let number = taps.last;
        taps.taps.push((number, Tap::new(watched, payload, buffer.clone())));
        Tapping {
            shell: Arc::downgrade(&self.shared),
            number,
            buffer,
        }
    }

    /// The outbox of a session of this node.
    pub fn outbox(&self, session: SessionId) -> Option<Arc<Outbox>> {
        self.shared.lock().outboxes.get(&session).cloned()
    }

    /// The sessions of this node that do not keep up, and how they stand. Looks at their outboxes after it has let go of the realm.
    pub fn slow(&self) -> Vec<(SessionId, Slowness)> {
        let outboxes: Vec<(SessionId, Arc<Outbox>)> = {
            let state = self.shared.lock();
            state.outboxes.iter().map(|(id, outbox)| (*id, outbox.clone())).collect()
        };
        let slow = outboxes.iter().filter_map(|(id, outbox)| Some((*id, outbox.slowness()?)));
        slow.collect()
    }

    /// Ends sessions of this node with a GOODBYE of `reason` and `message`. Returns how many were still there.
    pub fn end_sessions(&self, sessions: &[SessionId], reason: &Uri, message: Option<&str>) -> usize {
        self.change_core(|core, now, effects| core.end_sessions(now, sessions, reason, message, effects))
    }
}
