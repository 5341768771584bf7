//! One file for each kind of figure, and what they share.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::Options;
use crate::machine::{self, Cores, Machine};
use crate::micro;
use crate::server::{self, Name, Target};

mod admin;
mod client;
mod codec;
mod echo;
mod hop;
mod http_hop;
mod idle;
mod lookup;
mod observed;
mod overload;
mod scrape;
mod startup;
mod telemetry;
mod tls;

/// A kind of figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Echo,
    Idle,
    Startup,
    Codec,
    Lookup,
    Overload,
    Telemetry,
    Scrape,
    Observed,
    Admin,
    Tls,
    Client,
    HttpHop,
    Hop,
}

/// In the order in which they are measured.
pub(crate) const ALL: [Section; 14] = [
    Section::Echo,
    Section::Idle,
    Section::Startup,
    Section::Codec,
    Section::Lookup,
    Section::Overload,
    Section::Telemetry,
    Section::Scrape,
    Section::Observed,
    Section::Admin,
    Section::Tls,
    Section::Client,
    Section::HttpHop,
    Section::Hop,
];

/// What is measured, and how long.
struct Plan {
    cores: Cores,
    targets: Vec<Target>,
    runs: u32,
    run_length: Duration,
    idle_connections: u32,
    open_files: u64,
    /// Times that a codec or look-up is repeated in one run.
    repeats: u32,
}

impl Plan {
    /// The targets of run number `run`, a different one first each time: none profits from always
    /// following the same neighbour.
    fn turn(&self, run: u32) -> impl Iterator<Item = &Target> {
        let count = self.targets.len();
        (0..count).map(move |at| &self.targets[(at + run as usize) % count])
    }

    fn mcpd(&self) -> Option<&Target> {
        self.targets
            .iter()
            .find(|target| target.name() == Name::Mcpd)
    }
}

/// Everything on record, as `--json` writes it.
#[derive(Serialize)]
struct Record {
    machine: Machine,
    versions: BTreeMap<&'static str, String>,
    quick: bool,
    runs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    echo: Option<echo::Echo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<idle::Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    startup: Option<startup::Startup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<micro::Costs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<micro::Costs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overload: Option<overload::Overload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    telemetry: Option<telemetry::Telemetry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scrape: Option<scrape::Scrape>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<observed::Observed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<admin::Admin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_hop: Option<http_hop::HttpHop>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hop: Option<hop::Hops>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<tls::Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<client::ClientCost>,
}

/// Measures the given sections, prints them as they are ready and writes the record if asked to.
pub(crate) fn run(options: &Options, sections: &[Section]) -> Result<()> {
    server::end_with_us()?;
    let cores_allowed = machine::cores_allowed()?;
    let cores = Cores::take()?;
    let open_files = machine::raise_open_files()?;
    let (targets, versions) = targets(options)?;
    let (runs, run_ms, idle_connections, repeats) = match options.quick {
        true => (3, 250, 1_000, 100_000),
        false => (7, 1_000, 10_000, 1_000_000),
    };
    let plan = Plan {
        cores,
        targets,
        runs: options.runs.unwrap_or(runs),
        run_length: Duration::from_millis(options.run_ms.unwrap_or(run_ms)),
        idle_connections: options.idle_connections.unwrap_or(idle_connections),
        open_files,
        repeats,
    };
    let mut record = Record {
        machine: Machine::describe(cores, cores_allowed, open_files),
        versions,
        quick: options.quick,
        runs: plan.runs,
        echo: None,
        idle: None,
        startup: None,
        codec: None,
        lookup: None,
        overload: None,
        telemetry: None,
        scrape: None,
        observed: None,
        admin: None,
        tls: None,
        client: None,
        http_hop: None,
        hop: None,
    };
    println!("{}", record.machine.summary());
    for (name, version) in &record.versions {
        println!("{name}: {version}");
    }
    for section in sections {
        match section {
            Section::Echo => record.echo = Some(echo::measure(&plan)?),
            Section::Idle => record.idle = Some(idle::measure(&plan)?),
            Section::Startup => record.startup = startup::measure(&plan)?,
            Section::Codec => record.codec = Some(codec::measure(&plan)?),
            Section::Lookup => record.lookup = Some(lookup::measure(&plan)?),
            Section::Overload => record.overload = overload::measure(&plan)?,
            Section::Telemetry => record.telemetry = telemetry::measure(&plan)?,
            Section::Scrape => record.scrape = scrape::measure(&plan)?,
            Section::Observed => record.observed = observed::measure(&plan)?,
            Section::Admin => record.admin = admin::measure(&plan)?,
            Section::Tls => record.tls = tls::measure(&plan)?,
            Section::Client => record.client = client::measure(&plan)?,
            Section::HttpHop => record.http_hop = http_hop::measure(&plan, &options.haproxy)?,
            Section::Hop => record.hop = hop::measure(&plan)?,
        }
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&record)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The value that this part of sorted values do not exceed.
fn quantile<T: Copy>(sorted: &[T], part: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize).copied()
}

/// What can be measured here; what cannot is left out aloud.
fn targets(options: &Options) -> Result<(Vec<Target>, BTreeMap<&'static str, String>)> {
    let mut targets = vec![Target::Floor];
    let mut versions = BTreeMap::from([("figures", env!("CARGO_PKG_VERSION").to_owned())]);
    match &options.mcpd {
        Some(path) => {
            // Servers run in directories of their own, where a relative path leads elsewhere.
            let program = fs::canonicalize(path)
                .with_context(|| format!("cannot find the mcpd to measure, {}", path.display()))?;
            let version = machine::version_of(&program.to_string_lossy())?;
            versions.insert("mcpd", version);
            targets.push(Target::Mcpd {
                program,
                ready_addr: options.ready_addr,
                env: Vec::new(),
            });
        }
        None => eprintln!("without --mcpd PATH only the references are measured"),
    }
    match machine::version_of(&options.redis) {
        Ok(version) => {
            versions.insert("redis", version);
            targets.push(Target::Redis {
                program: options.redis.clone(),
            });
        }
        Err(error) => eprintln!(
            "leaving Redis out, {} does not run ({error}); benches/support/setup installs it",
            options.redis
        ),
    }
    Ok((targets, versions))
}
