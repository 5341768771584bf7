//! A request on its way to the next server and back.
//!
//! Nearly every one finds a place, an endpoint and an open connection at once, and is answered: that way is
//! written by hand, without a future for each of its steps. At whatever point it is not so, the upstream
//! goes on with it.

use super::answer;
use super::links::Links;
use crate::handler::reach;
use crate::message::{Answer, Work};
use crate::telemetry::{Attempt, CallSpan};
use crate::upstream::{Fate, Order, Tried, Trip, Try, Upstream};
use mcpd_client::{Request, Sending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A request that is handed on: a future of its answer.
pub(super) struct Passage {
    onward: Request,
    span: Option<Arc<CallSpan>>,
    stage: Stage,
}

enum Stage {
    /// Nothing of it has happened: it was not polled yet.
    Waits(Arc<Upstream<Links>>, Order),
    /// It has gone out.
    Sent(Trip<Links>, Sending),
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
        }
    }

    /// Sends it if that can be done at once.
    fn set_out(&mut self, mut trip: Trip<Links>, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
        // An attempt of a sampled request has a span of its own.
        let endpoint = trip.endpoint().filter(|_| self.span.is_none());
        let connection = endpoint.and_then(|endpoint| endpoint.transport.ready());
        let sending = connection.and_then(|link| link.try_send(&self.onward, trip.until(), cx));
        match sending {
            Some(Ok(sending)) => {
                trip.sent();
                self.stage = Stage::Sent(trip, sending);
                Poll::Pending
            }
            Some(Err(error)) => self.landed(trip, answer::tried(Err(error)), cx),
            None => {
                let (onward, span) = (self.onward.clone(), self.span.clone());
                let other = async move {
                    let attempt = |given| attempt(&onward, span.as_ref(), given);
                    reach::answer(trip.run(attempt).await)
                };
                self.go_on(Box::pin(other), cx)
            }
        }
    }

    /// The attempt has ended: with it the request has, or the upstream knows what follows.
    fn landed(
        &mut self,
        mut trip: Trip<Links>,
        tried: Tried<Answer<'static>>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<'static>> {
        let further = match trip.ended(tried) {
            Ok(ran) => return Poll::Ready(reach::answer(ran)),
            Err(further) => further,
        };
        let (onward, span) = (self.onward.clone(), self.span.clone());
        let other = async move {
            let attempt = |given| attempt(&onward, span.as_ref(), given);
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
            Stage::Sent(trip, sending) => match Pin::new(sending).poll(cx) {
                Poll::Ready(result) => answer::tried(result),
                // Whoever else waits for that moment may have come first.
                Poll::Pending if trip.is_late() => answer::late(),
                Poll::Pending => return Poll::Pending,
            },
            Stage::Other(work) => return work.as_mut().poll(cx),
            Stage::Over => return Poll::Pending,
        };
        match std::mem::replace(&mut this.stage, Stage::Over) {
            Stage::Sent(trip, _) => this.landed(trip, tried, cx),
            _ => Poll::Pending,
        }
    }
}

/// One attempt.
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
                Some(trace) => {
                    let request = onward.clone().trace(trace);
                    connection.send(&request, given.until).await
                }
                None => connection.send(onward, given.until).await,
            };
            answer::tried(result)
        }
        Err(error) => answer::unreached(&error),
    };
    if !matches!(tried.fate, Fate::Answered { well: true }) {
        attempt.failed();
    }
    tried
}
