//! The WAMP wire: messages, ids, URIs, values and the three serializers.
//!
//! Owns: what bytes on a transport mean and how a message is written. Knows nothing of sessions, realms or sockets; no clock,
//! no task. A decoded [`Message`] has its head built (code, ids, options, URI) and its payload carried as proven bytes in
//! [`Payload`]. Start reading at [`message`], then [`codec`].

pub mod codec;
pub mod error_uri;
pub mod history;
pub mod id;
pub mod message;
pub mod payload;
pub mod timestamp;
pub mod trace;
pub mod uri;
pub mod value;

pub use id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};
pub use message::Message;
pub use payload::{Payload, Serializer};
pub use trace::TraceContext;
pub use uri::{Uri, UriCheck};
pub use value::{Dict, Value};
