//! What the messages are about that do not say it: answers by the request they answer, events and invocations by what the core has.
//!
//! Only what is watched is remembered, and no more than [`KEPT_MAX`] requests; of one that was forgotten, or made before the tap began,
//! the URI is not known.

use std::collections::{HashMap, VecDeque};

use crate::{
    router::Realm,
    wamp::{Message, RequestId, SessionId, Uri, message::code},
};

/// Requests without an answer, and what they are about.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: HashMap<Key, Uri>,
    /// In the order in which they came; those that were answered are still here.
    order: VecDeque<Key>,
}

/// Whose, of which message type, and its number.
type Key = (SessionId, u64, RequestId);

const KEPT_MAX: usize = 4_096;

impl Requests {
    /// What a message of a client is about.
    pub(super) fn of_client(&self, core: &Realm, session: SessionId, message: &Message) -> Option<Uri> {
        match message {
            Message::Publish { topic, .. } | Message::Subscribe { topic, .. } => Some(topic.clone()),
            Message::Call { procedure, .. } | Message::Register { procedure, .. } => Some(procedure.clone()),
            Message::Unsubscribe { subscription, .. } => core.topic_of(*subscription).cloned(),
            Message::Unregister { registration, .. } => {
                let found = core.registry().registration(*registration);
                found.map(|registration| registration.procedure.clone())
            }
            Message::Cancel { request, .. } => self.of(session, code::CALL, *request),
            Message::Yield { request, .. } | Message::Error { request, .. } => self.of(session, code::INVOCATION, *request),
            _ => None,
        }
    }

    /// What a message to a client is about.
    pub(super) fn of_router(&self, core: &Realm, session: SessionId, message: &Message) -> Option<Uri> {
        let text = |details: &crate::wamp::Dict, name| details.text(name).map(Uri::from);
        match message {
            Message::Event {
                subscription, details, ..
            } => text(details, "topic").or_else(|| core.topic_of(*subscription).cloned()),
            Message::Invocation {
                registration, details, ..
            } => text(details, "procedure").or_else(|| {
                let found = core.registry().registration(*registration);
                found.map(|registration| registration.procedure.clone())
            }),
            Message::Result { request, .. } => self.of(session, code::CALL, *request),
            Message::Error {
                request_type, request, ..
            } => self.of(session, *request_type, *request),
            Message::Interrupt { request, .. } => self.of(session, code::INVOCATION, *request),
            Message::Published { request, .. } => self.of(session, code::PUBLISH, *request),
            Message::Subscribed { request, .. } => self.of(session, code::SUBSCRIBE, *request),
            Message::Registered { request, .. } => self.of(session, code::REGISTER, *request),
            Message::Unsubscribed {
                request: Some(request), ..
            } => self.of(session, code::UNSUBSCRIBE, *request),
            Message::Unregistered {
                request: Some(request), ..
            } => self.of(session, code::UNREGISTER, *request),
            _ => None,
        }
    }

    /// A client's message that is watched: what it asks for will be answered, what it answers is over.
    pub(super) fn sent(&mut self, session: SessionId, message: &Message, uri: &Uri) {
        match message {
            // Unacknowledged publications have no answer.
            Message::Publish { request, options, .. } if options.bool("acknowledge") == Some(true) => {
                self.open(session, code::PUBLISH, *request, uri);
            }
            Message::Subscribe { request, .. } => self.open(session, code::SUBSCRIBE, *request, uri),
            Message::Unsubscribe { request, .. } => self.open(session, code::UNSUBSCRIBE, *request, uri),
            Message::Call { request, .. } => self.open(session, code::CALL, *request, uri),
            Message::Register { request, .. } => self.open(session, code::REGISTER, *request, uri),
            Message::Unregister { request, .. } => self.open(session, code::UNREGISTER, *request, uri),
            Message::Yield { request, options, .. } if options.bool("progress") != Some(true) => {
                self.close(session, code::INVOCATION, *request);
            }
            Message::Error { request, .. } => self.close(session, code::INVOCATION, *request),
            _ => {}
        }
    }

    /// A message to a client that is watched.
    pub(super) fn heard(&mut self, session: SessionId, message: &Message, uri: &Uri) {
        match message {
            Message::Invocation { request, .. } => self.open(session, code::INVOCATION, *request, uri),
            Message::Result { request, details, .. } if details.bool("progress") != Some(true) => {
                self.close(session, code::CALL, *request);
            }
            Message::Error {
                request_type, request, ..
            } => self.close(session, *request_type, *request),
            Message::Published { request, .. } => self.close(session, code::PUBLISH, *request),
            Message::Subscribed { request, .. } => self.close(session, code::SUBSCRIBE, *request),
            Message::Registered { request, .. } => self.close(session, code::REGISTER, *request),
            Message::Unsubscribed {
                request: Some(request), ..
            } => self.close(session, code::UNSUBSCRIBE, *request),
            Message::Unregistered {
                request: Some(request), ..
            } => self.close(session, code::UNREGISTER, *request),
            _ => {}
        }
    }

    fn of(&self, session: SessionId, kind: u64, request: RequestId) -> Option<Uri> {
        self.open.get(&(session, kind, request)).cloned()
    }

    fn open(&mut self, session: SessionId, kind: u64, request: RequestId, uri: &Uri) {
        let key = (session, kind, request);
        if self.order.len() >= KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(key);
        self.open.insert(key, uri.clone());
    }

    fn close(&mut self, session: SessionId, kind: u64, request: RequestId) {
        self.open.remove(&(session, kind, request));
    }
}
