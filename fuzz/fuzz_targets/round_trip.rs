//! Frames built as a caller builds them come back as they were.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mcpd_proto::{
    Ack, Cancel, Class, Confirm, ErrorCode, ErrorFrame, Frame, GoAway, Heartbeat, Hello, Meta,
    MetaBuf, MetaError, Qos, Request, Response, Side, Trace,
};
use std::time::Duration;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    tags: Vec<Tag<'a>>,
    seq: u16,
    priority: u8,
    qos: u8,
    flag: bool,
    number: u16,
    body: &'a [u8],
    text: &'a str,
    kind: Kind,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Request,
    Response,
    Heartbeat,
    Ack,
    Error,
    Hello,
    GoAway,
    Cancel,
    Confirm,
}

#[derive(Arbitrary, Debug)]
enum Tag<'a> {
    Trace([u8; 16], [u8; 8], u8),
    Tracestate(&'a str),
    Timeout(u32),
    MessageId([u8; 16]),
    ContentType(&'a str),
    RetryAfter(u64),
    Header(&'a str, &'a [u8]),
    Revision(u64),
    Hops(u8),
    Age(u32),
    Status(u16),
    ClientId(&'a str),
    AuthToken(&'a [u8]),
    Heartbeat(u64),
    MaxPayload(u32),
    MaxInFlight(u16),
    ServerId(&'a str),
    Agent(&'a str),
    Incarnation([u8; 16]),
    Dedup(u32),
    Features(Vec<u16>),
    /// Copies a tag from a block that came from elsewhere.
    Copy(u8, &'a [u8]),
    Clear,
}

fuzz_target!(|input: Input<'_>| {
    let mut meta = MetaBuf::new();
    for tag in &input.tags {
        set(&mut meta, tag);
    }
    let view = meta.view();
    assert_eq!(Meta::parse(view.as_bytes()), Ok(view));
    assert!(view.entries().map(|(tag, _)| tag).is_sorted());
    let (frame, receiver) = build(&input, view);
    let mut wire = vec![0xEE];
    frame.encode(&mut wire);
    assert_eq!(wire.len() - 1, frame.encoded_len());
    let decoded = Frame::decode_one(&wire[1..], receiver, u32::MAX);
    assert_eq!(decoded, Ok((frame, wire.len() - 1)));
    // The other end may not be sent such a frame, or understands the same.
    let other = match receiver {
        Side::Server => Side::Client,
        Side::Client => Side::Server,
    };
    if let Ok((seen, _)) = Frame::decode_one(&wire[1..], other, u32::MAX) {
        assert_eq!(seen, frame);
    }
});

fn set(meta: &mut MetaBuf, tag: &Tag<'_>) {
    match *tag {
        Tag::Trace(trace_id, span_id, flags) => meta.set_trace(Trace {
            trace_id,
            span_id,
            flags,
        }),
        Tag::Tracestate(text) => ignore(meta.set_tracestate(text)),
        Tag::Timeout(ms) => meta.set_timeout_ms(ms),
        Tag::MessageId(id) => meta.set_message_id(id),
        Tag::ContentType(text) => ignore(meta.set_content_type(text)),
        Tag::RetryAfter(ms) => meta.set_retry_after(Duration::from_millis(ms)),
        Tag::Header(key, value) => ignore(meta.add_header(key, value)),
        Tag::Revision(revision) => meta.set_route_revision(revision),
        Tag::Hops(hops) => meta.set_hops(hops),
        Tag::Age(ms) => meta.set_age_ms(ms),
        Tag::Status(status) => meta.set_status(status),
        Tag::ClientId(id) => ignore(meta.set_client_id(id)),
        Tag::AuthToken(token) => ignore(meta.set_auth_token(token)),
        Tag::Heartbeat(ms) => meta.set_heartbeat(Duration::from_millis(ms)),
        Tag::MaxPayload(bytes) => meta.set_max_payload(bytes),
        Tag::MaxInFlight(requests) => meta.set_max_in_flight(requests),
        Tag::ServerId(id) => ignore(meta.set_server_id(id)),
        Tag::Agent(agent) => ignore(meta.set_agent(agent)),
        Tag::Incarnation(id) => meta.set_incarnation(id),
        Tag::Dedup(seconds) => meta.set_dedup_window_s(seconds),
        Tag::Features(ref features) => ignore(meta.set_features(features)),
        Tag::Copy(tag, block) => {
            if let Ok(from) = Meta::parse(block) {
                ignore(meta.copy(tag, from));
            }
        }
        Tag::Clear => meta.clear(),
    }
}

/// A value that is refused is not in the block; that is all a caller may count on.
fn ignore(_: Result<(), MetaError>) {}

/// A frame within what its documentation allows, and who gets it.
fn build<'a>(input: &'a Input<'_>, meta: Meta<'a>) -> (Frame<'a>, Side) {
    let (seq, reply, priority) = (input.seq.max(1), input.flag, input.priority & 7);
    let qos = Qos::from_wire(input.qos % 3).unwrap_or_default();
    let (body, text) = (input.body, clip(input.text));
    match input.kind {
        Kind::Request => {
            let (topic, dup) = (input.text.as_bytes(), input.flag);
            let topic = &topic[..topic.len().min(usize::from(u16::MAX))];
            let request = Request {
                seq,
                priority,
                qos,
                dup,
                topic,
                body,
                meta,
            };
            (Frame::Request(request), Side::Server)
        }
        Kind::Response => {
            let response = Response {
                seq,
                priority,
                body,
                meta,
            };
            (Frame::Response(response), Side::Client)
        }
        Kind::Heartbeat => {
            let (seq, data) = (input.seq, &body[..body.len().min(64)]);
            let beat = Heartbeat {
                seq,
                reply,
                data,
                meta,
            };
            (Frame::Heartbeat(beat), Side::Server)
        }
        Kind::Ack => {
            let ack = Ack {
                seq,
                priority,
                qos,
                meta,
            };
            (Frame::Ack(ack), Side::Client)
        }
        Kind::Error => (Frame::Error(error(input, meta)), Side::Client),
        Kind::Hello => {
            let receiver = if reply { Side::Client } else { Side::Server };
            (Frame::Hello(Hello { seq, reply, meta }), receiver)
        }
        Kind::GoAway => {
            let reason = input.number;
            (Frame::GoAway(GoAway { reason, text, meta }), Side::Client)
        }
        Kind::Cancel => (Frame::Cancel(Cancel { seq, meta }), Side::Server),
        Kind::Confirm if meta.message_id().is_some() => {
            (Frame::Confirm(Confirm { meta }), Side::Server)
        }
        Kind::Confirm => (Frame::Cancel(Cancel { seq, meta }), Side::Server),
    }
}

fn error<'a>(input: &'a Input<'_>, meta: Meta<'a>) -> ErrorFrame<'a> {
    let named = ErrorCode::ALL.get(usize::from(input.number));
    let code = named.copied().unwrap_or(ErrorCode::new(input.number));
    let connection = code.class() == Class::Connection;
    ErrorFrame {
        seq: if connection { 0 } else { input.seq },
        priority: input.priority & 7,
        code,
        detail: match code {
            ErrorCode::HANDLER_ERROR => input.body,
            _ => clip(input.text).as_bytes(),
        },
        meta,
    }
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(1024)]
}
