//! A call through all its attempts.

use super::{Client, Inner, Notifier};
use crate::driver::now;
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::exchange::Attempt;
use crate::pool::{Lease, Link};
use crate::random;
use crate::reply::Answer;
use crate::request::{Parts, RequestBuilder};
use crate::retry::{Journey, Verdict};
use crate::telemetry;
use crate::trace;
use mcpd_proto::{ErrorCode, Qos};
use std::time::{Duration, Instant};

impl RequestBuilder<Client> {
    /// Sends the request, as often as is right and needed, and waits for its final answer.
    ///
    /// Waits for a connection first, if there is none or all are full. Dropping the future gives
    /// the request up: one that is on its way is cancelled.
    ///
    /// # Errors
    /// [`Error`]: its [`kind`](Error::kind) says what went wrong with the last attempt, its
    /// [`class`](Error::class) whether any attempt ran.
    pub async fn send(self) -> Result<Answer> {
        let client = &*self.target.0;
        let mut call = Call::new(client, self.parts)?;
        call.run(client, None).await
    }
}

impl RequestBuilder<Notifier> {
    /// Sends the request and does not wait for its answer. Waits for its place on a connection, so
    /// that who sends more than servers take is slowed down. A failure after that is counted
    /// and logged.
    ///
    /// # Errors
    /// As [`RequestBuilder::send`], as far as it is known before the request is on its way.
    pub async fn send(self) -> Result<()> {
        let client = self.target.0;
        let mut call = Call::new(&client.0, self.parts)?;
        call.parts.check_topic()?;
        let lease = client.0.pool.lease(call.journey.deadline()).await;
        let lease = lease.map_err(|error| error.with_attempts(0))?;
        tokio::spawn(async move {
            if let Err(error) = call.run(&client.0, Some(lease)).await {
                telemetry::notification_lost(&error);
            }
        });
        Ok(())
    }
}

/// A request that was found well-formed, and what is known of it.
struct Call {
    parts: Parts,
    journey: Journey,
    message_id: Option<[u8; 16]>,
    /// One look at the clock serves all that happens at once.
    began: Instant,
}

impl Call {
    fn new(client: &Inner, mut parts: Parts) -> Result<Call> {
        parts.check()?;
        if parts.qos == Qos::EffectivelyOnce && !client.has_client_id {
            let text = "QoS 2 needs a client id: set it on the client";
            return Err(Error::invalid(text));
        }
        trace::inject(&mut parts.meta);
        let meta = parts.meta.view();
        let told = meta.age_ms().is_some() || meta.incarnation().is_some();
        let message_id = match meta.message_id() {
            None if parts.qos != Qos::AtMostOnce => Some(random::message_id()?),
            id => id,
        };
        let began = now();
        let deadline = parts.deadline(client.timeout, began);
        Ok(Call {
            journey: Journey::new(client.retry, parts.qos, message_id, deadline, told),
            parts,
            message_id,
            began,
        })
    }

    async fn run(&mut self, client: &Inner, lease: Option<Lease>) -> Result<Answer> {
        let began = self.began;
        client.budget().request(began);
        let result = match telemetry::Span::of(&self.parts.topic) {
            None => self.attempts(client, lease).await,
            Some(span) => span.around(self.attempts(client, lease)).await,
        };
        let took = telemetry::TIMES.then(|| now().saturating_duration_since(began));
        telemetry::done(&result, took);
        result
    }

    async fn attempts(&mut self, client: &Inner, mut lease: Option<Lease>) -> Result<Answer> {
        // One look at the clock serves all that happens at once.
        let mut at = lease.is_none().then_some(self.began);
        loop {
            let mut place = match lease.take() {
                Some(lease) => lease,
                None => match self.lease(client).await {
                    Ok(lease) => lease,
                    Err(error) => return Err(self.journey.conclude(error)),
                },
            };
            let at = at.take().filter(|_| !place.waited()).unwrap_or_else(now);
            let attempt = self.depart(&place.link, at);
            let error = match place.call(&attempt, at).await {
                Ok(answer) => {
                    place.link.set_proved();
                    self.confirm(&place.link);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let link = &place.link;
            note(client, link, &error);
            match self.journey.judge(&error, now(), client.pool.random()) {
                Verdict::Elsewhere => {}
                Verdict::Again(pause) if wait(client, &error, pause).await => {}
                Verdict::Again(_) | Verdict::Tell => {
                    if error.class() == ErrorClass::Executed {
                        self.confirm(link);
                    }
                    return Err(self.journey.conclude(error));
                }
            }
        }
    }

    async fn lease(&self, client: &Inner) -> Result<Lease> {
        if let Some(lease) = client.pool.try_lease()? {
            return Ok(lease);
        }
        // The connection will look; but nobody is to wait for one to hear this.
        self.parts.check_topic()?;
        client.pool.lease(self.journey.deadline()).await
    }

    /// What goes out this time.
    fn depart(&mut self, link: &Link, now: Instant) -> Attempt<'_> {
        let dup = self.parts.dup || self.journey.is_copy();
        let incarnation = link.connection.server().incarnation;
        let stamp = self.journey.depart(now, incarnation);
        Attempt {
            parts: &self.parts,
            dup,
            stamp,
            deadline: self.journey.deadline(),
        }
    }

    /// The outcome has arrived: the server need not keep it.
    fn confirm(&self, link: &Link) {
        if let (Qos::EffectivelyOnce, Some(id)) = (self.parts.qos, self.message_id)
            && !link.connection.shared().confirm(id)
        {
            telemetry::confirm_dropped();
        }
    }
}

/// Learns about the connection from what became of a request on it.
fn note(client: &Inner, link: &Link, error: &Error) {
    let answered = [ErrorKind::Refused, ErrorKind::Unknown, ErrorKind::Executed];
    if error.code() == Some(ErrorCode::DRAINING) {
        client.pool.refused(link);
    } else if answered.contains(&error.kind()) {
        link.set_proved();
    }
}

/// Waits until the request may go out again; `false` if the budget does not allow it.
async fn wait(client: &Inner, error: &Error, pause: Duration) -> bool {
    if !client.budget().take(now()) {
        telemetry::denied(error);
        return false;
    }
    telemetry::retry(error, pause);
    let leave = Leave(client);
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
    leave.used();
    true
}

/// Leave for one retry, given back if its caller gives up.
struct Leave<'a>(&'a Inner);

impl Leave<'_> {
    fn used(self) {
        self.0.budget().sent(now());
        std::mem::forget(self);
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.budget().dropped();
    }
}
