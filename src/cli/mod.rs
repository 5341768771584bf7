//! The command line.

use crate::app;
use crate::config::{self, Flag, LoadOptions};
use crate::telemetry;
use std::process::ExitCode;

/// tmp
pub fn main() -> ExitCode {
    let mut flags = Vec::new();
    let mut args = std::env::args().skip(1);
    let mut file = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--listen" => flags.push(Flag::new(
                "data.listen",
                args.next().unwrap_or_default(),
                "--listen",
            )),
            "--sidecar-listen" => flags.push(Flag::new(
                "sidecar.listen",
                args.next().unwrap_or_default(),
                "--sidecar-listen",
            )),
            "--routes" => flags.push(Flag::new(
                "routes.file",
                args.next().unwrap_or_default(),
                "--routes",
            )),
            "--config" => file = args.next().map(Into::into),
            "--version" => {
                println!("mcpd 0");
                return ExitCode::SUCCESS;
            }
            _ => {}
        }
    }
    let load = move || {
        config::load(LoadOptions::from_process(file.clone(), flags.clone()))
            .map_err(|e| e.to_string())
    };
    let config = match load() {
        Ok(c) => c,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(64);
        }
    };
    let logs = telemetry::init_logs(telemetry::LogStyle::Auto, &config.log.filter).ok();
    match app::serve(config, logs, Box::new(load)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}
