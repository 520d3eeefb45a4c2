//! On what terms a session joins: who it has to be still, and how long it may stay.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::{RealmHandle, Shell};
use crate::{
    auth::{Principal, Principals},
    router::{Bearer, Input, Refresh, Refreshed},
    session::auth::Tokens,
};

/// What has to hold when a session joins, and how long it may stay.
#[derive(Debug, Default)]
pub struct Terms {
    /// The principal that has proved itself, and the table in which it has to stand still.
    pub principal: Option<(Arc<Principals>, Arc<Principal>)>,
    /// The token that the session stands on.
    pub bearer: Option<Box<Bearer>>,
    /// The rules of the realm by which it was let in.
    pub generation: u64,
}

impl Terms {
    /// True if nobody has taken back what was found when the credential was judged. Asked with the realm locked, as changes are made.
    pub(super) fn hold(&self, generation: u64) -> bool {
        let principal = self.principal.as_ref();
        self.generation == generation && principal.is_none_or(|(principals, principal)| principals.is_current(principal))
    }
}

/// Judges the newer tokens that sessions show, beside the realm: a signature takes longer than anybody should hold it.
pub(super) struct TokenJudge {
    tokens: Arc<Tokens>,
    runtime: Handle,
    shell: Weak<Shell>,
}

impl TokenJudge {
    pub(super) fn new(tokens: Arc<Tokens>, runtime: Handle, shell: Weak<Shell>) -> Self {
        Self { tokens, runtime, shell }
    }

    /// Judges one; the answer enters the realm later.
    pub(super) fn judge(&self, refresh: Refresh) {
        let (tokens, shell) = (Arc::clone(&self.tokens), Weak::clone(&self.shell));
        self.runtime.spawn(async move {
            let token = std::str::from_utf8(refresh.token.expose()).ok();
            let bearer = token.and_then(|token| tokens.verify(token));
            if let Some(shared) = shell.upgrade() {
                RealmHandle { shared }.input(answer(&refresh, bearer));
            }
        });
    }
}

/// What becomes of a newer token where nobody judges any.
pub(super) fn refused(refresh: &Refresh) -> Input {
    answer(refresh, None)
}

fn answer(refresh: &Refresh, bearer: Option<Box<Bearer>>) -> Input {
    Input::Refreshed(Box::new(Refreshed {
        session: refresh.session,
        request: refresh.request,
        bearer: bearer.map(|bearer| *bearer),
    }))
}
