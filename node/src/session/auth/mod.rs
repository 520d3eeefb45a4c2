//! Authentication: who a peer is. Each method is a file; none of them knows a socket.
//!
//! Spec: WAMP advanced profile, "Authentication". The client offers methods in order; the first that the realm can carry out is
//! taken. Somebody unknown goes through the same exchange and gets the same answer as somebody with a wrong secret.

pub mod anonymous;
pub mod ticket;

use std::{collections::HashMap, fmt};

pub use anonymous::Anonymous;

/// Who may join a realm, and how.
#[derive(Clone, Debug, Default)]
pub struct RealmAuth {
    /// Who may join without a credential.
    pub anonymous: Anonymous,
    /// The role such sessions get.
    pub anonymous_role: String,
    /// Who may join with one, by authid.
    pub principals: HashMap<String, Principal>,
}

/// Somebody who may join a realm with a credential.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The role its sessions get.
    pub role: String,
    /// What it presents with the method `ticket`; `None` where it cannot use that method.
    pub ticket: Option<Secret>,
}

/// A secret; `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, to be compared.
    fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Somebody whose identity is established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The authenticated name.
    pub authid: String,
    /// The role it acts in.
    pub authrole: String,
    /// How it was authenticated.
    pub authmethod: &'static str,
    /// Who authenticated it.
    pub authprovider: &'static str,
}

/// What is known of a peer before it says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFacts {
    /// Its connection comes from a loopback address.
    pub loopback: bool,
    /// How far those who come this way are trusted, where the listener says so.
    pub trustlevel: Option<u16>,
}

/// A method that waits for AUTHENTICATE.
#[derive(Debug)]
pub enum Pending {
    /// A ticket was asked for.
    Ticket {
        /// Who claims to come.
        authid: String,
    },
}

/// What a method does with HELLO.
#[derive(Debug)]
pub enum Begin {
    /// The peer is known without further words.
    Known(Identity),
    /// Send CHALLENGE with this method and no extra, then wait.
    Challenge(&'static str, Pending),
}

/// Why no method was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMethod {
    /// Only anonymous access was asked for, and this peer may not have it.
    AuthenticationRequired,
    /// None of the offered methods is for this realm.
    NoMatch,
}

impl RealmAuth {
    /// Begins the first of the offered methods that this realm can carry out for this peer.
    ///
    /// # Errors
    /// There is none.
    pub fn begin(&self, offered: &[&str], authid: Option<&str>, peer: PeerFacts) -> Result<Begin, NoMethod> {
        for method in offered {
            match *method {
                anonymous::METHOD if self.anonymous.admits(peer) => {
                    return Ok(Begin::Known(anonymous::identity(&self.anonymous_role)));
                }
                ticket::METHOD if self.principals.values().any(|p| p.ticket.is_some()) => {
                    let authid = authid.unwrap_or_default().to_owned();
                    return Ok(Begin::Challenge(ticket::METHOD, Pending::Ticket { authid }));
                }
                _ => {}
            }
        }
        let only_anonymous = offered.iter().all(|method| *method == anonymous::METHOD);
        Err(if only_anonymous {
            NoMethod::AuthenticationRequired
        } else {
            NoMethod::NoMatch
        })
    }

    /// Judges AUTHENTICATE; `None` for a wrong secret and for somebody unknown alike.
    pub fn finish(&self, pending: Pending, signature: &str) -> Option<Identity> {
        match pending {
            Pending::Ticket { authid } => ticket::verify(self, authid, signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn realm(anonymous: Anonymous) -> RealmAuth {
        let lamp = Principal {
            role: "device".into(),
            ticket: Some(Secret::new("shines")),
        };
        RealmAuth {
            anonymous,
            anonymous_role: "guest".into(),
            principals: HashMap::from([("lamp".into(), lamp)]),
        }
    }

    const HERE: PeerFacts = PeerFacts {
        loopback: true,
        trustlevel: None,
    };
    const AWAY: PeerFacts = PeerFacts {
        loopback: false,
        trustlevel: None,
    };

    #[test]
    fn anonymous_is_admitted_where_the_realm_says_so() {
        for (anonymous, peer, admitted) in [
            (Anonymous::Off, HERE, false),
            (Anonymous::Loopback, HERE, true),
            (Anonymous::Loopback, AWAY, false),
            (Anonymous::On, AWAY, true),
        ] {
            let begun = realm(anonymous).begin(&["anonymous"], Some("root"), peer);
            match begun {
                Ok(Begin::Known(identity)) => {
                    assert!(admitted);
                    assert_eq!((identity.authrole.as_str(), identity.authmethod), ("guest", "anonymous"));
                    assert_ne!(identity.authid, "root");
                }
                Err(NoMethod::AuthenticationRequired) => assert!(!admitted),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_first_offered_method_that_is_possible_is_taken() {
        let realm = realm(Anonymous::On);
        assert!(matches!(
            realm.begin(&["scram", "ticket", "anonymous"], Some("lamp"), AWAY),
            Ok(Begin::Challenge("ticket", _))
        ));
        assert!(matches!(
            realm.begin(&["anonymous", "ticket"], Some("lamp"), AWAY),
            Ok(Begin::Known(_))
        ));
        assert!(matches!(realm.begin(&["scram"], Some("lamp"), AWAY), Err(NoMethod::NoMatch)));
        let nobody = RealmAuth::default();
        assert!(matches!(
            nobody.begin(&["ticket"], Some("lamp"), AWAY),
            Err(NoMethod::NoMatch)
        ));
        assert!(matches!(
            nobody.begin(&["ticket", "anonymous"], Some("lamp"), AWAY),
            Err(NoMethod::NoMatch)
        ));
    }

    #[test]
    fn a_ticket_is_right_wrong_or_of_nobody() {
        let realm = realm(Anonymous::Off);
        let verify = |authid: &str, ticket: &str| realm.finish(Pending::Ticket { authid: authid.into() }, ticket);
        let lamp = verify("lamp", "shines").unwrap();
        assert_eq!(
            (lamp.authid.as_str(), lamp.authrole.as_str(), lamp.authmethod),
            ("lamp", "device", "ticket")
        );
        assert_eq!(verify("lamp", "shine"), None);
        assert_eq!(verify("lamp", ""), None);
        assert_eq!(verify("ghost", "shines"), None);
        assert_eq!(verify("", ""), None);
    }

    #[test]
    fn debug_prints_no_secret() {
        assert!(!format!("{:?}", realm(Anonymous::On)).contains("shines"));
    }
}
