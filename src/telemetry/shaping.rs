//! What routes do that lead to more than one handler, or mirror, or fail on purpose.
//!
//! Like the counts of requests these are atomics of our own: plain routes have none, so that they pay
//! for none.

use super::catalog;
use super::routes::RouteCatalog;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Series of a table, all families together. What is over it is counted as `_other`: a label set must
/// not grow with whoever writes routes.
const MAX_SERIES: usize = 1000;

/// What goes by when there are too many.
const OTHER: &str = "_other";

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    #[inline]
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of a shaped route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shaped {
    /// Requests that it gave to one of its handlers.
    Choice,
    /// Copies, by what became of them.
    Mirror,
    /// Harm done on purpose.
    Fault,
}

impl Shaped {
    const ALL: [Shaped; 3] = [Shaped::Choice, Shaped::Mirror, Shaped::Fault];

    /// The family, and its second label.
    fn family(self) -> (&'static str, &'static str) {
        match self {
            Shaped::Choice => ("mcpd_route_choices_total", "handler"),
            Shaped::Mirror => ("mcpd_route_mirrors_total", "outcome"),
            Shaped::Fault => ("mcpd_route_faults_total", "kind"),
        }
    }
}

/// A route and the value of the second label.
type Series = BTreeMap<(Shaped, String, String), Arc<Count>>;

/// The counts of the live table.
#[derive(Debug, Default)]
pub(super) struct ShapedCounts(Mutex<Series>);

impl ShapedCounts {
    fn all(&self) -> Series {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn render(&self, out: &mut String) {
        let all = self.all();
        for kind in Shaped::ALL {
            let (name, label) = kind.family();
            let mut series = all.iter().filter(|(series, _)| series.0 == kind).peekable();
            if series.peek().is_some() {
                catalog::head(name, out);
            }
            for ((_, route, what), count) in series {
                // Writing to a string cannot fail.
                let count = count.get();
                let _ = writeln!(
                    out,
                    "{name}{{route=\"{route}\",{label}=\"{what}\"}} {count}"
                );
            }
        }
    }
}

/// The counts of a table that is being made. They show once it is [kept](NewCounts::keep).
#[derive(Debug)]
pub struct NewCounts<'c> {
    catalog: &'c RouteCatalog,
    before: Series,
    now: Series,
}

impl RouteCatalog {
    /// Begins the counts of another table.
    pub fn new_counts(&self) -> NewCounts<'_> {
        NewCounts {
            catalog: self,
            before: self.shaped.all(),
            now: Series::new(),
        }
    }
}

impl NewCounts<'_> {
    /// Where this is counted. What was counted of the same before goes on.
    pub fn count(&mut self, kind: Shaped, route: &str, what: &str) -> Arc<Count> {
        let mut series = (kind, route.to_owned(), what.to_owned());
        if self.now.len() >= MAX_SERIES && !self.now.contains_key(&series) {
            series = (kind, OTHER.to_owned(), OTHER.to_owned());
        }
        let before = &self.before;
        let fresh = || before.get(&series).cloned().unwrap_or_default();
        Arc::clone(self.now.entry(series.clone()).or_insert_with(fresh))
    }

    /// Shows these from now on, and forgets the others.
    pub fn keep(self) {
        let live = &self.catalog.shaped.0;
        *live.lock().unwrap_or_else(PoisonError::into_inner) = self.now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(catalog: &RouteCatalog) -> String {
        let mut page = String::new();
        catalog.render(&mut page);
        page
    }

    #[test]
    fn a_count_goes_on_with_the_next_table_and_goes_with_its_route() {
        let catalog = RouteCatalog::default();
        let mut counts = catalog.new_counts();
        counts.count(Shaped::Choice, "a", "one").add();
        counts.keep();
        let line = "mcpd_route_choices_total{route=\"a\",handler=\"one\"}";
        assert!(page(&catalog).contains(&format!("{line} 1\n")));

        // One that is dropped changes nothing.
        drop(catalog.new_counts());
        let mut counts = catalog.new_counts();
        counts.count(Shaped::Choice, "a", "one").add();
        counts.keep();
        assert!(page(&catalog).contains(&format!("{line} 2\n")));
        catalog.new_counts().keep();
        assert!(!page(&catalog).contains(line));
    }

    #[test]
    fn what_is_over_the_cap_shares_a_series() {
        let catalog = RouteCatalog::default();
        let mut counts = catalog.new_counts();
        for n in 0..MAX_SERIES + 5 {
            counts.count(Shaped::Choice, &format!("r{n}"), "one").add();
        }
        counts.keep();
        let other = "mcpd_route_choices_total{route=\"_other\",handler=\"_other\"} 5\n";
        assert!(page(&catalog).contains(other));
    }
}
