//! Event history: events that are kept, and the filters by which they are asked for.
//!
//! Spec: WAMP advanced profile, "Event History", "Event Retention". These types say what the text says; who keeps events and where is
//! not theirs.

use std::ops::RangeInclusive;

use super::{Dict, Payload, PublicationId, Uri, timestamp::Micros};

/// The place of an event among all others: by the time at which its router node took it, then by publication id.
///
/// Choice: the order of a history is this one and not that of arrival at some store, so that all stores agree on it. A node never
/// gives two events the same time, so events of one publisher keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When the publisher's node took it.
    pub time: Micros,
    /// Its publication.
    pub publication: PublicationId,
}

/// Who may receive a kept event. Lists of session ids have no place here: such events are never kept.
///
/// Spec: WAMP advanced profile, "Subscriber Black- and Whitelisting".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience {
    /// Only these; nobody if it is empty.
    pub eligible_authid: Option<Vec<String>>,
    /// Only these roles; nobody if it is empty.
    pub eligible_authrole: Option<Vec<String>>,
    /// Not these.
    pub exclude_authid: Vec<String>,
    /// Not these roles.
    pub exclude_authrole: Vec<String>,
}

impl Audience {
    /// True if who has that authid and authrole may receive the event.
    pub fn admits(&self, asker: &Asker) -> bool {
        let eligible = |list: &Option<Vec<String>>, name: &String| list.as_ref().is_none_or(|list| list.contains(name));
        eligible(&self.eligible_authid, &asker.authid)
            && eligible(&self.eligible_authrole, &asker.authrole)
            && !self.exclude_authid.contains(&asker.authid)
            && !self.exclude_authrole.contains(&asker.authrole)
    }
}

/// Who asks for kept events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The authenticated name.
    pub authid: String,
    /// The role.
    pub authrole: String,
}

/// An event that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptEvent {
    /// Its place.
    pub stamp: Stamp,
    /// The topic it was published to.
    pub topic: Uri,
    /// Who may receive it; `None`: everybody.
    pub audience: Option<Box<Audience>>,
    /// EVENT.Details as subscribers of the exact topic got them.
    pub details: Dict,
    /// Its payload, in memory of its own.
    pub payload: Payload,
}

impl KeptEvent {
    /// True if `asker` may receive it.
    pub fn is_for(&self, asker: &Asker) -> bool {
        self.audience.as_ref().is_none_or(|audience| audience.admits(asker))
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        // Details and audience are rare and bounded by the message that brought them; their texts are what counts.
        let lists = self.audience.as_ref().map_or(0, |audience| {
            let eligible = [&audience.eligible_authid, &audience.eligible_authrole];
            let texts = eligible
                .into_iter()
                .flatten()
                .chain([&audience.exclude_authid, &audience.exclude_authrole]);
            texts.flatten().map(|text| text.len() + 24).sum()
        });
        let details: usize = self.details.0.iter().map(|(key, _)| key.len() + 48).sum();
        64 + self.topic.len() + self.payload.bytes().len() + lists + details
    }
}

/// Which events of a history are asked for; all conditions hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Newest first.
    pub reverse: bool,
    /// At most so many, counted after all conditions.
    pub limit: usize,
    /// Both ends included: `from_time`, `after_time`, `before_time`, `until_time` in one. Empty where they contradict.
    pub times: RangeInclusive<Micros>,
    /// Events of this topic alone; tells something for pattern subscriptions only.
    pub topic: Option<Uri>,
    /// Not before that event.
    pub from_publication: Option<PublicationId>,
    /// Not before the event that follows it.
    pub after_publication: Option<PublicationId>,
    /// Not after the event that precedes it.
    pub before_publication: Option<PublicationId>,
    /// Not after that event.
    pub until_publication: Option<PublicationId>,
    /// Only what this one may receive; `None`: everything.
    pub asker: Option<Asker>,
}

impl Filter {
    /// All events, oldest first, at most `limit`.
    pub fn all(limit: usize) -> Self {
        Self {
            reverse: false,
            limit,
            times: 0..=Micros::MAX,
            topic: None,
            from_publication: None,
            after_publication: None,
            before_publication: None,
            until_publication: None,
            asker: None,
        }
    }
}

/// What a history has to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The events, in the order that was asked for.
    pub events: Vec<KeptEvent>,
    /// True if there may be more: a bound of the request or of the router ended the answer.
    pub cut: bool,
}
