//! Configuration: defaults, file, environment and flags, laid over each other
//! in this order and validated whole before anything is bound.
//!
//! [`KEYS`] is the table of everything that can be set; `docs/configuration.md`
//! is generated from it. [`load`] either gives a [`Config`] in which every value
//! is within its limits, or [`ConfigErrors`] with every problem at once.

mod auth;
mod build;
mod effective;
mod handlers;
mod keys;
mod kubernetes;
mod layers;
mod lines;
mod peers;
mod problem;
mod tls;
mod tracing;
mod validated;
mod value;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use auth::{AuthConfig, JwtConfig};
pub use effective::{ReloadDiff, Setting};
pub use keys::{KEYS, KeyDoc, Kind};
pub use kubernetes::{KubernetesConfig, KubernetesMode};
pub use peers::{PeersConfig, RebalanceConfig};
pub use problem::{ConfigErrors, Problem, ProblemKind};
pub use tls::{ClientAuth, HandshakeConfig, TlsConfig};
pub use tracing::{OtlpProtocol, TracingConfig};
pub use validated::{
    AdminConfig, Config, DataConfig, DrainConfig, GoawayConfig, HandlerConfig, HeartbeatConfig,
    Latency, LimitsConfig, LogConfig, LogFormat, LoopbackAccess, MetricsConfig, ProxyProtocol,
    Readiness, RoutesConfig, SchedulerConfig, SidecarConfig, StaticBody,
};

/// Set in every container that Kubernetes runs.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// Where [`load`] looks. The default is nowhere: built-in values only.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// A YAML (`.yaml`, `.yml`) or TOML (`.toml`) file of at most 1 MiB.
    pub file: Option<PathBuf>,
    /// Environment variables. Those that begin with `MCPD__` are keys, with
    /// `__` between the levels, and one that only lacks an underscore for that is a problem; `HOSTNAME` is the default of `server_id`, some of OpenTelemetry's
    /// `OTEL_` are defaults of `tracing.*`, and `KUBERNETES_SERVICE_HOST` tells that this process runs
    /// in a pod.
    pub env: BTreeMap<String, String>,
    /// Values from the command line; a later one wins.
    pub flags: Vec<Flag>,
}

impl LoadOptions {
    /// Looks at `file`, the variables of this process, and `flags`.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        // Values that are not UTF-8 become values that fail validation, which
        // is better than to skip them in silence.
        let env = std::env::vars_os()
            .map(|(name, value)| {
                (
                    name.to_string_lossy().into_owned(),
                    value.to_string_lossy().into_owned(),
                )
            })
            .filter(|(name, _)| {
                let others = ["HOSTNAME", KUBERNETES];
                name.starts_with("MCPD__")
                    || layers::almost(name).is_some()
                    || others.contains(&name.as_str())
                    || tracing::is_variable(name)
            })
            .collect();
        Self { file, env, flags }
    }
}

/// A value given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The dotted key, such as `data.listen`.
    pub key: String,
    /// The value as typed.
    pub value: String,
    /// The flag as the user knows it, such as `--listen`.
    pub name: String,
}

impl Flag {
    /// A flag `name` that sets `key`.
    pub fn new(key: impl Into<String>, value: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            name: name.into(),
        }
    }
}

/// Loads and validates a whole configuration.
///
/// ```
/// use mcpd::config::{Flag, LoadOptions, load};
///
/// let mut options = LoadOptions::default();
/// options.env.insert("MCPD__DRAIN__DELAY".into(), "2s".into());
/// options.flags.push(Flag::new("data.listen", "127.0.0.1:0", "--listen"));
/// let config = load(options)?;
/// assert_eq!(config.drain.delay.as_secs(), 2);
///
/// let mut options = LoadOptions::default();
/// options.env.insert("MCPD__DRAIN__DELAY".into(), "2".into());
/// let errors = load(options).unwrap_err();
/// assert_eq!(
///     errors.to_string(),
///     "drain.delay = \"2\" (environment MCPD__DRAIN__DELAY): \
///      has no unit; write 2s for seconds or 2ms for milliseconds",
/// );
/// # Ok::<(), mcpd::config::ConfigErrors>(())
/// ```
///
/// # Errors
/// Every problem of every source: unreadable files, unknown keys, wrong types,
/// missing units, values out of range, contradictions.
pub fn load(options: LoadOptions) -> Result<Config, ConfigErrors> {
    let mut problems = Vec::new();
    let hostname = options.env.get("HOSTNAME").map(String::as_str);
    let (said, ignored) = tracing::said(&options.env);
    let mut stack = vec![layers::defaults(hostname), layers::opentelemetry(&said)];
    if let Some(path) = &options.file {
        stack.push(layers::file(path, &mut problems));
    }
    stack.push(layers::environment(&options.env, &mut problems));
    for Flag { key, value, name } in &options.flags {
        stack.push(layers::flag(key, value, name, &mut problems));
    }
    let kubernetes = options.env.contains_key(KUBERNETES);
    let mut config = resolve(stack, kubernetes, &mut problems);
    config.tracing.ignored = ignored;
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigErrors { problems })
    }
}

fn resolve(stack: Vec<layers::Layer>, kubernetes: bool, problems: &mut Vec<Problem>) -> Config {
    let merged = layers::merge(stack).unwrap_or_else(|error| {
        problems.push(Problem {
            key: String::new(),
            value: None,
            origin: "configuration".to_owned(),
            kind: ProblemKind::BadValue,
            message: format!("cannot be put together: {error}"),
        });
        BTreeMap::new()
    });
    let mut settings = build::Settings::new(merged, kubernetes);
    let config = build::build(&mut settings);
    problems.append(&mut settings.problems);
    config
}

impl Default for Config {
    fn default() -> Self {
        // The built-in values have no problems; a test holds them to it.
        resolve(vec![layers::defaults(None)], false, &mut Vec::new())
    }
}
