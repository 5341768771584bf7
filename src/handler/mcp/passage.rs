//! A request on its way to the next server and back.
//!
//! Nearly every one finds a place, an endpoint and an open connection at once, and is answered: that way is
//! written by hand, without a future for each of its steps. At whatever point it is not so, the upstream
//! goes on with it.

use super::answer;
use super::links::Links;
use crate::handler::reach;
use crate::message::{Answer, Hosted, Work};
use crate::scheduler::Places;
use crate::telemetry::{Attempt, CallSpan};
use crate::upstream::{Fate, Order, Tried, Trip, Try, Upstream};
use mcpd_client::{Request, Sending, Trace};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request that is handed on: a future of its answer.
pub(super) struct Passage {
    onward: Request,
    span: Option<Arc<CallSpan>>,
    stage: Stage,
    /// The client has given it up.
    cancelled: bool,
    /// Dropped last, when nothing of it goes on.
    places: Option<Places>,
}

enum Stage {
    /// Nothing of it has happened: it was not polled yet.
    Waits(Arc<Upstream<Links>>, Order),
    /// It has gone out.
    Sent(Trip<Links>, Sending, Attempt),
    /// The upstream goes on with it.
    Other(Work),
    Over,
}

impl Passage {
    pub(super) fn new(
        onward: Request,
        span: Option<Arc<CallSpan>>,
        upstream: Arc<Upstream<Links>>,
        order: Order,
    ) -> Passage {
        let stage = Stage::Waits(upstream, order);
        Passage {
            onward,
            span,
            stage,
            cancelled: false,
            places: None,
        }
    }

    /// Sends it if that can be done at once.
    fn set_out(&mut self, mut trip: Trip<Links>, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
        if let Some(endpoint) = trip.endpoint()
            && let Some(connection) = endpoint.transport.ready()
        {
            let attempt = Attempt::begin(self.span.as_ref(), "mcp", endpoint.addr);
            let (now, until) = (trip.began(), trip.until());
            let sending = match attempt.trace() {
                None => connection.try_send(&self.onward, now, until, cx),
                Some(trace) => connection.try_send(&traced(&self.onward, trace), now, until, cx),
            };
            match sending {
                Some(Ok(sending)) => {
                    trip.sent();
                    self.stage = Stage::Sent(trip, sending, attempt);
                    return Poll::Pending;
                }
                Some(Err(error)) => {
                    let tried = answer::tried(Err(error));
                    return self.landed(trip, attempt, tried, cx);
                }
                None => {}
            }
        }
        let (onward, span) = (self.onward.clone(), self.span.clone());
        let other = async move {
            let attempt = |given| attempt(&onward, span.as_ref(), given);
            reach::answer(trip.run(attempt).await)
        };
        self.go_on(Box::pin(other), cx)
    }

    /// The attempt has ended: with it the request has, or the upstream knows what follows.
    fn landed(
        &mut self,
        mut trip: Trip<Links>,
        mut attempt: Attempt,
        mut tried: Tried<Answer<'static>>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<'static>> {
        if self.cancelled {
            tried.fate = unwanted(tried.fate);
        }
        judge(&mut attempt, &tried);
        let further = match trip.ended(tried) {
            Ok(ran) => return Poll::Ready(reach::answer(ran)),
            Err(further) => further,
        };
        let (onward, span) = (self.onward.clone(), self.span.clone());
        let other = async move {
            let attempt = |given| self::attempt(&onward, span.as_ref(), given);
            reach::answer(trip.further(further, attempt).await)
        };
        self.go_on(Box::pin(other), cx)
    }

    fn go_on(&mut self, mut work: Work, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.stage = Stage::Other(work);
        }
        polled
    }
}

impl Future for Passage {
    type Output = Answer<'static>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
        let this = &mut *self;
        let tried = match &mut this.stage {
            Stage::Waits(upstream, order) => {
                let trip = upstream.set_out(*order);
                this.stage = Stage::Over;
                return this.set_out(trip, cx);
            }
            Stage::Sent(trip, sending, _) => match Pin::new(sending).poll(cx) {
                Poll::Ready(result) => answer::tried(result),
                // Whoever else waits for that moment may have come first.
                Poll::Pending if trip.is_late() => answer::late(),
                Poll::Pending => return Poll::Pending,
            },
            Stage::Other(work) => return work.as_mut().poll(cx),
            Stage::Over => return Poll::Pending,
        };
        match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Sent(trip, _, attempt) => this.landed(trip, attempt, tried, cx),
            _ => Poll::Pending,
        }
    }
}

impl Hosted for Passage {
    /// The next server says when the work on it has stopped. Where it is not there yet nothing has to stop.
    fn cancel(mut self: Pin<&mut Self>) -> bool {
        let Stage::Sent(_, sending, _) = &mut self.stage else {
            self.stage = Stage::Over;
            return false;
        };
        sending.cancel();
        self.cancelled = true;
        true
    }

    fn keep(mut self: Pin<&mut Self>, places: Places) {
        self.places = Some(places);
    }
}

/// What is concluded for a request that its client has given up: nothing follows, and that it did not come
/// about was our own wish.
fn unwanted(fate: Fate) -> Fate {
    match fate {
        Fate::Unknown | Fate::TimedOut => Fate::GivenUp,
        Fate::NotSent | Fate::Unreached | Fate::Refused { .. } => Fate::Rejected,
        fate @ (Fate::Answered { .. } | Fate::Rejected | Fate::GivenUp) => fate,
    }
}

fn traced(onward: &Request, trace: Trace) -> Request {
    onward.clone().trace(trace)
}

fn judge(attempt: &mut Attempt, tried: &Tried<Answer<'static>>) {
    if !matches!(tried.fate, Fate::Answered { well: true }) {
        attempt.failed();
    }
}

/// One attempt, on the upstream's own way.
async fn attempt(
    onward: &Request,
    span: Option<&Arc<CallSpan>>,
    given: Try<Links>,
) -> Tried<Answer<'static>> {
    let mut attempt = Attempt::begin(span, "mcp", given.endpoint.addr);
    let tried = match given.endpoint.transport.connection().await {
        Ok(connection) => {
            // From here on the connection alone knows whether it went out.
            given.sent().set();
            given.keeps_time();
            let result = match attempt.trace() {
                // An attempt that has a span of its own gives its context.
                Some(trace) => connection.send(&traced(onward, trace), given.until).await,
                None => connection.send(onward, given.until).await,
            };
            answer::tried(result)
        }
        Err(error) => answer::unreached(&error),
    };
    judge(&mut attempt, &tried);
    tried
}
