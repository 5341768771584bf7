//! The table of keys, the structs and the text form agree with each other.

use std::collections::BTreeMap;
use std::time::Duration;

use ::config::ValueKind;

use super::yaml;
use crate::config::effective::masked;
use crate::config::value::{Parsed, parse, show_duration, show_size};
use crate::config::*;

#[test]
fn without_anything_the_embedded_defaults_hold() {
    let config = load(LoadOptions::default()).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.server_id, "mcpd");
    assert_eq!(config.data.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.sidecar.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.limits.max_in_flight_bytes, 8 << 20);
    assert_eq!(config.limits.max_age, Some(Duration::from_secs(1800)));
    let drain = config.drain.windows();
    let windows = [drain.delay, drain.spread, drain.finish, drain.flush];
    assert_eq!(windows.map(|window| window.as_secs()), [10, 25, 10, 5]);
    assert_eq!(config.routes.file, None);
    assert_eq!(config.handlers["echo"], HandlerConfig::Echo);
    assert_eq!(config.handlers["discard"], HandlerConfig::Discard);
    let max_topics = 1000;
    assert_eq!(
        config.handlers["monitor"],
        HandlerConfig::Monitor { max_topics }
    );
    assert!(config.data.worker_threads() >= 1);
}

#[test]
fn every_default_of_the_table_is_the_value_in_force() {
    let config = Config::default();
    let effective: BTreeMap<String, String> = config
        .effective()
        .into_iter()
        .map(|setting| (setting.key, setting.value))
        .collect();
    for doc in keys::plain_docs() {
        let expected = doc.default.map(|text| canonical(doc, text));
        assert_eq!(effective.get(doc.key), expected.as_ref(), "{}", doc.key);
    }
}

/// The value of `doc` as `effective` shows it.
fn canonical(doc: &KeyDoc, text: &str) -> String {
    match (doc.kind, parse(doc.kind, &ValueKind::from(text)).unwrap()) {
        (Kind::Size { .. }, Parsed::Number(n)) => show_size(n),
        (_, Parsed::Number(n)) => n.to_string(),
        (_, Parsed::Duration(span)) => show_duration(span),
        (_, Parsed::Address(address)) => address.to_string(),
        (_, Parsed::Bool(flag)) => flag.to_string(),
        (_, Parsed::Choice(word)) => word.to_owned(),
        (_, Parsed::Ratio(ratio)) => ratio.to_string(),
        (_, Parsed::Text(text)) if doc.key == "admin.tokens" => masked(&text),
        (_, Parsed::Text(text)) => text,
    }
}

/// A valid value of `doc` that is not its default.
fn another(doc: &KeyDoc) -> String {
    match doc.kind {
        _ if doc.key == "auth.jwt.algorithms" => "ES384".to_owned(),
        _ if doc.key == "auth.jwt.jwks_url" => "https://another/keys".to_owned(),
        Kind::Text { .. } | Kind::Body { .. } => "another".to_owned(),
        Kind::Address => "127.0.0.1:9999".to_owned(),
        Kind::Path => "routes.yaml".to_owned(),
        Kind::Bool => (doc.default != Some("true")).to_string(),
        Kind::Ratio => "0.5".to_owned(),
        Kind::Factor { max, .. } => (max / 100).to_string(),
        Kind::Choice(words) => (*words
            .iter()
            .find(|word| Some(**word) != doc.default)
            .unwrap())
        .to_owned(),
        // Floors are compared with other keys, which stay at their defaults.
        _ if doc.key == "limits.max_payload" => "2MiB".to_owned(),
        _ if doc.key == "heartbeat.interval" => "31s".to_owned(),
        Kind::Count { max, .. } => max.to_string(),
        Kind::Size { max, .. } => show_size(max),
        Kind::Duration { max, .. } => show_duration(max),
        Kind::Filter => "debug".to_owned(),
        Kind::Url { .. } => "http://another:4317".to_owned(),
    }
}

/// What has to be there for `doc` to mean anything.
fn companions(doc: &KeyDoc) -> Vec<Flag> {
    let flag = |(key, value): &(&str, &str)| Flag::new(*key, *value, "--with");
    if doc.key.starts_with("auth.jwt.jwks_") {
        let company = [
            ("auth.principals", "p.yaml"),
            ("auth.jwt.issuer", "i"),
            ("auth.jwt.audience", "a"),
        ];
        return company.iter().map(flag).collect();
    }
    if matches!(doc.key, "kubernetes.principals" | "rebalance.enabled") {
        return vec![flag(&("kubernetes.name", "mcpd"))];
    }
    let Some((port, _)) = doc
        .key
        .split_once(".tls.")
        .filter(|_| doc.default.is_none())
    else {
        return Vec::new();
    };
    let files = ["certificate", "key", "client_ca"].map(|field| (field, "companion.pem"));
    let auth = [("client_auth", "required")];
    let tls = files.into_iter().chain(auth);
    let tls = tls.map(|(field, value)| Flag::new(format!("{port}.tls.{field}"), value, "--y"));
    let listen = Flag::new("admin.listen", "127.0.0.1:9998", "--y");
    tls.chain((port == "admin").then_some(listen)).collect()
}

fn with_flags(flags: Vec<Flag>) -> Config {
    let options = LoadOptions {
        flags,
        ..LoadOptions::default()
    };
    load(options).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn every_key_reaches_its_own_field_and_only_that() {
    for doc in keys::plain_docs() {
        let (value, mut flags) = (another(doc), companions(doc));
        let before = with_flags(flags.clone());
        flags.push(Flag::new(doc.key, &value, "--x"));
        let after = with_flags(flags);
        let setting = after
            .effective()
            .into_iter()
            .find(|setting| setting.key == doc.key)
            .unwrap();
        assert_eq!(setting.value, canonical(doc, &value), "{}", doc.key);
        assert_eq!(setting.origin, "flag --x");
        let diff = before.diff_reloadable(&after);
        let (changed, empty) = if doc.reload {
            (diff.changed_reloadable, diff.needs_restart)
        } else {
            (diff.needs_restart, diff.changed_reloadable)
        };
        assert_eq!(changed, [doc.key], "the diff names exactly the key");
        assert!(empty.is_empty(), "{}: {empty:?}", doc.key);
        assert_ne!(before, after);
        let mut kept = after.clone();
        kept.keep_what_needs_restart(&before);
        let expected = if doc.reload { &after } else { &before };
        assert_eq!(&kept, expected, "{} over a reload", doc.key);
    }
}

#[test]
fn limits_are_inclusive_and_enforced_on_both_sides() {
    for doc in keys::KEYS {
        let fits = |text: String| parse(doc.kind, &ValueKind::from(text));
        let (inside, outside) = match doc.kind {
            Kind::Count { min, max } | Kind::Size { min, max } => (
                vec![min.to_string(), max.to_string()],
                [min.checked_sub(1), max.checked_add(1)]
                    .into_iter()
                    .flatten()
                    .map(|n| n.to_string())
                    .collect::<Vec<_>>(),
            ),
            Kind::Duration { min, max, off } => {
                let tick = Duration::from_nanos(1);
                let mut inside = vec![show_duration(min), show_duration(max)];
                inside.extend(off.then(|| "0s".to_owned()));
                let below = min.checked_sub(tick).filter(|span| !span.is_zero() || !off);
                let outside = [below, Some(max + tick)];
                (
                    inside,
                    outside.into_iter().flatten().map(show_duration).collect(),
                )
            }
            _ => continue,
        };
        for text in inside {
            assert!(fits(text.clone()).is_ok(), "{} takes {text}", doc.key);
        }
        for text in outside {
            let (kind, _) = fits(text.clone()).unwrap_err();
            assert_eq!(kind, ProblemKind::OutOfRange, "{} refuses {text}", doc.key);
        }
    }
}

#[test]
fn the_effective_values_are_a_configuration_that_loads_to_the_same() {
    let text = "limits: {max_age: 0s, max_payload: 1048577}\nroutes: {file: r.yaml}\n\
                handlers: {s: {type: static, body: x}, d: {type: delay, min: 1ms, max: 1m1s}}\n";
    let config = yaml(text).unwrap();
    let flags = config
        .effective()
        .into_iter()
        .map(|setting| Flag::new(setting.key, setting.value, "--again"))
        .collect();
    let again = load(LoadOptions {
        flags,
        ..LoadOptions::default()
    });
    assert_eq!(again.unwrap(), config);
}
