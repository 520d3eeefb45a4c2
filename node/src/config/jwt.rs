//! `[[realm.jwt]]`: an issuer of JSON Web Tokens that clients may show as tickets.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::auth::jwt::Algorithm;

/// One issuer. A client shows its token with the method `ticket`; the session ends when the token does, unless the client shows a newer
/// one by `ringfort.session.refresh`. Principals of the realm are not taken from tokens. The same list on every node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jwt {
    /// What the claim `iss` has to be. Required, unique within the realm.
    pub issuer: String,
    /// What the claim `aud` has to be, or hold: the name under which the issuer knows this router. Required.
    pub audience: String,
    /// A file with the issuer's public keys, a JWK set. Read again when it changes. Either this or `keys_url`.
    pub keys_file: Option<PathBuf>,
    /// An https URL of such a set. Asked every five minutes, and when a token names a key that is not known. Default none.
    pub keys_url: String,
    /// The PEM file of the authorities that the server of `keys_url` is checked against, such as `/etc/ssl/certs/ca-certificates.crt`.
    /// Required with `keys_url`.
    pub keys_ca: Option<PathBuf>,
    /// The algorithms that are taken, of `RS256`, `ES256` and `EdDSA`. Default all three. There are no others.
    pub algorithms: Vec<String>,
    /// How far the clocks of issuer and node may differ, in seconds, 0 to 300. A token counts that much longer. Default 5.
    pub leeway_secs: u32,
    /// The claim that names the session (`authid`). Dots lead into claims that are objects. Default `sub`.
    pub authid_claim: String,
    /// The claim that gives the role: a text, or a list of which the first counts that is among `roles`. Dots lead into claims that are
    /// objects, as in `realm_access.roles`. Default `role`.
    pub role_claim: String,
    /// The roles that tokens may give, the best first. A token that gives none of them is refused. Default none.
    pub roles: Vec<String>,
    /// The role of tokens that have no such claim. Default none: they are refused.
    pub role: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            keys_file: None,
            keys_url: String::new(),
            keys_ca: None,
            algorithms: ["RS256", "ES256", "EdDSA"].map(str::to_owned).to_vec(),
            leeway_secs: 5,
            authid_claim: "sub".to_owned(),
            role_claim: "role".to_owned(),
            roles: Vec::new(),
            role: String::new(),
        }
    }
}

impl Jwt {
    /// Says what is wrong with it: the key, what, and the remedy.
    pub(super) fn check(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let mut wrong = Vec::new();
        let mut demand = |fine: bool, key, what, remedy| {
            if !fine {
                wrong.push((key, what, remedy));
            }
        };
        demand(
            !self.issuer.is_empty(),
            "issuer",
            "missing",
            "write what the claim iss of the tokens says",
        );
        demand(
            !self.audience.is_empty(),
            "audience",
            "missing",
            "write what the claim aud of the tokens says",
        );
        let either = self.keys_file.is_some() == self.keys_url.is_empty();
        demand(
            either,
            "keys_file",
            "the public keys have one place",
            "write either keys_file or keys_url",
        );
        demand(
            self.keys_url.is_empty() || self.keys_url.starts_with("https://"),
            "keys_url",
            "not an https URL",
            "write https://…, or fetch the keys into keys_file yourself",
        );
        demand(
            self.keys_url.is_empty() || self.keys_ca.is_some(),
            "keys_ca",
            "missing",
            "name the PEM file of the authorities that the server is checked against",
        );
        let known = |name: &String| Algorithm::from_name(name).is_some();
        demand(
            !self.algorithms.is_empty() && self.algorithms.iter().all(known),
            "algorithms",
            "not a list of known algorithms",
            "write some of RS256, ES256, EdDSA",
        );
        demand(self.leeway_secs <= 300, "leeway_secs", "too long", "write 0 to 300");
        demand(
            !self.authid_claim.is_empty(),
            "authid_claim",
            "missing",
            "name the claim that holds the authid, such as sub",
        );
        demand(
            !self.roles.is_empty() || !self.role.is_empty(),
            "roles",
            "no token could give a role",
            "list the roles that tokens may give, or write role for those that give none",
        );
        wrong
    }
}
