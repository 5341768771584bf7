//! A histogram that costs a few atomic additions and no memory per sample.

use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets but for the last, which has no bound.
const BUCKETS: usize = 21;

/// What a histogram is about, by the upper bounds of its buckets in nanoseconds.
pub(super) trait Scale {
    /// Ascending.
    const BOUNDS: &'static [u64; BUCKETS];
}

/// 1-2.5-5 steps from 5 µs to 30 s, which is the range between an in-place answer and the longest
/// usual timeout.
#[derive(Debug)]
pub(super) struct Latency;

impl Scale for Latency {
    const BOUNDS: &'static [u64; BUCKETS] = &[
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
        30_000_000_000,
    ];
}

/// From 10 ms, a client that connects for each request, to a week, one that never leaves.
#[derive(Debug)]
pub(super) struct Age;

impl Scale for Age {
    const BOUNDS: &'static [u64; BUCKETS] = {
        const MILLI: u64 = 1_000_000;
        const SECOND: u64 = 1_000 * MILLI;
        const MINUTE: u64 = 60 * SECOND;
        const HOUR: u64 = 60 * MINUTE;
        &[
            10 * MILLI,
            100 * MILLI,
            SECOND,
            5 * SECOND,
            10 * SECOND,
            30 * SECOND,
            MINUTE,
            2 * MINUTE,
            5 * MINUTE,
            10 * MINUTE,
            15 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
            4 * HOUR,
            8 * HOUR,
            12 * HOUR,
            24 * HOUR,
            48 * HOUR,
            72 * HOUR,
            168 * HOUR,
        ]
    };
}

/// Durations by bucket.
#[derive(Debug)]
pub(super) struct Histogram<S = Latency> {
    buckets: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
    scale: PhantomData<S>,
}

impl<S> Default for Histogram<S> {
    fn default() -> Histogram<S> {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; _],
            sum_ns: AtomicU64::new(0),
            scale: PhantomData,
        }
    }
}

/// Nanoseconds without arithmetic of 128 bits; what is over 584 years is that.
#[inline]
pub(super) fn saturating_ns(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(time.subsec_nanos()))
}

impl<S: Scale> Histogram<S> {
    /// Counts `n` events that took `time` each.
    #[inline]
    pub(super) fn record(&self, time: Duration, n: u64) {
        let ns = saturating_ns(time);
        if ns == 0 {
            // Nothing is added to the sum: waits are mostly none.
            self.buckets[0].fetch_add(n, Ordering::Relaxed);
            return;
        }
        let at = S::BOUNDS.partition_point(|bound| *bound < ns);
        self.buckets[at].fetch_add(n, Ordering::Relaxed);
        self.sum_ns
            .fetch_add(ns.saturating_mul(n), Ordering::Relaxed);
    }

    /// Events so far.
    pub(super) fn count(&self) -> u64 {
        let buckets = self.buckets.iter();
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// Appends the series in Prometheus' text format; `labels` are without braces, maybe empty.
    pub(super) fn render(&self, name: &str, labels: &str, out: &mut String) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Ordering::Relaxed);
            let bound = match S::BOUNDS.get(at) {
                Some(ns) => (Duration::from_nanos(*ns).as_secs_f64()).to_string(),
                None => "+Inf".to_owned(),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}"
            );
        }
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(
            out,
            "{name}_sum{braces} {sum}\n{name}_count{braces} {total}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_cumulative_buckets_sum_and_count() {
        let histogram = Histogram::<Latency>::default();
        histogram.record(Duration::from_micros(5), 2);
        histogram.record(Duration::from_millis(3), 1);
        histogram.record(Duration::from_secs(3600), 1);
        let mut text = String::new();
        histogram.render("x_seconds", "route=\"a\"", &mut text);
        assert!(
            text.contains("x_seconds_bucket{route=\"a\",le=\"0.000005\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("x_seconds_bucket{route=\"a\",le=\"0.0025\"} 2\n"),
            "{text}"
        );
        assert!(
            text.contains("x_seconds_bucket{route=\"a\",le=\"0.005\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("x_seconds_bucket{route=\"a\",le=\"+Inf\"} 4\n"),
            "{text}"
        );
        assert!(text.contains("x_seconds_count{route=\"a\"} 4\n"), "{text}");
    }

    #[test]
    fn bounds_ascend_and_ages_tell_minutes_from_days() {
        assert!(Latency::BOUNDS.is_sorted() && Age::BOUNDS.is_sorted());
        let histogram = Histogram::<Age>::default();
        histogram.record(Duration::from_secs(90), 1);
        histogram.record(Duration::from_secs(2 * 86_400), 1);
        let mut text = String::new();
        histogram.render("x_seconds", "", &mut text);
        for line in [
            "x_seconds_bucket{le=\"0.01\"} 0\n",
            "x_seconds_bucket{le=\"60\"} 0\n",
            "x_seconds_bucket{le=\"120\"} 1\n",
            "x_seconds_bucket{le=\"86400\"} 1\n",
            "x_seconds_bucket{le=\"604800\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
