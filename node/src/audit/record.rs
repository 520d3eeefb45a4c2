//! What a record says, and how it is chained to the one before.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::wamp::timestamp;

/// What happened. Fields that do not apply are left out of the record.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Event {
    /// `refused`, `change`, `revoked`, `tap`, `start`, `stop`, `mended` or `dropped`.
    pub kind: &'static str,
    /// Of a refusal: which wall. Of a change: `asked`, `done` or `failed`. Of a tap: `begun` or `ended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'static str>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked for it, of those who use the admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Where the connection came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// By which of the node's addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<SocketAddr>,
    /// The realm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// Whose session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authid: Option<String>,
    /// Its role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// What was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// What stood before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<serde_json::Value>,
    /// What stands after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<serde_json::Value>,
    /// The revision of what was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// The place of the change in the replicated log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Nodes that have not said in time that a change is in force there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<String>,
    /// How many there were: of refusals alike within a second, of records dropped, of bytes cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What a session has lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
    /// The version of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a session has lost with a right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Calls that ended.
    pub calls: usize,
    /// Registrations that were taken back.
    pub registrations: usize,
    /// Subscriptions that ended.
    pub subscriptions: usize,
}

/// The newest record on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number, 0 before the first.
    pub seq: u64,
    /// The SHA-256 of its line, as hex; zeros before the first.
    pub hash: String,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at: String,
    node: &'a str,
    #[serde(flatten)]
    event: &'a Event,
    prev: &'a str,
}

/// What the chain needs of a line.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) prev: String,
}

impl Event {
    /// An event of that kind, about nothing yet.
    pub fn of(kind: &'static str) -> Self {
        Self { kind, ..Self::default() }
    }
}

impl Head {
    /// Before the first record.
    pub(super) fn none() -> Self {
        Self {
            seq: 0,
            hash: "0".repeat(64),
        }
    }

    /// The record of a line, without its line feed.
    pub(super) fn of(seq: u64, line: &[u8]) -> Self {
        Self { seq, hash: hash(line) }
    }

    /// Appends the record that follows, with its line feed, and is it then.
    pub(super) fn append(&mut self, node: &str, at_micros: u64, event: &Event, text: &mut Vec<u8>) -> serde_json::Result<()> {
        let line = serde_json::to_vec(&Line {
            seq: self.seq + 1,
            at: timestamp::format(at_micros),
            node,
            event,
            prev: &self.hash,
        })?;
        *self = Self::of(self.seq + 1, &line);
        text.extend_from_slice(&line);
        text.push(b'\n');
        Ok(())
    }
}

/// The SHA-256 of a line, as hex.
pub(super) fn hash(line: &[u8]) -> String {
    let digest = Sha256::digest(line);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Longer texts of clients are cut: what they say is theirs to choose.
const TEXT_BYTES_MAX: usize = 256;

/// A text of a client, as far as a record takes it; `None` for an empty one.
pub(super) fn text(given: &str) -> Option<String> {
    if given.len() <= TEXT_BYTES_MAX {
        return Some(given).filter(|given| !given.is_empty()).map(str::to_owned);
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|end| given.is_char_boundary(*end));
    Some(format!("{}…", &given[..end.unwrap_or(0)]))
}
