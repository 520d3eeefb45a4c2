//! Slowing a flood that comes over a link: an outbox of this node that a lane fills above its threshold has the nodes of those who
//! fill it hold them (`PeerFrame::Flood`), as the session's own task would if they were here (`session/hold`).
//!
//! The reader of the lane never waits (DESIGN §3.5); only sources do. One task per node looks after all congested outboxes while
//! there are any. A request to hold is said again every [`AGAIN`], and runs out at the source a little later, so that the loss of a
//! link or of this node frees it; the end of the congestion is said at once.
//!
//! Invariants: a source is held only for outboxes that drain, and as long as there is one of them; after [`LONGEST`] it is let go and has to fill an outbox anew; what is
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
        let (mut said, mut freed) = (Vec::new(), Vec::new());
        let mut state = self.0.lock();
        state.outboxes.retain_mut(|flooded| {
            if flooded.outbox.is_over(now) {
                freed.append(&mut flooded.sources);
                return false;
            }
            // One that has been held for long enough is not asked again, and its hold runs out.
            flooded.sources.retain_mut(|source| now < source.since + LONGEST);
            for source in flooded.sources.iter_mut().filter(|source| now >= source.again_at) {
                source.again_at = now + AGAIN;
                said.push(source.say(true));
            }
            true
        });
        // Whoever still fills another outbox goes on being held.
        let holds = |freed: &Source| {
            state
                .outboxes
                .iter()
                .flat_map(|flooded| &flooded.sources)
                .any(|held| held.may_be(freed))
        };
        said.extend(freed.iter().filter(|source| !holds(source)).map(|source| source.say(false)));
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
    /// True if both name the same session, as far as one can tell from here.
    fn may_be(&self, other: &Self) -> bool {
        let called = |who| matches!(who, FloodSource::Call(_) | FloodSource::Answer(_));
        (self.node, &self.realm) == (other.node, &other.realm) && (self.who == other.who || called(self.who) && called(other.who))
    }

    fn say(&self, hold: bool) -> Said {
        let lane = match self.who {
            FloodSource::Publisher(session) => session,
            FloodSource::Call(_) | FloodSource::Answer(_) => SessionId::MIN,
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        time::Duration,
    };

    use super::*;
    use crate::router::Slot;

    /// A congested queue that has passed so much on.
    #[derive(Default)]
    struct Pipe {
        passed: AtomicU64,
        laggard: AtomicBool,
    }

    impl Drain for Pipe {
        fn congestion(&self) -> Option<u64> {
            (!self.laggard.load(Relaxed)).then(|| self.passed.load(Relaxed))
        }

        fn set_laggard(&self) {
            self.laggard.store(true, Relaxed);
        }
    }

    fn flooded(pipe: &Arc<Pipe>, who: FloodSource, now: Instant) -> Flooded {
        let source = Source {
            node: NodeRef { slot: Slot(2), epoch: 1 },
            realm: "realm1".into(),
            who,
            since: now,
            again_at: now + AGAIN,
        };
        Flooded {
            outbox: Awaited::begin(pipe.clone(), now).unwrap(),
            sources: vec![source],
        }
    }

    fn holds(said: &[Said]) -> Vec<bool> {
        let hold = |said: &Said| matches!(said.frame, PeerFrame::Flood { hold: true, .. });
        said.iter().map(hold).collect()
    }

    #[test]
    fn a_source_that_fills_two_outboxes_is_held_until_neither_is_worth_it() {
        let (start, publisher) = (Instant::now(), FloodSource::Publisher(SessionId::MIN));
        let after = |ms| start + Duration::from_millis(ms);
        let (stuck, reading) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
        let floods = Floods::default();
        floods.0.lock().outboxes = vec![flooded(&stuck, publisher, start), flooded(&reading, publisher, start)];
        assert!(holds(&floods.look(after(10)).0).is_empty());
        assert_eq!(holds(&floods.look(after(50)).0), [true, true], "said again");
        reading.passed.store(1 << 20, Relaxed);
        let (said, go_on) = floods.look(after(300));
        assert!(stuck.laggard.load(Relaxed) && !reading.laggard.load(Relaxed) && go_on);
        assert_eq!(holds(&said), [true], "the end of one does not free it from the other");
        reading.laggard.store(true, Relaxed);
        let (said, go_on) = floods.look(after(310));
        assert_eq!((holds(&said), go_on), (vec![false], false));
    }

    #[test]
    fn nobody_is_held_for_longer_than_the_longest() {
        let start = Instant::now();
        let pipe = Arc::new(Pipe::default());
        let floods = Floods::default();
        floods.0.lock().outboxes = vec![flooded(&pipe, FloodSource::Publisher(SessionId::MIN), start)];
        for step in 1..=20 {
            pipe.passed.fetch_add(1 << 20, Relaxed);
            let (said, go_on) = floods.look(start + LONGEST / 10 * step);
            assert_eq!((holds(&said).len(), go_on), (usize::from(step < 10), true));
        }
    }
}
