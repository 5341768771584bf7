//! `--wait all`: a write that is done when all servers have it.

use crate::cli::peer;
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Whether a write waits for all servers.
#[derive(Debug, Args)]
pub(super) struct Everywhere {
    /// Wait until all servers have it; ends with 1 if some do not in time, and the change stands all the
    /// same (default: the server that is asked has it)
    #[arg(long, value_name = "WHOM")]
    wait: Option<Whom>,
    /// How long to wait for them, with unit, 1ms to 60s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time, requires = "wait")]
    wait_timeout: Time,
}

/// A time, and how the API is told.
#[derive(Clone, Debug)]
struct Time {
    span: Duration,
    text: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Whom {
    /// Every server of the same routes that serves
    All,
}

fn time(text: &str) -> Result<Time, String> {
    let span = peer::duration(text)?;
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&span) {
        return Err("write a time from 1ms to 60s".to_owned());
    }
    let text = format!("{}ms", span.as_millis());
    Ok(Time { span, text })
}

impl Everywhere {
    /// Parameters of the API.
    pub(super) fn query(&self) -> Vec<(&'static str, &str)> {
        match self.wait {
            Some(Whom::All) => vec![("wait", "all"), ("timeout", &self.wait_timeout.text)],
            None => Vec::new(),
        }
    }

    /// How much longer than usual an answer may take.
    pub(super) fn longer(&self) -> Duration {
        self.wait.map_or(Duration::ZERO, |_| self.wait_timeout.span)
    }
}
