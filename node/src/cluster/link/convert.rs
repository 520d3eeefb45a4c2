//! The only place where generated types meet ours.
//!
//! The frames of data lanes do not pass here: they have a layout of their own ([`super::frame`]).

use bytes::Bytes;
use ringfort_proto::cluster::v1 as pb;

use crate::{
    auth::{
        login::{Bound, CookieNews},
        throttle::{Report, Source, Subject},
    },
    cluster::interest::{self, Change},
    router::{MatchPolicy, NodeRef, Shard, Slot, TopicKey},
    wamp::Uri,
};

/// What is wrong with something a peer sent. The link ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} is not an id")]
    Id(&'static str),
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    #[error("details are not a dictionary")]
    Details,
    #[error("payload with serializer {serializer} and {elements} elements in {bytes} bytes")]
    Payload { serializer: u32, elements: u32, bytes: usize },
    #[error("a frame ends before its last field")]
    Frame,
    #[error("a batch of {said} frames holds {held}")]
    Count { said: u64, held: u64 },
    #[error("a frame of no realm")]
    NoRealm,
    #[error("fragments do not make a frame: {0}")]
    Fragment(&'static str),
}

/// A node life as it travels.
pub(super) fn node_out(node: NodeRef, name: &str) -> pb::LinkNode {
    pb::LinkNode {
        slot: node.slot.0.into(),
        epoch: node.epoch,
        name: name.to_owned(),
    }
}

/// The node life a peer names.
pub(super) fn node_in(node: &pb::LinkNode) -> Option<NodeRef> {
    let slot = u16::try_from(node.slot).ok().filter(|slot| (1..=4095).contains(slot))?;
    Some(NodeRef {
        slot: Slot(slot),
        epoch: node.epoch,
    })
}

/// A part of the interest, as the control stream carries it.
/// How attempts to log in have ended, for the control stream.
pub(super) fn logins_out(reports: &[Report]) -> pb::link_frame::Kind {
    let reports = reports.iter().map(|report| {
        let (Report::Failed(source, subject) | Report::Succeeded(source, subject)) = report;
        pb::LoginReport {
            source: u64::from_be_bytes(source.to_bytes()),
            subject: subject.0,
            succeeded: matches!(report, Report::Succeeded(..)),
        }
    });
    pb::link_frame::Kind::Logins(pb::LoginReports {
        reports: reports.collect(),
    })
}

/// The same, as they came in.
pub(super) fn logins_in(reports: pb::LoginReports) -> impl Iterator<Item = Report> {
    reports.reports.into_iter().map(|report| {
        let (source, subject) = (Source::from_bytes(report.source.to_be_bytes()), Subject(report.subject));
        if report.succeeded {
            Report::Succeeded(source, subject)
        } else {
            Report::Failed(source, subject)
        }
    })
}

/// What became of logins of browsers, for the control stream. What follows a loss is news after it.
pub(super) fn cookies_out(news: Vec<CookieNews>) -> pb::link_frame::Kind {
    let mut out = pb::CookieNews::default();
    for one in news {
        match one {
            CookieNews::Lost => {
                out.logins.clear();
                out.all_forgotten = true;
            }
            CookieNews::Bound(bound) => out.logins.push(pb::CookieLogin {
                cookie: Bytes::copy_from_slice(&bound.cookie),
                realm: bound.realm,
                authid: bound.authid,
                principal: Bytes::copy_from_slice(&bound.principal),
                at_ms: bound.at_ms,
                until_ms: bound.until_ms,
            }),
            CookieNews::Forgotten { cookie, at_ms } => out.logins.push(pb::CookieLogin {
                cookie: Bytes::copy_from_slice(&cookie),
                at_ms,
                ..Default::default()
            }),
        }
    }
    pb::link_frame::Kind::Cookies(out)
}

/// The same, as it came in. What cannot be read counts as lost.
pub(super) fn cookies_in(news: pb::CookieNews) -> impl Iterator<Item = CookieNews> {
    let read = |login: pb::CookieLogin| {
        let cookie: [u8; 32] = login.cookie[..].try_into().ok()?;
        if login.realm.is_empty() {
            let at_ms = login.at_ms;
            return Some(CookieNews::Forgotten { cookie, at_ms });
        }
        Some(CookieNews::Bound(Box::new(Bound {
            cookie,
            realm: login.realm,
            authid: login.authid,
            principal: login.principal[..].try_into().ok()?,
            at_ms: login.at_ms,
            until_ms: login.until_ms,
        })))
    };
    let lost = news.all_forgotten.then_some(CookieNews::Lost);
    let logins = news.logins.into_iter();
    lost.into_iter()
        .chain(logins.map(move |login| read(login).unwrap_or(CookieNews::Lost)))
}

pub(super) fn interest_out(message: interest::Message) -> pb::LinkFrame {
    use pb::link_frame::Kind;
    let kind = match message {
        interest::Message::Snapshot {
            first,
            last,
            version,
            digest,
            changes,
        } => Kind::InterestSnapshot(pb::InterestSnapshot {
            first,
            last,
            version,
            digest,
            realms: changes_out(&changes),
        }),
        interest::Message::Delta {
            from_version,
            version,
            digest,
            changes,
        } => Kind::InterestDelta(pb::InterestDelta {
            from_version,
            version,
            digest,
            realms: changes_out(&changes),
        }),
    };
    pb::LinkFrame { kind: Some(kind) }
}

/// A snapshot part as the interest table takes it.
pub(super) fn snapshot_in(snapshot: pb::InterestSnapshot) -> Result<interest::Message, Malformed> {
    let pb::InterestSnapshot {
        first,
        last,
        version,
        digest,
        realms,
    } = snapshot;
    Ok(interest::Message::Snapshot {
        first,
        last,
        version,
        digest,
        changes: changes_in(&realms)?,
    })
}

/// A delta as the interest table takes it.
pub(super) fn delta_in(delta: pb::InterestDelta) -> Result<interest::Message, Malformed> {
    let pb::InterestDelta {
        from_version,
        version,
        digest,
        realms,
    } = delta;
    Ok(interest::Message::Delta {
        from_version,
        version,
        digest,
        changes: changes_in(&realms)?,
    })
}

/// Changes in their order, consecutive ones of a realm together.
pub(super) fn changes_out(changes: &[Change]) -> Vec<pb::InterestRealm> {
    let same_realm = changes.chunk_by(|a, b| a.realm == b.realm);
    let realms = same_realm.map(|group| pb::InterestRealm {
        realm: text_out(&group[0].realm),
        changes: group
            .iter()
            .map(|change| pb::InterestChange {
                topic: text_out(&change.topic.uri),
                wanted: change.wanted,
                r#match: change.topic.policy.code().into(),
                shard: change.topic.shard.as_deref().map(text_out),
            })
            .collect(),
    });
    realms.collect()
}

/// The reverse of [`changes_out`].
pub(super) fn changes_in(realms: &[pb::InterestRealm]) -> Result<Vec<Change>, Malformed> {
    let mut changes = Vec::with_capacity(realms.iter().map(|group| group.changes.len()).sum());
    for group in realms {
        let realm = text_in(&group.realm, "realm")?;
        for change in &group.changes {
            changes.push(Change {
                realm: realm.clone(),
                topic: topic_in(change)?,
                wanted: change.wanted,
            });
        }
    }
    Ok(changes)
}

fn topic_in(change: &pb::InterestChange) -> Result<TopicKey, Malformed> {
    let policy = u8::try_from(change.r#match).ok().and_then(MatchPolicy::from_code);
    let shard = change.shard.as_deref().map(std::str::from_utf8).transpose();
    Ok(TopicKey {
        policy: policy.ok_or(Malformed::Id("match policy"))?,
        uri: text_in(&change.topic, "topic")?,
        shard: shard.map_err(|_| Malformed::Text("node key"))?.map(Shard::from),
    })
}

/// A name as the bytes it travels as.
pub(super) fn text_out(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn text_in(bytes: &[u8], what: &'static str) -> Result<Uri, Malformed> {
    std::str::from_utf8(bytes).map(Uri::from).map_err(|_| Malformed::Text(what))
}
