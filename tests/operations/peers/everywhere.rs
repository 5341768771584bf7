//! A write that waits for all servers.

use super::{hash, server, sidecars};
use crate::support::{Server, scratch, write_routes};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const ROUTES: &str = "routes:\n  - {topic: first, handler: echo}\n";

/// Writes one route; the status, the ETag and the body of the answer.
fn put(server: &Server, name: &str, query: &str) -> (u16, Option<String>, Value) {
    let body = format!("{{\"topic\": \"{name}\", \"handler\": \"echo\"}}");
    let mut stream = TcpStream::connect(server.sidecar).unwrap();
    write!(
        stream,
        "PUT /admin/v1/routes/{name}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let etag = head.lines().find_map(|line| line.strip_prefix("etag: "));
    let status = head[9..12].parse().unwrap();
    let body = serde_json::from_str(body).unwrap();
    (status, etag.map(str::to_owned), body)
}

fn routes(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = scratch();
    let head = "apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 1\n";
    let file = write_routes(&dir, &format!("{head}{text}"));
    (dir, file)
}

fn trio(file: &Path, third: &Path) -> Vec<Server> {
    let all = sidecars(3);
    let start = |(n, name): (usize, &str)| {
        let file = if n == 2 { third } else { file };
        server(name, all[n], &all).routes(file).spawn()
    };
    ["a", "b", "c"].into_iter().enumerate().map(start).collect()
}

#[test]
fn the_answer_comes_when_all_servers_have_it() {
    let (_dir, file) = routes(ROUTES);
    let servers = trio(&file, &file);
    for round in 0..5 {
        let name = format!("new-{round}");
        let (status, etag, told) = put(&servers[round % 3], &name, "?wait=all&timeout=10s");
        assert_eq!((status, &told["converged"]), (200, &true.into()), "{told}");
        assert_eq!(told["stragglers"], Value::Array(Vec::new()));
        assert_eq!(etag.as_deref(), told["etag"].as_str());
        for server in &servers {
            assert_eq!(told["hash"], hash(server));
            server.peer().expect_alive_on(&name);
        }
    }
    let count = |server: &Server| server.metric("mcpd_routes_convergence_seconds_count");
    assert_eq!(servers.iter().map(count).sum::<f64>(), 5.0);
    assert_eq!(servers[0].metric("mcpd_peers{state=\"serving\"}"), 3.0);
    // Nobody has to wait for it to be measured.
    let (_, _, told) = put(&servers[0], "unwaited", "");
    assert!(told.get("converged").is_none(), "{told}");
    let before = count(&servers[0]);
    servers[0].await_metric("mcpd_routes_convergence_seconds_count", |n| {
        n >= before.max(3.0)
    });
}

#[test]
fn who_is_behind_is_named_and_the_write_stands() {
    let (_dir, file) = routes(ROUTES);
    let (_other, stale) = routes(ROUTES);
    let mut servers = trio(&file, &stale);
    let (status, etag, told) = put(&servers[0], "new", "?wait=all&timeout=300ms");
    assert_eq!((status, &told["converged"]), (202, &false.into()), "{told}");
    assert!(etag.is_some());
    let stragglers = told["stragglers"].as_array().unwrap();
    assert_eq!(stragglers.len(), 1, "{told}");
    assert_eq!(
        (&stragglers[0]["server"], &stragglers[0]["revision"]),
        (&"c".into(), &1.into())
    );
    servers[0].peer().expect_alive_on("new");

    // The command says the same, and ends with 1.
    let command = |wait: &str| {
        Command::new(env!("CARGO_BIN_EXE_mcpd"))
            .args([
                "routes",
                "set",
                "more",
                "--topic",
                "more",
                "--handler",
                "echo",
                "--wait",
                "all",
            ])
            .args([
                "--wait-timeout",
                wait,
                "--admin",
                &servers[0].sidecar.to_string(),
            ])
            .output()
            .unwrap()
    };
    let output = command("300ms");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("behind: c has revision 1"), "{told}");
    assert!(told.contains("the change stands"), "{told}");

    // One that does not answer is no better, and the same again is waited for again.
    servers[2].signal("STOP");
    let (status, _, told) = put(&servers[0], "new", "?wait=all&timeout=1500ms");
    assert_eq!((status, &told["changed"]), (202, &false.into()), "{told}");
    let problem = told["stragglers"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("has not answered"), "{told}");
    servers[2].signal("CONT");
    std::fs::copy(&file, &stale).unwrap();
    let output = command("10s");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(hash(&servers[0]), hash(&servers[2]));
    servers.truncate(2);
}

#[test]
fn a_server_without_others_has_converged_at_once() {
    let (_dir, file) = routes(ROUTES);
    let server = crate::support::Start::new().routes(&file).spawn();
    let (status, _, told) = put(&server, "new", "?wait=all&timeout=1ms");
    assert_eq!((status, &told["converged"]), (200, &true.into()), "{told}");
    assert_eq!(server.metric("mcpd_routes_convergence_seconds_count"), 1.0);
    for wrong in ["?wait=some", "?timeout=1s", "?wait=all&timeout=2m"] {
        assert_eq!(put(&server, "new", wrong).0, 400, "{wrong}");
    }
    let (status, _, told) = put(&server, "dry", "?wait=all&dry_run=true");
    assert_eq!(status, 200);
    assert!(told.get("converged").is_none(), "{told}");
}
