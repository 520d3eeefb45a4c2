//! What the answers of the admin port have in common: how a change is told, and why something was refused.

use ringfort_proto::admin::v1 as pb;

use crate::cli::{Failure, print_line};

/// The exit code where a change was made and some node has not said that it is in force there.
const UNCONFIRMED: u8 = 7;

/// Prints what came of a change.
pub(super) fn changed(reply: Result<tonic::Response<pb::ChangeReply>, tonic::Status>) -> Result<(), Failure> {
    let reply = reply.map_err(refused)?.into_inner();
    print_line(&format!(
        "revision {} at log index {}, in force on {}",
        reply.revision,
        reply.index,
        reply.confirmed.join(", ")
    ))?;
    if reply.unconfirmed.is_empty() {
        return Ok(());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let unconfirmed = reply.unconfirmed.iter().map(|one| {
        let left = one.stops_by_ms.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(0));
        format!("{}, which stops within {} s if it is cut off", one.node, left.div_ceil(1_000))
    });
    let unconfirmed: Vec<String> = unconfirmed.collect();
    Err(Failure {
        code: UNCONFIRMED,
        text: format!("not confirmed by {}", unconfirmed.join(", ")),
    })
}

/// Why a node did not do it.
pub(super) fn refused(status: tonic::Status) -> Failure {
    Failure::new(format!("{:?}: {}", status.code(), status.message()))
}

/// Where a role or a principal stands.
pub(super) fn standing(fixed: bool, revision: u64) -> String {
    if fixed {
        "fixed by the configuration".to_owned()
    } else {
        format!("revision {revision}")
    }
}
