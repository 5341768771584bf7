//! Logs: pretty for people, JSON for collectors, with a filter that can change while it runs. Writing
//! a line waits for nobody: a thread of its own does that.

mod json;
mod writer;

use super::trace::{Spans, layer};
use json::Json;
use metrics::counter;
use std::io::IsTerminal;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use writer::Lines;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStyle {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// The same with the names of the Elastic Common Schema.
    Ecs,
}

/// How, what and as whom to log.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// How lines look.
    pub style: LogStyle,
    /// What is logged, in the syntax of `tracing`.
    pub filter: String,
    /// The name of this process, which ECS puts into every line.
    pub server_id: String,
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
    /// There is no thread that could write.
    #[error("logging: {0}")]
    Thread(#[from] std::io::Error),
}

/// Changes the filter of a running process, and sees its last lines out.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: Lines,
}

impl LogControl {
    /// Uses another filter from now on.
    ///
    /// # Errors
    /// The filter does not parse; the old one stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let filter = EnvFilter::try_new(filter)?;
        let reloaded = self.filter.reload(filter);
        reloaded.map_err(|error| LogError::Subscriber(error.to_string()))
    }

    /// The filter in force.
    pub fn filter(&self) -> String {
        let shown = self.filter.with_current(ToString::to_string);
        shown.unwrap_or_default()
    }

    /// Waits until every line so far is written, but not longer than `patience`: nobody may be reading.
    pub fn flush(&self, patience: Duration) {
        self.lines.flush(patience);
    }

    /// Hands the count of lines that nobody took to the recorder of the `metrics` facade.
    pub(super) fn publish(&self) {
        counter!("mcpd_log_lines_dropped_total").absolute(self.lines.dropped());
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogControl")
    }
}

/// Sends logs to standard error from now on, for the whole process, and what handlers' code tells to
/// `tracing` while sampled work runs to `spans`.
///
/// # Errors
/// The filter does not parse, logs go elsewhere already, or there is no thread to be had.
pub fn init(settings: &LogSettings, spans: &Spans) -> Result<LogControl, LogError> {
    let terminal = std::io::stderr().is_terminal();
    let (filter, control) = reload::Layer::new(EnvFilter::try_new(&settings.filter)?);
    let lines = Lines::new(std::io::stderr())?;
    // When standard error is gone there is nowhere to complain; trying would panic.
    let layer_of = fmt::layer()
        .with_writer(lines.clone())
        .log_internal_errors(false);
    let json = |ecs| Json::new(ecs, settings.server_id.clone());
    let style = match (settings.style, terminal) {
        (LogStyle::Auto, true) => LogStyle::Pretty,
        (LogStyle::Auto, false) => LogStyle::Json,
        (style, _) => style,
    };
    let shown = match style {
        LogStyle::Pretty => layer_of.with_ansi(terminal).with_target(false).boxed(),
        LogStyle::Ecs => layer_of.event_format(json(true)).boxed(),
        _ => layer_of.event_format(json(false)).boxed(),
    };
    // The filter is of the lines alone: what is exported does not depend on it.
    let lines_alone = tracing_subscriber::registry().with(shown.with_filter(filter));
    // Not an optional layer: an absent one has every disabled event looked at again and again.
    match spans.queue() {
        Some(queue) => lines_alone.with(layer(queue)).try_init(),
        None => lines_alone.try_init(),
    }
    .map_err(|error| LogError::Subscriber(error.to_string()))?;
    log_panics();
    Ok(LogControl {
        filter: control,
        lines,
    })
}

/// A handler's panic ends one request; the log says which code broke.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("?");
        tracing::error!(at, what, "a panic");
    }));
}
