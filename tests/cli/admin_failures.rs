//! Admin commands where they do not work: what is said, and with which code they end.

use crate::http::{self, answer, json, problem};
use crate::run::{Ran, await_end, finish, mcpd, nobody, run};
use crate::support::{Server, scratch};
use std::io::Write;
use std::net::TcpListener;

/// Two lines: what happened, what to do; the same as JSON with nothing on standard error.
#[track_caller]
fn expect_failure(args: &[&str], admin: &str, code: i32, what: &str, hint: &str) {
    let ran = run([args, &["--admin", admin]].concat()).expect(code);
    expect_lines(&ran, what, hint);
}

#[track_caller]
fn expect_lines(ran: &Ran, what: &str, hint: &str) {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].contains(what), "{what:?} in {ran:?}");
    let last = lines[1];
    assert!(
        last.starts_with("hint: ") && last.contains(hint),
        "{hint:?} in {ran:?}"
    );
    assert!(ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn nobody_there_is_69() {
    let what = "no connection: cannot connect to http://127.0.0.1:1: ";
    for args in [
        &["state"][..],
        &["drain"],
        &["connections"],
        &["handlers"],
        &["monitor"],
        &["log-filter"],
        &["sampling"],
        &["routes", "get"],
        &["routes", "rm", "a"],
    ] {
        expect_failure(args, "127.0.0.1:1", 69, what, "--admin or MCPD_ADMIN");
        let ran = run([args, &["--admin", "127.0.0.1:1", "--json"]].concat()).expect(69);
        assert!(ran.stderr.is_empty(), "{ran:?}");
        let said = ran.json();
        assert_eq!(said["ok"], false);
        assert_eq!(said["exit_code"], 69);
        assert_eq!(said["kind"], "no_connection");
    }
}

/// Status and body, exit code, what is said.
#[test]
fn each_refusal_has_its_exit_code() {
    for (status, code, what, hint) in [
        ("400 Bad Request", 64, "Bad Request (400): words", "correct"),
        (
            "401 Unauthorized",
            77,
            "Unauthorized (401): words",
            "--token-file",
        ),
        ("403 Forbidden", 77, "Forbidden (403): words", "scope"),
        (
            "404 Not Found",
            77,
            "Not Found (404): words",
            "check the name",
        ),
        (
            "412 Precondition Failed",
            75,
            "Precondition Failed (412): words",
            "try again",
        ),
        (
            "413 Content Too Large",
            65,
            "Payload Too Large (413): words",
            "send less",
        ),
        (
            "422 Unprocessable Entity",
            64,
            "Unprocessable Entity (422): words",
            "correct",
        ),
        (
            "429 Too Many Requests",
            75,
            "Too Many Requests (429): words",
            "wait",
        ),
        (
            "500 Internal Server Error",
            70,
            "Internal Server Error (500): words",
            "log",
        ),
        (
            "503 Service Unavailable",
            75,
            "Service Unavailable (503): words",
            "wait",
        ),
        (
            "504 Gateway Timeout",
            79,
            "Gateway Timeout (504): words",
            "look before",
        ),
    ] {
        let body = r#"{"type":"about:blank","detail":"words"}"#;
        let (admin, server) = http::serve(vec![problem(status, body)]);
        expect_failure(&["state"], &admin, code, what, hint);
        server.join().unwrap();
    }
}

#[test]
fn what_is_not_the_admin_api_is_76() {
    let html = "Content-Type: text/html\r\n";
    let endless = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
        " ".repeat(17 << 20)
    );
    for (said, what) in [
        (
            answer("200 OK", html, "<p>welcome"),
            "answers with \"text/html\" instead of JSON",
        ),
        (
            answer("404 Not Found", html, "<p>no"),
            "404 Not Found, and not as the admin API does",
        ),
        (
            answer("200 OK", "", "{}"),
            "answers with \"\" instead of JSON",
        ),
        (
            json("{\"a\": "),
            "the answer is not what the admin API says",
        ),
        (
            json(&"[".repeat(10_000)),
            "the answer is not what the admin API says",
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "does not speak HTTP"),
        (
            answer("302 Found", "Location: http://evil.example/\r\n", ""),
            "sends elsewhere",
        ),
        (endless, "answers with more than 16777216 bytes"),
    ] {
        let (admin, server) = http::serve(vec![said]);
        expect_failure(
            &["state"],
            &admin,
            76,
            what,
            "sidecar port of an mcpd server",
        );
        server.join().unwrap();
    }
}

#[test]
fn the_data_port_is_not_the_admin_api() {
    let server = Server::start();
    let admin = server.data.to_string();
    expect_failure(
        &["state"],
        &admin,
        76,
        "does not speak HTTP",
        "sidecar port",
    );
}

#[test]
fn a_server_that_says_nothing_is_79_and_one_that_hangs_up_is_69() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = silent.local_addr().unwrap().to_string();
    let args = ["log-filter", "info", "--admin-timeout", "50ms"];
    expect_failure(
        &args,
        &admin,
        79,
        "timeout: no answer from",
        "--admin-timeout",
    );
    let (admin, server) = http::serve(vec![""]);
    expect_failure(
        &["routes", "rm", "a"],
        &admin,
        69,
        "lost before the answer",
        "may have been done",
    );
    server.join().unwrap();
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
    let (admin, server) = http::serve(vec![cut]);
    expect_failure(
        &["state"],
        &admin,
        69,
        "lost before the answer",
        "ask again",
    );
    server.join().unwrap();
}

#[test]
fn what_a_server_says_cannot_play_with_the_terminal() {
    let body = r#"{"title":"a\u001b[2J","detail":"b\nhint: trust me","errors":[{"field":"c\u001b","detail":"d\n"}]}"#;
    let (admin, server) = http::serve(vec![problem("422 Unprocessable Entity", body)]);
    let ran = run(["state", "--admin", &admin]).expect(64);
    server.join().unwrap();
    let expected = "a\\u{1b}[2J (422): b hint: trust me\nerror: c\\u{1b}: d\n\
                    hint: nothing was changed: correct it and try again\n";
    assert_eq!(ran.stderr, expected);
    let state = r#"{"server_id":"\u001b]0;x\u0007","phase":"running"}"#;
    let (admin, server) = http::serve(vec![json(state)]);
    let ran = run(["state", "--admin", &admin]).expect(0);
    server.join().unwrap();
    assert!(
        !ran.stdout.contains(&0x1b) && ran.text().contains("\\u{1b}]0;x"),
        "{ran:?}"
    );
}

#[test]
fn the_token_comes_from_a_file_or_the_environment_and_is_never_shown() {
    let dir = scratch();
    let file = dir.path().join("token");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let file = file.to_str().unwrap();
    let asked = |args: &[&str]| {
        let refused = problem("401 Unauthorized", r#"{"detail":"no"}"#);
        let (admin, server) = http::serve(vec![refused]);
        let mut command = mcpd([&["state", "--admin", &admin], args].concat());
        let ran = finish(
            command
                .env("MCPD_ADMIN_TOKEN", "from-the-env")
                .spawn()
                .unwrap(),
        );
        let ran = ran.expect(77);
        let said = format!("{}{}", ran.text(), ran.stderr);
        assert!(!said.contains("from-"), "{said}");
        server.join().unwrap().remove(0)
    };
    assert!(asked(&[]).contains("authorization: Bearer from-the-env\r\n"));
    assert!(asked(&["--token-file", file]).contains("authorization: Bearer from-a-file\r\n"));
    let mut help = mcpd(["state", "--help"]);
    let help = finish(
        help.env("MCPD_ADMIN_TOKEN", "from-the-env")
            .spawn()
            .unwrap(),
    );
    assert!(!help.text().contains("from-the-env"));
}

#[test]
fn bad_tokens_are_64_and_not_shown() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("two"), "secret one\nsecret two\n").unwrap();
    std::fs::write(path("empty"), "\n").unwrap();
    std::fs::write(path("long"), "x".repeat(5000)).unwrap();
    std::fs::write(path("bytes"), b"\xff\xfe").unwrap();
    for name in ["two", "empty", "long", "bytes", "missing"] {
        let ran = run(["state", "--token-file", &path(name)]).expect(64);
        assert!(!ran.stderr.contains("secret"), "{ran:?}");
        expect_lines(&ran, name, "nothing was sent");
    }
}

#[test]
fn a_redirect_does_not_get_the_token() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("Location: http://{}/\r\n", other.local_addr().unwrap());
    let (admin, server) = http::serve(vec![answer("307 Temporary Redirect", &to, "")]);
    let mut command = mcpd(["state", "--admin", &admin]);
    finish(command.env("MCPD_ADMIN_TOKEN", "secret").spawn().unwrap()).expect(76);
    server.join().unwrap();
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "it was followed");
}

#[test]
fn addresses_that_are_none_are_64() {
    for admin in ["ftp://a", "http://user:pass@a", "http://a?b", "a b", ""] {
        let ran = run(["state", "--admin", admin]).expect(64);
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
    let mut command = mcpd(["state"]);
    let ran = finish(command.env("MCPD_ADMIN", "ftp://a").spawn().unwrap()).expect(64);
    expect_lines(&ran, "MCPD_ADMIN: ", "correct");
}

/// With roots or without, it is a clear word and no panic.
#[test]
fn https_needs_a_certificate_that_is_trusted() {
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = format!("https://{}", plain.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = plain.accept().unwrap().0;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    });
    let ran = run(["state", "--admin", &admin]);
    assert!(matches!(ran.code, Some(64 | 69)), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    if ran.code == Some(69) {
        server.join().unwrap();
    }
}

#[test]
fn a_closed_standard_output_ends_it_quietly() {
    let state = r#"{"phase":"running"}"#;
    for args in [&["state"][..], &["state", "--json"], &["state", "--watch"]] {
        let (admin, _server) = http::serve(vec![json(state), json(state)]);
        let mut command = mcpd([args, &["--admin", &admin]].concat());
        let mut child = command.stdout(nobody()).spawn().unwrap();
        assert_eq!(await_end(&mut child), Some(0), "{args:?}");
        let ran = finish(child);
        assert!(ran.stderr.is_empty(), "{ran:?}");
    }
    let mut child = mcpd(["completions", "bash"])
        .stdout(nobody())
        .spawn()
        .unwrap();
    assert_eq!(await_end(&mut child), Some(0));
}
