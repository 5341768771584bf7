//! What those who look do to the latency of requests: Prometheus each second, and a receiver of traces
//! that is well, away, slow, silent or unwilling.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::scrape::document;
use super::startup::await_ready;
use super::{Plan, quantile};
use crate::collector::{self, Health};
use crate::load::open::{self, Lane, Pace};
use crate::report::{Goal, Spread, table};
use crate::server::{Target, drain, free_port, get, mcpd, spawn};

/// A fifth of what one core can do for lone requests, so that nothing queues by itself.
const PER_SECOND: f64 = 20_000.0;
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// A receiver that is slow takes so long for each batch.
const SLOW: Duration = Duration::from_secs(1);
/// So short that a receiver which does not keep up costs spans within one run.
const QUEUE: u32 = 64;
/// A P99 that is no worse than this can hardly be told from the spread.
const GOAL: f64 = 1.1;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Variant {
    Nobody,
    Scraped,
    Good,
    Stopped,
    Slow,
    Silent,
    Refusing,
}

use Variant::{Good, Nobody, Refusing, Scraped, Silent, Slow, Stopped};

const VARIANTS: [Variant; 7] = [Nobody, Scraped, Good, Stopped, Slow, Silent, Refusing];

impl Variant {
    fn text(self) -> &'static str {
        match self {
            Nobody => "nobody looks",
            Scraped => "scraped each second",
            Good => "1 % sampled, receiver well",
            Stopped => "… stopped",
            Slow => "… takes 1 s a batch",
            Silent => "… never answers",
            Refusing => "… refuses",
        }
    }

    /// Where its spans go, if it has any.
    fn receiver(self) -> Result<Option<SocketAddr>> {
        let health = match self {
            Nobody | Scraped => return Ok(None),
            Stopped => return Ok(Some((Ipv4Addr::LOCALHOST, free_port()?).into())),
            Good => Health::Good,
            Slow => Health::Slow(SLOW),
            Silent => Health::Silent,
            Refusing => Health::Refusing,
        };
        collector::start(health).map(Some)
    }
}

/// All runs and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Observed {
    requests_per_second: f64,
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    variant: Variant,
    run: u32,
    requests: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    scrapes: usize,
    exported: f64,
    dropped: f64,
}

/// Measures and prints; `None` without an mcpd to look at.
pub(super) fn measure(plan: &Plan) -> Result<Option<Observed>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("observed: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    let directory = tempfile::tempdir()?;
    let routes = directory.path().join("routes.yaml");
    // As many routes as the page can show, so that a scrape is as dear as it gets.
    fs::write(&routes, document())?;
    let mut receivers = Vec::new();
    for variant in VARIANTS {
        receivers.push((variant, variant.receiver()?));
    }
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        for at in 0..VARIANTS.len() {
            let (variant, receiver) = receivers[(at + run as usize) % VARIANTS.len()];
            let result = one_run(plan, (program, &routes), variant, receiver, run)
                .with_context(|| variant.text())?;
            eprintln!(
                "observed {}/{}: {}: P99 {:.0} µs",
                run + 1,
                plan.runs,
                variant.text(),
                result.p99_us
            );
            runs.push(result);
        }
    }
    let goal = |variant: Variant| {
        let ratio = to_nobody(&runs, variant).map(|spread| spread.median);
        let what = format!("P99, {}", variant.text());
        Goal::at_most(what, GOAL, "× nobody looks", ratio)
    };
    let observed = Observed {
        requests_per_second: PER_SECOND,
        goals: VARIANTS[1..].iter().map(|variant| goal(*variant)).collect(),
        runs,
    };
    observed.print();
    Ok(Some(observed))
}

fn one_run(
    plan: &Plan,
    (program, routes): (&PathBuf, &PathBuf),
    variant: Variant,
    receiver: Option<SocketAddr>,
    run: u32,
) -> Result<Run> {
    let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut command = mcpd(program, data, sidecar);
    command.arg("--routes").arg(routes);
    if let Some(receiver) = receiver {
        command
            .env("MCPD__TRACING__ENDPOINT", format!("http://{receiver}"))
            .env("MCPD__TRACING__PROTOCOL", "http")
            .env("MCPD__TRACING__RATIO", "0.01")
            .env("MCPD__TRACING__INTERVAL", "200ms")
            .env("MCPD__TRACING__TIMEOUT", "2s")
            .env("MCPD__TRACING__QUEUE", QUEUE.to_string())
            .env("MCPD__TRACING__BATCH", QUEUE.to_string());
    }
    let (server, stdout) = spawn(command, plan.cores)?;
    drain(BufReader::new(stdout));
    await_ready(sidecar, Instant::now(), || server.ensure_alive())?;

    let pace = |part: f64| Pace {
        per_second: PER_SECOND,
        urgent: 0.0,
        duration: plan.run_length.mul_f64(part),
    };
    open::run(data, "echo", pace(0.5))?;
    let scraping = (variant == Scraped).then(|| scrape_until_told(sidecar));
    let lanes = open::run(data, "echo", pace(2.5))?;
    let scrapes = scraping.map_or(Ok(0), Scraping::end)?;
    let page = get(sidecar, "/metrics")?;
    let (exported, dropped) = (
        total(&page, "mcpd_spans_exported_total"),
        total(&page, "mcpd_spans_dropped_total"),
    );
    match variant {
        Nobody => {}
        Scraped => ensure!(scrapes > 0, "nothing was scraped"),
        Good => ensure!(exported > 0.0, "no span was exported"),
        _ => ensure!(dropped > 0.0, "no span was dropped"),
    }
    let mut latencies = answered(lanes)?;
    latencies.sort_unstable();
    let us = |part| quantile(&latencies, part).map_or(0.0, f64::from);
    Ok(Run {
        variant,
        run,
        requests: latencies.len() as u64,
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        scrapes,
        exported,
        dropped,
    })
}

/// The latencies of all requests, none of which may be missing.
fn answered(lanes: impl IntoIterator<Item = Lane>) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for lane in lanes {
        ensure!(lane.answered == lane.sent, "requests were not answered");
        all.extend(lane.latencies_us);
    }
    Ok(all)
}

/// Somebody who asks for the page each second.
struct Scraping {
    end: mpsc::Sender<()>,
    thread: thread::JoinHandle<Result<usize>>,
}

fn scrape_until_told(sidecar: SocketAddr) -> Scraping {
    let (end, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut scrapes = 0;
        loop {
            let next = Instant::now() + SCRAPE_EVERY;
            get(sidecar, "/metrics")?;
            scrapes += 1;
            let left = next.saturating_duration_since(Instant::now());
            if told.recv_timeout(left) != Err(mpsc::RecvTimeoutError::Timeout) {
                return Ok(scrapes);
            }
        }
    });
    Scraping { end, thread }
}

impl Scraping {
    fn end(self) -> Result<usize> {
        drop(self.end);
        self.thread.join().ok().context("scraping has panicked")?
    }
}

/// The sum of a family's samples.
fn total(page: &str, family: &str) -> f64 {
    let samples = page.lines().filter(|line| line.starts_with(family));
    let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

/// P99 beside that of the run of the same round which nobody looked at.
fn to_nobody(runs: &[Run], variant: Variant) -> Option<Spread> {
    let of = |wanted: Variant| runs.iter().filter(move |run| run.variant == wanted);
    Spread::of(of(variant).filter_map(|run| {
        let other = of(Nobody).find(|other| other.run == run.run)?;
        Some(run.p99_us / other.p99_us)
    }))
}

impl Observed {
    fn print(&self) {
        println!(
            "\nobserved: latency of echoes that come {:.0} times a second by chance, from when each was due, median (min..max)",
            self.requests_per_second
        );
        let head = [
            "",
            "P50 µs",
            "P99 µs",
            "P99.9 µs",
            "P99 × nobody",
            "spans exported",
            "dropped",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for variant in VARIANTS {
            let of = |value: fn(&Run) -> f64| {
                let runs = self.runs.iter().filter(|run| run.variant == variant);
                Spread::of(runs.map(value))
            };
            let row = || {
                Some(vec![
                    variant.text().to_owned(),
                    of(|run| run.p50_us)?.text(0),
                    of(|run| run.p99_us)?.text(0),
                    of(|run| run.p999_us)?.text(0),
                    to_nobody(&self.runs, variant)?.text(2),
                    format!("{:.0}", of(|run| run.exported)?.median),
                    format!("{:.0}", of(|run| run.dropped)?.median),
                ])
            };
            rows.extend(row());
        }
        print!("{}", table(&rows));
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_added_up_over_its_labels() {
        let page = "# HELP a_total x\na_total{r=\"x y\"} 2\na_total{r=\"z\"} 3\nb_total 7\n";
        assert_eq!(total(page, "a_total"), 5.0);
        assert_eq!(total(page, "c_total"), 0.0);
    }

    #[test]
    fn runs_of_the_same_round_are_compared() {
        let run = |variant, run, p99_us| Run {
            variant,
            run,
            requests: 1,
            p50_us: 1.0,
            p99_us,
            p999_us: 1.0,
            scrapes: 0,
            exported: 0.0,
            dropped: 0.0,
        };
        let runs = [
            run(Nobody, 0, 10.0),
            run(Scraped, 1, 30.0),
            run(Nobody, 1, 20.0),
            run(Scraped, 0, 10.0),
        ];
        let spread = to_nobody(&runs, Scraped).unwrap();
        assert_eq!(spread.text(2), "1.25 (1.00..1.50)");
        assert!(to_nobody(&runs, Slow).is_none());
    }
}
