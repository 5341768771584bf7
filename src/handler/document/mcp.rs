//! Entries of type `mcp`.

use super::care;
use super::http::hash_by;
use super::value::{duration, list, number, of_text, parsed, section, set};
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

/// Most addresses that are written down.
const MAX_ENDPOINTS: usize = 256;
/// The port of MCP, unless an address has another.
const PORT: u16 = 8080;

pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<McpSettings> {
    let place = fields.require("endpoints", report)?;
    let endpoint = |text: &str| {
        let bare = text.strip_prefix("mcp://").unwrap_or(text);
        host_and_port(bare, PORT)
    };
    let endpoints = list(fields, "endpoints", MAX_ENDPOINTS, endpoint, report)?;
    if endpoints.is_empty() {
        reading::wrong(&place, "names no server; write at least one host", report);
    }
    let mut mcp = McpSettings::new(endpoints);
    if let Some(field) = fields.get("topic") {
        let rewritten = |text: &str| mcp.clone().topic(text);
        mcp = of_text(&field, rewritten, report)?;
    }
    let hops = number(fields, "hops", 1..=255, report);
    set(&mut mcp.hops, hops.and_then(|hops| u8::try_from(hops).ok()));
    mcp.client_id = parsed(fields, "client_id", client_id, report);
    mcp.hash_by = parsed(fields, "hash_by", hash_by, report);
    pool(fields, &mut mcp, report);
    care::read(fields, &mut mcp.care, report);
    Some(mcp)
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
    let endpoints = mcp.endpoints.iter();
    let endpoints = endpoints.map(|(host, port)| format!("{host}:{port}"));
    let mut shown = care::shown(&mcp.care);
    shown.extend([
        ("endpoints", endpoints.collect::<Vec<_>>().join(", ")),
        ("hops", mcp.hops.to_string()),
        ("pool.connections", mcp.connections.to_string()),
        ("pool.max_in_flight", mcp.care.max_running.to_string()),
    ]);
    shown.extend(mcp.topic.as_ref().map(|topic| ("topic", topic.to_string())));
    shown
}
