//! What TLS adds to the CPU of a 64-byte echo and to an idle connection, and what a handshake costs.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tempfile::TempDir;

use super::Plan;
use crate::load::transport::Transport;
use crate::load::{Load, echo_once, prepare};
use crate::procfs::{CpuSpent, CpuTime, rss_anon};
use crate::report::{Goal, Spread, table};
use crate::server::{Server, Target};

const CONNECTIONS: u16 = 8;
/// Requests under way per connection, and what TLS may cost then as a multiple of plaintext.
const DEPTHS: [(u16, Option<f64>); 2] = [(16, Some(1.6)), (1, None)];
/// As in the echo section.
const SETTLE: Duration = Duration::from_millis(5);
/// Full handshakes that one figure is taken of.
const HANDSHAKES: u32 = 200;
/// Idle connections: enough to tell them from the noise of the process.
const IDLE: u32 = 1_000;

/// All runs, what they come to and which goals are met.
#[derive(Debug, Serialize)]
pub(crate) struct Tls {
    echoes: Vec<Echo>,
    handshake_cpu_us: Vec<f64>,
    idle_kib: Vec<f64>,
    goals: Vec<Goal>,
}

#[derive(Debug, Serialize)]
struct Echo {
    encrypted: bool,
    in_flight: u16,
    run: u32,
    cpu_us_per_request: f64,
    waited: f64,
}

/// A certificate that a server shows and a client trusts.
struct Pair {
    _directory: TempDir,
    certificate: PathBuf,
    key: PathBuf,
    client: Arc<ClientConfig>,
}

impl Pair {
    fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let directory = tempfile::tempdir()?;
        let (certificate, key) = (directory.path().join("crt"), directory.path().join("key"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"mcp/1".to_vec()];
        // What is measured is the dear kind of handshake.
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Pair {
            _directory: directory,
            certificate,
            key,
            client: Arc::new(client),
        })
    }

    fn env(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.display().to_string();
        vec![
            ("MCPD__DATA__TLS__CERTIFICATE", path(&self.certificate)),
            ("MCPD__DATA__TLS__KEY", path(&self.key)),
            ("MCPD__DATA__TLS__HANDSHAKES_PER_SECOND", "0".to_owned()),
        ]
    }

    fn connect(&self, server: &Server) -> Result<Transport> {
        let stream = TcpStream::connect(server.addr).context("cannot connect")?;
        prepare(&stream)?;
        Transport::tls(stream, Arc::clone(&self.client)).context("cannot shake hands")
    }
}

/// Measures and prints; `None` without a mcpd to measure.
pub(super) fn measure(plan: &Plan) -> Result<Option<Tls>> {
    let Some(Target::Mcpd { program, .. }) = plan.mcpd() else {
        eprintln!("leaving TLS out, there is no mcpd to measure");
        return Ok(None);
    };
    let pair = Pair::new()?;
    let mut tls = Tls {
        echoes: Vec::new(),
        handshake_cpu_us: Vec::new(),
        idle_kib: Vec::new(),
        goals: Vec::new(),
    };
    for run in 0..plan.runs {
        // Plain first in one round, TLS in the next.
        for encrypted in [run % 2 == 1, run % 2 == 0] {
            let target = Target::Mcpd {
                program: program.clone(),
                ready_addr: None,
                env: if encrypted { pair.env() } else { Vec::new() },
            };
            let server = target.launch(plan.cores, Some(IDLE + 100))?;
            tls.round(plan, &server, encrypted.then_some(&pair), run)?;
        }
    }
    tls.goals = tls.goals();
    tls.print();
    Ok(Some(tls))
}

/// CPU time of a server's threads while something is done.
fn cpu_of(server: &Server, what: impl FnOnce() -> Result<u64>) -> Result<(u64, CpuSpent)> {
    thread::sleep(SETTLE);
    let before = CpuTime::of(server.pid)?;
    let count = what()?;
    thread::sleep(SETTLE);
    let spent = CpuTime::of(server.pid)?.since(&before);
    ensure!(spent.nanos > 0, "the kernel accounts no CPU time");
    Ok((count, spent))
}

impl Tls {
    fn round(&mut self, plan: &Plan, server: &Server, pair: Option<&Pair>, run: u32) -> Result<()> {
        for (in_flight, _) in DEPTHS {
            let mut load = match pair {
                None => Load::connect(server.protocol, server.addr, CONNECTIONS, in_flight)?,
                Some(pair) => {
                    let streams = (0..CONNECTIONS).map(|_| pair.connect(server));
                    let streams = streams.collect::<Result<Vec<_>>>()?;
                    Load::over(server.protocol, streams, in_flight)?
                }
            };
            load.run(plan.run_length / 5)?;
            let mut elapsed = Duration::ZERO;
            let (requests, spent) = cpu_of(server, || {
                let outcome = load.run(plan.run_length)?;
                elapsed = outcome.elapsed;
                Ok(outcome.requests)
            })?;
            let echo = Echo {
                encrypted: pair.is_some(),
                in_flight,
                run,
                cpu_us_per_request: spent.nanos as f64 / requests as f64 / 1e3,
                waited: spent.waited_nanos as f64 / 1e9 / elapsed.as_secs_f64(),
            };
            let (name, cpu) = (name(echo.encrypted), echo.cpu_us_per_request);
            eprintln!(
                "tls {}/{}: {name} at {in_flight}: {cpu:.3} µs",
                run + 1,
                plan.runs
            );
            self.echoes.push(echo);
        }
        if let Some(pair) = pair {
            self.handshakes(server, pair)?;
            self.idle(server, pair)?;
        }
        Ok(())
    }

    fn handshakes(&mut self, server: &Server, pair: &Pair) -> Result<()> {
        let (count, spent) = cpu_of(server, || {
            for _ in 0..HANDSHAKES {
                pair.connect(server)?;
            }
            Ok(HANDSHAKES.into())
        })?;
        let each = spent.nanos as f64 / count as f64 / 1e3;
        self.handshake_cpu_us.push(each);
        Ok(())
    }

    fn idle(&mut self, server: &Server, pair: &Pair) -> Result<()> {
        let before = rss_anon(server.pid)?;
        let mut held = Vec::new();
        for _ in 0..IDLE {
            let mut stream = pair.connect(server)?;
            echo_once(server.protocol, &mut stream)?;
            held.push(stream);
        }
        thread::sleep(Duration::from_secs(1));
        let bytes = rss_anon(server.pid)?.saturating_sub(before);
        self.idle_kib.push(bytes as f64 / f64::from(IDLE) / 1024.0);
        Ok(())
    }

    /// Of the CPU per request to that of plaintext, round by round.
    fn ratio(&self, in_flight: u16) -> Option<Spread> {
        let of = |encrypted| {
            let fits =
                move |echo: &&Echo| echo.encrypted == encrypted && echo.in_flight == in_flight;
            self.echoes.iter().filter(fits)
        };
        Spread::of(of(true).filter_map(|echo| {
            let plain = of(false).find(|plain| plain.run == echo.run)?;
            Some(echo.cpu_us_per_request / plain.cpu_us_per_request)
        }))
    }

    fn goals(&self) -> Vec<Goal> {
        let goal = |(in_flight, limit): (u16, Option<f64>)| {
            let measured = self.ratio(in_flight).map(|ratio| ratio.median);
            let what = format!("TLS at {in_flight} in flight");
            Some(Goal::at_most(what, limit?, "× plaintext", measured))
        };
        DEPTHS.into_iter().filter_map(goal).collect()
    }

    fn print(&self) {
        println!("\ntls: server CPU per 64-byte echo, {CONNECTIONS} connections, µs");
        let head = ["", "in flight", "CPU", "to plaintext", "waited"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for (in_flight, _) in DEPTHS {
            for encrypted in [false, true] {
                let of = |value: fn(&Echo) -> f64| {
                    let echoes = self.echoes.iter();
                    let own =
                        echoes.filter(|e| e.encrypted == encrypted && e.in_flight == in_flight);
                    Spread::of(own.map(value)).map_or(String::new(), |spread| spread.text(3))
                };
                let ratio = self.ratio(in_flight).filter(|_| encrypted);
                rows.push(vec![
                    name(encrypted).to_owned(),
                    in_flight.to_string(),
                    of(|echo| echo.cpu_us_per_request),
                    ratio.map_or("1".to_owned(), |ratio| ratio.text(2)),
                    of(|echo| echo.waited),
                ]);
            }
        }
        print!("{}", table(&rows));
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        if let Some(each) = spread(&self.handshake_cpu_us) {
            println!("  a full handshake: {} µs of server CPU", each.text(0));
        }
        if let Some(each) = spread(&self.idle_kib) {
            println!("  an idle connection: {} KiB", each.text(2));
        }
        for goal in &self.goals {
            println!("{}", goal.text());
        }
    }
}

fn name(encrypted: bool) -> &'static str {
    match encrypted {
        true => "TLS",
        false => "plaintext",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_compare_runs_of_the_same_round() {
        let echo = |encrypted, run, cpu_us_per_request| Echo {
            encrypted,
            in_flight: 16,
            run,
            cpu_us_per_request,
            waited: 0.0,
        };
        let echoes = vec![
            echo(false, 0, 1.0),
            echo(true, 0, 1.5),
            echo(true, 1, 3.4),
            echo(false, 1, 2.0),
        ];
        let tls = Tls {
            echoes,
            handshake_cpu_us: Vec::new(),
            idle_kib: Vec::new(),
            goals: Vec::new(),
        };
        assert_eq!(tls.ratio(16).unwrap().text(2), "1.60 (1.50..1.70)");
        assert!(tls.ratio(1).is_none());
    }
}
