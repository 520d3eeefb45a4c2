//! `[admin]`: the port from which the node is looked at and steered.

use serde::{Deserialize, Serialize};

use super::Bind;

/// The admin port.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// IP address and port of the admin interface, or `off`. Default `127.0.0.1:7500`. Only loopback addresses are taken:
    /// whoever reaches this port is trusted.
    pub address: Bind,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            address: Bind::loopback(7500),
        }
    }
}
