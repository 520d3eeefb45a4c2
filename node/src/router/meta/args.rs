//! The arguments of a meta call, taken one by one; whatever is wrong is said in words.
//!
//! Choice: null stands for an optional argument that is not there, since clients write it for one they do not set. An argument or
//! keyword that the procedure does not know is refused: it was meant to change the answer, and would not.

use super::Refusal;
use crate::{
    router::{MatchPolicy, turn::because},
    wamp::{Dict, Payload, RegistrationId, SessionId, SubscriptionId, Uri, UriCheck, Value, error_uri},
};

/// What is left of the arguments.
#[derive(Debug)]
pub(super) struct Args {
    args: std::vec::IntoIter<Value>,
    kwargs: Dict,
    pub(super) check: UriCheck,
}

impl Args {
    pub(super) fn read(payload: &Payload, check: UriCheck) -> Result<Self, Refusal> {
        let (args, kwargs) = payload
            .to_values()
            .map_err(|error| invalid(&format!("the arguments cannot be read: {error}")))?;
        let args = args.into_iter();
        Ok(Self { args, kwargs, check })
    }

    /// The next positional argument.
    pub(super) fn required(&mut self, name: &str) -> Result<Value, Refusal> {
        self.args
            .next()
            .ok_or_else(|| invalid(&format!("argument {name} is missing")))
    }

    /// The next positional argument, if there is one that is not null.
    pub(super) fn optional(&mut self) -> Option<Value> {
        self.args.next().filter(|value| *value != Value::Null)
    }

    /// The keyword argument `name`, if there is one that is not null.
    pub(super) fn keyword(&mut self, name: &str) -> Option<Value> {
        let at = self.kwargs.0.iter().position(|(key, _)| key == name)?;
        Some(self.kwargs.0.remove(at).1).filter(|value| *value != Value::Null)
    }

    pub(super) fn session(&mut self) -> Result<SessionId, Refusal> {
        id(&self.required("session")?, "session", SessionId::new)
    }

    /// The session that a list is narrowed to, positional or by keyword as Crossbar's clients give it.
    pub(super) fn optional_session(&mut self) -> Result<Option<SessionId>, Refusal> {
        let session = self.optional().or_else(|| self.keyword("session_id"));
        session.map(|session| id(&session, "session_id", SessionId::new)).transpose()
    }

    pub(super) fn registration(&mut self) -> Result<RegistrationId, Refusal> {
        id(&self.required("registration")?, "registration", RegistrationId::new)
    }

    pub(super) fn subscription(&mut self) -> Result<SubscriptionId, Refusal> {
        id(&self.required("subscription")?, "subscription", SubscriptionId::new)
    }

    pub(super) fn text(&mut self, name: &str) -> Result<String, Refusal> {
        text(self.required(name)?, name)
    }

    /// A URI that names one thing.
    pub(super) fn uri(&mut self, name: &str) -> Result<Uri, Refusal> {
        let uri = Uri::from(self.text(name)?.as_str());
        if uri.is_uri(self.check) {
            Ok(uri)
        } else {
            Err(invalid_uri(name))
        }
    }

    /// A URI and, behind it, optional options that say how it is matched.
    pub(super) fn uri_and_match(&mut self, name: &str) -> Result<(Uri, MatchPolicy), Refusal> {
        let uri = Uri::from(self.text(name)?.as_str());
        let policy = match self.optional() {
            None => MatchPolicy::Exact,
            Some(Value::Dict(options)) => match options.get("match") {
                None | Some(Value::Null) => MatchPolicy::Exact,
                Some(policy) => policy
                    .as_text()
                    .and_then(MatchPolicy::from_name)
                    .ok_or_else(|| invalid("option match is none of exact, prefix and wildcard"))?,
            },
            Some(_) => return Err(invalid("argument options is no dict")),
        };
        let valid = match policy {
            MatchPolicy::Exact => uri.is_uri(self.check),
            MatchPolicy::Prefix => uri.is_prefix(self.check),
            MatchPolicy::Wildcard => uri.is_wildcard(self.check),
        };
        if valid { Ok((uri, policy)) } else { Err(invalid_uri(name)) }
    }

    /// An optional list of texts, positional or by keyword.
    pub(super) fn optional_texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Refusal> {
        let fault = || invalid(&format!("argument {name} is no list of strings"));
        match self.optional().or_else(|| self.keyword(name)) {
            None => Ok(None),
            Some(Value::List(list)) => list
                .into_iter()
                .map(|value| text(value, name).map_err(|_| fault()))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(fault()),
        }
    }

    /// Refuses what nobody took.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        if self.args.any(|value| value != Value::Null) {
            return Err(invalid("there are more arguments than the procedure takes"));
        }
        match self.kwargs.0.iter().find(|(_, value)| *value != Value::Null) {
            Some((key, _)) => Err(invalid(&format!("the procedure has no keyword argument {key}"))),
            None => Ok(()),
        }
    }
}

/// `wamp.error.invalid_argument`, and why.
pub(super) fn invalid(why: &str) -> Refusal {
    (error_uri::INVALID_ARGUMENT, because(why))
}

/// `wamp.error.invalid_uri`, and which one.
pub(super) fn invalid_uri(name: &str) -> Refusal {
    (error_uri::INVALID_URI, because(&format!("{name} is no valid URI")))
}

/// The text that `value` is.
pub(super) fn text(value: Value, name: &str) -> Result<String, Refusal> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(invalid(&format!("{name} is no string"))),
    }
}

fn id<T>(value: &Value, name: &str, make: impl Fn(u64) -> Option<T>) -> Result<T, Refusal> {
    let raw = value.as_integer().and_then(|raw| u64::try_from(raw).ok());
    raw.and_then(make)
        .ok_or_else(|| invalid(&format!("argument {name} is no id, an integer from 1 to 2^53")))
}
