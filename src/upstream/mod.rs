//! The care that a handler takes of whom it asks: which endpoint, how often, how many at a time, for how
//! long, and when to leave one alone.
//!
//! An [`Upstream`] runs *attempts* that a handler makes: it knows nothing of what an attempt does, only how
//! it ended ([`Fate`]), so that HTTP and MCP share it. What leads to an endpoint (a pool of connections, one
//! that all requests share) is its [`Transport`], which lives as long as the endpoint does.
//!
//! Pure, with the time handed in: `balance`, `breaker`, `ejection`, `limit`, `retry`, `window`. A request's
//! way through them is `run`; names and addresses are `discover`, Services of Kubernetes `service`.

mod attempt;
mod balance;
mod breaker;
mod care;
mod discover;
mod ejection;
mod endpoint;
mod endpoints;
mod limit;
mod refusal;
mod retry;
mod run;
mod service;
mod slots;
#[cfg(test)]
mod tests;
mod trip;
mod upkeep;
mod window;

pub use attempt::{Fate, Sent, Tried, Try};
pub use balance::key_of;
pub use breaker::{BreakerSettings, BreakerState};
pub use care::Care;
pub use discover::{BoxFuture, Discover, Names, Resolve, SystemResolver};
pub use ejection::{EjectionSettings, Place};
pub use endpoint::{Connections, Endpoint, EndpointView, Transport};
pub use endpoints::Connect;
pub use limit::AdaptiveSettings;
pub use refusal::Refusal;
pub use retry::RetrySettings;
pub use run::{End, Ran};
pub use service::{Port, ServiceName, ServicePort, Services, Unasked};
pub use trip::{Further, Trip};

use crate::clock;
use crate::telemetry::{UpstreamGauges, UpstreamStats, random_unit};
use endpoints::Endpoints;
use mcpd_client::Budget;
use slots::{Slot, Slots};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use upkeep::Upkeep;

/// How an upstream is cared for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Attempts at a time: what the connections can carry.
    pub max_running: usize,
    /// Attempts that may wait for that; one more is [`Refusal::Overloaded`] at once.
    pub max_pending: usize,
    /// An adaptive limit of attempts at a time, below `max_running`.
    pub adaptive: Option<AdaptiveSettings>,
    /// The longest that an attempt may take.
    pub try_timeout: Duration,
    /// The longest that all attempts for a request and the pauses between them may take.
    pub timeout: Duration,
    /// Whether a request may be executed more than once: only then one whose fate is unknown is tried
    /// again, and hedged.
    pub idempotent: bool,
    /// How often and how soon attempts are repeated.
    pub retry: RetrySettings,
    /// A second attempt is made beside one that takes longer than this, at another endpoint; the first
    /// answer counts. Of idempotent handlers only.
    pub hedge: Option<Duration>,
    /// When an endpoint is left alone.
    pub breaker: BreakerSettings,
    /// When an endpoint is taken out of the choice.
    pub ejection: EjectionSettings,
    /// How often names are resolved again; sooner when an endpoint cannot be reached.
    pub resolve_every: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_running: 100,
            max_pending: 20,
            adaptive: None,
            try_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            idempotent: false,
            retry: RetrySettings::default(),
            hedge: None,
            breaker: BreakerSettings::default(),
            ejection: EjectionSettings::default(),
            resolve_every: Duration::from_secs(10),
        }
    }
}

/// What a request asks of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// Requests with the same key go to the same endpoint while that is fit; see [`key_of`].
    pub key: Option<u64>,
    /// When an answer is of no use any more.
    pub deadline: Instant,
}

/// Endpoints, and the care for them. See the [module](self).
pub struct Upstream<T> {
    name: String,
    settings: Settings,
    endpoints: Endpoints<T>,
    slots: Slots,
    budget: Mutex<Budget>,
    stats: Arc<UpstreamStats>,
    upkeep: Upkeep,
}

impl<T: Transport> Upstream<T> {
    /// The upstream of the handler of this name. `connect` makes the transport of an endpoint that is new.
    /// Needs no runtime; the first request, or [`Upstream::start`], begins to look for endpoints.
    pub fn new(
        name: impl Into<String>,
        settings: Settings,
        discover: Arc<dyn Discover>,
        connect: Connect<T>,
        stats: Arc<UpstreamStats>,
    ) -> Arc<Upstream<T>> {
        let now = self::now();
        let endpoints = Endpoints::new(connect, settings.breaker, settings.ejection);
        if let Some(addresses) = discover.fixed() {
            endpoints.set(&addresses, now);
        }
        let slots = Slots::new(
            settings.max_running,
            settings.max_pending,
            settings.adaptive,
        );
        Arc::new(Upstream {
            name: name.into(),
            endpoints,
            slots,
            budget: Mutex::new(Budget::new(settings.retry.budget, now)),
            settings,
            stats,
            upkeep: Upkeep::new(discover),
        })
    }

    /// How it is cared for.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn gauges(&self) -> UpstreamGauges {
        let mut gauges = UpstreamGauges {
            pending: self.slots.pending(),
            breakers: self.endpoints.breakers(now()),
            ..UpstreamGauges::default()
        };
        for endpoint in self.endpoints.all().iter() {
            let Connections { idle, active } = endpoint.transport.connections();
            gauges.idle += idle;
            gauges.active += active;
        }
        gauges
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for an attempt, and somebody to ask as far as that is known at all.
    async fn place(&self, order: &Order, waits: bool) -> Result<Slot<'_>, Refusal> {
        let no_room = Refusal::Overloaded {
            retry_after: Duration::ZERO,
        };
        let slot = match waits {
            true => self.slots.enter(order.deadline).await?,
            false => self.slots.try_enter().ok_or(no_room)?,
        };
        if self.endpoints.is_empty() {
            let looked = self.upkeep.looked();
            let looked = tokio::time::timeout_at(order.deadline.into(), looked);
            looked.await.map_err(|_| Refusal::Expired)?;
        }
        Ok(slot)
    }

    fn eject(&self, endpoint: &Endpoint<T>, now: Instant) {
        if self.endpoints.eject(endpoint, now) {
            self.stats.ejection();
            let (handler, endpoint) = (&self.name, endpoint.addr);
            tracing::warn!(handler, %endpoint, "an endpoint does badly and is left out for a while");
        }
    }
}

impl<T> std::fmt::Debug for Upstream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// 64 random bits, of which 53 in two pieces are what the choice of an endpoint can use.
fn random_bits() -> u64 {
    let half = || (random_unit() * f64::from(u32::MAX)) as u64;
    half() << 32 | half()
}

/// The time by the clock of the runtime, which tests may stop, unless a connection has looked just now.
fn now() -> Instant {
    clock::held().unwrap_or_else(|| tokio::time::Instant::now().into_std())
}
