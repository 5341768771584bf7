//! Between frames and the fixture's words, in both directions.

use crate::fixture::{Described, ValidCase, from_hex, to_hex};
use mcpd_proto::{
    Ack, Cancel, Confirm, ErrorCode, ErrorFrame, Flags, Frame, GoAway, Header, Heartbeat, Hello,
    Meta, MetaBuf, Qos, Request, Response, Side, Trace,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The side that such a frame is sent to.
pub(crate) fn receiver(case: &ValidCase) -> Side {
    let reply = case.frame.reply;
    match case.frame.kind.as_str() {
        "REQUEST" | "CANCEL" | "CONFIRM" => Side::Server,
        "HELLO" if !reply => Side::Server,
        "HELLO" | "RESPONSE" | "ACK" | "ERROR" | "GOAWAY" => Side::Client,
        "HEARTBEAT" => Side::Client,
        other => panic!("{}: unknown type {other}", case.name),
    }
}

/// Describes a decoded frame. Fields that a type repeats from the header must agree with it.
pub(crate) fn frame(header: &Header, frame: &Frame<'_>) -> Described {
    let mut to = Described {
        seq: header.seq,
        priority: header.priority,
        qos: header.flags.qos() as u8,
        dup: header.flags.has(Flags::DUP),
        ignorable: header.flags.has(Flags::IGNORABLE),
        reply: header.flags.has(Flags::REPLY),
        ..Described::default()
    };
    let kind = header.kind.expect("a known type");
    to.kind = kind.name().to_uppercase();
    let head = (to.seq, to.priority, to.qos);
    let meta = match *frame {
        Frame::Request(f) => {
            assert_eq!(head, (f.seq, f.priority, f.qos as u8));
            assert_eq!(to.dup, f.dup);
            to.topic = String::from_utf8(f.topic.to_vec()).expect("UTF-8");
            to.body = f.body.to_vec();
            f.meta
        }
        Frame::Response(f) => {
            assert_eq!(head, (f.seq, f.priority, 0));
            to.body = f.body.to_vec();
            f.meta
        }
        Frame::Heartbeat(f) => {
            assert_eq!((to.seq, to.reply), (f.seq, f.reply));
            to.body = f.data.to_vec();
            f.meta
        }
        Frame::Ack(f) => {
            assert_eq!(head, (f.seq, f.priority, f.qos as u8));
            f.meta
        }
        Frame::Error(f) => {
            assert_eq!(head, (f.seq, f.priority, 0));
            to.code = f.code.get();
            if f.code == ErrorCode::HANDLER_ERROR {
                to.body = f.detail.to_vec();
            } else {
                to.text = f.text().to_owned();
                assert_eq!(f.text().as_bytes(), f.detail);
            }
            f.meta
        }
        Frame::Hello(f) => {
            assert_eq!((to.seq, to.reply), (f.seq, f.reply));
            f.meta
        }
        Frame::GoAway(f) => {
            (to.reason, to.text) = (f.reason, f.text.to_owned());
            f.meta
        }
        Frame::Cancel(f) => {
            assert_eq!(to.seq, f.seq);
            f.meta
        }
        Frame::Confirm(f) => f.meta,
        Frame::Ignored => panic!("a known type was ignored"),
    };
    to.meta = describe_meta(meta);
    to
}

/// Every tag there is, by its accessor.
fn describe_meta(meta: Meta<'_>) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        map.extend(value.map(|value| (name.to_owned(), value)));
    };
    let hex = |bytes: &[u8]| Value::from(to_hex(bytes));
    put("TRACE", meta.trace().map(|trace| hex(&trace.to_bytes())));
    put("TRACESTATE", meta.tracestate().map(Value::from));
    put("TIMEOUT_MS", meta.timeout_ms().map(Value::from));
    put("MESSAGE_ID", meta.message_id().map(|id| hex(&id)));
    put("CONTENT_TYPE", meta.content_type().map(Value::from));
    put("RETRY_AFTER_MS", meta.retry_after_ms().map(Value::from));
    let headers: Vec<Value> = meta
        .headers()
        .map(|(key, value)| json!([key, std::str::from_utf8(value).expect("UTF-8")]))
        .collect();
    put(
        "HEADER",
        (!headers.is_empty()).then_some(Value::from(headers)),
    );
    put("ROUTE_REVISION", meta.route_revision().map(Value::from));
    put("HOPS", meta.hops().map(Value::from));
    put("AGE_MS", meta.age_ms().map(Value::from));
    put("STATUS", meta.status().map(Value::from));
    put("CLIENT_ID", meta.client_id().map(Value::from));
    put("AUTH_TOKEN", meta.auth_token().map(hex));
    let ms = |interval: Duration| u64::try_from(interval.as_millis()).expect("at most 600,000");
    put("HEARTBEAT_MS", meta.heartbeat().map(ms).map(Value::from));
    put("MAX_PAYLOAD", meta.max_payload().map(Value::from));
    put("MAX_IN_FLIGHT", meta.max_in_flight().map(Value::from));
    put("SERVER_ID", meta.server_id().map(Value::from));
    put("AGENT", meta.agent().map(Value::from));
    put("INCARNATION", meta.incarnation().map(|id| hex(&id)));
    put("DEDUP_WINDOW_S", meta.dedup_window_s().map(Value::from));
    let features: Vec<u16> = meta.features().collect();
    put("FEATURES", (!features.is_empty()).then(|| json!(features)));
    map
}

/// The metadata of a description, built with the setters.
pub(crate) fn build_meta(described: &Map<String, Value>) -> MetaBuf {
    let mut meta = MetaBuf::new();
    // The fixture's order is not the wire's.
    for (name, value) in described.iter().rev() {
        set(&mut meta, name, value);
    }
    meta
}

fn set(meta: &mut MetaBuf, name: &str, value: &Value) {
    let text = || value.as_str().expect("a string");
    let number = || value.as_u64().expect("a number");
    let ms = || u32::try_from(number()).expect("a u32");
    let id = || from_hex(text()).try_into().expect("16 bytes");
    match name {
        "TRACE" => meta.set_trace(trace(&from_hex(text()))),
        "TIMEOUT_MS" => meta.set_timeout_ms(ms()),
        "MESSAGE_ID" => meta.set_message_id(id()),
        "CONTENT_TYPE" => meta.set_content_type(text()).expect("valid"),
        "RETRY_AFTER_MS" => meta.set_retry_after(Duration::from_millis(number())),
        "HEADER" => {
            for header in value.as_array().expect("a list") {
                let part = |at: usize| header[at].as_str().expect("a string");
                meta.add_header(part(0), part(1).as_bytes()).expect("valid");
            }
        }
        "ROUTE_REVISION" => meta.set_route_revision(number()),
        "HOPS" => meta.set_hops(u8::try_from(number()).expect("a u8")),
        "AGE_MS" => meta.set_age_ms(ms()),
        "STATUS" => meta.set_status(u16::try_from(number()).expect("a u16")),
        "CLIENT_ID" => meta.set_client_id(text()).expect("valid"),
        "AUTH_TOKEN" => meta.set_auth_token(&from_hex(text())).expect("valid"),
        "HEARTBEAT_MS" => meta.set_heartbeat(Duration::from_millis(number())),
        "MAX_PAYLOAD" => meta.set_max_payload(ms()),
        "MAX_IN_FLIGHT" => meta.set_max_in_flight(u16::try_from(number()).expect("a u16")),
        "SERVER_ID" => meta.set_server_id(text()).expect("valid"),
        "AGENT" => meta.set_agent(text()).expect("valid"),
        "INCARNATION" => meta.set_incarnation(id()),
        "DEDUP_WINDOW_S" => meta.set_dedup_window_s(ms()),
        other => panic!("unknown key {other}"),
    }
}

fn trace(bytes: &[u8]) -> Trace {
    Trace {
        trace_id: bytes[..16].try_into().expect("16 bytes"),
        span_id: bytes[16..24].try_into().expect("8 bytes"),
        flags: bytes[24],
    }
}

/// The frame of a description.
pub(crate) fn build<'a>(from: &'a Described, meta: Meta<'a>) -> Frame<'a> {
    let (seq, priority) = (from.seq, from.priority);
    let qos = Qos::from_wire(from.qos).expect("0 to 2");
    let body = &from.body[..];
    match from.kind.as_str() {
        "REQUEST" => Frame::Request(Request {
            seq,
            priority,
            qos,
            dup: from.dup,
            topic: from.topic.as_bytes(),
            body,
            meta,
        }),
        "RESPONSE" => Frame::Response(Response {
            seq,
            priority,
            body,
            meta,
        }),
        "HEARTBEAT" => Frame::Heartbeat(Heartbeat {
            seq,
            reply: from.reply,
            data: body,
            meta,
        }),
        "ACK" => Frame::Ack(Ack {
            seq,
            priority,
            qos,
            meta,
        }),
        "ERROR" => Frame::Error(error(from, meta)),
        "HELLO" => Frame::Hello(Hello {
            seq,
            reply: from.reply,
            meta,
        }),
        "GOAWAY" => Frame::GoAway(GoAway {
            reason: from.reason,
            text: &from.text,
            meta,
        }),
        "CANCEL" => Frame::Cancel(Cancel { seq, meta }),
        "CONFIRM" => Frame::Confirm(Confirm { meta }),
        other => panic!("unknown type {other}"),
    }
}

fn error<'a>(from: &'a Described, meta: Meta<'a>) -> ErrorFrame<'a> {
    let code = ErrorCode::new(from.code);
    let detail = if code == ErrorCode::HANDLER_ERROR {
        &from.body[..]
    } else {
        from.text.as_bytes()
    };
    ErrorFrame {
        seq: from.seq,
        priority: from.priority,
        code,
        detail,
        meta,
    }
}
