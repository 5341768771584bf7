//! What handlers that reach out do to their upstreams, by handler.

use super::catalog;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AttemptOutcome {
    /// As it should.
    Answered,
    /// With an answer that tells of a failure.
    Failed,
    /// The upstream has not executed it.
    Refused,
    /// It has not reached the upstream.
    NotSent,
    /// It was sent, and lost.
    Unknown,
    /// It was sent, and no answer came in time.
    TimedOut,
    /// Nobody waited for it any more.
    Dropped,
}

impl AttemptOutcome {
    const ALL: [(AttemptOutcome, &'static str); 7] = [
        (AttemptOutcome::Answered, "answered"),
        (AttemptOutcome::Failed, "failed"),
        (AttemptOutcome::Refused, "refused"),
        (AttemptOutcome::NotSent, "not_sent"),
        (AttemptOutcome::Unknown, "unknown"),
        (AttemptOutcome::TimedOut, "timed_out"),
        (AttemptOutcome::Dropped, "dropped"),
    ];

    pub(super) fn labels() -> Vec<&'static str> {
        Self::ALL.map(|(_, label)| label).to_vec()
    }
}

/// What of an upstream goes up and down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpstreamGauges {
    /// Connections with nothing under way.
    pub idle: usize,
    /// Connections with requests under way.
    pub active: usize,
    /// Attempts that wait for a connection.
    pub pending: usize,
    /// Endpoints whose breaker is closed, half open, open.
    pub breakers: [usize; 3],
}

/// States of a breaker, in the order of [`UpstreamGauges::breakers`].
pub(super) const BREAKER_STATES: [&str; 3] = ["closed", "half_open", "open"];
/// States of a connection.
pub(super) const CONNECTION_STATES: [&str; 2] = ["idle", "active"];

type Look = Box<dyn Fn() -> UpstreamGauges + Send + Sync>;

/// The counts of one handler.
#[derive(Default)]
pub struct UpstreamStats {
    attempts: [AtomicU64; AttemptOutcome::ALL.len()],
    retries: AtomicU64,
    ejections: AtomicU64,
    files_refused: AtomicU64,
    look: Mutex<Option<Look>>,
}

impl std::fmt::Debug for UpstreamStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamStats").finish_non_exhaustive()
    }
}

impl UpstreamStats {
    pub(crate) fn attempt(&self, outcome: AttemptOutcome) {
        self.attempts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt goes out for a request that had one already.
    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// An endpoint was taken out.
    pub(crate) fn ejection(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    /// A file of certificates or secrets is no good, and what it held before is used.
    pub(crate) fn file_refused(&self) {
        self.files_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Has `look` asked for what goes up and down, in place of whoever was asked before.
    pub(crate) fn show(&self, look: impl Fn() -> UpstreamGauges + Send + Sync + 'static) {
        *self.look.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(look));
    }

    fn gauges(&self) -> UpstreamGauges {
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look.as_ref()
            .map_or_else(UpstreamGauges::default, |look| look())
    }
}

/// The counts of all handlers that reach out.
#[derive(Debug, Default)]
pub struct UpstreamCatalog {
    handlers: Mutex<BTreeMap<String, Arc<UpstreamStats>>>,
}

impl UpstreamCatalog {
    fn handlers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<UpstreamStats>>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts of the handler of this name: a handler that takes another's place counts on.
    pub fn enter(&self, handler: &str) -> Arc<UpstreamStats> {
        let mut handlers = self.handlers();
        Arc::clone(handlers.entry(handler.to_owned()).or_default())
    }

    /// Forgets all handlers but those that `keep` names.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.handlers().retain(|name, _| keep(name));
    }

    /// Appends all series in Prometheus' text format. Names of handlers need no escaping.
    pub(super) fn render(&self, out: &mut String) {
        let handlers = self.handlers().clone();
        if handlers.is_empty() {
            return;
        }
        // One look for all families, so that they belong together.
        let rows = handlers.iter();
        let rows: Vec<_> = rows
            .map(|(name, stats)| (name.as_str(), stats, stats.gauges()))
            .collect();
        let mut family = |name: &str, label: &str, values: &[&str], count: Count<'_>| {
            catalog::head(name, out);
            for (handler, stats, gauges) in &rows {
                for (at, value) in values.iter().enumerate() {
                    let count = count(stats, gauges, at);
                    let label = match label {
                        "" => String::new(),
                        label => format!(",{label}=\"{value}\""),
                    };
                    // Writing to a string cannot fail.
                    let _ = writeln!(out, "{name}{{handler=\"{handler}\"{label}}} {count}");
                }
            }
        };
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        family(
            "mcpd_upstream_attempts_total",
            "outcome",
            &AttemptOutcome::labels(),
            &|stats, _, at| stats.attempts.get(at).map_or(0, load),
        );
        family("mcpd_upstream_retries_total", "", &[""], &|stats, _, _| {
            load(&stats.retries)
        });
        family(
            "mcpd_upstream_ejections_total",
            "",
            &[""],
            &|stats, _, _| load(&stats.ejections),
        );
        family(
            "mcpd_upstream_files_refused_total",
            "",
            &[""],
            &|stats, _, _| load(&stats.files_refused),
        );
        family(
            "mcpd_upstream_connections",
            "state",
            &CONNECTION_STATES,
            &|_, gauges, at| {
                [gauges.idle, gauges.active]
                    .get(at)
                    .map_or(0, |n| *n as u64)
            },
        );
        family("mcpd_upstream_pending", "", &[""], &|_, gauges, _| {
            gauges.pending as u64
        });
        family(
            "mcpd_upstream_breaker_state",
            "state",
            &BREAKER_STATES,
            &|_, gauges, at| gauges.breakers.get(at).map_or(0, |n| *n as u64),
        );
    }
}

type Count<'a> = &'a dyn Fn(&UpstreamStats, &UpstreamGauges, usize) -> u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_that_takes_anothers_place_counts_on_and_one_that_goes_is_forgotten() {
        let catalog = UpstreamCatalog::default();
        let mut page = String::new();
        catalog.render(&mut page);
        assert_eq!(page, "");
        catalog.enter("orders").attempt(AttemptOutcome::Failed);
        catalog.enter("orders").attempt(AttemptOutcome::Failed);
        catalog.enter("orders").show(|| UpstreamGauges {
            active: 3,
            breakers: [0, 0, 2],
            ..UpstreamGauges::default()
        });
        catalog.render(&mut page);
        for line in [
            "mcpd_upstream_attempts_total{handler=\"orders\",outcome=\"failed\"} 2\n",
            "mcpd_upstream_retries_total{handler=\"orders\"} 0\n",
            "mcpd_upstream_connections{handler=\"orders\",state=\"active\"} 3\n",
            "mcpd_upstream_breaker_state{handler=\"orders\",state=\"open\"} 2\n",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        catalog.retain(|name| name != "orders");
        let mut page = String::new();
        catalog.render(&mut page);
        assert_eq!(page, "");
    }
}
