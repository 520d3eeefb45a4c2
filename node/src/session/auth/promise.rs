//! The session id that a challenge names before there is a session.

use std::{fmt, sync::Arc};

use crate::{session::cluster::Cluster, wamp::SessionId};

/// An id that is promised to a client; it goes back when nothing comes of that, or strangers could use up a node's ids.
pub struct Promise {
    cluster: Arc<dyn Cluster>,
    session: Option<SessionId>,
}

impl Promise {
    /// Draws an id; `None` while the node has none.
    pub fn draw(cluster: &Arc<dyn Cluster>) -> Option<Self> {
        Some(Self {
            session: Some(cluster.new_session_id()?),
            cluster: Arc::clone(cluster),
        })
    }

    /// The id, not given away yet.
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// The id, for a session that begins now; `None` if the node began another life since it was drawn.
    pub fn redeem(mut self) -> Option<SessionId> {
        self.session.take().filter(|session| self.cluster.is_own(*session))
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.cluster.return_session_id(session);
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Promise").field(&self.session).finish()
    }
}
