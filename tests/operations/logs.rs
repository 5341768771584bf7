//! Log lines of requests: their schema, their rate, and nobody who reads them.

use crate::support::{PATIENCE, Server, Start, scratch, write_routes};
use mcpd_proto::ErrorCode;
use serde_json::Value;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

const ROUTES: &str = "
apiVersion: mcpd/v1
kind: RouteTable
routes:
  - {topic: echo, handler: echo}
  - {name: failing, topic: failing/#, handler: failing}
";

fn start() -> Start {
    let dir = scratch();
    let routes = write_routes(&dir, ROUTES);
    std::mem::forget(dir);
    Start::new()
        .routes(&routes)
        .set("HANDLERS__FAILING__TYPE", "delay")
        .set("HANDLERS__FAILING__LATENCY", "0s")
        .set("HANDLERS__FAILING__FAILURE_PERCENT", "100")
}

fn line(server: &mut Server, text: &str) -> Value {
    let line = server.await_log(text);
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn is_hex(value: &Value, len: usize) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == len
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|b| b != b'0')
}

#[test]
fn a_failed_request_has_a_line_without_its_body() {
    let mut server = start().spawn();
    let mut peer = server.peer();
    peer.request(7, "failing/\u{202e}x", b"a secret body");
    assert_eq!(peer.expect().error(), (7, ErrorCode::HANDLER_ERROR));
    let line = line(&mut server, "a request failed");
    assert!(
        is_hex(&line["trace_id"], 32) && is_hex(&line["span_id"], 16),
        "{line}"
    );
    let seconds = line["seconds"].as_f64().expect("a number");
    assert!(seconds > 0.0 && seconds < PATIENCE.as_secs_f64());
    let expected = serde_json::json!({
        "timestamp": line["timestamp"], "level": "WARN", "message": "a request failed",
        "target": "mcpd::frames", "trace_id": line["trace_id"], "span_id": line["span_id"],
        "route": "failing", "code": "HANDLER_ERROR", "connection": 1,
        "topic": "failing/\\u{202e}x", "seconds": seconds, "body_bytes": 13, "suppressed": 0,
    });
    assert_eq!(line, expected);
}

#[test]
fn ecs_has_its_own_names_in_a_running_server() {
    let mut server = start()
        .set("LOG__FORMAT", "ecs")
        .set("SERVER_ID", "pod-9")
        .spawn();
    let mut peer = server.peer();
    peer.request(1, "failing/1", b"");
    peer.expect();
    let line = line(&mut server, "a request failed");
    assert!(
        is_hex(&line["trace.id"], 32) && is_hex(&line["span.id"], 16),
        "{line}"
    );
    for (key, value) in [
        ("log.level", "warn"),
        ("log.logger", "mcpd::frames"),
        ("service.name", "mcpd"),
        ("service.node.name", "pod-9"),
        ("mcpd.route", "failing"),
        ("mcpd.code", "HANDLER_ERROR"),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert!(line["@timestamp"].is_string() && line["ecs.version"].is_string());
}

#[test]
fn many_failures_have_few_lines_that_say_how_many_there_were() {
    let mut server = start().spawn();
    let mut peer = server.peer();
    const FAILURES: u16 = 300;
    for seq in 1..=FAILURES {
        peer.request(seq, "failing/1", b"");
    }
    for _ in 0..FAILURES {
        peer.expect();
    }
    // Enough for another line, which tells of those before it.
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        peer.request(1, "failing/1", b"");
        peer.expect();
        let lines = server.output().iter();
        let lines: Vec<&String> = lines
            .filter(|line| line.contains("a request failed"))
            .collect();
        let told = lines
            .iter()
            .filter(|line| !line.contains("\"suppressed\":0,"))
            .count();
        if told > 0 {
            break lines.len();
        }
        assert!(Instant::now() < deadline, "{lines:#?}");
    };
    assert!(told < FAILURES.into(), "{told} lines");
}

#[test]
fn each_frame_has_a_line_when_that_is_asked_for() {
    let mut server = start()
        .set("LOG__FILTER", "warn,mcpd::frames=debug")
        .spawn();
    let mut peer = server.peer();
    peer.request(1, "echo", b"body");
    peer.expect();
    let line = line(&mut server, "a request\"");
    assert_eq!(
        (&line["route"], &line["code"]),
        (&"echo".into(), &"OK".into())
    );
    assert!(is_hex(&line["trace_id"], 32));
    peer.send(&[2, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    drop(peer);
}

#[test]
fn who_does_not_read_the_log_holds_nothing_up() {
    let free = || {
        TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
    };
    let (data, sidecar) = (free(), free());
    // A pipe that is never read takes 64 KiB and then nothing.
    let (unread, stderr) = std::io::pipe().unwrap();
    let start = start().listen(data).sidecar(sidecar);
    let start = start.set("LOG__FILTER", "debug").set("DRAIN__FLUSH", "1s");
    let mut server = start
        .with(|command| {
            command.stderr(Stdio::from(stderr));
        })
        .spawn_unbound();
    (server.data, server.sidecar) = (data, sidecar);
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(data).is_err() {
        assert!(Instant::now() < deadline, "never bound {data}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut peer = server.peer();
    for _ in 0..20 {
        for seq in 1..=1000 {
            peer.request(seq, "echo", b"x");
        }
        for seq in 1..=1000 {
            assert_eq!(peer.expect().response(), (seq, b"x".to_vec()));
        }
    }
    server.await_metric("mcpd_log_lines_dropped_total", |n| n > 0.0);
    assert_eq!(server.get("/livez").0, 200);
    server.signal("TERM");
    peer.expect_draining_and_end();
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
    drop(unread);
}

#[test]
fn the_filter_changes_where_spans_are_exported_too() {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    let nowhere = "tracing: {endpoint: \"http://127.0.0.1:9\"}\n";
    std::fs::write(&file, nowhere).unwrap();
    let mut server = Start::new().arg("--config").arg(&file).spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    let verbose = format!("{nowhere}log: {{filter: \"info,mcpd::frames=debug\"}}\n");
    std::fs::write(&file, verbose).unwrap();
    server.signal("HUP");
    server.await_log("configuration reloaded");
    peer.expect_alive(2);
    let line = line(&mut server, "a request\"");
    assert_eq!(line["message"], "a request");
    let lines = server.output().iter();
    let told = lines.filter(|line| line.contains("\"a request\""));
    assert_eq!(told.count(), 0, "the first one was not asked for");
}
