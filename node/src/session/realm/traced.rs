//! Where the spans of a realm begin and end.
//!
//! ```text
//! CALL ─ of its caller's node, until RESULT or ERROR             PUBLISH ─ of its publisher's node
//!   ├─ LINK ─ from there until the other node has answered         ├─ EVENT ─ of that node: one fan-out
//!   │    └─ INVOCATION ─ of the callee's node, until it answers    └─ EVENT ─ of each other node
//!   └─ INVOCATION ─ where the callee is on the caller's node
//! ```
//!
//! The core hands `_traceparent` from the options of CALL and PUBLISH to the details of what follows from them, here and on other nodes.
//! What is here reads it there and puts its own span in its place, so that each step names the one before. Which calls are traced is
//! decided here, before the core sees them: a call that is not has no such option, and goes its way as if there were no traces.
//!
//! Invariants: a span that was begun ends, with its call, its invocation, its session or its link, or, where a client never answers,
//! when there is no room for it any more. Without a tracer nothing here is asked.

use std::{hash::Hash, sync::Arc, time::Duration};

use crate::{
    router::{
        Effect, Input, NodeRef, PeerFrame,
        frame::{CallId, InterruptMode},
    },
    telemetry::traces::{Kind, Span, Tracer, Whose, context, new_trace},
    wamp::{
        Dict, Message, RequestId, SessionId, TraceContext, Uri,
        codec::plain::{Plain, Verb},
        id::IdMap,
        message::code,
    },
};

/// The spans of a realm that have begun and not ended.
pub(super) struct Traces {
    tracer: Arc<Tracer>,
    realm: Uri,
    node: Arc<str>,
    /// How many calls and publications go by before the next one is picked.
    gap: u32,
    calls: Open<(SessionId, RequestId)>,
    links: Open<(NodeRef, CallId)>,
    invocations: Open<(SessionId, RequestId)>,
    /// The publication that is being handled.
    publication: Option<Span>,
    /// The fan-outs that are being carried out.
    fanouts: Vec<Span>,
}

impl Traces {
    /// Nothing is traced yet.
    pub(super) fn new(tracer: Arc<Tracer>, realm: Uri, node: Arc<str>) -> Self {
        let gap = tracer.gap();
        Self {
            tracer,
            realm,
            node,
            gap,
            calls: Open::default(),
            links: Open::default(),
            invocations: Open::default(),
            publication: None,
            fanouts: Vec::new(),
        }
    }

    /// A plain message is about to go the short way. True: it is picked, and has to take the ordinary one.
    pub(super) fn plain(&mut self, session: SessionId, plain: Plain) -> bool {
        match plain.verb {
            Verb::Call => self.picks(),
            Verb::Yield => {
                self.answered(session, plain.request, None);
                false
            }
        }
    }

    /// A client's message is about to be handled. `picked`: it is to be traced.
    pub(super) fn message(&mut self, session: SessionId, message: &mut Message, picked: bool) {
        match message {
            Message::Call {
                request,
                options,
                procedure,
                ..
            } => {
                let key = (session, *request);
                // A further part of a call says nothing of its own.
                if self.calls.0.contains_key(&key) {
                    return;
                }
                let begun = self.begin("CALL", Kind::Server, options, picked);
                if let Some(span) = begun {
                    let span = span
                        .with("wamp.uri", &**procedure)
                        .with("wamp.session", session.get())
                        .with("wamp.request", request.get());
                    let span = self.told(span);
                    self.calls.insert(&self.tracer, key, span);
                }
            }
            Message::Publish { options, topic, .. } => {
                let begun = self.begin("PUBLISH", Kind::Producer, options, picked);
                self.publication = begun.map(|span| {
                    let span = span.with("wamp.uri", &**topic).with("wamp.session", session.get());
                    self.told(span)
                });
            }
            Message::Yield { request, options, .. } if !self.invocations.is_empty() && !in_parts(options) => {
                self.answered(session, *request, None);
            }
            Message::Error {
                request_type: code::INVOCATION,
                request,
                error,
                ..
            } if !self.invocations.is_empty() => self.answered(session, *request, Some(error)),
            _ => {}
        }
    }

    /// A client's message was handled.
    pub(super) fn handled(&mut self) {
        if let Some(span) = self.publication.take() {
            self.tracer.take(span.end(None));
        }
    }

    /// The core is about to handle `input`.
    pub(super) fn input(&mut self, input: &Input) {
        match input {
            Input::Peer { from, frame } if !self.links.is_empty() => {
                let (call, error) = match frame {
                    PeerFrame::Result { call, .. } => (call, None),
                    PeerFrame::Error { call, error, .. } => (call, Some(&**error)),
                    PeerFrame::Nack { call, .. } => (call, Some("refused by the callee's node")),
                    _ => return,
                };
                self.links.end(&self.tracer, &(*from, *call), error);
            }
            Input::PeerDown { node } => self.links.end_all(&self.tracer, |(of, _)| of == node, "the link ended"),
            Input::InvocationUndelivered { session, request, error } => {
                self.invocations.end(&self.tracer, &(*session, *request), Some(error));
            }
            Input::SessionGone { session } => self.gone(*session),
            _ => {}
        }
    }

    /// These effects are about to be carried out.
    pub(super) fn effects(&mut self, effects: &mut [Effect]) {
        for effect in effects {
            match effect {
                Effect::Send { session, message } => self.send(*session, message),
                Effect::Forward { to, frame, .. } => self.forward(*to, frame),
                Effect::Fanout { sessions, message } | Effect::FanoutAs { sessions, message, .. } => {
                    self.fan_out(sessions.len(), message);
                }
                // The core has forgotten it already.
                Effect::Kill { session, .. } => self.gone(*session),
                _ => {}
            }
        }
    }

    /// They were carried out.
    pub(super) fn carried_out(&mut self) {
        for span in self.fanouts.drain(..) {
            self.tracer.take(span.end(None));
        }
    }

    /// True for every so many.
    fn picks(&mut self) -> bool {
        match self.gap.checked_sub(1) {
            Some(left) => {
                self.gap = left;
                false
            }
            None => {
                self.gap = self.tracer.gap();
                self.tracer.admits(Whose::Own)
            }
        }
    }

    /// Begins the first span of this node, if there is to be one, and puts it into the options for whatever follows.
    fn begin(&mut self, name: &'static str, kind: Kind, options: &mut Dict, picked: bool) -> Option<Span> {
        let span = match TraceContext::of(options) {
            // Nobody records what its client does not, and nobody has it record more than the bound.
            Some(given) => {
                if !given.sampled || !self.tracer.admits(Whose::Client) {
                    let unsampled = TraceContext { sampled: false, ..given };
                    unsampled.put(options);
                    return None;
                }
                Span::continued(name, kind, given)
            }
            None if picked || self.picks() => Span::begin(name, kind, new_trace(), None),
            None => return None,
        };
        context(&span).put(options);
        Some(span)
    }

    /// What every span tells.
    fn told(&self, span: Span) -> Span {
        span.with("wamp.realm", &*self.realm).with("ringfort.node", &*self.node)
    }

    fn send(&mut self, session: SessionId, message: &mut Message) {
        match message {
            Message::Invocation {
                request,
                registration,
                details,
                ..
            } => {
                let Some(cause) = sampled(details) else { return };
                let key = (session, *request);
                if let Some(span) = self.invocations.0.get(&key) {
                    return context(span).put(details);
                }
                let span = Span::begin("INVOCATION", Kind::Client, cause.trace, Some(cause.span))
                    .with("wamp.session", session.get())
                    .with("wamp.request", request.get())
                    .with("wamp.registration", registration.get());
                let span = self.told(span);
                context(&span).put(details);
                self.invocations.insert(&self.tracer, key, span);
                self.routed(cause);
            }
            Message::Interrupt { request, options } if options.text("mode") == Some("killnowait") => {
                // Whatever it still says, nobody hears.
                self.invocations.end(&self.tracer, &(session, *request), Some("interrupted"));
            }
            Message::Result { request, details, .. } if !self.calls.is_empty() && !in_parts(details) => {
                self.calls.end(&self.tracer, &(session, *request), None);
            }
            Message::Error {
                request_type: code::CALL,
                request,
                error,
                ..
            } => self.calls.end(&self.tracer, &(session, *request), Some(error)),
            Message::Error {
                request_type: code::PUBLISH,
                error,
                ..
            } => {
                if let Some(span) = self.publication.take() {
                    self.tracer.take(span.end(Some(error)));
                }
            }
            _ => {}
        }
    }

    fn forward(&mut self, to: NodeRef, frame: &mut PeerFrame) {
        match frame {
            PeerFrame::Invoke { call, details, .. } => {
                let Some(cause) = sampled(details) else { return };
                let span =
                    Span::begin("LINK", Kind::Client, cause.trace, Some(cause.span)).with("ringfort.peer", u64::from(to.slot.0));
                let span = self.told(span);
                context(&span).put(details);
                self.links.insert(&self.tracer, (to, *call), span);
                self.routed(cause);
            }
            PeerFrame::Chunk { call, details, .. } => {
                if let (Some(_), Some(span)) = (sampled(details), self.links.0.get(&(to, *call))) {
                    context(span).put(details);
                }
            }
            PeerFrame::Interrupt {
                call,
                mode: InterruptMode::KillNoWait,
                ..
            }
            | PeerFrame::Forget { call } => self.links.end(&self.tracer, &(to, *call), Some("given up")),
            PeerFrame::Event { .. } => {
                if let Some(span) = &mut self.publication {
                    span.event("forwarded");
                }
            }
            _ => {}
        }
    }

    fn fan_out(&mut self, receivers: usize, message: &mut Message) {
        let Message::Event {
            subscription,
            publication,
            details,
            ..
        } = message
        else {
            return;
        };
        let Some(cause) = sampled(details) else { return };
        let span = Span::begin("EVENT", Kind::Consumer, cause.trace, Some(cause.span))
            .with("wamp.subscription", subscription.get())
            .with("wamp.publication", publication.get())
            .with("wamp.receivers", receivers as u64);
        let span = self.told(span);
        context(&span).put(details);
        self.fanouts.push(span);
    }

    /// A callee of this node was found, or a node that has one.
    fn routed(&mut self, cause: TraceContext) {
        let caused = |span: &&mut Span| context(span) == cause;
        if let Some(span) = self.calls.0.values_mut().find(caused) {
            span.event("routed");
        }
    }

    fn answered(&mut self, callee: SessionId, request: RequestId, error: Option<&str>) {
        if !self.invocations.is_empty() {
            self.invocations.end(&self.tracer, &(callee, request), error);
        }
    }

    fn gone(&mut self, session: SessionId) {
        self.calls
            .end_all(&self.tracer, |(of, _)| *of == session, "the caller has left");
        self.invocations
            .end_all(&self.tracer, |(of, _)| *of == session, "the callee has left");
    }
}

/// The context that something is traced in, if it is.
fn sampled(details: &Dict) -> Option<TraceContext> {
    if details.is_empty() {
        return None;
    }
    TraceContext::of(details).filter(|context| context.sampled)
}

/// There is more to come.
fn in_parts(options: &Dict) -> bool {
    !options.is_empty() && options.bool("progress") == Some(true)
}

/// Spans that have begun, by what they are of.
struct Open<K>(IdMap<K, Span>);

impl<K> Default for Open<K> {
    fn default() -> Self {
        Self(IdMap::default())
    }
}

/// How many may be open at once, of each kind and realm. Calls and invocations that are never answered must not fill the memory.
const OPEN_MAX: usize = 2_048;
/// Where there is no room, those go that are older; if none is, the new one does.
const OLD: Duration = Duration::from_secs(60);

impl<K: Eq + Hash + Copy> Open<K> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, tracer: &Tracer, key: K, span: Span) {
        if self.0.len() >= OPEN_MAX {
            for (_, old) in self.0.extract_if(|_, span| span.age() >= OLD) {
                tracer.take(old.end(Some(UNFINISHED)));
            }
        }
        if self.0.len() >= OPEN_MAX {
            return tracer.take(span.end(Some(UNFINISHED)));
        }
        // Ids of calls may repeat where a listener is lenient.
        if let Some(former) = self.0.insert(key, span) {
            tracer.take(former.end(Some(UNFINISHED)));
        }
    }

    fn end(&mut self, tracer: &Tracer, key: &K, error: Option<&str>) {
        if let Some(mut span) = self.0.remove(key) {
            span.add("wamp.outcome", error.unwrap_or("ok"));
            tracer.take(span.end(error));
        }
    }

    fn end_all(&mut self, tracer: &Tracer, of: impl Fn(&K) -> bool, error: &str) {
        for (_, mut span) in self.0.extract_if(|key, _| of(key)) {
            span.add("wamp.outcome", error);
            tracer.take(span.end(Some(error)));
        }
    }
}

/// What is said of a span that was told before what it is of had ended.
const UNFINISHED: &str = "not answered yet";

#[cfg(test)]
mod tests;
