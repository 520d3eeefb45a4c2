//! The shell's side of a call's short way ([`crate::router::dealer::plain`]): from the caller's read buffer into the callee's outbox, and
//! back, without a message value in between.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{About, FailureWatch, RealmHandle, Shell, State, now};
use crate::{
    router::{Input, Realm},
    session::outbox::{Outbox, Touched, Undelivered},
    wamp::{
        Dict, Message, RequestId, Serializer, SessionId, Uri,
        codec::plain::{Plain, PlainHead, Verb},
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
        for item in gathered {
            if !state.outboxes.contains_key(&session) {
                break;
            }
            let message = match item {
                Gathered::Message(message) => message,
                Gathered::Plain(plain) => {
                    if self
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
            self.shared.message(&mut state, session, message, touched);
        }
        self.shared.settle(state);
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
        let (to, outbox, head) = found?;
        stats.inputs += 1;
        let pushed = outbox.push_plain(head, plain.payload(input, serializer), touched);
        let about = match head {
            PlainHead::Invocation { request, .. } => About::Undelivered(Undelivered::Invocation(request)),
            PlainHead::Result { .. } => About::Other,
        };
        state.pushed(to, about, pushed);
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

/// To whom a message goes, where it is put in, and how it begins.
type Found<'a> = (SessionId, &'a Arc<Outbox>, PlainHead);

fn call<'a>(
    core: &mut Realm,
    outboxes: &'a IdMap<SessionId, Arc<Outbox>>,
    session: SessionId,
    plain: Plain,
    input: &[u8],
    serializer: Serializer,
) -> Option<Found<'a>> {
    // The clock is asked for each: this process may have been stopped since the last, and its lease with it.
    let route = core.plain_route(now(), session, plain.request, plain.procedure(input))?;
    let outbox = outboxes.get(&route.callee)?;
    if outbox.wire().serializer != serializer {
        return None;
    }
    let request = core.plain_call(session, plain.request, route)?;
    let registration = route.registration;
    Some((route.callee, outbox, PlainHead::Invocation { request, registration }))
}

fn answer<'a>(
    core: &mut Realm,
    outboxes: &'a IdMap<SessionId, Arc<Outbox>>,
    session: SessionId,
    plain: Plain,
    serializer: Serializer,
) -> Option<Found<'a>> {
    let answer = core.plain_answer(session, plain.request)?;
    let outbox = outboxes.get(&answer.caller)?;
    if outbox.wire().serializer != serializer {
        return None;
    }
    core.plain_yield(session, plain.request, answer);
    Some((answer.caller, outbox, PlainHead::Result { request: answer.request }))
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
