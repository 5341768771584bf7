//! Entries of type `mcp`.

use super::care;
use super::endpoints::{self, Endpoints};
use super::http::hash_by;
use super::value::{duration, number, parsed, section, set, size};
use crate::handler::template::Template;
use crate::handler::{McpSettings, host_and_port};
use crate::router::document::reading::{self, Fields, Report};
use mcpd_proto::MetaBuf;

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
    let endpoint = |text: &str| {
        let bare = text.strip_prefix("mcp://").unwrap_or(text);
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
    mcp.hash_by = parsed(fields, "hash_by", hash_by, report);
    pool(fields, &mut mcp, report);
    care::read(fields, &mut mcp.care, report);
    Some(mcp)
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
    shown.extend(mcp.topic.as_ref().map(|topic| ("topic", topic.to_string())));
    shown
}

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
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
            "endpoints: [\"eu.shop\", \"mcp://10.0.0.1:9000\", \"[::1]\"]\ntopic: eu/{2..}\nhops: 3\n\
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
        expected.connect_timeout = Duration::from_secs(1);
        assert_eq!(mcp.unwrap(), expected);
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
        ] {
            let told = parse(keys).unwrap_err();
            assert!(told.contains(problem), "{keys}: {told}");
        }
    }
}
