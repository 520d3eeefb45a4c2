//! The audit log, as the configuration says.

use crate::{
    audit::{Audit, Error, Settings},
    config::Config,
};

/// Opens it; one that keeps nothing where no file is named.
pub(super) fn open(config: &Config) -> Result<Audit, Error> {
    let Some(path) = &config.audit.path else {
        return Ok(Audit::default());
    };
    Audit::open(Settings {
        path: path.clone(),
        rotate_bytes: config.audit.rotate_bytes,
        keep: config.audit.keep,
        refusals_max: config.audit.refusals_max,
        node: config.node.name.clone(),
    })
}

/// Writes what is left.
pub(super) async fn finish(audit: Audit) {
    // It ends only by a panic of the thread that writes, which has been logged.
    let _ = tokio::task::spawn_blocking(move || audit.finish()).await;
}
