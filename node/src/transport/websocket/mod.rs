//! WebSocket: judging a client's opening handshake. Frames are in [`frame`], those of several messages in
//! [`batch`].
//!
//! Spec: RFC 6455, "Opening Handshake"; WAMP advanced profile, "WebSocket Transport".

pub mod batch;
pub mod frame;

use http::{StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    framing::{Batching, Framing},
    http::Head,
};
use crate::wamp::Serializer;

/// Which web pages may connect. Clients that are no browsers send no `Origin` and are not concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Pages that came from the host the client connects to.
    SameHost,
    /// Any page.
    Any,
    /// Pages of these origins, such as `https://example.org`, and of the same host.
    Listed(Vec<String>),
}

impl Origins {
    /// From a configured list: none, `*`, or exact origins.
    pub fn from_list(list: &[String]) -> Self {
        if list.iter().any(|origin| origin == "*") {
            Origins::Any
        } else if list.is_empty() {
            Origins::SameHost
        } else {
            Origins::Listed(list.to_vec())
        }
    }

    /// True if a page of `origin` may connect to `host` (name and port as the client wrote them).
    pub(super) fn admit(&self, origin: &str, host: &str) -> bool {
        let same_host = || {
            origin
                .split_once("://")
                .is_some_and(|(_, from)| from.eq_ignore_ascii_case(host))
        };
        match self {
            Origins::Any => true,
            Origins::SameHost => same_host(),
            Origins::Listed(list) => list.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) || same_host(),
        }
    }
}

/// Whether a client has to name a subprotocol (setting `subprotocol_required`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subprotocol {
    /// It has to.
    #[default]
    Required,
    /// One that names none at all speaks `wamp.2.json`.
    Optional,
}

/// A refused handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// Header fields beside the usual, each with its line end.
    pub fields: &'static str,
}

/// An acceptable handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// The serializer of the chosen subprotocol.
    pub serializer: Serializer,
    /// The framing of the chosen subprotocol.
    pub framing: Framing,
    /// The whole answer.
    pub response: String,
}

/// True if the request asks for a WebSocket at all.
pub fn is_upgrade(head: &Head) -> bool {
    head.method == "GET" && head.has_token(header::UPGRADE, "websocket") && head.has_token(header::CONNECTION, "upgrade")
}

/// Judges a request for which [`is_upgrade`] holds, on the endpoint's path; `fields` go into the answer, each with its line end.
///
/// # Errors
/// How to answer instead of upgrading.
pub fn accept(head: &Head, origins: &Origins, subprotocol: Subprotocol, fields: &str) -> Result<Upgrade, Refusal> {
    let bad = Refusal {
        status: StatusCode::BAD_REQUEST,
        fields: "",
    };
    let host = head.field(header::HOST).ok_or(bad)?;
    if head.minor_version != 1 {
        return Err(bad);
    }
    if head.field(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(Refusal {
            status: StatusCode::UPGRADE_REQUIRED,
            fields: "Sec-WebSocket-Version: 13\r\n",
        });
    }
    if let Some(origin) = head.fields.get(header::ORIGIN)
        && !origin.to_str().is_ok_and(|origin| origins.admit(origin, host))
    {
        return Err(Refusal {
            status: StatusCode::FORBIDDEN,
            fields: "",
        });
    }
    // The nonce is 16 bytes in base64.
    let key = head
        .field(header::SEC_WEBSOCKET_KEY)
        .filter(|key| key.len() == 24)
        .ok_or(bad)?;
    let mut offers = head.list(header::SEC_WEBSOCKET_PROTOCOL).peekable();
    let none_offered = offers.peek().is_none();
    let known = offers.find_map(|offered| Some((offered, spoken(offered)?)));
    let (chosen, (serializer, batching)) = match known {
        Some((protocol, spoken)) => (format!("Sec-WebSocket-Protocol: {protocol}\r\n"), spoken),
        // A client that offers none must not be told one; RFC 6455, "Client Requirements".
        None if none_offered && subprotocol == Subprotocol::Optional => (String::new(), (Serializer::Json, Batching::No)),
        None => return Err(bad),
    };
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{chosen}{fields}\r\n",
        derive_accept_key(key.as_bytes())
    );
    Ok(Upgrade {
        serializer,
        framing: Framing::websocket(serializer, batching),
        response,
    })
}

/// What a subprotocol stands for: `wamp.2.` and a serializer, with `.batched` if frames hold several messages.
pub(super) fn spoken(subprotocol: &str) -> Option<(Serializer, Batching)> {
    let (name, batching) = match subprotocol.strip_suffix(".batched") {
        Some(name) => (name, Batching::Yes),
        None => (subprotocol, Batching::No),
    };
    Some((Serializer::from_subprotocol(name)?, batching))
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
