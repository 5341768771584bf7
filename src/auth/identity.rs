//! What a connection keeps of who it belongs to.

use super::document::Entry;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A principal, for as long as somebody is connected as it or it is in the policy.
#[derive(Debug)]
pub(super) struct Principal {
    name: String,
    /// `None` when it is not in the policy any more.
    rules: ArcSwapOption<Entry>,
    connections: AtomicU32,
    in_flight: AtomicU32,
    start: Instant,
    /// When its bucket of requests will be full again, in nanoseconds since `start`.
    full_at: AtomicU64,
}

impl Principal {
    pub(super) fn new(rules: Arc<Entry>) -> Principal {
        Principal {
            name: rules.name.clone(),
            rules: ArcSwapOption::from(Some(rules)),
            connections: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            start: Instant::now(),
            full_at: AtomicU64::new(0),
        }
    }

    pub(super) fn set_rules(&self, rules: Option<Arc<Entry>>) {
        self.rules.store(rules);
    }

    /// One more connection, if it may have one.
    pub(super) fn connect(
        self: Arc<Self>,
        token: Option<[u8; 32]>,
        expires: Option<SystemTime>,
    ) -> Option<Identity> {
        let max = self.rules.load().as_ref()?.limits.connections;
        // Takes its place first, so that two at once do not both find the last one free.
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let identity = Identity {
            principal: self,
            token,
            expires,
        };
        max.is_none_or(|max| before < max).then_some(identity)
    }
}

/// A client that has shown who it is. It holds one of its principal's connections until it is dropped.
pub struct Identity {
    principal: Arc<Principal>,
    /// The hash of its token; `None` for one that has shown none.
    token: Option<[u8; 32]>,
    expires: Option<SystemTime>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Identity").field(&self.name()).finish()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.principal.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Identity {
    /// The principal's name, as logs and the admin API show it.
    pub fn name(&self) -> &str {
        &self.principal.name
    }

    pub(super) fn token(&self) -> Option<&[u8; 32]> {
        self.token.as_ref()
    }

    /// When its credential expires.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether it may send requests to this topic. No allocation, no lock.
    #[inline]
    pub fn permits(&self, topic: &str, client_id: Option<&str>) -> bool {
        let rules = self.principal.rules.load();
        rules
            .as_ref()
            .is_some_and(|rules| rules.permits(topic, client_id))
    }

    /// Takes a request from what it may send in a second.
    ///
    /// # Errors
    /// How long it takes until it may.
    #[inline]
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let rules = self.principal.rules.load();
        let limits = rules.as_ref().map(|rules| rules.limits).unwrap_or_default();
        match limits.requests_per_second {
            None => Ok(()),
            Some(rate) => self.take_of(rate, limits.burst.unwrap_or(rate), now),
        }
    }

    fn take_of(&self, per_second: u32, burst: u32, now: Instant) -> Result<(), Duration> {
        let nanos = now
            .saturating_duration_since(self.principal.start)
            .as_nanos();
        let now = u64::try_from(nanos).unwrap_or(u64::MAX);
        let each = 1_000_000_000 / u64::from(per_second.max(1));
        let depth = each.saturating_mul(u64::from(burst.max(1)));
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(each);
            (next - now <= depth).then_some(next)
        };
        let bucket = &self.principal.full_at;
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map(drop).map_err(|full_at| {
            let next = full_at.max(now).saturating_add(each);
            Duration::from_nanos((next - now).saturating_sub(depth))
        })
    }

    /// The highest priority it gets.
    #[inline]
    pub fn priority_ceiling(&self) -> u8 {
        let rules = self.principal.rules.load();
        rules.as_ref().map_or(0, |rules| rules.max_priority)
    }

    /// Whether it has as many requests under way as it may, on all its connections together.
    #[inline]
    pub fn is_full(&self) -> bool {
        let rules = self.principal.rules.load();
        let max = rules.as_ref().and_then(|rules| rules.limits.in_flight);
        max.is_some_and(|max| self.principal.in_flight.load(Ordering::Relaxed) >= max)
    }

    /// A request of it is under way until the place is dropped. Connections of several threads may find
    /// room at the same moment, and so be a few over the limit.
    pub fn enter(&self) -> InFlight {
        self.principal.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(&self.principal))
    }
}

/// A request under way.
#[derive(Debug)]
pub struct InFlight(Arc<Principal>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
