//! A configuration back as text, and what a reload would change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::keys;
use super::problem::one_line;
use super::tls::TlsConfig;
use super::validated::{
    Config, DataConfig, HandlerConfig, Latency, LogFormat, LoopbackAccess, ProxyProtocol,
    Readiness, RoutesConfig, StaticBody,
};
use super::value::{show_duration, show_size};

/// One key with the value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value, as it may be written in a file; a long body is shortened.
    pub value: String,
    /// Where it came from: `default`, `file … line …`, `environment …`, `flag …`.
    pub origin: String,
}

/// What differs between two configurations, by dotted key (`handlers.<name>`
/// for a handler that was added, removed or changed).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadDiff {
    /// Takes effect at once.
    pub changed_reloadable: Vec<String>,
    /// Stays as it was until the process restarts.
    pub needs_restart: Vec<String>,
}

impl Config {
    /// Every key that has a value, in the order of the documentation, with
    /// where the value came from. Keys that are unset are left out.
    pub fn effective(&self) -> Vec<Setting> {
        let handlers = self.handlers.iter().flat_map(|(name, handler)| {
            handler_fields(handler)
                .into_iter()
                .map(move |(field, value)| (format!("handlers.{name}.{field}"), value))
        });
        let mut plain: Vec<(String, String)> = self
            .plain()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        let log = plain.partition_point(|(key, _)| !key.starts_with("log."));
        plain.splice(log..log, handlers);
        plain
            .into_iter()
            .map(|(key, value)| Setting {
                origin: self
                    .origins
                    .0
                    .get(&key)
                    .map_or("default", String::as_str)
                    .to_owned(),
                key,
                value,
            })
            .collect()
    }

    /// What would change if `new` replaced this configuration, and which of it
    /// a reload can apply.
    ///
    /// ```
    /// use std::time::Duration;
    /// use mcpd::config::Config;
    ///
    /// let old = Config::default();
    /// let mut new = old.clone();
    /// new.drain.finish = Duration::from_secs(20);
    /// new.data.threads = 4;
    /// let diff = old.diff_reloadable(&new);
    /// assert_eq!(diff.changed_reloadable, ["drain.finish"]);
    /// assert_eq!(diff.needs_restart, ["data.threads"]);
    /// ```
    pub fn diff_reloadable(&self, new: &Self) -> ReloadDiff {
        let before: BTreeMap<&str, String> = self.plain().into_iter().collect();
        let after: BTreeMap<&str, String> = new.plain().into_iter().collect();
        let mut diff = ReloadDiff::default();
        for doc in keys::plain_docs() {
            if before.get(doc.key) == after.get(doc.key) {
                continue;
            }
            let changed = if doc.reload {
                &mut diff.changed_reloadable
            } else {
                &mut diff.needs_restart
            };
            changed.push(doc.key.to_owned());
        }
        let names: BTreeSet<&String> = self.handlers.keys().chain(new.handlers.keys()).collect();
        diff.changed_reloadable.extend(
            names
                .into_iter()
                .filter(|name| self.handlers.get(*name) != new.handlers.get(*name))
                .map(|name| format!("handlers.{name}")),
        );
        diff
    }

    /// Takes from `running` every value that only a restart can change, so that what is left differs
    /// from it in reloadable keys alone.
    pub fn keep_what_needs_restart(&mut self, running: &Self) {
        let (data, kept) = (&mut self.data, &running.data);
        *data = DataConfig {
            max_connections: data.max_connections,
            accepts_per_second: data.accepts_per_second,
            handshakes: data.handshakes,
            ..kept.clone()
        };
        self.auth = running.auth.clone();
        self.routes = RoutesConfig {
            revision_on_answers: self.routes.revision_on_answers,
            allow_faults: self.routes.allow_faults,
            max_mirrors: self.routes.max_mirrors,
            max_mirror_bytes: self.routes.max_mirror_bytes,
            ..running.routes.clone()
        };
        self.kubernetes = running.kubernetes.clone();
        self.peers = running.peers.clone();
        self.server_id.clone_from(&running.server_id);
        self.handlers_file.clone_from(&running.handlers_file);
        self.sidecar = running.sidecar.clone();
        self.admin.listen = running.admin.listen;
        self.admin.tls.clone_from(&running.admin.tls);
        self.log.format = running.log.format;
        self.metrics = running.metrics.clone();
        self.tracing.keep_what_needs_restart(&running.tracing);
    }

    /// All keys outside the handlers that have a value, in table order.
    fn plain(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![("server_id", self.server_id.clone())];
        list.extend(self.plain_data());
        list.extend(self.plain_tls());
        list.extend(self.plain_limits());
        list.extend([
            ("heartbeat.interval", show_duration(self.heartbeat.interval)),
            (
                "heartbeat.max_interval",
                show_duration(self.heartbeat.max_interval),
            ),
            ("goaway.grace", show_duration(self.goaway.grace)),
        ]);
        list.extend(self.peers.plain());
        list.extend(self.rebalance.plain());
        list.extend([
            ("drain.delay", show_duration(self.drain.delay)),
            ("drain.spread", show_duration(self.drain.spread)),
            ("drain.finish", show_duration(self.drain.finish)),
            ("drain.flush", show_duration(self.drain.flush)),
            ("drain.readiness", word(self.drain.readiness)),
            (
                "scheduler.max_running",
                self.scheduler.max_running.to_string(),
            ),
            (
                "scheduler.max_waiting",
                self.scheduler.max_waiting.to_string(),
            ),
            ("sidecar.listen", self.sidecar.listen.to_string()),
        ]);
        list.extend(self.plain_admin());
        list.extend(TlsConfig::plain(self.admin.tls.as_ref(), ADMIN_TLS));
        list.extend(self.auth.plain());
        if let Some(file) = &self.handlers_file {
            list.push(("handlers_file", file.display().to_string()));
        }
        let routes = &self.routes;
        if let Some(file) = &routes.file {
            list.push(("routes.file", file.display().to_string()));
        }
        list.extend([
            ("routes.poll_interval", show_duration(routes.poll_interval)),
            ("routes.max_bytes", show_size(routes.max_bytes as u64)),
            (
                "routes.revision_on_answers",
                routes.revision_on_answers.to_string(),
            ),
            ("routes.allow_faults", routes.allow_faults.to_string()),
            ("routes.max_mirrors", routes.max_mirrors.to_string()),
            (
                "routes.max_mirror_bytes",
                show_size(routes.max_mirror_bytes as u64),
            ),
        ]);
        list.extend(self.kubernetes.plain());
        list.extend([
            ("log.format", word(self.log.format)),
            ("log.filter", self.log.filter.clone()),
            ("metrics.enabled", self.metrics.enabled.to_string()),
        ]);
        list.extend(self.tracing.plain());
        list
    }

    fn plain_admin(&self) -> impl Iterator<Item = (&'static str, String)> {
        let admin = &self.admin;
        let path = |path: &PathBuf| path.display().to_string();
        let loopback = match admin.loopback {
            LoopbackAccess::Never => Some("false"),
            LoopbackAccess::WithoutTokens => None,
            LoopbackAccess::Always => Some("true"),
        };
        let hosts = (!admin.hosts.is_empty()).then(|| admin.hosts.join(","));
        let set = [
            ("admin.listen", admin.listen.map(|addr| addr.to_string())),
            ("admin.tokens_file", admin.tokens_file.as_ref().map(path)),
            ("admin.tokens", admin.tokens.as_deref().map(masked)),
            ("admin.allow_loopback", loopback.map(str::to_owned)),
            ("admin.hosts", hosts),
            ("admin.timeout", Some(show_duration(admin.timeout))),
            (
                "admin.max_concurrent",
                Some(admin.max_concurrent.to_string()),
            ),
        ];
        set.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }

    fn plain_data(&self) -> [(&'static str, String); 9] {
        let data = &self.data;
        [
            ("data.listen", data.listen.to_string()),
            ("data.threads", data.threads.to_string()),
            ("data.backlog", data.backlog.to_string()),
            ("data.proxy_protocol", word(data.proxy_protocol)),
            ("data.keepalive", or_off(data.keepalive)),
            ("data.user_timeout", or_off(data.user_timeout)),
            ("data.max_connections", data.max_connections.to_string()),
            (
                "data.accepts_per_second",
                data.accepts_per_second.unwrap_or(0).to_string(),
            ),
            (
                "data.allow_plaintext_token",
                data.allow_plaintext_token.to_string(),
            ),
        ]
    }

    fn plain_tls(&self) -> impl Iterator<Item = (&'static str, String)> {
        let data = TlsConfig::plain(self.data.tls.as_ref(), DATA_TLS);
        data.into_iter().chain(self.data.handshakes.plain())
    }

    fn plain_limits(&self) -> [(&'static str, String); 12] {
        let limits = &self.limits;
        let size = |bytes: usize| show_size(bytes as u64);
        [
            ("limits.max_payload", size(limits.max_payload)),
            ("limits.max_in_flight", limits.max_in_flight.to_string()),
            (
                "limits.max_in_flight_bytes",
                size(limits.max_in_flight_bytes),
            ),
            ("limits.max_outbound_bytes", size(limits.max_outbound_bytes)),
            ("limits.write_timeout", show_duration(limits.write_timeout)),
            ("limits.require_hello", limits.require_hello.to_string()),
            ("limits.hello_timeout", show_duration(limits.hello_timeout)),
            ("limits.frame_timeout", show_duration(limits.frame_timeout)),
            (
                "limits.control_frames_per_second",
                limits.control_frames_per_second.to_string(),
            ),
            ("limits.max_age", or_off(limits.max_age)),
            ("limits.max_age_jitter", limits.max_age_jitter.to_string()),
            ("limits.close_linger", show_duration(limits.close_linger)),
        ]
    }
}

const DATA_TLS: [&str; 4] = [
    "data.tls.certificate",
    "data.tls.key",
    "data.tls.client_ca",
    "data.tls.client_auth",
];
const ADMIN_TLS: [&str; 4] = [
    "admin.tls.certificate",
    "admin.tls.key",
    "admin.tls.client_ca",
    "admin.tls.client_auth",
];

/// What is nobody's business is told apart by a few digits of its hash, so that a change shows.
pub(super) fn masked(secret: &str) -> String {
    let digest = Sha256::digest(secret.as_bytes());
    let digits: String = digest.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("*** (sha256 {digits})")
}

fn or_off(span: Option<Duration>) -> String {
    show_duration(span.unwrap_or_default())
}

fn word(choice: impl Into<&'static str>) -> String {
    choice.into().to_owned()
}

impl From<ProxyProtocol> for &'static str {
    fn from(choice: ProxyProtocol) -> Self {
        match choice {
            ProxyProtocol::Off => "off",
            ProxyProtocol::Required => "required",
        }
    }
}

impl From<Readiness> for &'static str {
    fn from(choice: Readiness) -> Self {
        match choice {
            Readiness::Keep => "keep",
            Readiness::Fail => "fail",
        }
    }
}

impl From<LogFormat> for &'static str {
    fn from(choice: LogFormat) -> Self {
        match choice {
            LogFormat::Auto => "auto",
            LogFormat::Pretty => "pretty",
            LogFormat::Json => "json",
            LogFormat::Ecs => "ecs",
        }
    }
}

fn handler_fields(handler: &HandlerConfig) -> Vec<(&'static str, String)> {
    let kind = |kind: &str| ("type", kind.to_owned());
    match handler {
        HandlerConfig::Echo => vec![kind("echo")],
        HandlerConfig::Discard => vec![kind("discard")],
        HandlerConfig::Monitor { max_topics } => {
            vec![kind("monitor"), ("max_topics", max_topics.to_string())]
        }
        HandlerConfig::Static { body, content_type } => {
            let body = match body {
                StaticBody::Inline(text) => ("body", one_line(text)),
                StaticBody::File(path) => ("body_file", path.display().to_string()),
            };
            let content_type = content_type.clone().map(|text| ("content_type", text));
            [kind("static"), body]
                .into_iter()
                .chain(content_type)
                .collect()
        }
        HandlerConfig::Delay {
            latency,
            failure_percent,
            concurrency,
            queue,
        } => {
            let mut fields = vec![kind("delay")];
            match latency {
                Latency::Fixed(span) => fields.push(("latency", show_duration(*span))),
                Latency::Uniform { min, max } => {
                    fields.extend([("min", show_duration(*min)), ("max", show_duration(*max))])
                }
            }
            fields.push(("failure_percent", failure_percent.to_string()));
            fields.push(("concurrency", concurrency.unwrap_or(0).to_string()));
            if concurrency.is_some() {
                fields.push(("queue", queue.to_string()));
            }
            fields
        }
    }
}
