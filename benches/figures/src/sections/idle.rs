//! Resident memory per idle connection that has served a request.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

use super::Plan;
use crate::load::{echo_once, prepare};
use crate::procfs::rss_anon;
use crate::report::{Goal, table};
use crate::server::{Name, Server, Target};

/// mcpd's share of resident memory for one idle connection, at most.
const GOAL_KIB: f64 = 2.0;
/// Files a process needs besides the connections.
pub(super) const SPARE_FILES: u64 = 200;
/// Connections from one source address: well below the ports it has.
const PER_SOURCE: u32 = 2_500;
/// Time to give back what a server holds only for recently busy connections.
const SETTLE: Duration = Duration::from_secs(3);

/// What all servers come to.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    connections: u32,
    settle_seconds: u64,
    runs: Vec<Run>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Run {
    target: Name,
    /// Anonymous resident memory after one request, before the many connections.
    before_bytes: u64,
    /// Right after the last connection's answer.
    connected_bytes: u64,
    /// After a pause in which nothing was sent.
    idle_bytes: u64,
    kib_per_connection: f64,
}

/// Measures and prints.
pub(super) fn measure(plan: &Plan) -> Result<Idle> {
    let possible = plan.open_files.saturating_sub(SPARE_FILES);
    let connections = u32::try_from(possible).map_or(plan.idle_connections, |possible| {
        plan.idle_connections.min(possible)
    });
    ensure!(
        connections > 0,
        "with {} open files per process no connection can be held; raise `ulimit -n`",
        plan.open_files
    );
    if connections < plan.idle_connections {
        eprintln!("idle: only {connections} connections, the limit of open files allows no more");
    }
    let mut runs = Vec::new();
    for target in &plan.targets {
        let name = target.name();
        let run = one_run(plan, target, connections)
            .with_context(|| format!("{} with {connections} connections", name.text()))?;
        let kib = run.kib_per_connection;
        eprintln!("idle: {} holds {kib:.2} KiB per connection", name.text());
        runs.push(run);
    }
    let mcpd = runs.iter().find(|run| run.target == Name::Mcpd);
    let measured = mcpd.map(|run| run.kib_per_connection);
    let goal = Goal::at_most("mcpd", GOAL_KIB, "KiB per idle connection", measured);
    let idle = Idle {
        connections,
        settle_seconds: SETTLE.as_secs(),
        runs,
        goals: vec![goal],
    };
    idle.print();
    Ok(idle)
}

fn one_run(plan: &Plan, target: &Target, connections: u32) -> Result<Run> {
    // Room to spare, for servers that count some files of their own as clients.
    let server = target.start(plan.cores, Some(connections + 100))?;
    let before = rss_anon(server.pid)?;
    let mut held = Vec::with_capacity(connections as usize);
    for index in 0..connections {
        let stream = connect(server.addr, index).and_then(|stream| {
            echo_once(server.protocol, &stream)?;
            Ok(stream)
        });
        held.push(stream.with_context(|| format!("connection {}", index + 1))?);
    }
    let connected = rss_anon(server.pid)?;
    std::thread::sleep(SETTLE);
    let idle = rss_anon(server.pid)?;
    check_open(&server, &held)?;
    Ok(Run {
        target: target.name(),
        before_bytes: before,
        connected_bytes: connected,
        idle_bytes: idle,
        kib_per_connection: (idle as f64 - before as f64) / f64::from(connections) / 1024.0,
    })
}

/// Connects from one of several addresses, so that ports do not run out.
pub(super) fn connect(addr: SocketAddr, index: u32) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + index / PER_SOURCE);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    // Closed by a reset, so that no port waits where the next server is measured.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.connect(&addr.into())?;
    let stream = TcpStream::from(socket);
    prepare(&stream)?;
    Ok(stream)
}

/// A server that closes idle connections would look thrifty: each has to answer once more.
fn check_open(server: &Server, held: &[TcpStream]) -> Result<()> {
    held.iter()
        .try_for_each(|stream| echo_once(server.protocol, stream))
        .context("an idle connection does not answer any more")
}

impl Idle {
    fn print(&self) {
        println!(
            "\nidle: resident memory with {} connections that served one request each, {} s later",
            self.connections, self.settle_seconds
        );
        let mut rows = vec![
            ["", "KiB/connection", "MiB before", "MiB idle"]
                .map(str::to_owned)
                .to_vec(),
        ];
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        for run in &self.runs {
            rows.push(vec![
                run.target.text().to_owned(),
                format!("{:.2}", run.kib_per_connection),
                mib(run.before_bytes),
                mib(run.idle_bytes),
            ]);
        }
        print!("{}", table(&rows));
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}
