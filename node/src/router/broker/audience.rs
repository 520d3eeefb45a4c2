//! Which subscribers an event is for: the black and white lists of its PUBLISH, and the shards its key falls to.
//!
//! Spec: WAMP advanced profile, "Subscriber Black- and Whitelisting". Judged where the subscriber's session is, since only that node
//! knows its authid and role for certain; it travels with the event.

use std::collections::BTreeMap;

use crate::{
    router::{MatchPolicy, SessionInfo, Shard, policy::About},
    wamp::{Dict, SessionId, SubscriptionId, Uri, Value},
};

/// The receivers of one event. All conditions that are present must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Audience {
    sessions: Lists<SessionId>,
    authids: Lists<String>,
    authroles: Lists<String>,
    /// For an event with a resource key: the one shard of each subscription that gets it. `None`: all of them do.
    pub(super) shards: Option<BTreeMap<SubscriptionId, Shard>>,
    /// Of an event of the router about something: only those who may know of that get it.
    pub(in crate::router) about: Option<About>,
}

/// A black and a white list, both sorted. An absent white list admits everybody, an empty one nobody.
#[derive(Clone, Debug, PartialEq)]
struct Lists<T> {
    exclude: Vec<T>,
    eligible: Option<Vec<T>>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        let (exclude, eligible) = (Vec::new(), None);
        Self { exclude, eligible }
    }
}

impl<T: Ord> Lists<T> {
    fn admits<Q: Ord + ?Sized>(&self, who: &Q) -> bool
    where
        T: std::borrow::Borrow<Q>,
    {
        let has = |list: &[T]| list.binary_search_by(|listed| listed.borrow().cmp(who)).is_ok();
        !has(&self.exclude) && self.eligible.as_deref().is_none_or(has)
    }

    fn is_trivial(&self) -> bool {
        self.exclude.is_empty() && self.eligible.is_none()
    }
}

impl Audience {
    /// Those who may know of it.
    pub(in crate::router) fn who_sees(about: About) -> Option<Box<Self>> {
        Some(Box::new(Self {
            about: Some(about),
            ..Self::default()
        }))
    }

    /// The options of PUBLISH that [`Self::read`] takes in.
    pub const OPTIONS: [&str; 6] = [
        "exclude",
        "eligible",
        "exclude_authid",
        "eligible_authid",
        "exclude_authrole",
        "eligible_authrole",
    ];

    /// Takes in an option of a PUBLISH, or a key of [`Self::to_dict`]. Others are ignored.
    ///
    /// # Errors
    /// The option is one of the lists, and its value is not.
    pub fn read(&mut self, key: &str, value: &Value) -> Result<(), NotAList> {
        match key {
            "exclude" => self.sessions.exclude = ids(value)?,
            "eligible" => self.sessions.eligible = Some(ids(value)?),
            "exclude_authid" => self.authids.exclude = texts(value)?,
            "eligible_authid" => self.authids.eligible = Some(texts(value)?),
            "exclude_authrole" => self.authroles.exclude = texts(value)?,
            "eligible_authrole" => self.authroles.eligible = Some(texts(value)?),
            SHARDS => self.shards = Some(shards(value)?),
            ABOUT => self.about = Some(about(value).ok_or(NotAList)?),
            _ => {}
        }
        Ok(())
    }

    /// These sessions alone, and all but these.
    pub(in crate::router) fn split(mut sessions: Vec<SessionId>) -> (Self, Self) {
        sessions.sort_unstable();
        let (mut those, mut others) = (Self::default(), Self::default());
        others.sessions.exclude.clone_from(&sessions);
        those.sessions.eligible = Some(sessions);
        (those, others)
    }

    /// True if the lists of session ids admit the session; those of names are asked separately ([`Self::admits_names`]), for they
    /// need its record.
    pub(in crate::router) fn admits_id(&self, session: SessionId) -> bool {
        self.sessions.admits(&session)
    }

    /// True if no list is about authids or roles.
    pub(in crate::router) fn is_nameless(&self) -> bool {
        self.authids.is_trivial() && self.authroles.is_trivial()
    }

    /// True if the lists of authids and roles admit the session.
    pub(in crate::router) fn admits_names(&self, info: &SessionInfo) -> bool {
        self.authids.admits(info.authid.as_str()) && self.authroles.admits(info.authrole.as_str())
    }

    /// True if the event is for that shard of the subscription.
    pub(super) fn admits_shard(&self, subscription: SubscriptionId, shard: &Shard) -> bool {
        self.shards
            .as_ref()
            .is_none_or(|chosen| chosen.get(&subscription) == Some(shard))
    }

    /// The lists as options of a PUBLISH, as [`Self::read`] takes them.
    pub fn to_dict(&self) -> Dict {
        let mut dict = Dict::new();
        let (id, text) = (
            |id: &SessionId| Value::from(id.get()),
            |text: &String| Value::from(text.as_str()),
        );
        self.sessions.put("exclude", "eligible", id, &mut dict);
        self.authids.put("exclude_authid", "eligible_authid", text, &mut dict);
        self.authroles.put("exclude_authrole", "eligible_authrole", text, &mut dict);
        if let Some(shards) = &self.shards {
            let pairs = shards
                .iter()
                .flat_map(|(id, shard)| [Value::from(id.get()), Value::from(&**shard)]);
            dict.set(SHARDS, pairs.collect::<Vec<_>>());
        }
        if let Some(about) = &self.about {
            let (policy, uri) = about.what();
            let parts = [about.kind(), policy.name(), uri.as_str()].map(Value::from);
            dict.set(ABOUT, parts.to_vec());
        }
        dict
    }

    /// The reverse of [`Self::to_dict`]; keys of a newer version are ignored.
    ///
    /// # Errors
    /// A list is none.
    pub fn from_dict(dict: &Dict) -> Result<Self, NotAList> {
        let mut audience = Self::default();
        for (key, value) in &dict.0 {
            audience.read(key, value)?;
        }
        Ok(audience)
    }
}

impl<T> Lists<T> {
    fn put(&self, exclude: &str, eligible: &str, value: impl Fn(&T) -> Value, dict: &mut Dict) {
        let list = |items: &[T]| items.iter().map(&value).collect::<Vec<_>>();
        if !self.exclude.is_empty() {
            dict.set(exclude, list(&self.exclude));
        }
        if let Some(items) = &self.eligible {
            dict.set(eligible, list(items));
        }
    }
}

/// A black or white list is no list of what it has to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAList;

/// Between nodes only; no option of a client is called so ([`Audience::OPTIONS`]).
const SHARDS: &str = "shards";
/// As well.
const ABOUT: &str = "about";

fn about(value: &Value) -> Option<About> {
    match value.as_list()? {
        [kind, policy, uri] => {
            let policy = MatchPolicy::from_name(policy.as_text()?)?;
            About::read(kind.as_text()?, policy, Uri::from(uri.as_text()?))
        }
        _ => None,
    }
}

fn shards(value: &Value) -> Result<BTreeMap<SubscriptionId, Shard>, NotAList> {
    let pairs = value.as_list().ok_or(NotAList)?.chunks(2).map(|pair| match pair {
        [id, shard] => Some((number(id).and_then(SubscriptionId::new)?, Shard::from(shard.as_text()?))),
        _ => None,
    });
    pairs.collect::<Option<_>>().ok_or(NotAList)
}

fn number(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

fn ids(value: &Value) -> Result<Vec<SessionId>, NotAList> {
    sorted(value, |value| number(value).and_then(SessionId::new))
}

fn texts(value: &Value) -> Result<Vec<String>, NotAList> {
    sorted(value, |value| value.as_text().map(str::to_owned))
}

fn sorted<T: Ord>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>, NotAList> {
    let items = value.as_list().ok_or(NotAList)?.iter().map(read);
    let mut items = items.collect::<Option<Vec<T>>>().ok_or(NotAList)?;
    items.sort_unstable();
    Ok(items)
}
