//! Pure: figures as people read them, the same on the screen and in `--once`.

use super::figures::{Rates, Requests, Upstream};
use super::keys::Sort;
use super::model::Model;
use crate::cli::render;
use crate::cli::table;
use serde_json::json;
use std::time::{Duration, Instant};

/// Characters of a hash that are shown, as in an ETag.
const HASH: usize = 16;

/// Heads of the tables.
pub(super) const ROUTE_HEADS: [&str; 6] = ["ROUTE", "REQ/S", "ERR/S", "ERR %", "P50", "P99"];
pub(super) const UPSTREAM_HEADS: [&str; 5] = ["UPSTREAM", "TRIES/S", "FAILED/S", "PENDING", "OPEN"];

/// What a line is about, which decides how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
}

/// A line of the summary.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) label: &'static str,
    pub(super) text: String,
    pub(super) tone: Tone,
}

fn line(label: &'static str, text: String, tone: Tone) -> Line {
    Line { label, text, tone }
}

/// A number of events a second.
pub(super) fn rate(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 9.95 => format!("{v:.1}"),
        v if v < 99_999.5 => format!("{v:.0}"),
        v if v < 9_999_500.0 => format!("{:.0}k", v / 1e3),
        v => format!("{:.0}M", v / 1e6),
    }
}

/// A latency with three digits; `-` where there is none.
pub(super) fn latency(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    let (value, unit) = match seconds {
        s if s < 0.000_999_5 => (s * 1e6, "µs"),
        s if s < 0.999_5 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    match value {
        v if v < 9.995 => format!("{v:.2}{unit}"),
        v if v < 99.95 => format!("{v:.1}{unit}"),
        v => format!("{v:.0}{unit}"),
    }
}

fn bytes(value: f64) -> String {
    table::bytes(&json!(value as u64))
}

fn ago(time: Duration) -> String {
    table::seconds(&json!(time.as_secs()))
}

fn known(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn or_dash(value: Option<&str>) -> &str {
    value.unwrap_or("-")
}

/// All but the tables.
pub(super) fn summary(model: &Model, now: Instant) -> Vec<Line> {
    let mut lines = notes(model, now);
    if model.is_known() {
        lines.extend(about(model));
        lines.extend(standing(model));
        lines.extend(model.rates.iter().flat_map(moving));
    }
    lines
}

/// What one has to know before one believes the rest.
fn notes(model: &Model, now: Instant) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some((since, why)) = &model.trouble {
        let time = ago(now.saturating_duration_since(*since));
        let old = match model.age(now) {
            Some(age) => format!("; what is below is {} old", ago(age)),
            None => String::new(),
        };
        let text = format!("for {time}: {}{old}", render::one_line(why));
        lines.push(line("no answer", text, Tone::Bad));
    }
    if let Some((count, at)) = model.restarts {
        let time = ago(now.saturating_duration_since(at));
        lines.push(line(
            "restarted",
            format!("{time} ago ({count} seen)"),
            Tone::Warning,
        ));
    }
    if model.skipped > 0 {
        let text = format!("{} samples of the metrics could not be read", model.skipped);
        lines.push(line("skipped", text, Tone::Warning));
    }
    lines
}

fn about(model: &Model) -> Vec<Line> {
    let about = &model.about;
    let server = format!(
        "{} (version {}), up for {}",
        or_dash(about.server_id.as_deref()),
        or_dash(about.version.as_deref()),
        table::seconds(&json!(about.uptime_seconds)),
    );
    let (ready, tone) = match about.ready {
        Some(true) if about.phase.as_deref() == Some("running") => ("ready", Tone::Good),
        Some(true) => ("ready", Tone::Warning),
        Some(false) => ("not ready", Tone::Bad),
        None => ("ready: -", Tone::Warning),
    };
    let mut phase = format!("{}, {ready}", or_dash(about.phase.as_deref()));
    if !about.unready.is_empty() {
        phase.push_str(&format!(" ({})", about.unready.join("; ")));
    }
    let hash: String = or_dash(about.hash.as_deref()).chars().take(HASH).collect();
    let revision = about
        .revision
        .map_or("-".to_owned(), |revision| revision.to_string());
    let mut routes = format!("revision {revision}, hash {hash}");
    if let Some(source) = &about.routes_source {
        routes.push_str(&format!(", from {source}"));
    }
    let mut lines = vec![
        line("server", server, Tone::Plain),
        line("phase", phase, tone),
        line("routes", routes, Tone::Plain),
    ];
    let more = [
        ("refused", &about.routes_problem, Tone::Bad),
        ("drain", &about.drain, Tone::Warning),
        ("not shown", &about.missing, Tone::Warning),
    ];
    lines.extend(more.into_iter().filter_map(|(label, text, tone)| {
        text.as_ref().map(|text| line(label, text.clone(), tone))
    }));
    lines
}

/// What is so at the moment.
fn standing(model: &Model) -> Vec<Line> {
    let gauges = &model.gauges;
    let lanes: Vec<String> = gauges
        .waiting
        .iter()
        .map(|depth| format!("{depth:.0}"))
        .collect();
    let waiting: f64 = gauges.waiting.iter().sum();
    let count = |name: &str, total: f64, rate: fn(&Rates) -> f64| match &model.rates {
        Some(rates) if rate(rates) > 0.0 => {
            format!("{name} {total:.0} (+{}/s)", self::rate(rate(rates)))
        }
        _ => format!("{name} {total:.0}"),
    };
    let since_start = [
        count("shed", gauges.shed_total, |rates| rates.shed),
        count("slow consumers", gauges.slow_consumers_total, |rates| {
            rates.slow_consumers
        }),
        count("connections rejected", gauges.rejected_total, |rates| {
            rates.rejected
        }),
        count("broken frames", gauges.frame_errors_total, |rates| {
            rates.frame_errors
        }),
    ];
    let grows = |rates: &Rates| {
        rates.shed + rates.slow_consumers + rates.rejected + rates.frame_errors > 0.0
    };
    let tone = match model.rates.as_ref().is_some_and(grows) {
        true => Tone::Warning,
        false => Tone::Plain,
    };
    let open = format!("{} open", known(gauges.connections));
    let connections = match &model.rates {
        Some(rates) => format!(
            "{open}; {}/s opened, {}/s closed",
            rate(rates.opened),
            rate(rates.closed)
        ),
        None => open,
    };
    let work = format!(
        "{} in flight, {waiting:.0} waiting (priority 0 to 7: {})",
        known(gauges.in_flight),
        lanes.join(" ")
    );
    vec![
        line("connections", connections, Tone::Plain),
        line("work", work, Tone::Plain),
        line("since start", since_start.join(", "), tone),
    ]
}

/// What has happened since the look before.
fn moving(rates: &Rates) -> Vec<Line> {
    let requests = &rates.requests;
    let errors = format!(
        "{}/s ({:.1} %) by fault: server {}/s, handler {}/s, client {}/s",
        rate(requests.errors()),
        requests.error_percent(),
        rate(requests.server),
        rate(requests.handler),
        rate(requests.client),
    );
    let tone = match requests {
        Requests { server, .. } if *server > 0.0 => Tone::Bad,
        requests if requests.errors() > 0.0 => Tone::Warning,
        _ => Tone::Plain,
    };
    let times = format!(
        "P50 {}, P90 {}, P99 {}",
        latency(requests.p50),
        latency(requests.p90),
        latency(requests.p99)
    );
    let traffic = format!(
        "in {} frames/s, {}/s; out {} frames/s, {}/s",
        rate(rates.frames_in),
        bytes(rates.bytes_in),
        rate(rates.frames_out),
        bytes(rates.bytes_out),
    );
    vec![
        line(
            "requests",
            format!("{}/s", rate(requests.per_second)),
            Tone::Plain,
        ),
        line("errors", errors, tone),
        line("latency", times, Tone::Plain),
        line("traffic", traffic, Tone::Plain),
    ]
}

/// A route in its cells.
pub(super) fn route(name: &str, route: &Requests) -> [String; 6] {
    [
        render::one_line(name),
        rate(route.per_second),
        rate(route.errors()),
        format!("{:.1}", route.error_percent()),
        latency(route.p50),
        latency(route.p99),
    ]
}

/// An upstream in its cells.
pub(super) fn upstream(name: &str, upstream: &Upstream) -> [String; 5] {
    [
        render::one_line(name),
        rate(upstream.attempts),
        rate(upstream.failed),
        format!("{:.0}", upstream.pending),
        format!("{:.0} of {:.0}", upstream.open, upstream.endpoints),
    ]
}

/// All of it as text, for a script or a ticket.
pub(super) fn snapshot(model: &Model, now: Instant) -> Vec<String> {
    let lines = summary(model, now).into_iter();
    let lines = lines.map(|line| vec![line.label.to_owned(), line.text]);
    let mut text = table::aligned(lines.collect());
    let Some(rates) = &model.rates else {
        return text;
    };
    let heads = |heads: &[&str]| heads.iter().map(|head| (*head).to_owned()).collect();
    let routes = Sort::Rate.routes(rates).into_iter();
    let routes = routes.map(|(name, requests)| route(name, requests).to_vec());
    text.push(String::new());
    text.extend(table::aligned(
        [heads(&ROUTE_HEADS)].into_iter().chain(routes).collect(),
    ));
    if !rates.upstreams.is_empty() {
        let upstreams = rates.upstreams.iter();
        let upstreams = upstreams.map(|(name, one)| upstream(name, one).to_vec());
        text.push(String::new());
        text.extend(table::aligned(
            [heads(&UPSTREAM_HEADS)]
                .into_iter()
                .chain(upstreams)
                .collect(),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_latencies_as_people_read_them() {
        for (value, said) in [
            (-1.0, "0"),
            (0.04, "0.0"),
            (9.94, "9.9"),
            (9.96, "10"),
            (12_345.0, "12345"),
            (123_456.0, "123k"),
            (12_345_678.0, "12M"),
        ] {
            assert_eq!(rate(value), said);
        }
        for (seconds, said) in [
            (0.000_003_21, "3.21µs"),
            (0.000_035, "35.0µs"),
            (0.000_250, "250µs"),
            (0.001_25, "1.25ms"),
            (0.999_9, "1.00s"),
            (30.0, "30.0s"),
        ] {
            assert_eq!(latency(Some(seconds)), said);
        }
        assert_eq!(latency(None), "-");
    }
}
