//! Every WAMP message as a type. Field order is the order on the wire.
//!
//! Spec: WAMP basic profile, "Messages".

use super::{Dict, Payload, PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId, Uri};

/// The message codes of the standard space, 0..=255, and the extension EVENT_RECEIVED.
pub mod code {
    #![allow(missing_docs)]
    pub const HELLO: u64 = 1;
    pub const WELCOME: u64 = 2;
    pub const ABORT: u64 = 3;
    pub const CHALLENGE: u64 = 4;
    pub const AUTHENTICATE: u64 = 5;
    pub const GOODBYE: u64 = 6;
    pub const ERROR: u64 = 8;
    pub const PUBLISH: u64 = 16;
    pub const PUBLISHED: u64 = 17;
    pub const SUBSCRIBE: u64 = 32;
    pub const SUBSCRIBED: u64 = 33;
    pub const UNSUBSCRIBE: u64 = 34;
    pub const UNSUBSCRIBED: u64 = 35;
    pub const EVENT: u64 = 36;
    pub const CALL: u64 = 48;
    pub const CANCEL: u64 = 49;
    pub const RESULT: u64 = 50;
    pub const REGISTER: u64 = 64;
    pub const REGISTERED: u64 = 65;
    pub const UNREGISTER: u64 = 66;
    pub const UNREGISTERED: u64 = 67;
    pub const INVOCATION: u64 = 68;
    pub const INTERRUPT: u64 = 69;
    pub const YIELD: u64 = 70;
    pub const EVENT_RECEIVED: u64 = 337;
}

/// The protocol name of a message code; `None` for codes that name no message.
pub fn name(code: u64) -> Option<&'static str> {
    Some(match code {
        code::HELLO => "HELLO",
        code::WELCOME => "WELCOME",
        code::ABORT => "ABORT",
        code::CHALLENGE => "CHALLENGE",
        code::AUTHENTICATE => "AUTHENTICATE",
        code::GOODBYE => "GOODBYE",
        code::ERROR => "ERROR",
        code::PUBLISH => "PUBLISH",
        code::PUBLISHED => "PUBLISHED",
        code::SUBSCRIBE => "SUBSCRIBE",
        code::SUBSCRIBED => "SUBSCRIBED",
        code::UNSUBSCRIBE => "UNSUBSCRIBE",
        code::UNSUBSCRIBED => "UNSUBSCRIBED",
        code::EVENT => "EVENT",
        code::CALL => "CALL",
        code::CANCEL => "CANCEL",
        code::RESULT => "RESULT",
        code::REGISTER => "REGISTER",
        code::REGISTERED => "REGISTERED",
        code::UNREGISTER => "UNREGISTER",
        code::UNREGISTERED => "UNREGISTERED",
        code::INVOCATION => "INVOCATION",
        code::INTERRUPT => "INTERRUPT",
        code::YIELD => "YIELD",
        code::EVENT_RECEIVED => "EVENT_RECEIVED",
        _ => return None,
    })
}

/// One WAMP message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// `[1, realm, details]`, client to router.
    Hello { realm: Uri, details: Dict },
    /// `[2, session, details]`
    Welcome { session: SessionId, details: Dict },
    /// `[3, details, reason, [args], [kwargs]]`
    Abort { details: Dict, reason: Uri, payload: Payload },
    /// `[4, method, extra]`
    Challenge { method: String, extra: Dict },
    /// `[5, signature, extra]`
    Authenticate { signature: String, extra: Dict },
    /// `[6, details, reason]`
    Goodbye { details: Dict, reason: Uri },
    /// `[8, request_type, request, details, error, [args], [kwargs]]`
    Error {
        request_type: u64,
        request: RequestId,
        details: Dict,
        error: Uri,
        payload: Payload,
    },
    /// `[16, request, options, topic, [args], [kwargs]]`
    Publish {
        request: RequestId,
        options: Dict,
        topic: Uri,
        payload: Payload,
    },
    /// `[17, request, publication]`
    Published { request: RequestId, publication: PublicationId },
    /// `[32, request, options, topic]`
    Subscribe { request: RequestId, options: Dict, topic: Uri },
    /// `[33, request, subscription]`
    Subscribed {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// `[34, request, subscription]`
    Unsubscribe {
        request: RequestId,
        subscription: SubscriptionId,
    },
    /// `[35, request]`, or `[35, 0, details]` for a revocation (`request` is then `None`).
    Unsubscribed { request: Option<RequestId>, details: Dict },
    /// `[36, subscription, publication, details, [args], [kwargs]]`
    Event {
        subscription: SubscriptionId,
        publication: PublicationId,
        details: Dict,
        payload: Payload,
    },
    /// `[48, request, options, procedure, [args], [kwargs]]`
    Call {
        request: RequestId,
        options: Dict,
        procedure: Uri,
        payload: Payload,
    },
    /// `[49, request, options]`
    Cancel { request: RequestId, options: Dict },
    /// `[50, request, details, [args], [kwargs]]`
    Result {
        request: RequestId,
        details: Dict,
        payload: Payload,
    },
    /// `[64, request, options, procedure]`
    Register {
        request: RequestId,
        options: Dict,
        procedure: Uri,
    },
    /// `[65, request, registration]`
    Registered {
        request: RequestId,
        registration: RegistrationId,
    },
    /// `[66, request, registration]`
    Unregister {
        request: RequestId,
        registration: RegistrationId,
    },
    /// `[67, request]`, or `[67, 0, details]` for a revocation (`request` is then `None`).
    Unregistered { request: Option<RequestId>, details: Dict },
    /// `[68, request, registration, details, [args], [kwargs]]`
    Invocation {
        request: RequestId,
        registration: RegistrationId,
        details: Dict,
        payload: Payload,
    },
    /// `[69, request, options]`
    Interrupt { request: RequestId, options: Dict },
    /// `[70, request, options, [args], [kwargs]]`
    Yield {
        request: RequestId,
        options: Dict,
        payload: Payload,
    },
    /// `[337, publication]`, extension: acknowledged delivery of an event.
    EventReceived { publication: PublicationId },
}

impl Message {
    /// Its code on the wire.
    pub fn code(&self) -> u64 {
        match self {
            Message::Hello { .. } => code::HELLO,
            Message::Welcome { .. } => code::WELCOME,
            Message::Abort { .. } => code::ABORT,
            Message::Challenge { .. } => code::CHALLENGE,
            Message::Authenticate { .. } => code::AUTHENTICATE,
            Message::Goodbye { .. } => code::GOODBYE,
            Message::Error { .. } => code::ERROR,
            Message::Publish { .. } => code::PUBLISH,
            Message::Published { .. } => code::PUBLISHED,
            Message::Subscribe { .. } => code::SUBSCRIBE,
            Message::Subscribed { .. } => code::SUBSCRIBED,
            Message::Unsubscribe { .. } => code::UNSUBSCRIBE,
            Message::Unsubscribed { .. } => code::UNSUBSCRIBED,
            Message::Event { .. } => code::EVENT,
            Message::Call { .. } => code::CALL,
            Message::Cancel { .. } => code::CANCEL,
            Message::Result { .. } => code::RESULT,
            Message::Register { .. } => code::REGISTER,
            Message::Registered { .. } => code::REGISTERED,
            Message::Unregister { .. } => code::UNREGISTER,
            Message::Unregistered { .. } => code::UNREGISTERED,
            Message::Invocation { .. } => code::INVOCATION,
            Message::Interrupt { .. } => code::INTERRUPT,
            Message::Yield { .. } => code::YIELD,
            Message::EventReceived { .. } => code::EVENT_RECEIVED,
        }
    }

    /// Its payload, if it is of a kind that can have one.
    pub fn payload(&self) -> Option<&Payload> {
        match self {
            Message::Abort { payload, .. }
            | Message::Error { payload, .. }
            | Message::Publish { payload, .. }
            | Message::Event { payload, .. }
            | Message::Call { payload, .. }
            | Message::Result { payload, .. }
            | Message::Invocation { payload, .. }
            | Message::Yield { payload, .. } => Some(payload),
            _ => None,
        }
    }

    /// Its protocol name, for logs and error texts.
    pub fn name(&self) -> &'static str {
        name(self.code()).unwrap_or("UNKNOWN")
    }
}
