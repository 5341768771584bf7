//! Requests by route: the only metrics with a `route` label.
//!
//! They are fixed atomics of our own, rendered beside the exporter's text, because the exporter can
//! neither forget a series nor record one in the few nanoseconds that a frame has.

use super::catalog;
use super::histogram::Histogram;
use super::shaping::ShapedCounts;
use super::trace::SamplingSettings;
use mcpd_proto::{Class, ErrorCode};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Slot 0 counts codes without a name, the others the codes in their order. Successes are counted by
/// their histogram.
const SLOTS: usize = ErrorCode::ALL.len() + 1;

fn slot(code: ErrorCode) -> usize {
    code.index().map_or(0, |at| at + 1)
}

/// The counts that one series shows.
#[derive(Debug)]
struct Counts {
    codes: [AtomicU64; SLOTS],
    ok: Histogram,
    error: Histogram,
}

impl Default for Counts {
    fn default() -> Counts {
        let codes = [const { AtomicU64::new(0) }; _];
        Counts {
            codes,
            ok: Histogram::default(),
            error: Histogram::default(),
        }
    }
}

impl Counts {
    fn total(&self) -> u64 {
        self.ok.count() + self.error.count()
    }

    fn count(&self, code: Option<ErrorCode>) -> u64 {
        match code {
            None => self.ok.count(),
            Some(code) => self.codes[slot(code)].load(Ordering::Relaxed),
        }
    }
}

/// What a route is called, wherever requests are told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteLabel<'n> {
    /// Its name.
    pub name: &'n str,
    /// The pattern of its topics.
    pub pattern: &'n str,
    /// The handler's name.
    pub handler: &'n str,
}

/// What is observed of one route of a table.
#[derive(Debug)]
pub struct RouteStats {
    pub(super) name: Arc<str>,
    pub(super) pattern: Arc<str>,
    pub(super) handler: Arc<str>,
    /// Requests whose random number is below are sampled.
    pub(super) threshold: AtomicU64,
    counts: Arc<Counts>,
}

impl RouteStats {
    fn new(label: RouteLabel<'_>, counts: &Arc<Counts>) -> RouteStats {
        RouteStats {
            name: label.name.into(),
            pattern: label.pattern.into(),
            handler: label.handler.into(),
            threshold: AtomicU64::new(0),
            counts: Arc::clone(counts),
        }
    }

    /// Counts `n` answers with this code (`None` is a RESPONSE) that took `time` each, from the last
    /// byte in to the answer enqueued.
    #[inline]
    pub fn record(&self, code: Option<ErrorCode>, time: Duration, n: u64) {
        match code {
            None => self.counts.ok.record(time, n),
            Some(code) => {
                self.counts.codes[slot(code)].fetch_add(n, Ordering::Relaxed);
                self.counts.error.record(time, n);
            }
        }
    }

    /// Answers with this code so far, of all routes that share this one's series.
    pub fn count(&self, code: Option<ErrorCode>) -> u64 {
        self.counts.count(code)
    }
}

/// Whose fault an answer is; it follows from the code alone.
pub(super) fn fault(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::NO_ROUTE
        | ErrorCode::PERMISSION_DENIED
        | ErrorCode::INVALID_REQUEST
        | ErrorCode::UNSUPPORTED
        | ErrorCode::QOS_UNSUPPORTED
        | ErrorCode::MESSAGE_ID_REQUIRED
        | ErrorCode::MESSAGE_ID_REUSED
        | ErrorCode::HOP_LIMIT
        | ErrorCode::TOO_MANY_IN_FLIGHT
        | ErrorCode::RATE_LIMITED
        | ErrorCode::CANCELLED => "client",
        ErrorCode::HANDLER_ERROR => "handler",
        _ => "server",
    }
}

/// Whether the server or a handler is to blame.
#[inline]
pub(super) fn is_fault(code: ErrorCode) -> bool {
    fault(code) != "client"
}

/// Routes that have series of their own; the others share `_other`.
const MAX_ROUTES: usize = 200;

/// What requests without a route go by.
const NONE: &str = "_none";

/// What is observed of every route of the live table, and of requests that found none.
#[derive(Debug)]
pub struct RouteCatalog {
    live: Mutex<BTreeMap<String, Arc<Counts>>>,
    other: Arc<Counts>,
    none: Arc<RouteStats>,
    sampled: Mutex<Sampled>,
    pub(super) shaped: ShapedCounts,
    /// Hash of the live table. It is here and not with the exporter, which would keep every hash
    /// there ever was.
    hash: Mutex<String>,
}

/// By what settings routes are sampled, and the routes to tell when these change.
#[derive(Debug)]
struct Sampled {
    settings: SamplingSettings,
    routes: Vec<Weak<RouteStats>>,
}

impl Default for RouteCatalog {
    fn default() -> RouteCatalog {
        let none = RouteLabel {
            name: NONE,
            ..RouteLabel::default()
        };
        RouteCatalog {
            live: Mutex::default(),
            other: Arc::default(),
            none: Arc::new(RouteStats::new(none, &Arc::default())),
            sampled: Mutex::new(Sampled {
                settings: SamplingSettings::off(),
                routes: Vec::new(),
            }),
            shaped: ShapedCounts::default(),
            hash: Mutex::default(),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RouteCatalog {
    /// Requests that no route was found for, or that were refused before one was looked for: they
    /// show as `_none`.
    pub fn none(&self) -> &Arc<RouteStats> {
        &self.none
    }

    /// Gives each route of a new table what is observed of it, in the order of `labels`. A name that
    /// was there before goes on counting; one that is gone frees its place.
    pub fn enter<'n>(
        &self,
        labels: impl IntoIterator<Item = RouteLabel<'n>>,
    ) -> Vec<Arc<RouteStats>> {
        let labels: Vec<RouteLabel<'n>> = labels.into_iter().collect();
        let mut sorted: Vec<&str> = labels.iter().map(|label| label.name).collect();
        sorted.sort_unstable();
        sorted.truncate(MAX_ROUTES);
        let mut live = locked(&self.live);
        live.retain(|name, _| sorted.binary_search(&name.as_str()).is_ok());
        for name in sorted {
            if !live.contains_key(name) {
                live.insert(name.to_owned(), Arc::default());
            }
        }
        let stats = labels.iter().map(|label| {
            let counts = live.get(label.name).unwrap_or(&self.other);
            Arc::new(RouteStats::new(*label, counts))
        });
        let stats: Vec<Arc<RouteStats>> = stats.collect();
        drop(live);
        self.sample_also(&stats);
        stats
    }

    fn sample_also(&self, stats: &[Arc<RouteStats>]) {
        let mut sampled = locked(&self.sampled);
        for route in stats {
            let threshold = sampled.settings.of(&route.name).0;
            route.threshold.store(threshold, Ordering::Relaxed);
        }
        // The old table's are told of changes too, for as long as requests may still use it.
        sampled.routes.retain(|route| route.strong_count() > 0);
        sampled.routes.extend(stats.iter().map(Arc::downgrade));
    }

    /// Samples by these settings from now on.
    pub(super) fn sample(&self, settings: &SamplingSettings) {
        let mut sampled = locked(&self.sampled);
        sampled.settings = settings.clone();
        let routes = sampled.routes.iter().filter_map(Weak::upgrade);
        for route in routes.chain([Arc::clone(&self.none)]) {
            let threshold = settings.of(&route.name).0;
            route.threshold.store(threshold, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(super) fn enter_names<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Vec<Arc<RouteStats>> {
        let label = |name| RouteLabel {
            name,
            ..RouteLabel::default()
        };
        self.enter(names.into_iter().map(label))
    }

    /// The hash of the live table, in hex.
    pub fn set_hash(&self, hash: String) {
        *locked(&self.hash) = hash;
    }

    /// Appends all series in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        let live = locked(&self.live).clone();
        let shared = [(NONE, &self.none.counts), ("_other", &self.other)];
        let all = || {
            live.iter()
                .map(|(name, stats)| (name.as_str(), stats))
                .chain(shared)
        };
        let name = "mcpd_requests_total";
        catalog::head(name, out);
        for (route, stats) in all() {
            render_codes(name, route, stats, out);
        }
        let name = "mcpd_request_duration_seconds";
        catalog::head(name, out);
        for (route, stats) in all() {
            stats
                .ok
                .render(name, &format!("route=\"{route}\",outcome=\"ok\""), out);
            // Most routes never fail, and a histogram is two dozen lines.
            if stats.error.count() > 0 {
                stats
                    .error
                    .render(name, &format!("route=\"{route}\",outcome=\"error\""), out);
            }
        }
        self.shaped.render(out);
        let name = "mcpd_series_dropped_total";
        catalog::head(name, out);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name} {}", self.other.total());
        let hash = locked(&self.hash).clone();
        let name = "mcpd_routes_info";
        catalog::head(name, out);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}{{hash=\"{hash}\"}} 1");
    }
}

/// Codes that never occurred are left out, but for success.
fn render_codes(name: &str, route: &str, stats: &Counts, out: &mut String) {
    let mut line = |code: &str, fault: &str, count: u64| {
        let _ = writeln!(
            out,
            "{name}{{route=\"{route}\",code=\"{code}\",fault=\"{fault}\"}} {count}"
        );
    };
    line("OK", "none", stats.count(None));
    let unnamed = stats.codes[0].load(Ordering::Relaxed);
    if unnamed > 0 {
        line("OTHER", "server", unnamed);
    }
    for code in ErrorCode::ALL
        .iter()
        .filter(|code| code.class() != Class::Connection)
    {
        let count = stats.count(Some(*code));
        if count > 0 {
            line(code.name().unwrap_or("OTHER"), fault(*code), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_its_counts_across_tables_and_frees_its_place_when_it_goes() {
        let catalog = RouteCatalog::default();
        catalog.enter_names(["a", "b"])[0].record(None, Duration::ZERO, 3);
        assert_eq!(catalog.enter_names(["b", "a"])[1].count(None), 3);
        catalog.enter_names(["b"]);
        assert_eq!(catalog.enter_names(["a"])[0].count(None), 0);
    }

    #[test]
    fn routes_over_the_cap_share_one_series() {
        let catalog = RouteCatalog::default();
        let names: Vec<String> = (0..300).map(|n| format!("r{n:03}")).collect();
        for stats in catalog.enter_names(names.iter().map(String::as_str)) {
            stats.record(Some(ErrorCode::NO_ROUTE), Duration::ZERO, 1);
        }
        let mut text = String::new();
        catalog.render(&mut text);
        let other =
            "mcpd_requests_total{route=\"_other\",code=\"NO_ROUTE\",fault=\"client\"} 100\n";
        assert!(text.contains(other));
        assert!(text.contains("route=\"r199\"") && !text.contains("route=\"r200\""));
    }
    /// Whatever becomes of requests: names as long as they may be, each with every code and both histograms.
    #[test]
    fn the_largest_page_of_routes_is_bounded() {
        let catalog = RouteCatalog::default();
        let names: Vec<String> = (0..10_000).map(|n| format!("r{n:0>62}")).collect();
        for stats in catalog.enter_names(names.iter().map(String::as_str)) {
            for code in ErrorCode::ALL {
                stats.record(Some(*code), Duration::from_secs(20), 1_000_000);
            }
            stats.record(None, Duration::from_secs(20), 1_000_000);
        }
        let mut text = String::new();
        catalog.render(&mut text);
        assert!(text.len() < 2 << 20, "{} bytes", text.len());
    }
}
