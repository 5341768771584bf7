//! The metrics page, read as strictly as Prometheus' text format 0.0.4 is written.

use crate::support::tls::Ca;
use crate::support::{Server, Start, scratch, write_routes};
use mcpd::telemetry::{METRICS, Metric, Values};
use std::collections::{BTreeMap, BTreeSet};

/// A family of samples.
#[derive(Default)]
pub(crate) struct Family {
    help: bool,
    kind: String,
    /// Name and labels as written, and the value.
    pub(crate) samples: Vec<(String, f64)>,
}

pub(crate) type Page = BTreeMap<String, Family>;

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Cuts `name{labels} value` apart; labels must be `key="value"` with escapes.
fn sample(line: &str) -> (&str, Vec<(String, String)>, f64) {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no value: {line}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(key) && !key.contains(':'), "{line}");
            let mut escaped = false;
            let close = value.find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            let close = close.unwrap_or_else(|| panic!("no closing quote: {line}"));
            labels.push((key.to_owned(), value[..close].to_owned()));
            rest = &value[close + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    let value = value
        .parse()
        .unwrap_or_else(|_| panic!("no number: {line}"));
    (name, labels, value)
}

/// Parses a page, or panics with the line that breaks the format.
pub(crate) fn parse(text: &str) -> Page {
    assert!(text.ends_with('\n'), "the last line ends");
    let (mut page, mut current) = (Page::new(), String::new());
    let mut seen = BTreeSet::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(!help.trim().is_empty(), "{line}");
            let family = page.entry(name.to_owned()).or_default();
            assert!(
                !family.help && family.samples.is_empty(),
                "repeated or late: {line}"
            );
            family.help = true;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let family = page.entry(name.to_owned()).or_default();
            assert!(
                family.kind.is_empty() && family.samples.is_empty(),
                "{line}"
            );
            family.kind = kind.to_owned();
            current = name.to_owned();
        } else {
            let (name, mut labels, value) = sample(line);
            let family = page.get_mut(&current).unwrap_or_else(|| panic!("{line}"));
            let suffix = name.strip_prefix(current.as_str());
            let fits = match (family.kind.as_str(), suffix) {
                ("histogram", Some(suffix)) => ["_bucket", "_sum", "_count"].contains(&suffix),
                (_, suffix) => suffix == Some(""),
            };
            assert!(fits, "outside of its family {current}: {line}");
            labels.sort();
            assert!(seen.insert((name.to_owned(), labels)), "twice: {line}");
            let series = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}")).0;
            family.samples.push((series.to_owned(), value));
        }
    }
    page
}

/// Buckets grow, end with +Inf, and agree with the count.
fn check_histogram(name: &str, family: &Family) {
    let mut last: Option<(f64, f64)> = None;
    for (series, value) in &family.samples {
        let (sample, labels, _) = sample_of(series);
        if sample.ends_with("_bucket") {
            let le = &labels
                .iter()
                .find(|(key, _)| key == "le")
                .expect("a bound")
                .1;
            let le: f64 = le.parse().expect("a bound");
            if let Some((bound, count)) = last {
                assert!(le > bound && *value >= count, "{series}");
            }
            last = Some((le, *value));
        } else if sample.ends_with("_count") {
            let (bound, count) = last.take().unwrap_or_else(|| panic!("{name}: no buckets"));
            assert_eq!((bound, count), (f64::INFINITY, *value), "{series}");
        }
    }
}

fn sample_of(series: &str) -> (String, Vec<(String, String)>, f64) {
    let line = format!("{series} 0");
    let (name, labels, value) = sample(&line);
    (name.to_owned(), labels, value)
}

/// Of a server that has all that families are there for. The admin API speaks TLS here, so that there is
/// a certificate to tell of.
fn page_after_some_traffic() -> (Server, Page) {
    let dir = scratch();
    let principals = dir.path().join("principals.yaml");
    let all = "[{name: all, anonymous: true, allow: ['#']}]";
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: {all}}}");
    std::fs::write(&principals, text).unwrap();
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/jwks.json");
    let handlers = dir.path().join("handlers.yaml");
    let entry = "{name: up, type: http, url: \"http://127.0.0.1:9/\"}";
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}");
    std::fs::write(&handlers, text).unwrap();
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nrequires: [fault, mirror, split]\nroutes:\n  \
                  - {topic: echo, handler: echo}\n  \
                  - {topic: shaped, split: [{handler: echo, weight: 1}], \
                  mirror: {handler: echo, percent: 100}, fault: {percent: 0, delay: 1s}}\n";
    Ca::new().server().write(dir.path());
    let start = Start::new()
        .set("AUTH__PRINCIPALS", principals.to_str().unwrap())
        .set("AUTH__JWT__JWKS_FILE", keys)
        .set("AUTH__JWT__ISSUER", "joe")
        .set("AUTH__JWT__AUDIENCE", "mcpd")
        .set("HANDLERS_FILE", handlers.to_str().unwrap())
        .set("ADMIN__LISTEN", "127.0.0.1:0")
        .set("ROUTES__ALLOW_FAULTS", "true")
        .routes(&write_routes(&dir, routes));
    let server = start.tls("ADMIN", dir.path()).spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    peer.request(3, "shaped", b"");
    peer.expect();
    peer.request(2, "nowhere", b"");
    peer.expect();
    let page = parse(&server.get("/metrics").1);
    (server, page)
}

#[test]
fn the_page_is_whole_and_every_series_is_described() {
    let (_server, page) = page_after_some_traffic();
    for (name, family) in &page {
        assert!(family.help, "{name} has no HELP");
        assert!(!family.kind.is_empty(), "{name} has no TYPE");
        assert!(!family.samples.is_empty(), "{name} has no series");
        let ours = name.starts_with("mcpd_") || name.starts_with("process_");
        assert!(ours, "{name} has a foreign prefix");
        let total = name.ends_with("_total");
        assert_eq!(
            total,
            family.kind == "counter",
            "{name} is a {}",
            family.kind
        );
        if family.kind == "histogram" {
            check_histogram(name, family);
        }
    }
}

#[test]
fn it_says_what_it_is() {
    let server = Server::start();
    let (status, head, _) = crate::support::http(server.sidecar, "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
}

#[test]
fn bounded_combinations_exist_before_anything_happens() {
    let server = Server::start();
    let page = parse(&server.get("/metrics").1);
    let labels = |family: &str, key: &str| -> BTreeSet<String> {
        let samples = &page[family].samples;
        let value = |(series, _): &(String, f64)| {
            let labels = sample_of(series).1;
            labels.into_iter().find(|(k, _)| k == key).map(|(_, v)| v)
        };
        samples.iter().filter_map(value).collect()
    };
    let set = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(
        labels("mcpd_routes_reloads_total", "result"),
        set(&["ok", "refused"])
    );
    let phases = set(&[
        "initializing",
        "running",
        "shutting_down",
        "stopped",
        "error",
    ]);
    assert_eq!(labels("mcpd_lifecycle_state", "state"), phases);
    assert_eq!(labels("mcpd_lifecycle_transitions_total", "to"), phases);
    let goaways = set(&["draining", "max_age", "rebalance", "reauthenticate"]);
    assert_eq!(labels("mcpd_goaways_total", "reason"), goaways);
    let rejected = set(&["limit", "rate", "gone", "handshakes", "handshake_rate"]);
    assert_eq!(
        labels("mcpd_connections_rejected_total", "reason"),
        rejected
    );
    assert!(
        labels("mcpd_connections_closed_total", "reason").is_superset(&set(&[
            "EOF",
            "RESET",
            "CLOSING",
            "SLOW_CONSUMER",
            "HEARTBEAT_TIMEOUT",
            "PROTOCOL_ERROR",
        ]))
    );
    assert_eq!(
        labels("mcpd_frames_total", "direction"),
        set(&["in", "out"])
    );
    assert!(labels("mcpd_requests_total", "route").is_superset(&set(&[
        "echo",
        "heartbeat",
        "_none"
    ])));
    assert_eq!(
        server.metric("mcpd_connections_closed_total{reason=\"CLOSING\"}"),
        0.0
    );
}

/// The checker would notice.
#[test]
fn the_checker_refuses_what_is_wrong() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{b=\"c\\\"d\"} 1\n";
    parse(good);
    for (from, to) in [
        ("# TYPE a_total counter\n", ""),
        ("counter", "untyped"),
        ("} 1", "}"),
        ("} 1", "} one"),
        ("b=", "1b="),
        ("a_total{b=\"c\\\"d\"}", "other{}"),
        (" 1\n", " 1\na_total{b=\"c\\\"d\"} 2\n"),
    ] {
        let bad = good.replacen(from, to, 1);
        let refused = std::panic::catch_unwind(|| parse(&bad)).is_err();
        assert!(refused, "taken: {bad}");
    }
}

/// The labels of a family's samples, without the bounds of buckets.
fn labels_of(family: &Family) -> BTreeSet<Vec<(String, String)>> {
    let labels = |(series, _): &(String, f64)| {
        let mut labels = sample_of(series).1;
        labels.retain(|(key, _)| key != "le");
        labels.sort();
        labels
    };
    family.samples.iter().map(labels).collect()
}

/// How many series of these labels there must be from the start, where that is known.
fn combinations(labels: &[(&str, Values)]) -> Option<usize> {
    let sizes = labels.iter().map(|(_, values)| match values {
        Values::OneOf(values) => Some(values().len()),
        Values::Bounded(_) => None,
    });
    sizes.product()
}

/// Those of Kubernetes are on the page where an API server is asked: `tests/kubernetes` looks for them there.
fn all_metrics() -> impl Iterator<Item = &'static Metric> {
    let groups = METRICS.iter().filter(|group| group.title != "Kubernetes");
    groups.flat_map(|group| group.metrics)
}

#[test]
fn the_page_and_the_catalogue_have_the_same_families() {
    let (_server, page) = page_after_some_traffic();
    let on_page: BTreeSet<&str> = page.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = all_metrics().map(|metric| metric.name).collect();
    let unlisted: Vec<_> = on_page.difference(&listed).collect();
    assert!(
        unlisted.is_empty(),
        "add to src/telemetry/catalog.rs: {unlisted:?}"
    );
    let missing: Vec<_> = listed.difference(&on_page).collect();
    assert!(
        missing.is_empty(),
        "listed, but not on the page: {missing:?}"
    );
    for metric in all_metrics() {
        let family = &page[metric.name];
        assert_eq!(family.kind, metric.kind.name(), "{}", metric.name);
        for labels in labels_of(family) {
            let keys: Vec<&str> = labels.iter().map(|(key, _)| key.as_str()).collect();
            let mut listed: Vec<&str> = metric.labels.iter().map(|(key, _)| *key).collect();
            listed.sort_unstable();
            assert_eq!(keys, listed, "{}", metric.name);
            for (key, value) in &labels {
                let values = metric.labels.iter().find(|(listed, _)| listed == key);
                if let Some((_, Values::OneOf(values))) = values {
                    let known = values().contains(&value.as_str());
                    assert!(known, "{}: {key} is {value:?}", metric.name);
                }
            }
        }
    }
}

#[test]
fn what_the_catalogue_promises_from_the_start_is_there() {
    let server = Server::start();
    let page = parse(&server.get("/metrics").1);
    for metric in all_metrics().filter(|metric| metric.from_start) {
        let family = page.get(metric.name);
        let family = family.unwrap_or_else(|| panic!("{} is not there", metric.name));
        if let Some(expected) = combinations(metric.labels) {
            assert_eq!(labels_of(family).len(), expected, "{}", metric.name);
        }
    }
}
