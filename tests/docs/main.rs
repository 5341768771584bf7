//! Keeps the documents true: `docs/operations.md` by running it (`console`), the files of `examples/` and
//! the routes of `docs/routes.md` by `mcpd check` (`examples`, `routes`), and `docs/protocol.md`
//! by the protocol crate: what is in the code is in the text, with the
//! same numbers, and the bytes that the text shows are frames.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod console;
mod examples;
mod routes;

use mcpd_proto::limits as fixed;
use mcpd_proto::topic::{MAX_TOPIC_LEN, MAX_TOPIC_LEVELS};
use mcpd_proto::{Class, ErrorCode, Frame, Kind, Side, tag};
use std::time::Duration;

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

#[track_caller]
fn expect_line(start: &str) {
    let found = PROTOCOL.lines().any(|line| line.starts_with(start));
    assert!(
        found,
        "docs/protocol.md has no line that starts with: {start}"
    );
}

/// 1048576 as `1,048,576`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn every_type_and_every_tag_has_its_row() {
    for kind in Kind::ALL {
        let name = kind.name().to_uppercase();
        expect_line(&format!("| `0x{:02x}` | `{name}` |", kind as u8));
    }
    let known = (0..=u8::MAX).filter(|tag| tag::name(*tag) != "?");
    for tag in known {
        expect_line(&format!("| `0x{tag:02x}` | `{}` |", tag::name(tag)));
    }
}

#[test]
fn every_error_code_has_its_row_under_its_class() {
    for code in ErrorCode::ALL {
        let (number, name) = (code.get(), code.name().expect("listed codes have names"));
        let class = number >> 8;
        let section = PROTOCOL
            .split_once(&format!("\n### Class `0x{class:02x}`: "))
            .unwrap_or_else(|| panic!("no section for class {class}"))
            .1;
        let section = section.split("\n#").next().unwrap();
        let row = format!("| `0x{number:04x}` | `{name}` ");
        let row = section.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("{name} has no row under its class"));
        let permanent = if code.is_permanent() { "yes" } else { "no" };
        assert_eq!(row.split(" | ").nth(2), Some(permanent), "{name}");
    }
    assert!(
        ErrorCode::ALL
            .iter()
            .all(|c| !matches!(c.class(), Class::Other(_)))
    );
}

#[test]
fn the_fixed_numbers_are_those_of_the_code() {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
    let rows: &[(&str, u64, &str)] = &[
        ("header", fixed::HEADER_LEN as u64, " bytes"),
        ("highest priority", fixed::MAX_PRIORITY.into(), ""),
        ("metadata block", fixed::MAX_META_LEN as u64, " bytes"),
        ("HEADER entries in a block", fixed::MAX_HEADERS as u64, ""),
        (
            "key of a HEADER",
            fixed::MAX_HEADER_KEY_LEN as u64,
            " bytes",
        ),
        (
            "value of a HEADER",
            fixed::MAX_HEADER_VALUE_LEN as u64,
            " bytes",
        ),
        ("TRACESTATE", fixed::MAX_TRACESTATE_LEN as u64, " bytes"),
        ("CONTENT_TYPE", fixed::MAX_CONTENT_TYPE_LEN as u64, " bytes"),
        (
            "CLIENT_ID, SERVER_ID, AGENT",
            fixed::MAX_ID_LEN as u64,
            " bytes",
        ),
        (
            "bytes in a HEARTBEAT",
            fixed::MAX_HEARTBEAT_LEN as u64,
            " bytes",
        ),
        (
            "text of an ERROR or GOAWAY",
            fixed::MAX_TEXT_LEN as u64,
            " bytes",
        ),
        ("topic or pattern", MAX_TOPIC_LEN as u64, " bytes"),
        ("levels of a topic or pattern", MAX_TOPIC_LEVELS as u64, ""),
        (
            "payload a server takes unannounced",
            fixed::SERVER_MAX_PAYLOAD.into(),
            " bytes",
        ),
        (
            "payload a client takes unannounced",
            fixed::CLIENT_MAX_PAYLOAD.into(),
            " bytes",
        ),
        (
            "unanswered requests a server takes unannounced",
            fixed::UNANNOUNCED_IN_FLIGHT.into(),
            "",
        ),
        (
            "HELLO where one is demanded",
            fixed::MAX_DEMANDED_HELLO_LEN.into(),
            " bytes",
        ),
        (
            "shortest heartbeat interval",
            ms(fixed::MIN_HEARTBEAT),
            " ms",
        ),
        (
            "longest heartbeat interval",
            ms(fixed::MAX_HEARTBEAT),
            " ms",
        ),
        (
            "heartbeat interval unannounced",
            ms(fixed::DEFAULT_HEARTBEAT),
            " ms",
        ),
        (
            "silent intervals until a peer is dead",
            fixed::DEAD_AFTER_INTERVALS.into(),
            "",
        ),
        ("time for a frame", ms(fixed::FRAME_TIMEOUT), " ms"),
        (
            "and one second more for each",
            fixed::FRAME_BYTES_PER_SECOND.into(),
            " bytes",
        ),
        ("reading on after CLOSING", ms(fixed::CLOSE_LINGER), " ms"),
    ];
    for (what, number, unit) in rows {
        expect_line(&format!("| {what} | {}{unit} |", grouped(*number)));
    }
}

/// The bytes of a block, without what stands behind `;`.
fn bytes(block: &str) -> Vec<u8> {
    let lines = block.lines().map(|line| line.split(';').next().unwrap());
    let words = lines.flat_map(str::split_whitespace);
    words
        .map(|word| u8::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word:?} is no byte")))
        .collect()
}

#[test]
fn the_recorded_exchange_is_made_of_frames() {
    let mut seen = 0;
    for (sender, receiver) in [("client", Side::Server), ("server", Side::Client)] {
        for block in PROTOCOL.split(&format!("\n```hex {sender}\n")).skip(1) {
            let wire = bytes(block.split("\n```").next().unwrap());
            let (frame, used) = Frame::decode_one(&wire, receiver, fixed::CLIENT_MAX_PAYLOAD)
                .unwrap_or_else(|error| panic!("{error} in:\n{block}"));
            assert_eq!(used, wire.len(), "one frame a block");
            // What the text shows is also what this build would send.
            let mut again = Vec::new();
            frame.encode(&mut again);
            assert_eq!(again, wire);
            seen += 1;
        }
    }
    assert!(seen >= 8, "the exchange has {seen} frames");
}

/// Words that look like the name of a metric of the client.
fn client_metrics(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
    words
        .filter(|word| word.starts_with("mcpd_client_"))
        .collect()
}

#[test]
fn the_clients_page_lists_the_clients_metrics() {
    let page = client_metrics(include_str!("../../docs/client.md"));
    let code = client_metrics(include_str!("../../crates/mcpd-client/src/telemetry.rs"));
    assert_eq!(page, code);
    assert!(!page.is_empty());
}
