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
use crate::upstream::{Fate, Further, Order, Tried, Trip, Try, Upstream};
use bytes::Bytes;
use mcpd_client::{Request, Sending, Trace};
use mcpd_proto::MetaBuf;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// A request that is handed on: a future of its answer.
pub(super) struct Passage {
    onward: Request,
    span: Option<Arc<CallSpan>>,
    stage: Stage,
    /// The client has given it up.
    cancelled: bool,
    /// Dropped last, when nothing of it goes on.
    places: Places,
}

/// Passages whose memory a thread keeps for its next requests. They are of a size that allocators do not hand
/// out as readily as small pieces.
const MAX_SPARE: usize = 256;

/// Bytes of metadata above which its memory is given back rather than kept.
const MAX_SPARE_META: usize = 1024;

thread_local! {
    static SPARE: RefCell<Vec<Pin<Box<Passage>>>> = const { RefCell::new(Vec::new()) };
}

enum Stage {
    /// Nothing of it has happened: it was not polled yet.
    Waits(Option<(Arc<Upstream<Links>>, Order)>),
    /// It has gone out.
    Sent(Trip<Links>, Sending, Attempt),
    /// The upstream goes on with it.
    Other(Work),
    Over,
}

impl Passage {
    /// One whose request is still to be made.
    pub(super) fn spare() -> Pin<Box<Passage>> {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        spare.unwrap_or_else(|| {
            Box::pin(Passage {
                onward: Request::new(""),
                span: None,
                stage: Stage::Over,
                cancelled: false,
                places: Places::default(),
            })
        })
    }

    /// What the next server is to be asked.
    pub(super) fn onward(&mut self) -> &mut Request {
        &mut self.onward
    }

    /// It may set out.
    pub(super) fn take_up(
        &mut self,
        span: Option<Arc<CallSpan>>,
        upstream: Arc<Upstream<Links>>,
        order: Order,
    ) {
        self.span = span;
        self.stage = Stage::Waits(Some((upstream, order)));
    }

    /// Sends it if that can be done at once.
    fn set_out(
        &mut self,
        mut trip: Trip<Links>,
        cx: &mut Context<'_>,
        time: &Handle,
    ) -> Poll<Answer<'static>> {
        // A connection tells by itself that it takes no requests; where that would cost a span, it is asked before.
        if let Some(endpoint) = trip.endpoint()
            && let Some(connection) = endpoint.transport.ready()
            && (self.span.is_none() || connection.is_open())
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
                    let _on = time.enter();
                    return self.landed(trip, attempt, tried, cx);
                }
                None => {}
            }
        }
        let _on = time.enter();
        self.give_over(trip, cx)
    }

    /// The upstream sends it, once that can be done.
    #[cold]
    #[inline(never)]
    fn give_over(&mut self, trip: Trip<Links>, cx: &mut Context<'_>) -> Poll<Answer<'static>> {
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
        match trip.ended(tried) {
            Ok(ran) => Poll::Ready(reach::answer(ran)),
            Err(further) => self.try_again(trip, further, cx),
        }
    }

    /// The upstream knows whether another attempt follows.
    #[cold]
    #[inline(never)]
    fn try_again(
        &mut self,
        trip: Trip<Links>,
        further: Further<Answer<'static>>,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<'static>> {
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
            Stage::Sent(trip, sending, _) => match Pin::new(sending).poll(cx) {
                // As nearly all end: it needs no verdict on what may follow.
                Poll::Ready(Ok(answer)) => {
                    trip.answered();
                    this.stage = Stage::Over;
                    return Poll::Ready(answer::response(answer));
                }
                Poll::Ready(failed) => answer::tried(failed),
                // Whoever else waits for that moment may have come first.
                Poll::Pending if trip.is_late() => answer::late(),
                Poll::Pending => return Poll::Pending,
            },
            // By whoever cannot host it.
            Stage::Waits(..) => return self.begin(cx, &Handle::current()),
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
    fn begin(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        time: &Handle,
    ) -> Poll<Answer<'static>> {
        let Stage::Waits(waits) = &mut self.stage else {
            return self.poll(cx);
        };
        let Some((upstream, order)) = waits.take() else {
            return Poll::Pending;
        };
        if !upstream.is_started() {
            let _on = time.enter();
            upstream.start();
        }
        self.set_out(upstream.set_out(order), cx, time)
    }

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

    fn places(self: Pin<&mut Self>) -> &mut Places {
        &mut self.get_mut().places
    }

    fn recycle(mut self: Pin<Box<Self>>) {
        self.stage = Stage::Over;
        (self.span, self.cancelled) = (None, false);
        self.onward.set_body(Bytes::new());
        if self.onward.meta_mut().capacity() > MAX_SPARE_META {
            *self.onward.meta_mut() = MetaBuf::new();
        }
        self.places = Places::default();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
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
