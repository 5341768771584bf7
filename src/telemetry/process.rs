//! The metrics of the process as a whole, and the page that shows all of them.

use super::catalog;
use super::cgroup::CpuStat;
use super::conn::ConnMetrics;
use super::log::LogControl;
use super::peers::PeerMetrics;
use super::queue::QueueMetrics;
use super::upstream::UpstreamCatalog;
use super::{cpu, peers, tls, trace};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::RuntimeMetrics;

/// Renders everything that is counted as Prometheus text.
pub struct Exporter {
    text: PrometheusHandle,
    process: Collector,
    conn: Mutex<Option<Arc<ConnMetrics>>>,
    queues: Arc<QueueMetrics>,
    upstreams: Arc<UpstreamCatalog>,
    peers: Arc<PeerMetrics>,
    runtimes: Mutex<Vec<(&'static str, RuntimeMetrics)>>,
    logs: Option<LogControl>,
}

impl Exporter {
    /// Becomes the recorder of the `metrics` facade for this process. Further servers of the process
    /// share it. Where the program has a recorder of its own, that one gets what goes through the facade,
    /// and the page shows the rest.
    pub fn install() -> Exporter {
        static TEXT: OnceLock<PrometheusHandle> = OnceLock::new();
        let text = TEXT.get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let text = recorder.handle();
            let _ = metrics::set_global_recorder(recorder);
            text
        });
        catalog::describe();
        trace::register();
        tls::register();
        peers::register();
        Exporter {
            text: text.clone(),
            process: Collector::default(),
            conn: Mutex::new(None),
            queues: Arc::default(),
            upstreams: Arc::default(),
            peers: Arc::default(),
            runtimes: Mutex::default(),
            logs: None,
        }
    }

    /// Shows what these logs count too.
    pub fn with_logs(self, logs: Option<LogControl>) -> Exporter {
        Exporter { logs, ..self }
    }

    /// The counts of queues that this page shows.
    pub fn queues(&self) -> &Arc<QueueMetrics> {
        &self.queues
    }

    /// The counts of upstreams that this page shows.
    pub fn upstreams(&self) -> &Arc<UpstreamCatalog> {
        &self.upstreams
    }

    /// The counts of other servers that this page shows.
    pub fn peers(&self) -> &Arc<PeerMetrics> {
        &self.peers
    }

    /// Shows these connections' metrics too.
    pub fn show(&self, conn: Arc<ConnMetrics>) {
        *self.conn.lock().unwrap_or_else(PoisonError::into_inner) = Some(conn);
    }

    /// Shows how busy these runtimes are too; those of one name are added up.
    pub fn watch(&self, name: &'static str, runtimes: impl IntoIterator<Item = RuntimeMetrics>) {
        let mut watched = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        watched.extend(runtimes.into_iter().map(|runtime| (name, runtime)));
    }

    fn render_busy(&self, out: &mut String) {
        let watched = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut busy: Vec<(&str, Duration)> = Vec::new();
        for (name, runtime) in watched.iter() {
            let workers = 0..runtime.num_workers();
            let time = workers.map(|worker| runtime.worker_total_busy_duration(worker));
            let time: Duration = time.sum();
            match busy.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += time,
                None => busy.push((name, time)),
            }
        }
        if busy.is_empty() {
            return;
        }
        let name = "mcpd_runtime_busy_seconds_total";
        catalog::head(name, out);
        for (runtime, time) in busy {
            let seconds = time.as_secs_f64();
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{name}{{runtime=\"{runtime}\"}} {seconds}");
        }
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
        let mut text = cpu::refine(self.text.render());
        if let Some(conn) = conn {
            conn.render(&mut text);
            conn.routes.render(&mut text);
        }
        self.queues.render(&mut text);
        self.upstreams.render(&mut text);
        self.peers.render(&mut text);
        self.render_busy(&mut text);
        if let Some(stat) = CpuStat::read() {
            stat.render(&mut text);
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
        catalog::describe();
        gauge!("mcpd_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        for result in ["ok", "refused"] {
            for name in RELOADS {
                counter!(name, "result" => result).absolute(0);
            }
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
    }

    /// A route document was refused.
    pub fn routes_refused(&self) {
        counter!("mcpd_routes_reloads_total", "result" => "refused").increment(1);
    }

    /// A principals document was taken or refused.
    pub fn principals(&self, taken: bool) {
        counter!("mcpd_principals_reloads_total", "result" => result(taken)).increment(1);
    }

    /// Keys of JWTs were got, be they the same as before, or refused.
    pub fn keys(&self, taken: bool) {
        counter!("mcpd_jwt_keys_reloads_total", "result" => result(taken)).increment(1);
        if taken {
            gauge!("mcpd_jwt_keys_last_confirmed_timestamp_seconds").set(now());
        }
    }

    /// The store was read at that time, and held what is live.
    pub fn routes_confirmed(&self, at: SystemTime) {
        gauge!("mcpd_routes_last_confirmed_timestamp_seconds").set(since_1970(at));
    }
}

/// What counts documents that were taken and refused.
const RELOADS: [&str; 3] = [
    "mcpd_routes_reloads_total",
    "mcpd_principals_reloads_total",
    "mcpd_jwt_keys_reloads_total",
];

fn result(taken: bool) -> &'static str {
    if taken { "ok" } else { "refused" }
}

fn now() -> f64 {
    since_1970(SystemTime::now())
}

/// In seconds.
fn since_1970(at: SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
