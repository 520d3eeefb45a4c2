//! What waits to be written, and the thread that writes it.
//!
//! Invariants: whoever adds holds the lock for a push or one look-up, never while the disk works; what waits is written in the order in
//! which it came, refusals after the events they were gathered beside.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Error, Event, Head, Refusal, file::LogFile, record::text};

/// Who waits for a record.
type Written = oneshot::Sender<Result<(), Error>>;

/// See the module.
pub(super) struct Queue {
    path: PathBuf,
    refusals_max: usize,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    events: VecDeque<(u64, Event, Option<Written>)>,
    refusals: HashMap<Key, (u64, Event)>,
    /// Refusals that found no room.
    dropped: u64,
    head: Head,
    closed: bool,
    /// The thread is gone, nothing is written any more.
    over: bool,
}

/// What refusals have in common that are written as one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    wall: &'static str,
    reason: &'static str,
    source: Option<IpAddr>,
}

/// How often refusals are written.
const GATHER: Duration = Duration::from_secs(1);

impl Queue {
    pub(super) fn new(path: PathBuf, refusals_max: usize, head: Head) -> Self {
        Self {
            path,
            refusals_max,
            state: Mutex::new(State {
                events: VecDeque::new(),
                refusals: HashMap::new(),
                dropped: 0,
                head,
                closed: false,
                over: false,
            }),
            wake: Condvar::new(),
        }
    }

    pub(super) fn refused(&self, refusal: &Refusal<'_>) {
        let key = Key {
            wall: refusal.wall,
            reason: refusal.reason,
            source: refusal.source.map(network),
        };
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        if let Some((_, event)) = state.refusals.get_mut(&key) {
            event.count = event.count.map(|count| count + 1);
            return;
        }
        if state.refusals.len() >= self.refusals_max {
            state.dropped += 1;
            return;
        }
        let event = Event {
            step: Some(refusal.wall),
            reason: Some(refusal.reason.to_owned()),
            admin: text(refusal.admin),
            source: refusal.source,
            listener: refusal.listener,
            realm: text(refusal.realm),
            authid: text(refusal.authid),
            role: text(refusal.role),
            session: refusal.session,
            what: text(refusal.what),
            count: Some(1),
            ..Event::of("refused")
        };
        state.refusals.insert(key, (now_micros(), event));
    }

    pub(super) fn note(&self, event: Event, written: Option<Written>) {
        let mut state = self.state.lock();
        if state.closed || state.over {
            if let Some(written) = written {
                // Who does not wait any more need not know.
                let _ = written.send(Err(Error::Closed));
            }
            return;
        }
        state.events.push_back((now_micros(), event, written));
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn head(&self) -> Head {
        self.state.lock().head.clone()
    }

    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if !state.closed {
            state.events.push_back((now_micros(), Event::of("stop"), None));
        }
        state.closed = true;
        drop(state);
        self.wake.notify_one();
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn write_to(&self, mut file: LogFile) {
        let mut gathered = Instant::now();
        let mut failing = false;
        loop {
            let mut batch = Vec::new();
            let closed = {
                let mut state = self.state.lock();
                while state.events.is_empty() && !state.closed && gathered.elapsed() < GATHER {
                    self.wake.wait_until(&mut state, gathered + GATHER);
                }
                batch.extend(state.events.drain(..));
                if gathered.elapsed() >= GATHER || state.closed {
                    gathered = Instant::now();
                    let mut refusals: Vec<_> = state.refusals.drain().map(|(_, refusal)| refusal).collect();
                    refusals.sort_by_key(|(at, _)| *at);
                    batch.extend(refusals.into_iter().map(|(at, event)| (at, event, None)));
                    let dropped = std::mem::take(&mut state.dropped);
                    if dropped > 0 {
                        let event = Event {
                            reason: Some("more kinds of refusals within a second than are held".to_owned()),
                            count: Some(dropped),
                            ..Event::of("dropped")
                        };
                        batch.push((now_micros(), event, None));
                    }
                }
                state.closed
            };
            if !batch.is_empty() {
                failing = self.write(&mut file, batch, failing);
            }
            let mut state = self.state.lock();
            // What cannot be written while the node stops is not written any more; the log of the node has said so.
            if closed && (state.events.is_empty() || failing) {
                state.over = true;
                return;
            }
            drop(state);
            if failing {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Writes one batch; true if that failed. Then nothing of it is there: who waits is told, the rest is tried again.
    fn write(&self, file: &mut LogFile, batch: Vec<(u64, Event, Option<Written>)>, failed_before: bool) -> bool {
        let written = file.append(batch.iter().map(|(at, event, _)| (*at, event)));
        match written {
            Ok(()) => {
                self.state.lock().head = file.head();
                if failed_before {
                    tracing::info!("the audit log is written again");
                }
                for sender in batch.into_iter().filter_map(|(_, _, sender)| sender) {
                    let _ = sender.send(Ok(()));
                }
                false
            }
            Err(error) => {
                if !failed_before {
                    tracing::error!(%error, path = %self.path.display(), "the audit log cannot be written");
                }
                let told = Error::File {
                    path: self.path.clone(),
                    what: error.to_string(),
                };
                let mut again = Vec::new();
                for (at, event, sender) in batch {
                    match sender {
                        Some(sender) => _ = sender.send(Err(told.clone())),
                        None => again.push((at, event, None)),
                    }
                }
                let mut state = self.state.lock();
                again.into_iter().rev().for_each(|one| state.events.push_front(one));
                true
            }
        }
    }
}

/// Whom a source is counted with: an IPv6 host has as many addresses as it likes, all within one /64.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
