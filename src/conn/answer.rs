//! Turning an [`Answer`] into a frame in its lane.

use super::Route;
use super::lanes::{Lanes, SHARED_BODY_MIN};
use crate::message::{Answer, Body};
use mcpd_proto::limits::{HEADER_LEN, MAX_TEXT_LEN};
use mcpd_proto::{Class, ErrorCode, ErrorFrame, Meta, MetaBuf, Request, Response, Trace};

/// The parts of a request that its answer repeats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) seq: u16,
    pub(super) priority: u8,
    /// The lane it goes out by: the priority, within the route's bounds.
    pub(super) lane: u8,
    /// The trace context of the answer, which has one exactly when the request had. At first it is
    /// the request's; the head decision puts the server's own span there.
    pub(super) trace: Option<Trace>,
    pub(super) revision: Option<u64>,
}

impl Head {
    #[inline]
    pub(super) fn of(request: &Request<'_>) -> Head {
        let Request {
            seq,
            priority,
            meta,
            ..
        } = *request;
        Head {
            seq,
            priority,
            lane: priority,
            trace: meta.trace(),
            revision: None,
        }
    }

    /// The head of an answer that comes from this route, to a request that got this priority.
    #[inline]
    pub(super) fn routed(self, route: &impl Route, priority: u8) -> Head {
        Head {
            lane: route.lane(priority),
            revision: route.revision(),
            ..self
        }
    }

    /// Adds the metadata that every answer to such a request carries.
    fn with(&self, mut meta: MetaBuf) -> MetaBuf {
        if let Some(trace) = self.trace {
            meta.set_trace(trace);
        }
        if let Some(revision) = self.revision {
            meta.set_route_revision(revision);
        }
        meta
    }
}

/// Queues the frame of `answer`; gives the code it was sent with. An answer that is larger than the
/// peer takes becomes RESULT_TOO_LARGE.
#[inline]
pub(super) fn put(
    lanes: &mut Lanes,
    head: &Head,
    answer: &Answer<'_>,
    peer_max: u32,
) -> Option<ErrorCode> {
    // The common case needs no metadata and thus no buffer for it.
    if let Answer::Response {
        body,
        content_type: None,
    } = answer
        && head.trace.is_none()
        && head.revision.is_none()
    {
        return put_response(lanes, head, Meta::EMPTY, body, peer_max);
    }
    let meta = head.with(answer.meta());
    let meta = meta.view();
    match answer {
        Answer::Response { body, .. } => put_response(lanes, head, meta, body, peer_max),
        Answer::Error { code, detail, .. } => {
            put_error(lanes, head, meta, *code, detail.as_bytes(), peer_max)
        }
        Answer::Reply(reply) => match reply.code {
            Some(code) => put_error_of(lanes, head, meta, code, &reply.body, peer_max),
            None => {
                let body = Body::Shared(reply.body.clone());
                put_response(lanes, head, meta, &body, peer_max)
            }
        },
    }
}

#[inline]
fn put_response(
    lanes: &mut Lanes,
    head: &Head,
    meta: Meta<'_>,
    body: &Body<'_>,
    peer_max: u32,
) -> Option<ErrorCode> {
    let response = Response {
        seq: head.seq,
        priority: head.priority,
        body: body.as_slice(),
        meta,
    };
    if response.encoded_len() - HEADER_LEN > peer_max as usize {
        return Some(too_large(
            lanes,
            head,
            response.encoded_len() - HEADER_LEN,
            peer_max,
        ));
    }
    match body {
        Body::Shared(bytes) if bytes.len() >= SHARED_BODY_MIN => {
            lanes.push_shared(head.lane, bytes.clone(), |out| response.encode_head(out));
        }
        _ => lanes.push(head.lane, |out| response.encode(out)),
    }
    None
}

fn put_error(
    lanes: &mut Lanes,
    head: &Head,
    meta: Meta<'_>,
    code: ErrorCode,
    detail: &[u8],
    peer_max: u32,
) -> Option<ErrorCode> {
    let Head { seq, priority, .. } = *head;
    let mut frame = ErrorFrame {
        seq,
        priority,
        code,
        detail,
        meta,
    };
    if frame.encoded_len() - HEADER_LEN > peer_max as usize && code == ErrorCode::HANDLER_ERROR {
        return Some(too_large(
            lanes,
            head,
            frame.encoded_len() - HEADER_LEN,
            peer_max,
        ));
    }
    fit(&mut frame, peer_max);
    lanes.push(head.lane, |out| frame.encode(out));
    Some(code)
}

/// Puts an error that somebody else has thought of, which must not break the protocol.
fn put_error_of(
    lanes: &mut Lanes,
    head: &Head,
    meta: Meta<'_>,
    code: ErrorCode,
    detail: &[u8],
    peer_max: u32,
) -> Option<ErrorCode> {
    if code == ErrorCode::HANDLER_ERROR {
        return put_error(lanes, head, meta, code, detail, peer_max);
    }
    // An error of the connection has no place on a request.
    let code = match code.class() {
        Class::Connection => ErrorCode::INTERNAL,
        _ => code,
    };
    let text = String::from_utf8_lossy(detail);
    put_error(lanes, head, meta, code, text.as_bytes(), peer_max)
}

/// Shortens the text of an ERROR to what the peer takes. The code goes out whatever the peer says: a
/// peer that takes less than that cannot be told anything.
pub(super) fn fit(frame: &mut ErrorFrame<'_>, peer_max: u32) {
    let over = (frame.encoded_len() - HEADER_LEN).saturating_sub(peer_max as usize);
    if over > 0 {
        let text = frame.text();
        let len = text.len().min(MAX_TEXT_LEN).saturating_sub(over);
        frame.detail = &frame.detail[..text.floor_char_boundary(len)];
    }
}

fn too_large(lanes: &mut Lanes, head: &Head, len: usize, max: u32) -> ErrorCode {
    let text = format!("the answer of {len} bytes is over the {max} that this client takes");
    let (meta, code) = (head.with(MetaBuf::new()), ErrorCode::RESULT_TOO_LARGE);
    let Head { seq, priority, .. } = *head;
    let detail = text.as_bytes();
    let mut frame = ErrorFrame {
        seq,
        priority,
        code,
        detail,
        meta: meta.view(),
    };
    fit(&mut frame, max);
    lanes.push(head.lane, |out| frame.encode(out));
    code
}
