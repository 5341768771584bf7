//! A request that has set out: its first attempt can be made by the caller, without waiting for anything.
//!
//! That is how a request fares that finds a place, an endpoint and a connection at once, as nearly all do.
//! Whatever else there is to be done falls to [`Upstream::run`], which begins in the same way.

use super::attempt::{Fate, Tried, Try};
use super::endpoint::{Endpoint, Transport, Visit};
use super::endpoints::Nobody;
use super::run::{Journey, Ran, Round};
use super::slots::Slot;
use super::{Order, Upstream};
use crate::telemetry::AttemptOutcome;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A place, and somebody to ask.
pub(super) struct Entered<'s, T> {
    pub(super) visit: Visit<T>,
    /// Given back after the verdict on the attempt.
    pub(super) _slot: Slot<'s>,
    pub(super) began: Instant,
}

impl<'s, T> Entered<'s, T> {
    pub(super) fn new(visit: Visit<T>, _slot: Slot<'s>, began: Instant) -> Entered<'s, T> {
        Entered {
            visit,
            _slot,
            began,
        }
    }
}

/// A request that has set out. One that is dropped with its first attempt under way was given up.
pub struct Trip<T: Transport> {
    upstream: Arc<Upstream<T>>,
    order: Order,
    began: Instant,
    /// Whom it asks first, from when it set out. It has a slot of the upstream as long as this is there.
    visit: Option<Visit<T>>,
    /// The first attempt may have gone out.
    sent: bool,
}

/// The caller's first attempt has ended, and another one may follow.
pub struct Further<A> {
    journey: Journey,
    first: Round<A>,
}

impl<T: Transport> Upstream<T> {
    /// Begins a request.
    pub fn set_out(self: Arc<Self>, order: Order) -> Trip<T> {
        self.start();
        let now = super::now();
        self.budget().request(now);
        let deadline = order.deadline.min(now + self.settings.timeout);
        let order = Order { deadline, ..order };
        // Where it must wait, or nobody can be asked, it is told so later.
        let slot = self.slots.try_enter();
        let visit = slot.and_then(|slot| {
            let visit = self.choose(&order, &[], now).ok()?;
            slot.keep();
            Some(visit)
        });
        Trip {
            upstream: self,
            order,
            began: now,
            visit,
            sent: false,
        }
    }

    /// Begins an attempt at whom it is best to ask now.
    pub(super) fn choose(
        &self,
        order: &Order,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Result<Visit<T>, Nobody> {
        self.endpoints
            .enter(order.key, tried, now, super::random_bits)
    }

    /// When an attempt that begins now is over at the latest.
    pub(super) fn until(&self, order: &Order, now: Instant) -> Instant {
        order.deadline.min(now + self.settings.try_timeout)
    }

    /// An attempt has ended so; `None` is a timeout. Gives whether it may have been executed without that
    /// being known.
    pub(super) fn ended(
        &self,
        mut visit: Visit<T>,
        fate: Option<Fate>,
        sent: bool,
        began: Instant,
    ) -> bool {
        let (outcome, unknown) = match fate {
            Some(Fate::Answered { well: true }) => (AttemptOutcome::Answered, false),
            Some(Fate::Answered { well: false }) => (AttemptOutcome::Failed, false),
            Some(Fate::Refused { .. } | Fate::Rejected) => (AttemptOutcome::Refused, false),
            Some(Fate::NotSent | Fate::Unreached) => (AttemptOutcome::NotSent, false),
            Some(Fate::Unknown) => (AttemptOutcome::Unknown, true),
            Some(Fate::GivenUp) => (AttemptOutcome::Dropped, true),
            Some(Fate::TimedOut) => (AttemptOutcome::TimedOut, true),
            None if sent => (AttemptOutcome::TimedOut, true),
            None => (AttemptOutcome::NotSent, false),
        };
        self.stats.attempt(outcome);
        let now = super::now();
        let lost = unknown || outcome == AttemptOutcome::NotSent;
        if fate != Some(Fate::GivenUp) {
            let took = || now.saturating_duration_since(began);
            self.slots.ended(|| (!lost).then(took));
        }
        if outcome == AttemptOutcome::NotSent {
            // It may be somewhere else by now.
            self.look_again();
        }
        if visit.end(fate, now) {
            self.eject(&visit.endpoint, now);
        }
        unknown
    }
}

impl<T: Transport> Trip<T> {
    /// Has all attempts made, as [`Upstream::run`] does.
    pub async fn run<A, F, Fut>(mut self, attempt: F) -> Ran<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let entered = self.visit.take();
        let entered =
            entered.map(|visit| Entered::new(visit, self.upstream.slots.held(), self.began));
        self.upstream.rounds(&self.order, entered, attempt).await
    }

    /// Whom to ask, if the caller may make the first attempt itself: not where a second one may have to be
    /// made beside it.
    pub fn endpoint(&self) -> Option<&Arc<Endpoint<T>>> {
        let settings = &self.upstream.settings;
        if settings.idempotent && settings.hedge.is_some() {
            return None;
        }
        self.visit.as_ref().map(|visit| &visit.endpoint)
    }

    /// When it set out.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When that attempt is over at the latest: it must end by then, with [`Fate::TimedOut`] where it was sent.
    pub fn until(&self) -> Instant {
        self.upstream.until(&self.order, self.began)
    }

    /// Whether it is.
    pub fn is_late(&self) -> bool {
        super::now() >= self.until()
    }

    /// The attempt goes out.
    pub fn sent(&mut self) {
        self.sent = true;
    }

    /// The attempt was answered, and well: nothing follows.
    pub fn answered(&mut self) {
        if let Some(visit) = self.visit.take() {
            let _slot = self.upstream.slots.held();
            let fate = Some(Fate::Answered { well: true });
            self.upstream.ended(visit, fate, self.sent, self.began);
        }
    }

    /// The attempt ended so.
    ///
    /// # Errors
    /// Another one may follow: see [`Trip::further`].
    pub fn ended<A>(&mut self, tried: Tried<A>) -> Result<Ran<A>, Further<A>> {
        let (mut asked, mut unknown) = (None, false);
        if let Some(visit) = self.visit.take() {
            let _slot = self.upstream.slots.held();
            asked = Some(visit.endpoint.addr);
            let fate = Some(tried.fate);
            unknown = self.upstream.ended(visit, fate, self.sent, self.began);
        }
        let first = match tried.fate {
            Fate::TimedOut => Round::TimedOut { sent: true },
            _ => Round::Tried(tried),
        };
        if first.is_final() {
            let end = first.end();
            return Ok(Ran { end, unknown });
        }
        let journey = Journey::default();
        asked.into_iter().for_each(|addr| journey.ask(addr));
        journey.add_unknown(unknown);
        Err(Further { journey, first })
    }

    /// What follows the first attempt.
    pub async fn further<A, F, Fut>(self, further: Further<A>, attempt: F) -> Ran<A>
    where
        F: Fn(Try<T>) -> Fut,
        Fut: Future<Output = Tried<A>>,
    {
        let Further { journey, first } = further;
        self.upstream
            .further(&self.order, journey, first, attempt)
            .await
    }
}

impl<T: Transport> Drop for Trip<T> {
    fn drop(&mut self) {
        let Some(visit) = self.visit.take() else {
            return;
        };
        let _slot = self.upstream.slots.held();
        drop(visit);
        if self.sent {
            self.upstream.stats.attempt(AttemptOutcome::Dropped);
        }
    }
}

impl<T: Transport> std::fmt::Debug for Trip<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trip")
            .field("upstream", &self.upstream)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}
