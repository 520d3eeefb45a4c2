//! A change in the audit log: on its disk that it was asked for before it is made, and what came of it before it is answered.

use tonic::{Response, Status};

use super::caller::Caller;
use crate::audit::{Audit, Event};

/// Makes a change that `what` describes, recorded. `index` tells where in the replicated log it stands.
///
/// # Errors
/// Those of `change`; or the audit log could not be written, which the text says.
pub(super) async fn recorded<T>(
    audit: &Audit,
    caller: &Caller,
    what: String,
    after: serde_json::Value,
    index: impl FnOnce(&T) -> Option<u64>,
    change: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    if !audit.is_open() {
        return change.await;
    }
    let event = Event {
        admin: Some(caller.name.to_string()),
        source: Some(caller.source.ip()),
        what: Some(what),
        after: Some(after),
        ..Event::of("change")
    };
    let step = |step, event| Event {
        step: Some(step),
        ..event
    };
    let asked = audit.commit(step("asked", event.clone())).await;
    asked.map_err(|error| Status::unavailable(format!("nothing was changed: {error}")))?;
    let made = change.await;
    let outcome = match &made {
        Ok(reply) => Event {
            index: index(reply.get_ref()),
            ..step("done", event)
        },
        Err(status) => Event {
            reason: Some(format!("{:?}: {}", status.code(), status.message())),
            ..step("failed", event)
        },
    };
    let noted = audit.commit(outcome).await;
    let text = |error| format!("what came of it could not be recorded, look before trying again: {error}");
    noted.map_err(|error| Status::unknown(text(error)))?;
    made
}
