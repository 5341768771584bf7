//! Server CPU per 64-byte echo, as a ratio to the floor and to Redis.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Plan;
use crate::load::Load;
use crate::procfs::CpuTime;
use crate::report::{Goal, Spread, table};
use crate::server::{Name, Server, Target};

const CONNECTIONS: u16 = 8;
/// Requests under way per connection, and what mcpd may cost then as a multiple of the floor.
const DEPTHS: [(u16, f64); 2] = [(16, 1.5), (1, 1.1)];
/// A run in which the server waited longer than this share of the time for its core is called
/// disturbed. Its figure is kept, but other work changes how requests bunch up and what caches
/// hold, and not for all servers alike: seen here, Redis rose by a fifth and the floor not at all.
const DISTURBED: f64 = 0.05;
/// The kernel adds the time since the last tick to a thread's account when it goes to sleep, which
/// a server without requests does well within this.
const SETTLE: Duration = Duration::from_millis(5);

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Echo {
    connections: u16,
    body_bytes: u16,
    runs: Vec<Run>,
    figures: Vec<Figure>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    target: Name,
    in_flight: u16,
    run: u32,
    requests: u64,
    seconds: f64,
    server_cpu_ns: u64,
    server_waited_ns: u64,
    cpu_us_per_request: f64,
    /// Threads that ended during the run: what they used is missing in its CPU time.
    exited_threads: usize,
}

#[derive(Debug, Serialize)]
struct Figure {
    target: Name,
    in_flight: u16,
    cpu_us_per_request: Spread,
    requests_per_second: Spread,
    /// Of each run to the floor's run of the same number.
    to_floor: Spread,
    /// Share of the time in which the server ran.
    server_busy: Spread,
    /// Share of the time in which it wanted to run and other work had its core.
    server_waited: Spread,
}

/// Measures and prints.
pub(super) fn measure(plan: &Plan) -> Result<Echo> {
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        for target in plan.turn(run) {
            // A fresh process each time: where its memory happens to lie is part of the spread.
            let server = target.start(plan.cores, None)?;
            for (in_flight, _) in DEPTHS {
                let name = target.name();
                let result = one_run(plan, target, &server, in_flight, run)
                    .with_context(|| format!("{} at {in_flight} in flight", name.text()))?;
                eprintln!(
                    "echo {}/{}: {} at {in_flight} in flight: {:.3} µs",
                    run + 1,
                    plan.runs,
                    name.text(),
                    result.cpu_us_per_request
                );
                runs.push(result);
            }
        }
    }
    let figures = figures(plan, &runs);
    let goals = DEPTHS
        .iter()
        .flat_map(|(in_flight, limit)| goals(&runs, *in_flight, *limit))
        .collect();
    let echo = Echo {
        connections: CONNECTIONS,
        body_bytes: 64,
        runs,
        figures,
        goals,
    };
    echo.print();
    Ok(echo)
}

fn one_run(plan: &Plan, target: &Target, server: &Server, in_flight: u16, run: u32) -> Result<Run> {
    let mut load = Load::connect(server.protocol, server.addr, CONNECTIONS, in_flight)?;
    load.run(plan.run_length / 5)?;
    std::thread::sleep(SETTLE);

    let before = CpuTime::of(server.pid)?;
    let outcome = load.run(plan.run_length)?;
    std::thread::sleep(SETTLE);
    let spent = CpuTime::of(server.pid)?.since(&before);

    ensure!(spent.nanos > 0, "the kernel accounts no CPU time");
    if spent.exited_threads > 0 {
        let name = target.name().text();
        eprintln!(
            "{name}: {} threads ended during the run, their CPU time is missing",
            spent.exited_threads
        );
    }
    Ok(Run {
        target: target.name(),
        in_flight,
        run,
        requests: outcome.requests,
        seconds: outcome.elapsed.as_secs_f64(),
        server_cpu_ns: spent.nanos,
        server_waited_ns: spent.waited_nanos,
        cpu_us_per_request: spent.nanos as f64 / outcome.requests as f64 / 1e3,
        exited_threads: spent.exited_threads,
    })
}

fn figures(plan: &Plan, runs: &[Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (in_flight, _) in DEPTHS {
        for target in plan.targets.iter().map(Target::name) {
            let of = |value: fn(&Run) -> f64| {
                let own = |run: &&Run| run.target == target && run.in_flight == in_flight;
                Spread::of(runs.iter().filter(own).map(value))
            };
            let figure = || {
                Some(Figure {
                    target,
                    in_flight,
                    cpu_us_per_request: of(|run| run.cpu_us_per_request)?,
                    requests_per_second: of(|run| run.requests as f64 / run.seconds)?,
                    to_floor: ratio(runs, in_flight, target, Name::Floor)?,
                    server_busy: of(|run| run.server_cpu_ns as f64 / 1e9 / run.seconds)?,
                    server_waited: of(Run::waited)?,
                })
            };
            figures.extend(figure());
        }
    }
    figures
}

/// Of the CPU per request of `target` to that of `other`, run by run.
fn ratio(runs: &[Run], in_flight: u16, target: Name, other: Name) -> Option<Spread> {
    let of = |name: Name| {
        runs.iter()
            .filter(move |run| run.target == name && run.in_flight == in_flight)
    };
    Spread::of(of(target).filter_map(|run| {
        let other = of(other).find(|other| other.run == run.run)?;
        Some(run.cpu_us_per_request / other.cpu_us_per_request)
    }))
}

fn goals(runs: &[Run], in_flight: u16, limit: f64) -> [Goal; 2] {
    let measured = |other| ratio(runs, in_flight, Name::Mcpd, other).map(|spread| spread.median);
    let what = format!("mcpd at {in_flight} in flight");
    [
        Goal::at_most(&what, limit, "× floor", measured(Name::Floor)),
        Goal::at_most(&what, 1.0, "× redis", measured(Name::Redis)),
    ]
}

fn disturbance(runs: &[Run]) -> Option<String> {
    let disturbed = runs.iter().filter(|run| run.waited() > DISTURBED).count();
    (disturbed > 0).then(|| {
        format!(
            "  warning: other work held the server's core for over {:.0} % of the time in {disturbed} of {} runs; measure again on a quiet machine before quoting these",
            DISTURBED * 100.0,
            runs.len()
        )
    })
}

impl Run {
    fn waited(&self) -> f64 {
        self.server_waited_ns as f64 / 1e9 / self.seconds
    }
}

impl Echo {
    fn print(&self) {
        println!(
            "\necho: server CPU per {}-byte request, {} connections, median (min..max)",
            self.body_bytes, self.connections
        );
        for (depth, _) in DEPTHS {
            let mut rows = vec![
                [
                    &format!("{depth} in flight"),
                    "µs CPU/request",
                    "× floor",
                    "requests/s",
                    "busy",
                    "waited",
                ]
                .map(str::to_owned)
                .to_vec(),
            ];
            for figure in self
                .figures
                .iter()
                .filter(|figure| figure.in_flight == depth)
            {
                rows.push(vec![
                    figure.target.text().to_owned(),
                    figure.cpu_us_per_request.text(3),
                    figure.to_floor.text(2),
                    format!("{:.0}", figure.requests_per_second.median),
                    format!("{:.0} %", figure.server_busy.median * 100.0),
                    format!("{:.0} %", figure.server_waited.median * 100.0),
                ]);
            }
            print!("{}", table(&rows));
        }
        println!(
            "  busy, waited: share of the time the server ran, or could not because of other work"
        );
        if let Some(warning) = disturbance(&self.runs) {
            println!("{warning}");
        }
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(target: Name, run: u32, cpu_us_per_request: f64, server_waited_ns: u64) -> Run {
        Run {
            target,
            in_flight: 16,
            run,
            requests: 1_000_000,
            seconds: 1.0,
            server_cpu_ns: (cpu_us_per_request * 1e9) as u64,
            server_waited_ns,
            cpu_us_per_request,
            exited_threads: 0,
        }
    }

    #[test]
    fn ratios_compare_runs_of_the_same_round() {
        let runs = [
            run(Name::Floor, 0, 1.0, 0),
            run(Name::Mcpd, 0, 1.2, 0),
            run(Name::Mcpd, 1, 2.8, 0),
            run(Name::Floor, 1, 2.0, 0),
        ];
        let to_floor = ratio(&runs, 16, Name::Mcpd, Name::Floor).unwrap();
        assert_eq!(to_floor.text(2), "1.30 (1.20..1.40)");
        assert!(ratio(&runs, 1, Name::Mcpd, Name::Floor).is_none());
        assert!(ratio(&runs, 16, Name::Mcpd, Name::Redis).is_none());
    }

    #[test]
    fn disturbed_runs_are_announced_not_dropped() {
        let runs = [
            run(Name::Floor, 0, 1.0, 10_000_000),
            run(Name::Redis, 0, 2.0, 300_000_000),
        ];
        assert!(disturbance(&runs).unwrap().contains("in 1 of 2 runs"));
        assert!(disturbance(&runs[..1]).is_none());
    }
}
