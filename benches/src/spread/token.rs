//! The secret that coordinator and workers share.

use std::fmt;

use subtle::ConstantTimeEq as _;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
};

const HEADER: &str = "authorization";

/// A token; it is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(MetadataValue<Ascii>);

impl Token {
    /// Takes a token of visible ASCII characters; `None` for anything else, and for none at all.
    pub fn new(text: &str) -> Option<Self> {
        let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let value = good.then(|| format!("Bearer {text}"))?;
        Some(Self(value.parse().ok()?))
    }

    /// Puts it into a request.
    pub(super) fn sign<T>(&self, request: &mut Request<T>) {
        let mut value = self.0.clone();
        value.set_sensitive(true);
        request.metadata_mut().insert(HEADER, value);
    }

    /// Refuses a request that does not carry it, in a time that tells nothing about it.
    pub(super) fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let given = request.metadata().get(HEADER).map(MetadataValue::as_encoded_bytes);
        match given {
            None => Err(Status::unauthenticated("this worker wants a token")),
            Some(given) if bool::from(given.ct_eq(self.0.as_encoded_bytes())) => Ok(()),
            Some(_) => Err(Status::unauthenticated("this worker has another token")),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_opens() {
        let (ours, other) = (Token::new("s3cret").unwrap(), Token::new("s3cre").unwrap());
        let mut request = Request::new(());
        assert!(ours.check(&request).unwrap_err().message().contains("wants"));
        other.sign(&mut request);
        assert!(ours.check(&request).unwrap_err().message().contains("another"));
        ours.sign(&mut request);
        assert!(ours.check(&request).is_ok());
        assert!(!format!("{ours:?} {request:?}").contains("s3cret"));
        assert!(
            ["", "two words", "line\nline", "ü"]
                .iter()
                .all(|bad| Token::new(bad).is_none())
        );
    }
}
