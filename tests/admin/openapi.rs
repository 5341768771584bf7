//! The OpenAPI document, proven against the running server with schemathesis.

use crate::client::{Admin, YAML, entry, with_tokens};
use crate::support::{Server, Start};
use std::path::Path;
use std::process::Command;

/// Requests for each operation and phase: more find nothing new, and this is seconds.
const EXAMPLES: &str = "20";

/// Routes with every key that there is.
const SHAPED: &str = "
apiVersion: mcpd/v1
kind: RouteTable
requires: [fault, leaky_bucket, match, mirror, rewrite, split]
routes:
  - name: echo
    topic: a/+
    split: [{handler: echo, weight: 90}, {handler: discard, weight: 10}]
    sticky: {header: session}
    match: [{header: {tenant: acme}, handler: echo}, {client_id: 'edge-*', principal: ci, handler: discard}]
    rewrite: 'b/{1}'
    mirror: {handler: monitor, percent: 10}
    fault: {percent: 1, delay: 1ms, error: OVERLOADED}
    rate_limit: {per_second: 10, algorithm: leaky_bucket}
  - {topic: c, split: [{handler: echo, weight: 1}], sticky: client_id}
";

fn schemathesis(server: &Server, more: &[&str]) {
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/schemathesis");
    let setup = Command::new(setup).output().expect("the set-up runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(setup.status.success(), "{}", text(&setup.stderr));
    let dir = crate::support::scratch();
    let output = Command::new("timeout")
        .args(["300", text(&setup.stdout).trim(), "run"])
        .arg(format!("http://{}/openapi.json", server.sidecar))
        .args(["--header", "Authorization: Bearer proof", "--no-color"])
        .args([
            "--max-examples",
            EXAMPLES,
            "--continue-on-failure",
            "--warnings",
            "off",
        ])
        // What it finds must be found again.
        .args(["--seed", "3"])
        .args(more)
        .current_dir(dir.path())
        .output()
        .expect("schemathesis runs");
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

fn server() -> Start {
    with_tokens(&[entry(
        "proof",
        "proof",
        "read, routes, handlers, auth, operate",
    )])
}

/// Every check but two: whether a request that fits the schema is taken depends on names and
/// versions that only the server knows, and what a dry run deletes is still there. A drain would end the server, so that has a test of its own.
#[test]
fn the_document_says_what_the_server_does() {
    let server = server().set("ROUTES__ALLOW_FAULTS", "true").spawn();
    let shown = ["Authorization: Bearer proof", YAML, "If-Match: *"];
    assert_eq!(server.admin("PUT", "routes", &shown, SHAPED).status, 200);
    let _peers = [server.peer(), server.peer()];
    schemathesis(
        &server,
        &[
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance,use_after_free",
            "--exclude-operation-id",
            "drain",
        ],
    );
    // Where it depends on nothing.
    schemathesis(
        &server,
        &[
            "--checks",
            "positive_data_acceptance",
            "--mode",
            "positive",
            "--include-method",
            "GET",
        ],
    );
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn the_document_says_how_a_drain_is_refused() {
    let server = server().set("DRAIN__DELAY", "1h").spawn();
    let refused = ["--mode", "negative", "--include-operation-id", "drain"];
    schemathesis(&server, &[&["--checks", "all"], &refused[..]].concat());
    let state = server.admin("GET", "state", &["Authorization: Bearer proof"], "");
    assert_eq!(state.status, 200);
}

/// What is not described is not there: every path of the router is in the document, and the other
/// way round is what schemathesis sees to.
#[test]
fn every_path_is_described() {
    let source = include_str!("../../src/admin/api/mod.rs");
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../src/admin/api/openapi.json")).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let routed: Vec<&str> = source
        .split("\"/admin/v1/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(routed.len() > 10, "{routed:?}");
    for path in routed {
        assert!(paths.contains_key(&format!("/admin/v1/{path}")), "{path}");
    }
}
