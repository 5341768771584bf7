//! How large `/metrics` gets and how long a scrape takes when clients do what they can to swell it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcpd_proto::{Frame, Hello, MetaBuf};
use serde::Serialize;

use super::idle::{SPARE_FILES, connect};
use super::startup::await_ready;
use super::{Plan, quantile};
use crate::load::mcp::{HEADER, REQUEST};
use crate::load::{Load, Protocol};
use crate::report::{Goal, table};
use crate::server::{Server, Target, drain, free_port, get, mcpd, spawn};

/// Six times as many as have series of their own.
pub(super) const ROUTES: u32 = 1_200;
/// What each client asks for; no topic comes twice.
const TOPICS_EACH: u32 = 10;
const SCRAPES: usize = 100;
/// A page that is no larger, and takes no longer.
const GOAL_MIB: f64 = 2.0;
const GOAL_MS: f64 = 100.0;
/// The load that keeps the server's core full, as in the echo section.
const CONNECTIONS: u16 = 8;
const IN_FLIGHT: u16 = 16;

/// The page at each stage, and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Scrape {
    clients: u32,
    topics: u32,
    routes: u32,
    stages: Vec<Stage>,
    /// Requests that were counted without a series of their route's own.
    series_dropped: f64,
    goals: Vec<Goal>,
}

/// The page under the same conditions, again and again.
#[derive(Debug, Serialize)]
struct Stage {
    name: &'static str,
    bytes: usize,
    series: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// Measures and prints; `None` without an mcpd to ask.
pub(super) fn measure(plan: &Plan) -> Result<Option<Scrape>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("scrape: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    let possible = u32::try_from(plan.open_files.saturating_sub(SPARE_FILES));
    let clients = plan.idle_connections.min(possible.unwrap_or(u32::MAX));
    ensure!(clients > 0, "no connection can be held; raise `ulimit -n`");
    let directory = tempfile::tempdir()?;
    let routes = directory.path().join("routes.yaml");
    fs::write(&routes, document())?;
    let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut command = mcpd(program, data, sidecar);
    command
        .arg("--routes")
        .arg(&routes)
        .env("MCPD__DATA__MAX_CONNECTIONS", (clients + 100).to_string())
        .env("MCPD__DATA__ACCEPTS_PER_SECOND", "0");
    let (mut server, stdout) = spawn(command, plan.cores)?;
    drain(BufReader::new(stdout));
    server.addr = data;
    await_ready(sidecar, Instant::now(), || server.ensure_alive())?;

    let mut stages = vec![stage("before any request", sidecar)?];
    let held = crowd(&server, clients)?;
    eprintln!("scrape: {clients} clients have asked");
    stages.push(stage("all clients and topics", sidecar)?);
    stages.push(stage_at_full_load(&server, sidecar)?);
    let dropped = sample(&get(sidecar, "/metrics")?, "mcpd_series_dropped_total")?;
    drop(held);

    let largest = stages.iter().map(|stage| stage.bytes).max();
    let mib = largest.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let slowest = |stage: Option<&Stage>| stage.map(|stage| stage.p99_ms);
    let goals = vec![
        Goal::at_most("the page", GOAL_MIB, "MiB", mib),
        Goal::at_most("P99 of a scrape", GOAL_MS, "ms", slowest(stages.get(1))),
        Goal::at_most("at full load", GOAL_MS, "ms", slowest(stages.get(2))),
    ];
    let scrape = Scrape {
        clients,
        topics: clients * TOPICS_EACH,
        routes: ROUTES,
        stages,
        series_dropped: dropped,
        goals,
    };
    scrape.print();
    Ok(Some(scrape))
}

/// Routes with names as long as names may be, and the one that the loads ask for.
pub(super) fn document() -> String {
    let mut text = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n".to_owned();
    for route in 0..ROUTES {
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "  - {{name: r{route:0>62}, topic: r{route}/#, handler: echo}}"
        );
    }
    text + "  - {topic: echo, handler: echo}\n"
}

/// Connects everybody, each with a name and topics of its own; all are still there afterwards.
fn crowd(server: &Server, clients: u32) -> Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(clients as usize);
    for client in 0..clients {
        let mut stream = connect(server.addr, client)?;
        greet(&mut stream, client)?;
        let mut output = Vec::new();
        for n in 0..TOPICS_EACH {
            request(&mut output, n as u16 + 2, &topic(client * TOPICS_EACH + n));
        }
        stream.write_all(&output)?;
        for _ in 0..TOPICS_EACH {
            skip_answer(&mut stream).with_context(|| format!("client {client}"))?;
        }
        held.push(stream);
    }
    Ok(held)
}

fn greet(stream: &mut TcpStream, client: u32) -> Result<()> {
    let mut meta = MetaBuf::new();
    meta.set_client_id(&format!("client-{client}.route:{client}@le-0.5"))?;
    let hello = Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    });
    let mut output = Vec::new();
    hello.encode(&mut output);
    stream.write_all(&output)?;
    skip_answer(stream)
}

/// Topics that would break the page if it had them, and such as no server takes.
fn topic(n: u32) -> Vec<u8> {
    // So that every route gets every kind.
    let route = n / 8 % ROUTES;
    match n % 8 {
        0 => format!("r{route}/{n}\"}} 1\nmcpd_x{{a=\"").into_bytes(),
        1 => format!("r{route}/{n}\\\",code=\\\"OK").into_bytes(),
        2 => format!("r{route}/{n}/\u{202e}\u{feff}\u{10ffff}").into_bytes(),
        3 => [format!("r{route}/{n}/").as_bytes(), &[0xC0, 0x80, 0xFF]].concat(),
        4 => format!("r{route}/{n}/{}", "x".repeat(200)).into_bytes(),
        5 => format!("nobody/has/{n}{{route=\"r1\"}}").into_bytes(),
        6 => format!("r{route}/{n}\0\u{7f}\u{85}").into_bytes(),
        _ => format!("r{route}/{n}").into_bytes(),
    }
}

fn request(output: &mut Vec<u8>, seq: u16, topic: &[u8]) {
    let [s0, s1] = seq.to_be_bytes();
    let [l0, l1, l2, l3] = (2 + topic.len() as u32).to_be_bytes();
    output.extend_from_slice(&[1, REQUEST, s0, s1, l0, l1, l2, l3, 3, 0]);
    output.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    output.extend_from_slice(topic);
}

fn skip_answer(stream: &mut TcpStream) -> Result<()> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).context("no answer")?;
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let skipped = std::io::copy(&mut stream.take(length.into()), &mut std::io::sink())?;
    ensure!(skipped == u64::from(length), "an answer that is cut off");
    Ok(())
}

fn stage(name: &'static str, sidecar: SocketAddr) -> Result<Stage> {
    let mut times = Vec::with_capacity(SCRAPES);
    let mut page = String::new();
    for _ in 0..SCRAPES {
        let start = Instant::now();
        page = get(sidecar, "/metrics")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    Ok(Stage {
        name,
        bytes: page.len(),
        series,
        p50_ms: quantile(&times, 0.5).unwrap_or_default(),
        p99_ms: quantile(&times, 0.99).unwrap_or_default(),
        max_ms: quantile(&times, 1.0).unwrap_or_default(),
    })
}

/// The same while requests keep the server's core full. The load shares its own core with whoever
/// scrapes, so these times are longer than those of a Prometheus elsewhere.
fn stage_at_full_load(server: &Server, sidecar: SocketAddr) -> Result<Stage> {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut load = Load::connect(Protocol::Mcp, server.addr, CONNECTIONS, IN_FLIGHT)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                load.run(Duration::from_millis(100))?;
            }
            Ok(())
        });
        let measured = stage("the same, core full of echoes", sidecar);
        done.store(true, Ordering::Relaxed);
        let loaded = loading.join().ok().context("the load has panicked")?;
        loaded.and(measured)
    })
}

fn sample(page: &str, series: &str) -> Result<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let value = line.with_context(|| format!("no {series} on the page"))?;
    Ok(value.trim().parse()?)
}

impl Scrape {
    fn print(&self) {
        println!(
            "\nscrape: /metrics with {} clients, {} topics (hostile ones among them), {} routes; {SCRAPES} scrapes each",
            self.clients, self.topics, self.routes
        );
        let head = ["", "KiB", "series", "P50 ms", "P99 ms", "max ms"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(self.stages.iter().map(|stage| {
            vec![
                stage.name.to_owned(),
                format!("{:.0}", stage.bytes as f64 / 1024.0),
                stage.series.to_string(),
                format!("{:.1}", stage.p50_ms),
                format!("{:.1}", stage.p99_ms),
                format!("{:.1}", stage.max_ms),
            ]
        }));
        print!("{}", table(&rows));
        println!(
            "  mcpd_series_dropped_total: {:.0} requests counted under _other",
            self.series_dropped
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
    fn topics_are_all_different_and_fit_their_length_field() {
        let topics: std::collections::BTreeSet<_> = (0..10_000).map(topic).collect();
        assert_eq!(topics.len(), 10_000);
        assert!(topics.iter().all(|topic| topic.len() < 256));
    }

    #[test]
    fn a_sample_is_read_from_the_page() {
        let page = "# TYPE a_total counter\na_total 12\n";
        assert_eq!(sample(page, "a_total").unwrap(), 12.0);
        assert!(sample(page, "b_total").is_err());
    }
}
