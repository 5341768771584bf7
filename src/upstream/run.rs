//! One request through its attempts.

use super::attempt::{Fate, Sent, Tried, Try};
use super::endpoint::{Transport, Visit};
use super::endpoints::Nobody;
use super::refusal::Refusal;
use super::retry;
use super::trip::Entered;
use super::{Order, Upstream};
use crate::telemetry::{AttemptOutcome, random_unit};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub(super) enum Round<A> {
    Tried(Tried<A>),
    TimedOut { sent: bool },
    Refused(Refusal),
}

impl<A> Round<A> {
    /// Whether nothing better is to be had.
    pub(super) fn is_final(&self) -> bool {
        let Round::Tried(tried) = self else {
            return false;
        };
        matches!(
            tried.fate,
            Fate::Answered { .. } | Fate::Rejected | Fate::GivenUp
        )
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

    pub(super) fn end(self) -> End<A> {
        match self {
            Round::Tried(tried) => End::Answer(tried.answer),
            Round::TimedOut { .. } => End::TimedOut,
            Round::Refused(refusal) => End::Refused(refusal),
        }
    }
}

/// What is known of a request over all its attempts.
#[derive(Default)]
pub(super) struct Journey {
    tried: Mutex<Vec<SocketAddr>>,
    unknown: AtomicBool,
}

impl Journey {
    /// Who was asked, to be held while somebody else is chosen.
    fn tried(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ask(&self, addr: SocketAddr) {
        self.tried().push(addr);
    }

    fn is_unknown(&self) -> bool {
        self.unknown.load(Ordering::Acquire)
    }

    pub(super) fn add_unknown(&self, unknown: bool) {
        self.unknown.fetch_or(unknown, Ordering::AcqRel);
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
        if let Some(visit) = self.visit.take() {
            let sent = self.sent.is_set();
            let unknown = self.upstream.ended(visit, fate, sent, self.began);
            self.journey.add_unknown(unknown);
        }
    }
}

impl<T: Transport> Drop for Under<'_, T> {
    fn drop(&mut self) {
        if self.visit.is_some() {
            self.journey.add_unknown(self.sent.is_set());
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
        Arc::clone(self).set_out(order).run(attempt).await
    }

    /// All attempts; the first one has its place already, if there was one at once.
    pub(super) async fn rounds<A, F, Fut>(
        &self,
        order: &Order,
        entered: Option<Entered<'_, T>>,
        attempt: F,
    ) -> Ran<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let journey = Journey::default();
        let first = self.round(order, &journey, entered, &attempt).await;
        self.further(order, journey, first, attempt).await
    }

    /// What follows the first round, which has ended.
    pub(super) async fn further<A, F, Fut>(
        &self,
        order: &Order,
        journey: Journey,
        first: Round<A>,
        attempt: F,
    ) -> Ran<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let (mut round, mut last, mut n) = (first, None, 1);
        let end = loop {
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
            n += 1;
            round = self.round(order, &journey, None, &attempt).await;
        };
        let unknown = journey.is_unknown();
        Ran { end, unknown }
    }

    fn leave(&self) -> Option<Leave<'_, T>> {
        let may = self.budget().take(super::now());
        may.then_some(Leave(Some(self)))
    }

    /// An attempt, and a second one beside it if the first takes long and hedging is asked for.
    async fn round<A, F, Fut>(
        &self,
        order: &Order,
        journey: &Journey,
        entered: Option<Entered<'_, T>>,
        attempt: &F,
    ) -> Round<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let first = self.once(order, journey, entered, attempt, true);
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
        let mut second = pin!(self.once(order, journey, None, attempt, false));
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
        entered: Option<Entered<'_, T>>,
        attempt: &F,
        waits: bool,
    ) -> Round<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let entered = match entered {
            Some(entered) => Ok(entered),
            None => self.enter(order, journey, waits).await,
        };
        let Entered {
            visit,
            _slot,
            began,
        } = match entered {
            Ok(entered) => entered,
            Err(refusal) => return Round::Refused(refusal),
        };
        journey.ask(visit.endpoint.addr);
        let until = self.until(order, began);
        let given = Try::new(Arc::clone(&visit.endpoint), until);
        let under = Under {
            upstream: self,
            journey,
            visit: Some(visit),
            sent: given.sent().clone(),
            began,
        };
        match under.sent.within(until, attempt(given)).await {
            Some(tried) if tried.fate != Fate::TimedOut => {
                under.end(Some(tried.fate));
                Round::Tried(tried)
            }
            _ => {
                let sent = under.sent.is_set();
                under.end(None);
                Round::TimedOut { sent }
            }
        }
    }

    /// A place and somebody to ask, once there is both.
    async fn enter(
        &self,
        order: &Order,
        journey: &Journey,
        waits: bool,
    ) -> Result<Entered<'_, T>, Refusal> {
        let slot = self.place(order, waits).await?;
        let now = super::now();
        match self.choose(order, &journey.tried(), now) {
            Ok(visit) => Ok(Entered::new(visit, slot, now)),
            Err(Nobody::There) => Err(Refusal::NoEndpoint),
            Err(Nobody::Open(retry_after)) => Err(Refusal::CircuitOpen { retry_after }),
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
