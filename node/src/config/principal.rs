//! `[[principal]]`: somebody who may join a realm with a credential.

use serde::{Deserialize, Serialize};

use super::Secret;

/// One principal.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Principal {
    /// The realm it may join; one of `[[realm]]`. Required.
    pub realm: String,
    /// The name it authenticates as. Required, unique within its realm.
    pub authid: String,
    /// The role its sessions get. Required.
    pub role: String,
    /// The secret it presents with the authentication method `ticket`, at least 8 characters. Required; never logged. Better
    /// given as `RINGFORT__PRINCIPAL__0__TICKET` than written into a file that others can read.
    pub ticket: Secret,
}
