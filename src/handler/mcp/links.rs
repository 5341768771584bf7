//! The connections to one server: few, long, and shared by all requests.

use crate::home::{self, Home};
use crate::telemetry::random_unit;
use crate::upstream::{Connections, Transport};
use mcpd_client::{Connection, Error, State};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// After an attempt to connect that failed, the next one is made no sooner: a server that refuses at
/// once would be dialled for every request. What comes meanwhile gets the same refusal.
const PAUSE: Duration = Duration::from_millis(100);

/// Requests in a row that go out on the same connection: those that come together share a write, and their
/// answers a read.
const STINT: usize = 64;

/// Opens a connection that lives on that runtime: where TLS and credentials come in.
pub(super) type Dial = dyn Fn(Option<&Handle>) -> Pin<Box<dyn Future<Output = Result<Connection, Error>> + Send>>
    + Send
    + Sync;

/// The connections to one server. They are opened when they are first needed and again when they are
/// gone; a server that asks for it by GOAWAY gets the new one before the old one is given up. Those
/// that are dropped end when their requests are answered.
///
/// Each is at home on a data thread, as far as there are enough of them, and that thread's requests go
/// out on it: then they wake no other thread, nor do their answers.
pub(super) struct Links {
    slots: Box<[Arc<Slot>]>,
    turn: AtomicUsize,
}

struct Slot {
    dial: Arc<Dial>,
    link: watch::Sender<Link>,
    /// The data thread that its connections live on, once one of those has asked.
    home: OnceLock<Handle>,
}

/// A connection, as those who need one see it.
#[derive(Clone, Default)]
enum Link {
    #[default]
    None,
    Opening,
    Open(Connection),
    /// It takes requests still, while another one is opened.
    Replacing(Connection),
    /// No other attempt is made before that moment.
    Failed(Arc<Error>, Instant),
}

/// What a slot has for a request.
enum Offer {
    Ready(Connection),
    /// One is being opened.
    Soon,
    Not(Arc<Error>),
}

impl Links {
    /// As many connections as that, and at least one.
    pub(super) fn new(dial: &Arc<Dial>, connections: usize) -> Links {
        let slot = || {
            let (dial, link) = (Arc::clone(dial), watch::Sender::default());
            let home = OnceLock::new();
            Arc::new(Slot { dial, link, home })
        };
        Links {
            slots: std::iter::repeat_with(slot)
                .take(connections.max(1))
                .collect(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The connection whose turn it is, if there is one. It may not take requests any more.
    pub(super) fn ready(&self) -> Option<Connection> {
        let slot = self.slots.get(home::with(|home| self.first(home)))?;
        match &*slot.link.borrow() {
            Link::Open(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    /// A connection that takes requests: the next one in turn of those that are open.
    ///
    /// # Errors
    /// There is none, and none can be opened.
    pub(super) async fn connection(&self) -> Result<Connection, Arc<Error>> {
        let first = home::with(|home| self.first(home));
        let (before, from) = self.slots.split_at_checked(first).unwrap_or_default();
        let (mut soon, mut failed) = (None, None);
        for slot in from.iter().chain(before) {
            match slot.offer(Instant::now()) {
                Offer::Ready(connection) => return Ok(connection),
                Offer::Soon => soon = soon.or(Some(slot)),
                Offer::Not(error) => failed = failed.or(Some(error)),
            }
        }
        match (soon, failed) {
            (Some(slot), _) => slot.opened().await,
            (None, Some(error)) => Err(error),
            // There is at least one slot, and each of them says something.
            (None, None) => std::future::pending().await,
        }
    }
}

impl Links {
    /// Which slot is asked first: the one whose turn it is of those that belong to this thread, or of all.
    fn first(&self, home: Option<&Home>) -> usize {
        let all = self.slots.len();
        let next = |of: usize| match of {
            0 | 1 => 0,
            _ => self.turn.fetch_add(1, Ordering::Relaxed) / STINT % of,
        };
        let Some(Home { at, all: threads }) = home else {
            return next(all);
        };
        for (slot, thread) in self.slots.iter().zip(threads.iter().cycle()) {
            slot.home.get_or_init(|| thread.clone());
        }
        let own = all.saturating_sub(*at).div_ceil(threads.len().max(1));
        match own {
            0 => next(all),
            _ => at + next(own) * threads.len(),
        }
    }
}

impl Transport for Links {
    fn connections(&self) -> Connections {
        let mut connections = Connections::default();
        for slot in &self.slots {
            match &*slot.link.borrow() {
                Link::Open(connection) | Link::Replacing(connection) if !is_closed(connection) => {
                    match connection.in_flight() {
                        0 => connections.idle += 1,
                        _ => connections.active += 1,
                    }
                }
                _ => {}
            }
        }
        connections
    }

    /// A server that asked to move, or could not be reached, is asked only when no other is there. So
    /// somebody has to look whether it is back.
    fn upkeep(&self, now: Instant) {
        for slot in &self.slots {
            if !matches!(*slot.link.borrow(), Link::None) {
                slot.offer(now);
            }
        }
    }

    fn is_welcoming(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| match &*slot.link.borrow() {
            Link::None | Link::Opening => true,
            Link::Open(connection) => !matches!(connection.state(), State::GoingAway(_)),
            Link::Replacing(_) | Link::Failed(..) => false,
        })
    }
}

impl Slot {
    /// What there is now. Sees to it that something is opened if it has to be.
    fn offer(self: &Arc<Self>, now: Instant) -> Offer {
        match &*self.link.borrow() {
            Link::Open(connection) if connection.is_open() => {
                return Offer::Ready(connection.clone());
            }
            Link::Replacing(connection) if !is_closed(connection) => {
                return Offer::Ready(connection.clone());
            }
            Link::Failed(error, until) if now < *until => return Offer::Not(Arc::clone(error)),
            Link::Opening | Link::Replacing(_) => return Offer::Soon,
            _ => {}
        }
        let mut offer = Offer::Soon;
        let begins = self.link.send_if_modified(|link| {
            // Somebody else may have come first.
            (*link, offer) = match std::mem::take(link) {
                Link::Open(connection) if !is_closed(&connection) => {
                    let goes_on = Offer::Ready(connection.clone());
                    match connection.is_open() {
                        true => {
                            offer = goes_on;
                            *link = Link::Open(connection);
                            return false;
                        }
                        false => (Link::Replacing(connection), goes_on),
                    }
                }
                other @ (Link::Opening | Link::Replacing(_)) => {
                    *link = other;
                    return false;
                }
                Link::None | Link::Open(_) | Link::Failed(..) => (Link::Opening, Offer::Soon),
            };
            true
        });
        if begins {
            tokio::spawn(Arc::clone(self).open());
        }
        offer
    }

    /// Opens a connection in place of what there is.
    async fn open(self: Arc<Self>) {
        let old = match &*self.link.borrow() {
            Link::Replacing(connection) => Some(connection.clone()),
            _ => None,
        };
        if let Some(old) = &old {
            tokio::time::sleep(asked_to_wait(old)).await;
        }
        match (self.dial)(self.home.get()).await {
            Ok(connection) => {
                self.link.send_replace(Link::Open(connection));
            }
            Err(error) => {
                let failed = Link::Failed(Arc::new(error), Instant::now() + PAUSE);
                match old {
                    Some(old) => {
                        // It serves on, and the next request makes another attempt.
                        tokio::time::sleep(PAUSE).await;
                        let next = if is_closed(&old) {
                            failed
                        } else {
                            Link::Open(old)
                        };
                        self.link.send_replace(next);
                    }
                    None => {
                        self.link.send_replace(failed);
                    }
                }
            }
        }
    }

    /// Waits for what becomes of the attempt that is under way.
    async fn opened(&self) -> Result<Connection, Arc<Error>> {
        let mut link = self.link.subscribe();
        loop {
            match &*link.borrow_and_update() {
                Link::Open(connection) | Link::Replacing(connection) => {
                    return Ok(connection.clone());
                }
                Link::Failed(error, _) => return Err(Arc::clone(error)),
                Link::None | Link::Opening => {}
            }
            // Fails without a sender only, and that is `self`.
            let _ = link.changed().await;
        }
    }
}

fn is_closed(connection: &Connection) -> bool {
    matches!(connection.state(), State::Closed(_))
}

/// How long a server that sent GOAWAY asks to wait, and up to as much again, so that those who were
/// told together do not come together.
fn asked_to_wait(connection: &Connection) -> Duration {
    match connection.state() {
        State::GoingAway(why) => why
            .retry_after
            .unwrap_or_default()
            .mul_f64(1.0 + random_unit()),
        _ => Duration::ZERO,
    }
}
