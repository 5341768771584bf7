//! Frames of every kind, with any metadata, and what becomes of their bytes.

use mcpd_proto::{
    Ack, Cancel, Class, Confirm, Deframer, ErrorCode, ErrorFrame, Frame, GoAway, Header, Heartbeat,
    Hello, Meta, MetaBuf, MetaError, Qos, Request, Response, Rules, Side, Trace,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::time::Instant;

pub(crate) const MAX: u32 = 1 << 20;

/// A block with a single tag.
fn one<T>(set: fn(&mut MetaBuf, T) -> Result<(), MetaError>) -> impl Fn(T) -> MetaBuf {
    move |value| {
        let mut meta = MetaBuf::new();
        set(&mut meta, value).expect("within the tag's limits");
        meta
    }
}

fn number<T: Arbitrary>(set: fn(&mut MetaBuf, T)) -> impl Strategy<Value = MetaBuf> {
    any::<T>().prop_map(move |value| {
        let mut meta = MetaBuf::new();
        set(&mut meta, value);
        meta
    })
}

fn text(
    pattern: &'static str,
    set: fn(&mut MetaBuf, &str) -> Result<(), MetaError>,
) -> impl Strategy<Value = MetaBuf> {
    pattern.prop_map(move |value| {
        let mut meta = MetaBuf::new();
        set(&mut meta, &value).expect("within the tag's limits");
        meta
    })
}

fn single() -> impl Strategy<Value = MetaBuf> {
    let numbers = prop_oneof![
        number(MetaBuf::set_timeout_ms),
        number(MetaBuf::set_retry_after),
        number(MetaBuf::set_heartbeat),
        number(MetaBuf::set_route_revision),
        number(MetaBuf::set_hops),
        number(MetaBuf::set_age_ms),
        number(MetaBuf::set_status),
        number(MetaBuf::set_max_payload),
        number(MetaBuf::set_max_in_flight),
        number(MetaBuf::set_dedup_window_s),
    ];
    let trace = |meta: &mut MetaBuf, (trace_id, span_id, flags)| {
        meta.set_trace(Trace {
            trace_id,
            span_id,
            flags,
        });
    };
    let ids = prop_oneof![
        number(MetaBuf::set_message_id),
        number(MetaBuf::set_incarnation),
        number(trace),
    ];
    let texts = prop_oneof![
        text("[ -~]{0,512}", MetaBuf::set_tracestate),
        text("[ -~]{0,255}", MetaBuf::set_content_type),
        text("[A-Za-z0-9._:@-]{1,128}", MetaBuf::set_client_id),
        text("\\PC{0,30}", MetaBuf::set_server_id),
        text("\\PC{0,30}", MetaBuf::set_agent),
    ];
    let header: fn(&mut MetaBuf, (String, String)) -> Result<(), MetaError> =
        |meta, (key, value)| meta.add_header(&key, value.as_bytes());
    let token: fn(&mut MetaBuf, Vec<u8>) -> Result<(), MetaError> =
        |meta, token| meta.set_auth_token(&token);
    let features: fn(&mut MetaBuf, Vec<u16>) -> Result<(), MetaError> =
        |meta, features| meta.set_features(&features);
    let lists = prop_oneof![
        ("[a-z0-9_.-]{1,64}", "[^\r\n\0]{0,400}").prop_map(one(header)),
        vec(any::<u8>(), 0..300).prop_map(one(token)),
        vec(any::<u16>(), 0..40).prop_map(one(features)),
    ];
    prop_oneof![4 => numbers, 2 => ids, 3 => texts, 2 => lists]
}

pub(crate) fn meta() -> impl Strategy<Value = MetaBuf> {
    vec(single(), 0..12).prop_map(|singles| {
        let mut meta = MetaBuf::new();
        for single in &singles {
            let (tag, _) = single.view().entries().next().expect("one tag");
            meta.copy(tag, single.view()).expect("within the limits");
        }
        meta
    })
}

/// Everything a frame may be made of.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    kind: u8,
    seq: u16,
    priority: u8,
    qos: Qos,
    flag: bool,
    number: u16,
    code: ErrorCode,
    topic: Vec<u8>,
    pub(crate) body: Vec<u8>,
    text: String,
    pub(crate) meta: MetaBuf,
}

pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let code = prop_oneof![
        select(ErrorCode::ALL),
        any::<u16>().prop_map(ErrorCode::new)
    ];
    let numbers = (0u8..9, 1u16.., 0u8..8, 0u8..3, any::<bool>(), any::<u16>());
    let bytes = (
        vec(any::<u8>(), 0..300),
        vec(any::<u8>(), 0..2000),
        "\\PC{0,300}",
    );
    (numbers, code, bytes, meta()).prop_map(|(numbers, code, bytes, meta)| {
        let (kind, seq, priority, qos, flag, number) = numbers;
        let (topic, body, text) = bytes;
        Parts {
            kind,
            seq,
            priority,
            qos: Qos::from_wire(qos).expect("0 to 2"),
            flag,
            number,
            code,
            topic,
            body,
            text,
            meta,
        }
    })
}

impl Parts {
    /// The frame, and the side that it is sent to.
    pub(crate) fn frame(&self) -> (Frame<'_>, Side) {
        let (seq, priority, qos) = (self.seq, self.priority, self.qos);
        let (body, meta) = (&self.body[..], self.meta.view());
        let reply = self.flag;
        match self.kind {
            0 => (Frame::Request(self.request(meta)), Side::Server),
            1 => {
                let response = Response {
                    seq,
                    priority,
                    body,
                    meta,
                };
                (Frame::Response(response), Side::Client)
            }
            2 => {
                let data = &body[..body.len().min(64)];
                let beat = Heartbeat {
                    seq,
                    reply,
                    data,
                    meta,
                };
                (
                    Frame::Heartbeat(beat),
                    if self.number.is_multiple_of(2) {
                        Side::Server
                    } else {
                        Side::Client
                    },
                )
            }
            3 => (
                Frame::Ack(Ack {
                    seq,
                    priority,
                    qos,
                    meta,
                }),
                Side::Client,
            ),
            4 => (Frame::Error(self.error(meta)), Side::Client),
            5 => {
                let to = if reply { Side::Client } else { Side::Server };
                (Frame::Hello(Hello { seq, reply, meta }), to)
            }
            6 => {
                let (reason, text) = (self.number, self.text.as_str());
                (Frame::GoAway(GoAway { reason, text, meta }), Side::Client)
            }
            7 if meta.message_id().is_some() => (Frame::Confirm(Confirm { meta }), Side::Server),
            _ => (Frame::Cancel(Cancel { seq, meta }), Side::Server),
        }
    }

    pub(crate) fn request<'a>(&'a self, meta: Meta<'a>) -> Request<'a> {
        Request {
            seq: self.seq,
            priority: self.priority,
            qos: self.qos,
            dup: self.flag,
            topic: &self.topic,
            body: &self.body,
            meta,
        }
    }

    pub(crate) fn error<'a>(&'a self, meta: Meta<'a>) -> ErrorFrame<'a> {
        let connection = self.code.class() == Class::Connection;
        let body = self.code == ErrorCode::HANDLER_ERROR;
        ErrorFrame {
            seq: if connection { 0 } else { self.seq },
            priority: self.priority,
            code: self.code,
            detail: if body {
                &self.body
            } else {
                self.text.as_bytes()
            },
            meta,
        }
    }
}

pub(crate) fn encoded(frame: Frame<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode(&mut wire);
    assert_eq!(wire.len(), frame.encoded_len());
    wire
}

/// What comes out of a stream that is read in pieces of these sizes, in turn.
pub(crate) fn cut(stream: &[u8], sizes: &[usize], side: Side) -> Vec<(Header, Vec<u8>)> {
    let (rules, now) = (Rules::new(side, MAX), Instant::now());
    let (mut deframer, mut frames) = (Deframer::new(), Vec::new());
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        let (mut input, after) = rest.split_at(size);
        rest = after;
        while let Some(raw) = deframer
            .next(&mut input, &rules, now)
            .expect("valid frames")
        {
            frames.push((raw.header, raw.payload.to_vec()));
        }
    }
    assert!(!deframer.has_rest());
    frames
}
