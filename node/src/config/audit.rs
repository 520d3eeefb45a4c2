//! `[audit]`: the record of refusals, changes of rights and revocations.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The audit log of this node: JSON lines, each with the SHA-256 of the one before; `ringfort audit verify` checks them. Who was
/// refused what, who changed which rights, whose sessions ended for it; never a credential.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// The file; made, for its owner alone, if missing. Default none: nothing is kept. Where it is set and cannot be opened, the
    /// node does not start; where it cannot be written, no change of rights is made through this node. Records are synced to the disk
    /// in batches; a change is answered once its own are there.
    pub path: Option<PathBuf>,
    /// Bytes after which a new file is begun. Default 67108864. The former one stays beside it, with the number of its first record
    /// behind its name. At least 4096.
    pub rotate_bytes: u64,
    /// How many of those are kept. Default 10; the oldest goes first.
    pub keep: usize,
    /// Kinds of refusals (source, wall, reason) that are held within a second. Default 4096. They are written once a second with how many
    /// there were of each; beyond, they are counted, and a record says how many. Changes and revocations are always kept. At most 1000000.
    pub refusals_max: usize,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            path: None,
            rotate_bytes: 64 << 20,
            keep: 10,
            refusals_max: 4_096,
        }
    }
}
