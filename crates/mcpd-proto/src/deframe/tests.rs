use super::*;
use crate::{ErrorCode, Frame, Heartbeat, Request};
use proptest::prelude::*;

const RULES: Rules = Rules::new(Side::Server, 1 << 20);

/// Cuts `stream`, fed in pieces of the given sizes, into sequence numbers.
fn cut(stream: &[u8], pieces: impl IntoIterator<Item = usize>) -> Result<Vec<u16>, FrameError> {
    let (mut deframer, now) = (Deframer::new(), Instant::now());
    let (mut seqs, mut rest) = (Vec::new(), stream);
    for size in pieces.into_iter().chain([stream.len()]) {
        let (mut input, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        while let Some(frame) = deframer.next(&mut input, &RULES, now)? {
            Frame::decode(&frame.header, frame.payload, Side::Server)?;
            seqs.extend(frame.header.kind.map(|_| frame.header.seq));
        }
        assert!(input.is_empty());
        deframer.release();
    }
    assert!(!deframer.has_rest() && deframer.deadline(&RULES).is_none());
    assert_eq!(deframer.capacity(), 0, "an idle connection owns no buffer");
    Ok(seqs)
}

fn stream() -> Vec<u8> {
    let mut wire = Vec::new();
    Request {
        seq: 1,
        topic: b"echo",
        body: &[b'x'; 50],
        ..Request::default()
    }
    .encode(&mut wire);
    wire.extend_from_slice(b"\x01\x33\0\0\0\0\0\x07\0\x10ignored");
    Heartbeat {
        seq: 2,
        data: b"12345678",
        ..Heartbeat::default()
    }
    .encode(&mut wire);
    Request {
        seq: 3,
        topic: b"a",
        ..Request::default()
    }
    .encode(&mut wire);
    wire
}

#[test]
fn the_same_frames_come_out_however_the_stream_is_cut() {
    let wire = stream();
    assert_eq!(cut(&wire, []), Ok(vec![1, 2, 3]));
    assert_eq!(cut(&wire, vec![1; wire.len()]), Ok(vec![1, 2, 3]));
    for at in 0..wire.len() {
        assert_eq!(cut(&wire, [at]), Ok(vec![1, 2, 3]), "cut at {at}");
    }
}

#[test]
fn held_input_comes_out_before_new_input() {
    let (wire, now) = (stream(), Instant::now());
    let mut deframer = Deframer::new();
    let mut input = &wire[..];
    assert!(deframer.next(&mut input, &RULES, now).unwrap().is_some());
    deframer.hold(input);
    let mut more = &wire[..];
    let mut seqs = Vec::new();
    while let Some(frame) = deframer.next(&mut more, &RULES, now).unwrap() {
        seqs.extend(frame.header.kind.map(|_| frame.header.seq));
    }
    assert_eq!(seqs, [2, 3, 1, 2, 3]);
}

#[test]
fn frames_behind_a_cut_one_are_borrowed_again() {
    let (wire, now) = (stream(), Instant::now());
    let mut deframer = Deframer::new();
    let (mut head, mut input) = wire.split_at(20);
    assert!(deframer.next(&mut head, &RULES, now).unwrap().is_none());
    let stored = deframer.next(&mut input, &RULES, now).unwrap();
    assert_eq!(stored.map(|frame| frame.header.seq), Some(1));
    let ignored = deframer.next(&mut input, &RULES, now).unwrap().unwrap();
    assert_eq!((ignored.header.kind, ignored.payload), (None, &[][..]));
    let beat = deframer.next(&mut input, &RULES, now).unwrap().unwrap();
    assert!(wire.as_ptr_range().contains(&beat.payload.as_ptr()));
}

#[test]
fn the_time_of_an_ignored_frame_is_not_charged_to_the_next() {
    let (mut deframer, start) = (Deframer::new(), Instant::now());
    let later = start + Duration::from_secs(20);
    // An ignored frame of 32 KiB, of which one byte is missing.
    let mut wire = b"\x01\x33\0\0\0\0\x80\0\0\x10".to_vec();
    wire.resize(HEADER_LEN + 0x8000 - 1, 0);
    let mut input = &wire[..];
    let ignored = deframer.next(&mut input, &RULES, start).unwrap().unwrap();
    assert_eq!(ignored.header.kind, None);
    assert_eq!(
        deframer.deadline(&RULES),
        Some(start + Duration::from_secs(30 + 2))
    );
    // Its last byte comes with the first of a frame whose time starts only now.
    let next = deframer.next(&mut &b"x\x01"[..], &RULES, later);
    assert!(next.unwrap().is_none());
    assert_eq!(
        deframer.deadline(&RULES),
        Some(later + Duration::from_secs(30))
    );
}

#[test]
fn another_protocol_is_told_by_its_first_byte() {
    for hello in [&b"G"[..], b"\x16", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut input = hello;
        let error = Deframer::new()
            .next(&mut input, &RULES, Instant::now())
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::UNSUPPORTED_VERSION);
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_anything_is_kept_for_it() {
    let mut deframer = Deframer::new();
    let mut input = &b"\x01\x01\0\x01\xff\xff\xff\xff\0\0"[..];
    let error = deframer
        .next(&mut input, &RULES, Instant::now())
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::FRAME_TOO_LARGE);
    assert_eq!(deframer.capacity(), 0);
}

#[test]
fn the_time_of_a_frame_runs_from_its_first_byte_and_grows_with_its_size() {
    let (mut deframer, start) = (Deframer::new(), Instant::now());
    let later = start + Duration::from_secs(5);
    assert!(
        deframer
            .next(&mut &b"\x01\x01\0\x01"[..], &RULES, start)
            .unwrap()
            .is_none()
    );
    assert_eq!(
        deframer.deadline(&RULES),
        Some(start + Duration::from_secs(30))
    );
    assert!(
        deframer
            .next(&mut &b"\0\x10\0\0\0\0x"[..], &RULES, later)
            .unwrap()
            .is_none()
    );
    assert_eq!(
        deframer.deadline(&RULES),
        Some(start + Duration::from_secs(30 + 64))
    );
    deframer.restart_deadline(later);
    assert_eq!(
        deframer.deadline(&RULES),
        Some(later + Duration::from_secs(30 + 64))
    );
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_frames(pieces in prop::collection::vec(0usize..40, 0..60)) {
        prop_assert_eq!(cut(&stream(), pieces), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
        let (mut deframer, now) = (Deframer::new(), Instant::now());
        let (first, second) = bytes.split_at(at.min(bytes.len()));
        'outer: for mut input in [first, second] {
            loop {
                match deframer.next(&mut input, &RULES, now) {
                    Ok(Some(frame)) => drop(Frame::decode(&frame.header, frame.payload, Side::Server)),
                    Ok(None) => break,
                    Err(_) => break 'outer,
                }
            }
        }
    }
}
