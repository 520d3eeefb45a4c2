//! The settings of this node while it runs: read again over gRPC (`proto/ringfort/admin/v1/settings.proto`), and how they stand.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use ringfort_proto::admin::v1::{self as pb, settings_server::Settings};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::caller::Caller;

/// What came of reading the settings again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Settings that are in force now and were not before, by their paths.
    pub applied: Vec<String>,
    /// What is wrong with the file. If there is any of it, nothing was changed.
    pub refused: Vec<String>,
    /// Settings that will be in force once the node has been started again.
    pub needs_restart: Vec<String>,
    /// Settings that have changed and have no effect.
    pub without_effect: Vec<String>,
}

/// Who wants the settings to be read again.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// The file has changed.
    File,
    /// SIGHUP.
    Signal,
    /// Somebody who uses the admin API.
    Admin(Caller),
}

/// Reads them; `None` where they did not come from a file.
pub type Reload = Box<dyn Fn(Trigger) -> Pin<Box<dyn Future<Output = Option<Reloaded>> + Send>> + Send + Sync>;

/// How the settings of a node stand; shared by whoever reads them again and whoever tells of it.
#[derive(Default)]
pub struct Standing {
    reload: OnceLock<Reload>,
    last: Mutex<Option<(u64, Reloaded)>>,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}

impl Standing {
    /// Says how they are read again. Called once.
    pub fn reload_by(&self, reload: Reload) {
        // The second call is a mistake that changes nothing.
        let _ = self.reload.set(reload);
    }

    /// Reads them again; `None` where they did not come from a file.
    pub async fn reload(&self, trigger: Trigger) -> Option<Reloaded> {
        let reload = self.reload.get()?;
        reload(trigger).await
    }

    /// Remembers what came of it.
    pub fn note(&self, reloaded: Reloaded) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        *self.last.lock() = Some((at, reloaded));
    }

    /// Whether the file as it was last read is refused, and how many settings wait for a restart.
    pub fn look(&self) -> (bool, usize) {
        let last = self.last.lock();
        last.as_ref()
            .map_or((false, 0), |(_, last)| (!last.refused.is_empty(), last.needs_restart.len()))
    }

    /// The same for people.
    pub fn told(&self) -> Value {
        match &*self.last.lock() {
            None => Value::Null,
            Some((at, last)) => json!({
                "read_at_ms": at,
                "refused": last.refused,
                "needs_restart": last.needs_restart,
                "without_effect": last.without_effect,
            }),
        }
    }
}

/// The service.
#[derive(Clone, Debug)]
pub struct SettingsService(pub Arc<Standing>);

#[tonic::async_trait]
impl Settings for SettingsService {
    async fn reload(&self, request: Request<pb::ReloadRequest>) -> Result<Response<pb::ReloadReply>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Status::unauthenticated("it is not known who asks"))?;
        let Some(reloaded) = self.0.reload(Trigger::Admin(caller)).await else {
            let text = "the settings of this node did not come from a file: start it with --config FILE";
            return Err(Status::failed_precondition(text));
        };
        Ok(Response::new(pb::ReloadReply {
            applied: reloaded.applied,
            refused: reloaded.refused,
            needs_restart: reloaded.needs_restart,
            without_effect: reloaded.without_effect,
        }))
    }
}
