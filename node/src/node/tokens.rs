//! What the configuration says about tokens, as sessions take it.

use std::sync::Arc;

use crate::{
    auth::jwt::{Algorithm, Rules},
    config,
    session::auth::{
        Tokens,
        key_url::KeyUrl,
        tokens::{Issuer, KeySource, read_keys},
    },
};

/// An issuer whose keys cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("realm {realm}: jwt: the keys of {issuer}: {why}")]
pub struct BadIssuer {
    /// The realm.
    pub realm: String,
    /// The issuer.
    pub issuer: String,
    /// What is wrong.
    pub why: String,
}

/// The issuers a realm trusts; `None` without any. Keys in files are read; those at URLs come later.
///
/// # Errors
/// A file cannot be read, or a URL is none.
pub(super) fn of(realm: &config::Realm) -> Result<Option<Arc<Tokens>>, BadIssuer> {
    let issuers: Vec<Issuer> = realm
        .jwt
        .iter()
        .map(|jwt| {
            issuer(jwt).map_err(|why| BadIssuer {
                realm: realm.name.clone(),
                issuer: jwt.issuer.clone(),
                why,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok((!issuers.is_empty()).then(|| Arc::new(Tokens::new(issuers))))
}

fn issuer(jwt: &config::Jwt) -> Result<Issuer, String> {
    let rules = Rules {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        algorithms: jwt.algorithms.iter().filter_map(|name| Algorithm::from_name(name)).collect(),
        leeway: u64::from(jwt.leeway_secs),
        authid_claim: jwt.authid_claim.clone(),
        role_claim: jwt.role_claim.clone(),
        role: (!jwt.role.is_empty()).then(|| jwt.role.clone()),
        roles: jwt.roles.clone(),
    };
    if let Some(file) = &jwt.keys_file {
        let keys = read_keys(file).map_err(|why| format!("{}: {why}", file.display()))?;
        let issuer = Issuer::new(rules, KeySource::File(file.clone()));
        issuer.set_keys(keys);
        return Ok(issuer);
    }
    let authorities = jwt.keys_ca.as_deref().ok_or("keys_ca is missing")?;
    let url = KeyUrl::new(&jwt.keys_url, authorities).map_err(|why| format!("{}: {why}", jwt.keys_url))?;
    Ok(Issuer::new(rules, KeySource::Url(url)))
}
