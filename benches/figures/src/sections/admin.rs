//! What a change of 10,000 routes does to requests, and how soon a probe is answered, both while the
//! server's core is kept full.

use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::Plan;
use crate::load::{Load, Protocol, echo_once, prepare};
use crate::report::{Goal, table};
use crate::server::{Server, Target, drain, free_port, mcpd, spawn};

/// Routes of each table that is put.
const ROUTES: usize = 10_000;
/// The load: what the echo section calls full.
const CONNECTIONS: u16 = 8;
const IN_FLIGHT: u16 = 16;
/// Between two probes.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// What `/livez` may take at full load.
const GOAL_MS: f64 = 10.0;
const START_LIMIT: Duration = Duration::from_secs(10);
/// An HTTP answer that takes longer never comes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Debug, Serialize)]
pub(crate) struct Admin {
    routes: usize,
    quiet: Phase,
    swapping: Phase,
    goals: Vec<Goal>,
}

/// One stretch of time under full load.
#[derive(Debug, Serialize)]
struct Phase {
    seconds: f64,
    requests_per_second: f64,
    /// Tables put meanwhile.
    puts_ms: Vec<f64>,
    request: Times,
    livez: Times,
}

/// Times of a lone request, or of probes, in milliseconds.
#[derive(Debug, Serialize)]
struct Times {
    count: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times.get(index.min(times.len().saturating_sub(1)))
        };
        Times {
            count: times.len(),
            p50: at(0.5).copied().unwrap_or_default(),
            p99: at(0.99).copied().unwrap_or_default(),
            max: times.last().copied().unwrap_or_default(),
        }
    }
}

/// Measures and prints; `None` without an mcpd to start.
pub(super) fn measure(plan: &Plan) -> Result<Option<Admin>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("admin: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let (mut server, stdout) = spawn(mcpd(program, data, sidecar), plan.cores)?;
    drain(BufReader::new(stdout));
    server.addr = data;
    await_start(&server)?;
    // Long enough for probes to be more than a few.
    let length = plan.run_length * 5;
    let quiet = phase(&server, sidecar, length, false)?;
    let swapping = phase(&server, sidecar, length, true)?;
    server.ensure_alive()?;
    let goal = |what: &str, phase: &Phase| {
        Goal::at_most(
            what,
            GOAL_MS,
            "ms for the slowest /livez",
            Some(phase.livez.max),
        )
    };
    let goals = vec![
        goal("mcpd", &quiet),
        goal("while routes are put", &swapping),
    ];
    let admin = Admin {
        routes: ROUTES,
        quiet,
        swapping,
        goals,
    };
    admin.print();
    Ok(Some(admin))
}

fn await_start(server: &Server) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while let Err(error) = server
        .connect()
        .and_then(|stream| echo_once(Protocol::Mcp, &stream))
    {
        server.ensure_alive()?;
        ensure!(Instant::now() < deadline, "no echo: {error}");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Full load for a while, with a lone request and a probe timed over and over beside it.
fn phase(server: &Server, sidecar: SocketAddr, length: Duration, swap: bool) -> Result<Phase> {
    let over = AtomicBool::new(false);
    let stream = server.connect()?;
    let mut load = Load::connect(Protocol::Mcp, server.addr, CONNECTIONS, IN_FLIGHT)?;
    thread::scope(|scope| {
        let lone =
            scope.spawn(|| repeat(&over, Duration::ZERO, || echo_once(Protocol::Mcp, &stream)));
        let probe = scope.spawn(|| repeat(&over, PROBE_PAUSE, || livez(sidecar)));
        let puts = scope.spawn(|| match swap {
            true => put_tables(&over, sidecar),
            false => Ok(Vec::new()),
        });
        let outcome = load.run(length);
        over.store(true, Ordering::Relaxed);
        let joined = |times: thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            times
                .join()
                .map_err(|_| anyhow::anyhow!("a thread broke"))?
        };
        let (request, livez, puts_ms) = (joined(lone)?, joined(probe)?, joined(puts)?);
        let outcome = outcome.context("the load")?;
        Ok(Phase {
            seconds: outcome.elapsed.as_secs_f64(),
            requests_per_second: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
            puts_ms,
            request: Times::of(request),
            livez: Times::of(livez),
        })
    })
}

fn repeat(
    over: &AtomicBool,
    pause: Duration,
    mut once: impl FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        once()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        thread::sleep(pause);
    }
    Ok(times)
}

/// As a kubelet asks: by a connection of its own each time.
fn livez(sidecar: SocketAddr) -> Result<()> {
    let status = http(sidecar, "GET /livez HTTP/1.1", "")?;
    ensure!(status == 200, "/livez answers {status}");
    Ok(())
}

fn put_tables(over: &AtomicBool, sidecar: SocketAddr) -> Result<Vec<f64>> {
    let tables = [0, 1].map(table_of);
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let body = &tables[times.len() % 2];
        let head = "PUT /admin/v1/routes HTTP/1.1\r\nIf-Match: *\r\nContent-Type: application/yaml";
        let start = Instant::now();
        let status = http(sidecar, head, body)?;
        ensure!(status == 200, "PUT of {ROUTES} routes answers {status}");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn table_of(generation: usize) -> String {
    let mut text = String::from("apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n");
    text.push_str("  - {topic: echo, handler: echo}\n");
    for n in 1..ROUTES {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "  - {{topic: t/{n}/g{generation}, handler: echo}}");
    }
    text
}

/// One request; gives the status.
fn http(addr: SocketAddr, head: &str, body: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_LIMIT)?;
    prepare(&stream)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = answer
        .get(9..12)
        .and_then(|digits| std::str::from_utf8(digits).ok());
    let status = status.and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| io::Error::other("an answer that is not HTTP"))
}

impl Admin {
    fn print(&self) {
        println!("\nadmin: at full load on one core, milliseconds");
        let head = [
            "",
            "lone request p50",
            "p99",
            "max",
            "/livez p50",
            "p99",
            "max",
            "requests/s",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (name, phase) in [("quiet", &self.quiet), ("routes are put", &self.swapping)] {
            let (request, livez) = (&phase.request, &phase.livez);
            let times = [
                request.p50,
                request.p99,
                request.max,
                livez.p50,
                livez.p99,
                livez.max,
            ];
            let mut row = vec![name.to_owned()];
            row.extend(times.map(|ms| format!("{ms:.2}")));
            row.push(format!("{:.0}", phase.requests_per_second));
            rows.push(row);
        }
        print!("{}", table(&rows));
        let puts = &self.swapping.puts_ms;
        let mean = puts.iter().sum::<f64>() / puts.len().max(1) as f64;
        println!(
            "  {} tables of {ROUTES} routes were put, {mean:.0} ms each",
            puts.len()
        );
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_their_middle_and_their_end() {
        let times = Times::of((1..=100).map(f64::from).collect());
        assert_eq!(
            (times.count, times.p50, times.p99, times.max),
            (100, 51.0, 100.0, 100.0)
        );
        assert_eq!(Times::of(Vec::new()).max, 0.0);
    }
}
