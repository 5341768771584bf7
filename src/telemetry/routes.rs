//! Requests by route: the only metrics with a `route` label.
//!
//! They are fixed atomics of our own, rendered beside the exporter's text, because the exporter can
//! neither forget a series nor record one in the few nanoseconds that a frame has.

use super::catalog;
use super::histogram::Histogram;
use mcpd_proto::{Class, ErrorCode};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Slot 0 counts codes without a name, the others the codes in their order. Successes are counted by
/// their histogram.
const SLOTS: usize = ErrorCode::ALL.len() + 1;

fn slot(code: ErrorCode) -> usize {
    code.index().map_or(0, |at| at + 1)
}

/// The counts of one route.
#[derive(Debug)]
pub struct RouteStats {
    codes: [AtomicU64; SLOTS],
    ok: Histogram,
    error: Histogram,
}

impl Default for RouteStats {
    fn default() -> RouteStats {
        let codes = [const { AtomicU64::new(0) }; _];
        RouteStats {
            codes,
            ok: Histogram::default(),
            error: Histogram::default(),
        }
    }
}

impl RouteStats {
    /// Counts `n` answers with this code (`None` is a RESPONSE) that took `time` each, from the last
    /// byte in to the answer enqueued.
    #[inline]
    pub fn record(&self, code: Option<ErrorCode>, time: Duration, n: u64) {
        match code {
            None => self.ok.record(time, n),
            Some(code) => {
                self.codes[slot(code)].fetch_add(n, Ordering::Relaxed);
                self.error.record(time, n);
            }
        }
    }

    /// Answers so far.
    fn total(&self) -> u64 {
        self.ok.count() + self.error.count()
    }

    /// Answers with this code so far.
    pub fn count(&self, code: Option<ErrorCode>) -> u64 {
        match code {
            None => self.ok.count(),
            Some(code) => self.codes[slot(code)].load(Ordering::Relaxed),
        }
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

/// Routes that have series of their own; the others share `_other`.
const MAX_ROUTES: usize = 200;

/// The counts of every route of the live table, and of requests that found none.
#[derive(Debug, Default)]
pub struct RouteCatalog {
    live: Mutex<BTreeMap<String, Arc<RouteStats>>>,
    other: Arc<RouteStats>,
    none: Arc<RouteStats>,
    /// Hash of the live table. It is here and not with the exporter, which would keep every hash
    /// there ever was.
    hash: Mutex<String>,
}

impl RouteCatalog {
    /// Requests that no route was found for, or that were refused before one was looked for: they
    /// show as `_none`.
    pub fn none(&self) -> &Arc<RouteStats> {
        &self.none
    }

    /// Gives each route of a new table its counts, in the order of `names`. A name that was there
    /// before goes on counting; one that is gone frees its place.
    pub fn enter<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<Arc<RouteStats>> {
        let names: Vec<&str> = names.into_iter().collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.truncate(MAX_ROUTES);
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.retain(|name, _| sorted.binary_search(&name.as_str()).is_ok());
        for name in sorted {
            if !live.contains_key(name) {
                live.insert(name.to_owned(), Arc::default());
            }
        }
        let stats = |name: &&str| Arc::clone(live.get(*name).unwrap_or(&self.other));
        names.iter().map(stats).collect()
    }

    /// The hash of the live table, in hex.
    pub fn set_hash(&self, hash: String) {
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner) = hash;
    }

    /// Appends all series in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        let live = self
            .live
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let shared = [("_none", &self.none), ("_other", &self.other)];
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
            stats
                .error
                .render(name, &format!("route=\"{route}\",outcome=\"error\""), out);
        }
        let name = "mcpd_series_dropped_total";
        catalog::head(name, out);
        let _ = writeln!(out, "{name} {}", self.other.total());
        let hash = self
            .hash
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let name = "mcpd_routes_info";
        catalog::head(name, out);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}{{hash=\"{hash}\"}} 1");
    }
}

/// Codes that never occurred are left out, but for success.
fn render_codes(name: &str, route: &str, stats: &RouteStats, out: &mut String) {
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
        catalog.enter(["a", "b"])[0].record(None, Duration::ZERO, 3);
        assert_eq!(catalog.enter(["b", "a"])[1].count(None), 3);
        catalog.enter(["b"]);
        assert_eq!(catalog.enter(["a"])[0].count(None), 0);
    }

    #[test]
    fn routes_over_the_cap_share_one_series() {
        let catalog = RouteCatalog::default();
        let names: Vec<String> = (0..300).map(|n| format!("r{n:03}")).collect();
        for stats in catalog.enter(names.iter().map(String::as_str)) {
            stats.record(Some(ErrorCode::NO_ROUTE), Duration::ZERO, 1);
        }
        let mut text = String::new();
        catalog.render(&mut text);
        let other =
            "mcpd_requests_total{route=\"_other\",code=\"NO_ROUTE\",fault=\"client\"} 100\n";
        assert!(text.contains(other));
        assert!(text.contains("route=\"r199\"") && !text.contains("route=\"r200\""));
    }
}
