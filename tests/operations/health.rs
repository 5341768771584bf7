//! The sidecar port: what it answers, and that nobody can keep it from answering.

use crate::support::{Server, Start, http};
use mcpd::admin::{self, Pulse, RoutesStatus, Status, TrustStatus};
use mcpd::lifecycle::{Event, Lifecycle};
use mcpd::telemetry::Exporter;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[test]
fn a_running_server_is_alive_and_ready() {
    let server = Server::start();
    server.await_get("/readyz", |status, body| (status, body) == (200, "ok\n"));
    assert_eq!(server.get("/livez"), (200, "ok\n".to_owned()));
    let (status, page) = server.get("/readyz?verbose");
    assert_eq!(status, 200);
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(
        lines,
        [
            "[+] lifecycle: running (everything is bound and loaded)",
            "[+] routes: 2 routes, revision 1, from the embedded defaults",
            "[+] accepting: yes",
            "ok"
        ]
    );
    assert_eq!(server.get("/readyz?verbose=1&x").1, page);
    assert_eq!(server.get("/readyz?x").1, "ok\n");
}

#[test]
fn statusz_is_json_with_the_fields_that_peers_rely_on() {
    let server = Start::new().set("SERVER_ID", "pod-7").spawn();
    let _peer = server.peer();
    server.await_metric("mcpd_connections", |n| n == 1.0);
    server.await_get("/readyz", |status, _| status == 200);
    let (status, head, page) = http(server.sidecar, "GET", "/statusz");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let hash = page["hash"].as_str().unwrap();
    assert_eq!(hash.len(), 64);
    let expected = serde_json::json!({
        "server_id": "pod-7", "revision": 1, "hash": hash, "lifecycle": "running", "connections": 1
    });
    assert_eq!(page, expected);
}

#[test]
fn other_paths_and_methods_are_refused() {
    let server = Server::start();
    for path in [
        "/nothing",
        "/livez/",
        "/metrics/x",
        "//",
        "/admin/v1/nothing",
    ] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    for path in ["/livez", "/readyz", "/statusz", "/metrics", "/"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let (status, head, _) = http(server.sidecar, method, path);
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get"), "{head}");
        }
        assert_eq!(http(server.sidecar, "HEAD", path).0, 200, "{path}");
    }
}

#[test]
fn a_huge_head_is_refused() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.sidecar).unwrap();
    let huge = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    // It is cut off while it is sent, or told why.
    let _ = stream.write_all(huge.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    assert_eq!(server.get("/livez").0, 200);
}

#[test]
fn what_is_not_http_is_refused() {
    let server = Server::start();
    for garbage in [&b"\x01\x01\x00\x01"[..], b"\r\n\r\n\r\n", &[0xff; 4096]] {
        let mut stream = TcpStream::connect(server.sidecar).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(server.get("/livez").0, 200);
}

/// Clients that begin a request and never end it cannot keep a probe out, however many they are.
#[test]
fn slow_clients_do_not_keep_a_probe_out() {
    let server = Server::start();
    let slow: Vec<TcpStream> = (0..600)
        .map(|_| {
            let mut stream = TcpStream::connect(server.sidecar).unwrap();
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nX: ");
            stream
        })
        .collect();
    assert_eq!(server.get("/livez").0, 200);
    let held = server.metric("process_open_fds");
    assert!(
        held < 400.0,
        "{held} descriptors are held for {} clients",
        slow.len()
    );
}

/// A flood of the data port takes no descriptor that the sidecar needs: a busy server is alive.
#[test]
fn a_flood_of_connections_does_not_keep_a_probe_out() {
    let mut server = Start::with_descriptors(600).spawn();
    let warning = server.await_log("more connections than there are file descriptors for");
    assert!(warning.contains("data.max_connections"), "{warning}");
    let flood: Vec<TcpStream> = (0..700)
        .map(|_| TcpStream::connect(server.data).unwrap())
        .collect();
    server.await_metric("mcpd_connections_rejected_total{reason=\"limit\"}", |n| {
        n > 500.0
    });
    for _ in 0..20 {
        assert_eq!(server.get("/livez").0, 200);
    }
    assert_eq!(server.metric("mcpd_accept_errors_total"), 0.0);
    drop(flood);
    server.await_metric("mcpd_connections", |n| n == 0.0);
    server.peer().expect_alive(1);
}

#[test]
fn a_stuck_thread_is_not_alive() {
    let lifecycle = Lifecycle::new();
    lifecycle.transition(Event::Started).unwrap();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(11)).unwrap();
    let pulses = ["data-0", "data-1", "main"].map(|name| Pulse::new(name, long_ago));
    let status = Status {
        server_id: "test".into(),
        lifecycle,
        connections: Arc::default(),
        routes: watch::channel(RoutesStatus::default()).1,
        trust: watch::channel(TrustStatus::default()).1,
        pulses: pulses.into(),
        keep_ready: Arc::default(),
        refusing: Arc::default(),
        exporter: Arc::new(Exporter::install()),
    };
    let pulses = Arc::clone(&status.pulses);
    let listener = admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(admin::serve(
            listener,
            None,
            admin::router(status, None),
            admin::Ports::default().gate(),
        ))
    });
    pulses[0].beat(Instant::now());
    pulses[2].beat(Instant::now());
    let (status, _, body) = http(addr, "GET", "/livez");
    assert_eq!((status, body.as_str()), (500, "thread data-1 is stuck\n"));
    pulses[1].beat(Instant::now());
    assert_eq!(http(addr, "GET", "/livez").0, 200);
    // Without routes it is alive all the same, and not ready.
    assert_eq!(http(addr, "GET", "/readyz").0, 503);
}
