//! Pure: what has happened from one page to the next.

use super::scrape::{Labels, Page};

/// Two pages of one process, and the time between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interval<'a> {
    pub(super) before: &'a Page,
    pub(super) now: &'a Page,
    pub(super) seconds: f64,
}

impl<'a> Interval<'a> {
    /// How much each counter of a family has grown. One that was not there before began with 0. One
    /// that is smaller than before has begun anew, as those of a route do that was away for a while.
    pub(super) fn increases(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = (&'a Labels, f64)> + use<'a> {
        let before = self.before;
        self.now.series(name).map(move |(labels, value)| {
            let from = before.value(name, labels).unwrap_or(0.0);
            (labels, if value < from { value } else { value - from })
        })
    }

    /// A number of events as a rate.
    pub(super) fn per_second(&self, events: f64) -> f64 {
        events / self.seconds
    }

    /// Events a second, over all series of a family that fit.
    pub(super) fn rate(&self, name: &'static str, fits: impl Fn(&Labels) -> bool) -> f64 {
        let fitting = self.increases(name).filter(|(labels, _)| fits(labels));
        self.per_second(fitting.map(|(_, increase)| increase).sum())
    }
}

/// A histogram: how many were at most so long.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Adds events of the bucket with this bound (`+Inf` for the last).
    pub(super) fn add(&mut self, bound: f64, events: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, count)) => *count += events,
            None if bound.is_nan() => {}
            None => self.0.push((bound, events)),
        }
    }

    /// The time that this share of all events took at most, as Prometheus' `histogram_quantile` has
    /// it: within a bucket all times are taken for equally frequent, and what is beyond the last
    /// bound is taken for that. `None` if there were no events.
    pub(super) fn quantile(&self, share: f64) -> Option<f64> {
        let mut buckets = self.0.clone();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().filter(|(bound, _)| bound.is_infinite())?.1;
        if all <= 0.0 {
            return None;
        }
        let rank = share * all;
        let (mut lower, mut below) = (0.0, 0.0_f64);
        for (bound, count) in buckets {
            if count >= rank && count > below {
                let within = (rank - below) / (count - below);
                let is_last = bound.is_infinite();
                return Some(if is_last {
                    lower
                } else {
                    lower + (bound - lower) * within
                });
            }
            (lower, below) = (bound, below.max(count));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increases(before: &str, now: &str) -> Vec<f64> {
        let (before, now) = (Page::parse(before, &["a"]), Page::parse(now, &["a"]));
        let interval = Interval {
            before: &before,
            now: &now,
            seconds: 2.0,
        };
        assert_eq!(
            interval.rate("a", |_| true) * 2.0,
            interval.increases("a").map(|(_, n)| n).sum::<f64>()
        );
        interval
            .increases("a")
            .map(|(_, increase)| increase)
            .collect()
    }

    #[test]
    fn counters_grow_appear_vanish_and_begin_anew() {
        let before = "a{r=\"1\"} 5\na{r=\"2\"} 9\na{r=\"4\"} 1";
        let now = "a{r=\"1\"} 7\na{r=\"2\"} 3\na{r=\"3\"} 4";
        assert_eq!(increases(before, now), [2.0, 3.0, 4.0]);
        assert_eq!(increases(before, before), [0.0, 0.0, 0.0]);
        assert_eq!(increases("", ""), [] as [f64; 0]);
    }

    fn buckets(counts: &[(f64, f64)]) -> Buckets {
        let mut buckets = Buckets::default();
        counts
            .iter()
            .for_each(|(bound, count)| buckets.add(*bound, *count));
        buckets
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        // 10 up to 1 s, 30 more up to 2 s, none up to 4 s, 10 beyond.
        let all = [(1.0, 10.0), (f64::INFINITY, 50.0), (2.0, 40.0), (4.0, 40.0)];
        let all = buckets(&all);
        assert_eq!(all.quantile(0.1), Some(0.5));
        assert_eq!(all.quantile(0.5), Some(1.5));
        assert_eq!(all.quantile(0.8), Some(2.0));
        // Nobody knows how long the last ten took.
        assert_eq!(all.quantile(0.99), Some(4.0));
    }

    #[test]
    fn no_events_have_no_quantile() {
        assert_eq!(Buckets::default().quantile(0.5), None);
        assert_eq!(
            buckets(&[(1.0, 0.0), (f64::INFINITY, 0.0)]).quantile(0.5),
            None
        );
        // A histogram without its last bucket is none.
        assert_eq!(buckets(&[(1.0, 5.0)]).quantile(0.5), None);
        let mad = buckets(&[
            (1.0, 9.0),
            (2.0, 3.0),
            (f64::NAN, 1.0),
            (f64::INFINITY, 5.0),
        ]);
        assert!(mad.quantile(0.99).is_some());
    }
}
