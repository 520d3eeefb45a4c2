//! What this node tells of its own sessions, to its own admin services and to those of other nodes.

use std::{net::IpAddr, sync::Arc};

use ringfort_proto::{
    admin::v1::{self as pb, WatchReply},
    cluster::v1::{CalleeStates, CalleesOf, SessionsAfter, SubscriptionsAfter, TapQuestion, answer::Answer, question::Question},
};
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

use super::{page::Place, tap::tapping};
use crate::{
    audit::Audit,
    cluster::{fellow::Answering, shared::Shared},
    router::{MatchPolicy, Realm, SessionInfo, listing::SubscriptionState},
    session::{outbox::Outbox, realm::RealmHandle},
    transport::framing::Framing,
    wamp::{RegistrationId, SessionId, SubscriptionId, Uri},
};

/// Answers for this node.
pub struct Local {
    pub(super) shared: Arc<Shared>,
    pub(super) audit: Audit,
    /// Whether taps may show what messages carry.
    pub(super) tap_payload: bool,
    /// Taps that may still be put on.
    pub(super) taps: Arc<Semaphore>,
}

/// Rows of one answer at most, whatever is asked for.
const ROWS_MAX: usize = 1_001;
/// Sessions that are ended while a realm is held.
const KILLED_AT_ONCE: usize = 64;
/// Taps on a node at once.
const TAPS_MAX: usize = 4;
/// Subscribers told of one subscription.
const SUBSCRIBERS_MAX: usize = 1_000;

impl Local {
    /// Answers for the node of `shared`. `tap_payload`: taps may show what messages carry.
    pub fn new(shared: &Arc<Shared>, audit: &Audit, tap_payload: bool) -> Self {
        Self {
            shared: Arc::clone(shared),
            audit: audit.clone(),
            tap_payload,
            taps: Arc::new(Semaphore::new(TAPS_MAX)),
        }
    }

    fn realms(&self, filter: &str) -> impl Iterator<Item = &RealmHandle> {
        self.shared
            .realms()
            .filter(move |realm| filter.is_empty() || realm.name().as_str() == filter)
    }

    fn sessions(&self, question: &SessionsAfter) -> pb::ListSessionsReply {
        let filter = question.filter.clone().unwrap_or_default();
        let limit = limit(question.limit);
        let source: Option<IpAddr> = filter.source.parse().ok().map(|source: IpAddr| source.to_canonical());
        let wanted = |info: &SessionInfo| {
            (filter.authid.is_empty() || info.authid == filter.authid)
                && (filter.authrole.is_empty() || info.authrole == filter.authrole)
                && source.is_none_or(|source| info.whence.is_some_and(|whence| whence.source.to_canonical() == source))
        };
        let from = place(&question.realm, question.id);
        let mut sessions = Vec::new();
        for realm in self.realms(&filter.realm) {
            let Some(after) = Place::after(from.as_ref(), realm.name()) else {
                continue;
            };
            let (after, room) = (after.and_then(SessionId::new), limit - sessions.len());
            sessions.extend(realm.with_core(|core| {
                let ids = core.own_sessions_after(after, room, |_, info| wanted(info));
                let rows = ids.into_iter().filter_map(|id| Some(told(realm, id, core.session_info(id)?)));
                rows.collect::<Vec<_>>()
            }));
        }
        pb::ListSessionsReply {
            sessions,
            ..Default::default()
        }
    }

    fn session(&self, id: SessionId) -> Option<pb::GetSessionReply> {
        self.shared.realms().find_map(|realm| {
            let outbox = realm.outbox(id)?;
            realm.with_core(|core| details(core, realm, id, &outbox))
        })
    }

    fn kill(&self, order: &pb::KillSessionsRequest) -> u64 {
        let reason = Uri::from(order.reason.as_str());
        let message = Some(order.message.as_str()).filter(|message| !message.is_empty());
        let mut ended = 0;
        for realm in self.realms(&order.realm) {
            let wanted = |id: SessionId, info: &SessionInfo| {
                (order.id == 0 || id.get() == order.id)
                    && (order.authid.is_empty() || info.authid == order.authid)
                    && (order.authrole.is_empty() || info.authrole == order.authrole)
            };
            let victims = realm.with_core(|core| core.own_sessions_after(None, usize::MAX, wanted));
            for some in victims.chunks(KILLED_AT_ONCE) {
                ended += realm.end_sessions(some, &reason, message);
            }
        }
        ended as u64
    }

    fn callees(&self, question: &CalleesOf) -> CalleeStates {
        let realm = self.shared.realm(&question.realm);
        let states = realm.zip(RegistrationId::new(question.registration)).map(|(realm, id)| {
            let states = realm.with_core(|core| core.callee_states(id));
            let told = states.into_iter().map(|(session, state)| {
                let told = pb::CalleeState {
                    open_invocations: state.open as u64,
                    concurrency: state.concurrency.map_or(0, |max| max.get()),
                };
                (session.get(), told)
            });
            told.collect()
        });
        CalleeStates {
            by_session: states.unwrap_or_default(),
        }
    }

    fn subscriptions(&self, question: &SubscriptionsAfter) -> pb::ListSubscriptionsReply {
        let filter = question.filter.clone().unwrap_or_default();
        let limit = limit(question.limit);
        let from = place(&question.realm, question.id);
        let mut subscriptions = Vec::new();
        for realm in self.realms(&filter.realm) {
            let Some(after) = Place::after(from.as_ref(), realm.name()) else {
                continue;
            };
            let (after, room) = (after.and_then(SubscriptionId::new), limit - subscriptions.len());
            let wanted = |uri: &Uri| uri.starts_with(&filter.uri_prefix);
            let rows = realm.with_core(|core| core.subscriptions_after(after, room, wanted));
            subscriptions.extend(rows.iter().map(|row| subscription(realm, row, Vec::new())));
        }
        pb::ListSubscriptionsReply {
            subscriptions,
            ..Default::default()
        }
    }

    fn subscription(&self, question: &pb::GetSubscriptionRequest) -> Option<pb::Subscription> {
        let realm = self.shared.realm(&question.realm)?;
        let policy = match question.r#match.as_str() {
            "" => MatchPolicy::Exact,
            name => MatchPolicy::from_name(name)?,
        };
        realm.with_core(|core| {
            let id = match SubscriptionId::new(question.id) {
                Some(id) => id,
                None => core.subscription_id(policy, &Uri::from(question.uri.as_str())),
            };
            let state = core.subscription_state(id)?;
            let subscribers = core.subscribers_of(id, SUBSCRIBERS_MAX);
            let subscribers = subscribers.into_iter().map(SessionId::get).collect();
            Some(subscription(realm, &state, subscribers))
        })
    }

    fn slow(&self, filter: &pb::ListSlowConsumersRequest) -> pb::ListSlowConsumersReply {
        let mut consumers = Vec::new();
        for realm in self.realms(&filter.realm) {
            for (session, slow) in realm.slow() {
                let who = realm.with_core(|core| {
                    core.session_info(session)
                        .map(|info| (info.authid.clone(), info.authrole.clone()))
                });
                let Some((authid, authrole)) = who else { continue };
                consumers.push(pb::SlowConsumer {
                    session: session.get(),
                    realm: realm.name().to_string(),
                    node: String::new(),
                    authid,
                    authrole,
                    outbox_bytes: slow.bytes as u64,
                    outbox_messages: slow.messages as u64,
                    outbox_bytes_max: slow.bytes_max as u64,
                    held: slow.held as u64,
                    dropped: slow.dropped,
                    since_ms: slow.since_ms,
                });
            }
        }
        consumers.sort_by_key(|one| (std::cmp::Reverse(one.outbox_bytes), one.session));
        consumers.truncate(super::page::size(filter.limit));
        pb::ListSlowConsumersReply {
            consumers,
            missing: Vec::new(),
        }
    }
}

fn limit(wanted: u32) -> usize {
    usize::try_from(wanted).unwrap_or(ROWS_MAX).min(ROWS_MAX)
}

fn place(realm: &str, id: u64) -> Option<Place> {
    (!realm.is_empty()).then(|| Place {
        realm: realm.to_owned(),
        id,
    })
}

fn told(realm: &RealmHandle, id: SessionId, info: &SessionInfo) -> pb::Session {
    pb::Session {
        id: id.get(),
        realm: realm.name().to_string(),
        node: String::new(),
        authid: info.authid.clone(),
        authrole: info.authrole.clone(),
        authmethod: info.authmethod.clone(),
        authprovider: info.authprovider.clone(),
        source: info.whence.map(|whence| whence.source.to_string()).unwrap_or_default(),
    }
}

fn details(core: &Realm, realm: &RealmHandle, id: SessionId, outbox: &Outbox) -> Option<pb::GetSessionReply> {
    let (info, state) = (core.session_info(id)?, core.session_state(id)?);
    let (bytes, messages) = outbox.queued();
    let wire = outbox.wire();
    let listener = info.whence.and_then(|whence| whence.listener);
    Some(pb::GetSessionReply {
        session: Some(told(realm, id, info)),
        transport: match wire.framing {
            Framing::RawSocket => "rawsocket",
            _ => "websocket",
        }
        .to_owned(),
        tls: outbox.is_tls(),
        serializer: wire.serializer.name().to_owned(),
        listener: listener.map(|listener| listener.to_string()).unwrap_or_default(),
        since_ms: outbox.since_ms(),
        outbox_bytes: bytes as u64,
        outbox_messages: messages as u64,
        registrations: state.registrations as u64,
        subscriptions: state.subscriptions as u64,
        open_calls: state.open_calls as u64,
        open_invocations: state.open_invocations as u64,
        bytes_out: outbox.admitted_bytes(),
        last_request: state.last_request,
        invocations: state.invocations,
        features: info.features.clone(),
    })
}

fn subscription(realm: &RealmHandle, state: &SubscriptionState, sessions: Vec<u64>) -> pb::Subscription {
    pb::Subscription {
        id: state.id.get(),
        realm: realm.name().to_string(),
        uri: state.uri.to_string(),
        r#match: state.policy.name().to_owned(),
        created_ms: state.created_ms,
        nodes: vec![pb::SubscribersOfNode {
            node: String::new(),
            subscribers: state.subscribers as u64,
            sessions,
        }],
    }
}

#[tonic::async_trait]
impl Answering for Local {
    async fn answer(&self, question: Question) -> Result<Answer, Status> {
        Ok(match question {
            Question::Sessions(question) => Answer::Sessions(self.sessions(&question)),
            Question::Session(question) => match SessionId::new(question.id).and_then(|id| self.session(id)) {
                Some(found) => Answer::Session(found),
                None => Answer::Nothing(true),
            },
            Question::Kill(order) => Answer::Ended(pb::EndedOnNode {
                node: String::new(),
                ended: self.kill(&order),
            }),
            Question::Callees(question) => Answer::Callees(self.callees(&question)),
            Question::Subscriptions(question) => Answer::Subscriptions(self.subscriptions(&question)),
            Question::Subscription(question) => match self.subscription(&question) {
                Some(found) => Answer::Subscription(found),
                None => Answer::Nothing(true),
            },
            Question::Slow(filter) => Answer::Slow(self.slow(&filter)),
        })
    }

    async fn watch(&self, question: TapQuestion) -> Result<mpsc::Receiver<WatchReply>, Status> {
        tapping(self, question)
    }
}
