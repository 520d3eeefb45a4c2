//! Who is connected to a relay, and where a frame goes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::{
    QUEUE_MAX,
    frame::{self, Kind},
};

/// The routing table of one relay; clones share it.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    table: Mutex<Table>,
    linked: watch::Sender<bool>,
}

#[derive(Default)]
struct Table {
    callers: BTreeMap<u32, mpsc::Sender<Bytes>>,
    callees: BTreeMap<u32, mpsc::Sender<Bytes>>,
    subscribers: BTreeMap<u32, mpsc::Sender<Bytes>>,
    /// The other relay, where there is one.
    link: Option<mpsc::Sender<Bytes>>,
}

/// Where a frame came from; what came over the link never goes back there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// A client of this relay.
    Client,
    /// The other relay.
    Link,
}

/// A client's entry in the table, taken out on drop.
pub struct Seat {
    hub: Hub,
    kind: Kind,
    peer: u32,
    /// What is to be written to the client.
    pub queue: mpsc::Receiver<Bytes>,
    /// Nothing is ever sent to a publisher; its sender stays here so that the queue does not read as closed.
    _unused: Option<mpsc::Sender<Bytes>>,
}

impl Hub {
    /// An empty table.
    #[allow(clippy::new_without_default)] // An empty hub is no natural value, it is the start of a relay.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            table: Mutex::default(),
            linked: watch::Sender::new(false),
        }))
    }

    /// Enters the connection whose first frame is `hello`.
    ///
    /// # Errors
    /// If that frame names no role, or one under this number is connected already.
    pub fn seat(&self, hello: &[u8]) -> Result<Seat> {
        let (kind, peer, ..) = frame::read(hello).context("the first frame names no role")?;
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let mut table = self.lock();
        let places = match kind {
            Kind::Caller => Some(&mut table.callers),
            Kind::Callee => Some(&mut table.callees),
            Kind::Subscriber => Some(&mut table.subscribers),
            Kind::Publisher => None,
            other => bail!("the first frame is a {other:?}"),
        };
        let unused = match places {
            Some(places) if places.contains_key(&peer) => bail!("{kind:?} {peer} is connected already"),
            Some(places) => {
                places.insert(peer, sender);
                None
            }
            None => Some(sender),
        };
        drop(table);
        Ok(Seat {
            hub: self.clone(),
            kind,
            peer,
            queue,
            _unused: unused,
        })
    }

    /// Makes a link to the other relay; what is to be sent there comes out of the receiver.
    pub fn link(&self) -> mpsc::Receiver<Bytes> {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        self.lock().link = Some(sender);
        self.0.linked.send_replace(true);
        queue
    }

    /// Waits until there is a link to the other relay.
    pub async fn linked(&self) {
        let mut linked = self.0.linked.subscribe();
        // The sender lives in `self`, so waiting can only end well.
        linked.wait_for(|linked| *linked).await.ok();
    }

    /// Queues `frame` for whoever it is for. Frames for nobody are dropped; the load client notices.
    pub fn route(&self, frame: Bytes, from: From) {
        let Some((kind, peer, ..)) = frame::read(&frame) else {
            return;
        };
        let mut table = self.lock();
        let Table {
            callers,
            callees,
            subscribers,
            link,
        } = &mut *table;
        let link = link.as_ref().filter(|_| from == From::Client);
        match kind {
            Kind::Call => {
                let chosen = peer as usize % callees.len().max(1);
                offer(callees.values().nth(chosen).or(link), frame);
            }
            Kind::Answer => offer(callers.get(&peer).or(link), frame),
            Kind::Event => {
                subscribers.retain(|_, subscriber| subscriber.try_send(frame.clone()).is_ok());
                if let Some(link) = link {
                    offer(Some(link), frame);
                }
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offer(receiver: Option<&mpsc::Sender<Bytes>>, frame: Bytes) {
    if let Some(Err(mpsc::error::TrySendError::Full(_))) = receiver.map(|r| r.try_send(frame)) {
        eprintln!("a queue of {QUEUE_MAX} frames is full, a frame is dropped");
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.hub.lock();
        match self.kind {
            Kind::Caller => drop(table.callers.remove(&self.peer)),
            Kind::Callee => drop(table.callees.remove(&self.peer)),
            Kind::Subscriber => drop(table.subscribers.remove(&self.peer)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: Kind, peer: u32) -> Bytes {
        Bytes::copy_from_slice(&frame::head(kind, peer, 0))
    }

    #[test]
    fn frames_go_to_the_local_receiver_else_over_the_link_but_never_back() {
        let hub = Hub::new();
        let mut link = hub.link();
        let mut caller = hub.seat(&frame(Kind::Caller, 3)).unwrap();
        hub.route(frame(Kind::Call, 3), From::Client);
        assert!(link.try_recv().is_ok(), "no callee here");
        hub.route(frame(Kind::Answer, 3), From::Link);
        assert!(caller.queue.try_recv().is_ok());
        hub.route(frame(Kind::Answer, 4), From::Link);
        assert!(link.try_recv().is_err());
        let mut callee = hub.seat(&frame(Kind::Callee, 0)).unwrap();
        hub.route(frame(Kind::Call, 3), From::Client);
        assert!(callee.queue.try_recv().is_ok() && link.try_recv().is_err());
        drop(callee);
        hub.route(frame(Kind::Call, 3), From::Client);
        assert!(link.try_recv().is_ok(), "the callee has left");
    }

    #[test]
    fn events_reach_every_subscriber_and_the_link_once() {
        let hub = Hub::new();
        let mut link = hub.link();
        let mut seats: Vec<_> = (0..3).map(|i| hub.seat(&frame(Kind::Subscriber, i)).unwrap()).collect();
        hub.route(frame(Kind::Event, 0), From::Client);
        assert!(
            seats
                .iter_mut()
                .all(|s| s.queue.try_recv().is_ok() && s.queue.try_recv().is_err())
        );
        assert!(link.try_recv().is_ok() && link.try_recv().is_err());
        assert!(hub.seat(&frame(Kind::Subscriber, 1)).is_err(), "the number is taken");
        assert!(hub.seat(&frame(Kind::Event, 1)).is_err());
    }
}
