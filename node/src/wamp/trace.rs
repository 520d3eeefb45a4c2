//! The trace context that travels with a CALL or PUBLISH: `_traceparent` in options and details, written as W3C has it.
//!
//! Spec: W3C Trace Context, "Traceparent Header". What is not of that form is treated as if it were not there.

use std::fmt;

use super::Dict;

/// The key in options and details.
pub const TRACEPARENT: &str = "_traceparent";

/// Which trace a message belongs to, and what of that trace has caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; not all zero.
    pub trace: [u8; 16],
    /// The span that has caused the message; not all zero.
    pub span: [u8; 8],
    /// Whether whoever began the trace records it.
    pub sampled: bool,
}

/// Bytes of version 00, which later versions begin like.
const LENGTH: usize = 55;

impl TraceContext {
    /// Reads `00-TRACE-SPAN-FLAGS`; later versions may have more behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.as_bytes().split_at_checked(LENGTH)?;
        let [version] = hex::<1>(&head[..2])?;
        let ended = rest.is_empty() || (version != 0 && rest[0] == b'-');
        if version == 0xff || !ended || [head[2], head[35], head[52]] != *b"---" {
            return None;
        }
        let (trace, span) = (hex::<16>(&head[3..35])?, hex::<8>(&head[36..52])?);
        let [flags] = hex::<1>(&head[53..])?;
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            span,
            sampled: flags & 1 != 0,
        })
    }

    /// The context in some options or details.
    pub fn of(options: &Dict) -> Option<Self> {
        if options.is_empty() {
            return None;
        }
        Self::parse(options.text(TRACEPARENT)?)
    }

    /// Puts it into options or details, in the place of any other.
    pub fn put(self, options: &mut Dict) {
        options.set(TRACEPARENT, self.to_string());
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.sampled))
    }
}

/// Lower-case digits only, as the text demands.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_text_is_read_and_written_as_it_is() {
        let context = TraceContext::parse(GIVEN).unwrap();
        assert!(context.sampled);
        assert_eq!((context.trace[0], context.span[7]), (0x4b, 0xb7));
        assert_eq!(context.to_string(), GIVEN);
        let mut options = Dict::new().with("acknowledge", true);
        context.put(&mut options);
        assert_eq!(TraceContext::of(&options), Some(context));
        assert_eq!(TraceContext::of(&Dict::new().with(TRACEPARENT, 7u64)), None);
    }

    #[test]
    fn later_versions_may_have_more_and_this_one_may_not() {
        let later = format!("01{}-more", &GIVEN[2..]);
        assert_eq!(TraceContext::parse(&later), TraceContext::parse(GIVEN));
        for bad in [
            format!("{GIVEN}-more"),
            format!("01{}more", &GIVEN[2..]),
            format!("ff{}", &GIVEN[2..]),
            GIVEN.to_uppercase(),
            GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            GIVEN.replace("00f067aa0ba902b7", "0000000000000000"),
            GIVEN.replace("-00f0", "_00f0"),
            GIVEN[..54].to_owned(),
            String::new(),
        ] {
            assert_eq!(TraceContext::parse(&bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_so_that_it_reads_the_same(text in "[0-9a-f-]{0,60}|\\PC{0,60}|0[01]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}") {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
            }
        }
    }
}
