//! `[observability]`: the port for probes and metrics, which is to come.

use serde::{Deserialize, Serialize};

use super::Bind;

/// The observability port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observability {
    /// `off`, the default and the only value in this version: health is answered on the admin port (`/healthz`, `/readyz`), and
    /// there are no metrics yet.
    pub address: Bind,
}

impl Default for Observability {
    fn default() -> Self {
        Self { address: Bind(None) }
    }
}
