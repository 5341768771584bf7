//! The admin API over TLS, and what stays plain.

use crate::client::{Got, entry, with_tokens};
use crate::support::tls::{Ca, Issued, dial, params};
use crate::support::{PATIENCE, Server, Start, scratch};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const LISTEN: &str = "127.0.0.1:0";

fn admin(start: Start) -> Start {
    start.set("ADMIN__LISTEN", LISTEN)
}

/// One GET over TLS, if the server lets this client in.
fn get(addr: SocketAddr, ca: &Ca, shown: Option<&Issued>, token: &str) -> Option<Got> {
    let mut config = ca.client(shown);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut stream = dial(addr, config).ok()?;
    let head = format!(
        "GET /admin/v1/state HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Got {
        status: head[9..12].parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn handshakes(result: &str) -> String {
    format!("mcpd_tls_handshakes_total{{port=\"admin\",result=\"{result}\"}}")
}

#[test]
fn the_api_is_encrypted_and_the_sidecar_is_not() {
    let (ca, dir) = (Ca::new(), scratch());
    ca.server().write(dir.path());
    let start = with_tokens(&[entry("ops", "secret", "read")]);
    let mut server = admin(start).tls("ADMIN", dir.path()).spawn();
    let addr = server.await_admin();
    assert_eq!(get(addr, &ca, None, "secret").unwrap().status, 200);
    // Scopes and tokens are what they were.
    assert_eq!(get(addr, &ca, None, "guess").unwrap().status, 401);
    for page in ["/livez", "/readyz", "/metrics", "/statusz"] {
        assert_eq!(server.get(page).0, 200, "{page}");
    }
    assert_eq!(server.get("/admin/v1/state").0, 404);
    assert_eq!(server.metric(&handshakes("ok")), 2.0);
}

#[test]
fn plain_http_gets_an_alert_and_the_end() {
    let (ca, dir) = (Ca::new(), scratch());
    ca.server().write(dir.path());
    let mut server = admin(Start::new()).tls("ADMIN", dir.path()).spawn();
    let mut stream = TcpStream::connect(server.await_admin()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    server.await_metric(&handshakes("not_tls"), |n| n == 1.0);
    let mut mcp = ca.client(None);
    mcp.alpn_protocols = vec![b"mcp/1".to_vec()];
    let addr = stream.peer_addr().unwrap();
    assert!(dial(addr, mcp).is_err());
    server.await_metric(&handshakes("protocol"), |n| n == 1.0);
}

#[test]
fn a_certificate_is_asked_for_besides_the_token() {
    let (ca, dir) = (Ca::new(), scratch());
    ca.server().write(dir.path());
    let start = with_tokens(&[entry("ops", "secret", "read")]);
    let start = admin(start).tls("ADMIN", dir.path());
    let mut server = start.client_ca("ADMIN", dir.path(), &ca).spawn();
    let addr = server.await_admin();
    let (good, bad) = (
        ca.issue(params(&["ops"])),
        Ca::new().issue(params(&["ops"])),
    );
    assert_eq!(get(addr, &ca, Some(&good), "secret").unwrap().status, 200);
    assert_eq!(get(addr, &ca, Some(&good), "guess").unwrap().status, 401);
    assert!(get(addr, &ca, Some(&bad), "secret").is_none());
    assert!(get(addr, &ca, None, "secret").is_none());
    server.await_metric(&handshakes("client_certificate"), |n| n == 2.0);
}

#[test]
fn a_changed_certificate_is_taken() {
    let (ca, next, dir) = (Ca::new(), Ca::new(), scratch());
    ca.server().write(dir.path());
    let mut server: Server = admin(Start::new()).tls("ADMIN", dir.path()).spawn();
    let addr = server.await_admin();
    next.server().write(dir.path());
    let taken = "mcpd_tls_reloads_total{port=\"admin\",result=\"ok\"}";
    server.await_metric(taken, |n| n == 2.0);
    assert!(get(addr, &next, None, "").is_some());
    assert!(get(addr, &ca, None, "").is_none());
}

#[test]
fn tls_without_a_port_of_its_own_is_an_error() {
    let (ca, dir) = (Ca::new(), scratch());
    ca.server().write(dir.path());
    let (code, _, errors) = Start::new().tls("ADMIN", dir.path()).run();
    assert_eq!(code, Some(64), "{errors}");
    assert!(
        errors.contains("admin.tls.certificate") && errors.contains("admin.listen"),
        "{errors}"
    );
}
