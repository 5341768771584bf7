//! Keys `tracing.*`, and the variables of OpenTelemetry that are another way to say the same.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::ValueKind;

use super::build::Settings;
use super::keys;
use super::problem::one_line;
use super::value::{parse, show_duration};

/// Keys `tracing.*`. Those that decide what is sampled are reloadable, the rest needs a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// Whether spans are exported where there is an endpoint. Default true.
    pub enabled: bool,
    /// URL of the OTLP receiver, ASCII, at most 2048 bytes; `None` (default) exports nothing.
    pub endpoint: Option<String>,
    /// How spans travel. Default grpc.
    pub protocol: OtlpProtocol,
    /// Requests without TRACE that are sampled, 0 to 1. Default 0.01. Reloadable.
    pub ratio: f64,
    /// Other frames that are sampled, 0 to 1. Default 0. Reloadable.
    pub control_ratio: f64,
    /// Requests a second that are sampled for their TRACE, up to 1,000,000. Default 1000. Reloadable.
    pub parent_per_second: u32,
    /// The same for each principal, within that. Default 100. Reloadable.
    pub parent_per_principal: u32,
    /// Time from which an unsampled request gets a late span, 1 ms to 1 h; `None` is never. Default
    /// 1 s. Reloadable.
    pub slow: Option<Duration>,
    /// Late spans a second, up to 1000. Default 10. Reloadable.
    pub late_per_second: u32,
    /// Frames that may wait to be exported, 1 to 1,000,000. Default 8192.
    pub queue: usize,
    /// Frames in one export, 1 to 10,000. Default 512.
    pub batch: usize,
    /// Longest wait for a batch to fill, 10 ms to 60 s. Default 1 s.
    pub interval: Duration,
    /// Time that the receiver has to answer, 10 ms to 60 s. Default 10 s.
    pub timeout: Duration,
    /// Variables of OpenTelemetry that are set to something mcpd cannot do, with the reason. They
    /// count as unset, as that specification asks for.
    pub ignored: Vec<String>,
}

/// How spans travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// HTTP with protobuf bodies.
    Http,
}

impl From<OtlpProtocol> for &'static str {
    fn from(choice: OtlpProtocol) -> Self {
        match choice {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::Http => "http",
        }
    }
}

pub(super) fn build(s: &Settings) -> TracingConfig {
    let slow = s.duration("tracing.slow");
    TracingConfig {
        enabled: s.flag("tracing.enabled"),
        endpoint: s.text("tracing.endpoint"),
        protocol: match s.word("tracing.protocol") {
            "http" => OtlpProtocol::Http,
            _ => OtlpProtocol::Grpc,
        },
        ratio: s.ratio("tracing.ratio"),
        control_ratio: s.ratio("tracing.control_ratio"),
        parent_per_second: s.number("tracing.parent_per_second"),
        parent_per_principal: s.number("tracing.parent_per_principal"),
        slow: (!slow.is_zero()).then_some(slow),
        late_per_second: s.number("tracing.late_per_second"),
        queue: s.number("tracing.queue"),
        batch: s.number("tracing.batch"),
        interval: s.duration("tracing.interval"),
        timeout: s.duration("tracing.timeout"),
        ignored: Vec::new(),
    }
}

impl TracingConfig {
    /// The keys that have a value, in table order.
    pub(super) fn plain(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![("tracing.enabled", self.enabled.to_string())];
        let endpoint = self.endpoint.as_deref().map(without_password);
        list.extend(endpoint.map(|url| ("tracing.endpoint", url)));
        let protocol: &str = self.protocol.into();
        list.extend([
            ("tracing.protocol", protocol.to_owned()),
            ("tracing.ratio", self.ratio.to_string()),
            ("tracing.control_ratio", self.control_ratio.to_string()),
            (
                "tracing.parent_per_second",
                self.parent_per_second.to_string(),
            ),
            (
                "tracing.parent_per_principal",
                self.parent_per_principal.to_string(),
            ),
            ("tracing.slow", show_duration(self.slow.unwrap_or_default())),
            ("tracing.late_per_second", self.late_per_second.to_string()),
            ("tracing.queue", self.queue.to_string()),
            ("tracing.batch", self.batch.to_string()),
            ("tracing.interval", show_duration(self.interval)),
            ("tracing.timeout", show_duration(self.timeout)),
        ]);
        list
    }

    /// Takes from `running` what only a restart can change.
    pub(super) fn keep_what_needs_restart(&mut self, running: &Self) {
        *self = Self {
            ratio: self.ratio,
            control_ratio: self.control_ratio,
            parent_per_second: self.parent_per_second,
            parent_per_principal: self.parent_per_principal,
            slow: self.slow,
            late_per_second: self.late_per_second,
            ..running.clone()
        };
    }
}

/// A URL may hold a user and a password, and keys in its query, which are nobody's business.
fn without_password(url: &str) -> String {
    let (url, query) = match url.split_once('?') {
        Some((url, _)) => (url, "?***"),
        None => (url, ""),
    };
    let begin = url.find("://").map_or(0, |at| at + 3);
    let authority = url[begin..].split(['/', '?', '#']).next().unwrap_or("");
    match authority.rfind('@') {
        Some(at) => format!("{}***{}{query}", &url[..begin], &url[begin + at..]),
        None => format!("{url}{query}"),
    }
}

/// What one variable says: a key and its value, `None` where that is the default anyway.
type Said = Result<Vec<(&'static str, String)>, String>;

/// Reads a variable's value; the second one is that of OTEL_TRACES_SAMPLER_ARG.
type Read = fn(&str, Option<&str>) -> Said;

/// Variables and how to read them. A later one wins over an earlier one for the same key.
const VARIABLES: [(&str, Read); 15] = [
    ("OTEL_SDK_DISABLED", |value, _| match value {
        value if value.eq_ignore_ascii_case("true") => one("tracing.enabled", "false"),
        _ => Ok(Vec::new()),
    }),
    ("OTEL_TRACES_EXPORTER", |value, _| match value {
        "otlp" => Ok(Vec::new()),
        "none" => one("tracing.enabled", "false"),
        _ => Err("only otlp and none are known".to_owned()),
    }),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", |value, _| {
        one("tracing.endpoint", &base(value))
    }),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", |value, _| {
        one("tracing.endpoint", value)
    }),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol),
    ("OTEL_BSP_EXPORT_TIMEOUT", |ms, _| {
        millis("tracing.timeout", ms)
    }),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", |ms, _| {
        millis("tracing.timeout", ms)
    }),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", |ms, _| {
        millis("tracing.timeout", ms)
    }),
    ("OTEL_BSP_SCHEDULE_DELAY", |ms, _| {
        millis("tracing.interval", ms)
    }),
    ("OTEL_BSP_MAX_QUEUE_SIZE", |n, _| one("tracing.queue", n)),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", |n, _| {
        one("tracing.batch", n)
    }),
    ("OTEL_TRACES_SAMPLER", sampler),
    // Read with the one before; listed so that it is taken from the environment.
    ("OTEL_TRACES_SAMPLER_ARG", |_, _| Ok(Vec::new())),
    // What the exporter itself reads; here so that one look shows what is honoured.
    ("OTEL_EXPORTER_OTLP_COMPRESSION", |value, _| match value {
        "gzip" | "none" => Ok(Vec::new()),
        _ => Err("only gzip and none are known".to_owned()),
    }),
];

/// Whether a variable is one that [`said`] reads.
pub(super) fn is_variable(name: &str) -> bool {
    VARIABLES.iter().any(|(known, _)| *known == name)
}

/// Keys with values and the variable each comes from, and what could not be understood.
pub(super) fn said(
    env: &BTreeMap<String, String>,
) -> (Vec<(&'static str, String, &'static str)>, Vec<String>) {
    let (mut values, mut ignored) = (Vec::new(), Vec::new());
    let get = |name: &str| env.get(name).map(|value| value.trim());
    let arg = get("OTEL_TRACES_SAMPLER_ARG");
    for (name, read) in VARIABLES {
        // Empty means unset, says the specification.
        let Some(value) = get(name).filter(|value| !value.is_empty()) else {
            continue;
        };
        let said = read(value, arg).and_then(|said| {
            said.iter().try_for_each(|(key, value)| fits(key, value))?;
            Ok(said)
        });
        match said {
            Ok(said) => values.extend(said.into_iter().map(|(key, value)| (key, value, name))),
            Err(why) => ignored.push(format!("{name}: {why}")),
        }
    }
    (values, ignored)
}

fn fits(key: &str, value: &str) -> Result<(), String> {
    let Some(doc) = keys::find(key) else {
        return Ok(());
    };
    match parse(doc.kind, &ValueKind::from(value)) {
        Ok(_) => Ok(()),
        Err((_, why)) => Err(one_line(&why)),
    }
}

fn one(key: &'static str, value: &str) -> Said {
    Ok(vec![(key, value.to_owned())])
}

fn millis(key: &'static str, ms: &str) -> Said {
    one(key, &format!("{ms}ms"))
}

fn protocol(value: &str, _: Option<&str>) -> Said {
    match value {
        "grpc" => one("tracing.protocol", "grpc"),
        "http/protobuf" => one("tracing.protocol", "http"),
        _ => Err("only grpc and http/protobuf are known".to_owned()),
    }
}

/// The endpoint of all signals is a base, to which the path of each is added; without a path of its
/// own that is done anyway.
fn base(url: &str) -> String {
    let (path, query) = url.split_at(url.find('?').unwrap_or(url.len()));
    let path = path.trim_end_matches('/');
    let authority = path.find("://").map_or(0, |at| at + 3);
    match path[authority..].contains('/') {
        true => format!("{path}/v1/traces{query}"),
        false => format!("{path}{query}"),
    }
}

fn sampler(name: &str, arg: Option<&str>) -> Said {
    let ratio = arg.filter(|arg| !arg.is_empty()).unwrap_or("1");
    match name {
        "always_on" | "parentbased_always_on" => one("tracing.ratio", "1"),
        "parentbased_always_off" => one("tracing.ratio", "0"),
        "always_off" => Ok(vec![
            ("tracing.ratio", "0".to_owned()),
            ("tracing.parent_per_second", "0".to_owned()),
        ]),
        "traceidratio" | "parentbased_traceidratio" => one("tracing.ratio", ratio),
        _ => Err("this sampler is not known".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, LoadOptions, load};

    fn with(variables: &[(&str, &str)]) -> Config {
        let variables = variables.iter();
        let env = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(LoadOptions {
            env: env.collect(),
            ..LoadOptions::default()
        })
        .unwrap()
    }

    #[test]
    fn our_key_goes_before_the_variable_of_a_signal_and_that_before_the_general_one() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general:4318/base/");
        let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/x");
        let ours = ("MCPD__TRACING__ENDPOINT", "http://ours:4317");
        let endpoint = |variables: &[_]| with(variables).tracing.endpoint.unwrap();
        assert_eq!(endpoint(&[general]), "http://general:4318/base/v1/traces");
        assert_eq!(endpoint(&[general, traces]), "http://traces:4318/x");
        assert_eq!(endpoint(&[general, traces, ours]), "http://ours:4317");
        assert_eq!(Config::default().tracing.endpoint, None);
    }

    #[test]
    fn the_variables_of_opentelemetry_are_understood() {
        let config = with(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "77"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_SDK_DISABLED", ""),
        ]);
        let expected = TracingConfig {
            protocol: OtlpProtocol::Http,
            timeout: Duration::from_millis(2500),
            interval: Duration::from_millis(200),
            queue: 77,
            batch: 7,
            ratio: 0.25,
            // That variable was out of range, which the other one for the same key does not mend.
            ignored: config.tracing.ignored.clone(),
            ..Config::default().tracing
        };
        assert_eq!(config.tracing, expected);
        let ignored = config.tracing.ignored.join(" ");
        assert!(
            ignored.starts_with("OTEL_BSP_EXPORT_TIMEOUT: "),
            "{ignored}"
        );
        let setting = config.effective();
        let ratio = setting
            .iter()
            .find(|setting| setting.key == "tracing.ratio");
        assert_eq!(ratio.unwrap().origin, "environment OTEL_TRACES_SAMPLER");
        let off = with(&[("OTEL_SDK_DISABLED", "TRUE")]).tracing;
        assert!(!off.enabled);
        let off = with(&[("OTEL_TRACES_SAMPLER", "always_off")]).tracing;
        assert_eq!((off.ratio, off.parent_per_second), (0.0, 0));
    }

    #[test]
    fn what_is_not_understood_is_ignored_and_told() {
        let config = with(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ]);
        assert_eq!(config.tracing.ignored.len(), 4);
        let ignored = Vec::new();
        let tracing = TracingConfig {
            ignored,
            ..config.tracing
        };
        assert_eq!(tracing, Config::default().tracing);
    }

    #[test]
    fn a_password_in_the_endpoint_is_not_shown() {
        let url = "http://me:secret@host:4317/a@b?key=secret";
        let config = with(&[("MCPD__TRACING__ENDPOINT", url)]);
        let shown = format!("{:?}", config.effective());
        assert!(shown.contains("http://***@host:4317/a@b?***"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_endpoint_is_a_url_and_a_path_is_added_before_its_query() {
        let base = |value| with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).tracing;
        let url = base("http://host/x?k=v").endpoint;
        assert_eq!(url.as_deref(), Some("http://host/x/v1/traces?k=v"));
        for wrong in [
            "::::",
            "ftp://host",
            "localhost:4317",
            "http://",
            "http://host:99999",
        ] {
            let tracing = base(wrong);
            assert_eq!(
                (tracing.endpoint, tracing.ignored.len()),
                (None, 1),
                "{wrong}"
            );
        }
    }
}
