//! Refusals that carry their remedy, for people in the message and for programs in the details, as gRPC's richer error model has it:
//! `google.rpc.Status` with one `google.rpc.ErrorInfo` whose metadata holds `remedy`.

use std::collections::HashMap;

use prost::Message as _;
use tonic::{Code, Status};

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

const DOMAIN: &str = "ringfort";

/// A refusal for `reason`, a constant word, that says what is wrong and what to do about it.
pub(super) fn refusal(code: Code, reason: &str, what: &str, remedy: &str) -> Status {
    let message = format!("{what}: {remedy}");
    let info = ErrorInfo {
        reason: reason.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: [("remedy".to_owned(), remedy.to_owned())].into(),
    };
    let details = RpcStatus {
        code: code as i32,
        message: message.clone(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    Status::with_details(code, message, details.encode_to_vec().into())
}

/// A field says something that cannot be.
pub(super) fn invalid(what: &str, remedy: &str) -> Status {
    refusal(Code::InvalidArgument, "INVALID_FIELD", what, remedy)
}

/// There is nothing of that name.
pub(super) fn not_found(what: &str, remedy: &str) -> Status {
    refusal(Code::NotFound, "NOT_FOUND", what, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_its_remedy_in_both_forms() {
        let status = invalid("no filter", "name one");
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, "no filter: name one")
        );
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!((details.code, details.details.len()), (3, 1));
        let info = ErrorInfo::decode(&details.details[0].value[..]).unwrap();
        assert_eq!(
            (info.reason.as_str(), info.metadata["remedy"].as_str()),
            ("INVALID_FIELD", "name one")
        );
    }
}
