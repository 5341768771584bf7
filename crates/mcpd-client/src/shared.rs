//! What a connection's handles and its task share.

use crate::error::{Error, ErrorClass};
use crate::exchange::Exchange;
use crate::state::{Closed, GoingAway, State};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot, watch};

/// CONFIRMs that may wait to be sent: as many as a server has in flight on a connection by default,
/// four times over. One that finds no room is dropped and counted: the server then keeps the bytes
/// of an outcome for its window, which is all a CONFIRM saves.
const MAX_CONFIRMS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Shared {
    exchange: Mutex<Exchange>,
    /// One permit for each request the server allows to be unanswered; fair. Closed with the
    /// connection. They are taken out for good and put in anew, as a permit of its own kind would
    /// keep the connection alive and cost a count of references for each request.
    slots: Semaphore,
    /// Whose turn it is among callers that wait for room to write…
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// …and that there may be some.
    pub(crate) room: Notify,
    pub(crate) state: watch::Sender<State>,
    /// The task, once it runs.
    task: OnceLock<Waker>,
    /// There is something for the task to look at, and it will.
    poked: AtomicBool,
    /// The connection is to be closed.
    closing: AtomicBool,
    /// Nobody waits for what is unanswered.
    cut: AtomicBool,
    /// Message ids whose outcome has arrived.
    confirms: Mutex<Vec<[u8; 16]>>,
    any_confirms: AtomicBool,
    /// Who wants to know when the state changes, besides those who watch it.
    observer: OnceLock<Arc<Notify>>,
    /// Set when the stream is closed, after the last word.
    gone: watch::Sender<bool>,
}

/// A place among the requests that the server allows to be unanswered; free again when dropped,
/// unless a request has taken it.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Shared);

impl<'a> Place<'a> {
    /// One that was taken already.
    pub(crate) fn held(shared: &'a Shared) -> Place<'a> {
        Place(shared)
    }

    /// A request has it until its final answer.
    pub(crate) fn used(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

impl Shared {
    pub(crate) fn new(exchange: Exchange) -> Shared {
        Shared {
            exchange: Mutex::new(exchange),
            slots: Semaphore::new(0),
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            state: watch::Sender::new(State::Open),
            task: OnceLock::new(),
            poked: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            confirms: Mutex::new(Vec::new()),
            any_confirms: AtomicBool::new(false),
            observer: OnceLock::new(),
            gone: watch::Sender::new(false),
        }
    }

    /// Never held over an await, a system call or a call to a waker.
    pub(crate) fn exchange(&self) -> MutexGuard<'_, Exchange> {
        let lock = self.exchange.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn open(&self, max_in_flight: u16) {
        self.slots.add_permits(max_in_flight.into());
    }

    /// Takes a place if one is free; whoever waits longer goes first.
    pub(crate) fn try_place(&self) -> Result<Place<'_>, TryAcquireError> {
        self.slots.try_acquire()?.forget();
        Ok(Place(self))
    }

    /// Waits for a place, in the order of the calls; `None` when the connection takes nothing new.
    pub(crate) async fn place(&self) -> Option<Place<'_>> {
        self.slots.acquire().await.ok()?.forget();
        Some(Place(self))
    }

    /// Places that are free.
    pub(crate) fn free_places(&self) -> usize {
        self.slots.available_permits()
    }

    /// So many places are free again.
    pub(crate) fn release(&self, places: usize) {
        if places > 0 {
            self.slots.add_permits(places);
        }
    }

    /// What a call is told that comes too late.
    pub(crate) fn refusal(&self) -> Error {
        self.closed().error(ErrorClass::NotExecuted).unsent()
    }

    /// The task runs from now on.
    pub(crate) fn started(&self, task: &Waker) {
        let _ = self.task.set(task.clone());
    }

    /// Has the task look at what was changed before.
    pub(crate) fn poke(&self) {
        if !self.poked.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// The same for what was changed in the exchange, which is given back: cheaper, as the lock
    /// keeps what was changed and what is looked at in order.
    pub(crate) fn poke_with(&self, exchange: MutexGuard<'_, Exchange>) {
        let told = self.poked.load(Ordering::Relaxed);
        if !told {
            self.poked.store(true, Ordering::Relaxed);
        }
        drop(exchange);
        if !told {
            self.wake();
        }
    }

    fn wake(&self) {
        // A task that does not run yet looks when it begins.
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }

    /// The task looks now; before it does.
    pub(crate) fn unpoke(&self) {
        self.poked.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn is_poked(&self) -> bool {
        self.poked.load(Ordering::Acquire)
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self, now: Instant, reply: oneshot::Sender<Duration>) {
        let mut exchange = self.exchange();
        exchange.ping(now, reply);
        self.poke_with(exchange);
    }

    /// The last handle was dropped.
    pub(crate) fn forsake(&self) {
        self.exchange().forsake();
        self.poke();
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.slots.close();
        self.poke();
        self.room.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ends the connection although answers are missing.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.close();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Has the task send a CONFIRM; `false` if too many wait already.
    pub(crate) fn confirm(&self, id: [u8; 16]) -> bool {
        let mut confirms = self.confirms.lock().unwrap_or_else(PoisonError::into_inner);
        if confirms.len() >= MAX_CONFIRMS {
            return false;
        }
        confirms.push(id);
        drop(confirms);
        self.any_confirms.store(true, Ordering::Release);
        self.poke();
        true
    }

    /// Whether an id to be confirmed was added since this was last asked.
    pub(crate) fn take_confirmed(&self) -> bool {
        // Nearly always there are none, and a load is cheaper than a swap.
        self.any_confirms.load(Ordering::Relaxed)
            && self.any_confirms.swap(false, Ordering::Acquire)
    }

    /// Takes up to `most` ids to be confirmed.
    pub(crate) fn confirms(&self, most: usize) -> Vec<[u8; 16]> {
        let mut confirms = self.confirms.lock().unwrap_or_else(PoisonError::into_inner);
        let count = confirms.len().min(most);
        confirms.drain(..count).collect()
    }

    /// Has `observer` notified whenever the state has changed; only the first one asked for.
    pub(crate) fn observe(&self, observer: Arc<Notify>) {
        let _ = self.observer.set(observer);
    }

    fn changed(&self) {
        if let Some(observer) = self.observer.get() {
            observer.notify_one();
        }
    }

    pub(crate) fn going_away(&self, why: GoingAway) {
        self.state.send_replace(State::GoingAway(why));
        self.changed();
    }

    /// Nothing can be sent any more. `known`: the fates of requests can be told apart.
    pub(crate) fn ended(&self, closed: &Closed, known: bool) {
        let mut woken = Vec::new();
        self.exchange().end(closed);
        self.state.send_replace(State::Closed(closed.clone()));
        self.slots.close();
        self.changed();
        self.room.notify_one();
        let mut exchange = self.exchange();
        exchange.abandon(closed, known, &mut woken);
        let settled = exchange.take_settled();
        drop(exchange);
        self.release(settled);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The task is no more.
    pub(crate) fn gone(&self) {
        let told = matches!(*self.state.borrow(), State::Closed(_));
        if !told {
            self.ended(&Closed::end_of_task(), false);
        }
        self.gone.send_replace(true);
    }

    pub(crate) async fn until_gone(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// How the connection ended, if it did; until the task has said so, it was lost with its runtime.
    pub(crate) fn closed(&self) -> Closed {
        match &*self.state.borrow() {
            State::Closed(closed) => closed.clone(),
            _ if self.is_closing() => Closed::local(),
            _ => Closed::end_of_task(),
        }
    }
}
