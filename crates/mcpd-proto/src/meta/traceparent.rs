//! A trace context as text: the `traceparent` of W3C Trace Context, level 1.

use super::Trace;
use std::fmt;
use std::str::FromStr;

/// Length of version 00, which is the one that is written.
const LEN: usize = 55;

/// The text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent; it looks like 00-<32 hex digits>-<16 hex digits>-01, in lower case")]
pub struct TraceParentError;

/// Written as `traceparent`, version 00.
///
/// ```
/// use mcpd_proto::Trace;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace: Trace = text.parse()?;
/// assert!(trace.is_sampled());
/// assert_eq!(trace.to_string(), text);
/// # Ok::<(), mcpd_proto::TraceParentError>(())
/// ```
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        hex(&self.trace_id, f)?;
        f.write_str("-")?;
        hex(&self.span_id, f)?;
        write!(f, "-{:02x}", self.flags)
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads any version but ff, of which the four fields of version 00 are taken.
impl FromStr for Trace {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Trace, TraceParentError> {
        read(text.as_bytes()).ok_or(TraceParentError)
    }
}

fn read(text: &[u8]) -> Option<Trace> {
    let (known, more) = text.split_at_checked(LEN)?;
    let [version] = bytes(known.get(..2)?)?;
    let ends = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more.starts_with(b"-"),
    };
    let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
    let trace = Trace {
        trace_id: bytes(known.get(3..35)?)?,
        span_id: bytes(known.get(36..52)?)?,
        flags: bytes::<1>(known.get(53..)?)?[0],
    };
    let named = trace.trace_id != [0; 16] && trace.span_id != [0; 8];
    (ends && dashes && named).then_some(trace)
}

/// Exactly this many bytes of lower-case hex.
fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = *pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn later_versions_may_say_more() {
        let trace: Trace = GOOD.parse().unwrap();
        assert_eq!(
            (trace.trace_id[0], trace.span_id[7], trace.flags),
            (0x4b, 0xb7, 1)
        );
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(later.parse(), Ok(trace));
        assert_eq!(format!("{later}-what-the-future-brings").parse(), Ok(trace));
    }

    #[test]
    fn anything_else_is_refused() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let wrong = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-more"),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "cc", 1) + "x",
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replace("4b", "é"),
            GOOD.replace("4b", "+b"),
            zero_trace,
            zero_span,
        ];
        for text in wrong {
            assert_eq!(text.parse::<Trace>(), Err(TraceParentError), "{text}");
        }
    }
}
