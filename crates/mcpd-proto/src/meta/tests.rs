use super::*;
use crate::limits::{MAX_HEADERS, MAX_META_LEN};
use proptest::prelude::*;

fn full() -> MetaBuf {
    let mut meta = MetaBuf::new();
    meta.set_features(&[1, 515]).unwrap();
    meta.set_dedup_window_s(300);
    meta.set_incarnation([7; 16]);
    meta.set_agent("lab/1").unwrap();
    meta.set_server_id("mcpd-0").unwrap();
    meta.set_max_in_flight(256);
    meta.set_max_payload(1 << 20);
    meta.set_heartbeat(Duration::from_secs(45));
    meta.set_auth_token(b"s3cret").unwrap();
    meta.set_client_id("edge-7").unwrap();
    meta.set_status(404);
    meta.set_age_ms(1200);
    meta.set_hops(3);
    meta.set_route_revision(12);
    meta.add_header("b", b"1").unwrap();
    meta.add_header("a", b"2").unwrap();
    meta.set_retry_after(Duration::from_millis(250));
    meta.set_content_type("application/json").unwrap();
    meta.set_message_id([9; 16]);
    meta.set_timeout_ms(1500);
    meta.set_tracestate("v=1").unwrap();
    meta.set_trace(Trace {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    });
    meta
}

#[test]
fn entries_come_out_ascending_and_headers_in_their_own_order() {
    let meta = full();
    let tags: Vec<u8> = meta.view().entries().map(|(tag, _)| tag).collect();
    assert!(tags.is_sorted(), "{tags:?}");
    let keys: Vec<&str> = meta.view().headers().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b", "a"]);
}

#[test]
fn what_is_set_is_read_back_from_the_wire() {
    let built = full();
    let meta = Meta::parse(built.view().as_bytes()).unwrap();
    assert_eq!(meta, built.view());
    assert_eq!(meta.trace().map(|t| t.flags), Some(1));
    assert_eq!(meta.heartbeat(), Some(Duration::from_secs(45)));
    assert_eq!(meta.features().collect::<Vec<_>>(), [1, 515]);
    assert_eq!(
        (meta.hops(), meta.status(), meta.age_ms()),
        (Some(3), Some(404), Some(1200))
    );
    assert_eq!(meta.auth_token(), Some(&b"s3cret"[..]));
}

#[test]
fn setting_twice_replaces() {
    let mut meta = full();
    let before = meta.view().as_bytes().len();
    meta.set_timeout_ms(7);
    assert_eq!(meta.view().timeout_ms(), Some(7));
    assert_eq!(meta.view().as_bytes().len(), before);
}

#[test]
fn an_all_zero_trace_counts_as_absent() {
    let mut meta = MetaBuf::new();
    meta.set_trace(Trace {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: 0,
    });
    assert_eq!(meta.view().trace(), None);
}

#[test]
fn a_token_never_shows_in_debug_output() {
    let shown = format!("{:?}", full());
    assert!(
        shown.contains("edge-7") && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn limits_hold_while_building_and_while_reading() {
    let mut meta = MetaBuf::new();
    for at in 0..MAX_HEADERS {
        meta.add_header(&format!("k{at}"), b"").unwrap();
    }
    assert_eq!(meta.add_header("k", b""), Err(MetaError::TooManyHeaders));
    assert!(MetaBuf::new().add_header("K", b"").is_err());
    assert!(MetaBuf::new().add_header("k", b"a\nb").is_err());
    assert!(MetaBuf::new().add_header("k", &[b'x'; 4097]).is_err());
    assert_eq!(
        Meta::parse(&[0; MAX_META_LEN + 1]),
        Err(FrameError::MetaTooLarge(16385))
    );
    let many: Vec<u8> = [7, 0, 2, 1, b'k'].repeat(MAX_HEADERS + 1);
    assert_eq!(Meta::parse(&many), Err(FrameError::TooManyHeaders));
}

#[test]
fn a_block_full_of_headers_still_has_room_for_every_other_tag() {
    let mut meta = MetaBuf::new();
    while meta.add_header("k", &[b'v'; 300]).is_ok() {}
    meta.set_trace(Trace {
        trace_id: [1; 16],
        span_id: [2; 8],
        flags: 1,
    });
    meta.set_timeout_ms(1);
    assert_eq!(meta.view().timeout_ms(), Some(1));
}

#[test]
fn unknown_tags_are_skipped_and_may_repeat_but_critical_ones_are_reported() {
    let meta = Meta::parse(&[0x7f, 0, 1, b'z', 0x7f, 0, 0]).unwrap();
    assert_eq!((meta.entries().count(), meta.unknown_critical()), (2, None));
    assert_eq!(
        Meta::parse(&[0x85, 0, 0, 0x90, 0, 0])
            .unwrap()
            .unknown_critical(),
        Some(0x85)
    );
}

proptest! {
    /// However often and in whatever order tags are set, the block is that of a map.
    #[test]
    fn a_block_is_a_sorted_map(
        known in any::<bool>(),
        ops in prop::collection::vec((0_u8..6, 0_u8..40), 0..40),
    ) {
        let mut meta = MetaBuf::new();
        if !known {
            meta = MetaBuf::from(Meta::parse(&[0x3F, 0, 1, 7]).unwrap());
        }
        let mut model = std::collections::BTreeMap::new();
        for (what, n) in ops {
            let text = "x".repeat(usize::from(n) + 1);
            match what {
                0 => meta.set_timeout_ms(n.into()),
                1 => meta.set_hops(n),
                2 => meta.set_content_type(&text).unwrap(),
                3 => meta.set_client_id(&text).unwrap(),
                4 => meta.set_status(n.into()),
                _ => meta.set_tracestate(&text).unwrap(),
            }
            let value = match what {
                0 => u32::from(n).to_be_bytes().to_vec(),
                1 => vec![n],
                4 => u16::from(n).to_be_bytes().to_vec(),
                _ => text.into_bytes(),
            };
            let tag = [0x03, 0x09, 0x05, 0x20, 0x0B, 0x02][usize::from(what)];
            model.insert(tag, value);
        }
        if !known {
            model.insert(0x3F, vec![7]);
        }
        let entries: Vec<_> = meta.view().entries().map(|(tag, value)| (tag, value.to_vec())).collect();
        prop_assert_eq!(entries, model.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(Meta::parse(meta.view().as_bytes()).unwrap(), meta.view());
    }

    #[test]
    fn no_bytes_make_reading_fail_otherwise_than_by_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(meta) = Meta::parse(&bytes) {
            let len: usize = meta.entries().map(|(_, value)| 3 + value.len()).sum();
            prop_assert_eq!(len, bytes.len());
            let _ = (meta.trace(), meta.headers().count(), meta.features().count());
        }
    }
}
