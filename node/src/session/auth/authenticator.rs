//! Who a client is that names no principal of the realm: a procedure that a client of the realm has registered is asked.
//!
//! It is called with the realm, the authid and details (`authmethod`, `authextra`, `source`, and for `ticket` the ticket), and answers
//! with the role, or a dict:
//!
//! | method | asked | the dict has, beside `role`, and `authid` and `extra` if it likes |
//! |---|---|---|
//! | `ticket` | at AUTHENTICATE | nothing: it has judged the ticket itself |
//! | `wampcra` | at HELLO | `secret`; with `salt`, `iterations` and `keylen` the derived key |
//! | `wamp-scram`, `scram` | at HELLO | `kdf`, `salt` (base64), `iterations`, `memory`, `stored-key`, `server-key` (hex or base64) |
//! | `cryptosign` | at HELLO | `pubkey` or `pubkeys` (hex) |
//! | all but `ticket` | | or, in place of these, `credential`, as `ringfort credential` prints it |
//!
//! An error, an answer that cannot be read, nobody there to ask, and no answer in time are all the same: nobody of that name is known, and
//! the exchange goes on with a stand-in. Refusals take their time, so that none of these is told from a wrong secret by that.
//!
//! Spec: none; the shape is that of Crossbar's dynamic authenticators.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::Semaphore;

use super::{Identity, PeerFacts};
use crate::{
    auth::{
        Credential, Principal, Principals, Secret,
        cryptosign::unhex,
        kdf::Kdf,
        scram::{KeyPair, ScramKeys},
        wampcra::{CraKey, KEYLEN, Salting},
    },
    session::realm::RealmHandle,
    wamp::{Dict, Payload, Serializer, Uri, Value},
};

/// A procedure that says who clients are.
#[derive(Debug)]
pub struct Authenticator {
    realm: RealmHandle,
    procedure: Uri,
    timeout: Duration,
    permits: Semaphore,
}

/// Questions of a realm that are open at a time; others wait, within their timeout.
const OPEN_MAX: usize = 64;
/// A refusal in a realm with an authenticator comes no sooner than this after AUTHENTICATE.
pub(super) const REFUSAL_AFTER: Duration = Duration::from_millis(250);
/// The longest name and role taken from an answer, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Whom an authenticator knows.
#[derive(Debug)]
pub struct Learned {
    /// What it proves itself with; nothing where the authenticator has judged that.
    pub principal: Arc<Principal>,
    /// What WELCOME tells it beside.
    pub extra: Option<Dict>,
}

impl Authenticator {
    /// The procedure of that name in a realm.
    pub fn new(realm: RealmHandle, procedure: Uri, timeout: Duration) -> Self {
        Self {
            realm,
            procedure,
            timeout,
            permits: Semaphore::new(OPEN_MAX),
        }
    }

    /// Asks who that is. `None`: nobody, as far as can be known. Principals of the realm are not its to name.
    pub(in crate::session) async fn ask(
        &self,
        method: &'static str,
        authid: Option<&str>,
        details: Dict,
        principals: &Principals,
    ) -> Option<Learned> {
        let authid = authid.filter(|authid| !authid.is_empty());
        let name = authid.map_or(Value::Null, Value::from);
        let args = [Value::from(&**self.realm.name()), name, Value::from(details)];
        let payload = Payload::from_values(Serializer::Cbor, &args, &Dict::new());
        let asked = async {
            // Never closed.
            let _permit = self.permits.acquire().await.ok()?;
            Some(self.realm.ask(self.procedure.clone(), payload, self.timeout).await)
        };
        let outcome = tokio::time::timeout(self.timeout, asked).await.ok()??;
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(realm = %self.realm.name(), %error, "an authenticator knows nobody of that name");
                return None;
            }
        };
        let learned = read(method, authid, &answer);
        let Some(learned) = learned else {
            tracing::warn!(realm = %self.realm.name(), method, "the answer of an authenticator cannot be read");
            return None;
        };
        principals.by_authid(&learned.principal.authid).is_none().then_some(learned)
    }
}

impl Learned {
    /// Who has proved to be that.
    pub(super) fn identity(self, method: &'static str) -> Identity {
        Identity {
            authprovider: "dynamic",
            extra: self.extra.map(Box::new),
            ..Identity::new(self.principal.authid.clone(), self.principal.role.clone(), method)
        }
    }
}

/// What an authenticator is told beside realm and authid.
pub(in crate::session) fn details(method: &str, extra: Option<&Dict>, peer: &PeerFacts) -> Dict {
    Dict::new()
        .with("authmethod", method)
        .with("authextra", extra.cloned().unwrap_or_default())
        .with("source", peer.source.to_string().as_str())
        .with("tls", peer.tls.is_some())
}

fn read(method: &str, authid: Option<&str>, answer: &Payload) -> Option<Learned> {
    let (mut args, kwargs) = answer.to_values().ok()?;
    let dict = match (args.is_empty(), kwargs) {
        (true, kwargs) => kwargs,
        (false, _) => match args.swap_remove(0) {
            Value::Text(role) => Dict::new().with("role", role.as_str()),
            Value::Dict(dict) => dict,
            _ => return None,
        },
    };
    let name = |text: &str| !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    let principal = Principal {
        authid: dict.text("authid").or(authid).filter(|authid| name(authid))?.to_owned(),
        role: dict.text("role").filter(|role| name(role))?.to_owned(),
        credentials: credentials(method, &dict)?,
    };
    Some(Learned {
        principal: Arc::new(principal),
        extra: dict.get("extra").and_then(Value::as_dict).cloned(),
    })
}

/// What the client has to prove, by what the answer says; nothing for `ticket`. `None`: it says too little.
fn credentials(method: &str, dict: &Dict) -> Option<Vec<Credential>> {
    let is = match method {
        "ticket" => return Some(Vec::new()),
        _ => super::challenge::needs(method)?,
    };
    if let Some(text) = dict.text("credential") {
        let credential: Credential = text.parse().ok()?;
        return is(&credential).then(|| vec![credential]);
    }
    match method {
        "wampcra" => cra(dict).map(|key| vec![Credential::WampCra(key)]),
        "wamp-scram" | "scram" => scram(dict).map(|keys| vec![Credential::Scram(keys)]),
        _ => {
            let one = dict.get("pubkey").into_iter();
            let list = match dict.get("pubkeys") {
                Some(Value::List(list)) => list.as_slice(),
                _ => &[],
            };
            let keys = one.chain(list).map(|key| unhex(key.as_text()?).map(Credential::CryptoSign));
            let keys: Vec<Credential> = keys.collect::<Option<_>>()?;
            (!keys.is_empty()).then_some(keys)
        }
    }
}

fn cra(dict: &Dict) -> Option<CraKey> {
    let secret = dict.text("secret").filter(|secret| (1..=1024).contains(&secret.len()))?;
    let Some(salt) = dict.text("salt") else {
        return Some(CraKey::plain(secret.as_bytes()));
    };
    // What is not there is what clients are used to; what is there has to make sense.
    let or = |name: &str, usual| match dict.get(name) {
        None | Some(Value::Null) => Some(usual),
        Some(_) => number(dict, name),
    };
    let (iterations, keylen) = (or("iterations", 1000)?, or("keylen", KEYLEN)?);
    let sane = (Kdf::Pbkdf2 { iterations }).is_sane() && (16..=64).contains(&keylen) && salt.len() <= 256;
    sane.then(|| CraKey {
        key: Secret::new(secret.as_bytes()),
        salting: Some(Salting {
            salt: salt.to_owned(),
            iterations,
            keylen,
        }),
    })
}

fn scram(dict: &Dict) -> Option<ScramKeys> {
    let iterations = number(dict, "iterations")?;
    let kdf = match dict.text("kdf")? {
        "pbkdf2" => Kdf::Pbkdf2 { iterations },
        "argon2id13" | "argon2id-13" => Kdf::Argon2id {
            memory: number(dict, "memory")?,
            iterations,
        },
        _ => return None,
    };
    let salt = BASE64_STANDARD.decode(dict.text("salt")?).ok()?;
    let key = |name: &str| {
        let text = dict.text(name)?;
        unhex(text).or_else(|| BASE64_STANDARD.decode(text).ok()?.try_into().ok())
    };
    let keys = KeyPair {
        stored: key("stored-key")?,
        server: key("server-key")?,
    };
    (kdf.is_sane() && (8..=64).contains(&salt.len())).then_some(ScramKeys {
        kdf,
        salt,
        keys,
        autobahn: None,
    })
}

fn number(dict: &Dict, name: &str) -> Option<u32> {
    u32::try_from(dict.get(name)?.as_integer()?).ok()
}

#[cfg(test)]
#[path = "authenticator_tests.rs"]
mod tests;
