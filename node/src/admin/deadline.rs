//! Until when a client waits: the `grpc-timeout` of its request.

use std::time::{Duration, Instant};

use http::HeaderMap;

/// When the client stops to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

/// How long the client waits; `None` if it does not say, or not so that it can be read.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// How much of `most` the client waits for, with time left to write the answer.
pub(super) fn within<T>(request: &tonic::Request<T>, most: Duration) -> Duration {
    match request.extensions().get::<Deadline>() {
        None => most,
        Some(Deadline(at)) => at.saturating_duration_since(Instant::now()).saturating_sub(ANSWER).min(most),
    }
}

/// What is left for the answer itself.
const ANSWER: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grpc_says_is_read_and_nothing_else() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            of(&headers)
        };
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for wrong in ["", "S", "1", "-1S", "123456789S", "1x", "1 S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
