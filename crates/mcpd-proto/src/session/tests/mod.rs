//! What either end does, told by tests that join the two under a clock that only they move.

mod close;
mod heartbeat;
mod hello;
mod props;
mod request;
mod stretch;
mod wire;

use super::*;
use crate::{
    Cancel, Frame, GoAwayReason, Heartbeat, Hello, Meta, MetaBuf, Request, Response, Side,
};
use std::time::{Duration, Instant};
use wire::Wire;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn encoded(frame: Frame<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    frame.encode(&mut wire);
    wire
}

fn request(seq: u16, topic: &str) -> Vec<u8> {
    encoded(Frame::Request(Request {
        seq,
        topic: topic.as_bytes(),
        ..Request::default()
    }))
}

fn hello(meta: Meta<'_>) -> Vec<u8> {
    let (seq, reply) = (1, false);
    encoded(Frame::Hello(Hello { seq, reply, meta }))
}

fn heartbeat(seq: u16, announces: Option<Duration>) -> Vec<u8> {
    let mut meta = MetaBuf::new();
    if let Some(interval) = announces {
        meta.set_heartbeat(interval);
    }
    encoded(Frame::Heartbeat(Heartbeat {
        seq,
        meta: meta.view(),
        ..Heartbeat::default()
    }))
}

fn cancel(seq: u16) -> Vec<u8> {
    let meta = Meta::EMPTY;
    encoded(Frame::Cancel(Cancel { seq, meta }))
}

/// A frame of a type nobody knows, which says that it may be ignored.
const IGNORABLE: &[u8] = b"\x01\x33\0\0\0\0\0\x02\0\x10xx";
