//! The requests of a connection: who waits for which answer, and answers that wait for their caller.
//!
//! Both lie in memory that is used again, so that a request costs no allocation of its own.

use crate::error::{Error, Result};
use crate::reply::Answer;
use mcpd_proto::Qos;
use mcpd_proto::session::SeqTable;
use std::task::{Poll, Waker};
use std::time::Instant;

/// Desks that are kept when nobody sits at them; those of a burst are given back.
const KEPT: usize = 64;

/// The place at which a caller waits; whoever holds it takes the answer or gives it up, once.
#[derive(Debug)]
pub(crate) struct Ticket(u32);

/// Where a caller waits for an answer.
#[derive(Debug)]
enum Desk {
    Free,
    Waiting(Waiting),
    /// The answer is there and was not taken yet.
    Done(Result<Answer>),
}

#[derive(Debug)]
struct Waiting {
    seq: u16,
    waker: Waker,
    /// When the caller does not wait any longer.
    until: Option<Instant>,
}

/// A request that the server has not answered.
#[derive(Debug)]
struct Pending {
    /// `None` when nobody waits any more.
    desk: Option<u32>,
    granted: Option<Qos>,
    /// Its work is to stop: nobody waits any more, or whoever does says so.
    unwanted: bool,
    cancelled: bool,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: SeqTable<Pending>,
    desks: Vec<Desk>,
    free: Vec<u32>,
    /// Not after the first moment at which a caller does not wait any longer.
    next_until: Option<Instant>,
}

impl Calls {
    /// Whether everything is answered.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// A request has left its caller.
    pub(super) fn insert(&mut self, seq: u16, waker: &Waker, until: Option<Instant>) -> Ticket {
        let waker = waker.clone();
        let desk = Desk::Waiting(Waiting { seq, waker, until });
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.desks.push(Desk::Free);
                // There is one for each future that waits, and memory for fewer than 2^32.
                (self.desks.len() - 1) as u32
            }
        };
        if let Some(place) = self.desks.get_mut(at as usize) {
            *place = desk;
        }
        let pending = Pending {
            desk: Some(at),
            granted: None,
            unwanted: false,
            cancelled: false,
        };
        self.pending.insert(seq, pending);
        if let Some(until) = until
            && self.next_until.is_none_or(|next| until < next)
        {
            self.next_until = Some(until);
        }
        Ticket(at)
    }

    pub(super) fn acked(&mut self, seq: u16, qos: Qos) {
        if let Some(pending) = self.pending.get_mut(seq) {
            pending.granted = Some(qos);
        }
    }

    /// Lays the answer on the desk of whoever still waits for it, and gives whom to wake. `None` if
    /// there is no such request.
    #[inline]
    pub(super) fn answer(
        &mut self,
        seq: u16,
        answer: impl FnOnce(Option<Qos>) -> Result<Answer>,
    ) -> Option<Option<Waker>> {
        let Pending { desk, granted, .. } = self.pending.remove(seq)?;
        let desk = desk.and_then(|at| self.desks.get_mut(at as usize));
        // Nobody may be left who wants it; that is not worth a word.
        Some(desk.and_then(|desk| desk.done(|| answer(granted))))
    }

    /// Takes the answer if it is there; its desk is free then. Else `waker` is to be woken; the one
    /// it replaces comes back, as dropping it may lead anywhere.
    #[inline]
    pub(super) fn poll(
        &mut self,
        ticket: &Ticket,
        waker: &Waker,
    ) -> (Poll<Result<Answer>>, Option<Waker>) {
        let Some(desk) = self.desks.get_mut(ticket.0 as usize) else {
            return (Poll::Pending, None);
        };
        if let Desk::Waiting(waiting) = desk {
            let other = !waiting.waker.will_wake(waker);
            let old = other.then(|| std::mem::replace(&mut waiting.waker, waker.clone()));
            return (Poll::Pending, old);
        }
        // A ticket is good for one answer.
        let Desk::Done(answer) = std::mem::replace(desk, Desk::Free) else {
            return (Poll::Pending, None);
        };
        self.leave(ticket);
        (Poll::Ready(answer), None)
    }

    /// The caller does not want the answer. Gives the waker if it is still to come.
    pub(super) fn give_up(&mut self, ticket: &Ticket) -> Option<Waker> {
        let desk = self.desks.get_mut(ticket.0 as usize)?;
        let desk = std::mem::replace(desk, Desk::Free);
        self.leave(ticket);
        let Desk::Waiting(Waiting { seq, waker, .. }) = desk else {
            return None;
        };
        self.forsake(seq);
        Some(waker)
    }

    fn forsake(&mut self, seq: u16) {
        if let Some(pending) = self.pending.get_mut(seq) {
            (pending.desk, pending.unwanted) = (None, true);
        }
    }

    /// The caller wants the work to stop, and waits on. Gives whether it may still be going on.
    pub(super) fn unwant(&mut self, ticket: &Ticket) -> bool {
        let Some(Desk::Waiting(waiting)) = self.desks.get(ticket.0 as usize) else {
            return false;
        };
        let pending = self.pending.get_mut(waiting.seq);
        pending.map(|pending| pending.unwanted = true).is_some()
    }

    fn leave(&mut self, ticket: &Ticket) {
        self.free.push(ticket.0);
        if self.free.len() == self.desks.len() && self.desks.len() > KEPT {
            (self.desks, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// Not after the next moment at which [`Calls::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_until
    }

    /// Tells those who do not wait any longer, and wakes them by way of `woken`. Says whether there
    /// were any: their requests are to be cancelled.
    ///
    /// It looks at every desk, which is cheaper than to keep order among deadlines that hardly ever
    /// pass: with one and the same timeout it happens about once in that time.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        error: impl Fn() -> Error,
        woken: &mut Vec<Waker>,
    ) -> bool {
        if self.next_until.is_none_or(|next| now < next) {
            return false;
        }
        self.next_until = None;
        let mut any = false;
        for desk in &mut self.desks {
            let Desk::Waiting(waiting) = desk else {
                continue;
            };
            let Some(until) = waiting.until else { continue };
            if now < until {
                let next = self.next_until.map_or(until, |next| next.min(until));
                self.next_until = Some(next);
                continue;
            }
            if let Some(pending) = self.pending.get_mut(waiting.seq) {
                (pending.desk, pending.unwanted) = (None, true);
            }
            woken.extend(desk.done(|| Err(error())));
            any = true;
        }
        any
    }

    /// Takes up to `most` requests that nobody wants any more and that were not cancelled.
    pub(super) fn forsaken(&mut self, most: usize) -> Vec<u16> {
        let given_up = |pending: &Pending| !pending.cancelled && pending.unwanted;
        let found = self
            .pending
            .iter_mut()
            .filter(|(_, pending)| given_up(pending));
        let mark = |(seq, pending): (u16, &mut Pending)| {
            pending.cancelled = true;
            seq
        };
        found.take(most).map(mark).collect()
    }
}

impl Desk {
    /// The caller's wait is over.
    #[inline]
    fn done(&mut self, answer: impl FnOnce() -> Result<Answer>) -> Option<Waker> {
        let Desk::Waiting(_) = self else { return None };
        let Desk::Waiting(waiting) = std::mem::replace(self, Desk::Done(answer())) else {
            return None;
        };
        Some(waiting.waker)
    }
}
