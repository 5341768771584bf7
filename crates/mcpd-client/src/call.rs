//! One request on one connection: from its place to its answer.

use crate::connection::Connection;
use crate::driver::now;
use crate::error::{Error, Result};
use crate::exchange::{Attempt, Ticket};
use crate::reply::Answer;
use crate::request::Request;
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

    /// Sends a request at once; `None` where that cannot be, as it would have to wait for its place or
    /// for room to write, the server has asked to move, or the connection takes nothing new:
    /// [`Connection::send`] then does it, or says why not. The waker of `cx` is woken when there is an answer, of use until `until`; `now` is the time,
    /// read by the caller a moment ago.
    ///
    /// # Errors
    /// Those of [`Connection::send`] that need no waiting.
    pub fn try_send(
        self,
        request: &Request,
        now: Instant,
        until: Instant,
        cx: &Context<'_>,
    ) -> Option<Result<Sending>> {
        let shared = self.shared();
        if shared.is_closing() {
            return None;
        }
        if let Err(error) = request.parts.check() {
            return Some(Err(error));
        }
        let attempt = Attempt::plain(&request.parts, Some(until));
        let place = shared.try_place().ok()?;
        let mut exchange = shared.exchange();
        if exchange.is_leaving() {
            return None;
        }
        let ticket = match exchange.submit(&attempt, now, false, cx.waker()) {
            Ok(ticket) => ticket?,
            Err(error) => return Some(Err(error)),
        };
        shared.poke_with(exchange);
        place.used();
        Some(Ok(Sending {
            connection: self,
            ticket: Some(ticket),
        }))
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
        look(self.shared, &mut self.ticket, cx)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        give_up(self.shared, &mut self.ticket);
    }
}

/// A request that has gone out by [`Connection::try_send`]: a future of its answer. Dropping it gives
/// the request up.
#[derive(Debug)]
#[must_use = "a request whose answer nobody waits for is cancelled"]
pub struct Sending {
    connection: Connection,
    ticket: Option<Ticket>,
}

impl Sending {
    /// Asks the server to stop the work on it. Its answer still comes, when the work has stopped: CANCELLED,
    /// unless it was too late for that.
    pub fn cancel(&mut self) {
        if let Some(ticket) = &self.ticket {
            let shared = self.connection.shared();
            let mut exchange = shared.exchange();
            exchange.cancel(ticket);
            shared.poke_with(exchange);
        }
    }
}

impl Future for Sending {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Answer>> {
        let Sending { connection, ticket } = &mut *self;
        look(connection.shared(), ticket, cx)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        give_up(self.connection.shared(), &mut self.ticket);
    }
}

/// Takes the answer if it is there.
fn look(shared: &Shared, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> Poll<Result<Answer>> {
    let Some(held) = ticket else {
        return Poll::Pending;
    };
    let (answer, _old) = shared.exchange().poll(held, cx.waker());
    if answer.is_ready() {
        *ticket = None;
    }
    answer
}

fn give_up(shared: &Shared, ticket: &mut Option<Ticket>) {
    if let Some(ticket) = ticket.take() {
        let mut exchange = shared.exchange();
        let waker = exchange.give_up(&ticket);
        if waker.is_some() {
            shared.poke_with(exchange);
        }
    }
}
