//! What it costs to hand a request on to another server, beside answering it, and beside NATS, which
//! hands all on.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use tempfile::TempDir;

use super::Plan;
use crate::load::{Load, Protocol, nats};
use crate::machine::Cores;
use crate::procfs::CpuTime;
use crate::report::{Goal, Spread, table};
use crate::server::{Server, Target, drain, free_port, spawn};

const CONNECTIONS: u16 = 8;
const DEPTHS: [u16; 2] = [16, 1];
/// What a hop may cost, as a multiple of an echo.
const LIMIT: f64 = 3.0;
/// As in the echo section.
const SETTLE: Duration = Duration::from_millis(5);
/// Debian has it where not everybody looks.
const NATS: [&str; 2] = ["/usr/sbin/nats-server", "nats-server"];

/// What is measured: the server that the clients are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Variant {
    /// mcpd answers.
    Echo,
    /// mcpd hands on to another mcpd.
    Hop,
    /// NATS hands on to a service.
    Nats,
}

use Variant::{Echo, Hop, Nats};

impl Variant {
    fn text(self) -> &'static str {
        match self {
            Echo => "mcpd, echo",
            Hop => "mcpd → mcpd",
            Nats => "NATS, request-reply",
        }
    }
}

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Hops {
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    variant: Variant,
    in_flight: u16,
    run: u32,
    cpu_us: f64,
    requests_per_second: f64,
}

/// A server that is measured, and what it needs to live.
struct Started {
    server: Server,
    protocol: Protocol,
    _next: Option<Server>,
    _documents: Option<TempDir>,
}

/// Measures and prints; `None` without a mcpd to measure.
pub(super) fn measure(plan: &Plan) -> Result<Option<Hops>> {
    let Some(mcpd) = plan.mcpd() else {
        eprintln!("leaving hop out, there is no mcpd to measure");
        return Ok(None);
    };
    let nats = NATS.into_iter().find(|program| runs(program));
    if nats.is_none() {
        eprintln!("leaving NATS out, there is no nats-server; install the package of that name");
    }
    let variants: Vec<Variant> = [Some(Echo), Some(Hop), nats.map(|_| Nats)]
        .into_iter()
        .flatten()
        .collect();
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        for at in 0..variants.len() {
            let variant = variants[(at + run as usize) % variants.len()];
            let started = match (variant, nats) {
                (Nats, Some(program)) => start_nats(program, plan.cores)?,
                (Hop, _) => start_hop(mcpd, plan.cores)?,
                _ => Started {
                    server: mcpd.start(plan.cores, None)?,
                    protocol: Protocol::Mcp,
                    _next: None,
                    _documents: None,
                },
            };
            for in_flight in DEPTHS {
                let result = one_run(plan, &started, variant, in_flight, run)?;
                eprintln!(
                    "hop {}/{}: {} at {in_flight}: {:.2} µs",
                    run + 1,
                    plan.runs,
                    variant.text(),
                    result.cpu_us
                );
                runs.push(result);
            }
        }
    }
    let goals = goals(&runs);
    let hops = Hops { runs, goals };
    hops.print(&variants);
    Ok(Some(hops))
}

fn runs(program: &str) -> bool {
    let output = Command::new(program).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

/// A server on the measured core that hands on to one beside the load.
fn start_hop(mcpd: &Target, cores: Cores) -> Result<Started> {
    let Target::Mcpd { program, .. } = mcpd else {
        unreachable!("`Plan::mcpd` gives no other");
    };
    let beside = Cores {
        server: cores.load,
        load: cores.load,
    };
    let next = mcpd.start(beside, None)?;
    let documents = tempfile::tempdir()?;
    let write = |name: &str, text: String| -> Result<String> {
        let path = documents.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let handlers = format!(
        "{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{{name: next, type: mcp, endpoints: ['{}']}}]}}",
        next.addr
    );
    let routes = "{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: echo, handler: next}]}";
    let front = Target::Mcpd {
        program: program.clone(),
        ready_addr: None,
        env: vec![
            ("MCPD__HANDLERS_FILE", write("handlers.yaml", handlers)?),
            (
                "MCPD__ROUTES__FILE",
                write("routes.yaml", routes.to_owned())?,
            ),
        ],
    };
    Ok(Started {
        server: front.start(cores, None)?,
        protocol: Protocol::Mcp,
        _next: Some(next),
        _documents: Some(documents),
    })
}

/// NATS on the measured core, and a service beside the load.
fn start_nats(program: &str, cores: Cores) -> Result<Started> {
    let port = free_port()?;
    let mut command = Command::new(Path::new(program));
    command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
    let (mut server, stdout) = spawn(command, cores)?;
    drain(std::io::BufReader::new(stdout));
    server.addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    while server.connect().is_err() {
        server.ensure_alive()?;
        thread::sleep(Duration::from_millis(2));
    }
    let service = nats::subscribe(server.addr)?;
    // It ends with its connection, and that with the server.
    thread::spawn(move || nats::serve_echo(service));
    Ok(Started {
        server,
        protocol: Protocol::Nats,
        _next: None,
        _documents: None,
    })
}

fn one_run(
    plan: &Plan,
    started: &Started,
    variant: Variant,
    in_flight: u16,
    run: u32,
) -> Result<Run> {
    let Started {
        server, protocol, ..
    } = started;
    let mut load = Load::connect(*protocol, server.addr, CONNECTIONS, in_flight)?;
    load.run(plan.run_length / 5)?;
    thread::sleep(SETTLE);
    let before = CpuTime::of(server.pid)?;
    let outcome = load.run(plan.run_length)?;
    thread::sleep(SETTLE);
    let spent = CpuTime::of(server.pid)?.since(&before);
    ensure!(spent.nanos > 0, "the kernel accounts no CPU time");
    Ok(Run {
        variant,
        in_flight,
        run,
        cpu_us: spent.nanos as f64 / outcome.requests as f64 / 1e3,
        requests_per_second: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
    })
}

/// How often the CPU of an echo a variant takes, each run compared with that of its round.
fn to_echo(runs: &[Run], in_flight: u16, variant: Variant) -> Option<Spread> {
    let of = |wanted: Variant| {
        let fits = move |run: &&Run| run.variant == wanted && run.in_flight == in_flight;
        runs.iter().filter(fits)
    };
    Spread::of(of(variant).filter_map(|run| {
        let echo = of(Echo).find(|echo| echo.run == run.run)?;
        Some(run.cpu_us / echo.cpu_us)
    }))
}

fn goals(runs: &[Run]) -> Vec<Goal> {
    let goal = |in_flight: u16| {
        let measured = to_echo(runs, in_flight, Hop).map(|spread| spread.median);
        let what = format!("a hop at {in_flight} in flight");
        Goal::at_most(what, LIMIT, "× echo", measured)
    };
    DEPTHS.map(goal).into()
}

impl Hops {
    fn print(&self, variants: &[Variant]) {
        println!(
            "\nhop: server CPU per 64-byte request, {CONNECTIONS} connections, median (min..max)"
        );
        for depth in DEPTHS {
            let head = [
                &format!("{depth} in flight"),
                "µs CPU/request",
                "× echo",
                "requests/s",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            for variant in variants {
                let of = |value: fn(&Run) -> f64| {
                    let fits = |run: &&Run| run.variant == *variant && run.in_flight == depth;
                    Spread::of(self.runs.iter().filter(fits).map(value))
                };
                let row = || {
                    Some(vec![
                        variant.text().to_owned(),
                        of(|run| run.cpu_us)?.text(2),
                        to_echo(&self.runs, depth, *variant)?.text(2),
                        of(|run| run.requests_per_second)?.text(0),
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
    fn a_hop_is_compared_with_the_echo_of_its_round() {
        let run = |variant, run, cpu_us| Run {
            variant,
            in_flight: 16,
            run,
            cpu_us,
            requests_per_second: 1.0,
        };
        let runs = [
            run(Echo, 0, 1.0),
            run(Hop, 1, 8.0),
            run(Echo, 1, 2.0),
            run(Hop, 0, 2.0),
        ];
        assert_eq!(to_echo(&runs, 16, Hop).unwrap().text(1), "3.0 (2.0..4.0)");
        assert!(to_echo(&runs, 1, Hop).is_none());
    }
}
