//! The limits a session lives under.

use std::time::Duration;

/// Limits and times of the sessions of a listener. The defaults suit devices and browsers alike.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// The longest WAMP message taken from a client, in bytes. RawSocket announces the power of two below it.
    ///
    /// Default 16 MiB. Too small refuses honest messages; too large lets one client hold that much memory.
    pub message_bytes_max: usize,
    /// From the first byte of a connection, or from the end of its previous session, to WELCOME. Default 10 s.
    pub handshake_timeout: Duration,
    /// WAMP bytes taken from a connection before WELCOME. Default 16 KiB.
    pub handshake_bytes_max: usize,
    /// Bytes taken of one message before WELCOME, of the head of an HTTP request, and of a TLS handshake without client certificates:
    /// what a connection of somebody unknown can have kept. Default 4 KiB.
    pub handshake_message_bytes_max: usize,
    /// Bytes an outbox holds for a session that does not read. Default 16 MiB; events use at most half of it.
    pub outbox_bytes_max: usize,
    /// Messages an outbox holds for a session that does not read. Default 65,536; events use at most half of it.
    pub outbox_messages_max: usize,
    /// Silence of a WebSocket peer after which it is pinged. Default 10 s.
    pub ping_after: Duration,
    /// Silence of a WebSocket peer, or unacknowledged data of a RawSocket peer, after which it is taken for dead. Default 30 s.
    pub dead_after: Duration,
    /// How long a session may keep more than half an outbox of replies unread before it is ended. Default 30 s.
    pub slow_consumer_after: Duration,
    /// How long the answer to GOODBYE waits for the commit that frees the session's registrations. Default 1 s.
    pub goodbye_commit_timeout: Duration,
    /// How long a closing connection may take to read its last messages and to close its side. Default 2 s.
    pub close_timeout: Duration,
    /// How deep options, details and payloads may nest; see [`crate::wamp::codec::Limits`].
    pub codec: crate::wamp::codec::Limits,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 20,
            handshake_timeout: Duration::from_secs(10),
            handshake_bytes_max: 16 << 10,
            handshake_message_bytes_max: 4 << 10,
            outbox_bytes_max: 16 << 20,
            outbox_messages_max: 65_536,
            ping_after: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
            slow_consumer_after: Duration::from_secs(30),
            goodbye_commit_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_secs(2),
            codec: crate::wamp::codec::Limits::default(),
        }
    }
}
