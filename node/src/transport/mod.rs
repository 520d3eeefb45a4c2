//! Transports: from the first byte of a connection to whole WAMP messages, and back.
//!
//! Owns: the listener and its limits, telling RawSocket, TLS and HTTP apart, the WebSocket and RawSocket handshakes, their frames,
//! TLS, long-poll, and the pages an ordinary web server would serve. Does not own what a message means ([`crate::session`]) or who gets it
//! ([`crate::router`]). Start reading at [`listener`], then [`websocket`] and [`rawsocket`]; [`framing`] is what they share.

pub mod listener;

pub mod http;
pub mod longpoll;
pub mod rawsocket;
pub mod reload;
pub mod tls;
pub mod websocket;

pub mod client_certificate;
pub mod framing;
pub mod io;

mod bounded;
mod turned_away;
