//! A connection of the pool, the place a call holds on it, and the choice between several.

use crate::connection::Connection;
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::exchange::Attempt;
use crate::random::Random;
use crate::reply::Answer;
use crate::shared::Place;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::TryAcquireError;

/// A connection, and what is learnt by using it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) connection: Connection,
    /// The most requests in flight since the keeper last asked.
    peak: AtomicUsize,
    proved: AtomicBool,
    refusing: AtomicBool,
}

impl Link {
    pub(super) fn new(connection: Connection) -> Link {
        Link {
            connection,
            peak: AtomicUsize::new(0),
            proved: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
        }
    }

    /// Requests that hold a place, those included that were cancelled and not yet answered.
    fn load(&self) -> usize {
        self.connection.in_flight()
    }

    pub(super) fn take_peak(&self) -> usize {
        self.peak.swap(0, Ordering::Relaxed).max(self.load())
    }

    /// It has answered a request.
    pub(crate) fn set_proved(&self) {
        // Nearly always it has before.
        if !self.proved.load(Ordering::Relaxed) {
            self.proved.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn has_proved(&self) -> bool {
        self.proved.load(Ordering::Relaxed)
    }

    pub(super) fn set_refusing(&self) {
        self.refusing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    fn try_lease(self: &Arc<Link>) -> Result<Lease, TryAcquireError> {
        if self.is_refusing() {
            return Err(TryAcquireError::Closed);
        }
        self.connection.shared().try_place()?.used();
        Ok(self.lease())
    }

    /// For whoever has taken a place.
    fn lease(self: &Arc<Link>) -> Lease {
        let load = self.load();
        if load > self.peak.load(Ordering::Relaxed) {
            self.peak.store(load, Ordering::Relaxed);
        }
        let link = self.clone();
        Lease {
            link,
            held: true,
            waited: false,
            load,
        }
    }

    /// Waits for a place, in the order of the calls; `None` when the connection has
    /// ended or takes nothing new.
    pub(super) async fn wait(self: Arc<Link>) -> Option<Lease> {
        let place = self.connection.shared().place().await?;
        // It may have said so meanwhile.
        if self.is_refusing() {
            return None;
        }
        place.used();
        Some(self.lease())
    }
}

/// A place on a connection: one more request may be sent there.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) link: Arc<Link>,
    /// No request has taken the place.
    held: bool,
    waited: bool,
    load: usize,
}

impl Lease {
    /// Requests in flight with this one.
    pub(super) fn load(&self) -> usize {
        self.load
    }

    /// Whether time passed before it was free.
    pub(crate) fn waited(&self) -> bool {
        self.waited
    }

    pub(super) fn set_waited(&mut self) {
        self.waited = true;
    }

    /// Sends a request in this place, once, and waits for its final answer.
    pub(crate) fn call(
        &mut self,
        attempt: &Attempt<'_>,
        now: Instant,
    ) -> impl Future<Output = Result<Answer>> {
        self.held = false;
        let place = Place::held(self.link.connection.shared());
        self.link.connection.call_in(place, attempt, now)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held {
            drop(Place::held(self.link.connection.shared()));
        }
    }
}

/// The connections as calls see them.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Those that new requests belong on…
    pub(super) open: Vec<Arc<Link>>,
    /// …and those that serve until they are replaced.
    pub(super) leaving: Vec<Arc<Link>>,
    /// Why no call can be made.
    pub(super) failure: Option<Failure>,
    /// What the last attempt to connect ran into.
    pub(super) last_error: Option<Arc<Error>>,
    /// Every connection has ended, and no other will be.
    pub(super) finished: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// No server will have this client.
    Refused(Arc<Error>),
    /// No server can be reached just now, and calls do not wait.
    Failing(Arc<Error>),
    Closed(&'static str),
}

impl Failure {
    pub(super) fn tell(&self) -> Error {
        match self {
            Failure::Refused(why) => Error::connect(format!("no server takes this client: {why}"))
                .with_code(why.code())
                .with_source(why.clone())
                .unsent(),
            Failure::Failing(why) => why.again().unsent(),
            // Not `Closed`, which would mean that another connection may do.
            Failure::Closed(text) => {
                Error::new(ErrorKind::Shutdown, ErrorClass::NotExecuted, *text).unsent()
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Picked {
    Lease(Lease),
    /// Every connection has as many in flight as it may; this is one of them.
    Full(Arc<Link>),
    None,
}

impl View {
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.leaving.len())
    }

    /// Of two connections at random the one with less in flight; where both are full, any that is
    /// not; where all are, one that is going away.
    pub(super) fn pick(&self, random: &Random) -> Picked {
        let mut full = None;
        if let Some(at) = choose(self.open.len(), random, |at| self.open[at].load()) {
            match self.open[at].try_lease() {
                Ok(lease) => return Picked::Lease(lease),
                Err(TryAcquireError::NoPermits) => full = Some(&self.open[at]),
                Err(TryAcquireError::Closed) => {}
            }
        }
        for link in self.open.iter().chain(&self.leaving) {
            match link.try_lease() {
                Ok(lease) => return Picked::Lease(lease),
                Err(TryAcquireError::NoPermits) => full = full.or(Some(link)),
                Err(TryAcquireError::Closed) => {}
            }
        }
        full.map_or(Picked::None, |link| Picked::Full(link.clone()))
    }
}

/// The power of two choices: nearly as even as looking at all, and callers that look at the same
/// time do not all run to the same place.
fn choose(count: usize, random: &Random, load: impl Fn(usize) -> usize) -> Option<usize> {
    match count {
        0 | 1 => count.checked_sub(1),
        _ => {
            let first = random.below(count);
            let second = (first + 1 + random.below(count - 1)) % count;
            Some(if load(second) < load(first) {
                second
            } else {
                first
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_busy_of_two_different_ones() {
        let random = Random::seeded(5);
        assert_eq!(choose(0, &random, |_| 0), None);
        assert_eq!(choose(1, &random, |_| 0), Some(0));
        for _ in 0..100 {
            assert_eq!(choose(2, &random, |at| [7, 3][at]), Some(1));
        }
        let mut loads = [0_usize; 10];
        for _ in 0..1000 {
            let at = choose(10, &random, |at| loads[at]).unwrap();
            loads[at] += 1;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(most - least <= 10, "{loads:?}");
    }
}
