//! `[observability]`: the port for probes and metrics.

use serde::{Deserialize, Serialize};

use super::{Bind, Traces};

/// The observability port: plain HTTP, for those who watch the node. It answers `/metrics` (Prometheus), `/livez`, `/readyz` and
/// `/startupz`, changes nothing and shows no payload, URI, session or secret. docs/metrics.md says what is measured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observability {
    /// IP address and port, or `off`, the default: then nothing is measured beyond what each part counts for itself, and
    /// health is answered on the admin port alone (`/healthz`, `/readyz`). `127.0.0.1:7600` serves this machine, `0.0.0.0:7600` a
    /// Prometheus elsewhere; names of realms and nodes and the amount of traffic are then seen by whoever reaches the port.
    pub address: Bind,
    /// Traces of single calls and publications; see `[observability.traces]`. Default none.
    pub traces: Traces,
}

impl Default for Observability {
    fn default() -> Self {
        Self {
            address: Bind(None),
            traces: Traces::default(),
        }
    }
}
