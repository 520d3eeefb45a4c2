//! `[node]`: who this node is and what it takes of its machine.

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
    /// Seconds a stopping node gives its sessions to say goodbye before their connections are closed. Default 5; keep it below
    /// the grace period of whatever stops the process. Too small cuts answers off, too large delays a restart.
    pub drain_secs: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "n1".to_owned(),
            worker_threads: 0,
            drain_secs: 5,
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
