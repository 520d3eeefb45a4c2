//! What the answers of the admin port have in common: how a change is told, and why something was refused.

use ringfort_proto::admin::v1 as pb;
use serde_json::json;
use tonic::Code;

use super::output::{Output, Shown};
use crate::cli::Failure;

/// The exit code where a change was made and some node has not said that it is in force there.
pub(super) const UNCONFIRMED: u8 = 7;

/// The exit code where a node refuses what it was asked for.
const REFUSED: u8 = 9;
/// The exit code where there is nothing of that name.
const NOT_FOUND: u8 = 10;
/// The exit code where nobody answers, or whoever has to is not there.
pub(super) const UNREACHABLE: u8 = 11;

/// Prints what came of a change.
pub(super) fn changed(reply: Result<tonic::Response<pb::ChangeReply>, tonic::Status>, output: Output) -> Result<(), Failure> {
    let reply = reply.map_err(refused)?.into_inner();
    let text = format!(
        "revision {} at log index {}, in force on {}",
        reply.revision,
        reply.index,
        reply.confirmed.join(", ")
    );
    let json = json!({
        "revision": reply.revision, "index": reply.index, "confirmed": reply.confirmed,
        "unconfirmed": told(&reply.unconfirmed),
    });
    output.show(&Shown::new(json, text))?;
    confirmed(&reply.unconfirmed)
}

/// Nodes that have not confirmed a change, as JSON.
pub(super) fn told(unconfirmed: &[pb::Unconfirmed]) -> serde_json::Value {
    let told = unconfirmed.iter();
    told.map(|one| json!({ "node": one.node, "stops_by_ms": one.stops_by_ms }))
        .collect()
}

/// Fails where some node has not confirmed a change.
pub(super) fn confirmed(unconfirmed: &[pb::Unconfirmed]) -> Result<(), Failure> {
    if unconfirmed.is_empty() {
        return Ok(());
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let named = unconfirmed.iter().map(|one| {
        let left = one.stops_by_ms.saturating_sub(u64::try_from(now.as_millis()).unwrap_or(0));
        format!("{}, which stops within {} s if it is cut off", one.node, left.div_ceil(1_000))
    });
    let named: Vec<String> = named.collect();
    Err(Failure {
        code: UNCONFIRMED,
        text: format!("not confirmed by {}", named.join(", ")),
    })
}

/// Why a node did not do it.
pub(super) fn refused(status: tonic::Status) -> Failure {
    Failure {
        code: match status.code() {
            Code::NotFound => NOT_FOUND,
            Code::Unavailable | Code::DeadlineExceeded => UNREACHABLE,
            Code::PermissionDenied
            | Code::Unauthenticated
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::OutOfRange => REFUSED,
            _ => crate::cli::OTHER,
        },
        text: format!("{:?}: {}", status.code(), status.message()),
    }
}

/// Where a role or a principal stands.
pub(super) fn standing(fixed: bool, revision: u64) -> String {
    if fixed {
        "fixed by the configuration".to_owned()
    } else {
        format!("revision {revision}")
    }
}
