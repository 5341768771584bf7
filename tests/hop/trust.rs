//! TLS towards the next server, and what it is shown: against real processes.

use crate::document::{file, handlers, routes};
use crate::front::{Front, code};
use crate::support::tls::{Ca, params, params_of_uri};
use crate::support::{PATIENCE, Server, Start, scratch};
use mcpd::handler::{Mcp, McpSettings, TlsFiles, TlsSettings};
use mcpd_client::{ConnectOptions, Connection, ErrorCode};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tempfile::TempDir;

/// SHA-256 of `test`, and of `other`.
const TEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

fn put(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

fn principals(dir: &Path, list: &str) {
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: [{list}]}}");
    put(dir, "principals.yaml", &text);
}

fn holder(hashes: &[&str]) -> String {
    let tokens = hashes.iter().enumerate();
    let tokens = tokens.map(|(n, hash)| format!("{{name: t{n}, sha256: {hash}}}"));
    let tokens = tokens.collect::<Vec<_>>().join(", ");
    format!("{{name: gateway, tokens: [{tokens}], allow: [echo]}}")
}

/// A server with a certificate of this CA for `localhost`, and the directory of its files, with that CA.
fn next(ca: &Ca, change: impl FnOnce(Start, &Path) -> Start) -> (Server, TempDir) {
    let dir = scratch();
    ca.server().write(dir.path());
    put(dir.path(), "server-ca.crt", &ca.pem());
    let start = change(Start::new().tls("DATA", dir.path()), dir.path());
    (start.spawn(), dir)
}

/// The same, with principals.
fn knowing(ca: &Ca, list: &str) -> (Server, TempDir) {
    next(ca, |start, dir| {
        principals(dir, list);
        let file = dir.join("principals.yaml");
        start.set("AUTH__PRINCIPALS", file.to_str().unwrap())
    })
}

fn trusting(dir: &TempDir) -> TlsSettings {
    TlsSettings {
        files: TlsFiles {
            ca_file: Some(dir.path().join("server-ca.crt")),
            client_files: None,
        },
        server_name: None,
    }
}

/// A server that hands everything on to `host` at the port of `next`.
fn front(host: &str, next: &Server, change: impl FnOnce(McpSettings) -> McpSettings) -> Front {
    let settings = McpSettings::new(vec![(host.to_owned(), next.data.port())]);
    let handler = Mcp::new("next", change(settings), Arc::default());
    Front::leading_to(Arc::new(handler))
}

#[test]
fn a_server_is_taken_for_whom_its_certificate_names_and_for_nobody_else() {
    let (ca, stranger) = (Ca::new(), Ca::new());
    let (next, dir) = next(&ca, |start, _| start);
    let trust = trusting(&dir);
    let known = front("localhost", &next, |settings| settings.tls(trust.clone()));
    assert_eq!(known.ask("echo", "1").unwrap().body(), "1");

    // The certificate is not for the address, unless it is said whom to expect there.
    let by_address = front("127.0.0.1", &next, |settings| settings.tls(trust.clone()));
    let refused = by_address.ask("echo", "2");
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    let named = TlsSettings {
        server_name: Some("localhost".to_owned()),
        ..trust.clone()
    };
    let named = front("127.0.0.1", &next, |settings| settings.tls(named));
    assert_eq!(named.ask("echo", "3").unwrap().body(), "3");

    put(dir.path(), "server-ca.crt", &stranger.pem());
    let deceived = front("localhost", &next, |settings| settings.tls(trust));
    let refused = deceived.ask("echo", "4");
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    let plain = front("localhost", &next, |settings| settings);
    let refused = plain.ask("echo", "5");
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
}

#[test]
fn a_certificate_of_its_own_says_who_the_hop_is() {
    let ca = Ca::new();
    let gateway = "{name: gateway, certificates: [{uri: 'spiffe://x/gateway'}], allow: [echo]}";
    let (next, dir) = next(&ca, |start, dir| {
        principals(dir, gateway);
        let file = dir.join("principals.yaml");
        let start = start.client_ca("DATA", dir, &ca);
        start.set("AUTH__PRINCIPALS", file.to_str().unwrap())
    });
    let shown = |params| {
        let mine = scratch();
        ca.issue(params).write(mine.path());
        let file = |name| mine.path().join(name);
        let mut trust = trusting(&dir);
        trust.files.client_files = Some((file("tls.crt"), file("tls.key")));
        let front = front("localhost", &next, |settings| settings.tls(trust));
        (front, mine)
    };
    let (known, _files) = shown(params_of_uri("spiffe://x/gateway"));
    assert_eq!(known.ask("echo", "1").unwrap().body(), "1");
    let denied = known.ask("heartbeat", "");
    assert_eq!(code(denied), ErrorCode::PERMISSION_DENIED);

    let (unknown, _files) = shown(params(&["gateway.example"]));
    let refused = unknown.ask("echo", "2");
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    let without = front("localhost", &next, |settings| settings.tls(trusting(&dir)));
    let refused = without.ask("echo", "3");
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
}

#[test]
fn a_token_that_changes_is_shown_when_the_next_server_asks_again_and_nothing_fails() {
    let ca = Ca::new();
    let (next, dir) = knowing(&ca, &holder(&[TEST]));
    let token = dir.path().join("token");
    std::fs::write(&token, "test\n").unwrap();
    let front = front("localhost", &next, |settings| {
        settings.tls(trusting(&dir)).token_file(&token)
    });
    let ask = |n: u32| {
        let answer = front.ask("echo", &n.to_string());
        assert_eq!(answer.unwrap().body(), &n.to_string());
    };
    let let_in = || next.metric("mcpd_authentications_total{method=\"token\",result=\"ok\"}");
    ask(0);
    let before = let_in();

    put(dir.path(), "token", "other");
    principals(dir.path(), &holder(&[TEST, OTHER]));
    principals(dir.path(), &holder(&[OTHER]));
    let deadline = Instant::now() + PATIENCE;
    let asked = (1..).take_while(|n| {
        ask(*n);
        assert!(Instant::now() < deadline, "the new token is never shown");
        let_in() == before
    });
    assert!(asked.count() > 0);
    ask(0);
}

#[test]
fn a_hop_without_its_token_is_nobody() {
    let ca = Ca::new();
    let (next, dir) = knowing(&ca, &holder(&[TEST]));
    let wrong = file(&dir, "token", "guess");
    for token in [Some(wrong), None] {
        let front = front("localhost", &next, |settings| {
            let settings = settings.tls(trusting(&dir));
            match token {
                Some(path) => settings.token_file(path),
                None => settings,
            }
        });
        let refused = front.ask("echo", "");
        assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    }
}

#[test]
fn a_process_goes_by_the_files_of_its_document_and_by_the_last_good_ones() {
    let ca = Ca::new();
    let (mut far, dir) = knowing(&ca, &holder(&[TEST]));
    let (data, sidecar) = (far.data, far.sidecar);
    let (token, ca_file) = (dir.path().join("token"), dir.path().join("server-ca.crt"));
    let list = format!(
        "{{name: next, type: mcp, endpoints: ['mcps://localhost:{}'], tls: {{ca_file: {}}}, token_file: {}}}",
        data.port(),
        ca_file.display(),
        token.display()
    );
    let document = file(&dir, "handlers.yaml", &handlers(&list));
    let table = file(&dir, "routes.yaml", &routes("{topic: '#', handler: next}"));
    let start = || {
        let start = Start::new().set("HANDLERS_FILE", document.to_str().unwrap());
        start.routes(&table)
    };

    let mut without = start().spawn_unready();
    let told = without.await_log("cannot serve");
    let problem = format!("token_file: {} cannot be read", token.display());
    assert!(told.contains(&problem), "{told}");
    drop(without);

    std::fs::write(&token, "test").unwrap();
    let mut front = start().spawn();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connecting = Connection::connect(front.data.to_string(), ConnectOptions::new());
    let client = runtime.block_on(connecting).unwrap();
    let ask = || runtime.block_on(client.request("echo").body("hi").timeout(PATIENCE).send());
    assert_eq!(ask().unwrap().body(), "hi");

    std::fs::remove_file(&token).unwrap();
    far.signal("KILL");
    far.await_exit();
    drop(far);
    let principals = dir.path().join("principals.yaml");
    let _far = Start::new()
        .tls("DATA", dir.path())
        .set("AUTH__PRINCIPALS", principals.to_str().unwrap())
        .listen(data)
        .sidecar(sidecar)
        .spawn();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = ask() {
        let text = error.to_string();
        assert!(!text.contains(token.to_str().unwrap()), "{text}");
        assert!(Instant::now() < deadline, "it is never asked again: {text}");
    }
    let told = front.await_log("trouble with connecting to the next server");
    assert!(told.contains(&problem), "{told}");
}
