//! One request through its attempts.

use super::attempt::{Fate, Sent, Tried, Try};
use super::endpoint::{Transport, Visit};
use super::endpoints::Nobody;
use super::refusal::Refusal;
use super::retry;
use super::{Order, Upstream};
use crate::telemetry::{AttemptOutcome, random_unit};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What came of a request.
#[derive(Debug)]
pub struct Ran<A> {
    /// How it ended.
    pub end: End<A>,
    /// Whether some attempt, the last one or one before, was sent and not answered: whatever the end
    /// says, the request may have been executed.
    pub unknown: bool,
}

/// How a request ended.
#[derive(Debug)]
pub enum End<A> {
    /// With what the last attempt that could be made said.
    Answer(A),
    /// No answer came in time; [`Ran::unknown`] says whether it was sent.
    TimedOut,
    /// Nobody was asked.
    Refused(Refusal),
}

/// One round: an attempt, perhaps with a hedge.
enum Round<A> {
    Tried(Tried<A>),
    TimedOut { sent: bool },
    Refused(Refusal),
}

impl<A> Round<A> {
    /// Whether nothing better is to be had.
    fn is_final(&self) -> bool {
        let Round::Tried(tried) = self else {
            return false;
        };
        matches!(tried.fate, Fate::Answered { .. } | Fate::Rejected)
    }

    /// What its end says about the request.
    fn fate(&self) -> Option<Fate> {
        match self {
            Round::Tried(tried) => Some(tried.fate),
            Round::TimedOut { sent: true } => Some(Fate::Unknown),
            Round::TimedOut { sent: false } => Some(Fate::NotSent),
            Round::Refused(_) => None,
        }
    }

    fn end(self) -> End<A> {
        match self {
            Round::Tried(tried) => End::Answer(tried.answer),
            Round::TimedOut { .. } => End::TimedOut,
            Round::Refused(refusal) => End::Refused(refusal),
        }
    }
}

/// What is known of a request over all its attempts.
#[derive(Default)]
struct Journey {
    tried: Mutex<Vec<SocketAddr>>,
    unknown: AtomicBool,
}

impl Journey {
    fn tried(&self) -> Vec<SocketAddr> {
        let tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.clone()
    }

    fn ask(&self, addr: SocketAddr) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        tried.push(addr);
    }
}

/// An attempt under way; one that is dropped after it was sent leaves the request unknown.
struct Under<'r, T: Transport> {
    upstream: &'r Upstream<T>,
    journey: &'r Journey,
    visit: Option<Visit<T>>,
    sent: Sent,
    began: Instant,
}

impl<T: Transport> Under<'_, T> {
    /// It ended; `None` is a timeout.
    fn end(mut self, fate: Option<Fate>) {
        let sent = self.sent.is_set();
        let (outcome, unknown) = match fate {
            Some(Fate::Answered { well: true }) => (AttemptOutcome::Answered, false),
            Some(Fate::Answered { well: false }) => (AttemptOutcome::Failed, false),
            Some(Fate::Refused { .. } | Fate::Rejected) => (AttemptOutcome::Refused, false),
            Some(Fate::NotSent | Fate::Unreached) => (AttemptOutcome::NotSent, false),
            Some(Fate::Unknown) => (AttemptOutcome::Unknown, true),
            None if sent => (AttemptOutcome::TimedOut, true),
            None => (AttemptOutcome::NotSent, false),
        };
        self.journey.unknown.fetch_or(unknown, Ordering::AcqRel);
        self.upstream.stats.attempt(outcome);
        let now = super::now();
        let took = now.saturating_duration_since(self.began);
        let lost = unknown || outcome == AttemptOutcome::NotSent;
        self.upstream.slots.ended((!lost).then_some(took));
        if outcome == AttemptOutcome::NotSent {
            // It may be somewhere else by now.
            self.upstream.look_again();
        }
        if let Some(visit) = self.visit.take() {
            let endpoint = Arc::clone(&visit.endpoint);
            if visit.end(fate, now) {
                self.upstream.eject(&endpoint, now);
            }
        }
    }
}

impl<T: Transport> Drop for Under<'_, T> {
    fn drop(&mut self) {
        if self.visit.is_some() {
            let sent = self.sent.is_set();
            self.journey.unknown.fetch_or(sent, Ordering::AcqRel);
            self.upstream.stats.attempt(AttemptOutcome::Dropped);
        }
    }
}

/// Leave for an attempt beyond the first, taken from the budget.
struct Leave<'r, T: Transport>(Option<&'r Upstream<T>>);

impl<T: Transport> Leave<'_, T> {
    /// The attempt goes out.
    fn sent(mut self) {
        if let Some(upstream) = self.0.take() {
            upstream.budget().sent(super::now());
            upstream.stats.retry();
        }
    }
}

impl<T: Transport> Drop for Leave<'_, T> {
    fn drop(&mut self) {
        if let Some(upstream) = self.0.take() {
            upstream.budget().dropped();
        }
    }
}

impl<T: Transport> Upstream<T> {
    /// Has `attempt` made as often as it takes and may be. Dropping the future drops the attempt that is
    /// under way.
    ///
    /// `attempt` says by [`Try::sent`] when the request may have gone out, and need not look at the time.
    pub async fn run<A, F, Fut>(self: &Arc<Self>, order: Order, attempt: F) -> Ran<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        self.start();
        self.budget().request(super::now());
        let order = Order {
            deadline: order.deadline.min(self.latest()),
            ..order
        };
        let journey = Journey::default();
        let mut last = None;
        let mut n = 0;
        let end = loop {
            n += 1;
            let round = self.round(&order, &journey, &attempt).await;
            let Some(fate) = round.fate() else {
                // What a retry is refused for says less than what came before.
                break last.unwrap_or(round).end();
            };
            let retry = &self.settings.retry;
            let pause = retry::pause(retry, self.settings.idempotent, n, fate, random_unit());
            let Some(pause) = pause.filter(|pause| super::now() + *pause < order.deadline) else {
                break round.end();
            };
            let Some(leave) = self.leave() else {
                break round.end();
            };
            tokio::time::sleep(pause).await;
            leave.sent();
            last = Some(round);
        };
        let unknown = journey.unknown.load(Ordering::Acquire);
        Ran { end, unknown }
    }

    fn leave(&self) -> Option<Leave<'_, T>> {
        let may = self.budget().take(super::now());
        may.then_some(Leave(Some(self)))
    }

    /// An attempt, and a second one beside it if the first takes long and hedging is asked for.
    async fn round<A, F, Fut>(&self, order: &Order, journey: &Journey, attempt: &F) -> Round<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let first = self.once(order, journey, attempt, true);
        let Some(after) = self.settings.hedge.filter(|_| self.settings.idempotent) else {
            return first.await;
        };
        let mut first = pin!(first);
        tokio::select! {
            biased;
            round = &mut first => return round,
            () = tokio::time::sleep(after) => {}
        }
        let Some(leave) = self.leave() else {
            return first.await;
        };
        leave.sent();
        let mut second = pin!(self.once(order, journey, attempt, false));
        tokio::select! {
            biased;
            round = &mut first => better(round, second).await,
            round = &mut second => better(round, first).await,
        }
    }

    /// One attempt, if there is a place and somebody to ask.
    async fn once<A, F, Fut>(
        &self,
        order: &Order,
        journey: &Journey,
        attempt: &F,
        waits: bool,
    ) -> Round<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let _slot = match self.place(order, waits).await {
            Ok(slot) => slot,
            Err(refusal) => return Round::Refused(refusal),
        };
        let now = super::now();
        let key = order.key;
        let entered = self
            .endpoints
            .enter(key, &journey.tried(), now, super::random_bits);
        let visit = match entered {
            Ok(visit) => visit,
            Err(Nobody::There) => return Round::Refused(Refusal::NoEndpoint),
            Err(Nobody::Open(retry_after)) => {
                return Round::Refused(Refusal::CircuitOpen { retry_after });
            }
        };
        journey.ask(visit.endpoint.addr);
        let until = order.deadline.min(now + self.settings.try_timeout);
        let given = Try::new(Arc::clone(&visit.endpoint), until);
        let under = Under {
            upstream: self,
            journey,
            visit: Some(visit),
            sent: given.sent().clone(),
            began: now,
        };
        match tokio::time::timeout_at(until.into(), attempt(given)).await {
            Ok(tried) => {
                under.end(Some(tried.fate));
                Round::Tried(tried)
            }
            Err(_) => {
                let sent = under.sent.is_set();
                under.end(None);
                Round::TimedOut { sent }
            }
        }
    }
}

/// The first of two rounds has ended; if it is no answer, the other may still be.
async fn better<A>(round: Round<A>, other: impl Future<Output = Round<A>>) -> Round<A> {
    if round.is_final() {
        return round;
    }
    let other = other.await;
    match other {
        Round::Refused(_) => round,
        _ => other,
    }
}
