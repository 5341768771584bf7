//! Server CPU per request that is passed on to an HTTP service: mcpd, which is asked by MCP, beside HAProxy,
//! which is asked by HTTP.

use std::fs;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Plan;
use super::startup::await_ready;
use crate::load::{Load, Protocol};
use crate::machine;
use crate::procfs::CpuTime;
use crate::report::{Goal, Spread, table};
use crate::server::{Server, Target, drain, free_port, mcpd, spawn};

/// Requests under way: mcpd has them on 8 connections, HTTP/1.1 on one each.
const CONNECTIONS: u16 = 8;
const DEPTH: u16 = 16;
const GOAL: f64 = 1.5;
const SETTLE: Duration = Duration::from_millis(5);

/// All runs and what they come to.
#[derive(Debug, Serialize)]
pub(crate) struct HttpHop {
    in_flight: u16,
    body_bytes: u16,
    figures: Vec<Figure>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Figure {
    proxy: &'static str,
    cpu_us_per_request: Spread,
    requests_per_second: Spread,
}

/// One run of one proxy.
struct Run {
    cpu_us: f64,
    per_second: f64,
}

/// Measures and prints; `None` without both.
pub(super) fn measure(plan: &Plan, haproxy: &str) -> Result<Option<HttpHop>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("http-hop: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    if let Err(error) = machine::version_of(haproxy) {
        eprintln!(
            "http-hop: skipped, {haproxy} does not run ({error:#}); benches/support/setup installs it"
        );
        return Ok(None);
    }
    let service = serve()?;
    let mut runs = [Vec::new(), Vec::new()];
    for run in 0..plan.runs {
        for at in 0..2 {
            let at = (at + run as usize) % 2;
            let (server, _kept) = match at {
                0 => start_mcpd(plan, program, service)?,
                _ => start_haproxy(plan, haproxy, service)?,
            };
            let one = one_run(plan, &server).with_context(|| NAMES[at])?;
            let (n, of) = (run + 1, plan.runs);
            eprintln!("http-hop {n}/{of}: {} {:.2} µs", NAMES[at], one.cpu_us);
            runs[at].push(one);
        }
    }
    let figure = |(runs, proxy): (&Vec<Run>, &'static str)| {
        Some(Figure {
            proxy,
            cpu_us_per_request: Spread::of(runs.iter().map(|run| run.cpu_us))?,
            requests_per_second: Spread::of(runs.iter().map(|run| run.per_second))?,
        })
    };
    let figures: Vec<Figure> = runs.iter().zip(NAMES).filter_map(figure).collect();
    let pairs = runs[0].iter().zip(&runs[1]);
    let ratio = Spread::of(pairs.map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us));
    let hop = HttpHop {
        in_flight: CONNECTIONS * DEPTH,
        body_bytes: 64,
        figures,
        goals: vec![Goal::at_most(
            "mcpd to an HTTP service",
            GOAL,
            "× haproxy",
            ratio.map(|ratio| ratio.median),
        )],
    };
    hop.print();
    Ok(Some(hop))
}

const NAMES: [&str; 2] = ["mcpd", "haproxy"];

/// A server with what it was configured by, which must outlast it.
type Started = (Server, tempfile::TempDir);

fn start_mcpd(plan: &Plan, program: &std::path::PathBuf, service: SocketAddr) -> Result<Started> {
    let directory = tempfile::tempdir()?;
    let (handlers, routes) = (
        directory.path().join("handlers.yaml"),
        directory.path().join("routes.yaml"),
    );
    let entry = format!(
        "{{name: up, type: http, url: \"http://{service}/{{topic}}\", pool: {{max_connections: {}}}}}",
        CONNECTIONS * DEPTH
    );
    fs::write(
        &handlers,
        format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}"),
    )?;
    let route = "{topic: echo, handler: up}";
    fs::write(
        &routes,
        format!("{{apiVersion: mcpd/v1, kind: RouteTable, routes: [{route}]}}"),
    )?;
    let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut command = mcpd(program, data, sidecar);
    command.env("MCPD__HANDLERS_FILE", &handlers);
    command.arg("--routes").arg(&routes);
    let (mut server, stdout) = spawn(command, plan.cores)?;
    drain(BufReader::new(stdout));
    server.addr = data;
    await_ready(sidecar, Instant::now(), || server.ensure_alive())?;
    Ok((server, directory))
}

fn start_haproxy(plan: &Plan, program: &str, service: SocketAddr) -> Result<Started> {
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("haproxy.cfg");
    let port = free_port()?;
    fs::write(
        &config,
        format!(
            "global\n nbthread 1\n maxconn 1000\ndefaults\n mode http\n timeout connect 5s\n \
             timeout client 30s\n timeout server 30s\nfrontend in\n bind 127.0.0.1:{port}\n \
             default_backend out\nbackend out\n http-reuse always\n server up {service}\n"
        ),
    )?;
    let mut command = Command::new(program);
    command.args(["-db", "-f"]).arg(&config);
    let (mut server, stdout) = spawn(command, plan.cores)?;
    drain(BufReader::new(stdout));
    server.addr.set_port(port);
    server.protocol = Protocol::Http;
    server.await_echo()?;
    Ok((server, directory))
}

fn one_run(plan: &Plan, server: &Server) -> Result<Run> {
    let (connections, depth) = match server.protocol {
        Protocol::Http => (CONNECTIONS * DEPTH, 1),
        _ => (CONNECTIONS, DEPTH),
    };
    let mut load = Load::connect(server.protocol, server.addr, connections, depth)?;
    load.run(plan.run_length / 5)?;
    std::thread::sleep(SETTLE);
    let before = CpuTime::of(server.pid)?;
    let outcome = load.run(plan.run_length)?;
    std::thread::sleep(SETTLE);
    let spent = CpuTime::of(server.pid)?.since(&before);
    Ok(Run {
        cpu_us: spent.nanos as f64 / outcome.requests as f64 / 1e3,
        per_second: outcome.requests as f64 / outcome.elapsed.as_secs_f64(),
    })
}

/// A service in this process, on the core of the load: it answers with the body it got.
fn serve() -> Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                // One that goes away has ended its run.
                tokio::spawn(async move { drop(echo(stream).await) });
            }
        });
    });
    Ok(addr)
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut input = vec![0; 16 * 1024];
    let mut held = 0;
    loop {
        let read = stream.read(&mut input[held..]).await?;
        ensure!(read > 0, "the end");
        held += read;
        let Some(head) = input[..held]
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
        else {
            continue;
        };
        // Every request of the load has a body of 64 bytes.
        let end = head + 4 + 64;
        if held < end {
            continue;
        }
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n".to_vec();
        answer.extend_from_slice(&input[head + 4..end]);
        stream.write_all(&answer).await?;
        input.copy_within(end..held, 0);
        held -= end;
    }
}

impl HttpHop {
    fn print(&self) {
        println!(
            "\nhttp-hop: server CPU per {}-byte request passed on to an HTTP service, {} in flight, median (min..max)",
            self.body_bytes, self.in_flight
        );
        let mut rows = vec![
            ["", "µs CPU/request", "requests/s"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for figure in &self.figures {
            rows.push(vec![
                figure.proxy.to_owned(),
                figure.cpu_us_per_request.text(2),
                format!("{:.0}", figure.requests_per_second.median),
            ]);
        }
        print!("{}", table(&rows));
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}
