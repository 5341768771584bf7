//! Any bytes at either end. The first byte says how the stream behind it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcpd_proto::{Deframer, Frame, FrameError, Header, Rules, Side};
use std::time::Instant;

/// Small, so that "too large" is in reach of a short input.
const MAX_PAYLOAD: u32 = 1 << 16;

type Cut = (Vec<(Header, Vec<u8>)>, Option<FrameError>);

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, stream)) = bytes.split_first() else {
        return;
    };
    for side in [Side::Server, Side::Client] {
        let rules = Rules::new(side, MAX_PAYLOAD);
        let whole = cut(stream, stream.len().max(1), &rules);
        assert_eq!(whole, cut(stream, usize::from(size) + 1, &rules));
        for (header, payload) in &whole.0 {
            if let Ok(frame) = Frame::decode(header, payload, side) {
                encodes_to_itself(&frame, side, size.into());
            }
        }
    }
});

/// Every frame of a stream that is read `piece` bytes at a time, and what ended it.
fn cut(stream: &[u8], piece: usize, rules: &Rules) -> Cut {
    let (mut deframer, now) = (Deframer::new(), Instant::now());
    let mut frames = Vec::new();
    for mut input in stream.chunks(piece) {
        loop {
            match deframer.next(&mut input, rules, now) {
                Ok(Some(raw)) => frames.push((raw.header, raw.payload.to_vec())),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty());
        assert_eq!(deframer.has_rest(), deframer.deadline(rules).is_some());
        // A peer gets no more memory than it sent bytes for.
        assert!(deframer.capacity() <= 2 * stream.len() + 64);
        deframer.release();
    }
    (frames, None)
}

fn encodes_to_itself(frame: &Frame<'_>, side: Side, at: usize) {
    let mut wire = Vec::new();
    frame.encode(&mut wire);
    assert_eq!(wire.len(), frame.encoded_len());
    if *frame == Frame::Ignored {
        return;
    }
    assert_eq!(
        Frame::decode_one(&wire, side, MAX_PAYLOAD),
        Ok((*frame, wire.len()))
    );
    let short = &wire[..at % wire.len()];
    assert!(matches!(
        Frame::decode_one(short, side, MAX_PAYLOAD),
        Err(FrameError::Short { .. })
    ));
}
