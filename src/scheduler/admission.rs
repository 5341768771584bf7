//! The way of one request through the gates.

use super::gate::{Entered, Gate, Permit, Shed, Ticket, Unserved};
use crate::message::{Answer, Begun, Outcome, Work};
use crate::telemetry::QueueMetrics;
use mcpd_proto::ErrorCode;
use std::sync::Arc;
use std::time::Instant;

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
    permits: Vec<Permit>,
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

    /// Lets `work` run when there is a place for it at every gate. Where there is not even one in a
    /// queue, the answer is there at once.
    pub fn admit(&self, work: Work, priority: u8, deadline: Instant) -> Outcome<'static> {
        let mut way = Way {
            gates: Arc::clone(&self.gates),
            metrics: Arc::clone(&self.metrics),
            priority,
            entered: Instant::now(),
            permits: Vec::with_capacity(self.gates.len()),
        };
        match way.go_on() {
            Step::Refused(shed) => Outcome::Now(overloaded(shed)),
            Step::Through => {
                let places = way.arrived();
                Outcome::Later(Box::pin(async move {
                    let _places = places;
                    work.await
                }))
            }
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
                Outcome::Waiting(work, begun)
            }
        }
    }
}

impl Way {
    /// Goes as far as there are free places.
    fn go_on(&mut self) -> Step {
        while let Some(gate) = self.gates.get(self.permits.len()) {
            match gate.enter(self.priority, Instant::now()) {
                Entered::Admitted(permit) => self.permits.push(permit),
                Entered::Waiting(ticket) => return Step::Wait(ticket),
                Entered::Refused(shed) => return Step::Refused(shed),
            }
        }
        Step::Through
    }

    /// The places at all gates; the wait is over.
    fn arrived(self) -> Vec<Permit> {
        self.metrics.waited(self.priority, self.entered.elapsed());
        self.permits
    }

    async fn wait(mut self, ticket: Ticket, deadline: Instant) -> Result<Vec<Permit>, Unserved> {
        let mut ticket = ticket;
        loop {
            self.permits.push(ticket.wait(deadline.into()).await?);
            ticket = match self.go_on() {
                Step::Through => return Ok(self.arrived()),
                Step::Wait(ticket) => ticket,
                Step::Refused(shed) => return Err(Unserved::Shed(shed)),
            };
        }
    }
}

fn overloaded(shed: Shed) -> Answer<'static> {
    Answer::Error {
        code: ErrorCode::OVERLOADED,
        detail: "there is more work than capacity, and more urgent work than this".into(),
        retry_after: Some(shed.retry_after),
    }
}

fn expired() -> Answer<'static> {
    let text = "its time was over before there was a place for it";
    Answer::error(ErrorCode::EXPIRED, text)
}
