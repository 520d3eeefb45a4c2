//! What can go wrong between a client and its router.

use std::time::Duration;

use crate::wamp::{Dict, Value};

/// Why a client could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The URL is none, or of a scheme that is not spoken. Nothing was sent.
    #[error("{url} is no URL of a router: {why}")]
    Url { url: String, why: &'static str },
    /// No connection came about. Trying again later may help.
    #[error("cannot connect to {address}: {why}")]
    Connect { address: String, why: String },
    /// The TLS settings or the router's certificate are wrong.
    #[error("no trusted connection to {address}: {why}")]
    Tls { address: String, why: String },
    /// Whoever listens there does not speak WAMP, or not with this serializer.
    #[error("{address} did not accept the connection as a WAMP router would: {why}")]
    Handshake { address: String, why: String },
    /// The router sent ABORT: it does not want this session.
    #[error("the router ended the session: {reason}{}", with_message(.message))]
    Aborted { reason: String, message: Option<String> },
    /// The router, or the callee behind it, answered the request with ERROR.
    #[error("{error}{}", with_args(.args))]
    Refused { error: String, args: Vec<Value>, kwargs: Dict },
    /// The session ended while the answer was awaited, or before the request was sent; whether it took effect is unknown.
    #[error("the session has ended: {why}")]
    Closed { why: String },
    /// The answer did not come in time; whether the request took effect is unknown.
    #[error("no {what} within {} ms", .after.as_millis())]
    Timeout { what: &'static str, after: Duration },
    /// The message does not fit what the router accepts; it was not sent.
    #[error("the message has {bytes} bytes, the router takes {limit}")]
    TooLarge { bytes: usize, limit: usize },
    /// The values cannot be written in this serializer; nothing was sent.
    #[error("not expressible in this serializer: {why}")]
    Encode { why: String },
    /// The router sent something that is not WAMP; the session is over.
    #[error("the router broke the protocol: {why}")]
    Protocol { why: String },
}

fn with_message(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(" ({message})")).unwrap_or_default()
}

fn with_args(args: &[Value]) -> String {
    args.first()
        .and_then(Value::as_text)
        .map(|text| format!(": {text}"))
        .unwrap_or_default()
}
