//! The requests of a connection that wait for their answer.

use crate::error::{Error, Result};
use crate::reply::Answer;
use bytes::Bytes;
use mcpd_proto::{MetaBuf, Qos};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What a handle asks of the connection's task.
#[derive(Debug)]
pub(crate) enum Command {
    Call(Box<Call>),
    Ping(oneshot::Sender<Duration>),
}

/// A request on its way to the connection's task.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) topic: Arc<str>,
    pub(crate) body: Bytes,
    pub(crate) priority: u8,
    pub(crate) qos: Qos,
    pub(crate) dup: bool,
    pub(crate) meta: MetaBuf,
    /// When the caller's patience ends, from which TIMEOUT_MS is told when the frame is made.
    pub(crate) deadline: Option<Instant>,
    pub(crate) waiting: Waiting,
}

/// Who waits for an answer, and the slot that is theirs until the final one.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) reply: oneshot::Sender<Result<Answer>>,
    pub(crate) slot: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Pending {
    waiting: Waiting,
    granted: Option<Qos>,
    cancelled: bool,
}

/// Spreads numbers that this side chose itself, so nobody can aim at its weaknesses.
#[derive(Default, Clone, Copy)]
struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    fn write_u16(&mut self, seq: u16) {
        self.0 = (self.0 ^ u64::from(seq)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Who waits for which answer, by `seq_id`; bounded by the slots.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: HashMap<u16, Pending, BuildHasherDefault<SeqHasher>>,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn insert(&mut self, seq: u16, waiting: Waiting) {
        let pending = Pending {
            waiting,
            granted: None,
            cancelled: false,
        };
        self.pending.insert(seq, pending);
    }

    pub(super) fn acked(&mut self, seq: u16, qos: Qos) {
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.granted = Some(qos);
        }
    }

    /// Gives the answer to whoever still waits for it; the slot is free.
    pub(super) fn answer(&mut self, seq: u16, answer: impl FnOnce(Option<Qos>) -> Result<Answer>) {
        let Some(Pending {
            waiting, granted, ..
        }) = self.pending.remove(&seq)
        else {
            return;
        };
        drop(waiting.slot);
        if !waiting.reply.is_closed() {
            // Nobody may be left who wants it; that is not worth a word.
            let _ = waiting.reply.send(answer(granted));
        }
    }

    pub(super) fn fail(&mut self, seq: u16, error: Error) {
        self.answer(seq, |_| Err(error));
    }

    /// Takes up to `most` requests that nobody waits for any more and that were not cancelled.
    pub(super) fn forsaken(&mut self, most: usize) -> Vec<u16> {
        let given_up = |pending: &Pending| !pending.cancelled && pending.waiting.reply.is_closed();
        let found = self
            .pending
            .iter_mut()
            .filter(|(_, pending)| given_up(pending));
        let mark = |(seq, pending): (&u16, &mut Pending)| {
            pending.cancelled = true;
            *seq
        };
        found.take(most).map(mark).collect()
    }
}
