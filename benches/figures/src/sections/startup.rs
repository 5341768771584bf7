//! Time from exec until mcpd says that it is ready.

use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::Plan;
use crate::report::{Goal, Spread};
use crate::server::{Target, drain, free_port, mcpd, spawn};

const GOAL_MS: f64 = 100.0;
/// Between two questions: also the precision of the figure.
const PAUSE: Duration = Duration::from_millis(1);
/// One question may take this long: a server that accepts early and answers late is still timed.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const START_LIMIT: Duration = Duration::from_secs(10);

/// All runs and what they come to.
#[derive(Debug, Serialize)]
pub(crate) struct Startup {
    runs_ms: Vec<f64>,
    milliseconds: Spread,
    goals: Vec<Goal>,
}

/// Measures and prints; `None` without an mcpd to start.
pub(super) fn measure(plan: &Plan) -> Result<Option<Startup>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("startup: skipped, it needs --mcpd PATH");
        return Ok(None);
    };
    let mut runs_ms = Vec::new();
    for run in 0..plan.runs {
        let data = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let sidecar = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let start = Instant::now();
        let (server, stdout) = spawn(mcpd(program, data, sidecar), plan.cores)?;
        drain(BufReader::new(stdout));
        let took = await_ready(sidecar, start, || server.ensure_alive())?.as_secs_f64() * 1e3;
        eprintln!("startup {}/{}: {took:.1} ms", run + 1, plan.runs);
        runs_ms.push(took);
    }
    let milliseconds = Spread::of(runs_ms.iter().copied()).context("no run")?;
    let goal = Goal::at_most("mcpd", GOAL_MS, "ms to ready", Some(milliseconds.median));
    println!("\nstartup: exec to a ready mcpd on one core, median (min..max)");
    println!("  mcpd   {} ms", milliseconds.text(1));
    println!("{}", goal.text());
    Ok(Some(Startup {
        runs_ms,
        milliseconds,
        goals: vec![goal],
    }))
}

/// Asks until the answer is 200; the time since `start`.
pub(super) fn await_ready(
    sidecar: SocketAddr,
    start: Instant,
    alive: impl Fn() -> Result<()>,
) -> Result<Duration> {
    loop {
        let last = match ready(sidecar) {
            Ok(200) => return Ok(start.elapsed()),
            Ok(status) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        alive()?;
        if start.elapsed() > START_LIMIT {
            bail!("not ready after {START_LIMIT:?}: {last}");
        }
        thread::sleep(PAUSE);
    }
}

/// The status of `GET /readyz`.
fn ready(sidecar: SocketAddr) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&sidecar, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: figures\r\nConnection: close\r\n\r\n")?;
    let mut status_line = [0; 12];
    stream.read_exact(&mut status_line)?;
    let status = status_line.strip_prefix(b"HTTP/1.1 ");
    let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    status.ok_or_else(|| io::Error::other("an answer that is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_a_200_is_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, answered) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for status in [
                "503 Service Unavailable",
                "503 Service Unavailable",
                "200 OK",
            ] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 64];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
                asked.send(status).unwrap();
                // In one piece: whoever asks is gone once it has read the status.
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        await_ready(addr, Instant::now(), || Ok(())).unwrap();
        assert_eq!(answered.try_iter().count(), 3);
    }

    #[test]
    fn a_server_that_ended_is_not_waited_for() {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let said = await_ready(addr, Instant::now(), || bail!("it has ended")).unwrap_err();
        assert_eq!(said.to_string(), "it has ended");
    }
}
