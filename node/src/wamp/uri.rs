//! URIs: the text that names realms, topics, procedures and errors, and the rules it is checked by.
//!
//! Spec: WAMP basic profile, "URIs" (loose and strict rules, patterns, reserved names).

use std::{borrow::Borrow, fmt, ops::Deref, sync::Arc};

/// An URI as a peer sent it; cheap to clone. Holding one says nothing about its validity: see [`Uri::is_loose`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uri(Arc<str>);

/// The longest URI taken in a request. Choice: the text knows no bound, but URIs stand in tables of every node.
pub const BYTES_MAX: usize = 4_096;

/// What stands for the name and the role of a session in the URI of a permission.
pub const AUTHID: &str = "{authid}";
/// See [`AUTHID`].
pub const AUTHROLE: &str = "{authrole}";
const VARIABLES: [&str; 2] = [AUTHID, AUTHROLE];

impl Uri {
    /// Wraps `text` without checking it.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if this is a URI by the loose rules: components parted by dots, none empty, without white space and `#`.
    pub fn is_loose(&self) -> bool {
        self.is_uri(UriCheck::Loose)
    }

    /// True if this is a URI by the strict rules: its components are of `0-9`, `a-z` and `_`.
    pub fn is_strict(&self) -> bool {
        self.is_uri(UriCheck::Strict)
    }

    /// True if this names one thing: no component is empty.
    pub fn is_uri(&self, check: UriCheck) -> bool {
        self.0.len() <= BYTES_MAX
            && self
                .0
                .split('.')
                .all(|component| !component.is_empty() && check.allows(component))
    }

    /// True if this can stand under `match: prefix`: only the last component may be empty. The empty text is the prefix of all.
    pub fn is_prefix(&self, check: UriCheck) -> bool {
        match self.0.rsplit_once('.') {
            Some((front, last)) => {
                front
                    .split('.')
                    .all(|component| !component.is_empty() && check.allows(component))
                    && check.allows(last)
            }
            None => check.allows(&self.0),
        }
    }

    /// True if this can stand under `match: wildcard`: any component may be empty.
    pub fn is_wildcard(&self, check: UriCheck) -> bool {
        self.0.split('.').all(|component| check.allows(component))
    }

    /// Itself with every variable replaced by a word that can stand anywhere; `None` if it holds a brace that belongs to none.
    pub fn with_words(&self) -> Option<Self> {
        let words = VARIABLES.iter().fold(self.to_string(), |text, name| text.replace(name, "x"));
        (!words.contains(['{', '}'])).then(|| Self::new(words))
    }

    /// True if the first component is `wamp`: the protocol's own, where clients register and publish nothing.
    pub fn is_reserved(&self) -> bool {
        self.0.split('.').next() == Some("wamp")
    }

    /// True if the procedures and patterns of that name are the router's: `wamp.…`, and beside the protocol what this router adds.
    pub fn is_of_the_router(&self) -> bool {
        self.is_reserved() || self.starts_with("ringfort.session.") || self.starts_with("ringfort.authorizer.")
    }
}

/// How closely the URIs of a realm are looked at. Spec: WAMP basic profile, "URIs", loose and strict rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UriCheck {
    /// Components are free of white space, `.` and `#`.
    #[default]
    Loose,
    /// Components are of `0-9`, `a-z` and `_`.
    Strict,
}

impl UriCheck {
    /// True if every character of `component`, which holds no dot, is allowed.
    fn allows(self, component: &str) -> bool {
        match self {
            UriCheck::Loose => component.chars().all(|c| c != '#' && !c.is_whitespace()),
            UriCheck::Strict => component.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'_')),
        }
    }
}

impl Deref for Uri {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Uri {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Uri {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
