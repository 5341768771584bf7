//! Which frames are sampled: decided before there is a span, from atomics that may change at any time.

use super::super::histogram::saturating_ns;
use super::super::random::next_u64;
use super::super::routes::{RouteCatalog, RouteStats};
use crate::message::Peer;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Routes with a ratio of their own: far more than anybody sets by hand.
const MAX_OVERRIDES: usize = 1000;

/// What is sampled. A ratio is from 0, nothing, to 1, everything.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingSettings {
    /// Of requests that carry no TRACE.
    pub ratio: f64,
    /// Of HELLO, HEARTBEAT and other frames that are not requests.
    pub control_ratio: f64,
    /// Of requests without TRACE on these routes, by name, in place of `ratio`; at most 1000. Names
    /// without a route do nothing until there is one.
    pub routes: BTreeMap<String, f64>,
    /// Requests a second, for the whole process, that are sampled because their TRACE says so. 0:
    /// clients have no say.
    pub parent_per_second: u32,
    /// The same for each principal, within that: so that one of them cannot leave the others nothing.
    pub parent_per_principal: u32,
    /// Unsampled requests that took longer get a late span; `None`: none for being slow.
    pub slow: Option<Duration>,
    /// Late spans a second for the whole process. 0: none.
    pub late_per_second: u32,
}

impl Default for SamplingSettings {
    fn default() -> SamplingSettings {
        SamplingSettings {
            ratio: 0.01,
            control_ratio: 0.0,
            routes: BTreeMap::new(),
            parent_per_second: 1000,
            parent_per_principal: 100,
            slow: Some(Duration::from_secs(1)),
            late_per_second: 10,
        }
    }
}

/// Sampling settings that cannot be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// Not between 0 and 1.
    #[error("{field}: {value} is not between 0 and 1")]
    Ratio {
        /// `ratio`, `control_ratio` or `routes.<name>`.
        field: String,
        /// What was given.
        value: f64,
    },
    /// More routes with ratios of their own than are kept.
    #[error("routes: {0} ratios are more than {MAX_OVERRIDES}")]
    TooMany(usize),
}

impl SamplingSettings {
    /// Checks every ratio and their number.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self) -> Result<(), SamplingError> {
        let plain = [("ratio", self.ratio), ("control_ratio", self.control_ratio)];
        let plain = plain.map(|(field, value)| (field.to_owned(), value));
        let routes = self.routes.iter();
        let routes = routes.map(|(name, value)| (format!("routes.{name}"), *value));
        for (field, value) in plain.into_iter().chain(routes) {
            if !(0.0..=1.0).contains(&value) {
                return Err(SamplingError::Ratio { field, value });
            }
        }
        match self.routes.len() {
            n if n > MAX_OVERRIDES => Err(SamplingError::TooMany(n)),
            _ => Ok(()),
        }
    }

    /// The ratio of a route.
    pub(in crate::telemetry) fn of(&self, route: &str) -> Threshold {
        Threshold::new(self.routes.get(route).copied().unwrap_or(self.ratio))
    }

    /// Nothing is sampled: what holds where spans have nowhere to go.
    pub(in crate::telemetry) fn off() -> SamplingSettings {
        SamplingSettings {
            ratio: 0.0,
            control_ratio: 0.0,
            routes: BTreeMap::new(),
            parent_per_second: 0,
            parent_per_principal: 0,
            slow: None,
            late_per_second: 0,
        }
    }
}

/// A ratio as the bound that a random number must stay below: 0 never, the greatest always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry) struct Threshold(pub(in crate::telemetry) u64);

impl Threshold {
    fn new(ratio: f64) -> Threshold {
        // The cast saturates, so that 1 is everything.
        Threshold((ratio * 2f64.powi(64)) as u64)
    }

    #[inline]
    pub(in crate::telemetry) fn draws(self) -> bool {
        self.0 != 0 && (self.0 == u64::MAX || next_u64() < self.0)
    }
}

/// At most so many a second, whichever thread asks: a second's count at once, then evenly.
#[derive(Debug)]
pub(in crate::telemetry) struct Budget {
    start: Instant,
    per_second: AtomicU32,
    /// When all of it is there again, in nanoseconds since the start.
    full_at: AtomicU64,
}

const SECOND: u64 = 1_000_000_000;

impl Budget {
    pub(in crate::telemetry) fn new(per_second: u32) -> Budget {
        Budget {
            start: Instant::now(),
            per_second: per_second.into(),
            full_at: AtomicU64::new(0),
        }
    }

    fn set(&self, per_second: u32) {
        self.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Takes one, if there is one left.
    pub(in crate::telemetry) fn take(&self, now: Instant) -> bool {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return false;
        }
        let since = now.saturating_duration_since(self.start).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let each = SECOND / u64::from(per_second);
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(each);
            (next - now <= SECOND).then_some(next)
        };
        let order = Ordering::Relaxed;
        self.full_at.fetch_update(order, order, next).is_ok()
    }
}

/// The part of the settings that every frame may ask for.
#[derive(Debug)]
pub(super) struct Rules {
    control: AtomicU64,
    /// The greatest number stands for never.
    slow_ns: AtomicU64,
    pub(super) parents: Budget,
    /// What each principal has of it; the counts are theirs.
    per_principal: AtomicU32,
    pub(super) late: Budget,
}

impl Rules {
    pub(super) fn new() -> Rules {
        Rules {
            control: AtomicU64::new(0),
            slow_ns: AtomicU64::new(u64::MAX),
            parents: Budget::new(0),
            per_principal: AtomicU32::new(0),
            late: Budget::new(0),
        }
    }

    fn set(&self, settings: &SamplingSettings) {
        let slow = settings.slow.map(|slow| slow.as_nanos());
        let slow = slow.and_then(|ns| u64::try_from(ns).ok());
        let control = Threshold::new(settings.control_ratio).0;
        self.control.store(control, Ordering::Relaxed);
        self.slow_ns
            .store(slow.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.parents.set(settings.parent_per_second);
        self.per_principal
            .store(settings.parent_per_principal, Ordering::Relaxed);
        self.late.set(settings.late_per_second);
    }

    #[inline]
    pub(super) fn control(&self) -> bool {
        Threshold(self.control.load(Ordering::Relaxed)).draws()
    }

    #[inline]
    pub(super) fn is_slow(&self, time: Duration) -> bool {
        saturating_ns(time) > self.slow_ns.load(Ordering::Relaxed)
    }

    /// Whether a request is sampled because the trace is that this client has sent.
    pub(super) fn parent(&self, flags: u8, peer: &Peer, now: Instant) -> bool {
        flags & SAMPLED != 0 && self.has_share(peer, now) && self.parents.take(now)
    }

    /// Whether there is anything left of what its principal has; whoever is nobody has no share of their own.
    fn has_share(&self, peer: &Peer, now: Instant) -> bool {
        let per_second = self.per_principal.load(Ordering::Relaxed);
        let who = peer.identity.as_ref();
        who.is_none_or(|who| who.may_be_traced(per_second, now))
    }
}

/// The flag of a trace that is recorded.
pub(super) const SAMPLED: u8 = 1;

/// Reads and changes what is sampled while the server runs.
#[derive(Debug, Clone)]
pub struct Sampling {
    rules: Arc<Rules>,
    catalog: Arc<RouteCatalog>,
    settings: Arc<Mutex<SamplingSettings>>,
    /// Without an exporter the settings are kept, and nothing is sampled.
    exports: bool,
}

impl Sampling {
    pub(super) fn new(rules: Arc<Rules>, catalog: Arc<RouteCatalog>, exports: bool) -> Sampling {
        Sampling {
            rules,
            catalog,
            settings: Arc::new(Mutex::new(SamplingSettings::off())),
            exports,
        }
    }

    /// Whether there is an exporter: without one nothing is sampled, whatever the settings say.
    pub fn is_exported(&self) -> bool {
        self.exports
    }

    /// What holds now.
    pub fn get(&self) -> SamplingSettings {
        let settings = self.settings.lock();
        settings.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides by these settings from the next frame on.
    ///
    /// # Errors
    /// A ratio is none, or there are too many; nothing changes.
    pub fn set(&self, settings: SamplingSettings) -> Result<(), SamplingError> {
        settings.check()?;
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if self.exports {
            self.rules.set(&settings);
            self.catalog.sample(&settings);
        }
        *current = settings;
        Ok(())
    }
}

impl RouteStats {
    /// Whether a request without TRACE is sampled.
    #[inline]
    pub(super) fn draws(&self) -> bool {
        Threshold(self.threshold.load(Ordering::Relaxed)).draws()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(settings: SamplingSettings) -> (Sampling, Arc<RouteCatalog>) {
        let catalog = Arc::new(RouteCatalog::default());
        let sampling = Sampling::new(Arc::new(Rules::new()), Arc::clone(&catalog), true);
        sampling.set(settings).unwrap();
        (sampling, catalog)
    }

    fn drawn(stats: &RouteStats) -> usize {
        (0..10_000).filter(|_| stats.draws()).count()
    }

    #[test]
    fn a_route_with_a_ratio_of_its_own_ignores_the_other_and_hears_of_changes() {
        let routes = BTreeMap::from([("all".to_owned(), 1.0), ("none".to_owned(), 0.0)]);
        let ratio = 0.5;
        let (sampling, catalog) = sampling(SamplingSettings {
            ratio,
            routes,
            ..SamplingSettings::default()
        });
        let stats = catalog.enter_names(["all", "none", "some"]);
        assert_eq!((drawn(&stats[0]), drawn(&stats[1])), (10_000, 0));
        // Ten standard deviations.
        let some = drawn(&stats[2]);
        assert!((4_500..5_500).contains(&some), "{some}");
        let settings = SamplingSettings {
            ratio: 0.0,
            routes: BTreeMap::from([("some".to_owned(), 1.0)]),
            ..SamplingSettings::default()
        };
        sampling.set(settings.clone()).unwrap();
        let counts = [0, 1, 2].map(|at| drawn(&stats[at]));
        assert_eq!(counts, [0, 0, 10_000]);
        assert_eq!(sampling.get(), settings);
    }

    #[test]
    fn a_ratio_that_is_none_changes_nothing() {
        let (sampling, _) = sampling(SamplingSettings::default());
        for ratio in [-0.1, 1.1, f64::NAN] {
            let routes = BTreeMap::from([("r".to_owned(), ratio)]);
            let wrong = SamplingSettings {
                routes,
                ..SamplingSettings::default()
            };
            let error = sampling.set(wrong).unwrap_err();
            assert!(error.to_string().starts_with("routes.r: "), "{error}");
        }
        assert_eq!(sampling.get(), SamplingSettings::default());
    }

    fn stranger() -> Peer {
        Peer {
            connection: 1,
            addr: ([127, 0, 0, 1], 1).into(),
            client_id: None,
            identity: None,
        }
    }

    #[test]
    fn a_parent_is_followed_within_the_budget_alone() {
        let (rules, peer) = (Rules::new(), stranger());
        let now = Instant::now();
        assert!(
            !rules.parent(SAMPLED, &peer, now),
            "no budget was given yet"
        );
        rules.set(&SamplingSettings {
            parent_per_second: 3,
            parent_per_principal: 0,
            ..SamplingSettings::default()
        });
        assert!(!rules.parent(0, &peer, now), "a trace that is not recorded");
        let taken = |now| {
            (0..10)
                .filter(|_| rules.parent(SAMPLED, &peer, now))
                .count()
        };
        assert_eq!(taken(now), 3);
        assert_eq!(taken(now + Duration::from_secs(1)), 3);
    }

    #[test]
    fn without_an_exporter_settings_are_kept_and_nothing_is_sampled() {
        let catalog = Arc::new(RouteCatalog::default());
        let sampling = Sampling::new(Arc::new(Rules::new()), Arc::clone(&catalog), false);
        let settings = SamplingSettings {
            ratio: 1.0,
            ..SamplingSettings::default()
        };
        sampling.set(settings.clone()).unwrap();
        assert_eq!(sampling.get(), settings);
        assert!(!catalog.enter_names(["r"])[0].draws());
    }
}
