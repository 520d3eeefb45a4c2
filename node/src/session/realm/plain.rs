//! The shell's side of a call's short way ([`crate::router::dealer::plain`]): from the caller's read buffer into the callee's outbox, or
//! into the lane to its node and from there into its outbox, and back, without a message value in between.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{
    About, FailureWatch, RealmHandle, Shell, State,
    kinds::{flood_source, flood_source_of},
    now,
};
use crate::{
    router::{
        Input, NodeRef, Realm,
        dealer::plain::{PlainAnswer, PlainCallee},
        frame::{CallId, PlainFrame},
    },
    session::{
        cluster::{Arrived, Incoming},
        outbox::{Outbox, Touched, Undelivered},
    },
    wamp::{
        Dict, Message, RegistrationId, RequestId, Serializer, SessionId, Uri,
        codec::plain::{Elements, Plain, PlainHead, Verb},
        id::IdMap,
    },
};

/// A message of a read batch that an established session may legally send.
#[derive(Debug)]
pub enum Gathered {
    /// One that lies in the read buffer.
    Plain(Plain),
    /// Any other.
    Message(Message),
}

impl RealmHandle {
    /// As [`Self::messages`]; plain messages lie in `input`, in `serializer`.
    pub fn gathered(
        &self,
        session: SessionId,
        gathered: impl IntoIterator<Item = Gathered>,
        input: &[u8],
        serializer: Serializer,
        touched: &mut Touched,
    ) {
        let mut state = self.shared.lock();
        let tapped = state.taps.is_some();
        for item in gathered {
            if !state.outboxes.contains_key(&session) {
                break;
            }
            let message = match item {
                Gathered::Message(message) => message,
                Gathered::Plain(plain) => {
                    if !tapped
                        && self
                            .shared
                            .plain(&mut state, session, plain, input, serializer, touched)
                            .is_some()
                    {
                        self.shared.follow_up(&mut state, touched);
                        continue;
                    }
                    message(plain, input, serializer)
                }
            };
            if tapped {
                state.tap_incoming(session, &message);
            }
            self.shared.message(&mut state, session, message, touched);
        }
        self.shared.settle(state);
    }
}

impl RealmHandle {
    /// Takes frames of another node, up to `max`, under one lock. Returns how many there were.
    pub fn frames(&self, from: NodeRef, frames: &mut impl Incoming, max: usize, touched: &mut Touched) -> usize {
        let mut state = self.shared.lock();
        let tapped = state.taps.is_some();
        let mut count = 0;
        while count < max
            && let Some(frame) = frames.next()
        {
            count += 1;
            let frame = match frame {
                Arrived::Frame(frame) => frame,
                Arrived::Plain(frame, payload) => {
                    touched.on_behalf_of(flood_source_of(frame));
                    if !tapped && self.shared.plain_frame(&mut state, from, frame, payload, touched).is_some() {
                        self.shared.follow_up(&mut state, touched);
                        continue;
                    }
                    frame.with(payload.to_payload())
                }
            };
            let input = Input::Peer { from, frame };
            touched.on_behalf_of(flood_source(&input));
            self.shared.take(&mut state, input, touched);
        }
        touched.on_behalf_of(None);
        self.shared.settle(state);
        count
    }
}

impl Shell {
    /// Carries a plain message out; `None`, and nothing done, if it has to take the ordinary way.
    fn plain(
        &self,
        state: &mut MutexGuard<'_, State>,
        session: SessionId,
        plain: Plain,
        input: &[u8],
        serializer: Serializer,
        touched: &mut Touched,
    ) -> Option<()> {
        if self.has_failed() {
            return None;
        }
        let State {
            core, outboxes, stats, ..
        } = &mut **state;
        let watch = FailureWatch(self);
        let found = match plain.verb {
            Verb::Call => call(core, outboxes, session, plain, input, serializer),
            Verb::Yield => answer(core, outboxes, session, plain, serializer),
        };
        std::mem::forget(watch);
        let found = found?;
        stats.inputs += 1;
        let payload = plain.payload(input, serializer);
        match found {
            Found::Here(to, outbox, head) => {
                let pushed = outbox.push_plain(head, payload, touched);
                state.pushed(to, about(head), pushed);
            }
            Found::There(node, frame) => {
                if !self.cluster.forward_plain(&self.name, node, session, frame, payload)
                    && let Some(frame) = Realm::plain_refusal(frame, payload.to_payload())
                {
                    state.followups.push_back(Input::Peer { from: node, frame });
                }
                touched.note_forwarded();
            }
        }
        Some(())
    }

    /// Carries a plain frame of another node out; `None`, and nothing done, if it has to take the ordinary way.
    fn plain_frame(
        &self,
        state: &mut MutexGuard<'_, State>,
        from: NodeRef,
        frame: PlainFrame,
        payload: Elements<'_>,
        touched: &mut Touched,
    ) -> Option<()> {
        if self.has_failed() {
            return None;
        }
        let State {
            core, outboxes, stats, ..
        } = &mut **state;
        let watch = FailureWatch(self);
        let found = match frame {
            PlainFrame::Invoke {
                callee, registration, ..
            } => invoke(core, outboxes, from, frame, (callee, registration), payload),
            PlainFrame::Result { call } => result(core, outboxes, from, call, payload),
        };
        std::mem::forget(watch);
        let (to, outbox, head) = found?;
        stats.inputs += 1;
        let pushed = outbox.push_plain(head, payload, touched);
        state.pushed(to, about(head), pushed);
        Some(())
    }

    pub(super) fn message(&self, state: &mut MutexGuard<'_, State>, session: SessionId, message: Message, touched: &mut Touched) {
        if let Message::Unsubscribe { subscription, .. } = &message
            && state.open_fanouts > 0
        {
            state.given_up.push((session, *subscription));
        }
        if let Message::Unsubscribe { subscription, .. } = &message
            && let Some(outbox) = state.outboxes.get(&session)
        {
            outbox.forget_subscription(*subscription);
        }
        self.take(state, Input::Message { session, message }, touched);
    }
}

/// Where a plain message goes.
enum Found<'a> {
    /// To a session of this node, where it is put in, and how it begins.
    Here(SessionId, &'a Arc<Outbox>, PlainHead),
    /// To another node, and how that is said.
    There(NodeRef, PlainFrame),
}

type Outboxes = IdMap<SessionId, Arc<Outbox>>;

fn call<'a>(
    core: &mut Realm,
    outboxes: &'a Outboxes,
    session: SessionId,
    plain: Plain,
    input: &[u8],
    serializer: Serializer,
) -> Option<Found<'a>> {
    // The clock is asked for each: this process may have been stopped since the last, and its lease with it.
    let route = core.plain_route(now(), session, plain.request, plain.procedure(input))?;
    let PlainCallee::Here(callee) = route.callee else {
        let (node, frame) = core.plain_call_there(session, plain.request, route)?;
        return Some(Found::There(node, frame));
    };
    let outbox = outboxes.get(&callee)?;
    if outbox.wire().serializer != serializer {
        return None;
    }
    let registration = route.registration;
    let request = core.plain_call(session, plain.request, registration, callee)?;
    Some(Found::Here(callee, outbox, PlainHead::Invocation { request, registration }))
}

fn answer<'a>(
    core: &mut Realm,
    outboxes: &'a Outboxes,
    session: SessionId,
    plain: Plain,
    serializer: Serializer,
) -> Option<Found<'a>> {
    let answer = core.plain_answer(session, plain.request)?;
    let found = match answer {
        PlainAnswer::Here { caller, request } => {
            let outbox = outboxes.get(&caller)?;
            if outbox.wire().serializer != serializer {
                return None;
            }
            Found::Here(caller, outbox, PlainHead::Result { request })
        }
        PlainAnswer::There { node, call } => Found::There(node, PlainFrame::Result { call }),
    };
    core.plain_yield(session, plain.request, answer);
    Some(found)
}

fn invoke<'a>(
    core: &mut Realm,
    outboxes: &'a Outboxes,
    from: NodeRef,
    frame: PlainFrame,
    (callee, registration): (SessionId, RegistrationId),
    payload: Elements<'_>,
) -> Option<(SessionId, &'a Arc<Outbox>, PlainHead)> {
    let outbox = outboxes.get(&callee)?;
    if !payload.suits(outbox.wire().serializer) {
        return None;
    }
    let request = core.plain_invoke(now(), from, frame)?;
    Some((callee, outbox, PlainHead::Invocation { request, registration }))
}

fn result<'a>(
    core: &mut Realm,
    outboxes: &'a Outboxes,
    from: NodeRef,
    call: CallId,
    payload: Elements<'_>,
) -> Option<(SessionId, &'a Arc<Outbox>, PlainHead)> {
    let (caller, request) = core.plain_result(from, call)?;
    let outbox = outboxes.get(&caller)?;
    if !payload.suits(outbox.wire().serializer) {
        return None;
    }
    core.plain_conclude(from, call, (caller, request));
    Some((caller, outbox, PlainHead::Result { request }))
}

fn about(head: PlainHead) -> About {
    match head {
        PlainHead::Invocation { request, .. } => About::Undelivered(Undelivered::Invocation(request)),
        PlainHead::Result { .. } => About::Other,
    }
}

/// The message value of a plain one.
fn message(plain: Plain, input: &[u8], serializer: Serializer) -> Message {
    let (request, options): (RequestId, _) = (plain.request, Dict::new());
    let payload = plain.payload(input, serializer).to_payload();
    match plain.verb {
        Verb::Call => Message::Call {
            request,
            options,
            procedure: Uri::from(plain.procedure(input)),
            payload,
        },
        Verb::Yield => Message::Yield {
            request,
            options,
            payload,
        },
    }
}

#[cfg(test)]
mod tests;
