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

/// Places that one request holds, or waits for.
struct Way {
    gates: Arc<[Arc<Gate>]>,
    metrics: Arc<QueueMetrics>,
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
    places: Places,
}

impl<W: Future + Unpin> Future for Placed<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        Pin::new(&mut self.work).poll(cx)
    }
}

impl Placed<Here> {
    /// The work itself, which holds its places.
    pub fn into_work(self) -> Here {
        let Placed { mut work, places } = self;
        work.as_mut().keep(places);
        work
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
        let mut way = Way {
            gates: Arc::clone(&self.gates),
            metrics: Arc::clone(&self.metrics),
            priority,
            entered: now,
            places: Places::default(),
        };
        match way.go_on(way.entered) {
            Step::Refused(shed) => Err(Outcome::Now(overloaded(shed))),
            Step::Through => Ok(Placed {
                work,
                places: way.arrived(Duration::ZERO),
            }),
            Step::Wait(ticket) => {
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
                Err(Outcome::Waiting(work, begun))
            }
        }
    }
}

impl Way {
    /// Goes as far as there are free places.
    fn go_on(&mut self, now: Instant) -> Step {
        while let Some(gate) = self.gates.get(self.places.taken) {
            match gate.enter(self.priority, now) {
                Entered::Admitted(permit) => self.places.take(permit),
                Entered::Waiting(ticket) => return Step::Wait(ticket),
                Entered::Refused(shed) => return Step::Refused(shed),
            }
        }
        Step::Through
    }

    /// The places at all gates; the wait is over.
    fn arrived(self, waited: Duration) -> Places {
        self.metrics.waited(self.priority, waited);
        self.places
    }

    async fn wait(mut self, ticket: Ticket, deadline: Instant) -> Result<Places, Unserved> {
        let mut ticket = ticket;
        loop {
            self.places.take(ticket.wait(deadline.into()).await?);
            let now = Instant::now();
            ticket = match self.go_on(now) {
                Step::Through => {
                    let waited = now.saturating_duration_since(self.entered);
                    return Ok(self.arrived(waited));
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
