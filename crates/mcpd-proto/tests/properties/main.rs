//! Frames of every kind, with any metadata, in both directions and in any pieces.

// Always so in this file; it is said for clippy, which lets tests unwrap.
#[cfg(test)]
mod frames;

use frames::{MAX, Parts, cut, encoded, meta, parts};
use mcpd_proto::{Frame, Meta, MetaBuf, MetaError, Side};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(parts in parts()) {
        let (frame, to) = parts.frame();
        let wire = encoded(frame);
        prop_assert_eq!(Frame::decode_one(&wire, to, MAX), Ok((frame, wire.len())));
    }

    #[test]
    fn a_head_and_its_body_are_the_whole_frame(parts in parts()) {
        let meta = parts.meta.view();
        let (mut head, mut error) = (Vec::new(), Vec::new());
        parts.request(meta).encode_head(&mut head);
        head.extend_from_slice(&parts.body);
        prop_assert_eq!(head, encoded(Frame::Request(parts.request(meta))));
        let frame = parts.error(meta);
        frame.encode_head(&mut error);
        error.extend_from_slice(frame.detail);
        prop_assert_eq!(error, encoded(Frame::Error(frame)));
    }

    #[test]
    fn a_block_reads_the_same_from_the_wire_and_can_be_copied_tag_by_tag(meta in meta()) {
        let parsed = Meta::parse(meta.view().as_bytes());
        prop_assert_eq!(parsed, Ok(meta.view()));
        let mut copy = MetaBuf::new();
        for (tag, _) in meta.view().entries().filter(|(tag, _)| *tag != mcpd_proto::tag::HEADER) {
            prop_assert_eq!(copy.copy(tag, meta.view()), Ok(()));
        }
        for (key, value) in meta.view().headers() {
            prop_assert_eq!(copy.add_header(key, value), Ok(()));
        }
        prop_assert_eq!(copy, meta);
    }

    #[test]
    fn any_cut_of_a_stream_gives_the_same_frames(
        all in vec(parts(), 1..8),
        sizes in vec(1usize..3000, 0..8),
        client in any::<bool>(),
    ) {
        let side = if client { Side::Client } else { Side::Server };
        let frames: Vec<Frame<'_>> = all
            .iter()
            .map(Parts::frame)
            .filter(|(_, to)| *to == side)
            .map(|(frame, _)| frame)
            .collect();
        let stream: Vec<u8> = frames.iter().copied().flat_map(encoded).collect();
        let seen = cut(&stream, &sizes, side);
        prop_assert_eq!(seen.len(), frames.len());
        for ((header, payload), frame) in seen.iter().zip(frames) {
            prop_assert_eq!(Frame::decode(header, payload, side), Ok(frame));
        }
    }

    #[test]
    fn changing_any_byte_never_panics_and_what_still_decodes_encodes(
        parts in parts(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (frame, to) = parts.frame();
        let mut wire = encoded(frame);
        let at = at.index(wire.len());
        wire[at] = byte;
        if let Ok((frame, _)) = Frame::decode_one(&wire, to, MAX)
            && frame != Frame::Ignored
        {
            let again = encoded(frame);
            prop_assert_eq!(Frame::decode_one(&again, to, MAX).map(|(frame, _)| frame), Ok(frame));
        }
    }
}

#[test]
fn the_block_may_be_copied_with_its_limits_and_without_what_is_critical() {
    let foreign = Meta::parse(b"\x85\0\x01x\x50\0\x01y").expect("well-formed");
    let mut meta = MetaBuf::new();
    assert_eq!(meta.copy(0x85, foreign), Err(MetaError::Value(0x85)));
    assert_eq!(meta.copy(0x50, foreign), Ok(()));
    let mut one = MetaBuf::new();
    one.add_header("k", b"").expect("valid");
    for _ in 0..64 {
        assert_eq!(meta.copy(mcpd_proto::tag::HEADER, one.view()), Ok(()));
    }
    let full = meta.copy(mcpd_proto::tag::HEADER, one.view());
    assert_eq!(full, Err(MetaError::TooManyHeaders));
    assert_eq!(Meta::parse(meta.view().as_bytes()), Ok(meta.view()));
}
