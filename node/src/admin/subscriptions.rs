//! Subscriptions and slow consumers over gRPC: `proto/ringfort/admin/v1/subscriptions.proto` and `slow.proto`. Both are put together from
//! what all nodes say of their own sessions.

use std::collections::BTreeMap;

use ringfort_proto::{
    admin::v1::{self as pb, slow_consumers_server::SlowConsumers, subscriptions_server::Subscriptions},
    cluster::v1::{SubscriptionsAfter, answer::Answer, question::Question},
};
use tonic::{Code, Request, Response, Status};

use super::{
    look::{Look, policy},
    page::{self, Place},
    refusal::{invalid, not_found, refusal},
};

/// The services.
#[derive(Clone)]
pub(super) struct Service(pub(super) Look);

type Reply<T> = Result<Response<T>, Status>;

fn place(subscription: &pb::Subscription) -> Place {
    Place {
        realm: subscription.realm.clone(),
        id: subscription.id,
    }
}

/// What nodes say of the same subscription, as one. Each has said how many subscribers it has.
fn merge(rows: impl Iterator<Item = (String, pb::Subscription)>) -> Vec<pb::Subscription> {
    let mut merged: BTreeMap<(String, u64), pb::Subscription> = BTreeMap::new();
    for (node, row) in rows {
        let mut nodes = row.nodes.clone();
        nodes.iter_mut().for_each(|of_node| of_node.node.clone_from(&node));
        match merged.get_mut(&(row.realm.clone(), row.id)) {
            Some(known) => {
                known.created_ms = known.created_ms.min(row.created_ms);
                known.nodes.extend(nodes);
            }
            None => {
                let key = (row.realm.clone(), row.id);
                merged.insert(key, pb::Subscription { nodes, ..row });
            }
        }
    }
    let mut merged: Vec<pb::Subscription> = merged.into_values().collect();
    for row in &mut merged {
        row.nodes.sort_by(|a, b| a.node.cmp(&b.node));
    }
    merged
}

#[tonic::async_trait]
impl Subscriptions for Service {
    async fn list(&self, request: Request<pb::ListSubscriptionsRequest>) -> Reply<pb::ListSubscriptionsReply> {
        let filter = request.get_ref();
        let size = page::size(filter.page_size);
        let from = Place::read(&filter.page_token)?;
        self.0.realms(&filter.realm)?;
        // Each tells its first ones, one more than a page has: so all of the first page are among them, with all their nodes.
        let question = Question::Subscriptions(SubscriptionsAfter {
            filter: Some(filter.clone()),
            realm: from.as_ref().map(|from| from.realm.clone()).unwrap_or_default(),
            id: from.as_ref().map_or(0, |from| from.id),
            limit: u32::try_from(size + 1).unwrap_or(u32::MAX),
        });
        let asked = self.0.ask(&request, self.0.nodes(&filter.node)?, &question).await;
        let rows = asked.answers.into_iter().flat_map(|(node, answer)| match answer {
            Answer::Subscriptions(reply) => reply.subscriptions.into_iter().map(|row| (node.clone(), row)).collect(),
            _ => Vec::new(),
        });
        let mut subscriptions = merge(rows);
        let next_page_token = page::cut(&mut subscriptions, size, place);
        Ok(Response::new(pb::ListSubscriptionsReply {
            subscriptions,
            next_page_token,
            missing: asked.missing,
        }))
    }

    async fn get(&self, request: Request<pb::GetSubscriptionRequest>) -> Reply<pb::GetSubscriptionReply> {
        let wanted = request.get_ref();
        let realm = self.0.realm(&wanted.realm)?;
        policy(&wanted.r#match)?;
        if (wanted.id == 0) == wanted.uri.is_empty() {
            return Err(invalid("which subscription is not said", "give either its id or its uri"));
        }
        let question = Question::Subscription(wanted.clone());
        let asked = self.0.ask(&request, self.0.nodes("")?, &question).await;
        let rows = asked.answers.into_iter().filter_map(|(node, answer)| match answer {
            Answer::Subscription(row) => Some((node, row)),
            _ => None,
        });
        let found = merge(rows).into_iter().next();
        if found.is_none() && !asked.missing.is_empty() {
            let what = format!("{} may have subscribers and has not answered", asked.missing.join(", "));
            return Err(refusal(
                Code::Unavailable,
                "NODE_SILENT",
                &what,
                "try again, or look at the links of /status",
            ));
        }
        let what = if wanted.id == 0 {
            wanted.uri.clone()
        } else {
            wanted.id.to_string()
        };
        let subscription = found.ok_or_else(|| {
            not_found(
                &format!("nobody in realm {} subscribes to {what}", realm.name()),
                "list what there is",
            )
        })?;
        Ok(Response::new(pb::GetSubscriptionReply {
            subscription: Some(subscription),
            missing: asked.missing,
        }))
    }
}

#[tonic::async_trait]
impl SlowConsumers for Service {
    async fn list(&self, request: Request<pb::ListSlowConsumersRequest>) -> Reply<pb::ListSlowConsumersReply> {
        let filter = request.get_ref();
        self.0.realms(&filter.realm)?;
        let limit = page::size(filter.limit);
        let asked = self
            .0
            .ask(&request, self.0.nodes(&filter.node)?, &Question::Slow(filter.clone()))
            .await;
        let of_node = |(node, answer): (String, Answer)| match answer {
            Answer::Slow(reply) => {
                let named = reply.consumers.into_iter().map(|one| pb::SlowConsumer {
                    node: node.clone(),
                    ..one
                });
                named.collect()
            }
            _ => Vec::new(),
        };
        let mut consumers: Vec<pb::SlowConsumer> = asked.answers.into_iter().flat_map(of_node).collect();
        consumers.sort_by_key(|one| (std::cmp::Reverse(one.outbox_bytes), one.session));
        consumers.truncate(limit);
        Ok(Response::new(pb::ListSlowConsumersReply {
            consumers,
            missing: asked.missing,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_of_one_subscription_becomes_one_row() {
        let row = |id, created_ms, subscribers| pb::Subscription {
            id,
            realm: "r".to_owned(),
            created_ms,
            nodes: vec![pb::SubscribersOfNode {
                subscribers,
                ..Default::default()
            }],
            ..Default::default()
        };
        let said = [("n2", row(7, 20, 1)), ("n1", row(7, 10, 3)), ("n1", row(3, 5, 1))];
        let merged = merge(said.into_iter().map(|(node, row)| (node.to_owned(), row)));
        let seven = &merged[1];
        assert_eq!((merged[0].id, seven.id, seven.created_ms), (3, 7, 10));
        let nodes: Vec<_> = seven.nodes.iter().map(|one| (one.node.as_str(), one.subscribers)).collect();
        assert_eq!(nodes, [("n1", 3), ("n2", 1)]);
    }
}
