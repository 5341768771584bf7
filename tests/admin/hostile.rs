//! Clients that mean no good, or know no better.

use crate::client::{Admin, Got, JSON, YAML, call, entry, raw, read, with_tokens};
use crate::support::{PATIENCE, Server, Start};
use std::io::{Read, Write};
use std::net::TcpStream;

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.sidecar).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn is_well(server: &Server) {
    assert_eq!(server.get("/livez").0, 200);
    server.read("state").ok();
}

#[test]
fn names_that_are_not_ours_are_refused() {
    let server = Start::new()
        .set("ADMIN__HOSTS", "mcpd-admin.svc, other")
        .spawn();
    let with = |host: &str| server.admin("GET", "state", &[&format!("Host: {host}")], "");
    for ours in [
        "localhost",
        "127.0.0.1:8081",
        "[::1]:80",
        "10.9.8.7",
        "mcpd-admin.svc:8082",
        "OTHER",
    ] {
        with(ours).ok();
    }
    for theirs in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8081",
        "mcpd-admin.svc.evil",
        "localhost@evil.example",
        "2130706433",
        "[::1",
        "localhost:99999",
    ] {
        with(theirs).problem(421);
    }
    server
        .admin("GET", "state", &["Host: localhost", "Host: localhost"], "")
        .problem(400);
    let none = raw(server.sidecar, "GET /admin/v1/state HTTP/1.0", b"");
    none.problem(400);
    let absolute =
        "GET http://evil.example/admin/v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close";
    raw(server.sidecar, absolute, b"").problem(421);
    // Probes come by whatever name they like.
    let head = "GET /livez HTTP/1.1\r\nHost: evil.example\r\nConnection: close";
    assert_eq!(raw(server.sidecar, head, b"").status, 200);
}

#[test]
fn pages_of_other_origins_are_refused() {
    let server = Server::start();
    let post = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let lines = ["Host: localhost:8081", "Content-Type: text/plain", &origin];
        server.admin("POST", "drain", &lines, "")
    };
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost:9999",
        "file://",
        "http://localhost:8081.evil",
    ] {
        post(origin).problem(403);
    }
    let same = ["Host: localhost:8081", "Origin: http://localhost:8081"];
    server.admin("GET", "state", &same, "").ok();
    let got = server.admin("OPTIONS", "routes", &["Origin: http://evil.example"], "");
    got.problem(403);
    assert!(got.header("access-control-allow-origin").is_none());
    // It may not serve yet.
    assert_ne!(server.read("state").ok()["phase"], "shutting_down");
}

#[test]
fn other_methods_are_told_which_there_are() {
    let server = Server::start();
    for (path, method, allow) in [
        ("routes", "PATCH", "GET,HEAD,PUT"),
        ("routes/echo", "POST", "GET,HEAD,PUT,DELETE"),
        ("drain", "GET", "POST"),
        ("state", "DELETE", "GET,HEAD"),
        ("state", "OPTIONS", "GET,HEAD"),
        ("state", "TRACE", "GET,HEAD"),
        ("state", "BREW", "GET,HEAD"),
    ] {
        let got = server.admin(method, path, &[], "");
        got.problem(405);
        assert_eq!(got.header("allow"), Some(allow), "{method} {path}");
    }
    assert_eq!(server.admin("HEAD", "state", &[], "").status, 200);
}

#[test]
fn tricks_in_names_lead_nowhere() {
    let server = Server::start();
    let put = r#"{"topic": "a", "handler": "echo"}"#;
    let long = "a".repeat(64);
    let huge = "a".repeat(8000);
    for name in [
        "%2e%2e%2fstate",
        "a%2Fb",
        "a%00",
        "%ff",
        "A",
        "a%20b",
        "%C3%A9",
        "a;b",
        "a%0d%0aX:y",
        &long,
        &huge,
        "%",
    ] {
        server.put(&format!("routes/{name}"), put).problem(400);
        let got = server.read(&format!("routes/{name}"));
        assert!(matches!(got.status, 400 | 404), "{name}: {got:?}");
    }
    for path in [
        "routes/",
        "routes/a/b",
        "routes/../state",
        "../v1/state",
        "/state",
        "routes//a",
        "%72outes",
    ] {
        server.read(path).problem(404);
    }
    // Fine names, if odd ones.
    for name in ["..", "a..b", "-", "%61"] {
        server.put(&format!("routes/{name}?dry_run=true"), put).ok();
    }
    let at_length = raw(
        server.sidecar,
        &format!(
            "GET /admin/v1/{} HTTP/1.1\r\nHost: localhost",
            "a".repeat(20_000)
        ),
        b"",
    );
    assert!(matches!(at_length.status, 414 | 431), "{at_length:?}");
    is_well(&server);
}

#[test]
fn bodies_that_are_too_deep_or_no_documents_are_refused() {
    let server = Server::start();
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let maps = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    for body in [deep(10_000), maps, "{".repeat(100_000), "- ".repeat(10_000)] {
        server
            .admin("PUT", "routes", &[JSON, "If-Match: *"], &body)
            .problem(422);
        server.put("routes/a", &body).problem(422);
        let small: String = body.chars().take(60_000).collect();
        for path in ["sampling", "log-filter"] {
            let got = server.put(path, &small);
            assert!(matches!(got.status, 400 | 422), "{got:?}");
        }
    }
    let bomb = "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n";
    for body in [
        "",
        "null",
        "[]",
        "7",
        "\u{0}",
        "\u{feff}",
        bomb,
        "--- a\n--- b",
    ] {
        server
            .admin("PUT", "routes", &[YAML, "If-Match: *"], body)
            .problem(422);
    }
    let got = call(
        server.sidecar,
        "PUT",
        "routes",
        &[YAML, "If-Match: *"],
        b"\xff\xfe\x00",
    );
    assert!(got.problem(422).contains("valid"));
    is_well(&server);
}

#[test]
fn other_types_of_bodies_are_not_guessed_at() {
    let server = Server::start();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "x",
        "application/json2",
    ] {
        let kind = format!("Content-Type: {kind}");
        let got = server.admin("PUT", "routes", &[&kind, "If-Match: *"], "a=b");
        assert!(got.problem(415).contains("application/yaml"));
        server
            .admin("PUT", "log-filter", &[&kind], "{\"filter\":\"info\"}")
            .problem(415);
        server.admin("POST", "drain", &[&kind], "{}").problem(415);
    }
    let fine = "Content-Type: Application/JSON; charset=utf-8";
    server
        .admin("PUT", "log-filter", &[fine], "{\"filter\":\"info\"}")
        .ok();
    assert_eq!(server.read("state").ok()["phase"], "running");
}

#[test]
fn bodies_are_bounded() {
    let server = Start::new().set("ROUTES__MAX_BYTES", "64KiB").spawn();
    let large = " ".repeat((64 << 10) + 1);
    server
        .admin("PUT", "routes", &[YAML, "If-Match: *"], &large)
        .problem(413);
    server.put("log-filter", &large).problem(413);
    let claim = |length: &str| -> Got {
        let head = format!(
            "PUT /admin/v1/routes HTTP/1.1\r\nHost: localhost\r\n{YAML}\r\nIf-Match: *\r\nContent-Length: {length}"
        );
        let mut stream = connect(&server);
        write!(stream, "{head}\r\n\r\n").unwrap();
        read(&mut stream)
    };
    // What is only announced is not waited for.
    claim("99999999999").problem(413);
    for absurd in ["18446744073709551616", "-1", "1e3"] {
        assert_eq!(claim(absurd).status, 400);
    }
    // And what is not announced is counted.
    let mut stream = connect(&server);
    write!(stream, "PUT /admin/v1/routes HTTP/1.1\r\nHost: localhost\r\n{YAML}\r\nIf-Match: *\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    for _ in 0..8 {
        // It may be closed already.
        let _ = stream.write_all(chunk.as_bytes());
    }
    read(&mut stream).problem(413);
    is_well(&server);
}

#[test]
fn a_body_that_does_not_come_costs_its_sender_the_connection() {
    let server = Start::new().set("ADMIN__TIMEOUT", "300ms").spawn();
    let head = format!(
        "PUT /admin/v1/routes HTTP/1.1\r\nHost: localhost\r\n{YAML}\r\nIf-Match: *\r\nContent-Length: 100"
    );
    raw(server.sidecar, &head, b"apiVersion: ").problem(408);
    is_well(&server);
}

#[test]
fn slow_bodies_take_the_places_of_admin_and_never_those_of_probes() {
    let server = Start::new()
        .set("ADMIN__MAX_CONCURRENT", "2")
        .set("ADMIN__TIMEOUT", "60s")
        .spawn();
    server.await_get("/readyz", |status, _| status == 200);
    let head = format!(
        "PUT /admin/v1/routes HTTP/1.1\r\nHost: localhost\r\n{YAML}\r\nIf-Match: *\r\nContent-Length: 100\r\n\r\n"
    );
    let slow: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // They are there once there is no place left.
    let busy = loop {
        let got = server.read("state");
        if got.status != 200 {
            break got;
        }
    };
    busy.problem(503);
    assert_eq!(busy.header("retry-after"), Some("1"));
    for _ in 0..50 {
        assert_eq!(server.get("/livez").0, 200);
        assert_eq!(server.get("/readyz").0, 200);
    }
    drop(slow);
    while server.read("state").status != 200 {}
}

/// Without a token nobody gets as far as taking a place.
#[test]
fn strangers_take_no_places() {
    let server = with_tokens(&[entry("ops", "right", "read")])
        .set("ADMIN__MAX_CONCURRENT", "1")
        .spawn();
    let head = "PUT /admin/v1/routes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n";
    let _slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        server
            .admin("GET", "state", &["Authorization: Bearer right"], "")
            .ok();
    }
}

#[test]
fn a_flood_of_idle_connections_keeps_neither_probes_nor_operators_out() {
    let server = Server::start();
    let _idle: Vec<TcpStream> = (0..400).map(|_| connect(&server)).collect();
    for _ in 0..20 {
        is_well(&server);
    }
}

#[test]
fn nonsense_instead_of_http_is_survived() {
    let server = Server::start();
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n",
        &[0x16, 3, 1, 2, 0],
    ] {
        let mut stream = connect(&server);
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Whatever it is, it ends.
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
    }
    let smuggled = "POST /admin/v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\nConnection: close";
    let got = raw(
        server.sidecar,
        smuggled,
        b"0\r\n\r\nGET /admin/v1/state HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(
        got.body.matches("HTTP/1.1").count(),
        0,
        "one answer: {got:?}"
    );
    assert_eq!(server.get("/livez").0, 200);
}

/// Whatever becomes of a change that has begun when its client hangs up, the log knows.
#[test]
fn a_change_whose_client_has_gone_is_told_of() {
    let mut server = Server::start();
    let mut made = 0;
    for at in 0..20 {
        let body = format!(r#"{{"topic": "gone/{at}", "handler": "echo"}}"#);
        let head = format!(
            "PUT /admin/v1/routes/gone-{at} HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut client = connect(&server);
        client.write_all(head.as_bytes()).unwrap();
        // Once the body is asked for, it has begun.
        let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        client.read_exact(&mut go_on).unwrap();
        client.write_all(body.as_bytes()).unwrap();
        drop(client);
        let line = server.await_log(&format!("/admin/v1/routes/gone-{at}\""));
        assert!(line.contains("mcpd::audit"), "{line}");
        made += u64::from(line.contains("\"status\":200"));
    }
    assert_eq!(server.read("state").ok()["routes"]["count"], 2 + made);
    is_well(&server);
}
