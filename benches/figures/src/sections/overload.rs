//! Twice the work that a handler can do: who is served, how long the urgent wait, who is shed.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::startup::await_ready;
use super::{Plan, quantile};
use crate::load::open::{self, Lane, PRIORITIES, Pace};
use crate::report::{Goal, table};
use crate::server::{Target, drain, free_port, get, mcpd, spawn};

/// The handler: this many places, each held for so long.
const PLACES: u32 = 50;
const HELD: Duration = Duration::from_millis(10);
const QUEUE: u32 = 500;
/// Share of the requests with priority 7.
const URGENT: f64 = 0.1;
/// Load in parts of the capacity.
const LOADS: [f64; 2] = [0.5, 2.0];
/// The queue is filled and the mean times are known after this part of a run.
const WARM_UP: f64 = 0.3;

const ROUTES: &str = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  \
    - {topic: slow, handler: slow}\n  - {topic: echo, handler: echo}\n";

/// Both loads and what they come to.
#[derive(Debug, Serialize)]
pub(crate) struct Overload {
    places: u32,
    held_ms: f64,
    queue: u32,
    loads: Vec<Loaded>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Loaded {
    /// Requests offered, in parts of the capacity.
    load: f64,
    lanes: Vec<Row>,
}

/// One priority under one load.
#[derive(Debug, Serialize)]
struct Row {
    priority: usize,
    sent: u64,
    answered: u64,
    overloaded: u64,
    failed: u64,
    /// What the server says of the wait for a place, by its histogram: no more than this.
    wait_p99_us: Option<f64>,
    /// Seen by the client, from when the request was due.
    latency_p50_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
}

/// Measures and prints; `None` without an mcpd to load.
pub(super) fn measure(plan: &Plan) -> Result<Option<Overload>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("overload: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    let directory = tempfile::tempdir()?;
    let routes = directory.path().join("routes.yaml");
    fs::write(&routes, ROUTES)?;
    let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut command = mcpd(program, data, sidecar);
    command
        .arg("--routes")
        .arg(&routes)
        .env("MCPD__HANDLERS__SLOW__TYPE", "delay")
        .env("MCPD__HANDLERS__SLOW__LATENCY", humantime(HELD))
        .env("MCPD__HANDLERS__SLOW__CONCURRENCY", PLACES.to_string())
        .env("MCPD__HANDLERS__SLOW__QUEUE", QUEUE.to_string());
    let (server, stdout) = spawn(command, plan.cores)?;
    drain(BufReader::new(stdout));
    await_ready(sidecar, Instant::now(), || server.ensure_alive())?;

    let capacity = f64::from(PLACES) / HELD.as_secs_f64();
    let mut loads = Vec::new();
    for load in LOADS {
        let pace = |part: f64| Pace {
            per_second: capacity * load,
            urgent: URGENT,
            duration: plan.run_length.mul_f64(part * 5.0),
        };
        open::run(data, "slow", pace(WARM_UP))?;
        let before = waits(sidecar)?;
        let lanes = open::run(data, "slow", pace(1.0))?;
        let after = waits(sidecar)?;
        eprintln!("overload: {load} × capacity done");
        let rows = lanes.into_iter().enumerate();
        let rows = rows.map(|(at, lane)| row(at, lane, p99(&before[at], &after[at])));
        loads.push(Loaded {
            load,
            lanes: rows.collect(),
        });
    }
    let overload = Overload {
        places: PLACES,
        held_ms: HELD.as_secs_f64() * 1e3,
        queue: QUEUE,
        goals: goals(&loads),
        loads,
    };
    overload.print(capacity);
    Ok(Some(overload))
}

fn humantime(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn row(priority: usize, mut lane: Lane, wait_p99_us: Option<f64>) -> Row {
    lane.latencies_us.sort_unstable();
    let latency = |part| quantile(&lane.latencies_us, part).map(|us| f64::from(us) / 1e3);
    Row {
        priority,
        sent: lane.sent,
        answered: lane.answered,
        overloaded: lane.overloaded,
        failed: lane.failed,
        wait_p99_us,
        latency_p50_ms: latency(0.5),
        latency_p99_ms: latency(0.99),
    }
}

/// A histogram as the page shows it: upper bounds in seconds with their running totals.
type Buckets = Vec<(f64, u64)>;

/// The waits of each priority so far.
fn waits(sidecar: SocketAddr) -> Result<[Buckets; PRIORITIES]> {
    let page = get(sidecar, "/metrics")?;
    let mut lanes: [Buckets; PRIORITIES] = Default::default();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix("mcpd_queue_wait_seconds_bucket{priority=\"") else {
            continue;
        };
        let parsed = rest.split_once("\",le=\"").and_then(|(priority, rest)| {
            let (bound, count) = rest.split_once("\"} ")?;
            let bound = bound.replace("+Inf", "inf").parse().ok()?;
            Some((priority.parse::<usize>().ok()?, bound, count.parse().ok()?))
        });
        let (priority, bound, count) = parsed.context("a bucket that cannot be read")?;
        lanes[priority].push((bound, count));
    }
    Ok(lanes)
}

/// The upper bound of the bucket that holds the 99th percentile of what came in between.
fn p99(before: &Buckets, after: &Buckets) -> Option<f64> {
    let gained = |at: usize| after[at].1 - before[at].1;
    let total = gained(after.len().checked_sub(1)?);
    let bucket = (0..after.len()).find(|at| gained(*at) as f64 >= total as f64 * 0.99);
    bucket.filter(|_| total > 0).map(|at| after[at].0 * 1e6)
}

fn goals(loads: &[Loaded]) -> Vec<Goal> {
    let highest = PRIORITIES - 1;
    let [half, twice] = loads else {
        return Vec::new();
    };
    let lost = twice.lanes[highest].sent - twice.lanes[highest].answered;
    let ratio = |value: fn(&Row) -> Option<f64>| {
        Some(value(&twice.lanes[highest])? / value(&half.lanes[highest])?)
    };
    let idle = twice.lanes.iter().filter(|row| row.answered == 0).count();
    let kept = twice.lanes[0].overloaded == 0;
    vec![
        Goal::at_most(
            "priority 7 lost at twice the capacity",
            0.0,
            "requests",
            Some(lost as f64),
        ),
        Goal::at_most(
            "its P99 wait for a place",
            2.0,
            "× that at half load",
            ratio(|row| row.wait_p99_us),
        ),
        Goal::at_most(
            "its P99 latency",
            2.0,
            "× that at half load",
            ratio(|row| row.latency_p99_ms),
        ),
        Goal::at_most("priorities without progress", 0.0, "", Some(idle as f64)),
        Goal::at_most(
            "priority 0 not shed",
            0.0,
            "",
            Some(f64::from(u8::from(kept))),
        ),
    ]
}

impl Overload {
    fn print(&self, capacity: f64) {
        println!(
            "\noverload: a delay handler of {} places × {} ms = {capacity:.0} requests/s, queue {}, Poisson arrivals, {:.0} % of them priority 7",
            self.places,
            self.held_ms,
            self.queue,
            URGENT * 100.0
        );
        for Loaded { load, lanes } in &self.loads {
            let title = format!("{load} × capacity");
            let head = [
                &title,
                "sent",
                "answered",
                "shed",
                "failed",
                "wait P99 ≤ µs",
                "latency P50 ms",
                "P99 ms",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            let text = |value: Option<f64>, decimals: usize| {
                value.map_or("-".to_owned(), |value| format!("{value:.decimals$}"))
            };
            rows.extend(lanes.iter().rev().map(|row| {
                vec![
                    format!("priority {}", row.priority),
                    row.sent.to_string(),
                    row.answered.to_string(),
                    row.overloaded.to_string(),
                    row.failed.to_string(),
                    text(row.wait_p99_us, 0),
                    text(row.latency_p50_ms, 1),
                    text(row.latency_p99_ms, 1),
                ]
            }));
            print!("{}", table(&rows));
        }
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_that_of_the_run_alone() {
        let buckets = |counts: [u64; 3]| -> Buckets {
            [1e-6, 1e-3, f64::INFINITY]
                .into_iter()
                .zip(counts)
                .collect()
        };
        let before = buckets([0, 500, 500]);
        assert_eq!(p99(&before, &buckets([990, 1500, 1500])), Some(1.0));
        assert_eq!(p99(&before, &buckets([980, 1500, 1500])), Some(1000.0));
        assert_eq!(p99(&before, &before), None);
    }
}
