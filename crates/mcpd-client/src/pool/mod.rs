//! The connections of a client, and how a call comes by one.
//!
//! One task, the *keeper*, opens and closes connections as the *plan* says, and publishes a *view*
//! of them. Calls look at the view and take a place on a connection without asking the keeper.

mod keeper;
mod link;
mod plan;

pub(crate) use keeper::{Dialler, Keeper};
pub(crate) use link::{Lease, Link};
pub(crate) use plan::PlanSettings;

use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::random::Random;
use crate::telemetry;
use link::{Picked, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

/// What calls and the keeper share.
#[derive(Debug)]
pub(crate) struct Pool {
    view: watch::Sender<View>,
    /// Something changed that the keeper should look at.
    wake: Arc<Notify>,
    /// Calls that wait for a connection.
    waiting: AtomicUsize,
    max_waiting: usize,
    /// A call found its connection busy; reset when another one more may help.
    grow: AtomicBool,
    /// Requests in flight that make a connection busy.
    pending: usize,
    random: Random,
    /// No handle is left.
    forsaken: AtomicBool,
    /// Says whether `close` was called.
    closing: AtomicBool,
}

impl Pool {
    pub(crate) fn new(max_waiting: usize, pending: usize, random: Random) -> Pool {
        Pool {
            view: watch::Sender::new(View::default()),
            wake: Arc::new(Notify::new()),
            waiting: AtomicUsize::new(0),
            max_waiting,
            grow: AtomicBool::new(false),
            pending,
            random,
            forsaken: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }

    /// A place on a connection, if one is free.
    ///
    /// # Errors
    /// No server will have this client; the client is closed.
    pub(crate) fn try_lease(&self) -> Result<Option<Lease>> {
        match self.pick()? {
            Picked::Lease(lease) => Ok(Some(lease)),
            Picked::Full(_) | Picked::None => Ok(None),
        }
    }

    /// A place on a connection: at once if one is free, else when one is.
    ///
    /// # Errors
    /// None came within the time; too many wait already; no server will have this client; the
    /// client is closed. Nothing was sent then.
    pub(crate) async fn lease(&self, deadline: Option<Instant>) -> Result<Lease> {
        if let Picked::Lease(lease) = self.pick()? {
            return Ok(lease);
        }
        let _place = Waiting::take(self)?;
        let waiting = self.wait_for_lease();
        match deadline {
            None => waiting.await,
            Some(at) => match timeout_at(at.into(), waiting).await {
                Ok(lease) => lease,
                Err(_) => Err(self.nothing_in_time()),
            },
        }
    }

    async fn wait_for_lease(&self) -> Result<Lease> {
        let mut lease = self.next_lease().await?;
        lease.set_waited();
        Ok(lease)
    }

    async fn next_lease(&self) -> Result<Lease> {
        let mut changes = self.view.subscribe();
        loop {
            changes.borrow_and_update();
            match self.pick()? {
                Picked::Lease(lease) => return Ok(lease),
                Picked::Full(link) => {
                    tokio::select! {
                        biased;
                        lease = link.clone().wait() => if let Some(lease) = lease {
                            return Ok(lease);
                        },
                        // The sender is ours, so this cannot fail.
                        _ = changes.changed() => {}
                    }
                }
                Picked::None => {
                    let _ = changes.changed().await;
                }
            }
            // Connections that close as soon as they open must not keep others from their turn.
            tokio::task::consume_budget().await;
        }
    }

    fn pick(&self) -> Result<Picked> {
        let view = self.view.borrow();
        if let Some(why) = &view.failure {
            return Err(why.tell());
        }
        let picked = view.pick(&self.random);
        let busy = match &picked {
            Picked::Lease(lease) => lease.load() > self.pending,
            Picked::Full(_) => true,
            Picked::None => false,
        };
        if busy && !self.grow.load(Ordering::Relaxed) && !self.grow.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
        Ok(picked)
    }

    fn nothing_in_time(&self) -> Error {
        let view = self.view.borrow();
        let full = !view.open.is_empty();
        let last = view.last_error.clone();
        drop(view);
        if full {
            return Error::not_sent_in_time();
        }
        let error = match &last {
            Some(last) => Error::connect(format!("no connection within the time given: {last}"))
                .with_code(last.code())
                .with_source(last.clone()),
            None => Error::connect("no connection within the time given"),
        };
        error.unsent()
    }

    /// Tells the keeper that a connection takes no new requests.
    pub(crate) fn refused(&self, link: &Link) {
        link.set_refusing();
        self.wake.notify_one();
    }

    /// Follows the connections.
    pub(crate) fn view(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// No call will come any more.
    pub(crate) fn forsake(&self) {
        self.forsaken.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Takes no new calls, and waits until those under way are answered.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake.notify_one();
        let mut view = self.view.subscribe();
        // The sender is ours, so this cannot fail.
        let _ = view.wait_for(|view| view.finished).await;
    }
}

/// A place among the calls that wait for a connection.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn take(pool: &'a Pool) -> Result<Waiting<'a>> {
        let before = pool.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Waiting(pool);
        if before >= pool.max_waiting {
            telemetry::turned_away();
            let text = format!("{before} calls wait for a connection already");
            return Err(Error::new(ErrorKind::Busy, ErrorClass::NotExecuted, text).unsent());
        }
        pool.wake.notify_one();
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
