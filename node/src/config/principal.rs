//! `[[principal]]`: somebody who may join a realm with a credential.

use serde::{Deserialize, Serialize};

use super::Secret;

/// One principal. It needs at least one credential; which methods a client may use follows from those it has.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Principal {
    /// The realm it may join; one of `[[realm]]`. Required.
    pub realm: String,
    /// The name it authenticates as. Required, unique within its realm.
    pub authid: String,
    /// The role its sessions get. Required.
    pub role: String,
    /// The secret it presents with the authentication method `ticket`, at least 8 characters; best a long random text, since it goes
    /// over the wire. Never logged. Better given as `RINGFORT__PRINCIPAL__0__TICKET` than written into a file that others can read.
    /// Default none.
    pub ticket: Secret,
    /// The secret it signs challenges with in the method `wampcra`, at least 8 characters. Never logged. Default none.
    pub wampcra: Secret,
    /// Iterations of PBKDF2 by which a client of `wampcra` derives its key. Default 1000, what clients are used to; `0` signs with the
    /// secret itself, for clients that cannot derive one.
    pub wampcra_iterations: u32,
    /// The password it proves with the methods `wamp-scram` and `scram`, at least 8 characters. Never logged. Default none.
    pub scram: Secret,
    /// How clients salt that password: `pbkdf2` or `argon2id13`. Default `pbkdf2`, which all clients have.
    pub scram_kdf: ScramKdf,
    /// Its cost: iterations of PBKDF2, or passes of Argon2id. Default 10000. With `argon2id13` write a few, such as 3. The client pays
    /// it at every login, this node once for each such principal at its start.
    pub scram_iterations: u32,
    /// Memory in KiB for `argon2id13`. Default 65536. Small devices need less.
    pub scram_memory: u32,
    /// Ed25519 public keys, each 64 digits of hex, for the method `cryptosign`. Default none.
    pub public_keys: Vec<String>,
    /// Client certificates for the method `tls`, each as `sha256:FINGERPRINT`, `uri:URI`, `dns:NAME`, `email:ADDRESS` or `cn:NAME`. The
    /// listener must ask for them; see `listener.tls.client_certificates`. Default none.
    pub certificates: Vec<String>,
    /// Credentials without their secrets, as `ringfort credential` prints them. Default none. To be kept like secrets, and worth
    /// less: passwords can only be guessed from them, one by one.
    pub verifiers: Vec<Secret>,
}

/// How clients salt a password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScramKdf {
    /// PBKDF2 with HMAC-SHA-256.
    #[default]
    Pbkdf2,
    /// Argon2id version 1.3.
    Argon2id13,
}

impl Default for Principal {
    fn default() -> Self {
        Self {
            realm: String::new(),
            authid: String::new(),
            role: String::new(),
            ticket: Secret::default(),
            wampcra: Secret::default(),
            wampcra_iterations: 1000,
            scram: Secret::default(),
            scram_kdf: ScramKdf::Pbkdf2,
            scram_iterations: 10_000,
            scram_memory: 65_536,
            public_keys: Vec::new(),
            certificates: Vec::new(),
            verifiers: Vec::new(),
        }
    }
}

impl Principal {
    /// The KDF of its password.
    pub fn kdf(&self) -> crate::auth::kdf::Kdf {
        use crate::auth::kdf::Kdf;
        let iterations = self.scram_iterations;
        match self.scram_kdf {
            ScramKdf::Pbkdf2 => Kdf::Pbkdf2 { iterations },
            ScramKdf::Argon2id13 => Kdf::Argon2id {
                memory: self.scram_memory,
                iterations,
            },
        }
    }

    /// Its secrets, as long as they are given in clear.
    pub fn secrets(&self) -> [(&'static str, &Secret); 3] {
        [("ticket", &self.ticket), ("wampcra", &self.wampcra), ("scram", &self.scram)]
    }

    /// The text forms of the credentials that hold no secret in clear, each with the key it stands under.
    pub fn credentials(&self) -> impl Iterator<Item = (String, String)> {
        let numbered = |key: &'static str, prefix: &'static str, list: Vec<String>| {
            let each = list.into_iter().enumerate();
            each.map(move |(at, text)| (format!("{key}[{at}]"), format!("{prefix}{text}")))
        };
        let verifiers = self.verifiers.iter().map(|one| one.expose().to_owned()).collect();
        numbered("public_keys", "cryptosign:", self.public_keys.clone())
            .chain(numbered("certificates", "tls:", self.certificates.clone()))
            .chain(numbered("verifiers", "", verifiers))
    }
}
