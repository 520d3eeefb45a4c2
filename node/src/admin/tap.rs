//! A look at messages as they pass: `proto/ringfort/admin/v1/tap.proto`.
//!
//! The node of a session keeps its heads in a bounded buffer ([`crate::session::tap`]); a task of its own takes them out every tenth of a
//! second and hands them on, here or to the node that was asked. Where a reader stalls, that task waits, the buffer fills, and what finds
//! no room is counted: neither the realm nor a session ever waits.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ringfort_proto::{
    admin::v1::{self as pb, WatchReply, tap_server::Tap},
    cluster::v1::TapQuestion,
};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::MissedTickBehavior,
};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status};

use super::{
    deadline::Deadline,
    local::Local,
    look::{Look, caller, policy},
    refusal::{invalid, not_found, refusal},
    sessions::{may_have, session_id},
};
use crate::{
    audit::{Audit, Event},
    cluster::fellow::Watching,
    config::AdminRole,
    router::pattern,
    session::{
        realm::{RealmHandle, Tapping},
        tap::{Head, Watched},
    },
    wamp::{Dict, Payload, Serializer, SessionId, Uri, UriCheck, Value},
};

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Look);

const SECONDS_DEFAULT: u32 = 60;
const SECONDS_MAX: u32 = 600;
/// How often heads are taken out.
const EVERY: Duration = Duration::from_millis(100);
/// Heads in one reply.
const HEADS_AT_ONCE: usize = 256;
/// Replies that wait for a reader.
const REPLIES_WAITING: usize = 4;
/// How long other nodes may take to begin.
const WITHIN: Duration = Duration::from_secs(2);
/// What is shown of a payload.
const PAYLOAD_TEXT_MAX: usize = 4_096;

#[tonic::async_trait]
impl Tap for Service {
    type WatchStream = std::pin::Pin<Box<dyn Stream<Item = Result<WatchReply, Status>> + Send>>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let who = caller(&request)?;
        let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
        let watch = check(request.into_inner(), who.role == Some(AdminRole::Owner), deadline)?;
        let nodes = match SessionId::new(watch.session) {
            Some(id) => may_have(&self.0, id),
            None => {
                self.0.realm(&watch.realm)?;
                self.0.nodes(&watch.node)?
            }
        };
        let fellows = &self.0.inspect.fellows;
        let question = TapQuestion {
            cluster_id: String::new(),
            watch: Some(watch.clone()),
            admin: format!("{} on {}", who.name, fellows.own_name()),
        };
        let asking = nodes.into_iter().map(|node| {
            let question = question.clone();
            async move {
                let watching = fellows.watch(&node, question, WITHIN).await;
                (node, watching)
            }
        });
        let (mut watching, mut missing, mut nowhere) = (Vec::new(), Vec::new(), None);
        for (node, answer) in futures_util::future::join_all(asking).await {
            match answer {
                Ok(replies) => watching.push((node, replies)),
                Err(status) if status.code() == Code::NotFound && watch.session != 0 => nowhere = Some(status),
                // What one node refuses is refused: half a look would be taken for a whole one.
                Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::ResourceExhausted) => return Err(status),
                Err(status) => {
                    tracing::info!(node, error = %status, "a node does not watch");
                    missing.push(node);
                }
            }
        }
        if watching.is_empty() {
            let what = format!("{} may have it and has not answered", missing.join(", "));
            let silent = || {
                refusal(
                    Code::Unavailable,
                    "NODE_SILENT",
                    &what,
                    "try again, or look at the links of /status",
                )
            };
            return Err(nowhere.filter(|_| missing.is_empty()).unwrap_or_else(silent));
        }
        let (replies, receiver) = mpsc::channel(REPLIES_WAITING);
        let first = WatchReply {
            node: fellows.own_name().to_owned(),
            missing,
            ..WatchReply::default()
        };
        // There is room for the first.
        let _ = replies.try_send(first);
        for (node, from) in watching {
            tokio::spawn(forward(node, from, replies.clone()));
        }
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(Ok))))
    }
}

/// Hands on what one node sees, until either end is over.
async fn forward(node: String, mut from: Watching, to: mpsc::Sender<WatchReply>) {
    loop {
        let next = tokio::select! {
            () = to.closed() => return,
            next = from.next() => next,
        };
        let reply = match next {
            Ok(Some(reply)) => WatchReply {
                node: node.clone(),
                ..reply
            },
            Ok(None) => return,
            Err(status) => WatchReply {
                node: node.clone(),
                ended: format!("the node is gone: {}", status.message()),
                ..WatchReply::default()
            },
        };
        let over = !reply.ended.is_empty();
        if to.send(reply).await.is_err() || over {
            return;
        }
    }
}

/// The request with its defaults, if it can be carried out.
fn check(mut watch: pb::WatchRequest, is_owner: bool, deadline: Option<Instant>) -> Result<pb::WatchRequest, Status> {
    // The empty text is the prefix of all.
    let by_uri = !watch.uri.is_empty() || watch.r#match == "prefix";
    if (watch.session != 0) == by_uri {
        return Err(invalid(
            "what to watch is not said",
            "give either a session or a realm and a uri",
        ));
    }
    if watch.session != 0 {
        session_id(watch.session)?;
    } else if !pattern::is_valid(policy(&watch.r#match)?, &Uri::from(watch.uri.as_str()), UriCheck::Loose) {
        let what = format!("uri is {}", watch.uri);
        return Err(invalid(
            &what,
            "write a URI, or a pattern as match says: exact, prefix or wildcard",
        ));
    }
    if watch.seconds == 0 {
        watch.seconds = SECONDS_DEFAULT;
    }
    if watch.seconds > SECONDS_MAX {
        return Err(invalid(
            &format!("seconds is {}", watch.seconds),
            "at most 600; begin another one then",
        ));
    }
    if watch.payload && !is_owner {
        let remedy = "leave payload out, or use a certificate of the role owner";
        return Err(refusal(
            Code::PermissionDenied,
            "ROLE",
            "payload takes the role owner",
            remedy,
        ));
    }
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        watch.seconds = watch.seconds.min(u32::try_from(left).unwrap_or(u32::MAX)).max(1);
    }
    Ok(watch)
}

/// Puts a tap on for sessions of this node, and gives what it sees until the receiver is dropped or the time is over.
pub(super) fn tapping(local: &Local, question: TapQuestion) -> Result<mpsc::Receiver<WatchReply>, Status> {
    let watch = question.watch.unwrap_or_default();
    if watch.payload && !local.tap_payload {
        let remedy = "leave payload out, or set admin.tap_payload = true on every node and restart it";
        let what = "this node does not permit payload";
        return Err(refusal(Code::FailedPrecondition, "PAYLOAD_NOT_PERMITTED", what, remedy));
    }
    let permit = Arc::clone(&local.taps).try_acquire_owned().map_err(|_| {
        let remedy = "end another one, or wait until one is over";
        refusal(
            Code::ResourceExhausted,
            "TOO_MANY_TAPS",
            "as many taps are on as this node permits",
            remedy,
        )
    })?;
    let session = SessionId::new(watch.session);
    let (realm, watched) = match session {
        Some(id) => {
            let realm = local.shared.realms().find(|realm| realm.has(id));
            let realm = realm.ok_or_else(|| not_found(&format!("there is no session {id}"), "list those there are"))?;
            (realm.clone(), Watched::Session(id))
        }
        None => {
            let realm = local.shared.realm(&watch.realm);
            let realm = realm.ok_or_else(|| not_found(&format!("there is no realm {}", watch.realm), "name another one"))?;
            let uri = Uri::from(watch.uri.as_str());
            let policy = policy(&watch.r#match)?;
            (realm.clone(), Watched::Uri { policy, uri })
        }
    };
    let what = match &watched {
        Watched::Session(_) => "session".to_owned(),
        Watched::Uri { policy, uri } => format!("{} {uri}", policy.name()),
    };
    let event = Event {
        admin: Some(question.admin),
        realm: Some(realm.name().to_string()),
        session: session.map(SessionId::get),
        what: Some(if watch.payload {
            format!("{what}, with payload")
        } else {
            what
        }),
        ..Event::of("tap")
    };
    local.audit.note(Event {
        step: Some("begun"),
        ..event.clone()
    });
    let (replies, receiver) = mpsc::channel(REPLIES_WAITING);
    let tap = On {
        tapping: realm.tap(watched, watch.payload),
        realm,
        session,
        until: Instant::now() + Duration::from_secs(watch.seconds.clamp(1, SECONDS_MAX).into()),
        audit: local.audit.clone(),
        event,
        permit,
    };
    tokio::spawn(tap.drain(replies));
    Ok(receiver)
}

/// A tap that is on.
struct On {
    tapping: Tapping,
    realm: RealmHandle,
    session: Option<SessionId>,
    until: Instant,
    audit: Audit,
    event: Event,
    permit: OwnedSemaphorePermit,
}

const OVER: &str = "the time is over";
const LEFT: &str = "nobody reads it any more";

impl On {
    async fn drain(self, replies: mpsc::Sender<WatchReply>) {
        let (mut seen, mut lost) = (0_u64, 0_u64);
        let ended = self.hand_on(&replies, &mut seen, &mut lost).await;
        let Self {
            tapping,
            audit,
            event,
            permit,
            ..
        } = self;
        // Off before anybody hears that it is.
        drop((tapping, permit));
        audit.note(Event {
            step: Some("ended"),
            reason: Some(ended.to_owned()),
            count: Some(seen),
            after: Some(json!({ "heads": seen, "lost": lost })),
            ..event
        });
        let last = WatchReply {
            ended: ended.to_owned(),
            ..WatchReply::default()
        };
        // A reader that has stalled finds the end of the stream instead.
        let _ = tokio::time::timeout(WITHIN, replies.send(last)).await;
    }

    /// Hands heads on until the tap is to end, and says why.
    async fn hand_on(&self, replies: &mpsc::Sender<WatchReply>, seen: &mut u64, lost: &mut u64) -> &'static str {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = replies.closed() => return LEFT,
                _ = tick.tick() => {}
            }
            // Looked at before the heads are taken: what comes after the look belongs to the next round.
            let over = Instant::now() >= self.until;
            let gone = self.session.is_some_and(|session| !self.realm.has(session));
            let filled = self.tapping.take();
            *lost += filled.lost;
            *seen += filled.heads.len() as u64;
            let mut lost_now = filled.lost;
            let mut heads = filled.heads.into_iter().map(told).peekable();
            while heads.peek().is_some() || lost_now > 0 {
                let reply = WatchReply {
                    heads: heads.by_ref().take(HEADS_AT_ONCE).collect(),
                    lost: std::mem::take(&mut lost_now),
                    ..WatchReply::default()
                };
                match tokio::time::timeout_at(self.until.into(), replies.send(reply)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return LEFT,
                    Err(_) => return OVER,
                }
            }
            if gone {
                return "the session has ended";
            }
            if over {
                return OVER;
            }
        }
    }
}

fn told(head: Head) -> pb::MessageHead {
    pb::MessageHead {
        time_ms: head.time_ms,
        from_client: head.from_client,
        session: head.session.get(),
        receivers: u32::try_from(head.receivers).unwrap_or(u32::MAX),
        r#type: head.kind.to_owned(),
        request: head.request.unwrap_or(0),
        registration: head.registration.unwrap_or(0),
        subscription: head.subscription.unwrap_or(0),
        publication: head.publication.unwrap_or(0),
        uri: head.uri.map(|uri| uri.to_string()).unwrap_or_default(),
        error: head.error.map(|error| error.to_string()).unwrap_or_default(),
        options: options(head.options),
        payload_bytes: head.payload_bytes as u64,
        payload: head.payload.as_ref().map(text),
    }
}

/// Options as a JSON object.
fn options(options: Dict) -> String {
    if options.is_empty() {
        return "{}".to_owned();
    }
    let written = text(&Payload::from_values(Serializer::Json, &[Value::Dict(options)], &Dict::new()));
    let inner = written.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    inner.unwrap_or("{}").to_owned()
}

/// Args, and kwargs if there are any, as JSON: a list of both where there are both.
fn text(payload: &Payload) -> String {
    let Ok(json) = payload.transcode(Serializer::Json) else {
        return "…".to_owned();
    };
    let text = String::from_utf8_lossy(json.bytes());
    let text = if payload.elements() == 2 {
        format!("[{text}]")
    } else {
        text.into_owned()
    };
    if text.len() <= PAYLOAD_TEXT_MAX {
        return text;
    }
    let end = (0..=PAYLOAD_TEXT_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_watch_has_to_be_said_and_payload_takes_an_owner() {
        let watch = |session, uri: &str, seconds| pb::WatchRequest {
            realm: "realm1".to_owned(),
            session,
            uri: uri.to_owned(),
            seconds,
            ..pb::WatchRequest::default()
        };
        assert_eq!(check(watch(7, "", 0), false, None).unwrap().seconds, 60);
        for (wrong, names) in [
            (watch(0, "", 0), "either a session"),
            (watch(7, "com.a", 0), "either a session"),
            (watch(0, "com..a", 0), "uri is com..a"),
            (watch(7, "", 601), "at most 600"),
        ] {
            let status = check(wrong, true, None).unwrap_err();
            assert!(
                status.code() == Code::InvalidArgument && status.message().contains(names),
                "{status}"
            );
        }
        let with_payload = pb::WatchRequest {
            payload: true,
            ..watch(0, "com.a", 5)
        };
        assert_eq!(
            check(with_payload.clone(), false, None).unwrap_err().code(),
            Code::PermissionDenied
        );
        let soon = Instant::now() + Duration::from_millis(2_500);
        assert_eq!(check(with_payload, true, Some(soon)).unwrap().seconds, 2);
    }

    #[test]
    fn options_and_payloads_are_json_and_cut() {
        assert_eq!(options(Dict::new()), "{}");
        assert_eq!(
            options(Dict::new().with("progress", true).with("topic", "a")),
            r#"{"progress":true,"topic":"a"}"#
        );
        let kwargs = Dict::new().with("k", 1_u64);
        let both = Payload::from_values(Serializer::Cbor, &[Value::from("a")], &kwargs);
        assert_eq!(text(&both), r#"[["a"],{"k":1}]"#);
        let long = Payload::from_values(Serializer::MsgPack, &[Value::from("ä".repeat(5_000))], &Dict::new());
        assert!(text(&long).len() <= PAYLOAD_TEXT_MAX + 4);
    }
}
