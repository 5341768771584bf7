//! The connection to NATS, and the requests on it that wait for a reply.
//!
//! async-nats keeps the connection. Its own requests are not used: whoever gives up on one leaves an
//! entry behind that nobody takes away. So replies come by one subscription of our own, and who waits
//! for which is noted here.

use super::settings::NatsSettings;
use async_nats::connection::State;
use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, Message, PublishError, PublishErrorKind, Subscriber,
};
use bytes::Bytes;
use futures_core::Stream;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

/// Messages on their way to the connection's task: enough to fill a write. More wait where they can
/// still be taken back.
const COMMANDS: usize = 64;

/// A server that has not answered for two of these is gone.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// What is said, and where.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) deadline: Instant,
}

/// Why there is no reply. Only the last two may have reached somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// As many wait as may.
    Full,
    /// There is no connection.
    Disconnected,
    /// Its time was over before it was sent.
    Late,
    /// It is larger than NATS takes.
    Refused,
    /// The connection was lost.
    Lost,
    /// No reply came in time.
    Timeout,
}

pub(super) struct Connection {
    client: Client,
    /// Where replies go, with a dot at its end.
    inbox: String,
    waiting: Arc<Waiting>,
    places: Semaphore,
    max_in_flight: usize,
    listener: AbortHandle,
    connected: watch::Receiver<bool>,
    /// Until then requests wait for the first connection.
    patient_until: Instant,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Who waits for a reply, by its number.
#[derive(Default)]
struct Waiting {
    replies: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    next: AtomicU64,
}

/// A place among those who wait; gives it back when it is dropped.
struct Place<'a> {
    waiting: &'a Waiting,
    number: u64,
    reply: oneshot::Receiver<Message>,
}

impl Waiting {
    fn replies(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Place<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        self.replies().insert(number, sender);
        Place {
            waiting: self,
            number,
            reply,
        }
    }

    fn arrived(&self, number: u64, message: Message) {
        // Whoever gave up on it was told, and counted, then.
        if let Some(sender) = self.replies().remove(&number) {
            let _ = sender.send(message);
        }
    }

    /// What was sent on the connection that is gone gets no reply any more.
    fn lost(&self) {
        // Whoever waits sees its sender go.
        self.replies().clear();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.replies().remove(&self.number);
    }
}

impl Connection {
    /// Begins to connect, and goes on trying.
    ///
    /// # Errors
    /// The addresses are no good.
    pub(super) async fn connect(settings: &NatsSettings) -> Result<Connection, String> {
        let waiting = Arc::<Waiting>::default();
        let (is_connected, connected) = watch::channel(false);
        let lost = Arc::clone(&waiting);
        let options = options(settings).event_callback(move |event| {
            match event {
                Event::Connected => {
                    is_connected.send_replace(true);
                }
                Event::Disconnected | Event::Closed => {
                    is_connected.send_replace(false);
                    lost.lost();
                }
                event => tracing::debug!(%event, "NATS"),
            }
            std::future::ready(())
        });
        let failed = |error: &dyn std::error::Error| error.to_string();
        let client = options.connect(settings.servers.clone()).await;
        let client = client.map_err(|error| failed(&error))?;
        let inbox = format!("{}.", client.new_inbox());
        let subscriber = client.subscribe(format!("{inbox}*")).await;
        let subscriber = subscriber.map_err(|error| failed(&error))?;
        let listener = tokio::spawn(listen(subscriber, inbox.clone(), Arc::clone(&waiting)));
        Ok(Connection {
            client,
            inbox,
            waiting,
            places: Semaphore::new(settings.max_in_flight),
            max_in_flight: settings.max_in_flight,
            listener: listener.abort_handle(),
            connected,
            patient_until: Instant::now() + settings.connect_timeout,
        })
    }

    /// Messages that wait for a reply; `None` while there is no connection.
    pub(super) fn in_flight(&self) -> Option<usize> {
        let is_connected = self.client.connection_state() == State::Connected;
        is_connected.then(|| self.max_in_flight - self.places.available_permits())
    }

    /// Sends a message and waits for its reply.
    pub(super) async fn request(&self, message: Outgoing) -> Result<Message, Failure> {
        let (_place, reply) = self.place(message.deadline).await?;
        let deadline = message.deadline;
        let inbox = format!("{}{}", self.inbox, reply.number);
        self.send(message, Some(inbox)).await?;
        self.replied(reply, deadline).await
    }

    /// Sends a message and waits until the server has it. That it has is seen by one to ourselves,
    /// which it gets after that on the same connection.
    pub(super) async fn publish(&self, message: Outgoing) -> Result<(), Failure> {
        let (_place, echo) = self.place(message.deadline).await?;
        let deadline = message.deadline;
        self.send(message, None).await?;
        let to_us = Outgoing {
            subject: format!("{}{}", self.inbox, echo.number),
            headers: HeaderMap::new(),
            payload: Bytes::new(),
            deadline,
        };
        match self.send(to_us, None).await {
            Ok(()) => self.replied(echo, deadline).await.map(drop),
            Err(Failure::Late) => Err(Failure::Timeout),
            Err(_) => Err(Failure::Lost),
        }
    }

    /// A place among those who wait, once there is a connection.
    async fn place(
        &self,
        deadline: Instant,
    ) -> Result<(tokio::sync::SemaphorePermit<'_>, Place<'_>), Failure> {
        let place = self.places.try_acquire().map_err(|_| Failure::Full)?;
        let mut connected = self.connected.clone();
        if self.client.connection_state() == State::Pending {
            let until = self.patient_until.min(deadline);
            let _ = timeout_at(until.into(), connected.wait_for(|is| *is)).await;
        }
        // Noted before the connection is looked at, so that none is missed that goes from here on.
        let waits = self.waiting.enter();
        match self.client.connection_state() {
            State::Connected => Ok((place, waits)),
            State::Pending | State::Disconnected => Err(Failure::Disconnected),
        }
    }

    /// Hands a message to the connection. What fails here has not left.
    async fn send(&self, message: Outgoing, reply: Option<String>) -> Result<(), Failure> {
        let Outgoing {
            subject,
            headers,
            payload,
            deadline,
        } = message;
        let client = &self.client;
        let sending = async {
            match reply {
                Some(reply) => {
                    let sent =
                        client.publish_with_reply_and_headers(subject, reply, headers, payload);
                    sent.await
                }
                None => client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match timeout_at(deadline.into(), sending).await {
            Ok(sent) => sent.map_err(|error| unsent(&error)),
            Err(_) => Err(Failure::Late),
        }
    }

    async fn replied(&self, mut place: Place<'_>, deadline: Instant) -> Result<Message, Failure> {
        match timeout_at(deadline.into(), &mut place.reply).await {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(_)) => Err(Failure::Lost),
            Err(_) => Err(Failure::Timeout),
        }
    }
}

fn unsent(error: &PublishError) -> Failure {
    match error.kind() {
        // The connection's task has ended, with all that was in it.
        PublishErrorKind::Send => Failure::Disconnected,
        // Subjects are valid by how they are made.
        PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => Failure::Refused,
    }
}

fn options(settings: &NatsSettings) -> ConnectOptions {
    let options = match settings.credentials.clone() {
        None => ConnectOptions::new(),
        // Asked for every connection, so that a changed file is seen.
        Some(credentials) => ConnectOptions::with_auth_callback(move |nonce| {
            let credentials = credentials.clone();
            async move { credentials.show(nonce).await }
        }),
    };
    let mut options = options
        .name("mcpd")
        .retry_on_initial_connect()
        .connection_timeout(settings.connect_timeout)
        .request_timeout(None)
        .ping_interval(PING_INTERVAL)
        .client_capacity(COMMANDS)
        .subscription_capacity(settings.max_in_flight.max(COMMANDS) * 2)
        .reconnect_delay_callback(pause);
    if let Some(tls) = &settings.tls {
        options = options.require_tls(true);
        if let Some(ca) = &tls.ca_file {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &tls.client_files {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    options
}

/// Doubles from 20 ms on, with as much again at random, so that servers do not all come back at once.
fn pause(attempt: usize) -> Duration {
    let exponent = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(10);
    let most = Duration::from_millis(20 << exponent).min(MAX_PAUSE);
    most.mul_f64(0.5 + crate::telemetry::random_unit() / 2.0)
}

/// Hands replies to those who wait for them.
async fn listen(mut subscriber: Subscriber, inbox: String, waiting: Arc<Waiting>) {
    while let Some(message) =
        std::future::poll_fn(|cx| Pin::new(&mut subscriber).poll_next(cx)).await
    {
        let number = message.subject.strip_prefix(&inbox);
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            waiting.arrived(number, message);
        }
    }
}
