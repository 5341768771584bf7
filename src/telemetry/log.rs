//! Logs: pretty for people, JSON for collectors, with a filter that can change while it runs.

use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Logging cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The filter is not one.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The subscriber is gone or another one is installed.
    #[error("logging: {0}")]
    Subscriber(String),
}

/// Changes the filter of a running process.
#[derive(Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

impl LogControl {
    /// Uses another filter from now on.
    ///
    /// # Errors
    /// The filter does not parse; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = EnvFilter::try_new(filter)?;
        self.0
            .reload(filter)
            .map_err(|error| LogError::Subscriber(error.to_string()))
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}

/// Sends logs to standard error from now on, for the whole process.
///
/// # Errors
/// The filter does not parse, or logs go elsewhere already.
pub fn init(style: LogStyle, filter: &str) -> Result<LogControl, LogError> {
    let terminal = std::io::stderr().is_terminal();
    let (filter, control) = reload::Layer::new(EnvFilter::try_new(filter)?);
    // When standard error is gone there is nowhere to complain; trying would panic.
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let lines = match (style, terminal) {
        (LogStyle::Pretty, _) | (LogStyle::Auto, true) => {
            lines.with_ansi(terminal).with_target(false).boxed()
        }
        _ => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| LogError::Subscriber(error.to_string()))?;
    log_panics();
    Ok(LogControl(control))
}

/// A handler's panic ends one request; the log says which code broke.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("?");
        tracing::error!(at, what, "a panic");
    }));
}
