//! `[observability]`: the port for probes and metrics.

use serde::{Deserialize, Serialize};

use super::Bind;

/// The observability port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observability {
    /// IP address and port of health and metrics, or `off`. Default `127.0.0.1:7600`. It shows numbers, never payload; still,
    /// open it to other machines only inside a network of your own.
    pub address: Bind,
}

impl Default for Observability {
    fn default() -> Self {
        Self { address: Bind::loopback(7600) }
    }
}
