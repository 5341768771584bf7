//! The quartet that every message is put through: round trip, truncation, literal bytes, flags.

use super::Frame;
use crate::error::FrameError;
use crate::header::{Flags, Side};
use crate::limits::HEADER_LEN;
use crate::meta::{MetaBuf, Trace};

const MAX: u32 = 1 << 20;

/// A block with entries of several kinds.
pub(super) fn meta() -> MetaBuf {
    let mut meta = MetaBuf::new();
    meta.set_trace(Trace {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    });
    meta.set_retry_after(std::time::Duration::from_millis(700));
    meta.add_header("tenant", b"acme").unwrap();
    meta
}

fn encoded(frame: Frame<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode(&mut wire);
    assert_eq!(wire.len(), frame.encoded_len(), "encoded_len is exact");
    wire
}

pub(super) fn round_trip(frame: Frame<'_>, receiver: Side) {
    let wire = encoded(frame);
    let (decoded, used) = Frame::decode_one(&wire, receiver, MAX).unwrap();
    assert_eq!((decoded, used), (frame, wire.len()));
}

/// Cuts the frame at every byte: on the wire it is incomplete, and with its length put right the
/// payload does not fit its layout. The last `open` bytes have no length of their own.
pub(super) fn truncation(frame: Frame<'_>, receiver: Side, open: usize) {
    let wire = encoded(frame);
    for cut in 0..wire.len() {
        let error = Frame::decode_one(&wire[..cut], receiver, MAX).unwrap_err();
        assert!(
            matches!(error, FrameError::Short { .. }),
            "cut at {cut}: {error}"
        );
    }
    for cut in HEADER_LEN..wire.len() - open {
        let mut short = wire[..cut].to_vec();
        let len = u32::try_from(cut - HEADER_LEN).unwrap();
        short[4..8].copy_from_slice(&len.to_be_bytes());
        let error = Frame::decode_one(&short, receiver, MAX).unwrap_err();
        assert!(
            matches!(error, FrameError::Short { .. }),
            "payload cut at {cut}: {error}"
        );
    }
}

pub(super) fn literal(frame: Frame<'_>, hex: &str) {
    let shown: String = encoded(frame).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(shown, hex);
}

/// Flags without meaning on a type change nothing; reserved ones and QoS 3 are refused.
pub(super) fn flags(frame: Frame<'_>, receiver: Side, meaningless: Flags) {
    let mut wire = encoded(frame);
    let own = wire[9];
    wire[9] = own | meaningless.bits();
    assert_eq!(
        Frame::decode_one(&wire, receiver, MAX).map(|(f, _)| f),
        Ok(frame)
    );
    for bad in [0x40, 0x80, 0x03] {
        wire[9] = own | bad;
        decodes_to(&wire, receiver, FrameError::Flags(own | bad));
    }
}

pub(super) fn refuses_payload(frame: Frame<'_>, receiver: Side) {
    let mut wire = encoded(frame);
    wire.push(b'x');
    wire[7] += 1;
    let error = Frame::decode_one(&wire, receiver, MAX).unwrap_err();
    assert!(
        matches!(error, FrameError::Payload { len: 1, .. }),
        "{error}"
    );
}

pub(super) fn refused(frame: Frame<'_>, receiver: Side, expected: FrameError) {
    decodes_to(&encoded(frame), receiver, expected);
}

pub(super) fn decodes_to(wire: &[u8], receiver: Side, expected: FrameError) {
    assert_eq!(Frame::decode_one(wire, receiver, MAX), Err(expected));
}

/// What does not fit is cut so that length fields still agree with what follows.
pub(super) fn encodes_consistently(frame: Frame<'_>) {
    let wire = encoded(frame);
    let receiver = if matches!(frame, Frame::Request(_)) {
        Side::Server
    } else {
        Side::Client
    };
    let (_, used) = Frame::decode_one(&wire, receiver, MAX).unwrap();
    assert_eq!(used, wire.len());
}
