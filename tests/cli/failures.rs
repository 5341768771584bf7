//! `mcpd send` where it does not work: what is said, and with which code it ends.

use crate::run::{
    Ran, at, await_end, finish, mcpd, nobody, run, run_with, server_of_all_kinds, signal,
};
use crate::support::{Server, scratch};
use std::io::{Read, Write};
use std::net::TcpListener;

/// Two lines: what happened, what to do.
#[track_caller]
fn expect_lines(ran: &Ran, what: &str, hint: &str) {
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    assert!(lines[0].contains(what), "{ran:?}");
    assert!(
        lines[1].starts_with("hint: ") && lines[1].contains(hint),
        "{ran:?}"
    );
    assert!(ran.stdout.is_empty(), "{ran:?}");
}

#[test]
fn a_refusal_for_good_is_77() {
    let server = Server::start();
    let ran = run(at(&server, &["send", "nowhere"])).expect(77);
    let what = r#"NO_ROUTE (not executed, permanent): no route for topic "nowhere""#;
    expect_lines(&ran, what, "add a route");
    let answer = run(at(&server, &["send", "nowhere", "--json"])).expect(77);
    assert!(answer.stderr.is_empty(), "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["ok"], false);
    assert_eq!(answer["exit_code"], 77);
    assert_eq!(answer["kind"], "refused");
    assert_eq!(answer["code"], "NO_ROUTE");
    assert_eq!(answer["class"], "not_executed");
    assert_eq!(answer["permanent"], true);
    assert_eq!(answer["text"], r#"no route for topic "nowhere""#);
    assert!(answer["body"].is_null() && answer["body_base64"].is_null());
}

#[test]
fn a_refusal_for_now_is_75_and_says_how_long_to_wait() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    // The bucket fills again while commands start; one of a few in a row finds it empty.
    let mut attempts = (0..100).map(|_| run(at(&server, &["send", "limited", "--json"])));
    let refused = attempts.find(|ran| ran.code != Some(0)).expect("a refusal");
    let answer = refused.expect(75).json();
    assert_eq!(answer["code"], "RATE_LIMITED");
    assert_eq!(answer["permanent"], false);
    assert!(answer["retry_after_ms"].as_u64() > Some(0), "{answer}");
}

#[test]
fn a_handler_that_says_no_is_1_and_is_quoted() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    let ran = run(at(&server, &["send", "failing", "x"])).expect(1);
    let what = "HANDLER_ERROR (executed, permanent): the delay handler was told to fail";
    expect_lines(&ran, what, "handler");
    let answer = run(at(&server, &["send", "failing", "--json"]))
        .expect(1)
        .json();
    assert_eq!(answer["class"], "executed");
    assert_eq!(answer["content_type"], "text/plain");
    assert_eq!(answer["body"], "the delay handler was told to fail");
}

#[test]
fn no_answer_in_time_is_79() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    let what = "DEADLINE_EXCEEDED (may have been executed, transient)";
    for args in [&["send", "brief"][..], &["send", "slow", "--timeout", "1s"]] {
        let ran = run(at(&server, args)).expect(79);
        expect_lines(&ran, what, "--timeout");
    }
}

#[test]
fn nobody_there_is_69() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It takes connections and says nothing.
    let args = ["send", "echo", "--to", &address, "--timeout", "50ms"];
    let ran = run(args).expect(69);
    expect_lines(&ran, "no connection (not executed, transient): ", "--to");
    drop(listener);
    let args = ["send", "echo", "--to", &address, "--json"];
    let answer = run(args).expect(69).json();
    assert_eq!(answer["kind"], "no_connection");
    assert_eq!(answer["class"], "not_executed");
    assert!(answer["server_id"].is_null() && answer["elapsed_ms"].is_null());
}

#[test]
fn a_connection_lost_before_the_answer_is_69_and_may_have_run() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    let child = mcpd(at(&server, &["send", "slow", "--json"]))
        .spawn()
        .unwrap();
    server.await_metric("mcpd_requests_in_flight", |value| value == 1.0);
    server.signal("KILL");
    let answer = finish(child).expect(69).json();
    assert_eq!(answer["kind"], "connection_lost");
    assert_eq!(answer["class"], "unknown");
}

#[test]
fn a_peer_of_another_protocol_is_76() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let web = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .unwrap();
            // To the end, so that closing does not take back what was written.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let ran = run(["send", "echo", "--to", &address]).expect(76);
    assert!(ran.stderr.contains("UNSUPPORTED_VERSION"), "{ran:?}");
    run(["ping", "--to", &address]).expect(76);
    web.join().unwrap();
}

#[test]
fn ctrl_c_cancels_the_request_and_is_130() {
    let dir = scratch();
    let server = server_of_all_kinds(&dir);
    for json in [&["send", "slow"][..], &["send", "slow", "--json"]] {
        let child = mcpd(at(&server, json)).spawn().unwrap();
        server.await_metric("mcpd_requests_in_flight", |value| value == 1.0);
        signal(&child, "INT");
        let ran = finish(child).expect(130);
        match ran.stdout.is_empty() {
            true => expect_lines(&ran, "interrupted (may have been executed", "find out"),
            false => assert_eq!(ran.json()["kind"], "interrupted"),
        }
        server.await_metric("mcpd_requests_in_flight", |value| value == 0.0);
    }
    let cancelled = r#"mcpd_requests_total{route="slow",code="CANCELLED",fault="client"}"#;
    assert_eq!(server.metric(cancelled), 2.0);
}

#[test]
fn what_cannot_be_sent_is_64() {
    let server = Server::start();
    let to = server.data.to_string();
    let large = vec![b'x'; 1024 * 1024];
    let ran = run_with(&large, &["send", "echo", "-", "--to", &to]).expect(64);
    expect_lines(
        &ran,
        "limit of 1048576; send less, or raise limits.max_payload",
        "command",
    );
    let ran = run(["send", "echo", "@no/such/file", "--to", &to]).expect(64);
    expect_lines(&ran, "cannot read no/such/file", "command");
    let ran = run(["send", "echo", "@.", "--to", &to, "--json"]).expect(64);
    assert_eq!(ran.json()["kind"], "invalid");
    let ran = run(["send", "echo", "--to", "http://localhost"]).expect(64);
    expect_lines(&ran, "scheme", "command");
}

#[test]
fn a_reader_that_went_away_changes_nothing() {
    let server = Server::start();
    let (to, deaf) = (server.data.to_string(), |args: &[&str]| {
        let ran = finish(mcpd(args).stdout(nobody()).spawn().unwrap()).expect(0);
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {ran:?}");
        ran.stderr
    });
    for args in [
        &["send", "echo", "hello", "--to", &to][..],
        &["send", "echo", "--json", "--to", &to],
        &["ping", "--count", "0", "--to", &to],
        &["ping", "--count", "0", "--json", "--to", &to],
        &["check", "--verbose"],
        &["check", "--json"],
    ] {
        assert_eq!(deaf(args), "", "{args:?}");
    }
    for args in [&["--help"][..], &["send", "--help"], &["--version"]] {
        deaf(args);
    }
    let refused = at(&server, &["send", "nowhere"]);
    let mut child = mcpd(&refused).stderr(nobody()).spawn().unwrap();
    assert_eq!(await_end(&mut child), Some(77));
    let json = refused.iter().map(String::as_str).chain(["--json"]);
    finish(mcpd(json).stdout(nobody()).spawn().unwrap()).expect(77);
}
