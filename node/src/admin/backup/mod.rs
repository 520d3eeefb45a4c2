//! Backup and restore over gRPC: `proto/ringfort/admin/v1/backup.proto`; the format is in [`mod@file`].

pub mod file;

use std::time::{SystemTime, UNIX_EPOCH};

use ringfort_proto::admin::v1::{self as pb, backup_server::Backup};
use serde_json::json;
use tokio_stream::StreamExt;
use tonic::{Request, Response, Status, Streaming};

use self::file::Contents;
use super::{
    access::{Access, Reply, caller},
    edits::{EDIT_BYTES_MAX, Made},
};
use crate::{
    audit::Event,
    cluster::{
        catalog::{Edits, Itself, RealmEdit},
        command::Command,
    },
    router::{Edit, LogIndex},
    wamp::Uri,
};

/// Bytes of one message.
const CHUNK: usize = 256 * 1024;
/// Bytes of a file that is restored: what all realms may have together takes less.
const RESTORE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How often it is tried to look at all realms while none of them changes.
const TRIES: usize = 50;

type Chunks = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<pb::BackupChunk, Status>> + Send>>;

#[tonic::async_trait]
impl Backup for Access {
    type CreateStream = Chunks;

    async fn create(&self, request: Request<pb::CreateBackupRequest>) -> Reply<Chunks> {
        let caller = caller(&request)?;
        let index = self.catch_up().await?;
        let contents = self.contents(index).await?;
        let counts = contents.counts();
        let event = Event {
            admin: Some(caller.name.to_string()),
            source: Some(caller.source.ip()),
            step: Some("done"),
            what: Some("create a backup".to_owned()),
            after: Some(json!({ "realms": counts.realms, "roles": counts.roles, "principals": counts.principals })),
            index: Some(contents.index),
            ..Event::of("backup")
        };
        if self.audit.is_open() {
            let noted = self.audit.commit(event).await;
            noted.map_err(|error| Status::unavailable(format!("no backup was made: {error}")))?;
        }
        let bytes = bytes::Bytes::from(contents.to_bytes());
        let chunks: Vec<_> = (0..bytes.len())
            .step_by(CHUNK)
            .map(|at| {
                let data = bytes.slice(at..bytes.len().min(at + CHUNK));
                Ok(pb::BackupChunk { data })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn restore(&self, request: Request<Streaming<pb::RestoreChunk>>) -> Reply<pb::RestoreReply> {
        let caller = caller(&request)?;
        let (bytes, other_cluster) = received(request.into_inner()).await?;
        let mut contents = Contents::from_bytes(&bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let own = self.inspect.view.borrow().cluster_id.clone().unwrap_or_default();
        if contents.cluster_id != own && !other_cluster {
            let text = format!(
                "the backup is of cluster {}, and this is {own}: say so if that is meant (--other-cluster)",
                contents.cluster_id
            );
            return Err(Status::failed_precondition(text));
        }
        self.catch_up().await?;
        self.expect_seeds(&mut contents.edits);
        let counts = contents.counts();
        let mut made = None;
        let parts = split(contents.edits);
        let count = parts.len();
        for (at, part) in parts.into_iter().enumerate() {
            let events = events(&part, &contents.cluster_id);
            match self.edit(&caller, part, events).await {
                Ok(done) => made = Some(done),
                Err(status) if at == 0 => return Err(status),
                Err(status) => {
                    let text = format!(
                        "{at} of {count} parts are in place, then: {}; begin again with a new cluster",
                        status.message()
                    );
                    return Err(Status::unknown(text));
                }
            }
        }
        let Made {
            index,
            confirmed,
            unconfirmed,
            ..
        } = made.ok_or_else(|| Status::invalid_argument("there is nothing in the backup"))?;
        Ok(Response::new(pb::RestoreReply {
            cluster_id: contents.cluster_id,
            at_ms: contents.at_ms,
            realms: counts.realms,
            roles: counts.roles,
            principals: counts.principals,
            definitions: counts.definitions,
            index,
            confirmed,
            unconfirmed,
        }))
    }
}

impl Access {
    /// What there is, all of one moment: no realm changed while it was looked at.
    async fn contents(&self, index: LogIndex) -> Result<Contents, Status> {
        for _ in 0..TRIES {
            let before = self.revisions();
            let edits = self.everything();
            if before == self.revisions() {
                let view = self.inspect.view.borrow().clone();
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                return Ok(Contents {
                    cluster_id: view.cluster_id.unwrap_or_default(),
                    index,
                    at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    node: self.name.to_string(),
                    edits: Edits {
                        key: view.restored_key.or(view.id_key),
                        ..edits
                    },
                });
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Err(Status::unavailable("realms are being changed all the time: try again"))
    }

    /// What tells that nothing of a backup has changed.
    fn revisions(&self) -> (u64, Vec<(Uri, u64, u64)>) {
        let of = |realm: &crate::session::realm::RealmHandle| {
            let (rights, definitions) = realm.with_core(|core| (core.authority().revision(), core.definitions_given()));
            (realm.name().clone(), rights, definitions)
        };
        let catalog = self.inspect.view.borrow().catalog.revision;
        (catalog, self.inspect.shared.realms().map(of).collect())
    }

    fn everything(&self) -> Edits {
        let catalog = std::sync::Arc::clone(&self.inspect.view.borrow().catalog);
        let mut realms: Vec<RealmEdit> = self
            .inspect
            .shared
            .realms()
            .map(|realm| {
                let (changes, definitions) = realm.with_core(|core| {
                    let definitions = core.definitions_of_the_log();
                    (core.authority().as_changes(), definitions.cloned().collect())
                });
                let settings = catalog.settings(realm.name()).cloned();
                RealmEdit {
                    itself: settings.map_or(Itself::Stays, |settings| Itself::Put(Box::new(settings))),
                    edit: Edit {
                        clear: true,
                        changes,
                        definitions,
                    },
                    ..RealmEdit::of(realm.name().clone())
                }
            })
            .filter(|edit| edit.itself != Itself::Stays || !edit.edit.changes.is_empty() || !edit.edit.definitions.is_empty())
            .collect();
        realms.sort_by(|one, other| one.realm.cmp(&other.realm));
        Edits {
            fresh: true,
            realms,
            ..Edits::default()
        }
    }

    /// A realm that stands as its configuration seeded it is none of the cluster's own: it gives way.
    fn expect_seeds(&self, edits: &mut Edits) {
        for (name, _) in self.fixed().iter().filter(|(_, fixed)| fixed.seeds) {
            let realm = self.inspect.shared.realm(name);
            if realm.is_none_or(|realm| realm.with_core(|core| core.authority().revision()) != 1) {
                continue;
            }
            match edits.realms.iter_mut().find(|edit| edit.realm == *name) {
                Some(edit) => edit.rights_expected = Some(1),
                // It stays as it was seeded.
                None => edits.realms.push(RealmEdit {
                    rights_expected: Some(1),
                    ..RealmEdit::of(name.clone())
                }),
            }
        }
    }
}

/// The bytes of a file, and whether it may be of another cluster.
async fn received(mut stream: Streaming<pb::RestoreChunk>) -> Result<(Vec<u8>, bool), Status> {
    let (mut bytes, mut other_cluster) = (Vec::new(), false);
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        other_cluster |= chunk.other_cluster;
        if bytes.len() + chunk.data.len() > RESTORE_BYTES_MAX {
            let text = format!("a backup has at most {RESTORE_BYTES_MAX} bytes");
            return Err(Status::resource_exhausted(text));
        }
        bytes.extend_from_slice(&chunk.data);
    }
    Ok((bytes, other_cluster))
}

/// The same as changes that each fit into the log; usually one.
fn split(edits: Edits) -> Vec<Edits> {
    let size = |edits: &Edits| Command::Edit(Box::new(edits.clone())).encode().len();
    // Room for who asks for it.
    let max = EDIT_BYTES_MAX - 64 * 1024;
    if size(&edits) <= max {
        return vec![edits];
    }
    let mut parts: Vec<Edits> = Vec::new();
    for realm in edits.realms {
        let own = size(&of_one(realm.clone()));
        if own <= max {
            match parts.last_mut() {
                Some(last) if size(last) + own <= max => last.realms.push(realm),
                _ => parts.push(of_one(realm)),
            }
            continue;
        }
        // One realm that is too much: bit by bit, each in a change of its own, for one change names a realm once.
        let Edit {
            changes, definitions, ..
        } = realm.edit.clone();
        let first = RealmEdit {
            edit: Edit {
                clear: true,
                ..Edit::default()
            },
            ..realm.clone()
        };
        parts.push(of_one(first));
        for changes in changes.chunks(CHANGES_AT_ONCE) {
            let edit = Edit {
                changes: changes.to_vec(),
                ..Edit::default()
            };
            parts.push(of_one(RealmEdit {
                edit,
                ..RealmEdit::of(realm.realm.clone())
            }));
        }
        let edit = Edit {
            definitions,
            ..Edit::default()
        };
        parts.push(of_one(RealmEdit {
            edit,
            ..RealmEdit::of(realm.realm.clone())
        }));
    }
    if let Some(first) = parts.first_mut() {
        (first.fresh, first.key) = (true, edits.key);
    }
    parts
}

/// Principals of a realm that is too large for one change.
const CHANGES_AT_ONCE: usize = 1_000;

fn of_one(realm: RealmEdit) -> Edits {
    Edits {
        realms: vec![realm],
        ..Edits::default()
    }
}

fn events(edits: &Edits, cluster_id: &str) -> Vec<Event> {
    let event = |edit: &RealmEdit| Event {
        realm: Some(edit.realm.to_string()),
        what: Some("restore a backup".to_owned()),
        after: Some(json!({ "of_cluster": cluster_id, "changes": edit.edit.changes.len() })),
        ..Event::of("change")
    };
    edits.realms.iter().map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Principal, router::Change};

    fn realm(name: &str, principals: usize) -> RealmEdit {
        let principal = |n: usize| Change::PutPrincipal {
            principal: Principal {
                authid: format!("{name}-{n:0>200}"),
                role: "device".to_owned(),
                credentials: Vec::new(),
            },
        };
        RealmEdit {
            rights_expected: Some(1),
            edit: Edit {
                clear: true,
                changes: (0..principals).map(principal).collect(),
                definitions: Vec::new(),
            },
            ..RealmEdit::of(Uri::from(name))
        }
    }

    #[test]
    fn a_backup_that_fits_is_one_change_and_a_larger_one_is_whole_in_several() {
        let edits = |realms: Vec<RealmEdit>| Edits {
            fresh: true,
            key: Some([1; 16]),
            realms,
            ..Edits::default()
        };
        assert_eq!(split(edits(vec![realm("a", 10), realm("b", 10)])).len(), 1);
        let parts = split(edits(vec![
            realm("a", 10),
            realm("b", 80_000),
            realm("c", 40_000),
            realm("d", 40_000),
        ]));
        let sizes = parts.iter().map(|part| Command::Edit(Box::new(part.clone())).encode().len());
        assert!(parts.len() > 3 && sizes.max() <= Some(EDIT_BYTES_MAX));
        assert!(parts[0].fresh && parts[0].key.is_some() && parts[1..].iter().all(|part| !part.fresh));
        for part in &parts {
            let names: std::collections::BTreeSet<_> = part.realms.iter().map(|realm| &realm.realm).collect();
            assert_eq!(names.len(), part.realms.len(), "each realm once");
        }
        for (name, count) in [("a", 10), ("b", 80_000), ("c", 40_000), ("d", 40_000)] {
            let of_it = || {
                parts
                    .iter()
                    .flat_map(|part| &part.realms)
                    .filter(|realm| &*realm.realm == name)
            };
            assert_eq!(of_it().map(|realm| realm.edit.changes.len()).sum::<usize>(), count);
            let clears: Vec<bool> = of_it().map(|realm| realm.edit.clear).collect();
            assert!(clears[0] && !clears[1..].contains(&true), "only what stood before goes");
        }
    }
}
