//! Who this node is across restarts: a number drawn once and kept beside its log.
//!
//! A consensus id is never an ordinal and never reused: a node that lost its disk is a new node (`reference/cluster.md` §1.5).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

const FILE: &str = "identity.json";
const LOCK: &str = "lock";
const FORMAT: u32 = 1;

/// The contents of `identity.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Layout of the data directory; 1.
    pub format: u32,
    /// The cluster the data belongs to.
    pub cluster_id: String,
    /// The node's name when the directory was made.
    pub name: String,
    /// The node's id in consensus, random. The log says for how long it is a member's, and never takes it twice.
    pub raft_id: u64,
    /// True once the log has said that this disk is removed from the cluster for good.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

/// An identity, and the lock on its directory for as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Who this node is.
    pub identity: Identity,
    dir: Option<PathBuf>,
    _lock: Option<File>,
}

impl Held {
    /// Notes on the disk that this node was removed from its cluster: it is not started again.
    ///
    /// # Errors
    /// The file could not be written; the cluster would tell the node once more.
    pub fn mark_removed(&mut self) -> Result<(), Error> {
        self.identity.removed = true;
        match &self.dir {
            Some(dir) => write(dir, &self.identity),
            None => Ok(()),
        }
    }
}

/// The data directory cannot be used; nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The surroundings.
    #[error("{path}: {doing}: {source}")]
    Io {
        path: PathBuf,
        doing: &'static str,
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error("{0}: another process uses this data directory: stop it, or set cluster.data_dir to another one")]
    Locked(PathBuf),
    /// The file is not what this build writes.
    #[error("{path}: {why}: restore the file, or move the directory away to join as a new node")]
    Unreadable { path: PathBuf, why: String },
    /// An operator has removed this node.
    #[error(
        "{path}: this node was removed from cluster {cluster_id}: to have it back, announce it with ringfort admin add-node {name}, \
         and start it with an empty cluster.data_dir"
    )]
    Removed {
        path: PathBuf,
        cluster_id: String,
        name: String,
    },
    /// The directory belongs to another cluster or node.
    #[error(
        "{path} belongs to {what} {found:?}, the configuration says {wanted:?}: correct the configuration or cluster.data_dir"
    )]
    Foreign {
        path: PathBuf,
        what: &'static str,
        found: String,
        wanted: String,
    },
}

/// Reads the identity in `data_dir`, or draws and stores one; without a directory, one that ends with the process.
///
/// # Errors
/// See [`Error`].
pub fn load(data_dir: Option<&Path>, cluster_id: &str, name: &str, draw: impl FnOnce() -> u64) -> Result<Held, Error> {
    let fresh = |raft_id| Identity {
        format: FORMAT,
        cluster_id: cluster_id.to_owned(),
        name: name.to_owned(),
        raft_id,
        removed: false,
    };
    let Some(dir) = data_dir else {
        return Ok(Held {
            identity: fresh(draw()),
            dir: None,
            _lock: None,
        });
    };
    let io = |path: &Path, doing| {
        let path = path.to_owned();
        move |source| Error::Io { path, doing, source }
    };
    fs::create_dir_all(dir).map_err(io(dir, "creating the data directory"))?;
    let lock_path = dir.join(LOCK);
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(io(&lock_path, "opening the lock file"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(Error::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(source)) => return Err(io(&lock_path, "locking")(source)),
    }
    let path = dir.join(FILE);
    let identity = match fs::read(&path) {
        Ok(bytes) => {
            let unreadable = |why: String| Error::Unreadable { path: path.clone(), why };
            let identity: Identity = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
            if identity.format != FORMAT {
                return Err(unreadable(format!(
                    "format {} is not {FORMAT}, which this build knows",
                    identity.format
                )));
            }
            for (what, found, wanted) in [("cluster", &identity.cluster_id, cluster_id), ("node", &identity.name, name)] {
                if found != wanted {
                    let (found, wanted) = (found.clone(), wanted.to_owned());
                    return Err(Error::Foreign {
                        path,
                        what,
                        found,
                        wanted,
                    });
                }
            }
            if identity.removed {
                let (cluster_id, name) = (identity.cluster_id, identity.name);
                return Err(Error::Removed { path, cluster_id, name });
            }
            identity
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = fresh(draw());
            write(dir, &identity)?;
            identity
        }
        Err(error) => return Err(io(&path, "reading")(error)),
    };
    Ok(Held {
        identity,
        dir: Some(dir.to_owned()),
        _lock: Some(lock),
    })
}

/// Puts the identity into its directory, whole or not at all.
fn write(dir: &Path, identity: &Identity) -> Result<(), Error> {
    let io = |path: &Path, doing| {
        let path = path.to_owned();
        move |source| Error::Io { path, doing, source }
    };
    let (path, temporary) = (dir.join(FILE), dir.join("identity.json.new"));
    let text = serde_json::to_vec_pretty(identity).expect("an identity is plain data");
    let mut file = File::create(&temporary).map_err(io(&temporary, "creating"))?;
    file.write_all(&text)
        .and_then(|()| file.sync_all())
        .map_err(io(&temporary, "writing"))?;
    fs::rename(&temporary, &path).map_err(io(&path, "renaming into place"))?;
    File::open(dir).and_then(|d| d.sync_all()).map_err(io(dir, "syncing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_drawn_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(Some(dir.path()), "c", "n1", || 42).unwrap();
        assert!(matches!(load(Some(dir.path()), "c", "n1", || 43), Err(Error::Locked(_))));
        drop(first);
        assert_eq!(load(Some(dir.path()), "c", "n1", || 43).unwrap().identity.raft_id, 42);
    }

    #[test]
    fn a_directory_of_another_cluster_or_node_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(load(Some(dir.path()), "c", "n1", || 42).unwrap());
        let error = load(Some(dir.path()), "other", "n1", || 43).unwrap_err().to_string();
        assert!(error.contains("belongs to cluster \"c\""), "{error}");
        let error = load(Some(dir.path()), "c", "n2", || 43).unwrap_err().to_string();
        assert!(error.contains("belongs to node \"n1\""), "{error}");
    }

    #[test]
    fn a_removed_node_does_not_start_again_and_is_told_how_to_come_back() {
        let dir = tempfile::tempdir().unwrap();
        load(Some(dir.path()), "c", "n1", || 42).unwrap().mark_removed().unwrap();
        let error = load(Some(dir.path()), "c", "n1", || 43).unwrap_err().to_string();
        assert!(
            error.contains("was removed from cluster c") && error.contains("add-node n1"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_identity_is_an_error_not_a_new_node() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(matches!(
            load(Some(dir.path()), "c", "n1", || 42),
            Err(Error::Unreadable { .. })
        ));
    }
}
