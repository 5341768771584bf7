//! What a connection's handles and its task share.

use crate::state::{Closed, GoingAway, State};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::sync::{Notify, Semaphore, watch};

/// CONFIRMs that may wait to be sent: as many as a server has in flight on a connection by default,
/// four times over. One that finds no room is dropped and counted: the server then keeps the bytes
/// of an outcome for its window, which is all a CONFIRM saves.
const MAX_CONFIRMS: usize = 1024;

#[derive(Debug)]
pub(crate) struct Shared {
    /// One permit for each request the server allows to be unanswered; fair. Closed with the
    /// connection.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) state: watch::Sender<State>,
    /// One of the two below was set.
    wake: Notify,
    /// A caller gave up since the task last looked.
    gave_up: AtomicBool,
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

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared {
            slots: Arc::new(Semaphore::new(0)),
            state: watch::Sender::new(State::Open),
            wake: Notify::new(),
            gave_up: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            confirms: Mutex::new(Vec::new()),
            any_confirms: AtomicBool::new(false),
            observer: OnceLock::new(),
            gone: watch::Sender::new(false),
        }
    }

    pub(crate) fn open(&self, max_in_flight: u16) {
        self.slots.add_permits(max_in_flight.into());
    }

    /// A caller has given up on its answer.
    pub(crate) fn gave_up(&self) {
        self.gave_up.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn take_gave_up(&self) -> bool {
        // Nearly always nobody has, and a load is cheaper than a swap.
        self.gave_up.load(Ordering::Relaxed) && self.gave_up.swap(false, Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.slots.close();
        self.wake.notify_one();
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
        self.wake.notify_one();
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

    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn going_away(&self, why: GoingAway) {
        self.state.send_replace(State::GoingAway(why));
        self.changed();
    }

    /// Nothing can be sent any more.
    pub(crate) fn ended(&self, closed: &Closed) {
        self.state.send_replace(State::Closed(closed.clone()));
        self.slots.close();
        self.changed();
    }

    /// The task is no more.
    pub(crate) fn gone(&self) {
        let told = matches!(*self.state.borrow(), State::Closed(_));
        if !told {
            self.ended(&Closed::end_of_task());
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
