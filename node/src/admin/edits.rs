//! Changes of several realms at once, on their way into the log: recorded, proposed, and confirmed by the nodes.

use ringfort_proto::admin::v1 as pb;
use tonic::Status;

use super::{
    access::{Access, refusal},
    caller::Caller,
};
use crate::{
    audit::Event,
    cluster::{
        catalog::{Edits, RealmRevision},
        command::{Command, Outcome},
        machine::NOT_FRESH,
    },
    router::{Changed, LogIndex},
};

/// What came of edits.
pub(super) struct Made {
    /// Of the realms that were named, in their order.
    pub(super) revisions: Vec<RealmRevision>,
    pub(super) index: LogIndex,
    pub(super) confirmed: Vec<String>,
    pub(super) unconfirmed: Vec<pb::Unconfirmed>,
}

/// Bytes of one change in the log.
pub(super) const EDIT_BYTES_MAX: usize = 15 * 1024 * 1024;

impl Access {
    /// Has the log make edits and waits for the nodes. The audit log has `events` on its disk before, and what came of them after.
    pub(super) async fn edit(&self, caller: &Caller, edits: Edits, events: Vec<Event>) -> Result<Made, Status> {
        let attributed = |event: Event| Event {
            admin: Some(caller.name.to_string()),
            source: Some(caller.source.ip()),
            ..event
        };
        let events: Vec<Event> = events.into_iter().map(attributed).collect();
        let step = |step, event: &Event| Event {
            step: Some(step),
            ..event.clone()
        };
        if self.audit.is_open() {
            for event in &events {
                let asked = self.audit.commit(step("asked", event)).await;
                asked.map_err(|error| Status::unavailable(format!("nothing was changed: {error}")))?;
            }
        }
        let made = self.make_edits(caller, edits).await;
        if !self.audit.is_open() {
            return made;
        }
        for event in &events {
            let outcome = match &made {
                Ok(made) => {
                    let revision = made.revisions.iter().find(|one| event.realm.as_deref() == Some(&*one.realm));
                    Event {
                        revision: revision.map(|one| one.settings.max(one.rights)),
                        index: Some(made.index),
                        unconfirmed: made.unconfirmed.iter().map(|one| one.node.clone()).collect(),
                        ..step("done", event)
                    }
                }
                Err(status) => Event {
                    reason: Some(format!("{:?}: {}", status.code(), status.message())),
                    ..step("failed", event)
                },
            };
            let noted = self.audit.commit(outcome).await;
            let text = |error| format!("what came of it could not be recorded, look before trying again: {error}");
            noted.map_err(|error| Status::unknown(text(error)))?;
        }
        made
    }

    async fn make_edits(&self, caller: &Caller, edits: Edits) -> Result<Made, Status> {
        for realm in &edits.realms {
            for change in &realm.edit.changes {
                let (_, name) = change.describe();
                let wrong = |what| Status::invalid_argument(format!("{} of realm {}: {what}", name, realm.realm));
                change.check().map_err(wrong)?;
            }
        }
        let command = Command::Edit(Box::new(Edits {
            actor: format!("{} on {}", caller.name, self.name),
            ..edits
        }));
        let bytes = command.encode().len();
        if bytes > EDIT_BYTES_MAX {
            let text = format!("it takes {bytes} bytes, and one change at most {EDIT_BYTES_MAX}: split it by realm");
            return Err(Status::resource_exhausted(text));
        }
        tracing::info!(bytes, "a change of realms was asked for");
        let (index, outcome) = self.inspect.leader.propose(&command).await.map_err(refusal)?;
        let revisions = match outcome {
            Outcome::Edited(revisions) => revisions,
            Outcome::Stale(found) => {
                return Err(Status::aborted(format!(
                    "realm {} has changed: its settings have revision {}, its roles and principals {}; look at it again",
                    found.realm, found.settings, found.rights
                )));
            }
            Outcome::Changed(Changed::NotFound) => return Err(Status::not_found("there is no such realm")),
            Outcome::Changed(Changed::Full) => {
                return Err(Status::resource_exhausted(
                    "the cluster has as many realms, roles or principals as it can",
                ));
            }
            Outcome::Refused(why) if why == NOT_FRESH => {
                return Err(Status::failed_precondition(format!(
                    "{NOT_FRESH}, and a backup would be mixed with them: restore into a new cluster, with empty data directories"
                )));
            }
            Outcome::Refused(why) => return Err(Status::failed_precondition(why)),
            other => return Err(Status::internal(format!("the log answered {other:?}"))),
        };
        let (confirmed, unconfirmed) = self.wait_for_nodes(index).await;
        Ok(Made {
            revisions,
            index,
            confirmed,
            unconfirmed,
        })
    }

    /// Waits until this node has applied what was committed before now.
    pub(super) async fn catch_up(&self) -> Result<LogIndex, Status> {
        let index = self.inspect.leader.read_index().await.map_err(refusal)?;
        let mut applied = self.inspect.consensus.applied();
        let caught_up = tokio::time::timeout(CATCH_UP_WITHIN, applied.wait_for(|applied| *applied >= index)).await;
        match caught_up {
            Ok(Ok(_)) => Ok(index),
            _ => Err(Status::unavailable(
                "this node is behind the log: try again, or ask another node",
            )),
        }
    }
}

/// How long a node may be behind the log that is asked what stands.
const CATCH_UP_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);
