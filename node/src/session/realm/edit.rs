//! A realm that is changed as a whole, and one that the log makes and takes away.

use std::sync::{Arc, atomic::Ordering};

use super::RealmHandle;
use crate::{
    auth::Principals,
    router::{Edit, LogIndex, RealmConfig},
};

impl RealmHandle {
    /// The log reached an edit for which there is room. Returns the revision of the realm after it.
    pub fn edit(&self, index: LogIndex, edit: &Edit) -> u64 {
        self.change_core(|core, now, effects| {
            let revision = core.edit(now, index, edit, effects);
            if let Some(principals) = self.shared.principals.get() {
                principals.replace(core.authority().principals().map(|row| row.value.clone()));
            }
            revision
        })
    }

    /// Takes other settings; anonymous sessions end unless `anonymous` names their role.
    pub fn configure(&self, config: RealmConfig, anonymous: Option<&str>) {
        self.change_core(|core, now, effects| core.configure(now, config, anonymous, effects));
    }

    /// The realm was removed: its sessions end.
    pub fn close(&self) {
        self.change_core(|core, now, effects| core.close(now, effects));
    }

    /// Whoever was let in by the rules so far and has not joined yet does not. Returns the number of the new ones.
    pub(super) fn next_generation(&self) -> u64 {
        // Under the lock: whoever is admitted before is there to be ended.
        let _held = self.shared.lock();
        self.shared.generation.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The table of principals that follows what the log says of this realm.
    pub fn principals(&self) -> Option<&Arc<Principals>> {
        self.shared.principals.get()
    }
}
