//! The metrics of the process as a whole, and the page that shows all of them.

use super::conn::ConnMetrics;
use super::log::LogControl;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Renders everything that is counted as Prometheus text.
pub struct Exporter {
    text: PrometheusHandle,
    process: Collector,
    conn: Mutex<Option<Arc<ConnMetrics>>>,
    logs: Option<LogControl>,
}

impl Exporter {
    /// Becomes the recorder of the `metrics` facade for this process.
    ///
    /// # Errors
    /// There is another recorder already.
    pub fn install() -> Result<Exporter, BuildError> {
        let text = PrometheusBuilder::new().install_recorder()?;
        let process = Collector::default();
        process.describe();
        Ok(Exporter {
            text,
            process,
            conn: Mutex::new(None),
            logs: None,
        })
    }

    /// Shows what these logs count too.
    pub fn with_logs(self, logs: Option<LogControl>) -> Exporter {
        Exporter { logs, ..self }
    }

    /// Shows these connections' metrics too.
    pub fn show(&self, conn: Arc<ConnMetrics>) {
        *self.conn.lock().unwrap_or_else(PoisonError::into_inner) = Some(conn);
    }

    /// All metrics in Prometheus' text format 0.0.4.
    pub fn render(&self) -> String {
        self.process.collect();
        let conn = self
            .conn
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(conn) = &conn {
            conn.publish();
        }
        if let Some(logs) = &self.logs {
            logs.publish();
        }
        let mut text = self.text.render();
        if let Some(conn) = conn {
            conn.render(&mut text);
            conn.routes.render(&mut text);
        }
        text
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

/// What is known of the process: its phase, its build and its routes.
#[derive(Debug, Clone)]
pub struct ProcessMetrics {
    phases: Vec<&'static str>,
}

impl ProcessMetrics {
    /// Registers the series; `phases` are all names the lifecycle has.
    pub fn new(phases: impl IntoIterator<Item = &'static str>) -> ProcessMetrics {
        describe_gauge!("mcpd_lifecycle_state", "1 for the phase the process is in.");
        describe_counter!(
            "mcpd_lifecycle_transitions_total",
            "Steps of the lifecycle, by the phase they led to."
        );
        describe_gauge!("mcpd_build_info", "The version that runs; always 1.");
        describe_gauge!("mcpd_routes_revision", "Revision of the live route table.");
        describe_gauge!(
            "mcpd_routes_last_confirmed_timestamp_seconds",
            "When the store last confirmed the live route table."
        );
        describe_counter!(
            "mcpd_routes_reloads_total",
            "Route documents taken or refused."
        );
        gauge!("mcpd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        for result in ["ok", "refused"] {
            counter!("mcpd_routes_reloads_total", "result" => result).absolute(0);
        }
        let metrics = ProcessMetrics {
            phases: phases.into_iter().collect(),
        };
        for phase in &metrics.phases {
            counter!("mcpd_lifecycle_transitions_total", "to" => *phase).absolute(0);
        }
        metrics.phase("");
        metrics
    }

    /// The process is in this phase now.
    pub fn phase(&self, current: &str) {
        for phase in &self.phases {
            let value = if *phase == current { 1.0 } else { 0.0 };
            gauge!("mcpd_lifecycle_state", "state" => *phase).set(value);
        }
    }

    /// The process has gone over to this phase.
    pub fn transition(&self, to: &'static str) {
        counter!("mcpd_lifecycle_transitions_total", "to" => to).increment(1);
        self.phase(to);
    }

    /// A route table is live.
    pub fn routes_live(&self, revision: u64) {
        counter!("mcpd_routes_reloads_total", "result" => "ok").increment(1);
        gauge!("mcpd_routes_revision").set(revision as f64);
        self.routes_confirmed();
    }

    /// A route document was refused.
    pub fn routes_refused(&self) {
        counter!("mcpd_routes_reloads_total", "result" => "refused").increment(1);
    }

    /// The store was read, and holds what is live.
    pub fn routes_confirmed(&self) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        gauge!("mcpd_routes_last_confirmed_timestamp_seconds").set(now.as_secs_f64());
    }
}
