//! From HELLO to WELCOME, as a pure state machine: no socket, no clock.
//!
//! Spec: WAMP basic profile, "Session Establishment"; advanced profile, "Authentication".

use std::{fmt, pin::Pin, sync::Arc};

use super::{
    auth::{
        Begin, Challenged, Identity, NoMethod, Offer, PeerFacts, Pending, Promise, Verified, anonymous, authenticator, cookie,
        guard::Attempt,
    },
    realm::{RealmEntry, RealmHandle, Realms, Terms},
};
use crate::{
    audit::Refusal,
    auth::throttle::Verdict,
    router::{Compat, SessionInfo, Whence, features},
    wamp::{Dict, Message, Payload, SessionId, Uri, Value, error_uri},
};

/// A connection on which no session is established yet.
pub struct Handshake {
    realms: Arc<Realms>,
    peer: Arc<PeerFacts>,
    state: State,
    /// An attempt that is being judged beside; its owner polls it.
    pub(super) judging: Option<Pin<Box<dyn Future<Output = Verified> + Send>>>,
    /// How it was judged.
    pub(super) verified: Option<Verified>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum State {
    /// HELLO is due.
    Closed,
    /// CHALLENGE was sent, AUTHENTICATE is due.
    Authenticating {
        realm: RealmEntry,
        features: Vec<String>,
        pending: Pending,
    },
    /// An authenticator is asked who HELLO is from.
    Asking {
        realm: RealmEntry,
        features: Vec<String>,
        method: &'static str,
        authid: Option<String>,
        extra: Option<Dict>,
    },
    /// AUTHENTICATE is being judged.
    Judging {
        realm: RealmEntry,
        features: Vec<String>,
        authid: String,
    },
    /// It is over, one way or the other.
    Over,
}

/// What to do after a message.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the next message.
    Send(Message),
    /// Find this out, then [`Handshake::on_verified`]. Meanwhile nothing else may come.
    Ask(Asking),
    /// Judge this, then [`Handshake::on_verified`]. Meanwhile nothing else may come.
    Judge(Box<Attempt>),
    /// The peer may join: draw a session id, then [`Accepted::welcome`].
    Accepted(Box<Accepted>),
    /// Send this ABORT and close the transport.
    Abort(Message),
    /// Close the transport; the client has aborted, which is not answered.
    Close,
}

/// A question to an authenticator.
pub struct Asking(pub Pin<Box<dyn Future<Output = Verified> + Send>>);

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

/// A peer that may join a realm.
#[derive(Debug)]
pub struct Accepted {
    /// The realm.
    pub realm: RealmHandle,
    /// Who it is.
    pub info: SessionInfo,
    /// The id its session was promised, if it was.
    pub session: Option<Promise>,
    /// What WELCOME tells it beside.
    pub extra: Option<Box<Dict>>,
    /// What has to hold when it joins, and how long it may stay.
    pub terms: Terms,
}

impl Accepted {
    /// The WELCOME for the session id it got.
    pub fn welcome(&self, session: SessionId) -> Message {
        let info = &self.info;
        let mut details = Dict::new()
            .with("roles", features::announced_roles())
            .with("agent", concat!("Ringfort/", env!("CARGO_PKG_VERSION")))
            .with("realm", self.realm.name().as_str())
            .with("authid", info.authid.as_str())
            .with("authrole", info.authrole.as_str())
            .with("authmethod", info.authmethod.as_str())
            .with("authprovider", info.authprovider.as_str());
        if let Some(extra) = &self.extra {
            details.set("authextra", (**extra).clone());
        }
        Message::Welcome { session, details }
    }
}

/// How many features a client may announce. WAMP knows some forty; they are kept while it authenticates.
const FEATURES_MAX: usize = 128;

/// The client roles of WAMP.
const ROLES: [&str; 4] = ["publisher", "subscriber", "caller", "callee"];

impl Handshake {
    /// A connection that is to say HELLO.
    pub fn new(realms: Arc<Realms>, peer: Arc<PeerFacts>) -> Self {
        Self {
            realms,
            peer,
            state: State::Closed,
            judging: None,
            verified: None,
        }
    }

    /// Judges the next message.
    pub fn on_message(&mut self, message: Message) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), message) {
            (_, Message::Abort { .. }) => Step::Close,
            (State::Closed, Message::Hello { realm, details }) => self.on_hello(&realm, &details),
            (
                State::Authenticating {
                    realm,
                    features,
                    pending,
                },
                Message::Authenticate { signature, extra },
            ) => self.on_authenticate(realm, features, pending, signature, extra),
            (State::Authenticating { .. }, _) => violation("AUTHENTICATE is due"),
            (State::Judging { .. } | State::Asking { .. }, _) => violation("WELCOME is to be waited for"),
            (State::Closed | State::Over, _) => violation("no session is established; HELLO is due"),
        }
    }

    /// Takes how an attempt was judged.
    pub fn on_verified(&mut self, verified: Verified) -> Step {
        match (std::mem::replace(&mut self.state, State::Over), verified) {
            (State::Judging { realm, features, authid }, verified) => self.on_judged(realm, features, &authid, verified),
            (
                State::Asking {
                    realm,
                    features,
                    method,
                    authid,
                    extra,
                },
                Verified::Learned(learned),
            ) => {
                let offer = Offer {
                    methods: &[method],
                    authid: authid.as_deref(),
                    extra: extra.as_ref(),
                };
                let cluster = realm.handle.cluster();
                let learned = learned.map(|learned| *learned);
                let begun = realm
                    .auth
                    .begin_with(method, learned, offer, &self.peer, || Promise::draw(cluster));
                self.on_begun(realm, features, begun, (authid.as_deref(), method))
            }
            _ => violation("no session is established; HELLO is due"),
        }
    }

    fn on_judged(&mut self, realm: RealmEntry, features: Vec<String>, authid: &str, verified: Verified) -> Step {
        let name = realm.handle.name();
        let success = matches!(verified, Verified::As(_));
        self.realms.guard.ended(self.peer.source, name, authid, success);
        match verified {
            Verified::As(identity) => self.accepted(realm, features, *identity),
            Verified::Denied | Verified::Learned(_) => {
                tracing::info!(realm = %name, source = %self.peer.source, "a client failed to authenticate");
                self.note_refusal("credential not accepted", name, Some(authid), "");
                denied(NOT_ACCEPTED)
            }
        }
    }

    fn on_authenticate(
        &mut self,
        realm: RealmEntry,
        features: Vec<String>,
        pending: Pending,
        signature: String,
        extra: Dict,
    ) -> Step {
        let authid = pending.authid().to_owned();
        let delay = match self.realms.guard.begin(self.peer.source, realm.handle.name(), &authid) {
            Verdict::After(delay) => delay,
            Verdict::Refused => {
                self.note_refusal("too many failures", realm.handle.name(), Some(&authid), "");
                return denied(TOO_OFTEN);
            }
        };
        self.state = State::Judging { realm, features, authid };
        Step::Judge(Box::new(Attempt {
            pending,
            signature,
            extra,
            delay,
            peer: Arc::clone(&self.peer),
        }))
    }

    fn accepted(&self, realm: RealmEntry, features: Vec<String>, identity: Identity) -> Step {
        if let (Some(cookie), Some(principal)) = (&self.peer.cookie, &identity.principal)
            && identity.authmethod != cookie::METHOD
        {
            self.realms.guard.cookies.bind(cookie, realm.handle.name(), principal);
        }
        let terms = Terms {
            principal: identity
                .principal
                .map(|principal| (Arc::clone(&realm.auth.principals), principal)),
            bearer: identity.bearer,
        };
        let info = SessionInfo {
            authid: identity.authid,
            authrole: identity.authrole,
            authmethod: identity.authmethod.to_owned(),
            authprovider: identity.authprovider.to_owned(),
            trustlevel: self.peer.trustlevel.map(u64::from),
            features,
            // Its listener knows, and the task with it.
            compat: Compat::default(),
            bounds: crate::router::Bounds::default(),
            whence: Some(Whence {
                source: self.peer.source,
                listener: self.peer.listener,
            }),
        };
        Step::Accepted(Box::new(Accepted {
            realm: realm.handle,
            info,
            session: identity.session,
            extra: identity.extra,
            terms,
        }))
    }

    /// Has the audit log keep that the peer was turned away.
    fn note_refusal(&self, reason: &'static str, realm: &str, authid: Option<&str>, what: &str) {
        self.realms.audit.refused(&Refusal {
            source: Some(self.peer.source),
            listener: self.peer.listener,
            realm,
            authid: authid.unwrap_or_default(),
            what,
            ..Refusal::of("authentication", reason)
        });
    }

    fn on_hello(&mut self, realm: &Uri, details: &Dict) -> Step {
        let hello = match Hello::check(details) {
            Ok(hello) => hello,
            Err(fault) => return violation(fault),
        };
        if !realm.is_loose() {
            return abort(error_uri::INVALID_URI, "the realm is not a URI");
        }
        let Some(realm) = self.realms.get(realm).cloned() else {
            self.note_refusal("no such realm", realm, hello.authid, "");
            return abort(error_uri::NO_SUCH_REALM, "there is no such realm");
        };
        let offer = Offer {
            methods: &hello.authmethods,
            authid: hello.authid,
            extra: hello.authextra,
        };
        let (guard, cluster) = (&self.realms.guard, realm.handle.cluster());
        if let Some(method) = realm.auth.asks_about(realm.handle.name(), offer, &self.peer, &guard.cookies) {
            return self.ask(realm, hello, method);
        }
        let begun = realm.auth.begin(realm.handle.name(), offer, &self.peer, &guard.cookies, || {
            Promise::draw(cluster)
        });
        let offered = hello.authmethods.join(",");
        self.on_begun(realm, hello.features, begun, (hello.authid, &offered))
    }

    /// Has the authenticator asked who HELLO is from, unless there were too many failures already.
    fn ask(&mut self, realm: RealmEntry, hello: Hello<'_>, method: &'static str) -> Step {
        let authid = hello.authid.map(str::to_owned);
        let name = authid.as_deref().unwrap_or_default();
        let Some(authenticator) = realm.auth.authenticator.clone() else {
            return denied(NOT_ACCEPTED);
        };
        if self.realms.guard.refuses(self.peer.source, realm.handle.name(), name) {
            self.note_refusal("too many failures", realm.handle.name(), hello.authid, method);
            return denied(TOO_OFTEN);
        }
        let details = authenticator::details(method, hello.authextra, &self.peer);
        let (principals, asked) = (Arc::clone(&realm.auth.principals), authid.clone());
        self.state = State::Asking {
            realm,
            features: hello.features,
            method,
            authid,
            extra: hello.authextra.cloned(),
        };
        Step::Ask(Asking(Box::pin(async move {
            let learned = authenticator.ask(method, asked.as_deref(), details, &principals).await;
            Verified::Learned(learned.map(Box::new))
        })))
    }

    /// `said` is the authid and the methods that were named.
    fn on_begun(
        &mut self,
        realm: RealmEntry,
        features: Vec<String>,
        begun: Result<Begin, NoMethod>,
        (authid, offered): (Option<&str>, &str),
    ) -> Step {
        let guard = &self.realms.guard;
        match begun {
            Ok(Begin::Known(identity)) => self.accepted(realm, features, identity),
            Ok(Begin::Challenge(challenged)) => {
                let Challenged { method, extra, pending } = *challenged;
                if guard.refuses(self.peer.source, realm.handle.name(), pending.authid()) {
                    self.note_refusal("too many failures", realm.handle.name(), authid, method);
                    return denied(TOO_OFTEN);
                }
                self.state = State::Authenticating {
                    realm,
                    features,
                    pending,
                };
                Step::Send(Message::Challenge {
                    method: method.to_owned(),
                    extra,
                })
            }
            Err(NoMethod::AuthenticationRequired) => {
                self.note_refusal("anonymous not allowed", realm.handle.name(), authid, "anonymous");
                abort(
                    error_uri::AUTHENTICATION_REQUIRED,
                    "this realm takes no anonymous sessions from there",
                )
            }
            Err(NoMethod::NoMatch) => {
                self.note_refusal("no method that it offers", realm.handle.name(), authid, offered);
                abort(
                    error_uri::NO_MATCHING_AUTH_METHOD,
                    "none of the offered authentication methods is for this realm",
                )
            }
        }
    }
}

/// What HELLO.Details say, checked.
struct Hello<'a> {
    /// As `role.feature`, sorted.
    features: Vec<String>,
    /// In the client's order, `anonymous` where it named none.
    authmethods: Vec<&'a str>,
    authid: Option<&'a str>,
    authextra: Option<&'a Dict>,
}

impl<'a> Hello<'a> {
    fn check(details: &'a Dict) -> Result<Self, &'static str> {
        let roles = match details.get("roles") {
            Some(Value::Dict(roles)) => roles,
            Some(_) => return Err("HELLO.Details.roles is not a dict"),
            None => return Err("HELLO.Details.roles is missing"),
        };
        let mut known = 0;
        let mut features = Vec::new();
        for name in ROLES {
            let Some(role) = roles.get(name) else { continue };
            let Value::Dict(role) = role else {
                return Err("a role in HELLO.Details.roles is not a dict");
            };
            known += 1;
            match present(role, "features") {
                None => {}
                Some(Value::Dict(announced)) => {
                    for (feature, on) in &announced.0 {
                        match on {
                            Value::Bool(true) if features.len() >= FEATURES_MAX => {
                                return Err("HELLO.Details.roles names more features than there are");
                            }
                            Value::Bool(true) => features.push(format!("{name}.{feature}")),
                            Value::Bool(false) | Value::Null => {}
                            // What nobody knows is ignored, whatever it is.
                            _ if !features::is_known(feature) => {}
                            _ => return Err("a feature in HELLO.Details.roles is not a boolean"),
                        }
                    }
                }
                Some(_) => return Err("the features of a role in HELLO.Details.roles are not a dict"),
            }
        }
        if known == 0 {
            return Err("HELLO.Details.roles names none of publisher, subscriber, caller, callee");
        }
        features.sort_unstable();
        let mut authmethods = match present(details, "authmethods") {
            None => Vec::new(),
            Some(Value::List(list)) => {
                let methods = list.iter().map(Value::as_text).collect::<Option<Vec<_>>>();
                methods.ok_or("a method in HELLO.Details.authmethods is not a string")?
            }
            Some(_) => return Err("HELLO.Details.authmethods is not a list"),
        };
        if authmethods.is_empty() {
            authmethods.push(anonymous::METHOD);
        }
        // The role asked for is checked for its type and otherwise ignored: what a session may do is not its own to choose.
        text(details, "authrole", "HELLO.Details.authrole is not a string")?;
        text(details, "agent", "HELLO.Details.agent is not a string")?;
        let authextra = present(details, "authextra");
        if authextra.is_some_and(|v| v.as_dict().is_none()) {
            return Err("HELLO.Details.authextra is not a dict");
        }
        Ok(Self {
            features,
            authmethods,
            authid: text(details, "authid", "HELLO.Details.authid is not a string")?,
            authextra: authextra.and_then(Value::as_dict),
        })
    }
}

/// The value under `key`. Choice: a null is taken as absent, since some clients send their unset fields so.
fn present<'a>(dict: &'a Dict, key: &str) -> Option<&'a Value> {
    dict.get(key).filter(|value| **value != Value::Null)
}

fn text<'a>(dict: &'a Dict, key: &str, fault: &'static str) -> Result<Option<&'a str>, &'static str> {
    present(dict, key).map(|value| value.as_text().ok_or(fault)).transpose()
}

/// What somebody hears who has not proved itself, or is not wanted any more by the time it has.
pub(super) const NOT_ACCEPTED: &str = "the credential was not accepted";

/// What somebody who has failed too often hears, whoever it says it is.
const TOO_OFTEN: &str = "too many attempts have failed; try again later";

fn denied(text: &str) -> Step {
    abort(error_uri::AUTHENTICATION_DENIED, text)
}

fn violation(text: &str) -> Step {
    abort(error_uri::PROTOCOL_VIOLATION, text)
}

fn abort(reason: &str, text: &str) -> Step {
    Step::Abort(abort_message(reason, text))
}

/// An ABORT with a text for humans.
pub fn abort_message(reason: &str, text: &str) -> Message {
    Message::Abort {
        details: Dict::new().with("message", text),
        reason: reason.into(),
        payload: Payload::EMPTY,
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
