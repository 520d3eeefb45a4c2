//! The realms of a node by name, and who may join each.

use std::{collections::BTreeMap, sync::Arc};

use super::RealmHandle;
use crate::{session::auth::RealmAuth, wamp::Uri};

/// The realms of a node, fixed at start.
#[derive(Debug, Default)]
pub struct Realms {
    realms: BTreeMap<Uri, RealmEntry>,
}

/// A realm and who may join it.
#[derive(Clone, Debug)]
pub struct RealmEntry {
    /// Its shell.
    pub handle: RealmHandle,
    /// Who may join it, and how.
    pub auth: Arc<RealmAuth>,
}

impl Realms {
    /// The realms of a node.
    pub fn new(realms: impl IntoIterator<Item = (RealmHandle, RealmAuth)>) -> Self {
        let entry = |(handle, auth): (RealmHandle, RealmAuth)| {
            (
                handle.name().clone(),
                RealmEntry {
                    handle,
                    auth: Arc::new(auth),
                },
            )
        };
        Self {
            realms: realms.into_iter().map(entry).collect(),
        }
    }

    /// The realm of that name.
    pub fn get(&self, name: &str) -> Option<&RealmEntry> {
        self.realms.get(name)
    }

    /// All realms, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = &RealmEntry> {
        self.realms.values()
    }
}
