//! How a realm asks its store, which takes longer than a realm may be held: by tasks that bring the answer back as an input.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::{RealmHandle, Shell};
use crate::{
    router::{
        Input,
        kept::{AskHistory, TellHistory},
    },
    session::keeping::Keeping,
};

/// Where the events of a realm are kept, and who asks there.
pub(super) struct Keeper {
    pub(super) keeping: Arc<Keeping>,
    /// Where questions are asked: effects may be carried out on a thread that must not be held up by them.
    pub(super) runtime: Handle,
    pub(super) shell: Weak<Shell>,
}

impl Keeper {
    /// Has a task ask the store and hand over the answer.
    pub(super) fn ask(&self, ask: AskHistory) {
        let (keeping, shell) = (Arc::clone(&self.keeping), Weak::clone(&self.shell));
        self.runtime.spawn(async move {
            let answer = keeping.answer(ask).await;
            if let Some(shared) = shell.upgrade() {
                RealmHandle { shared }.input(Input::HistoryAnswer(Box::new(answer)));
            }
        });
    }

    /// Has a task look up what another node lacks.
    pub(super) fn tell(&self, tell: TellHistory) {
        let (keeping, shell) = (Arc::clone(&self.keeping), Weak::clone(&self.shell));
        self.runtime.spawn(async move {
            let page = keeping.page(tell).await;
            if let (Some(page), Some(shared)) = (page, shell.upgrade()) {
                RealmHandle { shared }.input(Input::HistoryPage(Box::new(page)));
            }
        });
    }
}
