//! One endpoint: an address, how it fares, and what carries requests there.

use super::attempt::Fate;
use super::balance;
use super::breaker::{Breaker, BreakerSettings, BreakerState, Pass, Verdict};
use super::ejection::{Ejection, EjectionSettings, Place};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What carries requests to an endpoint: a pool of connections, or one that all share.
pub trait Transport: Send + Sync + 'static {
    /// How many connections there are.
    fn connections(&self) -> Connections;

    /// Looks after itself, about every second: closes what has been idle for too long.
    fn upkeep(&self, now: Instant);

    /// Whether the endpoint takes new requests, as far as its connections know: one that does not is asked
    /// only when no other can be.
    fn is_welcoming(&self) -> bool {
        true
    }
}

/// Connections to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// With nothing under way.
    pub idle: usize,
    /// With requests under way.
    pub active: usize,
}

/// One endpoint.
pub struct Endpoint<T> {
    /// Where it is.
    pub addr: SocketAddr,
    /// What leads there.
    pub transport: T,
    pub(super) key: u64,
    /// Changed under the lock of `health` only; others may look.
    in_flight: AtomicUsize,
    health: Mutex<Health>,
}

struct Health {
    breaker: Breaker,
    ejection: Ejection,
    attempts: u64,
    failures: u64,
}

/// An endpoint as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// Where it is.
    pub addr: SocketAddr,
    /// Attempts under way.
    pub in_flight: usize,
    /// Attempts so far.
    pub attempts: u64,
    /// Those that counted against it.
    pub failures: u64,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Whether it is in the choice.
    pub place: Place,
    /// Its connections.
    pub connections: Connections,
}

/// Why an endpoint cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is taken out.
    Out,
    /// Its breaker is open, and may let somebody through at this time.
    Open(Instant),
}

impl<T: Transport> Endpoint<T> {
    pub(super) fn new(
        addr: SocketAddr,
        transport: T,
        breaker: BreakerSettings,
        ejection: EjectionSettings,
        now: Instant,
    ) -> Endpoint<T> {
        let health = Health {
            breaker: Breaker::new(breaker, now),
            ejection: Ejection::new(ejection, now),
            attempts: 0,
            failures: 0,
        };
        Endpoint {
            addr,
            transport,
            key: balance::key_of_addr(addr),
            in_flight: AtomicUsize::new(0),
            health: Mutex::new(health),
        }
    }

    /// It is changed in single steps, which a panic elsewhere cannot leave half done.
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it can be asked now.
    pub(super) fn fit(&self, now: Instant) -> Result<(), Unfit> {
        let health = self.health();
        if health.ejection.place(now) != Place::In {
            return Err(Unfit::Out);
        }
        match health.breaker.closed_until(now) {
            Some(until) => Err(Unfit::Open(until)),
            None => Ok(()),
        }
    }

    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.health().ejection.place(now) != Place::In
    }

    pub(super) fn breaker(&self, now: Instant) -> BreakerState {
        self.health().breaker.state(now)
    }

    /// Begins an attempt, unless it was taken out or its breaker shut meanwhile.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<Visit<T>> {
        let mut health = self.health();
        if health.ejection.place(now) != Place::In {
            return None;
        }
        let pass = health.breaker.enter(now)?;
        health.attempts += 1;
        self.in_flight
            .store(self.in_flight() + 1, Ordering::Relaxed);
        drop(health);
        Some(Visit {
            endpoint: Arc::clone(self),
            pass: Some(pass),
        })
    }

    pub(super) fn eject(&self, now: Instant) {
        self.health().ejection.eject(now);
    }

    pub(super) fn remove(&self) {
        self.health().ejection.remove();
    }

    /// Puts it back, with a breaker that lets everybody through.
    pub(super) fn restore(&self, now: Instant) {
        let mut health = self.health();
        health.ejection.restore(now);
        health.breaker.close();
    }

    pub(super) fn view(&self, now: Instant) -> EndpointView {
        let connections = self.transport.connections();
        let health = self.health();
        EndpointView {
            addr: self.addr,
            in_flight: self.in_flight(),
            attempts: health.attempts,
            failures: health.failures,
            breaker: health.breaker.state(now),
            place: health.ejection.place(now),
            connections,
        }
    }
}

impl<T> std::fmt::Debug for Endpoint<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// An attempt that is under way at an endpoint. One that is dropped was given up.
pub(super) struct Visit<T> {
    pub(super) endpoint: Arc<Endpoint<T>>,
    pass: Option<Pass>,
}

impl<T> Visit<T> {
    /// The attempt ended so; `None` is a timeout. Gives whether the endpoint should be taken out.
    pub(super) fn end(&mut self, fate: Option<Fate>, now: Instant) -> bool {
        let verdict = fate.map_or(Verdict::Failed, Fate::verdict);
        self.settle(verdict, now)
    }

    fn settle(&mut self, verdict: Verdict, now: Instant) -> bool {
        let Some(pass) = self.pass.take() else {
            return false;
        };
        let endpoint = &*self.endpoint;
        let health = endpoint.health.lock();
        let mut health = health.unwrap_or_else(PoisonError::into_inner);
        let left = endpoint.in_flight.load(Ordering::Relaxed) - 1;
        endpoint.in_flight.store(left, Ordering::Relaxed);
        health.failures += u64::from(verdict == Verdict::Failed);
        health.breaker.ended(pass, verdict, now);
        health.ejection.ended(verdict, now)
    }
}

impl<T> Drop for Visit<T> {
    fn drop(&mut self) {
        // The time does not matter to one that nobody judges.
        self.settle(Verdict::Unseen, super::now());
    }
}
