//! What the handles of a connection and its task work on together, under one lock.
//!
//! A caller makes its frame itself, into the bytes that the task writes next, and finds its answer
//! where the task has laid it. Both hold the lock for a frame, or for the frames of one read; never
//! while they wait, call the system or wake somebody.

mod calls;
mod outbox;

pub(crate) use calls::Ticket;
pub(crate) use outbox::Outbox;

use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::reply::Answer;
use crate::request::Parts;
use crate::state::Closed;
use calls::Calls;
use mcpd_proto::session::{Client, Fate};
use mcpd_proto::{MetaBuf, Qos, Request};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) session: Client,
    /// What the task has not taken to write yet.
    pub(crate) outbox: Outbox,
    calls: Calls,
    pub(crate) pings: Vec<oneshot::Sender<Duration>>,
    /// Bytes that the task has taken, and the stream not.
    writing: usize,
    /// Bytes that may wait to be written before callers wait.
    write_buffer: usize,
    /// How much longer than the server one waits here.
    grace: Duration,
    /// Callers that wait for room, in an order of their own.
    queued: usize,
    /// A caller gave up since the task last looked.
    gave_up: bool,
    /// No handle is left.
    forsaken: bool,
    /// Requests whose place is free again and was not given back yet.
    settled: usize,
    /// Metadata of the request that is being sent.
    meta: MetaBuf,
    /// Nothing can be sent any more, and why.
    ended: Option<Closed>,
}

/// What a message with an id says of itself in this attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) message_id: [u8; 16],
    pub(crate) age_ms: Option<u32>,
    pub(crate) incarnation: Option<[u8; 16]>,
}

impl Stamp {
    pub(crate) fn write(&self, meta: &mut MetaBuf) {
        meta.set_message_id(self.message_id);
        if let Some(ms) = self.age_ms {
            meta.set_age_ms(ms);
        }
        if let Some(incarnation) = self.incarnation {
            meta.set_incarnation(incarnation);
        }
    }
}

/// One request as it is to be sent this time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) parts: &'a Parts,
    pub(crate) dup: bool,
    pub(crate) stamp: Option<Stamp>,
    /// When the caller's patience ends, from which TIMEOUT_MS is told.
    pub(crate) deadline: Option<Instant>,
}

impl<'a> Attempt<'a> {
    /// A request that goes out as it was built.
    pub(crate) fn plain(parts: &'a Parts, deadline: Option<Instant>) -> Attempt<'a> {
        Attempt {
            parts,
            dup: parts.dup,
            stamp: None,
            deadline,
        }
    }
}

impl Exchange {
    pub(crate) fn new(session: Client, write_buffer: usize, grace: Duration) -> Exchange {
        Exchange {
            session,
            outbox: Outbox::default(),
            calls: Calls::default(),
            pings: Vec::new(),
            writing: 0,
            write_buffer,
            grace,
            queued: 0,
            gave_up: false,
            forsaken: false,
            settled: 0,
            meta: MetaBuf::new(),
            ended: None,
        }
    }

    /// Whether one more frame may be added to what is to be written.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() + self.writing < self.write_buffer
    }

    /// The task holds so many bytes that the stream has not taken.
    pub(crate) fn set_writing(&mut self, bytes: usize) {
        self.writing = bytes;
    }

    /// Whether somebody waits for room, and there is some.
    pub(crate) fn may_call_in(&self) -> bool {
        self.queued > 0 && self.has_room()
    }

    /// Whether new requests belong elsewhere, if there is an elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        self.ended.is_some() || self.session.is_going_away()
    }

    /// Makes the frame of a request. `Ready(None)` while there is no room for it, or others
    /// wait for some already and this one has not waited its turn.
    pub(crate) fn submit(
        &mut self,
        attempt: &Attempt<'_>,
        now: Instant,
        waited: bool,
        waker: &Waker,
    ) -> Result<Option<Ticket>> {
        if let Some(closed) = &self.ended {
            return Err(closed.error(ErrorClass::NotExecuted).unsent());
        }
        if !self.has_room() || (self.queued > 0 && !waited) {
            return Ok(None);
        }
        let parts = attempt.parts;
        let meta = self.meta(attempt, now)?;
        let request = Request {
            seq: 0,
            priority: parts.priority,
            qos: parts.qos,
            dup: attempt.dup,
            topic: parts.topic.as_bytes(),
            body: &parts.body,
            meta: meta.view(),
        };
        let (session, head) = (&mut self.session, self.outbox.head());
        let seq = match parts.is_topic {
            true => session.request_to_topic(&request, head),
            false => session.request(&request, head),
        };
        self.meta = meta;
        let seq = seq?;
        self.outbox.body(&parts.body);
        let until = attempt.deadline.and_then(|at| at.checked_add(self.grace));
        Ok(Some(self.calls.insert(seq, waker, until)))
    }

    /// The metadata as this attempt says it, in memory that is used again.
    fn meta(&mut self, attempt: &Attempt<'_>, now: Instant) -> Result<MetaBuf> {
        let ms = match attempt.deadline {
            None => None,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(now);
                if left.is_zero() {
                    return Err(Error::not_sent_in_time());
                }
                Some(whole_ms(left))
            }
        };
        let mut meta = std::mem::take(&mut self.meta);
        meta.clone_from(&attempt.parts.meta);
        if let Some(ms) = ms {
            meta.set_timeout_ms(ms);
        }
        if let Some(stamp) = attempt.stamp {
            stamp.write(&mut meta);
        }
        Ok(meta)
    }

    /// The answer, if it is there; and a waker to be dropped without the lock.
    pub(crate) fn poll(
        &mut self,
        ticket: &Ticket,
        waker: &Waker,
    ) -> (Poll<Result<Answer>>, Option<Waker>) {
        self.calls.poll(ticket, waker)
    }

    /// A caller does not want its answer. If that is still to come, the task is to hear of it, and
    /// there is a waker to be dropped without the lock.
    pub(crate) fn give_up(&mut self, ticket: &Ticket) -> Option<Waker> {
        let waker = self.calls.give_up(ticket);
        self.gave_up |= waker.is_some();
        waker
    }

    /// A caller wants the work on its request to stop; the task is to hear of it.
    pub(crate) fn cancel(&mut self, ticket: &Ticket) {
        self.gave_up |= self.calls.unwant(ticket);
    }

    /// One caller more or less waits for room.
    pub(crate) fn queue(&mut self) {
        self.queued += 1;
    }

    pub(crate) fn unqueue(&mut self) {
        self.queued = self.queued.saturating_sub(1);
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self, now: Instant, reply: oneshot::Sender<Duration>) {
        if self.ended.is_some() {
            return;
        }
        // Whoever gave up makes room, so there are never more than callers that wait.
        self.pings.retain(|waiting| !waiting.is_closed());
        self.pings.push(reply);
        let session = &mut self.session;
        self.outbox.control_with(|out| session.ping(now, out));
    }

    /// The last handle was dropped.
    pub(crate) fn forsake(&mut self) {
        self.forsaken = true;
        self.gave_up = true;
    }

    pub(crate) fn is_forsaken(&self) -> bool {
        self.forsaken
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.calls.is_empty()
    }

    pub(crate) fn take_gave_up(&mut self) -> bool {
        std::mem::take(&mut self.gave_up)
    }

    pub(crate) fn acked(&mut self, seq: u16, qos: Qos) {
        self.calls.acked(seq, qos);
    }

    /// Gives the answer to whoever still waits for it.
    #[inline]
    pub(crate) fn answer(
        &mut self,
        seq: u16,
        woken: &mut Vec<Waker>,
        answer: impl FnOnce(Option<Qos>) -> Result<Answer>,
    ) {
        if let Some(waker) = self.calls.answer(seq, answer) {
            self.settled += 1;
            woken.extend(waker);
        }
    }

    /// Requests that were answered since this was last asked: so many places are free again.
    pub(crate) fn take_settled(&mut self) -> usize {
        std::mem::take(&mut self.settled)
    }

    /// Tells callers whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, woken: &mut Vec<Waker>) {
        let over = || {
            let text = "no answer within the time given";
            Error::new(ErrorKind::Timeout, ErrorClass::Unknown, text)
        };
        self.gave_up |= self.calls.expire(now, over, woken);
    }

    /// Not after the next moment at which a caller's time is over.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.calls.deadline()
    }

    /// Adds CANCELs for up to `most` requests that nobody wants any more; says how many.
    pub(crate) fn cancel_forsaken(&mut self, most: usize) -> usize {
        let forsaken = self.calls.forsaken(most);
        for seq in &forsaken {
            let session = &mut self.session;
            self.outbox.control_with(|out| session.cancel(*seq, out));
        }
        forsaken.len()
    }

    /// Nothing is sent any more.
    pub(crate) fn end(&mut self, closed: &Closed) {
        self.ended.get_or_insert_with(|| closed.clone());
        self.pings.clear();
    }

    /// Tells all callers what became of their requests. `known`: their connection's task lives and
    /// can tell their fates apart.
    pub(crate) fn abandon(&mut self, closed: &Closed, known: bool, woken: &mut Vec<Waker>) {
        for (seq, fate) in self.session.abandon() {
            let fate = if known { fate } else { Fate::Unknown };
            self.answer(seq, woken, |_| Err(closed.error(fate.into())));
        }
    }
}

/// Rounded up, since 0 would say that it is over already.
fn whole_ms(left: Duration) -> u32 {
    // `as_millis` is exact and, unlike a division of all nanoseconds, one of 64 bits.
    let begun = u128::from(!left.subsec_nanos().is_multiple_of(1_000_000));
    u32::try_from(left.as_millis() + begun).unwrap_or(u32::MAX)
}

impl Error {
    pub(crate) fn not_sent_in_time() -> Error {
        let text = "the time given was over before the request could be sent";
        Error::new(ErrorKind::Timeout, ErrorClass::NotExecuted, text).unsent()
    }
}
