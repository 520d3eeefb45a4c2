//! Every other message or frame that can takes the short way ([`crate::router::dealer::plain`]), as the shell would have it.

use std::time::Instant;

use crate::{
    router::{
        Effect, Input, PeerFrame, Realm,
        dealer::plain::{PlainAnswer, PlainCallee},
        frame::PlainFrame,
    },
    wamp::{Dict, Message, Payload, RegistrationId, RequestId, SessionId},
};

/// Carries an input out by the short way and says what comes of it; `None`, and nothing done, for what cannot go there.
pub(super) fn shortly(realm: &mut Realm, now: Instant, input: &Input) -> Option<Vec<Effect>> {
    let effect = match input {
        Input::Message { session, message } => said(realm, now, *session, message)?,
        Input::Peer { from, frame } => {
            let (frame, payload) = plain(frame)?;
            match frame {
                PlainFrame::Invoke {
                    callee, registration, ..
                } => {
                    let request = realm.plain_invoke(now, *from, frame)?;
                    invocation(callee, request, registration, payload)
                }
                PlainFrame::Result { call } => {
                    let (session, request) = realm.plain_result(*from, call)?;
                    realm.plain_conclude(*from, call, (session, request));
                    result(session, request, payload)
                }
            }
        }
        _ => return None,
    };
    Some(vec![effect])
}

fn said(realm: &mut Realm, now: Instant, session: SessionId, message: &Message) -> Option<Effect> {
    match message {
        Message::Call {
            request,
            options,
            procedure,
            payload,
        } if options.is_empty() => {
            let route = realm.plain_route(now, session, *request, procedure)?;
            let registration = route.registration;
            if let PlainCallee::Here(callee) = route.callee {
                let request = realm.plain_call(session, *request, registration, callee)?;
                return Some(invocation(callee, request, registration, payload.clone()));
            }
            let (to, frame) = realm.plain_call_there(session, *request, route)?;
            let frame = frame.with(payload.clone());
            Some(Effect::Forward {
                to,
                source: session,
                frame,
            })
        }
        Message::Yield {
            request,
            options,
            payload,
        } if options.is_empty() => {
            let answer = realm.plain_answer(session, *request)?;
            realm.plain_yield(session, *request, answer);
            Some(match answer {
                PlainAnswer::Here { caller, request } => result(caller, request, payload.clone()),
                PlainAnswer::There { node, call } => Effect::Forward {
                    to: node,
                    source: session,
                    frame: PlainFrame::Result { call }.with(payload.clone()),
                },
            })
        }
        _ => None,
    }
}

/// The frame as a plain one, if it says nothing but what every one of its kind does.
fn plain(frame: &PeerFrame) -> Option<(PlainFrame, Payload)> {
    match frame {
        PeerFrame::Invoke {
            call,
            registration,
            callee,
            index,
            details,
            payload,
        } if details.is_empty() => {
            let frame = PlainFrame::Invoke {
                call: *call,
                registration: *registration,
                callee: *callee,
                index: *index,
            };
            Some((frame, payload.clone()))
        }
        PeerFrame::Result { call, details, payload } if details.is_empty() => {
            Some((PlainFrame::Result { call: *call }, payload.clone()))
        }
        _ => None,
    }
}

fn invocation(session: SessionId, request: RequestId, registration: RegistrationId, payload: Payload) -> Effect {
    let message = Message::Invocation {
        request,
        registration,
        details: Dict::new(),
        payload,
    };
    Effect::Send { session, message }
}

fn result(session: SessionId, request: RequestId, payload: Payload) -> Effect {
    let message = Message::Result {
        request,
        details: Dict::new(),
        payload,
    };
    Effect::Send { session, message }
}
