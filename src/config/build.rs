//! From merged values to a [`Config`], collecting every problem on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ::config::{Value, ValueKind};

use super::auth;
use super::handlers;
use super::keys;
use super::problem::{Problem, ProblemKind};
use super::validated::{
    AdminConfig, Config, DataConfig, DrainConfig, GoawayConfig, HeartbeatConfig, LimitsConfig,
    LogConfig, LogFormat, LoopbackAccess, MetricsConfig, Origins, ProxyProtocol, Readiness,
    RoutesConfig, SchedulerConfig, SidecarConfig,
};
use super::value::{Parsed, parse, show, show_duration, show_size};
use super::{kubernetes, peers, tls, tracing};

/// All values that fit their keys, and everything known about the rest.
pub(super) struct Settings {
    values: BTreeMap<String, Parsed>,
    shown: BTreeMap<String, String>,
    origins: BTreeMap<String, String>,
    /// Keys whose value did not fit. They are left out of comparisons, so that
    /// one mistake is one problem.
    misfits: BTreeSet<String>,
    /// Whether this process runs in a pod.
    kubernetes: bool,
    pub(super) problems: Vec<Problem>,
}

impl Settings {
    pub(super) fn new(merged: BTreeMap<String, Value>, kubernetes: bool) -> Self {
        let mut settings = Self {
            values: BTreeMap::new(),
            shown: BTreeMap::new(),
            origins: BTreeMap::new(),
            misfits: BTreeSet::new(),
            kubernetes,
            problems: Vec::new(),
        };
        let mut merged: Vec<(String, Value)> = merged.into_iter().collect();
        // Problems come in the order of the documentation.
        merged.sort_by_key(|(key, _)| keys::position(key));
        for (key, value) in merged {
            settings.take(key, value);
        }
        settings
    }

    fn take(&mut self, key: String, value: Value) {
        let origin = value.origin().unwrap_or("default").to_owned();
        let Some(doc) = keys::find(&key) else { return };
        self.shown.insert(key.clone(), show(&value.kind));
        self.origins.insert(key.clone(), origin);
        match parse(doc.kind, &value.kind) {
            Ok(parsed) => {
                self.values.insert(key, parsed);
            }
            Err((kind, message)) => {
                self.problem(&key, kind, message);
                // The default stands in, so that the other keys can be checked.
                let default = doc
                    .default
                    .and_then(|text| parse(doc.kind, &ValueKind::from(text)).ok());
                if let Some(default) = default {
                    self.values.insert(key.clone(), default);
                }
                self.misfits.insert(key);
            }
        }
    }

    /// Records a problem with the value of `key`.
    pub(super) fn problem(&mut self, key: &str, kind: ProblemKind, message: String) {
        self.problems.push(Problem {
            key: key.to_owned(),
            value: self.shown.get(key).cloned(),
            origin: self.origin(key),
            kind,
            message,
        });
    }

    pub(super) fn origin(&self, key: &str) -> String {
        self.origins
            .get(key)
            .cloned()
            .unwrap_or_else(|| "default".to_owned())
    }

    /// Whether the value of `key` did not fit and a default stands in for it.
    pub(super) fn is_misfit(&self, key: &str) -> bool {
        self.misfits.contains(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.origins.keys().map(String::as_str)
    }

    /// Whether anything, fitting or not, was given for `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.origins.contains_key(key)
    }

    pub(super) fn number<T: TryFrom<u64> + Default>(&self, key: &str) -> T {
        match self.values.get(key) {
            Some(Parsed::Number(n)) => T::try_from(*n).unwrap_or_default(),
            _ => T::default(),
        }
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        match self.values.get(key) {
            Some(Parsed::Duration(span)) => *span,
            _ => Duration::ZERO,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        match self.values.get(key) {
            Some(Parsed::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn word(&self, key: &str) -> &'static str {
        match self.values.get(key) {
            Some(Parsed::Choice(word)) => word,
            _ => "",
        }
    }

    pub(super) fn ratio(&self, key: &str) -> f64 {
        match self.values.get(key) {
            Some(Parsed::Ratio(ratio)) => *ratio,
            _ => 0.0,
        }
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Parsed::Bool(true)))
    }

    fn address(&self, key: &str) -> SocketAddr {
        match self.values.get(key) {
            Some(Parsed::Address(address)) => *address,
            _ => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0),
        }
    }
}

fn unless_zero(span: Duration) -> Option<Duration> {
    (!span.is_zero()).then_some(span)
}

/// Builds the configuration. What did not fit is in `problems` of the settings
/// and has its default in the result.
pub(super) fn build(settings: &mut Settings) -> Config {
    check_contradictions(settings);
    let handlers = handlers::build(settings);
    let s = &*settings;
    let (peers, rebalance) = peers::build(s);
    Config {
        server_id: s.text("server_id").unwrap_or_default(),
        data: data(s),
        limits: limits(s),
        heartbeat: HeartbeatConfig {
            interval: s.duration("heartbeat.interval"),
            max_interval: s.duration("heartbeat.max_interval"),
        },
        goaway: GoawayConfig {
            grace: s.duration("goaway.grace"),
        },
        peers,
        rebalance,
        drain: drain(s),
        scheduler: SchedulerConfig {
            max_running: s.number("scheduler.max_running"),
            max_waiting: s.number("scheduler.max_waiting"),
        },
        sidecar: SidecarConfig {
            listen: s.address("sidecar.listen"),
        },
        admin: admin(s),
        auth: auth::build(s),
        routes: RoutesConfig {
            file: s.path("routes.file"),
            poll_interval: s.duration("routes.poll_interval"),
            max_bytes: s.number("routes.max_bytes"),
            revision_on_answers: s.flag("routes.revision_on_answers"),
            allow_faults: s.flag("routes.allow_faults"),
            max_mirrors: s.number("routes.max_mirrors"),
            max_mirror_bytes: s.number("routes.max_mirror_bytes"),
        },
        kubernetes: kubernetes::build(s),
        handlers,
        handlers_file: s.path("handlers_file"),
        log: LogConfig {
            format: match s.word("log.format") {
                "pretty" => LogFormat::Pretty,
                "json" => LogFormat::Json,
                "ecs" => LogFormat::Ecs,
                _ => LogFormat::Auto,
            },
            filter: s.text("log.filter").unwrap_or_default(),
        },
        metrics: MetricsConfig {
            enabled: s.flag("metrics.enabled"),
        },
        tracing: tracing::build(s),
        origins: Origins(s.origins.clone()),
    }
}

fn data(s: &Settings) -> DataConfig {
    DataConfig {
        listen: s.address("data.listen"),
        threads: s.number("data.threads"),
        backlog: s.number("data.backlog"),
        proxy_protocol: match s.word("data.proxy_protocol") {
            "required" => ProxyProtocol::Required,
            _ => ProxyProtocol::Off,
        },
        keepalive: unless_zero(s.duration("data.keepalive")),
        user_timeout: unless_zero(s.duration("data.user_timeout")),
        max_connections: s.number("data.max_connections"),
        accepts_per_second: match s.number("data.accepts_per_second") {
            0 => None,
            rate => Some(rate),
        },
        allow_plaintext_token: s.flag("data.allow_plaintext_token"),
        tls: tls::build(s, "data"),
        handshakes: tls::handshakes(s),
    }
}

fn limits(s: &Settings) -> LimitsConfig {
    LimitsConfig {
        max_payload: s.number("limits.max_payload"),
        max_in_flight: s.number("limits.max_in_flight"),
        max_in_flight_bytes: s.number("limits.max_in_flight_bytes"),
        max_outbound_bytes: s.number("limits.max_outbound_bytes"),
        write_timeout: s.duration("limits.write_timeout"),
        require_hello: s.flag("limits.require_hello"),
        hello_timeout: s.duration("limits.hello_timeout"),
        frame_timeout: s.duration("limits.frame_timeout"),
        control_frames_per_second: s.number("limits.control_frames_per_second"),
        max_age: unless_zero(s.duration("limits.max_age")),
        max_age_jitter: s.number("limits.max_age_jitter"),
        close_linger: s.duration("limits.close_linger"),
    }
}

fn admin(s: &Settings) -> AdminConfig {
    let loopback = match s.is_set("admin.allow_loopback") {
        true if s.flag("admin.allow_loopback") => LoopbackAccess::Always,
        false if !s.kubernetes => LoopbackAccess::WithoutTokens,
        _ => LoopbackAccess::Never,
    };
    let hosts = s.text("admin.hosts").unwrap_or_default();
    let hosts = hosts.split(',').map(|name| name.trim().to_lowercase());
    AdminConfig {
        listen: s.is_set("admin.listen").then(|| s.address("admin.listen")),
        tls: tls::build(s, "admin"),
        tokens_file: s.path("admin.tokens_file"),
        tokens: s.text("admin.tokens"),
        loopback,
        hosts: hosts.filter(|name| !name.is_empty()).collect(),
        timeout: s.duration("admin.timeout"),
        max_concurrent: s.number("admin.max_concurrent"),
    }
}

fn drain(s: &Settings) -> DrainConfig {
    DrainConfig {
        delay: s.duration("drain.delay"),
        spread: s.duration("drain.spread"),
        finish: s.duration("drain.finish"),
        flush: s.duration("drain.flush"),
        readiness: match s.word("drain.readiness") {
            "keep" => Readiness::Keep,
            _ => Readiness::Fail,
        },
    }
}

/// Values that are fine by themselves and not together.
fn check_contradictions(s: &mut Settings) {
    let size = |s: &Settings, key: &str| s.number::<u64>(key);
    for key in ["limits.max_in_flight_bytes", "limits.max_outbound_bytes"] {
        at_least(s, key, "limits.max_payload", size, show_size);
    }
    let (low, high) = ("heartbeat.interval", "heartbeat.max_interval");
    at_least(s, high, low, |s, key| s.duration(key), show_duration);
    two_ports(s, "data.listen", "sidecar.listen");
    two_ports(s, "data.listen", "admin.listen");
    two_ports(s, "sidecar.listen", "admin.listen");
    tls::check(s);
    auth::check(s);
    kubernetes::check(s);
    peers::check(s);
    let loopback = "admin.allow_loopback";
    if s.kubernetes && s.flag(loopback) {
        let message = "lets every container of the pod and every port-forward in without a token; \
                       remove it and set admin.tokens_file";
        s.problem(loopback, ProblemKind::Contradiction, message.to_owned());
    }
}

/// Two listeners that are both configured need two ports.
fn two_ports(s: &mut Settings, first: &str, second: &str) {
    let usable = |key: &str| s.is_set(key) && !s.is_misfit(key);
    if !usable(first) || !usable(second) || !overlap(s.address(first), s.address(second)) {
        return;
    }
    let message = format!(
        "takes the same port as {first} = {} ({}); give one of them another port",
        s.address(first),
        s.origin(first)
    );
    s.problem(second, ProblemKind::Contradiction, message);
}

fn at_least<T: PartialOrd + Copy>(
    s: &mut Settings,
    key: &str,
    floor: &str,
    get: impl Fn(&Settings, &str) -> T,
    show: impl Fn(T) -> String,
) {
    let least = get(s, floor);
    if get(s, key) >= least || s.is_misfit(key) || s.is_misfit(floor) {
        return;
    }
    let message = format!(
        "is less than {floor} = {} ({}); raise this or lower that",
        show(least),
        s.origin(floor)
    );
    s.problem(key, ProblemKind::Contradiction, message);
}

/// Whether two listeners would get in each other's way.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = |wide: IpAddr, other: IpAddr| {
        // `[::]` takes IPv4 connections too.
        wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || all(a.ip(), b.ip()) || all(b.ip(), a.ip()))
}
