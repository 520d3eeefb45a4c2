//! Sessions over gRPC: `proto/ringfort/admin/v1/sessions.proto`.

use ringfort_proto::{
    admin::v1::{self as pb, sessions_server::Sessions},
    cluster::v1::{SessionsAfter, answer::Answer, question::Question},
};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use super::{
    look::{Look, caller},
    page::{self, Place},
    refusal::{invalid, not_found, refusal},
};
use crate::{
    audit::Event,
    router::{Realm, registry::SessionRow},
    session::realm::RealmHandle,
    wamp::{SessionId, Uri, UriCheck, error_uri},
};

/// The service.
#[derive(Clone)]
pub(super) struct Service(pub(super) Look);

/// Rows of the index that are looked at while a realm is held.
const LOOKS: usize = 2_000;
/// The longest text of a GOODBYE.
const MESSAGE_BYTES_MAX: usize = 1_024;

type Reply<T> = Result<Response<T>, Status>;

fn place(session: &pb::Session) -> Place {
    Place {
        realm: session.realm.clone(),
        id: session.id,
    }
}

impl Service {
    /// What the index has, page by page, without asking anybody.
    async fn page(
        &self,
        filter: &pb::ListSessionsRequest,
        size: usize,
        from: Option<&Place>,
    ) -> Result<Vec<pb::Session>, Status> {
        let lives = self.0.lives(&filter.node)?;
        let wanted = |row: &SessionRow| {
            (filter.node.is_empty() || lives.contains(&row.node))
                && (filter.authid.is_empty() || row.authid == filter.authid)
                && (filter.authrole.is_empty() || row.authrole == filter.authrole)
        };
        let mut found = Vec::new();
        for realm in self.0.realms(&filter.realm)? {
            let Some(after) = Place::after(from, realm.name()) else {
                continue;
            };
            let mut after = after.and_then(SessionId::new);
            loop {
                let room = size + 1 - found.len();
                let look = |core: &Realm| core.registry().sessions_after(after, room, LOOKS, |_, row| wanted(row));
                let (rows, more) = realm.with_core(look);
                found.extend(rows.into_iter().map(|(id, row)| self.told(&realm, id, row)));
                if found.len() > size {
                    return Ok(found);
                }
                match more {
                    None => break,
                    last => after = last,
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }

    fn told(&self, realm: &RealmHandle, id: SessionId, row: SessionRow) -> pb::Session {
        pb::Session {
            id: id.get(),
            realm: realm.name().to_string(),
            node: self.0.inspect.fellows.name_of(row.node),
            authid: row.authid,
            authrole: row.authrole,
            authmethod: row.authmethod,
            authprovider: row.authprovider,
            source: String::new(),
        }
    }
}

/// The nodes that may have a session: its own, or all where the index does not have it yet.
pub(super) fn may_have(look: &Look, id: SessionId) -> Vec<String> {
    let mut realms = look.inspect.shared.realms();
    let node = realms.find_map(|realm| realm.with_core(|core| core.registry().session(id).map(|row| row.node)));
    let name = node.map(|node| look.inspect.fellows.name_of(node));
    match name.filter(|name| !name.is_empty()) {
        Some(name) => vec![name],
        None => look.inspect.fellows.names(),
    }
}

#[tonic::async_trait]
impl Sessions for Service {
    async fn list(&self, request: Request<pb::ListSessionsRequest>) -> Reply<pb::ListSessionsReply> {
        let filter = request.get_ref();
        let size = page::size(filter.page_size);
        let from = Place::read(&filter.page_token)?;
        let index = *self.0.inspect.consensus.applied().borrow();
        let (mut sessions, missing) = if filter.source.is_empty() {
            (self.page(filter, size, from.as_ref()).await?, Vec::new())
        } else {
            if filter.source.parse::<std::net::IpAddr>().is_err() {
                let what = format!("source is {}", filter.source);
                return Err(invalid(&what, "write an IP address, such as 192.0.2.7 or 2001:db8::7"));
            }
            self.0.realms(&filter.realm)?;
            let question = Question::Sessions(SessionsAfter {
                filter: Some(filter.clone()),
                realm: from.as_ref().map(|from| from.realm.clone()).unwrap_or_default(),
                id: from.as_ref().map_or(0, |from| from.id),
                limit: u32::try_from(size + 1).unwrap_or(u32::MAX),
            });
            let asked = self.0.ask(&request, self.0.nodes(&filter.node)?, &question).await;
            let of_node = |(node, answer): (String, Answer)| match answer {
                Answer::Sessions(reply) => reply
                    .sessions
                    .into_iter()
                    .map(|one| pb::Session {
                        node: node.clone(),
                        ..one
                    })
                    .collect(),
                _ => Vec::new(),
            };
            let mut sessions: Vec<pb::Session> = asked.answers.into_iter().flat_map(of_node).collect();
            sessions.sort_by(|a, b| (&a.realm, a.id).cmp(&(&b.realm, b.id)));
            (sessions, asked.missing)
        };
        let next_page_token = page::cut(&mut sessions, size, place);
        Ok(Response::new(pb::ListSessionsReply {
            sessions,
            next_page_token,
            missing,
            index,
        }))
    }

    async fn get(&self, request: Request<pb::GetSessionRequest>) -> Reply<pb::GetSessionReply> {
        let id = session_id(request.get_ref().id)?;
        let question = Question::Session(*request.get_ref());
        let asked = self.0.ask(&request, may_have(&self.0, id), &question).await;
        for (node, answer) in asked.answers {
            if let Answer::Session(mut reply) = answer {
                if let Some(session) = &mut reply.session {
                    session.node = node;
                }
                return Ok(Response::new(reply));
            }
        }
        if asked.missing.is_empty() {
            return Err(not_found(&format!("there is no session {id}"), "list those there are"));
        }
        let what = format!("{} may have it and has not answered", asked.missing.join(", "));
        Err(refusal(
            Code::Unavailable,
            "NODE_SILENT",
            &what,
            "try again, or look at the links of /status",
        ))
    }

    async fn kill(&self, request: Request<pb::KillSessionsRequest>) -> Reply<pb::KillSessionsReply> {
        let who = caller(&request)?;
        let order = check(request.get_ref().clone())?;
        self.0.realms(&order.realm)?;
        let nodes = match SessionId::new(order.id) {
            Some(id) if order.node.is_empty() => may_have(&self.0, id),
            _ => self.0.nodes(&order.node)?,
        };
        let event = Event {
            admin: Some(who.name.to_string()),
            source: Some(who.source.ip()),
            realm: Some(order.realm.clone()).filter(|realm| !realm.is_empty()),
            session: Some(order.id).filter(|id| *id != 0),
            authid: Some(order.authid.clone()).filter(|authid| !authid.is_empty()),
            role: Some(order.authrole.clone()).filter(|role| !role.is_empty()),
            what: Some(format!("kill_sessions {}", selector(&order))),
            ..Event::of("change")
        };
        self.0.record_asked(event.clone()).await?;
        tracing::info!(
            selector = selector(&order),
            admin = &*who.name,
            "sessions are ended on an operator's word"
        );
        let asked = self.0.ask(&request, nodes, &Question::Kill(order.clone())).await;
        let ended = asked.answers.into_iter().map(|(node, answer)| pb::EndedOnNode {
            node,
            ended: match answer {
                Answer::Ended(reply) => reply.ended,
                _ => 0,
            },
        });
        let nodes: Vec<pb::EndedOnNode> = ended.collect();
        let total: u64 = nodes.iter().map(|node| node.ended).sum();
        let by_node: serde_json::Map<String, serde_json::Value> =
            nodes.iter().map(|node| (node.node.clone(), json!(node.ended))).collect();
        let outcome = Event {
            count: Some(total),
            after: Some(json!({ "ended": by_node, "reason": order.reason })),
            unconfirmed: asked.missing.clone(),
            ..event
        };
        self.0.record_outcome(outcome, None).await?;
        if order.id != 0 && total == 0 && asked.missing.is_empty() {
            let what = format!("there is no session {} that matches", order.id);
            return Err(not_found(&what, "list those there are"));
        }
        Ok(Response::new(pb::KillSessionsReply {
            nodes,
            missing: asked.missing,
        }))
    }
}

/// A session's id.
pub(super) fn session_id(raw: u64) -> Result<SessionId, Status> {
    SessionId::new(raw).ok_or_else(|| invalid(&format!("{raw} is no session id"), "ids are from 1 to 2^53"))
}

/// Which sessions an order means, as the audit log says it.
fn selector(order: &pb::KillSessionsRequest) -> String {
    let mut parts = Vec::new();
    if order.id != 0 {
        parts.push(format!("session={}", order.id));
    }
    let texts = [
        ("authid", &order.authid),
        ("authrole", &order.authrole),
        ("realm", &order.realm),
        ("node", &order.node),
    ];
    parts.extend(
        texts
            .iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}={text}")),
    );
    parts.join(" ")
}

/// The order with its defaults, if it can be carried out.
fn check(mut order: pb::KillSessionsRequest) -> Result<pb::KillSessionsRequest, Status> {
    if selector(&order).is_empty() {
        let what = "nothing says which sessions, and all are not ended by mistake";
        return Err(invalid(what, "give at least one of id, authid, authrole, realm and node"));
    }
    if order.id != 0 {
        session_id(order.id)?;
    }
    if order.reason.is_empty() {
        order.reason = error_uri::KILLED.to_owned();
    }
    if !Uri::from(order.reason.as_str()).is_uri(UriCheck::Loose) {
        return Err(invalid(
            &format!("reason is {}", order.reason),
            "write a URI, such as wamp.close.killed",
        ));
    }
    if order.message.len() > MESSAGE_BYTES_MAX {
        return Err(invalid("message is too long", "write at most 1024 bytes"));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_without_a_selector_is_refused_and_says_what_to_give() {
        let empty = pb::KillSessionsRequest {
            reason: "com.example.bye".to_owned(),
            ..Default::default()
        };
        let status = check(empty).unwrap_err();
        assert!(
            status.code() == Code::InvalidArgument && status.message().contains("at least one of id, authid"),
            "{status}"
        );
        let order = |reason: &str| pb::KillSessionsRequest {
            authid: "eve".to_owned(),
            node: "n2".to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let checked = check(order("")).unwrap();
        assert_eq!(
            (checked.reason.as_str(), selector(&checked).as_str()),
            ("wamp.close.killed", "authid=eve node=n2")
        );
        assert!(check(order("no uri")).unwrap_err().message().contains("reason"));
    }
}
