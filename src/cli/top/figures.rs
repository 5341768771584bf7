//! Pure: what is shown, worked out from a page and the one before it.

use super::rates::{Buckets, Interval};
use super::scrape::{Labels, Page};
use crate::telemetry::watched as names;
use serde::Serialize;
use std::collections::BTreeMap;

/// Priorities that a request can have.
const PRIORITIES: usize = 8;

/// What stands at the moment of a page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Gauges {
    pub(super) connections: Option<f64>,
    pub(super) in_flight: Option<f64>,
    /// Requests that wait, by priority.
    pub(super) waiting: [f64; PRIORITIES],
    /// Since the server has started.
    pub(super) shed_total: f64,
    pub(super) slow_consumers_total: f64,
    pub(super) rejected_total: f64,
    pub(super) frame_errors_total: f64,
}

/// What happened between two pages, a second.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Rates {
    /// The time between the pages.
    pub(super) seconds: f64,
    pub(super) requests: Requests,
    pub(super) opened: f64,
    pub(super) closed: f64,
    pub(super) rejected: f64,
    pub(super) slow_consumers: f64,
    pub(super) shed: f64,
    pub(super) frames_in: f64,
    pub(super) frames_out: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) frame_errors: f64,
    pub(super) routes: BTreeMap<String, Requests>,
    pub(super) upstreams: BTreeMap<String, Upstream>,
}

/// Requests of a route, or of all.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Requests {
    pub(super) per_second: f64,
    /// Errors a second, by whose fault they are.
    pub(super) client: f64,
    pub(super) handler: f64,
    pub(super) server: f64,
    /// Seconds that successes took; `None` without any.
    pub(super) p50: Option<f64>,
    pub(super) p90: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// A handler that reaches out.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Upstream {
    pub(super) attempts: f64,
    /// Attempts a second that were not answered.
    pub(super) failed: f64,
    /// Attempts that wait for a connection now.
    pub(super) pending: f64,
    /// Endpoints now, and those of them that are not asked because they keep failing.
    pub(super) endpoints: f64,
    pub(super) open: f64,
}

impl Requests {
    /// Errors a second, whosever fault.
    pub(super) fn errors(&self) -> f64 {
        self.client + self.handler + self.server
    }

    /// Errors among all, in percent.
    pub(super) fn error_percent(&self) -> f64 {
        match self.per_second > 0.0 {
            true => self.errors() / self.per_second * 100.0,
            false => 0.0,
        }
    }

    fn count(&mut self, fault: &str, per_second: f64) {
        self.per_second += per_second;
        match fault {
            "client" => self.client += per_second,
            "handler" => self.handler += per_second,
            "server" => self.server += per_second,
            _ => {}
        }
    }

    fn time(&mut self, buckets: &Buckets) {
        self.p50 = buckets.quantile(0.5);
        self.p90 = buckets.quantile(0.9);
        self.p99 = buckets.quantile(0.99);
    }
}

fn label<'a>(labels: &'a Labels, name: &str) -> &'a str {
    labels.get(name).map(String::as_str).unwrap_or_default()
}

impl Gauges {
    pub(super) fn of(page: &Page) -> Gauges {
        let mut waiting = [0.0; PRIORITIES];
        for (labels, depth) in page.series(names::QUEUE_DEPTH) {
            let priority = label(labels, "priority").parse::<usize>();
            if let Some(lane) = priority.ok().and_then(|lane| waiting.get_mut(lane)) {
                *lane += depth;
            }
        }
        let total = |name| page.sum(name).unwrap_or(0.0);
        Gauges {
            connections: page.sum(names::CONNECTIONS),
            in_flight: page.sum(names::IN_FLIGHT),
            waiting,
            shed_total: total(names::SHED),
            slow_consumers_total: total(names::SLOW_CONSUMERS),
            rejected_total: total(names::REJECTED),
            frame_errors_total: total(names::FRAME_ERRORS),
        }
    }
}

impl Rates {
    pub(super) fn of(interval: Interval<'_>) -> Rates {
        let all = |name| interval.rate(name, |_| true);
        let way = |name, way| interval.rate(name, |labels| label(labels, "direction") == way);
        let (requests, routes) = requests(interval);
        Rates {
            seconds: interval.seconds,
            requests,
            routes,
            opened: all(names::OPENED),
            closed: all(names::CLOSED),
            rejected: all(names::REJECTED),
            slow_consumers: all(names::SLOW_CONSUMERS),
            shed: all(names::SHED),
            frames_in: way(names::FRAMES, "in"),
            frames_out: way(names::FRAMES, "out"),
            bytes_in: way(names::FRAME_BYTES, "in"),
            bytes_out: way(names::FRAME_BYTES, "out"),
            frame_errors: all(names::FRAME_ERRORS),
            upstreams: upstreams(interval),
        }
    }
}

/// Of all routes together, and of each. A route is there from its first moment, with or without requests.
fn requests(interval: Interval<'_>) -> (Requests, BTreeMap<String, Requests>) {
    let (mut all, mut routes) = (Requests::default(), BTreeMap::<String, Requests>::new());
    for (labels, increase) in interval.increases(names::REQUESTS) {
        let (fault, rate) = (label(labels, "fault"), interval.per_second(increase));
        all.count(fault, rate);
        let route = label(labels, "route").to_owned();
        routes.entry(route).or_default().count(fault, rate);
    }
    let (mut times, mut by_route) = (Buckets::default(), BTreeMap::<&str, Buckets>::new());
    for (labels, increase) in interval.increases(names::DURATION_BUCKETS) {
        let Ok(bound) = label(labels, "le").parse::<f64>() else {
            continue;
        };
        let buckets = by_route.entry(label(labels, "route")).or_default();
        // As on the dashboards: how fast a refusal is says nothing of how fast the work is.
        if label(labels, "outcome") == "ok" {
            times.add(bound, increase);
            buckets.add(bound, increase);
        }
    }
    all.time(&times);
    for (route, buckets) in by_route {
        routes.entry(route.to_owned()).or_default().time(&buckets);
    }
    (all, routes)
}

fn upstreams(interval: Interval<'_>) -> BTreeMap<String, Upstream> {
    let mut upstreams = BTreeMap::<String, Upstream>::new();
    let mut each = |labels: &Labels, change: &dyn Fn(&mut Upstream)| {
        let handler = label(labels, "handler").to_owned();
        change(upstreams.entry(handler).or_default());
    };
    for (labels, increase) in interval.increases(names::ATTEMPTS) {
        let rate = interval.per_second(increase);
        let failed = if label(labels, "outcome") == "answered" {
            0.0
        } else {
            rate
        };
        each(labels, &|upstream| {
            upstream.attempts += rate;
            upstream.failed += failed;
        });
    }
    for (labels, endpoints) in interval.now.series(names::BREAKERS) {
        let open = if label(labels, "state") == "open" {
            endpoints
        } else {
            0.0
        };
        each(labels, &|upstream| {
            upstream.endpoints += endpoints;
            upstream.open += open;
        });
    }
    for (labels, pending) in interval.now.series(names::PENDING) {
        each(labels, &|upstream| upstream.pending += pending);
    }
    upstreams
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lines: &[String]) -> Page {
        Page::parse(&lines.join("\n"), names::WATCHED)
    }

    fn requests(route: &str, fault: &str, count: u32) -> String {
        let name = names::REQUESTS;
        format!("{name}{{route=\"{route}\",code=\"X\",fault=\"{fault}\"}} {count}")
    }

    fn bucket(route: &str, outcome: &str, le: &str, count: u32) -> String {
        let name = names::DURATION_BUCKETS;
        format!("{name}{{route=\"{route}\",outcome=\"{outcome}\",le=\"{le}\"}} {count}")
    }

    fn rates(before: &[String], now: &[String]) -> Rates {
        let (before, now) = (page(before), page(now));
        Rates::of(Interval {
            before: &before,
            now: &now,
            seconds: 2.0,
        })
    }

    #[test]
    fn requests_are_told_apart_by_route_and_fault() {
        let before = [requests("a", "none", 10)];
        let now = [
            requests("a", "none", 16),
            requests("a", "client", 2),
            requests("b", "server", 4),
            requests("b", "handler", 6),
        ];
        let rates = rates(&before, &now);
        assert_eq!(rates.requests.per_second, 9.0);
        assert_eq!(rates.requests.errors(), 6.0);
        assert_eq!(rates.routes["a"].per_second, 4.0);
        assert_eq!(rates.routes["a"].error_percent(), 25.0);
        assert_eq!(
            (rates.routes["b"].server, rates.routes["b"].handler),
            (2.0, 3.0)
        );
    }

    #[test]
    fn latencies_are_those_of_successes_since_the_page_before() {
        let before = ["1", "3", "+Inf"].map(|le| bucket("a", "ok", le, 100));
        let now = [
            bucket("a", "ok", "1", 100),
            bucket("a", "ok", "3", 110),
            bucket("a", "ok", "+Inf", 110),
            bucket("a", "error", "1", 50),
            bucket("a", "error", "+Inf", 50),
            bucket("idle", "ok", "+Inf", 0),
        ];
        let rates = rates(&before, &now);
        // Of the ten all took one to three seconds.
        assert_eq!(rates.routes["a"].p50, Some(2.0));
        assert_eq!(rates.requests.p50, Some(2.0));
        assert_eq!(
            (rates.routes["idle"].p99, rates.routes["idle"].per_second),
            (None, 0.0)
        );
    }

    #[test]
    fn upstreams_have_attempts_and_open_breakers() {
        let series = |name: &str, labels: &str, value: u32| {
            format!("{name}{{handler=\"up\",{labels}}} {value}")
        };
        let now = [
            series(names::ATTEMPTS, "outcome=\"answered\"", 6),
            series(names::ATTEMPTS, "outcome=\"failed\"", 2),
            series(names::BREAKERS, "state=\"closed\"", 2),
            series(names::BREAKERS, "state=\"open\"", 1),
            series(names::PENDING, "", 5),
        ];
        let rates = rates(&[], &now);
        let up = &rates.upstreams["up"];
        assert_eq!((up.attempts, up.failed, up.pending), (4.0, 1.0, 5.0));
        assert_eq!((up.endpoints, up.open), (3.0, 1.0));
    }

    #[test]
    fn queues_are_shown_by_priority() {
        let depth =
            |lane: &str, n: u32| format!("{}{{priority=\"{lane}\"}} {n}", names::QUEUE_DEPTH);
        let gauges = Gauges::of(&page(&[
            depth("0", 3),
            depth("7", 1),
            depth("8", 9),
            depth("x", 9),
        ]));
        assert_eq!(gauges.waiting, [3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(gauges.connections, None);
    }
}
