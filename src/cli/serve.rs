//! `mcpd serve`: from flags to a running server.

use super::exit::Exit;
use super::output::{Output, complain};
use super::peer::env;
use crate::app;
use crate::config::{self, Config, ConfigErrors, Flag, LoadOptions};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// How long the end of the process waits for somebody to read its last log lines.
const LAST_LINES: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  mcpd serve
  mcpd serve --listen 0.0.0.0:8080 --sidecar-listen 0.0.0.0:8081 --routes routes.yaml
  MCPD__DRAIN__DELAY=0s mcpd serve --config mcpd.yaml

Values come from the defaults, then the file, then the environment (MCPD__SECTION__KEY), then flags;
the later ones win. `mcpd check --verbose` shows what is in force and why. SIGTERM and Ctrl-C stop
the server in order, Ctrl-C again hastens that; SIGHUP loads the configuration again.";

/// The sources that `serve` and `check` have in common.
#[derive(Clone, Debug, Args)]
pub(super) struct Sources {
    /// Configuration file, .yaml, .yml or .toml (default: the environment variable MCPD_CONFIG,
    /// else none)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Routes document, YAML or JSON; sets routes.file (default: the routes echo and heartbeat)
    #[arg(long, value_name = "FILE")]
    pub(super) routes: Option<String>,
}

impl Sources {
    /// The file that is asked for.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let given = self.config.clone();
        given.or_else(|| env("MCPD_CONFIG").map(PathBuf::from))
    }

    /// Loads it all, with further flags on top.
    pub(super) fn load(&self, mut flags: Vec<Flag>) -> Result<Config, ConfigErrors> {
        flags.extend(flag("routes.file", self.routes.as_ref(), "--routes"));
        config::load(LoadOptions::from_process(self.file(), flags))
    }
}

/// Arguments of `mcpd serve`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    #[command(flatten)]
    sources: Sources,
    /// Where clients connect; sets data.listen (default: 127.0.0.1:8080; port 0: any free port)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where health, readiness, status and metrics are served by HTTP; sets sidecar.listen
    /// (default: 127.0.0.1:8081)
    #[arg(long, value_name = "ADDRESS", visible_alias = "admin-listen")]
    sidecar_listen: Option<String>,
}

impl Serve {
    fn load(&self) -> Result<Config, ConfigErrors> {
        let listen = flag("data.listen", self.listen.as_ref(), "--listen");
        let sidecar = self.sidecar_listen.as_ref();
        let sidecar = flag("sidecar.listen", sidecar, "--sidecar-listen");
        self.sources
            .load(listen.into_iter().chain(sidecar).collect())
    }
}

fn flag(key: &str, value: Option<&String>, name: &str) -> Option<Flag> {
    value.map(|value| Flag::new(key, value, name))
}

pub(super) fn run(args: Serve) -> Exit {
    let config = match args.load() {
        Ok(config) => config,
        Err(problems) => {
            complain(&problems.to_string());
            return Exit::Usage;
        }
    };
    let observed = match app::observe(&config) {
        Ok(observed) => observed,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Internal;
        }
    };
    let output = Output::new();
    if let Some(hint) = hint(&config).filter(|_| output.terminal) {
        // Nobody needs it who does not see it.
        let _ = output.line(&hint);
    }
    let reload = move || args.load().map_err(|problems| problems.to_string());
    let logs = observed.logs.clone();
    let served = app::serve(config, observed, Box::new(reload));
    if let Some(logs) = logs {
        logs.flush(LAST_LINES);
    }
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(&format!("cannot serve: {error}"));
            match error.kind() {
                // What a file says that the configuration names.
                std::io::ErrorKind::InvalidInput => Exit::Usage,
                _ => Exit::Internal,
            }
        }
    }
}

/// What somebody who starts a server by hand may want to try; `None` when it is not known where.
fn hint(config: &Config) -> Option<String> {
    let mut addr: SocketAddr = config.data.listen;
    if addr.port() == 0 {
        return None;
    }
    match addr.ip() {
        ip if !ip.is_unspecified() => {}
        IpAddr::V4(_) => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(_) => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
    }
    let what = match config.routes.file {
        None => "send echo hello",
        Some(_) => "ping",
    };
    let to = match addr == Config::default().data.listen {
        true => String::new(),
        false => format!(" --to {addr}"),
    };
    Some(format!(
        "once it listens, try from another terminal: mcpd {what}{to}\nCtrl-C stops it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_works_when_typed() {
        let with = |listen: &str, routes: Option<&str>| {
            let mut config = Config::default();
            config.data.listen = listen.parse().unwrap();
            config.routes.file = routes.map(PathBuf::from);
            hint(&config)
        };
        let default = with("127.0.0.1:8080", None).unwrap();
        assert!(default.contains(": mcpd send echo hello\n"), "{default}");
        let everywhere = with("[::]:9000", Some("routes.yaml")).unwrap();
        assert!(
            everywhere.contains(": mcpd ping --to [::1]:9000\n"),
            "{everywhere}"
        );
        assert_eq!(with("127.0.0.1:0", None), None);
    }
}
