//! Slowing a flood that comes over a link: an outbox of this node that a lane fills above its threshold has the nodes of those who
//! fill it hold them (`PeerFrame::Flood`), as the session's own task would if they were here (`session/hold`).
//!
//! The reader of the lane never waits (DESIGN §3.5); only sources do. One task per node looks after all congested outboxes while
//! there are any. A request to hold is said again every [`AGAIN`], and runs out at the source a little later, so that the loss of a
//! link or of this node frees it; the end of the congestion is said at once.
//!
//! Invariants: a source is held only for outboxes that drain; after [`LONGEST`] it is let go and has to fill an outbox anew; what is
//! remembered is bounded by [`OUTBOXES_MAX`] and [`SOURCES_MAX`], beyond which nobody is asked to hold.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::shared::Shared;
use crate::{
    router::{NodeRef, PeerFrame, frame::FloodSource},
    session::{
        cluster::Drain,
        hold::{AGAIN, Awaited, CHECK, LONGEST},
        outbox::Congested,
    },
    wamp::{SessionId, Uri},
};

/// The congested outboxes that other nodes fill, and who fills them.
#[derive(Default)]
pub struct Floods(Mutex<State>);

#[derive(Default)]
struct State {
    outboxes: Vec<Flooded>,
    /// The task that looks after them is there.
    watched: bool,
}

/// An outbox and those who are held for it.
struct Flooded {
    outbox: Awaited,
    sources: Vec<Source>,
}

/// Somebody on another node who is held.
struct Source {
    node: NodeRef,
    realm: Uri,
    who: FloodSource,
    /// When it was first asked to hold.
    since: Instant,
    /// When to ask again.
    again_at: Instant,
}

const OUTBOXES_MAX: usize = 1_024;
const SOURCES_MAX: usize = 64;

impl Floods {
    /// Notes what frames of `node` have congested, and has their sources hold. Called by the reader of a lane, after its flush.
    pub fn note(shared: &Arc<Shared>, node: NodeRef, realm: &Uri, congested: Vec<Congested>) {
        let now = Instant::now();
        let mut held = Vec::new();
        let mut state = shared.floods.0.lock();
        for Congested { outbox, source } in congested {
            let Some(who) = source else { continue };
            let outbox = outbox as Arc<dyn Drain>;
            let index = state.outboxes.iter().position(|known| known.outbox.is_for(&outbox));
            let index = match index {
                Some(index) => index,
                None if state.outboxes.len() < OUTBOXES_MAX => {
                    let Some(outbox) = Awaited::begin(outbox, now) else { continue };
                    let sources = Vec::new();
                    state.outboxes.push(Flooded { outbox, sources });
                    state.outboxes.len() - 1
                }
                None => continue,
            };
            let sources = &mut state.outboxes[index].sources;
            let known = sources.iter().any(|s| s.who == who && s.node == node && s.realm == *realm);
            if !known && sources.len() < SOURCES_MAX {
                let source = Source {
                    node,
                    realm: realm.clone(),
                    who,
                    since: now,
                    again_at: now + AGAIN,
                };
                held.push(source.say(true));
                sources.push(source);
            }
        }
        let start = !state.outboxes.is_empty() && !std::mem::replace(&mut state.watched, true);
        drop(state);
        shared.say(held);
        if start {
            tokio::spawn(watch(shared.clone()));
        }
    }

    /// Looks at every outbox; returns what is to be said, and false when none is congested any more and the watch ends.
    fn look(&self, now: Instant) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let mut state = self.0.lock();
        state.outboxes.retain_mut(|flooded| {
            let over = flooded.outbox.is_over(now);
            flooded.sources.retain_mut(|source| {
                let free = over || now >= source.since + LONGEST;
                if free {
                    said.push(source.say(false));
                } else if now >= source.again_at {
                    source.again_at = now + AGAIN;
                    said.push(source.say(true));
                }
                !free
            });
            !over
        });
        state.watched = !state.outboxes.is_empty();
        (said, state.watched)
    }
}

/// A frame for a source's node.
struct Said {
    node: NodeRef,
    realm: Uri,
    lane: SessionId,
    frame: PeerFrame,
}

impl Source {
    fn say(&self, hold: bool) -> Said {
        let lane = match self.who {
            FloodSource::Publisher(session) => session,
            FloodSource::Call(_) => SessionId::MIN,
        };
        Said {
            node: self.node,
            realm: self.realm.clone(),
            lane,
            frame: PeerFrame::Flood { source: self.who, hold },
        }
    }
}

impl Shared {
    fn say(&self, said: Vec<Said>) {
        let Some(links) = self.links().filter(|_| !said.is_empty()) else {
            return;
        };
        for Said {
            node,
            realm,
            lane,
            frame,
        } in said
        {
            // One that is not taken is said again, or has run out by itself.
            links.forward(&realm, node, lane, frame);
        }
        links.flush();
    }
}

/// Looks after congested outboxes until there are none.
async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(CHECK).await;
        let (said, go_on) = shared.floods.look(Instant::now());
        shared.say(said);
        if !go_on {
            return;
        }
    }
}
