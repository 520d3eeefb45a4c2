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
    /// The node's id in consensus, random.
    pub raft_id: u64,
}

/// An identity, and the lock on its directory for as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Who this node is.
    pub identity: Identity,
    _lock: Option<File>,
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
    };
    let Some(dir) = data_dir else {
        return Ok(Held {
            identity: fresh(draw()),
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
            identity
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = fresh(draw());
            let temporary = dir.join("identity.json.new");
            let text = serde_json::to_vec_pretty(&identity).expect("an identity is plain data");
            let mut file = File::create(&temporary).map_err(io(&temporary, "creating"))?;
            file.write_all(&text)
                .and_then(|()| file.sync_all())
                .map_err(io(&temporary, "writing"))?;
            fs::rename(&temporary, &path).map_err(io(&path, "renaming into place"))?;
            File::open(dir).and_then(|d| d.sync_all()).map_err(io(dir, "syncing"))?;
            identity
        }
        Err(error) => return Err(io(&path, "reading")(error)),
    };
    Ok(Held {
        identity,
        _lock: Some(lock),
    })
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
    fn a_damaged_identity_is_an_error_not_a_new_node() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(matches!(
            load(Some(dir.path()), "c", "n1", || 42),
            Err(Error::Unreadable { .. })
        ));
    }
}
