//! The control stream of a link, outgoing half: pings, acknowledgements and interest.

use std::{
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use parking_lot::Mutex;
use ringfort_proto::cluster::v1 as pb;

use super::{convert, life::Link};
use crate::{
    auth::{login::CookieNews, throttle::Report},
    cluster::interest::Own,
};

/// How many reports of logins wait for one peer.
const LOGINS_MAX: usize = 1024;

/// How much news of cookies waits for one peer.
const COOKIES_MAX: usize = 8192;

/// How much of it goes into one message.
const COOKIES_AT_ONCE: usize = 256;

/// What the control stream has to say. No queue: a ping or an acknowledgement that was not sent yet is replaced by a newer one.
#[derive(Default)]
pub(super) struct Control {
    state: Mutex<State>,
    /// The number of the last frame that came in on the control stream.
    pub(super) received: AtomicU64,
}

#[derive(Default)]
struct State {
    ping: bool,
    pong: bool,
    drain: bool,
    ack: Option<(u64, u64)>,
    logins: Vec<Report>,
    cookies: Vec<CookieNews>,
    closed: bool,
    waker: Option<Waker>,
}

impl Control {
    /// Asks the peer for a sign of life.
    pub(super) fn ping(&self) {
        self.change(|state| state.ping = true);
    }

    /// Gives one.
    pub(super) fn pong(&self) {
        self.change(|state| state.pong = true);
    }

    /// Says that this node is about to leave.
    pub(super) fn drain(&self) {
        self.change(|state| state.drain = true);
    }

    /// Says how much of the peer's interest is applied.
    pub(super) fn ack(&self, messages: u64, version: u64) {
        self.change(|state| state.ack = Some((messages, version)));
    }

    /// Tells how an attempt to log in has ended. What the peer does not take in time is dropped: it slows guessing down, no more.
    pub(super) fn login(&self, report: Report) {
        self.change(|state| {
            if state.logins.len() < LOGINS_MAX {
                state.logins.push(report);
            }
        });
    }

    /// Tells what became of the login of a browser. Where there is too much to tell, the peer is told that it cannot rely on what it knows.
    pub(super) fn cookie(&self, news: &CookieNews) {
        self.change(|state| {
            if state.cookies.len() >= COOKIES_MAX {
                state.cookies.clear();
                state.cookies.push(CookieNews::Lost);
            }
            state.cookies.push(news.clone());
        });
    }

    /// Ends the stream.
    pub(super) fn close(&self) {
        self.change(|state| state.closed = true);
    }

    /// Lets the stream look for interest to send.
    pub(super) fn wake(&self) {
        self.change(|_| ());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state.lock();
            change(&mut state);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Yields what [`Control`] and this node's interest have to say to one peer.
pub(super) struct ControlStream {
    control: Arc<Control>,
    /// Weak: the stream is held by its connection, and must not keep a dead link's queues.
    link: Weak<Link>,
    own: Arc<Mutex<Own>>,
    hello: Option<pb::LinkHello>,
    next_seq: u64,
}

impl ControlStream {
    /// The stream begins with `hello`.
    pub(super) fn new(link: &Arc<Link>, own: Arc<Mutex<Own>>, hello: pb::LinkHello) -> Self {
        Self {
            control: link.control.clone(),
            link: Arc::downgrade(link),
            own,
            hello: Some(hello),
            next_seq: 1,
        }
    }

    fn interest(&self) -> Option<pb::LinkFrame> {
        let link = self.link.upgrade()?;
        match self.own.lock().next_message(link.node) {
            Ok(message) => message.map(convert::interest_out),
            Err(broken) => {
                link.end(&broken.to_string());
                None
            }
        }
    }
}

impl Stream for ControlStream {
    type Item = pb::LinkBatch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<pb::LinkBatch>> {
        use pb::link_frame::Kind;
        if let Some(hello) = self.hello.take() {
            return Poll::Ready(Some(pb::LinkBatch {
                hello: Some(hello),
                ..Default::default()
            }));
        }
        let mut kinds = Vec::new();
        {
            let mut state = self.control.state.lock();
            if state.closed {
                return Poll::Ready(None);
            }
            if std::mem::take(&mut state.ping) {
                kinds.push(Kind::Ping(pb::LinkPing {}));
            }
            if std::mem::take(&mut state.pong) {
                kinds.push(Kind::Pong(pb::LinkPong {}));
            }
            if std::mem::take(&mut state.drain) {
                kinds.push(Kind::Drain(pb::LinkDrain {}));
            }
            if let Some((messages, version)) = state.ack.take() {
                kinds.push(Kind::InterestAck(pb::InterestAck { messages, version }));
            }
            if !state.logins.is_empty() {
                kinds.push(convert::logins_out(&std::mem::take(&mut state.logins)));
            }
            if !state.cookies.is_empty() {
                // A batch of them stays well below the length of a message.
                let count = state.cookies.len().min(COOKIES_AT_ONCE);
                let rest = state.cookies.split_off(count);
                let now = std::mem::replace(&mut state.cookies, rest);
                kinds.push(convert::cookies_out(now));
                if !state.cookies.is_empty() {
                    cx.waker().wake_by_ref();
                }
            }
            // Before the look at the interest: whoever changes it afterwards finds the waker.
            state.waker = Some(cx.waker().clone());
        }
        let mut frames: Vec<_> = kinds.into_iter().map(|kind| pb::LinkFrame { kind: Some(kind) }).collect();
        frames.extend(self.interest());
        if frames.is_empty() {
            return Poll::Pending;
        }
        let first_seq = self.next_seq;
        self.next_seq += frames.len() as u64;
        Poll::Ready(Some(pb::LinkBatch {
            first_seq,
            ack: self.control.received.load(Relaxed),
            frames,
            ..Default::default()
        }))
    }
}
