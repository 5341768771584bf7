//! Every open connection, for orders to all of them and for counting.

use super::mailbox::{Mail, Mailbox, Order};
use crate::message::Peer;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// The open connections of a server.
#[derive(Debug)]
pub struct Registry {
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Mailbox>>>,
    count: watch::Sender<usize>,
}

impl Default for Registry {
    fn default() -> Registry {
        let count = watch::Sender::new(0);
        Registry {
            next: AtomicU64::new(1),
            open: Mutex::default(),
            count,
        }
    }
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mailbox>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place if fewer than `max` are taken.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Member> {
        let mut open = self.lock();
        if open.len() >= max {
            return None;
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mailbox = Arc::new(Mailbox::new(Instant::now()));
        open.insert(id, Arc::clone(&mailbox));
        self.count.send_replace(open.len());
        Some(Member {
            id,
            mailbox,
            registry: Arc::clone(self),
        })
    }

    /// Open connections.
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The ids of all open connections.
    pub fn ids(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    pub(super) fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.lock().values().cloned().collect()
    }

    /// Gives an order to one connection. `false` if it is gone.
    pub fn order(&self, id: u64, order: Order) -> bool {
        let mailbox = self.lock().get(&id).cloned();
        if let Some(mailbox) = &mailbox {
            mailbox.send(Mail::Order(order));
        }
        mailbox.is_some()
    }

    /// Gives an order to every connection.
    pub fn order_all(&self, order: &Order) {
        let all: Vec<_> = self.lock().values().cloned().collect();
        for mailbox in all {
            mailbox.send(Mail::Order(order.clone()));
        }
    }

    /// Gives an order to every connection whose client is one of those; how many that are.
    pub fn order_those(&self, wanted: impl Fn(&Peer) -> bool, order: &Order) -> usize {
        let mut told = 0;
        for mailbox in self.mailboxes() {
            if mailbox.peer().is_some_and(|(peer, _)| wanted(&peer)) {
                mailbox.send(Mail::Order(order.clone()));
                told += 1;
            }
        }
        told
    }

    /// Waits until no connection is open.
    pub async fn empty(&self) {
        let mut count = self.count.subscribe();
        // The sender lives in self, so this cannot fail.
        let _ = count.wait_for(|open| *open == 0).await;
    }
}

/// A connection's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) mailbox: Arc<Mailbox>,
    registry: Arc<Registry>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut open = self.registry.lock();
        open.remove(&self.id);
        self.registry.count.send_replace(open.len());
    }
}
