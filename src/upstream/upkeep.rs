//! What an upstream does beside requests: finds its endpoints, and has transports look after themselves.

use super::Upstream;
use super::discover::Discover;
use super::endpoint::Transport;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How often it looks whether there is something to do; names are not resolved again any sooner, however
/// often an endpoint cannot be reached.
const EVERY: Duration = Duration::from_secs(1);

pub(super) struct Upkeep {
    discover: Arc<dyn Discover>,
    fixed: bool,
    started: AtomicBool,
    /// Whether it was looked for endpoints at all.
    looked: watch::Sender<bool>,
    again: Arc<Notify>,
}

impl Upkeep {
    pub(super) fn new(discover: Arc<dyn Discover>) -> Upkeep {
        let fixed = discover.fixed().is_some();
        Upkeep {
            discover,
            fixed,
            started: AtomicBool::new(false),
            looked: watch::Sender::new(fixed),
            again: Arc::default(),
        }
    }

    /// Waits until it was looked for endpoints at least once.
    pub(super) async fn looked(&self) {
        let mut looked = self.looked.subscribe();
        // The sender lives as long as this does.
        let _ = looked.wait_for(|looked| *looked).await;
    }
}

impl<T: Transport> Upstream<T> {
    /// Whether it was [started](Upstream::start).
    pub fn is_started(&self) -> bool {
        self.upkeep.started.load(Ordering::Relaxed)
    }

    /// Begins to look for endpoints, on the runtime this is called from; ends when the upstream is
    /// dropped. Does nothing the second time.
    pub fn start(self: &Arc<Self>) {
        if !self.is_started() && !self.upkeep.started.swap(true, Ordering::AcqRel) {
            let (weak, again) = (Arc::downgrade(self), Arc::clone(&self.upkeep.again));
            let discover = Arc::clone(&self.upkeep.discover);
            tokio::spawn(keep(weak, discover, again));
            // Not before: one that is made and never used must not stand for the one that is.
            let weak = Arc::downgrade(self);
            let look = move || weak.upgrade().map(|one| one.gauges()).unwrap_or_default();
            self.stats.show(look);
        }
    }

    /// Endpoints are looked for again soon.
    pub(super) fn look_again(&self) {
        if !self.upkeep.fixed {
            self.upkeep.again.notify_one();
        }
    }

    async fn look(&self) {
        match self.upkeep.discover.find().await {
            Ok(addresses) => {
                if self.endpoints.set(&addresses, super::now()) {
                    let (handler, endpoints) = (&self.name, addresses.len());
                    tracing::info!(handler, endpoints, "an upstream's endpoints are known");
                }
            }
            Err(problem) => {
                let handler = &self.name;
                tracing::warn!(handler, %problem, "an upstream's endpoints are not known");
            }
        }
        self.upkeep.looked.send_replace(true);
    }
}

async fn keep<T: Transport>(
    upstream: Weak<Upstream<T>>,
    discover: Arc<dyn Discover>,
    again: Arc<Notify>,
) {
    let mut due = super::now();
    let mut wanted = false;
    loop {
        {
            let Some(upstream) = upstream.upgrade() else {
                return;
            };
            if !upstream.upkeep.fixed && (wanted || super::now() >= due) {
                upstream.look().await;
                due = super::now() + upstream.settings.resolve_every;
            }
            let now = super::now();
            for endpoint in upstream.endpoints.all().iter() {
                endpoint.transport.upkeep(now);
            }
        }
        wanted = tokio::select! {
            // News is taken at once…
            () = discover.changed() => true,
            // …and a wish that came meanwhile is kept by the notifier.
            () = tokio::time::sleep(EVERY) => {
                let wished = tokio::time::timeout(Duration::ZERO, again.notified());
                wished.await.is_ok()
            }
        };
    }
}
