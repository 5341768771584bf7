//! Real processes on both ends, told by the handlers document.

use crate::support::{Server, Start, scratch};
use mcpd_client::{ConnectOptions, Connection, ErrorCode};
use std::path::PathBuf;

/// Writes a document beside others.
pub(crate) fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn handlers(list: &str) -> String {
    format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{list}]}}")
}

pub(crate) fn routes(list: &str) -> String {
    format!("{{apiVersion: mcpd/v1, kind: RouteTable, routes: [{list}]}}")
}

/// A process that goes by these documents, which lie in `dir`.
fn front(dir: &tempfile::TempDir, handlers: &str, table: &str) -> Server {
    let handlers = file(dir, "handlers.yaml", handlers);
    let table = file(dir, "routes.yaml", &routes(table));
    let start = Start::new().set("HANDLERS_FILE", handlers.to_str().unwrap());
    start.routes(&table).spawn()
}

#[test]
fn a_process_that_is_told_by_a_document_hands_on_and_counts() {
    let next = Server::start();
    let dir = scratch();
    let list = format!(
        "{{name: next, type: mcp, endpoints: ['{}'], topic: '{{2..}}'}}",
        next.data
    );
    let front = front(&dir, &handlers(&list), "{topic: 'on/#', handler: next}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let address = front.data.to_string();
        let client = Connection::connect(address, ConnectOptions::new())
            .await
            .unwrap();
        for n in 0..10 {
            let answer = client
                .request("on/echo")
                .body(n.to_string())
                .send()
                .await
                .unwrap();
            assert_eq!(answer.body(), &n.to_string());
        }
        let nowhere = client.request("on/nowhere").send().await.unwrap_err();
        assert_eq!(nowhere.code(), Some(ErrorCode::NO_ROUTE));
    });
    let attempts = |outcome: &str| {
        let labels = format!("handler=\"next\",outcome=\"{outcome}\"");
        front.metric(&format!("mcpd_upstream_attempts_total{{{labels}}}"))
    };
    assert_eq!((attempts("answered"), attempts("refused")), (10.0, 1.0));
    let idle = "mcpd_upstream_connections{handler=\"next\",state=\"idle\"}";
    front.await_metric(idle, |n| n == 2.0);
}

/// What has set out by the old document comes back, and what comes later goes by the new one.
#[test]
fn a_document_that_is_replaced_takes_nothing_from_what_is_under_way() {
    let far = scratch();
    let slow = "{topic: slow, handler: slow}, {topic: 'new/slow', handler: echo}";
    let next = Start::new()
        .routes(&file(&far, "routes.yaml", &routes(slow)))
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "2s")
        .spawn();
    let dir = scratch();
    let list = |more: &str| {
        let addr = next.data;
        handlers(&format!(
            "{{name: next, type: mcp, endpoints: ['{addr}']{more}}}"
        ))
    };
    let front = front(&dir, &list(""), "{topic: '#', handler: next}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connecting = Connection::connect(front.data.to_string(), ConnectOptions::new());
        let client = connecting.await.unwrap();
        let under_way = tokio::spawn(client.request("slow").body("1").send());
        tokio::task::block_in_place(|| {
            next.await_metric("mcpd_requests_in_flight", |n| n > 0.0);
            file(&dir, "handlers.yaml", &list(", topic: 'new/{topic}'"));
        });
        let until = std::time::Instant::now() + crate::PATIENCE;
        while client
            .request("slow")
            .body("2")
            .send()
            .await
            .unwrap()
            .body()
            != "2"
        {
            assert!(std::time::Instant::now() < until, "it is never taken");
        }
        assert!(under_way.await.unwrap().is_ok());
    });
}

#[test]
fn what_is_wrong_with_a_document_is_told_by_line_and_key() {
    let dir = scratch();
    let list =
        "{name: next, type: mcp, endpoints: [], topic: '{0}', hops: 0, pool: {conections: 3}}";
    let handlers = file(&dir, "handlers.yaml", &handlers(list));
    let mut server = Start::new()
        .set("HANDLERS_FILE", handlers.to_str().unwrap())
        .spawn_unready();
    let line = server.await_log("cannot serve");
    for problem in [
        "handlers[0].endpoints: names no server",
        "handlers[0].topic: has `{0}`",
        "did you mean `connections`?",
    ] {
        assert!(line.contains(problem), "{problem}: {line}");
    }
}

/// Also where no frame comes after it that would have it counted.
#[test]
fn what_was_given_up_is_in_flight_no_more() {
    let next = Start::new().spawn();
    let dir = scratch();
    let list = format!("{{name: next, type: mcp, endpoints: ['{}']}}", next.data);
    let front = front(&dir, &handlers(&list), "{topic: '#', handler: next}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connecting = Connection::connect(front.data.to_string(), ConnectOptions::new());
        let client = connecting.await.unwrap();
        client.request("echo").send().await.unwrap();
        next.signal("STOP");
        let ask = || {
            let patience = std::time::Duration::from_secs(2);
            tokio::spawn(client.request("echo").timeout(patience).send())
        };
        let asked: Vec<_> = (0..100).map(|_| ask()).collect();
        tokio::task::block_in_place(|| {
            front.await_metric("mcpd_requests_in_flight", |n| n == 100.0);
        });
        for late in asked {
            assert!(late.await.unwrap().is_err());
        }
        tokio::task::block_in_place(|| {
            front.await_metric("mcpd_requests_in_flight", |n| n == 0.0);
        });
        next.signal("CONT");
    });
}
