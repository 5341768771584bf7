//! Ports that are taken, recovery, and stopping before it ever ran.

use crate::support::{PATIENCE, Server, Start};
use std::net::TcpListener;

fn taken() -> (TcpListener, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// The page follows the phase.
fn await_state(server: &Server, phase: &str, wanted: f64) {
    let series = format!("mcpd_lifecycle_state{{state=\"{phase}\"}}");
    server.await_metric(&series, |n| n == wanted);
}

fn transitions(server: &Server, to: &str) -> f64 {
    server.metric(&format!("mcpd_lifecycle_transitions_total{{to=\"{to}\"}}"))
}

#[test]
fn a_data_port_in_use_is_an_error_until_it_is_free() {
    let (listener, addr) = taken();
    let mut server = Start::new().listen(addr).spawn_unready();
    let line = server.await_log("cannot serve, trying again");
    assert!(line.contains(&addr.to_string()), "{line}");
    let page = server.await_get("/readyz?verbose", |_, body| {
        body.contains("] lifecycle: error")
    });
    assert!(page.contains(&format!("cannot listen on {addr}")), "{page}");
    assert_eq!(server.get("/livez").0, 200, "a restart would not help");
    await_state(&server, "error", 1.0);
    drop(listener);
    server.await_data();
    server.await_get("/readyz", |status, _| status == 200);
    await_state(&server, "running", 1.0);
    await_state(&server, "error", 0.0);
    assert!(transitions(&server, "error") >= 1.0);
    assert_eq!(
        transitions(&server, "error"),
        transitions(&server, "initializing")
    );
    assert_eq!(transitions(&server, "running"), 1.0);
    server.peer().expect_alive(1);
}

#[test]
fn the_history_tells_each_step_with_its_cause() {
    let (listener, addr) = taken();
    let mut server = Start::new().listen(addr).spawn_unready();
    server.await_log("cannot serve, trying again");
    drop(listener);
    server.await_data();
    server.await_get("/readyz", |status, _| status == 200);
    let page = server.get("/statusz?verbose").1;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let history = page["state"]["history"].as_array().unwrap();
    assert_eq!(history[0]["to"], "error");
    let cause = history[0]["cause"].as_str().unwrap();
    assert!(cause.contains(&addr.to_string()), "{cause}");
    let last = history.last().unwrap();
    assert_eq!(
        (&last["from"], &last["to"]),
        (&"initializing".into(), &"running".into())
    );
    assert_eq!(page["state"]["transitions"], history.len());
}

#[test]
fn a_sidecar_port_in_use_is_an_error_until_it_is_free() {
    let (listener, addr) = taken();
    let mut server = Start::new().sidecar(addr).spawn_unbound();
    let line = server.await_log("cannot serve, trying again");
    assert!(
        line.contains(&format!("cannot listen on {addr} (sidecar)")),
        "{line}"
    );
    drop(listener);
    server.await_sidecar();
    server.await_data();
    server.await_get("/readyz", |status, _| status == 200);
}

#[test]
fn a_second_server_on_the_port_does_not_disturb_the_first() {
    let first = Server::start();
    let mut peer = first.peer();
    peer.expect_alive(1);
    let mut second = Start::new().listen(first.data).spawn_unready();
    second.await_log("cannot serve, trying again");
    // Every connection still reaches the first one.
    for _ in 0..20 {
        first.peer().expect_alive(1);
    }
    peer.expect_alive(2);
    second.signal("TERM");
    assert_eq!(second.await_exit(), Some(0));
    peer.expect_alive(3);
}

#[test]
fn a_stop_while_it_cannot_serve_is_an_orderly_exit() {
    for signal in ["TERM", "INT"] {
        let (_listener, addr) = taken();
        let start = Start::new().listen(addr).set("DRAIN__DELAY", "1h");
        let mut server = start.spawn_unready();
        server.await_log("cannot serve, trying again");
        server.signal(signal);
        assert_eq!(server.await_exit(), Some(0), "after SIG{signal}");
        assert!(
            server
                .await_log("\"drained\"")
                .contains("\"connections\":0")
        );
    }
}

#[test]
fn sighup_while_it_cannot_serve_tries_again_at_once_with_the_new_configuration() {
    let dir = crate::support::scratch();
    let routes =
        "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  - topic: t\n    handler: late\n";
    let file = crate::support::write_routes(&dir, routes);
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, "{}").unwrap();
    let start = Start::new().routes(&file).arg("--config").arg(&config);
    let mut server = start.spawn_unready();
    let line = server.await_log("cannot serve, trying again");
    assert!(line.contains("there is no handler"), "{line}");
    std::fs::write(&config, "handlers: {late: {type: echo}}").unwrap();
    server.signal("HUP");
    server.await_data();
    let mut peer = server.peer();
    peer.request(1, "t", b"x");
    assert_eq!(peer.expect().response(), (1, b"x".to_vec()));
}

/// Whoever waits for an answer of a server that was killed learns that its fate is unknown: the
/// connection ends without CLOSING.
#[test]
fn a_killed_server_says_nothing() {
    use std::io::Read;
    let mut server = Start::new()
        .set("HANDLERS__ECHO__TYPE", "delay")
        .set("HANDLERS__ECHO__LATENCY", "1h")
        .spawn();
    let mut peer = server.peer();
    peer.request(1, "echo", b"");
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    server.signal("KILL");
    assert_eq!(server.await_exit(), None, "a signal, not a code");
    peer.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    match peer.stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert_eq!(rest, b"");
}
