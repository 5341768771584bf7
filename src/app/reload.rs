//! SIGHUP: takes what may change at run time, and says what needs a restart.

use super::{Server, access, settings};
use crate::config::Config;
use crate::telemetry::SamplingSettings;
use std::sync::atomic::Ordering;

/// Loads the configuration again and applies what differs, all of it or nothing.
pub(super) fn run(server: &mut Server) {
    server.routes.poke();
    let mut config = match (server.reload)() {
        Ok(config) => config,
        Err(problems) => {
            return tracing::error!(%problems, "configuration refused, the old one stays");
        }
    };
    let diff = server.config.diff_reloadable(&config);
    // What waits for a restart stays as it runs, here and in the next comparison.
    config.keep_what_needs_restart(&server.config);
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
    server.shared.set_config(&config);
    server.config = config;
}

fn apply(server: &mut Server, config: &Config) -> Result<(), String> {
    // First what may fail for reasons that the configuration alone does not show. The filter was
    // parsed already; that it cannot be set says only that nobody logs.
    let rules = access::rules(config)?;
    server.routes.reconfigure(config)?;
    server.api.set_rules(rules);
    // What was changed at run time stays, unless the configuration has changed too.
    if config.log.filter != server.config.log.filter
        && let Err(error) = server.shared.use_filter(&config.log.filter)
    {
        tracing::warn!(%error, "the log filter stays");
    }
    let sampling = settings::sampling(config);
    if sampling != settings::sampling(&server.config) {
        let routes = server.sampling.get().routes;
        let sampling = SamplingSettings { routes, ..sampling };
        server
            .sampling
            .set(sampling)
            .map_err(|error| error.to_string())?;
    }
    // For connections from now on; those that are open keep what they were accepted with.
    server.settings.send_replace(settings::connections(config));
    server
        .status
        .keep_ready
        .store(settings::keeps_ready(config), Ordering::Relaxed);
    Ok(())
}
