//! SIGHUP: takes what may change at run time, and says what needs a restart.

use super::{Server, settings};
use crate::config::Config;
use std::sync::atomic::Ordering;

/// Loads the configuration again and applies what differs, all of it or nothing.
pub(super) fn run(server: &mut Server) {
    server.routes.poke();
    let config = match (server.reload)() {
        Ok(config) => config,
        Err(problems) => {
            return tracing::error!(%problems, "configuration refused, the old one stays");
        }
    };
    let diff = server.config.diff_reloadable(&config);
    for key in &diff.needs_restart {
        tracing::warn!(key, "changed, but needs a restart");
    }
    if let Err(problem) = apply(server, &config) {
        return tracing::error!(problem, "configuration refused, the old one stays");
    }
    let (changed, restart) = (
        diff.changed_reloadable.join(" "),
        diff.needs_restart.join(" "),
    );
    tracing::info!(changed, restart, "configuration reloaded");
    server.config = config;
}

fn apply(server: &mut Server, config: &Config) -> Result<(), String> {
    if let Some(logs) = &server.logs {
        logs.set_filter(&config.log.filter)
            .map_err(|error| error.to_string())?;
    }
    server.routes.reconfigure(config)?;
    // Address and socket options hold from the start; the rest is for connections from now on.
    server.settings.send_replace(settings::connections(config));
    server
        .status
        .keep_ready
        .store(settings::keeps_ready(config), Ordering::Relaxed);
    Ok(())
}
