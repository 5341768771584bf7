//! `nats`: asks services behind NATS, and publishes there.

mod client;
mod message;
mod secrets;
mod settings;
mod subject;

pub use secrets::Credentials as NatsCredentials;
pub(crate) use settings::server;
pub use settings::{NatsMode, NatsSettings};

use super::Handler;
use crate::message::{Answer, Call, Outcome};
use crate::telemetry::{Attempt, AttemptOutcome, UpstreamGauges, UpstreamStats};
use bytes::Bytes;
use client::{Connection, Outgoing};
use mcpd_proto::ErrorCode;
use std::sync::{Arc, Weak};
use tokio::sync::OnceCell;

/// Asks services behind NATS, or publishes there. Connects with the first request.
pub struct Nats {
    settings: Arc<NatsSettings>,
    connection: Arc<OnceCell<Connection>>,
    stats: Arc<UpstreamStats>,
}

impl Nats {
    /// One by these settings, which counts there.
    pub fn new(settings: NatsSettings, stats: Arc<UpstreamStats>) -> Nats {
        let connection = Arc::<OnceCell<Connection>>::default();
        let shown = Arc::downgrade(&connection);
        stats.show(move || gauges(&shown));
        Nats {
            settings: Arc::new(settings),
            connection,
            stats,
        }
    }

    fn outgoing(&self, call: &Call<'_>) -> Result<Outgoing, Answer<'static>> {
        let subject = subject::subject(&self.settings.subject, call.topic);
        let invalid = |text: String| Answer::error(ErrorCode::INVALID_REQUEST, text);
        Ok(Outgoing {
            subject: subject.map_err(|missing| invalid(missing.to_string()))?,
            headers: message::headers(call)?,
            payload: Bytes::copy_from_slice(call.body),
            deadline: call.deadline(),
        })
    }
}

fn gauges(connection: &Weak<OnceCell<Connection>>) -> UpstreamGauges {
    let connection = connection.upgrade();
    let in_flight = connection.and_then(|connection| connection.get()?.in_flight());
    UpstreamGauges {
        idle: usize::from(in_flight == Some(0)),
        active: usize::from(in_flight.is_some_and(|n| n > 0)),
        ..UpstreamGauges::default()
    }
}

impl Handler for Nats {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let mut outgoing = match self.outgoing(call) {
            Ok(outgoing) => outgoing,
            Err(refusal) => return Outcome::Now(refusal),
        };
        let connection = Arc::clone(&self.connection);
        let settings = Arc::clone(&self.settings);
        let stats = Arc::clone(&self.stats);
        let span = call.span.cloned();
        Outcome::Later(Box::pin(async move {
            let counts = Counts(Some(stats));
            let answered = settings.mode != NatsMode::Publish;
            let mut attempt = Attempt::message(span.as_ref(), &outgoing.subject, answered);
            if let Some(trace) = attempt.trace() {
                message::belongs_to(&mut outgoing.headers, trace);
            }
            let connecting = || Connection::connect(&settings);
            let (outcome, answer) = match connection.get_or_try_init(connecting).await {
                Ok(connection) => ask(connection, settings.mode, outgoing).await,
                Err(problem) => {
                    let answer = Answer::error(ErrorCode::UPSTREAM_UNAVAILABLE, problem);
                    (Some(AttemptOutcome::NotSent), answer)
                }
            };
            if outcome != Some(AttemptOutcome::Answered) {
                attempt.failed();
            }
            counts.ended(outcome);
            answer
        }))
    }
}

async fn ask(
    connection: &Connection,
    mode: NatsMode,
    outgoing: Outgoing,
) -> (Option<AttemptOutcome>, Answer<'static>) {
    let said = match mode {
        NatsMode::Request => connection.request(outgoing).await.map(message::reply),
        NatsMode::JetStream => {
            let reply = connection.request(outgoing).await;
            reply.map(|reply| message::acknowledgement(&reply))
        }
        NatsMode::Publish => {
            let published = connection.publish(outgoing).await;
            published.map(|()| (AttemptOutcome::Answered, Answer::bytes(b"")))
        }
    };
    match said {
        Ok((outcome, answer)) => (Some(outcome), answer),
        Err(failure) => message::failure(failure),
    }
}

/// Counts a message, also one that nobody waits for any more.
struct Counts(Option<Arc<UpstreamStats>>);

impl Counts {
    fn ended(mut self, outcome: Option<AttemptOutcome>) {
        if let (Some(stats), Some(outcome)) = (self.0.take(), outcome) {
            stats.attempt(outcome);
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        if let Some(stats) = self.0.take() {
            stats.attempt(AttemptOutcome::Dropped);
        }
    }
}
