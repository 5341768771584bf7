//! One request on one connection: from its place to its answer.

use crate::connection::Connection;
use crate::driver::now;
use crate::error::{Error, Result};
use crate::exchange::{Attempt, Ticket};
use crate::reply::Answer;
use crate::shared::{Place, Shared};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::TryAcquireError;
use tokio::time::timeout_at;

impl Connection {
    /// Sends a request in the next free place, and waits for its final answer.
    pub(crate) async fn call(&self, attempt: &Attempt<'_>, began: Instant) -> Result<Answer> {
        let shared = self.shared();
        match shared.try_place() {
            Ok(place) => self.call_in(place, attempt, began).await,
            Err(TryAcquireError::Closed) => Err(shared.refusal()),
            Err(TryAcquireError::NoPermits) => {
                let place = in_time(attempt.deadline, shared.place()).await?;
                let place = place.ok_or_else(|| shared.refusal())?;
                self.call_in(place, attempt, now()).await
            }
        }
    }

    /// Sends a request in the place that is held for it, and waits for its final answer. `began` is
    /// the time, read by the caller a moment ago.
    pub(crate) async fn call_in(
        &self,
        place: Place<'_>,
        attempt: &Attempt<'_>,
        began: Instant,
    ) -> Result<Answer> {
        let shared = self.shared();
        let mut ticket =
            poll_fn(|cx| Poll::Ready(submit(shared, attempt, began, false, cx))).await?;
        if ticket.is_none() {
            ticket = Some(in_time(attempt.deadline, queue(shared, attempt)).await??);
        }
        place.used();
        let waiting = Waiting {
            shared,
            ticket,
            sent_now: true,
        };
        waiting.await
    }
}

/// Makes the frame, unless there is no room for it, and has the task write it.
fn submit(
    shared: &Shared,
    attempt: &Attempt<'_>,
    now: Instant,
    waited: bool,
    cx: &Context<'_>,
) -> Result<Option<Ticket>> {
    if shared.is_closing() {
        return Err(shared.refusal());
    }
    let mut exchange = shared.exchange();
    let ticket = exchange.submit(attempt, now, waited, cx.waker())?;
    if ticket.is_some() {
        shared.poke_with(exchange);
    }
    Ok(ticket)
}

/// Waits until there is room for the frame, in the order of the calls.
async fn queue(shared: &Shared, attempt: &Attempt<'_>) -> Result<Ticket> {
    let _queued = Queued::new(shared);
    let _turn = shared.turn.lock().await;
    loop {
        let sent = poll_fn(|cx| Poll::Ready(submit(shared, attempt, now(), true, cx))).await?;
        if let Some(ticket) = sent {
            return Ok(ticket);
        }
        shared.room.notified().await;
    }
}

/// A caller that waits for room.
struct Queued<'a>(&'a Shared);

impl<'a> Queued<'a> {
    fn new(shared: &'a Shared) -> Queued<'a> {
        shared.exchange().queue();
        Queued(shared)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.exchange().unqueue();
    }
}

/// Waits for something without which the request cannot be sent.
async fn in_time<T>(deadline: Option<Instant>, waiting: impl Future<Output = T>) -> Result<T> {
    match deadline {
        None => Ok(waiting.await),
        Some(at) => {
            let late = |_| Error::not_sent_in_time();
            timeout_at(at.into(), waiting).await.map_err(late)
        }
    }
}

/// Waits for the answer; gives the request up when dropped before.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Option<Ticket>,
    /// This is still the poll in which the request was sent, so its waker is known.
    sent_now: bool,
}

impl Future for Waiting<'_> {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        if std::mem::take(&mut self.sent_now) {
            return Poll::Pending;
        }
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        let (answer, _old) = self.shared.exchange().poll(ticket, cx.waker());
        if answer.is_ready() {
            self.ticket = None;
        }
        answer
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let mut exchange = self.shared.exchange();
            let waker = exchange.give_up(&ticket);
            if waker.is_some() {
                self.shared.poke_with(exchange);
            }
        }
    }
}
