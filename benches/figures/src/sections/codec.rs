//! Encoding and decoding a 1 KiB message `{id, ts, data}`, beside serde_json and prost.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcpd_proto::{Deframer, Frame, Request, Response, Rules, Side};
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::micro::{Case, Costs};

/// `id` and `ts` in front of `data`, big-endian as everything in the protocol.
const FIELDS: usize = 12;
const MESSAGE: usize = 1024;
const DATA: usize = MESSAGE - FIELDS;
const TOPIC: &[u8] = b"readings";
const MAX_PAYLOAD: u32 = 1 << 20;
/// What the server reads at once; frames are decoded from a buffer of this size.
const READ: usize = 64 * 1024;
/// Any time of day: the stamp of message 0.
const EPOCH: u64 = 1_700_000_000_000;

/// The message as Protobuf has it.
#[derive(Clone, PartialEq, prost::Message)]
struct Proto {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(uint64, tag = "2")]
    ts: u64,
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// The message as JSON has it, at its best: text that needs no escapes, borrowed when decoded.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    id: u32,
    ts: u64,
    data: &'a str,
}

/// Measures and prints.
pub(super) fn measure(plan: &Plan) -> Result<Costs> {
    let mut cases = vec![copy()];
    cases.extend(mcp_encode());
    cases.extend(mcp_decode()?);
    cases.extend(prost());
    cases.extend(json()?);
    let unit = "ms per million";
    let costs = Costs::measure("codec", unit, &mut cases, plan.runs, plan.repeats)?;
    costs.print(
        "codec: CPU per million 1 KiB messages {id: u32, ts: u64, data: 1012 bytes}",
        unit,
        &[
            "decode: one message again and again, as with the other codecs",
            "deframe: through the 64 KiB of a whole read, each frame's start found by the one before",
            "every codec sets id and ts, writes to a reused buffer, reads all three fields back",
            "mcp: the body is laid out as on the wire, data is borrowed; head: all but the body",
            "protobuf: data copied to a Vec; json: data is ASCII without escapes, borrowed",
        ],
    );
    Ok(costs)
}

fn id_and_ts(n: u32) -> (u32, u64) {
    (n, EPOCH + u64::from(n))
}

fn data() -> String {
    ('a'..='z').cycle().take(DATA).collect()
}

/// A body with the fields of message `n`.
fn body(n: u32) -> [u8; MESSAGE] {
    let mut body = [0; MESSAGE];
    body[FIELDS..].copy_from_slice(data().as_bytes());
    set(&mut body, n);
    body
}

#[inline(always)]
fn set(body: &mut [u8; MESSAGE], n: u32) {
    let (id, ts) = id_and_ts(n);
    body[..4].copy_from_slice(&id.to_be_bytes());
    body[4..FIELDS].copy_from_slice(&ts.to_be_bytes());
}

/// Reads the three fields. `None` of a body that is too short.
#[inline(always)]
fn fields(body: &[u8]) -> Option<(u32, u64, &[u8])> {
    let (id, rest) = body.split_first_chunk()?;
    let (ts, data) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*id), u64::from_be_bytes(*ts), data))
}

/// Uses the fields, in one number: a whole frame, or each of them, would be forced through memory.
#[inline(always)]
fn consume((id, ts, data): (u32, u64, &[u8])) {
    black_box(u64::from(id) ^ ts ^ data.as_ptr().addr() as u64 ^ data.len() as u64);
}

fn copy() -> Case {
    let (body, mut out) = (body(0), Vec::with_capacity(2 * MESSAGE));
    Case::new("copy of 1 KiB", move |repeats| {
        for _ in 0..repeats {
            out.clear();
            out.extend_from_slice(black_box(&body));
            black_box(out.as_ptr());
        }
        Ok(())
    })
}

fn response(body: &[u8]) -> Response<'_> {
    Response {
        seq: 7,
        body,
        ..Response::default()
    }
}

fn request(body: &[u8]) -> Request<'_> {
    Request {
        seq: 7,
        topic: TOPIC,
        body,
        ..Request::default()
    }
}

fn mcp_encode() -> Vec<Case> {
    vec![
        encode("mcp encode response", |body, out| {
            response(body).encode(out)
        })
        .at_most(20.0),
        encode("mcp encode response head", |body, out| {
            response(body).encode_head(out)
        })
        .at_most(3.0),
        encode("mcp encode request", |body, out| request(body).encode(out)),
        encode("mcp encode request head", |body, out| {
            request(body).encode_head(out)
        }),
    ]
}

/// Every message is written into the same body, and its frame into the same buffer.
fn encode(name: &'static str, encode: impl Fn(&[u8; MESSAGE], &mut Vec<u8>) + 'static) -> Case {
    let (mut body, mut out) = (body(0), Vec::with_capacity(2 * MESSAGE));
    Case::new(name, move |repeats| {
        for n in 0..repeats {
            set(&mut body, n);
            out.clear();
            encode(black_box(&body), &mut out);
            black_box(out.as_ptr());
        }
        Ok(())
    })
}

/// As many frames as one read of the server can bring.
fn frames(encode: impl Fn(&[u8; MESSAGE], &mut Vec<u8>)) -> Vec<u8> {
    let mut wire = Vec::new();
    for n in 0.. {
        let before = wire.len();
        encode(&body(n), &mut wire);
        if wire.len() > READ {
            wire.truncate(before);
            break;
        }
    }
    wire
}

fn mcp_decode() -> Result<Vec<Case>> {
    let responses = frames(|body, out| response(body).encode(out));
    let requests = frames(|body, out| request(body).encode(out));
    let one = responses[..response(&body(0)).encoded_len()].to_vec();
    check(&responses, Side::Client, of_response)?;
    check(&requests, Side::Server, of_request)?;
    Ok(vec![
        decode_one("mcp decode response", one).at_most(3.0),
        deframe(
            "mcp deframe and decode response",
            responses,
            Side::Client,
            of_response,
        ),
        deframe(
            "mcp deframe and decode request",
            requests,
            Side::Server,
            of_request,
        ),
    ])
}

type BodyOf = fn(Frame<'_>) -> Option<&[u8]>;

/// What is measured has to be right first: all frames come out, with the fields they were given.
fn check(wire: &[u8], side: Side, body_of: BodyOf) -> Result<()> {
    let (mut rest, mut n) = (wire, 0);
    while !rest.is_empty() {
        let (frame, used) = Frame::decode_one(rest, side, MAX_PAYLOAD)?;
        let body = body_of(frame).context("a frame without a body")?;
        let (id, ts) = id_and_ts(n);
        ensure!(
            fields(body) == Some((id, ts, data().as_bytes())),
            "other fields than those encoded"
        );
        (rest, n) = (&rest[used..], n + 1);
    }
    ensure!(n > 1, "no frames");
    Ok(())
}

#[inline(always)]
fn of_response(frame: Frame<'_>) -> Option<&[u8]> {
    match frame {
        Frame::Response(response) => Some(response.body),
        _ => None,
    }
}

#[inline(always)]
fn of_request(frame: Frame<'_>) -> Option<&[u8]> {
    match frame {
        Frame::Request(request) => Some(request.body),
        _ => None,
    }
}

/// Goes through the buffer again and again, as its owner does with what the socket delivers.
fn decode(
    name: &'static str,
    wire: Vec<u8>,
    mut next: impl FnMut(&mut &[u8]) -> Result<()> + 'static,
) -> Case {
    Case::new(name, move |repeats| {
        let mut left = repeats;
        while left > 0 {
            let mut input = &wire[..];
            while left > 0 && !input.is_empty() {
                next(&mut input)?;
                left -= 1;
            }
        }
        Ok(())
    })
}

/// One frame again and again, as the other codecs decode theirs.
fn decode_one(name: &'static str, wire: Vec<u8>) -> Case {
    Case::new(name, move |repeats| {
        for _ in 0..repeats {
            let (frame, _) = Frame::decode_one(black_box(&wire), Side::Client, MAX_PAYLOAD)?;
            let Frame::Response(Response { body, .. }) = frame else {
                anyhow::bail!("not a response");
            };
            consume(fields(body).context("a short body")?);
        }
        Ok(())
    })
}

fn deframe(
    name: &'static str,
    wire: Vec<u8>,
    side: Side,
    body_of: impl Fn(Frame<'_>) -> Option<&[u8]> + 'static,
) -> Case {
    let rules = Rules::new(side, MAX_PAYLOAD);
    let (mut deframer, now) = (Deframer::new(), Instant::now());
    decode(name, wire, move |input| {
        let raw = deframer.next(input, &rules, now)?;
        let raw = raw.context("no whole frame")?;
        let frame = Frame::decode(&raw.header, raw.payload, rules.side)?;
        let body = body_of(frame).context("a frame of another kind")?;
        consume(fields(body).context("a short body")?);
        Ok(())
    })
}

fn prost() -> [Case; 2] {
    let mut message = Proto {
        data: data().into_bytes(),
        ..Proto::default()
    };
    let wire = message.encode_to_vec();
    let mut out = Vec::with_capacity(2 * MESSAGE);
    [
        Case::new("protobuf encode", move |repeats| {
            for n in 0..repeats {
                (message.id, message.ts) = id_and_ts(n);
                out.clear();
                black_box(&message).encode(&mut out)?;
                black_box(out.as_ptr());
            }
            Ok(())
        }),
        Case::new("protobuf decode", move |repeats| {
            for _ in 0..repeats {
                let message = Proto::decode(&black_box(&wire)[..])?;
                consume((message.id, message.ts, &message.data));
            }
            Ok(())
        }),
    ]
}

fn json() -> Result<[Case; 2]> {
    let text = data();
    let (id, ts) = id_and_ts(0);
    let wire = serde_json::to_vec(&Json {
        id,
        ts,
        data: &text,
    })?;
    let mut out = Vec::with_capacity(2 * MESSAGE);
    Ok([
        Case::new("json encode", move |repeats| {
            for n in 0..repeats {
                let (id, ts) = id_and_ts(n);
                let data = black_box(&text);
                out.clear();
                serde_json::to_writer(&mut out, &Json { id, ts, data })?;
                black_box(out.as_ptr());
            }
            Ok(())
        }),
        Case::new("json decode", move |repeats| {
            for _ in 0..repeats {
                let message: Json<'_> = serde_json::from_slice(black_box(&wire))?;
                consume((message.id, message.ts, message.data.as_bytes()));
            }
            Ok(())
        }),
    ])
}
