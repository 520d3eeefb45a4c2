//! What is kept of a message that passes.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wamp::{Dict, Message, Payload, SessionId, Uri, Value};

/// The head of a message, and its payload where that is permitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// When it passed, milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// From a client to the router, or the other way.
    pub from_client: bool,
    /// Whose it is; of one for several sessions the first that is watched.
    pub session: SessionId,
    /// How many sessions it is for.
    pub receivers: usize,
    /// Its protocol name.
    pub kind: &'static str,
    /// The request it makes or answers.
    pub request: Option<u64>,
    /// The registration it names.
    pub registration: Option<u64>,
    /// The subscription it names.
    pub subscription: Option<u64>,
    /// The publication it names.
    pub publication: Option<u64>,
    /// What it is about, where that is known.
    pub uri: Option<Uri>,
    /// The error or reason it gives.
    pub error: Option<Uri>,
    /// Its options or details; what may be private stands as `…`.
    pub options: Dict,
    /// How long its payload is.
    pub payload_bytes: usize,
    /// Its payload, if that is permitted and it is short enough.
    pub payload: Option<Payload>,
}

/// A message where it is looked at.
pub(super) struct Passing<'a> {
    pub(super) from_client: bool,
    pub(super) session: SessionId,
    pub(super) receivers: usize,
    pub(super) message: &'a Message,
    pub(super) about: Option<Uri>,
}

/// Payloads above this are not copied for a tap.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Options that are kept, by number.
const OPTIONS_MAX: usize = 32;
/// Characters that are kept of the name of an option, and of a text.
const TEXT_MAX: usize = 128;
/// What stands for what is left out.
const HIDDEN: &str = "…";

/// Options and details that say how a message is to be treated or who is behind it, and never what it carries.
const KNOWN: &[&str] = &[
    "acknowledge",
    "callee",
    "caller",
    "caller_authid",
    "caller_authrole",
    "concurrency",
    "disclose_me",
    "exclude_me",
    "force_reregister",
    "get_retained",
    "invoke",
    "match",
    "mode",
    "ppt_cipher",
    "ppt_scheme",
    "ppt_serializer",
    "procedure",
    "progress",
    "publisher",
    "publisher_authid",
    "publisher_authrole",
    "reason",
    "receive_progress",
    "registration",
    "retain",
    "retained",
    "runmode",
    "subscription",
    "timeout",
    "topic",
    "trustlevel",
    "_acknowledge_delivery",
    "_fence",
    "_gap",
    "_reason",
    "_traceparent",
];

impl Head {
    pub(super) fn of(passing: Passing<'_>, payload: bool) -> Self {
        let Passing {
            from_client,
            session,
            receivers,
            message,
            about,
        } = passing;
        let mut head = Self {
            time_ms: unix_ms(),
            from_client,
            session,
            receivers,
            kind: message.name(),
            request: None,
            registration: None,
            subscription: None,
            publication: None,
            uri: about,
            error: None,
            options: Dict::new(),
            payload_bytes: 0,
            payload: None,
        };
        head.read(message);
        if let Some(carried) = message.payload() {
            head.payload_bytes = carried.bytes().len();
            if payload && head.payload_bytes <= PAYLOAD_BYTES_MAX {
                head.payload = Some(carried.apart());
            }
        }
        head
    }

    /// What stands in the fields of the message beside its URI.
    fn read(&mut self, message: &Message) {
        match message {
            Message::Publish { request, options, .. }
            | Message::Subscribe { request, options, .. }
            | Message::Call { request, options, .. }
            | Message::Cancel { request, options }
            | Message::Register { request, options, .. }
            | Message::Yield { request, options, .. }
            | Message::Interrupt { request, options }
            | Message::Result {
                request,
                details: options,
                ..
            } => {
                self.request = Some(request.get());
                self.options = shown(options);
            }
            Message::Error {
                request, details, error, ..
            } => {
                self.request = Some(request.get());
                self.error = Some(error.clone());
                self.options = shown(details);
            }
            Message::Invocation {
                request,
                registration,
                details,
                ..
            } => {
                self.request = Some(request.get());
                self.registration = Some(registration.get());
                self.options = shown(details);
            }
            Message::Event {
                subscription,
                publication,
                details,
                ..
            } => {
                self.subscription = Some(subscription.get());
                self.publication = Some(publication.get());
                self.options = shown(details);
            }
            Message::Published { request, publication } => {
                self.request = Some(request.get());
                self.publication = Some(publication.get());
            }
            Message::Subscribed { request, subscription } | Message::Unsubscribe { request, subscription } => {
                self.request = Some(request.get());
                self.subscription = Some(subscription.get());
            }
            Message::Registered { request, registration } | Message::Unregister { request, registration } => {
                self.request = Some(request.get());
                self.registration = Some(registration.get());
            }
            Message::Unsubscribed { request, details } | Message::Unregistered { request, details } => {
                self.request = request.map(|request| request.get());
                self.options = shown(details);
            }
            Message::EventReceived { publication } => self.publication = Some(publication.get()),
            Message::Goodbye { details, reason } | Message::Abort { details, reason, .. } => {
                self.error = Some(reason.clone());
                self.options = shown(details);
            }
            // None of them belongs to an established session.
            Message::Hello { .. } | Message::Welcome { .. } | Message::Challenge { .. } | Message::Authenticate { .. } => {}
        }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let options = self.options.0.len() * 64;
        let payload = self.payload.as_ref().map_or(0, |payload| payload.bytes().len());
        size_of::<Self>() + options + payload
    }
}

/// Options as they may be seen by whoever may not see payload.
fn shown(options: &Dict) -> Dict {
    let entries = options.0.iter().take(OPTIONS_MAX);
    let shown = entries.map(|(name, value)| {
        let value = match value {
            Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) if KNOWN.contains(&name.as_str()) => value.clone(),
            Value::Text(text) if KNOWN.contains(&name.as_str()) => Value::from(cut(text)),
            // Lists of sessions and names may be long, and what is not known may be anything.
            _ => Value::from(HIDDEN),
        };
        (cut(name), value)
    });
    Dict(shown.collect())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}{HIDDEN}", &text[..at]),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
