//! The task of one connection: reads, decodes, enters the realm, writes what others could not, and ends the session in order.
//!
//! One task serves a connection from the transport handshake to the close; sessions may follow each other on it. Reads go into a
//! scratch buffer of the worker thread, so an idle connection owns no buffer. A batch (what one read brought) is handled without
//! an await; then the outboxes it filled are flushed.

use std::{
    cell::Cell,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use tokio::time::sleep_until;

use super::{
    auth::{PeerFacts, Promise, Verified},
    cluster::Drain,
    counting,
    handshake::{Handshake, NOT_ACCEPTED, Step, abort_message},
    hold::{HELD, Hold},
    outbox::{End, Outbox, Touched, WireFormat, ping, pong},
    quota::Pass,
    realm::{Gathered, RealmHandle, not_delivered},
    sessions::{Entered, Service},
};
use crate::{
    audit::Refusal,
    router::Compat,
    transport::{
        framing::{Data, Decoder, Fault, Framing, Incoming},
        io::{Io, scratch},
        websocket,
    },
    wamp::{
        Dict, Message, SessionId, Uri,
        codec::{self, Frame, plain::Plain},
        error_uri,
        message::code,
    },
};

/// A connection whose transport handshake is done.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub io: Io,
    /// The incoming side.
    pub decoder: Decoder,
    /// The outgoing side.
    pub wire: WireFormat,
    /// What is known of the peer.
    pub peer: Arc<PeerFacts>,
    /// How its sessions are met.
    pub compat: Compat,
    /// What it holds of the limits it is under, if there are any.
    pub pass: Option<Box<Pass>>,
    /// What was read behind the transport handshake.
    pub read_ahead: Vec<u8>,
    /// When it was accepted; the time for the WAMP handshake runs from there.
    pub since: Instant,
}

/// Serves a connection until it is closed.
///
/// The future owns the task alone: what the connection was made of is taken apart before it begins, or an idle session would pay for
/// both.
pub fn run(connection: Connection, service: Arc<Service>) -> impl Future<Output = ()> + Send {
    let Connection {
        io,
        decoder,
        wire,
        peer,
        compat,
        pass,
        read_ahead,
        since,
    } = connection;
    let outbox = Outbox::new(wire, &service.limits, io.shared(), service.stats.clone());
    let entered = service.sessions.enter(&outbox, peer.tls.as_ref());
    let handshake = Greeting::new(&service, peer.clone(), compat);
    let now = now();
    let mut task = Task {
        io,
        decoder,
        outbox,
        peer,
        state: State::Handshake {
            handshake,
            bytes: 0,
            until: since + service.limits.handshake_timeout,
        },
        heard: now,
        look_at: now + service.limits.ping_after,
        service,
        pinged: false,
        answers_pings: wire.framing != Framing::RawSocket,
        hold: None,
        held_until: None,
        pass,
        paused_since: None,
        _entered: entered,
    };
    task.decoder
        .set_message_bytes_max(task.service.limits.handshake_message_bytes_max);
    async move {
        let ending = task.serve(read_ahead).await;
        task.count_end(&ending);
        task.state = State::Over;
        task.close(ending).await;
    }
}

struct Task {
    io: Io,
    decoder: Decoder,
    outbox: Arc<Outbox>,
    service: Arc<Service>,
    peer: Arc<PeerFacts>,
    state: State,
    /// When the peer last sent anything.
    heard: Instant,
    /// When to look after the peer's silence again.
    look_at: Instant,
    /// A ping went out since the peer was heard.
    pinged: bool,
    /// Always true for WebSocket. A RawSocket peer proves it by sending a ping: some implementations end on one.
    answers_pings: bool,
    /// Reading stands still because what was read has filled other outboxes.
    hold: Option<Hold>,
    /// Reading stands still until then because another node asked for it.
    held_until: Option<Instant>,
    /// What it holds of the limits it is under. Reading stands still while they say so.
    pass: Option<Box<Pass>>,
    /// Since when reading is known to stand still because the peer does not read.
    paused_since: Option<Instant>,
    _entered: Entered,
}

enum State {
    /// No session yet; so many message bytes were taken, and it must be there at `until`.
    Handshake {
        handshake: Box<Greeting>,
        bytes: usize,
        until: Instant,
    },
    /// A session is established.
    Established(Membership),
    /// This side said GOODBYE; everything but the echo is ignored, until then.
    ShuttingDown { until: Instant },
    /// Nothing more is read.
    Over,
}

/// A handshake, and how the session is met that comes of it. It is here that the task has room for the latter.
struct Greeting {
    handshake: Handshake,
    compat: Compat,
}

impl Greeting {
    fn new(service: &Service, peer: Arc<PeerFacts>, compat: Compat) -> Box<Self> {
        let handshake = Handshake::new(service.realms.clone(), peer);
        Box::new(Self { handshake, compat })
    }

    fn on_message(&mut self, message: Message) -> Step {
        let step = self.handshake.on_message(message);
        self.meet(step)
    }

    fn on_verified(&mut self, verified: Verified) -> Step {
        let step = self.handshake.on_verified(verified);
        self.meet(step)
    }

    fn meet(&self, mut step: Step) -> Step {
        match &mut step {
            Step::Accepted(accepted) => accepted.info.compat = self.compat,
            Step::Abort(Message::Abort { details, reason, .. }) => {
                *reason = Uri::from(self.compat.error_uris.name(reason, details));
            }
            Step::Abort(_) | Step::Send(_) | Step::Ask(_) | Step::Judge(_) | Step::Close => {}
        }
        step
    }
}

/// How far the judging of an attempt to authenticate is.
enum Judging {
    /// There is none.
    None,
    /// It takes its time.
    Pending,
    /// It is over.
    Done,
}

impl State {
    fn judge(&mut self, cx: &mut Context<'_>) -> Judging {
        let State::Handshake { handshake, .. } = self else {
            return Judging::None;
        };
        let handshake = &mut handshake.handshake;
        let Some(judging) = handshake.judging.as_mut() else {
            return Judging::None;
        };
        match judging.as_mut().poll(cx) {
            Poll::Pending => Judging::Pending,
            Poll::Ready(verified) => {
                handshake.judging = None;
                handshake.verified = Some(verified);
                Judging::Done
            }
        }
    }
}

/// A session's place in its realm; dropping it is the session's end, also when its task panics.
struct Membership {
    realm: RealmHandle,
    session: SessionId,
    /// For the sessions that may follow on the connection.
    compat: Compat,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.realm.gone(self.session);
    }
}

/// Why a batch stopped.
enum Stop {
    /// The client said GOODBYE.
    Goodbye,
    /// The connection ends.
    End(Ending),
}

/// How a connection ends.
#[derive(Debug)]
enum Ending {
    /// The peer closed or reset it, was silent too long or does not read: there is nobody to talk to.
    Lost,
    /// The peer began the closing handshake of WebSocket.
    Closed(Option<u16>),
    /// The last words are in the outbox; this code goes into the close frame.
    LastWords(u16),
}

impl Task {
    /// Counts the end of a session that neither GOODBYE nor its own fault ended; those are counted where they happen.
    fn count_end(&self, ending: &Ending) {
        if let State::Established(_) | State::ShuttingDown { .. } = &self.state {
            let lost = matches!(ending, Ending::Lost);
            let silent = lost && now().saturating_duration_since(self.heard) >= self.service.limits.dead_after;
            let end = self.outbox.end();
            counting::ended(match &end {
                None if silent => "silent",
                end => counting::reason(end.as_ref(), lost),
            });
        }
    }

    async fn serve(&mut self, mut rest: Vec<u8>) -> Ending {
        let mut touched = Touched::new();
        let mut timer = Box::pin(sleep_until(self.timer().into()));
        loop {
            // What a GOODBYE left behind comes before anything new.
            while !rest.is_empty() {
                let mut at = 0;
                let stop = self.batch(&mut rest, &mut at, &mut touched);
                rest.drain(..at);
                if let Err(stop) = stop {
                    rest.splice(..0, self.decoder.unread());
                    match self.stop(stop).await {
                        Some(ending) => return ending,
                        None => continue,
                    }
                }
            }
            if let Some(ending) = self.ended_by_others() {
                return ending;
            }
            let timer_at = self.timer();
            if timer.deadline() != timer_at.into() {
                timer.as_mut().reset(timer_at.into());
            }
            let reading = self.hold.is_none() && self.held_until.is_none() && self.paced_until().is_none();
            let (io, outbox, state) = (&mut self.io, &self.outbox, &mut self.state);
            tokio::select! {
                biased;
                // Ends and bytes to write first: they are bounded, and what the peer floods us with must not starve them.
                () = outbox.woken() => {
                    if self.io.is_shared() {
                        self.outbox.flush();
                    }
                    self.refuse(&mut touched);
                    if let Some(hold) = self.outbox.take_hold() {
                        self.held_until = hold.then(|| now() + HELD);
                    }
                }
                // While an attempt to authenticate is judged, nothing is read.
                read = poll_fn(move |cx| match state.judge(cx) {
                    Judging::None => io.poll(cx, reading, outbox).map_ok(Some),
                    Judging::Pending => io.poll(cx, false, outbox).map_ok(Some),
                    Judging::Done => Poll::Ready(Ok(None)),
                }) => match read {
                    Ok(Some(0)) | Err(_) => return Ending::Lost,
                    // No GOODBYE can come of it, so nothing is to be waited for.
                    Ok(None) => if let Err(Stop::End(ending)) = self.on_verified(&mut touched) {
                        return ending;
                    },
                    Ok(Some(len)) => {
                        self.heard = now();
                        self.pinged = false;
                        let stopped = scratch(|buffer| {
                            let mut at = 0;
                            let input = &mut buffer[..len];
                            let stop = self.batch(input, &mut at, &mut touched);
                            if let Some(pass) = &mut self.pass {
                                pass.charge(self.heard, len as u64);
                            }
                            stop.map_err(|stop| {
                                let mut left = self.decoder.unread();
                                left.extend_from_slice(&buffer[at..len]);
                                (stop, left)
                            })
                        });
                        if let Err((stop, left)) = stopped {
                            rest = left;
                            if let Some(ending) = self.stop(stop).await {
                                return ending;
                            }
                        }
                    }
                },
                () = &mut timer => {
                    if let Some(ending) = self.on_timer() {
                        return ending;
                    }
                }
            }
        }
    }

    /// Answers invocations that could not be written to this peer, in its place.
    fn refuse(&self, touched: &mut Touched) {
        let State::Established(membership) = &self.state else { return };
        for (request, error) in self.outbox.take_refused() {
            membership
                .realm
                .input_batched(not_delivered(membership.session, request, error), touched);
        }
        touched.flush();
        membership.realm.flush();
    }

    /// Handles the whole of `input` and flushes; on an error `at` is where the batch stopped.
    fn batch(&mut self, input: &mut [u8], at: &mut usize, touched: &mut Touched) -> Result<(), Stop> {
        let mut gathered = GATHERED.take();
        let result = self.messages(input, at, &mut gathered, touched);
        GATHERED.set(gathered);
        touched.flush();
        if let State::Established(membership) = &self.state {
            membership.realm.flush();
        }
        let congested = touched.take_congested();
        let lanes = match &self.state {
            State::Established(membership) if touched.take_forwarded() => membership.realm.congested(),
            _ => Vec::new(),
        };
        if !congested.is_empty() || !lanes.is_empty() {
            let outboxes = congested.into_iter().map(|congested| congested.outbox as Arc<dyn Drain>);
            self.hold = Hold::begin(outboxes.chain(lanes), now());
        }
        result
    }

    /// Handles messages one after the other. Those for the realm are gathered, so that it is entered once for many; whatever
    /// else comes finds them handled. `gathered` is empty before and after.
    fn messages(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        gathered: &mut Vec<Gathered>,
        touched: &mut Touched,
    ) -> Result<(), Stop> {
        loop {
            let incoming = match self.decoder.next(input, at) {
                Ok(Some(incoming)) => incoming,
                Ok(None) => return self.enter(gathered, input, touched),
                Err(fault) => {
                    self.enter(gathered, input, touched)?;
                    return Err(Stop::End(self.on_fault(fault)));
                }
            };
            match incoming {
                Incoming::Message { text, data } => self.on_message(text, data, input, gathered, touched)?,
                Incoming::Ping(data) => self.on_ping(data.bytes(input))?,
                Incoming::Pong => {}
                Incoming::Close(code) => {
                    self.enter(gathered, input, touched)?;
                    return Err(Stop::End(Ending::Closed(code)));
                }
            }
        }
    }

    /// Takes what was gathered to the realm.
    fn enter(&mut self, gathered: &mut Vec<Gathered>, input: &[u8], touched: &mut Touched) -> Result<(), Stop> {
        if gathered.is_empty() {
            return Ok(());
        }
        let State::Established(membership) = &self.state else {
            gathered.clear();
            return Ok(());
        };
        let serializer = self.outbox.wire().serializer;
        membership
            .realm
            .gathered(membership.session, gathered.drain(..), input, serializer, touched);
        if self.outbox.is_open() {
            Ok(())
        } else {
            Err(Stop::End(self.ended_by_others().unwrap_or(Ending::Lost)))
        }
    }

    fn on_message(
        &mut self,
        text: Option<bool>,
        data: Data,
        input: &[u8],
        gathered: &mut Vec<Gathered>,
        touched: &mut Touched,
    ) -> Result<(), Stop> {
        if let Some(pass) = &mut self.pass {
            pass.messages += 1;
        }
        let len = data.bytes(input).len();
        if text.is_some_and(|text| text != self.outbox.wire().framing.is_text()) {
            self.enter(gathered, input, touched)?;
            return self.violation("the frame type does not fit the serializer");
        }
        if let State::Handshake { bytes, .. } = &mut self.state {
            *bytes += len;
            if let Some(separator) = self.decoder.separator() {
                self.outbox.set_separator(separator);
            }
            if *bytes > self.service.limits.handshake_bytes_max {
                self.note_limit("handshake_bytes_max");
                return self.violation("too much was sent before a session was established");
            }
        }
        if let (Data::Input(range), State::Established(_)) = (&data, &self.state)
            && let Some(plain) = Plain::read(
                self.outbox.wire().serializer,
                input,
                range.clone(),
                &self.service.limits.codec,
            )
        {
            return self.gather(Gathered::Plain(plain), input, gathered, touched);
        }
        let frame = match data {
            Data::Input(range) => Frame::Borrowed(&input[range]),
            // Small payloads are copied out, so that a retained one does not hold the memory of a whole message.
            Data::Owned(ref bytes) if bytes.len() <= OWNED_BYTES_MIN => Frame::Borrowed(bytes),
            Data::Owned(bytes) => Frame::Owned(Bytes::from(bytes)),
        };
        let message = match codec::decode(self.outbox.wire().serializer, frame, &self.service.limits.codec) {
            Ok(message) => message,
            Err(error) => {
                self.enter(gathered, input, touched)?;
                return self.violation(&error.to_string());
            }
        };
        if matches!(self.state, State::Established(_)) && judge(&message) == Verdict::Route {
            return self.gather(Gathered::Message(message), input, gathered, touched);
        }
        self.enter(gathered, input, touched)?;
        match &mut self.state {
            State::Handshake { handshake, .. } => {
                let step = handshake.on_message(message);
                self.on_step(step, touched)
            }
            State::Established(_) => match judge(&message) {
                Verdict::Goodbye => {
                    if matches!(&message, Message::Goodbye { reason, .. } if &**reason == error_uri::LOGOUT) {
                        self.forget_cookie();
                    }
                    Err(Stop::Goodbye)
                }
                Verdict::Abort => Err(Stop::End(Ending::LastWords(NORMAL))),
                Verdict::Route | Verdict::Illegal => {
                    self.violation("this message is not for an established session, or not from a client")
                }
            },
            State::ShuttingDown { .. } => match judge(&message) {
                Verdict::Goodbye | Verdict::Abort => Err(Stop::End(Ending::LastWords(GOING_AWAY))),
                _ => Ok(()),
            },
            State::Over => Ok(()),
        }
    }

    fn gather(
        &mut self,
        message: Gathered,
        input: &[u8],
        gathered: &mut Vec<Gathered>,
        touched: &mut Touched,
    ) -> Result<(), Stop> {
        gathered.push(message);
        if gathered.len() < GATHERED_MAX {
            Ok(())
        } else {
            self.enter(gathered, input, touched)
        }
    }

    fn on_step(&mut self, step: Step, touched: &mut Touched) -> Result<(), Stop> {
        match step {
            Step::Send(message) => {
                self.outbox.push(&message, touched);
                Ok(())
            }
            Step::Ask(asking) => {
                if let State::Handshake { handshake, .. } = &mut self.state {
                    handshake.handshake.judging = Some(asking.0);
                }
                Ok(())
            }
            Step::Judge(attempt) if attempt.is_quick() => {
                let State::Handshake { handshake, .. } = &mut self.state else {
                    return Ok(());
                };
                let step = handshake.on_verified(attempt.judge());
                self.on_step(step, touched)
            }
            Step::Judge(attempt) => {
                let guard = self.service.realms.guard.clone();
                if let State::Handshake { handshake, .. } = &mut self.state {
                    handshake.handshake.judging = Some(Box::pin(attempt.judge_in_time(guard)));
                }
                Ok(())
            }
            Step::Accepted(mut accepted) => {
                let who = (accepted.realm.name(), &*accepted.info.authrole, &*accepted.info.authid);
                if let Err((scope, reason)) = self.service.realms.quotas.session(now(), &mut self.pass, who) {
                    tracing::info!(realm = %accepted.realm.name(), scope = scope.name(), ?reason, "a session was refused: a limit is reached");
                    self.service.realms.audit.refused(&Refusal {
                        realm: accepted.realm.name(),
                        authid: &accepted.info.authid,
                        role: &accepted.info.authrole,
                        what: "session",
                        ..self.limit_of_peer(scope.refusal(reason))
                    });
                    let text = format!("a limit of this {} is reached; try again later", scope.name());
                    return self.abort(&abort_message(error_uri::UNAVAILABLE, &text), NORMAL);
                }
                let promised = accepted.session.take().and_then(Promise::redeem);
                let session = if self.service.sessions.is_ready() {
                    promised.or_else(|| accepted.realm.cluster().new_session_id())
                } else {
                    None
                };
                let Some(session) = session else {
                    return self.abort(
                        &abort_message(error_uri::UNAVAILABLE, "this node takes no sessions now; try another"),
                        NORMAL,
                    );
                };
                let mut message_bytes_max = self.service.limits.message_bytes_max;
                if let Some(pass) = &self.pass {
                    message_bytes_max = pass.message_bytes_max(message_bytes_max);
                    accepted.info.pools = pass.pools();
                }
                self.decoder.set_message_bytes_max(message_bytes_max);
                self.io.unbind();
                let (welcome, compat) = (accepted.welcome(session), accepted.info.compat);
                if !accepted
                    .realm
                    .admit(session, accepted.info, &welcome, &self.outbox, touched, accepted.terms)
                {
                    accepted.realm.cluster().return_session_id(session);
                    return self.abort(&abort_message(error_uri::AUTHENTICATION_DENIED, NOT_ACCEPTED), NORMAL);
                }
                tracing::debug!(session = session.get(), realm = %accepted.realm.name(), "session established");
                self.state = State::Established(Membership {
                    realm: accepted.realm,
                    session,
                    compat,
                });
                Ok(())
            }
            Step::Abort(message) => self.abort(&message, NORMAL),
            Step::Close => Err(Stop::End(Ending::LastWords(NORMAL))),
        }
    }

    /// An attempt to authenticate that took its time was judged.
    fn on_verified(&mut self, touched: &mut Touched) -> Result<(), Stop> {
        let State::Handshake { handshake, .. } = &mut self.state else {
            return Ok(());
        };
        let Some(verified) = handshake.handshake.verified.take() else {
            return Ok(());
        };
        let step = handshake.on_verified(verified);
        let result = self.on_step(step, touched);
        touched.flush();
        if let State::Established(membership) = &self.state {
            membership.realm.flush();
        }
        result
    }

    fn on_ping(&mut self, payload: &[u8]) -> Result<(), Stop> {
        self.answers_pings = true;
        // Refused where the peer asks for pongs and does not read them.
        if self.outbox.push_raw(&pong(self.outbox.wire(), payload)) {
            self.outbox.flush();
        }
        Ok(())
    }

    /// The peer broke WAMP: its session ends at once, then it hears why, then the connection closes.
    fn violation(&mut self, text: &str) -> Result<(), Stop> {
        self.abort(&abort_message(error_uri::PROTOCOL_VIOLATION, text), PROTOCOL_ERROR)
    }

    fn abort(&mut self, message: &Message, close_code: u16) -> Result<(), Stop> {
        self.outbox.abort(message);
        self.count_fault(message);
        self.state = State::Over;
        Err(Stop::End(Ending::LastWords(close_code)))
    }

    /// Counts an end that the peer brought about, told by an ABORT.
    fn count_fault(&self, abort: &Message) {
        match (&self.state, abort) {
            (State::Established(_), _) => counting::ended("protocol_violation"),
            (State::Handshake { .. }, Message::Abort { reason, .. }) => counting::refused(reason),
            _ => {}
        }
    }

    /// Has the audit log keep that the connection met a limit.
    fn note_limit(&self, setting: &'static str) {
        let refusal = self.limit_of_peer(setting);
        match &self.state {
            State::Established(membership) => membership.realm.note_refusal(membership.session, &refusal),
            _ => self.service.realms.audit.refused(&refusal),
        }
    }

    fn limit_of_peer(&self, reason: &'static str) -> Refusal<'static> {
        Refusal {
            source: Some(self.peer.source),
            listener: self.peer.listener,
            ..Refusal::of("limit", reason)
        }
    }

    /// The peer broke the transport.
    fn on_fault(&mut self, fault: Fault) -> Ending {
        tracing::debug!(%fault, "transport failed");
        let code = match fault {
            Fault::Protocol(_) => PROTOCOL_ERROR,
            Fault::NotUtf8 => 1007,
            Fault::TooBig => 1009,
        };
        if fault == Fault::TooBig {
            self.note_limit(match &self.state {
                State::Handshake { .. } => "handshake_message_bytes_max",
                _ => "message_bytes_max",
            });
            // The framing is intact, so the peer can be told in WAMP's words too.
            self.outbox.abort(&abort_message(
                error_uri::PROTOCOL_VIOLATION,
                "the message is longer than this router takes",
            ));
        }
        match &self.state {
            State::Established(_) => counting::ended("protocol_violation"),
            State::Handshake { .. } => counting::refused(error_uri::PROTOCOL_VIOLATION),
            State::ShuttingDown { .. } | State::Over => {}
        }
        self.state = State::Over;
        Ending::LastWords(code)
    }

    /// What to do when a batch stopped; `None` to go on.
    async fn stop(&mut self, stop: Stop) -> Option<Ending> {
        match stop {
            Stop::End(ending) => Some(ending),
            Stop::Goodbye => {
                self.on_goodbye().await;
                None
            }
        }
    }

    /// The client left: its things go first, here and in the log, so that whoever hears of the end finds them free. The
    /// connection stays for another session.
    ///
    /// Spec: WAMP basic profile, "Session Closing"; DESIGN §4.2.
    async fn on_goodbye(&mut self) {
        let mut compat = Compat::default();
        if let State::Established(membership) = std::mem::replace(&mut self.state, State::Over) {
            compat = membership.compat;
            counting::ended("goodbye");
            // Should the commit take longer, the log still has it.
            membership
                .realm
                .leave(membership.session, self.service.limits.goodbye_commit_timeout)
                .await;
        }
        if let Some(pass) = &mut self.pass {
            pass.end_session();
        }
        let mut touched = Touched::new();
        let echo = Message::Goodbye {
            details: Dict::new(),
            reason: error_uri::GOODBYE_AND_OUT.into(),
        };
        self.outbox.push(&echo, &mut touched);
        drop(touched);
        self.decoder
            .set_message_bytes_max(self.service.limits.handshake_message_bytes_max);
        let handshake = Greeting::new(&self.service, self.peer.clone(), compat);
        self.state = State::Handshake {
            handshake,
            bytes: 0,
            until: now() + self.service.limits.handshake_timeout,
        };
    }

    /// Acts on an end that somebody else decided on.
    fn ended_by_others(&mut self) -> Option<Ending> {
        let end = self.outbox.end()?;
        let mut details = Dict::new();
        match (&end, &self.state) {
            (End::Killed { text, .. }, _) => {
                if let Some(text) = text {
                    details.set("message", text.as_str());
                }
                self.forget_cookie();
            }
            (End::SentAway { reconnect_after }, _) => {
                let millis = u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX);
                details.set("_reconnect_after_ms", millis);
            }
            (End::Revoked(_), State::Established(membership)) => {
                let why = "its client certificate was revoked";
                membership.realm.note_revocation(membership.session, why);
            }
            _ => {}
        }
        match end {
            End::Aborted => Some(Ending::LastWords(PROTOCOL_ERROR)),
            End::SlowConsumer | End::Broken => Some(Ending::Lost),
            End::SentAway { .. } => self.say_goodbye(error_uri::SYSTEM_SHUTDOWN.into(), details),
            End::Goodbye(reason) | End::Revoked(reason) | End::Killed { reason, .. } => self.say_goodbye(reason, details),
        }
    }

    /// Ends the session with a GOODBYE, or the handshake with an ABORT.
    fn say_goodbye(&mut self, reason: Uri, details: Dict) -> Option<Ending> {
        match &self.state {
            State::Established(_) => {
                self.state = State::ShuttingDown {
                    until: now() + self.service.limits.close_timeout,
                };
                let mut touched = Touched::new();
                self.outbox.push(&Message::Goodbye { details, reason }, &mut touched);
                None
            }
            State::Handshake { .. } => {
                counting::refused(&reason);
                let text = details.text("message").unwrap_or("this node goes down");
                self.outbox.abort(&abort_message(&reason, text));
                Some(Ending::LastWords(GOING_AWAY))
            }
            State::ShuttingDown { .. } | State::Over => None,
        }
    }

    /// The browser has to prove itself anew.
    fn forget_cookie(&self) {
        if let Some(cookie) = &self.peer.cookie {
            self.service.realms.guard.cookies.forget(&cookie.value);
        }
    }

    /// Until when nothing is read since the limits that the session is under are used up.
    fn paced_until(&self) -> Option<Instant> {
        self.pass.as_ref().and_then(|pass| pass.until())
    }

    /// When something is due if nothing happens.
    fn timer(&self) -> Instant {
        let next = self
            .hold
            .as_ref()
            .map_or(self.look_at, |hold| hold.check_at().min(self.look_at));
        let next = self.held_until.map_or(next, |until| until.min(next));
        let next = self.paced_until().map_or(next, |until| until.min(next));
        match &self.state {
            State::Handshake { until, .. } | State::ShuttingDown { until } => next.min(*until),
            State::Established(_) | State::Over => next,
        }
    }

    fn on_timer(&mut self) -> Option<Ending> {
        let now = now();
        if self.hold.as_mut().is_some_and(|hold| hold.is_over(now)) {
            self.hold = None;
        }
        self.held_until = self.held_until.filter(|until| now < *until);
        if let Some(pass) = &mut self.pass {
            pass.look(now);
        }
        let limits = &self.service.limits;
        match &self.state {
            State::Handshake { until, .. } if now >= *until => {
                counting::refused(error_uri::TIMEOUT);
                self.note_limit("handshake_secs");
                self.outbox
                    .abort(&abort_message(error_uri::TIMEOUT, "no session was established in time"));
                return Some(Ending::LastWords(NORMAL));
            }
            State::ShuttingDown { until } if now >= *until => return Some(Ending::LastWords(GOING_AWAY)),
            _ => {}
        }
        if now < self.look_at {
            return None;
        }
        self.outbox.trim();
        if !self.outbox.above_most() {
            self.paused_since = None;
        } else if now >= *self.paused_since.get_or_insert(now) + limits.slow_consumer_after {
            self.outbox.request_end(End::SlowConsumer);
            return Some(Ending::Lost);
        }
        let silence = now.saturating_duration_since(self.heard);
        self.look_at = now + limits.ping_after;
        // Whom nobody reads cannot be heard.
        if !self.answers_pings || self.paused_since.is_some() || self.paced_until().is_some() {
            return None;
        }
        if silence >= limits.dead_after {
            tracing::debug!("peer is silent, taken for dead");
            return Some(Ending::Lost);
        }
        if silence < limits.ping_after {
            self.look_at = self.heard + limits.ping_after;
            return None;
        }
        self.look_at = self.look_at.min(self.heard + limits.dead_after);
        if !std::mem::replace(&mut self.pinged, true) {
            self.outbox.push_raw(&ping(self.outbox.wire()));
            self.outbox.flush();
        }
        None
    }

    /// Says what is left to say and closes, within the close timeout.
    async fn close(&mut self, ending: Ending) {
        let limits = &self.service.limits;
        let code = match ending {
            Ending::Lost => return,
            Ending::Closed(code) => code.unwrap_or(NORMAL),
            Ending::LastWords(code) => code,
        };
        if self.outbox.wire().framing != Framing::RawSocket {
            let mut frame = Vec::new();
            websocket::frame::append_close(code, "", &mut frame);
            self.outbox.push_raw(&frame);
        }
        let closing = async {
            if self.io.write_all_of(&self.outbox).await.is_ok() && self.io.shutdown().await.is_ok() {
                // The peer reads our last words before it hears of the end: a close with unread input would reset them away.
                self.io.read_to_end().await;
            }
        };
        // Whoever does not close its side in time is cut off.
        let _ = tokio::time::timeout(limits.close_timeout, closing).await;
    }
}

/// What a message from a client means in an established session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Route,
    Goodbye,
    Abort,
    Illegal,
}

fn judge(message: &Message) -> Verdict {
    match message {
        Message::Publish { .. }
        | Message::Subscribe { .. }
        | Message::Unsubscribe { .. }
        | Message::Call { .. }
        | Message::Cancel { .. }
        | Message::Register { .. }
        | Message::Unregister { .. }
        | Message::Yield { .. }
        | Message::EventReceived { .. } => Verdict::Route,
        Message::Error { request_type, .. } if *request_type == code::INVOCATION => Verdict::Route,
        Message::Goodbye { .. } => Verdict::Goodbye,
        Message::Abort { .. } => Verdict::Abort,
        Message::Error { .. }
        | Message::Hello { .. }
        | Message::Welcome { .. }
        | Message::Challenge { .. }
        | Message::Authenticate { .. }
        | Message::Published { .. }
        | Message::Subscribed { .. }
        | Message::Unsubscribed { .. }
        | Message::Event { .. }
        | Message::Result { .. }
        | Message::Registered { .. }
        | Message::Unregistered { .. }
        | Message::Invocation { .. }
        | Message::Interrupt { .. } => Verdict::Illegal,
    }
}

/// The clock of sessions; tokio's, so that tests can pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

thread_local! {
    /// Where a worker thread gathers the messages of one read for the realm; empty between two reads.
    static GATHERED: Cell<Vec<Gathered>> = const { Cell::new(Vec::new()) };
}

/// How many messages are handled while the realm is held. Others wait meanwhile.
const GATHERED_MAX: usize = 64;

/// Messages above this own their memory; smaller payloads are copied out of the read buffer.
const OWNED_BYTES_MIN: usize = 4096;

const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
