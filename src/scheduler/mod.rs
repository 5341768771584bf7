//! Who may run now, who waits, and who is turned away when there is more work than capacity.
//!
//! Work that is answered later (an [`Outcome::Later`](crate::message::Outcome::Later)) passes two gates: its handler's, where it has a
//! limit, and then the server's. A gate has a number of places and a bounded queue of eight lanes, one
//! for each priority:
//!
//! - A free place goes to the highest priority that waits, but of two that always have somebody
//!   waiting the higher gets only twice as many, so that none starves.
//! - Up to a fifth of the places stay free for priorities above, as far as these have been used
//!   lately: the urgent do not wait for the merely early.
//! - When the queue is full, the newest of the lowest priority is answered with OVERLOADED and
//!   RETRY_AFTER_MS; one of a lane that has lost 64 in a row stays.
//! - A request whose time is over while it waits is EXPIRED: it was not executed.
//!
//! The handler's gate comes first: requests that wait for a slow handler then hold none of the
//! server's places. Handlers that answer in place never come here.

mod admission;
mod gate;
mod headroom;
mod queue;

pub use admission::{Admission, Placed, Places};
pub use gate::{Gate, Limits, Load};

use crate::telemetry::QueueMetrics;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limits of the whole server unless they are set: what a few gigabytes can hold while a handler
/// hangs, and as many again.
pub const DEFAULT_LIMITS: Limits = Limits {
    running: 10_000,
    waiting: 10_000,
};

/// The gates of one server.
///
/// ```
/// use mcpd::scheduler::{Limits, Scheduler};
/// use std::collections::BTreeMap;
///
/// let scheduler = Scheduler::default();
/// let limits = Limits { running: 4, waiting: 100 };
/// scheduler.configure(limits, &BTreeMap::from([("slow".to_owned(), limits)]));
/// assert_eq!(scheduler.load_of("slow").map(|load| load.limits), Some(limits));
/// assert_eq!(scheduler.load_of("echo"), None);
/// ```
#[derive(Debug)]
pub struct Scheduler {
    server: Arc<Gate>,
    handlers: Mutex<BTreeMap<String, Arc<Gate>>>,
    metrics: Arc<QueueMetrics>,
}

impl Default for Scheduler {
    /// With [`DEFAULT_LIMITS`] for the server and none for handlers.
    fn default() -> Scheduler {
        Scheduler::new(DEFAULT_LIMITS, Arc::default())
    }
}

impl Scheduler {
    /// With these limits for the server, and none for handlers yet.
    pub fn new(server: Limits, metrics: Arc<QueueMetrics>) -> Scheduler {
        Scheduler {
            server: Arc::new(Gate::new(server, Arc::clone(&metrics))),
            handlers: Mutex::default(),
            metrics,
        }
    }

    fn handlers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Gate>>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes new limits. A handler that had some before keeps its gate with who is in it; those that
    /// get their first, or none any more, do so for routes that are bound from now on.
    pub fn configure(&self, server: Limits, handlers: &BTreeMap<String, Limits>) {
        self.server.set_limits(server);
        let mut gates = self.handlers();
        gates.retain(|name, _| handlers.contains_key(name));
        for (name, limits) in handlers {
            match gates.get(name) {
                Some(gate) => gate.set_limits(*limits),
                None => {
                    let gate = Arc::new(Gate::new(*limits, Arc::clone(&self.metrics)));
                    gates.insert(name.clone(), gate);
                }
            }
        }
    }

    /// Gives out no more places: what waits now is not going to run.
    pub fn stop(&self) {
        let gates = self.handlers();
        for gate in gates.values().chain([&self.server]) {
            let limits = gate.load().limits;
            gate.set_limits(Limits {
                running: 0,
                ..limits
            });
        }
    }

    /// The way to the handler of this name.
    pub fn admission(&self, handler: &str) -> Admission {
        let gate = self.handlers().get(handler).cloned();
        let gates = gate.into_iter().chain([Arc::clone(&self.server)]);
        Admission::new(gates.collect(), Arc::clone(&self.metrics))
    }

    /// What the whole server is doing.
    pub fn load(&self) -> Load {
        self.server.load()
    }

    /// What a handler is doing; `None` if it has no limit of its own.
    pub fn load_of(&self, handler: &str) -> Option<Load> {
        Some(self.handlers().get(handler)?.load())
    }
}
