//! What a line of the catalogue says.

/// How a metric behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations by bucket, with their sum and count.
    Histogram,
}

impl MetricKind {
    /// The word of Prometheus' text format.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// What a label can say.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these, and nothing else.
    OneOf(fn() -> Vec<&'static str>),
    /// What this says; the words name the bound.
    Bounded(&'static str),
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name; the unit is in it (`_seconds`, `_bytes`), counters end in `_total`.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// Its labels, in the order of the page.
    pub labels: &'static [(&'static str, Values)],
    /// Whether every combination of its labels is there from the start, with 0 where nothing has
    /// happened. Otherwise a combination appears when it first occurs.
    pub from_start: bool,
    /// What it counts, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// What the numbers are, by the name's end.
    pub fn unit(&self) -> &'static str {
        let name = self.name.trim_end_matches("_total");
        match name.rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            _ => "",
        }
    }

    pub(super) const fn labelled(mut self, labels: &'static [(&'static str, Values)]) -> Metric {
        self.labels = labels;
        self
    }

    /// Combinations appear when they first occur.
    pub(super) const fn later(mut self) -> Metric {
        self.from_start = false;
        self
    }
}

/// Metrics that belong together.
#[derive(Clone, Copy, Debug)]
pub struct MetricGroup {
    /// Heading of the documentation.
    pub title: &'static str,
    /// In the order of the documentation.
    pub metrics: &'static [Metric],
}

const fn metric(kind: MetricKind, name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        labels: &[],
        from_start: true,
        help,
    }
}

pub(super) const fn counter(name: &'static str, help: &'static str) -> Metric {
    metric(MetricKind::Counter, name, help)
}

pub(super) const fn gauge(name: &'static str, help: &'static str) -> Metric {
    metric(MetricKind::Gauge, name, help)
}

pub(super) const fn histogram(name: &'static str, help: &'static str) -> Metric {
    metric(MetricKind::Histogram, name, help)
}
