//! The way of one request through the gates.

use super::gate::{Entered, Gate, Permit, Shed, Ticket, Unserved};
use crate::message::{Answer, Begun, Here, Outcome};
use crate::telemetry::QueueMetrics;
use mcpd_proto::ErrorCode;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The gates before one handler, in their order.
#[derive(Debug, Clone)]
pub struct Admission {
    gates: Arc<[Arc<Gate>]>,
    metrics: Arc<QueueMetrics>,
}

/// Places that one request holds and waits for more of.
struct Way {
    admission: Admission,
    priority: u8,
    entered: Instant,
    places: Places,
}

/// Gates before one handler at most: its own, and the server's.
const MAX_GATES: usize = 2;

/// Places at the first gates of a way; they are free again when it is dropped.
#[derive(Debug, Default)]
pub struct Places {
    held: [Option<Permit>; MAX_GATES],
    taken: usize,
}

impl Places {
    fn take(&mut self, permit: Permit) {
        if let Some(place) = self.held.get_mut(self.taken) {
            *place = Some(permit);
            self.taken += 1;
        }
    }
}

/// Work that has its places; they are free again when it is dropped.
pub struct Placed<W> {
    work: W,
    _places: Places,
}

impl<W: Future + Unpin> Future for Placed<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        Pin::new(&mut self.work).poll(cx)
    }
}

impl<W> std::fmt::Debug for Placed<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Placed")
    }
}

/// Where a way leads.
enum Step {
    Through,
    Wait(Ticket),
    Refused(Shed),
}

impl Admission {
    pub(super) fn new(gates: Arc<[Arc<Gate>]>, metrics: Arc<QueueMetrics>) -> Admission {
        Admission { gates, metrics }
    }

    /// Lets `work` run when there is a place for it at every gate: gives it back, with its places, if
    /// that is now. `now` is the time, read by the caller a moment ago.
    ///
    /// # Errors
    /// What becomes of it instead: it waits, or where there is not even a place to wait the answer is
    /// there at once.
    pub fn admit<W>(
        &self,
        work: W,
        priority: u8,
        now: Instant,
        deadline: Instant,
    ) -> Result<Placed<W>, Outcome<'static>>
    where
        W: Future<Output = Answer<'static>> + Send + 'static,
    {
        let mut places = Places::default();
        match self.go_on(&mut places, priority, now) {
            Step::Refused(shed) => Err(Outcome::Now(overloaded(shed))),
            Step::Through => {
                self.metrics.waited(priority, Duration::ZERO);
                Ok(Placed {
                    work,
                    _places: places,
                })
            }
            Step::Wait(ticket) => Err(self.queue(work, places, ticket, priority, (now, deadline))),
        }
    }

    /// The same for work that can be hosted, which is given its places where it is.
    #[inline]
    pub fn admit_here(
        &self,
        mut work: Here,
        priority: u8,
        now: Instant,
        deadline: Instant,
    ) -> Outcome<'static> {
        match self.go_on(work.as_mut().places(), priority, now) {
            Step::Through => {
                self.metrics.waited(priority, Duration::ZERO);
                Outcome::Here(work)
            }
            Step::Refused(shed) => {
                work.recycle();
                Outcome::Now(overloaded(shed))
            }
            Step::Wait(ticket) => {
                let places = std::mem::take(work.as_mut().places());
                self.queue(work, places, ticket, priority, (now, deadline))
            }
        }
    }

    /// Lets work wait for the place that `ticket` stands for, and go on from there.
    #[cold]
    fn queue<W>(
        &self,
        work: W,
        places: Places,
        ticket: Ticket,
        priority: u8,
        (entered, deadline): (Instant, Instant),
    ) -> Outcome<'static>
    where
        W: Future<Output = Answer<'static>> + Send + 'static,
    {
        let way = Way {
            admission: self.clone(),
            priority,
            entered,
            places,
        };
        let begun = Begun::default();
        let begins = begun.clone();
        let work = Box::pin(async move {
            match way.wait(ticket, deadline).await {
                Ok(_places) => {
                    begins.set();
                    work.await
                }
                Err(Unserved::Shed(shed)) => overloaded(shed),
                Err(Unserved::Expired) => expired(),
            }
        });
        Outcome::Waiting(work, begun)
    }

    /// Goes as far as there are free places.
    fn go_on(&self, places: &mut Places, priority: u8, now: Instant) -> Step {
        while let Some(gate) = self.gates.get(places.taken) {
            match gate.enter(priority, now) {
                Entered::Admitted(permit) => places.take(permit),
                Entered::Waiting(ticket) => return Step::Wait(ticket),
                Entered::Refused(shed) => return Step::Refused(shed),
            }
        }
        Step::Through
    }
}

impl Way {
    async fn wait(mut self, ticket: Ticket, deadline: Instant) -> Result<Places, Unserved> {
        let mut ticket = ticket;
        loop {
            self.places.take(ticket.wait(deadline.into()).await?);
            let now = Instant::now();
            let Way {
                admission,
                priority,
                entered,
                places,
            } = &mut self;
            ticket = match admission.go_on(places, *priority, now) {
                Step::Through => {
                    let waited = now.saturating_duration_since(*entered);
                    admission.metrics.waited(*priority, waited);
                    return Ok(self.places);
                }
                Step::Wait(ticket) => ticket,
                Step::Refused(shed) => return Err(Unserved::Shed(shed)),
            };
        }
    }
}

fn overloaded(shed: Shed) -> Answer<'static> {
    Answer::Error {
        code: ErrorCode::OVERLOADED,
        detail: "there is more work than capacity, and none of it that is less urgent".into(),
        retry_after: Some(shed.retry_after),
    }
}

fn expired() -> Answer<'static> {
    let text = "its time was over before there was a place for it";
    Answer::error(ErrorCode::EXPIRED, text)
}
