//! What metrics and traces add to the CPU of a 64-byte echo.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::Plan;
use crate::collector::{self, Health};
use crate::load::Load;
use crate::procfs::CpuTime;
use crate::report::{Goal, Spread, table};
use crate::server::Target;

const CONNECTIONS: u16 = 8;
const DEPTHS: [u16; 2] = [16, 1];
/// As in the echo section.
const SETTLE: Duration = Duration::from_millis(5);

/// How much of itself a server tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Variant {
    Floor,
    /// Neither metrics nor traces.
    Silent,
    /// Metrics, as without configuration.
    Metrics,
    /// These, and one request in a hundred.
    OnePercent,
    /// These, and every request.
    Everything,
}

use Variant::{Everything, Floor, Metrics, OnePercent, Silent};

const VARIANTS: [Variant; 5] = [Floor, Silent, Metrics, OnePercent, Everything];

impl Variant {
    fn text(self) -> &'static str {
        match self {
            Floor => "floor",
            Silent => "no metrics",
            Metrics => "metrics",
            OnePercent => "metrics, 1 % sampled",
            Everything => "metrics, 100 % sampled",
        }
    }

    fn env(self, receiver: SocketAddr) -> Vec<(&'static str, String)> {
        let sampling = |ratio: &str| {
            vec![
                ("MCPD__TRACING__ENDPOINT", format!("http://{receiver}")),
                ("MCPD__TRACING__PROTOCOL", "http".to_owned()),
                ("MCPD__TRACING__RATIO", ratio.to_owned()),
            ]
        };
        match self {
            Floor | Metrics => Vec::new(),
            Silent => vec![("MCPD__METRICS__ENABLED", "false".to_owned())],
            OnePercent => sampling("0.01"),
            Everything => sampling("1"),
        }
    }
}

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Telemetry {
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    variant: Variant,
    in_flight: u16,
    run: u32,
    /// Of all threads, the one that exports among them.
    cpu_ns: f64,
    /// Of the thread that serves the connections.
    data_cpu_ns: f64,
    waited: f64,
}

/// Measures and prints; `None` without a mcpd to measure.
pub(super) fn measure(plan: &Plan) -> Result<Option<Telemetry>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("leaving telemetry out, there is no mcpd to measure");
        return Ok(None);
    };
    let receiver = collector::start(Health::Good)?;
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        for at in 0..VARIANTS.len() {
            let variant = VARIANTS[(at + run as usize) % VARIANTS.len()];
            let target = match variant {
                Floor => Target::Floor,
                _ => Target::Mcpd {
                    program: program.clone(),
                    ready_addr: None,
                    env: variant.env(receiver),
                },
            };
            let server = target.start(plan.cores, None)?;
            for in_flight in DEPTHS {
                let mut load = Load::connect(server.protocol, server.addr, CONNECTIONS, in_flight)?;
                let result = one_run(plan, &mut load, server.pid, variant, in_flight, run)?;
                eprintln!(
                    "telemetry {}/{}: {} at {in_flight}: {:.0} ns",
                    run + 1,
                    plan.runs,
                    variant.text(),
                    result.cpu_ns
                );
                runs.push(result);
            }
        }
    }
    let goals = goals(&runs);
    let telemetry = Telemetry { runs, goals };
    telemetry.print();
    Ok(Some(telemetry))
}

fn one_run(
    plan: &Plan,
    load: &mut Load,
    pid: u32,
    variant: Variant,
    in_flight: u16,
    run: u32,
) -> Result<Run> {
    load.run(plan.run_length / 5)?;
    thread::sleep(SETTLE);
    let data = |name: &str| name.starts_with("data-") || variant == Floor;
    let before = (CpuTime::of(pid)?, CpuTime::of_threads(pid, data)?);
    let outcome = load.run(plan.run_length)?;
    thread::sleep(SETTLE);
    let all = CpuTime::of(pid)?.since(&before.0);
    let data = CpuTime::of_threads(pid, data)?.since(&before.1);
    ensure!(data.nanos > 0, "the kernel accounts no CPU time");
    let requests = outcome.requests as f64;
    Ok(Run {
        variant,
        in_flight,
        run,
        cpu_ns: all.nanos as f64 / requests,
        data_cpu_ns: data.nanos as f64 / requests,
        waited: data.waited_nanos as f64 / 1e9 / outcome.elapsed.as_secs_f64(),
    })
}

/// Compares runs of the same round.
fn compared(
    runs: &[Run],
    in_flight: u16,
    variant: Variant,
    other: Variant,
    how: impl Fn(&Run, &Run) -> f64,
) -> Option<Spread> {
    let of = |wanted: Variant| {
        let fits = move |run: &&Run| run.variant == wanted && run.in_flight == in_flight;
        runs.iter().filter(fits)
    };
    Spread::of(of(variant).filter_map(|run| {
        let other = of(other).find(|other| other.run == run.run)?;
        Some(how(run, other))
    }))
}

fn per_cent(run: &Run, other: &Run) -> f64 {
    (run.cpu_ns / other.cpu_ns - 1.0) * 100.0
}

fn to_other(run: &Run, other: &Run) -> f64 {
    run.cpu_ns / other.cpu_ns
}

/// What a request has more on the thread that serves it, in microseconds.
fn more_on_data(run: &Run, other: &Run) -> f64 {
    (run.data_cpu_ns - other.data_cpu_ns) / 1e3
}

fn goals(runs: &[Run]) -> Vec<Goal> {
    let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
    let share =
        |in_flight, variant, other| median(compared(runs, in_flight, variant, other, per_cent));
    let to_floor = |in_flight| median(compared(runs, in_flight, OnePercent, Floor, to_other));
    let tree = median(compared(runs, 16, Everything, Metrics, more_on_data));
    let goal = Goal::at_most;
    vec![
        goal(
            "metrics at 16 in flight",
            15.0,
            "% more",
            share(16, Metrics, Silent),
        ),
        goal(
            "1 % sampled at 16 in flight",
            10.0,
            "% more",
            share(16, OnePercent, Metrics),
        ),
        goal(
            "1 % sampled at 1 in flight",
            2.0,
            "% more",
            share(1, OnePercent, Metrics),
        ),
        goal("a tree of spans", 3.0, "µs on the data thread", tree),
        goal(
            "all of it (1 % sampled) at 16 in flight",
            1.5,
            "× floor",
            to_floor(16),
        ),
        goal(
            "all of it (1 % sampled) at 1 in flight",
            1.1,
            "× floor",
            to_floor(1),
        ),
    ]
}

impl Telemetry {
    fn print(&self) {
        println!(
            "\ntelemetry: server CPU per 64-byte echo, {CONNECTIONS} connections, median (min..max)"
        );
        for depth in DEPTHS {
            let head = [
                &format!("{depth} in flight"),
                "ns CPU/request",
                "on the data thread",
                "× floor",
                "waited",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            for variant in VARIANTS {
                let of = |value: fn(&Run) -> f64| {
                    let fits = |run: &&Run| run.variant == variant && run.in_flight == depth;
                    Spread::of(self.runs.iter().filter(fits).map(value))
                };
                let row = || {
                    Some(vec![
                        variant.text().to_owned(),
                        of(|run| run.cpu_ns)?.text(0),
                        of(|run| run.data_cpu_ns)?.text(0),
                        compared(&self.runs, depth, variant, Floor, to_other)?.text(2),
                        format!("{:.0} %", of(|run| run.waited)?.median * 100.0),
                    ])
                };
                rows.extend(row());
            }
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
    fn runs_of_the_same_round_are_compared() {
        let run = |variant, run, cpu_ns, data_cpu_ns| Run {
            variant,
            in_flight: 16,
            run,
            cpu_ns,
            data_cpu_ns,
            waited: 0.0,
        };
        let runs = [
            run(Metrics, 0, 400.0, 390.0),
            run(Everything, 1, 4000.0, 2800.0),
            run(Metrics, 1, 800.0, 800.0),
            run(Everything, 0, 2000.0, 1390.0),
        ];
        let more = compared(&runs, 16, Everything, Metrics, more_on_data).unwrap();
        assert_eq!(more.text(1), "1.5 (1.0..2.0)");
        let share = compared(&runs, 16, Everything, Metrics, per_cent).unwrap();
        assert_eq!(share.text(0), "400 (400..400)");
        assert!(compared(&runs, 1, Everything, Metrics, per_cent).is_none());
    }
}
