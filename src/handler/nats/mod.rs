//! `nats`: asks services behind NATS, and publishes there.

mod client;
mod message;
mod secrets;
mod settings;
mod subject;

pub use secrets::Credentials as NatsCredentials;
pub use settings::{NatsMode, NatsSettings, NatsTls};

use super::Handler;
use crate::message::{Answer, Call, Outcome};
use bytes::Bytes;
use client::{Connection, Outgoing};
use mcpd_proto::ErrorCode;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// Asks services behind NATS, or publishes there. Connects with the first request.
pub struct Nats {
    settings: Arc<NatsSettings>,
    connection: Arc<OnceCell<Connection>>,
}

impl Nats {
    /// One by these settings.
    pub fn new(settings: NatsSettings) -> Nats {
        Nats {
            settings: Arc::new(settings),
            connection: Arc::default(),
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

impl Handler for Nats {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let outgoing = match self.outgoing(call) {
            Ok(outgoing) => outgoing,
            Err(refusal) => return Outcome::Now(refusal),
        };
        let connection = Arc::clone(&self.connection);
        let settings = Arc::clone(&self.settings);
        Outcome::Later(Box::pin(async move {
            let connected = connection
                .get_or_try_init(|| Connection::connect(&settings))
                .await;
            match connected {
                Ok(connection) => ask(connection, settings.mode, outgoing).await,
                Err(problem) => Answer::error(ErrorCode::UPSTREAM_UNAVAILABLE, problem),
            }
        }))
    }
}

async fn ask(connection: &Connection, mode: NatsMode, outgoing: Outgoing) -> Answer<'static> {
    let answered = match mode {
        NatsMode::Request => connection.request(outgoing).await.map(message::reply),
        NatsMode::JetStream => connection
            .request(outgoing)
            .await
            .map(message::acknowledgement),
        NatsMode::Publish => connection
            .publish(outgoing)
            .await
            .map(|()| Answer::bytes(b"")),
    };
    answered.unwrap_or_else(message::failure)
}
