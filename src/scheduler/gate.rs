//! A number of places, and a queue for those who find none free.

use super::headroom::Headroom;
use super::queue::{Pushed, Queue};
use crate::clock;
use crate::telemetry::{QueueMetrics, ShedReason};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often in a row a place may go to somebody more urgent, or be kept for one, before the one
/// whose turn it is gets it all the same: keeping places free must not starve anybody.
const MAX_PASSED_OVER: u32 = 8;
/// Weight of the newest measurement in the mean time that a place is held.
const MEAN_WEIGHT: f64 = 0.1;
/// What a client is told to wait while nothing is known of how long places are held.
const FIRST_GUESS: Duration = Duration::from_millis(100);
/// Bounds of what a client is told to wait: sooner makes no sense over a network, later would leave
/// capacity unused when the load has passed.
const RETRY_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(10);

/// How many may run and how many may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests that run at one time.
    pub running: usize,
    /// Requests that wait for a place; 0 refuses what finds none.
    pub waiting: usize,
}

/// What a gate is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Requests that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// How many of either there may be.
    pub limits: Limits,
}

/// A bounded number of places. Freed places go to who waits, by priority; see
/// [the module](super) for the order.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    metrics: Arc<QueueMetrics>,
}

type Verdict = Result<Permit, Shed>;

#[derive(Debug)]
struct State {
    limits: Limits,
    running: usize,
    headroom: Headroom,
    queue: Queue<oneshot::Sender<Verdict>>,
    passed_over: u32,
    /// Mean time that a place is held, in seconds; `None` before the first was freed.
    mean_held: Option<f64>,
}

/// What happened to one who asked for a place.
#[derive(Debug)]
pub(super) enum Entered {
    /// It has one.
    Admitted(Permit),
    /// It waits for one.
    Waiting(Ticket),
    /// It has to go.
    Refused(Shed),
}

/// There is no place for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shed {
    /// After how long there may be one.
    pub(super) retry_after: Duration,
}

/// Why a wait has ended without a place.
#[derive(Debug)]
pub(super) enum Unserved {
    Shed(Shed),
    /// The time of the request was over.
    Expired,
}

impl Gate {
    pub(super) fn new(limits: Limits, metrics: Arc<QueueMetrics>) -> Gate {
        let state = State {
            limits,
            running: 0,
            headroom: Headroom::new(Instant::now()),
            queue: Queue::default(),
            passed_over: 0,
            mean_held: None,
        };
        Gate {
            state: Mutex::new(state),
            metrics,
        }
    }

    /// Nothing that is done under the lock can leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that run and wait, and the limits.
    pub fn load(&self) -> Load {
        let state = self.lock();
        Load {
            running: state.running,
            waiting: state.queue.len(),
            limits: state.limits,
        }
    }

    /// Sets other limits. More places are given out at once; where there are fewer, nobody is stopped.
    pub(super) fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.lock().limits = limits;
        self.give_places(false);
    }

    /// Asks for a place.
    pub(super) fn enter(self: &Arc<Self>, priority: u8, now: Instant) -> Entered {
        let mut state = self.lock();
        if state.may_start(priority) && state.due().is_none() {
            state.start(priority, now);
            drop(state);
            return Entered::Admitted(self.permit(priority, now));
        }
        let (sender, receiver) = oneshot::channel();
        let max = state.limits.waiting;
        let (id, evicted) = match state.queue.push(priority, sender, max) {
            Pushed::In(id) => (id, None),
            Pushed::InFor(id, lane, evicted) => (id, Some((lane, evicted))),
            Pushed::Full(_) => {
                self.metrics.shed(priority, ShedReason::Full);
                return Entered::Refused(state.shed());
            }
        };
        self.metrics.queued(priority);
        let shed = state.shed();
        drop(state);
        if let Some((lane, evicted)) = evicted {
            self.metrics.unqueued(lane);
            self.metrics.shed(lane, ShedReason::Displaced);
            // Who has given up meanwhile needs no telling.
            let _ = evicted.send(Err(shed));
        }
        self.give_places(false);
        Entered::Waiting(Ticket {
            gate: Arc::clone(self),
            priority,
            id,
            receiver,
        })
    }

    fn permit(self: &Arc<Self>, priority: u8, since: Instant) -> Permit {
        Permit {
            gate: Arc::clone(self),
            priority,
            since: Some(since),
        }
    }

    /// Gives free places to those whose turn it is; `freed` says that one has just become free.
    fn give_places(self: &Arc<Self>, freed: bool) {
        let now = Instant::now();
        loop {
            let next = self.lock().next(freed, now);
            let Some((priority, sender)) = next else {
                return;
            };
            self.metrics.unqueued(priority);
            // The permit of one who has just given up comes back here, and with it the place.
            let _ = sender.send(Ok(self.permit(priority, now)));
        }
    }

    fn release(self: &Arc<Self>, priority: u8, since: Option<Instant>) {
        let mut state = self.lock();
        state.end(priority, since, clock::now());
        let is_wanted = state.queue.len() > 0;
        drop(state);
        if is_wanted {
            self.give_places(true);
        }
    }

    fn forget(&self, priority: u8, id: u64) {
        if self.lock().queue.remove(priority, id) {
            self.metrics.unqueued(priority);
        }
    }
}

impl State {
    /// Whether there is a free place that is not kept for more urgent requests.
    fn may_start(&self, priority: u8) -> bool {
        let limit = self.limits.running;
        self.running < limit - self.headroom.kept_from(priority, limit).min(limit)
    }

    /// Whose turn it is of those that wait and may start.
    fn due(&self) -> Option<u8> {
        self.queue.turn(|priority| self.may_start(priority))
    }

    fn start(&mut self, priority: u8, now: Instant) {
        self.running += 1;
        self.headroom.started(priority, now);
    }

    fn end(&mut self, priority: u8, since: Option<Instant>, now: Instant) {
        self.running -= 1;
        self.headroom.ended(priority, now);
        let Some(since) = since else {
            return;
        };
        let held = now.saturating_duration_since(since).as_secs_f64();
        let mean = self.mean_held.unwrap_or(held);
        self.mean_held = Some(mean + (held - mean) * MEAN_WEIGHT);
    }

    /// Takes out the next one who gets a place.
    fn next(&mut self, freed: bool, now: Instant) -> Option<(u8, oneshot::Sender<Verdict>)> {
        if self.running >= self.limits.running {
            return None;
        }
        let first = self.queue.turn(|_| true)?;
        let mut chosen = self.due();
        if chosen != Some(first) && (freed || chosen.is_some()) {
            self.passed_over += 1;
            if self.passed_over > MAX_PASSED_OVER {
                chosen = Some(first);
            }
        }
        if chosen == Some(first) {
            self.passed_over = 0;
        }
        let priority = chosen?;
        let sender = self.queue.pop(priority)?;
        self.start(priority, now);
        Some((priority, sender))
    }

    /// What to tell who has to go: by then those who wait now should have had their places.
    fn shed(&self) -> Shed {
        let Some(held) = self.mean_held else {
            return Shed {
                retry_after: FIRST_GUESS,
            };
        };
        let rounds = (self.queue.len() + 1) as f64 / self.limits.running as f64;
        let longest = RETRY_AFTER.end().as_secs_f64();
        let wait = Duration::from_secs_f64((held * rounds.max(1.0)).min(longest));
        Shed {
            retry_after: wait.max(*RETRY_AFTER.start()),
        }
    }
}

/// A place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
    priority: u8,
    /// `None`: it was never used, and says nothing about how long places are held.
    since: Option<Instant>,
}

impl Permit {
    fn return_unused(mut self) {
        self.since = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.release(self.priority, self.since);
    }
}

/// A place in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Ticket {
    gate: Arc<Gate>,
    priority: u8,
    id: u64,
    receiver: oneshot::Receiver<Verdict>,
}

impl Ticket {
    /// Waits for a place. There is no timer in it: who runs [work](crate::message::Work) polls it once
    /// more when its time is over.
    pub(super) async fn wait(mut self, deadline: tokio::time::Instant) -> Result<Permit, Unserved> {
        std::future::poll_fn(|cx| self.poll(deadline, cx)).await
    }

    fn poll(
        &mut self,
        deadline: tokio::time::Instant,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Permit, Unserved>> {
        match Pin::new(&mut self.receiver).poll(cx) {
            Poll::Ready(Ok(Err(shed))) => Poll::Ready(Err(Unserved::Shed(shed))),
            // Many expire together, and each would hand its place to the next: none of them may run.
            Poll::Ready(Ok(Ok(permit))) if is_over(deadline) => {
                permit.return_unused();
                self.expire()
            }
            Poll::Ready(Ok(Ok(permit))) => Poll::Ready(Ok(permit)),
            Poll::Pending if !is_over(deadline) => Poll::Pending,
            // The sender lives in the queue until it has spoken, so it is the time that is over.
            Poll::Pending | Poll::Ready(Err(_)) => self.expire(),
        }
    }

    fn expire(&self) -> Poll<Result<Permit, Unserved>> {
        self.gate.metrics.shed(self.priority, ShedReason::Expired);
        Poll::Ready(Err(Unserved::Expired))
    }
}

fn is_over(deadline: tokio::time::Instant) -> bool {
    tokio::time::Instant::now() >= deadline
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.forget(self.priority, self.id);
    }
}

#[cfg(test)]
mod tests;
