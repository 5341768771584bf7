//! Entries of type `mcp`.

use super::endpoints::{self, Endpoints};
use super::http::hash_by;
use super::value::{duration, flag, number, of_text, parsed, path, section, set, size};
use super::{care, tls};
use crate::handler::template::Template;
use crate::handler::tls::certified_name;
use crate::handler::{McpSettings, TlsSettings, host_and_port};
use crate::router::document::reading::{self, Fields, Report};
use mcpd_proto::MetaBuf;
use std::cell::Cell;
use std::net::IpAddr;

pub(super) const KEYS: &[&str] = &[
    "name",
    "type",
    "concurrency",
    "queue",
    "endpoints",
    "topic",
    "hops",
    "client_id",
    "max_response",
    "hash_by",
    "tls",
    "token_file",
    "allow_plaintext_token",
    "pool",
    "idempotent",
    "timeouts",
    "retry",
    "hedge",
    "breaker",
    "ejection",
    "adaptive",
    "resolve_every",
];

/// The longest answer that may be let through: what a frame can hold.
const MAX_RESPONSE: u64 = 64 << 20;
/// A smaller bound would not let the words of an ERROR through.
const LEAST_RESPONSE: u32 = 32 << 10;
/// The port of MCP, unless an address has another.
const PORT: u16 = 8080;

pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<McpSettings> {
    let place = fields.require("endpoints", report)?;
    let (plain, secure) = (Cell::new(false), Cell::new(false));
    let endpoint = |text: &str| {
        let (scheme, bare) = text.split_once("://").unwrap_or(("", text));
        match scheme {
            "" => {}
            "mcp" => plain.set(true),
            "mcps" => secure.set(true),
            _ => return Err("is no address of MCP; write mcp://host:8080, or mcps://host".into()),
        }
        host_and_port(bare, PORT)
    };
    let mut mcp = match endpoints::read(fields, endpoint, report)? {
        Endpoints::Hosts(hosts) => {
            if hosts.is_empty() {
                reading::wrong(&place, "names no server; write at least one host", report);
            }
            McpSettings::new(hosts)
        }
        Endpoints::Service(service) => McpSettings {
            service: Some(service),
            ..McpSettings::new(Vec::new())
        },
    };
    mcp.topic = parsed(fields, "topic", topic, report);
    let hops = number(fields, "hops", 1..=255, report);
    set(&mut mcp.hops, hops.and_then(|hops| u8::try_from(hops).ok()));
    let max = size(fields, "max_response", MAX_RESPONSE, report);
    let max = max.and_then(|max| u32::try_from(max).ok());
    set(
        &mut mcp.max_response,
        max.map(|max| max.max(LEAST_RESPONSE)),
    );
    mcp.client_id = parsed(fields, "client_id", client_id, report);
    mcp.tls = tls::settings(fields, report).or(secure.get().then(TlsSettings::default));
    if mcp.tls.is_some() && plain.get() {
        let message = "has an address without TLS beside TLS; write mcps://, or the host alone";
        reading::wrong(&place, message, report);
    }
    token(fields, &mut mcp, report);
    mcp.hash_by = parsed(fields, "hash_by", hash_by, report);
    pool(fields, &mut mcp, report);
    care::read(fields, &mut mcp.care, report);
    Some(mcp)
}

/// A token that would be shown to whoever listens on the way is a mistake of the document, not of each connection.
fn token(fields: &Fields<'_>, mcp: &mut McpSettings, report: &mut Report) {
    let allow = flag(fields, "allow_plaintext_token", report);
    set(&mut mcp.allow_plaintext_token, allow);
    let Some(field) = fields.get("token_file") else {
        return;
    };
    mcp.token_file = of_text(&field, path, report);
    let stays_here = |(host, _): &(String, u16)| {
        let address = certified_name(host).parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
    };
    // Pods of a Service are elsewhere.
    let leaves = mcp.service.is_some() || !mcp.endpoints.iter().all(stays_here);
    let readable = mcp.tls.is_none() && leaves;
    if readable && !mcp.allow_plaintext_token {
        let message = "would be sent unencrypted; set tls, or allow_plaintext_token in a network that you trust";
        reading::wrong(&field, message, report);
    }
}

fn topic(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn client_id(text: &str) -> Result<String, String> {
    let set = MetaBuf::new().set_client_id(text);
    set.map_err(|_| "is no CLIENT_ID; write 1 to 128 of A-Z a-z 0-9 . _ : @ -".to_owned())?;
    Ok(text.to_owned())
}

fn pool(fields: &Fields<'_>, mcp: &mut McpSettings, report: &mut Report) {
    let known = &[
        "connections",
        "max_in_flight",
        "max_pending",
        "connect_timeout",
    ];
    let Some(fields) = section(fields, "pool", known, report) else {
        return;
    };
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let connections = number(&fields, "connections", 1..=64, report);
    set(&mut mcp.connections, connections.map(count));
    let running = number(&fields, "max_in_flight", 1..=1_000_000, report);
    set(&mut mcp.care.max_running, running.map(count));
    let pending = number(&fields, "max_pending", 0..=1_000_000, report);
    set(&mut mcp.care.max_pending, pending.map(count));
    let connect = duration(&fields, "connect_timeout", report);
    set(&mut mcp.connect_timeout, connect);
}

/// What operators are shown of it.
pub(super) fn shown(mcp: &McpSettings) -> Vec<(&'static str, String)> {
    let hosts = mcp.endpoints.iter();
    let hosts = hosts.map(|(host, port)| format!("{host}:{port}"));
    let endpoints = match &mcp.service {
        Some(service) => service.to_string(),
        None => hosts.collect::<Vec<_>>().join(", "),
    };
    let mut shown = care::shown(&mcp.care);
    shown.extend([
        ("endpoints", endpoints),
        ("hops", mcp.hops.to_string()),
        ("pool.connections", mcp.connections.to_string()),
        ("pool.max_in_flight", mcp.care.max_running.to_string()),
    ]);
    let tls = if mcp.tls.is_some() { "on" } else { "off" };
    shown.push(("tls", tls.to_owned()));
    let token_file = mcp.token_file.as_ref();
    shown.extend(token_file.map(|path| ("token_file", path.display().to_string())));
    shown.extend(mcp.topic.as_ref().map(|topic| ("topic", topic.to_string())));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
    use crate::handler::TlsFiles;
    use std::time::Duration;

    fn parse(keys: &str) -> Result<McpSettings, String> {
        let text = format!(
            "apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n  - name: next\n    type: mcp\n    {}\n",
            keys.replace('\n', "\n    ")
        );
        let document = Document::parse(text.as_bytes())?;
        match &document.handlers[0].kind {
            super::super::kind::Kind::Mcp(mcp) => Ok((**mcp).clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_key_is_read() {
        let mcp = parse(
            "tls: {ca_file: c, cert_file: d, key_file: e, server_name: eu.shop}\ntoken_file: t\n\
             endpoints: [\"eu.shop\", \"mcps://10.0.0.1:9000\", \"[::1]\"]\ntopic: eu/{2..}\nhops: 3\n\
             client_id: gateway-7\nhash_by: client_id\nmax_response: 4MiB\nidempotent: true\ntimeouts: {try: 2s}\n\
             pool: {connections: 4, max_in_flight: 9, max_pending: 8, connect_timeout: 1s}",
        );
        let endpoints = [("eu.shop", 8080), ("10.0.0.1", 9000), ("[::1]", 8080)];
        let endpoints = endpoints.map(|(host, port)| (host.to_owned(), port));
        let mut expected = McpSettings::new(endpoints.to_vec())
            .topic("eu/{2..}")
            .unwrap();
        expected.hops = 3;
        expected.client_id = Some("gateway-7".to_owned());
        expected.hash_by = Some(crate::handler::HashBy::ClientId);
        expected.max_response = 4 << 20;
        expected.care.idempotent = true;
        expected.care.try_timeout = Duration::from_secs(2);
        (expected.care.max_running, expected.care.max_pending) = (9, 8);
        expected.connections = 4;
        expected.tls = Some(TlsSettings {
            files: TlsFiles {
                ca_file: Some("c".into()),
                client_files: Some(("d".into(), "e".into())),
            },
            server_name: Some("eu.shop".to_owned()),
        });
        expected.token_file = Some("t".into());
        expected.connect_timeout = Duration::from_secs(1);
        assert_eq!(mcp.unwrap(), expected);
    }

    #[test]
    fn tls_comes_by_its_key_or_by_the_address() {
        let tls = |keys: &str| parse(keys).unwrap().tls;
        assert_eq!(tls("endpoints: [a]"), None);
        assert_eq!(
            tls("endpoints: ['mcps://a', b]"),
            Some(TlsSettings::default())
        );
        assert_eq!(tls("endpoints: [a]\ntls: {}"), Some(TlsSettings::default()));
    }

    #[test]
    fn a_token_may_stay_here_or_be_shown_to_everybody_by_explicit_wish() {
        for keys in [
            "endpoints: [localhost, 127.0.0.2, '[::1]', '[::ffff:127.0.0.1]']\ntoken_file: t",
            "endpoints: [a]\ntoken_file: t\nallow_plaintext_token: true",
            "endpoints: ['mcps://a']\ntoken_file: t",
        ] {
            assert!(parse(keys).unwrap().token_file.is_some(), "{keys}");
        }
    }

    #[test]
    fn every_problem_is_told_by_its_key() {
        for (keys, problem) in [
            ("topic: x", "endpoints: is missing"),
            ("endpoints: []", "endpoints: names no server"),
            ("endpoints: [a b]", "is no host"),
            ("endpoints: [a]\ntopic: '{0}'", "topic: has `{0}`"),
            ("endpoints: [a]\nhops: 0", "hops: `0` is out of range"),
            (
                "endpoints: [a]\nclient_id: a/b",
                "client_id: is no CLIENT_ID",
            ),
            (
                "endpoints: [a]\nhash_by: moon",
                "hash_by: is nothing to go by",
            ),
            (
                "endpoints: [a]\npool: {conections: 1}",
                "did you mean `connections`?",
            ),
            ("endpoints: [a]\nurl: x", "url: is not a key"),
            ("endpoints: ['http://a']", "is no address of MCP"),
            (
                "endpoints: ['mcp://a', 'mcps://b']",
                "endpoints: has an address without TLS beside TLS",
            ),
            (
                "endpoints: ['mcp://a']\ntls: {}",
                "endpoints: has an address without TLS beside TLS",
            ),
            (
                "endpoints: [a]\ntls: {cert_file: c}",
                "tls: has one of cert_file and key_file",
            ),
            ("endpoints: [a]\ntls: {ca_file: ''}", "ca_file: is empty"),
            (
                "endpoints: [a]\ntls: {server_name: 'a b'}",
                "server_name: is nothing that a certificate can be for",
            ),
            (
                "endpoints: [127.0.0.1, a]\ntoken_file: t",
                "token_file: would be sent unencrypted",
            ),
        ] {
            let told = parse(keys).unwrap_err();
            assert!(told.contains(problem), "{keys}: {told}");
        }
    }
}
