//! Payloads that are not the router's to read: which options go with them, and where they are copied to.
//!
//! Spec: WAMP advanced profile, "Payload Passthru Mode". The older form of Autobahn and Crossbar ("payload transparency",
//! `enc_algo` and its kin) is carried along the same way.

use crate::wamp::Dict;

/// The options that travel with such a payload from CALL, PUBLISH and YIELD to INVOCATION, EVENT and RESULT. `transaction_hash` is
/// Autobahn's, and Crossbar hands it on the same way.
const KEYS: [&str; 8] = [
    "ppt_scheme",
    "ppt_serializer",
    "ppt_cipher",
    "ppt_keyid",
    "enc_algo",
    "enc_key",
    "enc_serializer",
    "transaction_hash",
];

/// True if the options say that the payload is passed through.
///
/// Spec: a router knows it by a `ppt_scheme` that is there and not empty. The older form needs no announcement.
pub(super) fn is_used(options: &Dict) -> bool {
    options.text("ppt_scheme").is_some_and(|scheme| !scheme.is_empty())
}

/// True if the payload may be one that is no list of arguments, as the older form has it. Who does not know that form ends the
/// session over it, so nobody gets one who did not announce `payload_transparency`.
pub(super) fn is_opaque(options: &Dict) -> bool {
    options.get("enc_algo").is_some()
}

/// Copies what belongs to the payload.
pub(super) fn copy(options: &Dict, details: &mut Dict) {
    for (key, value) in &options.0 {
        if KEYS.contains(&key.as_str()) {
            details.set(key.as_str(), value.clone());
        }
    }
}

/// What belongs to the payload of a message with these options; nothing, at no cost, where there are none.
pub(super) fn of(options: &Dict) -> Dict {
    let mut details = Dict::new();
    if !options.is_empty() {
        copy(options, &mut details);
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_payload_is_copied_and_nothing_else() {
        let options = Dict::new()
            .with("ppt_scheme", "wamp")
            .with("acknowledge", true)
            .with("ppt_keyid", "k")
            .with("transaction_hash", "0x1")
            .with("enc_algo", "cryptobox");
        let expected = Dict::new()
            .with("ppt_scheme", "wamp")
            .with("ppt_keyid", "k")
            .with("transaction_hash", "0x1")
            .with("enc_algo", "cryptobox");
        assert_eq!(of(&options), expected);
        assert!(
            is_used(&options)
                && is_opaque(&options)
                && !is_used(&Dict::new().with("ppt_scheme", "").with("enc_algo", "cryptobox"))
        );
    }
}
