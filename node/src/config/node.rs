//! `[node]`: who this node is and what it takes of its machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The node itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// The node's name, unique in its cluster: letters, digits, `-`, `_` and `.`, at most 63. It stands in logs, in the entry of
    /// `cluster.peers` that is this node, and in the node's certificate. Default `n1`.
    pub name: String,
    /// Threads that serve clients; `0` takes one per core, which suits a machine of its own. Raft and the other control traffic
    /// have a thread apart. Fewer threads save memory on small boards, more than the cores only adds switching.
    pub worker_threads: usize,
    /// Seconds a stopping node gives the sessions that are left, or that were all told at once, to say goodbye before their connections are
    /// closed. Default 5; `[drain]` has what comes before. Too small cuts answers off, too large delays a restart.
    pub drain_secs: u64,
    /// File with the Ed25519 key with which this node proves itself to clients of `cryptosign` that ask for it: 64 digits of hex,
    /// readable by the node's user only. Best the same on all nodes. Default none: it does not.
    pub cryptosign_key: Option<PathBuf>,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "n1".to_owned(),
            worker_threads: 0,
            drain_secs: 5,
            cryptosign_key: None,
        }
    }
}

impl Node {
    /// True if `name` may name a node.
    pub fn is_name(name: &str) -> bool {
        (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    }
}
