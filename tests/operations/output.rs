//! What happens when nobody reads what the server says.

use crate::support::Start;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::process::Stdio;

/// The write end of a pipe whose reader is gone: every write fails with EPIPE.
fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn free() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// With nothing to read a port from, ports are chosen here.
fn serves_with(change: impl FnOnce(&mut std::process::Command)) {
    let (data, sidecar) = (free(), free());
    let start = Start::new()
        .listen(data)
        .sidecar(sidecar)
        .set("LOG__FILTER", "debug");
    let mut server = start.with(change).spawn_unbound();
    (server.data, server.sidecar) = (data, sidecar);
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    while std::net::TcpStream::connect(data).is_err() {
        assert!(std::time::Instant::now() < deadline, "never bound {data}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let mut peer = server.peer();
    peer.expect_alive(1);
    // A client's mistake is logged.
    let mut broken = server.peer();
    broken.send(&[9; 32]);
    broken.expect_end(mcpd_proto::ErrorCode::UNSUPPORTED_VERSION);
    server.signal("HUP");
    peer.expect_alive(2);
    assert_eq!(server.get("/livez").0, 200);
    server.signal("TERM");
    peer.expect_draining_and_end();
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_closed_standard_output_does_not_matter() {
    serves_with(|command| {
        command.stdout(broken_pipe());
    });
}

#[test]
fn a_closed_standard_error_does_not_matter() {
    serves_with(|command| {
        command.stderr(broken_pipe());
    });
}

#[test]
fn a_full_disk_below_the_logs_does_not_matter() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    serves_with(|command| {
        command.stdout(full()).stderr(full());
    });
}
