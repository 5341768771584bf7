//! Client CPU per 64-byte echo: the handle of `mcpd-client`, and its bare connection, beside the
//! pipelined loop of the load, against the same server.
//!
//! Callers are tasks of one thread, each in a closed loop: what a service does that waits for
//! answers one by one. The loop beside them has no callers to wake; that is the price measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcpd_client::{Bytes, Client, ConnectOptions, Connection};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Plan;
use crate::load::{Load, Protocol};
use crate::report::{Goal, Spread, table};

/// Connections, requests under way on each, and what the client may cost then as a multiple of the
/// loop.
const SHAPES: [(u16, u16, Option<f64>); 3] = [(1, 16, Some(2.0)), (8, 16, Some(2.0)), (1, 1, None)];
const KINDS: [Kind; 3] = [Kind::Loop, Kind::Connection, Kind::Client];
const BODY: &[u8; 64] = &[b'x'; 64];

/// Who sends the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Loop,
    Connection,
    Client,
}

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct ClientCost {
    body_bytes: usize,
    runs: Vec<Run>,
    figures: Vec<Figure>,
    goals: Vec<Goal>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    kind: Kind,
    connections: u16,
    in_flight: u16,
    run: u32,
    requests: u64,
    cpu_us_per_request: f64,
}

#[derive(Debug, Serialize)]
struct Figure {
    kind: Kind,
    connections: u16,
    in_flight: u16,
    cpu_us_per_request: Spread,
    /// Of each run to the loop's run of the same number.
    to_loop: Spread,
}

/// Measures and prints; nothing without a server that can welcome a client.
pub(super) fn measure(plan: &Plan) -> Result<Option<ClientCost>> {
    let Some(target) = plan.mcpd() else {
        eprintln!("client: left out without --mcpd PATH");
        return Ok(None);
    };
    let mut runs = Vec::new();
    for run in 0..plan.runs {
        let server = target.start(plan.cores, None)?;
        for (connections, in_flight, _) in SHAPES {
            for at in 0..KINDS.len() {
                // Another one first each time.
                let kind = KINDS[(at + run as usize) % KINDS.len()];
                let result = one_run(plan, kind, server.addr, connections, in_flight, run)
                    .with_context(|| format!("{} on {connections} × {in_flight}", kind.text()))?;
                eprintln!(
                    "client {}/{}: {} on {connections} × {in_flight}: {:.3} µs",
                    run + 1,
                    plan.runs,
                    kind.text(),
                    result.cpu_us_per_request
                );
                runs.push(result);
            }
        }
    }
    let cost = ClientCost {
        body_bytes: BODY.len(),
        figures: figures(&runs),
        goals: goals(&runs),
        runs,
    };
    cost.print();
    Ok(Some(cost))
}

fn one_run(
    plan: &Plan,
    kind: Kind,
    addr: SocketAddr,
    connections: u16,
    in_flight: u16,
    run: u32,
) -> Result<Run> {
    let (nanos, requests) = match kind {
        Kind::Loop => {
            let mut load = Load::connect(Protocol::Mcp, addr, connections, in_flight)?;
            load.run(plan.run_length / 5)?;
            let before = cpu_nanos();
            let outcome = load.run(plan.run_length)?;
            (cpu_nanos() - before, outcome.requests)
        }
        Kind::Connection | Kind::Client => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let callers = callers(kind, addr, connections, in_flight).await?;
                call(&callers, plan.run_length / 5).await?;
                let before = cpu_nanos();
                let requests = call(&callers, plan.run_length).await?;
                anyhow::Ok((cpu_nanos() - before, requests))
            })?
        }
    };
    ensure!(requests > 0, "no request was answered");
    Ok(Run {
        kind,
        connections,
        in_flight,
        run,
        requests,
        cpu_us_per_request: nanos as f64 / requests as f64 / 1e3,
    })
}

/// What this thread has used so far.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[derive(Clone)]
enum Caller {
    Connection(Connection),
    Client(Client),
}

impl Caller {
    async fn echo(&self, body: Bytes) -> mcpd_client::Result<Bytes> {
        let answer = match self {
            Caller::Connection(connection) => connection.request("echo").body(body).send().await,
            Caller::Client(client) => client.request("echo").body(body).send().await,
        };
        answer.map(mcpd_client::Answer::into_body)
    }
}

/// One for each request under way; a handle for each connection.
async fn callers(
    kind: Kind,
    addr: SocketAddr,
    connections: u16,
    in_flight: u16,
) -> Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for _ in 0..connections {
        let caller = match kind {
            Kind::Client => {
                let builder = Client::builder(addr.to_string()).max_connections(1);
                Caller::Client(builder.build().await?)
            }
            Kind::Loop | Kind::Connection => {
                let options = ConnectOptions::new();
                Caller::Connection(Connection::connect(addr.to_string(), options).await?)
            }
        };
        callers.extend(std::iter::repeat_n(caller, in_flight.into()));
    }
    Ok(callers)
}

/// Has all of them call without pause for a while; gives the number of answers.
async fn call(callers: &[Caller], duration: Duration) -> Result<u64> {
    let over = Arc::new(AtomicBool::new(false));
    let each = |caller: &Caller| {
        let (caller, over) = (caller.clone(), over.clone());
        tokio::spawn(async move {
            let (mut count, body) = (0_u64, Bytes::from_static(BODY));
            while !over.load(Ordering::Relaxed) {
                let answer = caller.echo(body.clone()).await?;
                ensure!(answer == body, "an answer with another body");
                count += 1;
            }
            Ok(count)
        })
    };
    let calls: Vec<_> = callers.iter().map(each).collect();
    tokio::time::sleep(duration).await;
    over.store(true, Ordering::Relaxed);
    let mut sum = 0;
    for call in calls {
        sum += call.await??;
    }
    Ok(sum)
}

fn of(runs: &[Run], kind: Kind, shape: (u16, u16)) -> impl Iterator<Item = &Run> {
    runs.iter()
        .filter(move |run| run.kind == kind && (run.connections, run.in_flight) == shape)
}

/// Of the CPU per request to the loop's, run by run.
fn ratio(runs: &[Run], kind: Kind, shape: (u16, u16)) -> Option<Spread> {
    Spread::of(of(runs, kind, shape).filter_map(|run| {
        let other = of(runs, Kind::Loop, shape).find(|other| other.run == run.run)?;
        Some(run.cpu_us_per_request / other.cpu_us_per_request)
    }))
}

fn figures(runs: &[Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (connections, in_flight, _) in SHAPES {
        let shape = (connections, in_flight);
        let figure = |kind| {
            let costs = of(runs, kind, shape).map(|run| run.cpu_us_per_request);
            Some(Figure {
                kind,
                connections,
                in_flight,
                cpu_us_per_request: Spread::of(costs)?,
                to_loop: ratio(runs, kind, shape)?,
            })
        };
        figures.extend(KINDS.into_iter().filter_map(figure));
    }
    figures
}

fn goals(runs: &[Run]) -> Vec<Goal> {
    let goal = |(connections, in_flight, limit): (u16, u16, Option<f64>)| {
        let shape = (connections, in_flight);
        let measured = ratio(runs, Kind::Client, shape).map(|spread| spread.median);
        let what = format!("client at {in_flight} in flight on {connections}");
        limit.map(|limit| Goal::at_most(&what, limit, "× loop", measured))
    };
    SHAPES.into_iter().filter_map(goal).collect()
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Loop => "pipelined loop",
            Kind::Connection => "bare connection",
            Kind::Client => "client",
        }
    }
}

impl ClientCost {
    fn print(&self) {
        println!(
            "\nclient: client CPU per {}-byte request against mcpd, median (min..max)",
            self.body_bytes
        );
        for (connections, in_flight, _) in SHAPES {
            let shape = format!("{in_flight} in flight on {connections}");
            let mut rows = vec![
                [&shape, "µs CPU/request", "× loop"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            let here = |figure: &&Figure| {
                (figure.connections, figure.in_flight) == (connections, in_flight)
            };
            for figure in self.figures.iter().filter(here) {
                rows.push(vec![
                    figure.kind.text().to_owned(),
                    figure.cpu_us_per_request.text(3),
                    figure.to_loop.text(2),
                ]);
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
    fn each_run_is_held_against_the_loop_of_its_round_and_shape() {
        let run = |kind, connections, run, cpu_us_per_request| Run {
            kind,
            connections,
            in_flight: 16,
            run,
            requests: 1,
            cpu_us_per_request,
        };
        let runs = [
            run(Kind::Loop, 1, 0, 1.0),
            run(Kind::Client, 1, 0, 1.5),
            run(Kind::Loop, 8, 0, 9.0),
            run(Kind::Client, 1, 1, 5.0),
            run(Kind::Loop, 1, 1, 2.0),
        ];
        let ratio = ratio(&runs, Kind::Client, (1, 16)).unwrap();
        assert_eq!(ratio.text(2), "2.00 (1.50..2.50)");
        assert_eq!(figures(&runs).len(), 3);
    }
}
