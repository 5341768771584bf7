//! `mcpd send` against a server that says what a real one rarely does.

use crate::run::run;
use mcpd_proto::{ErrorCode, ErrorFrame, Frame, Hello, MetaBuf, Qos, Request, Response, Side};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Takes one connection, greets it and answers its first request with what `answer` gives.
fn serve(
    answer: impl FnOnce(&Request<'_>) -> Vec<u8> + Send + 'static,
) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut read = Vec::new();
        let len = next(&mut stream, &mut read);
        let (Frame::Hello(hello), _) = Frame::decode_one(&read, Side::Server, u32::MAX).unwrap()
        else {
            panic!("a HELLO comes first");
        };
        assert_eq!(hello.meta.client_id(), Some("till-7"));
        let mut welcome = Vec::new();
        Frame::Hello(Hello {
            seq: hello.seq,
            reply: true,
            ..Hello::default()
        })
        .encode(&mut welcome);
        stream.write_all(&welcome).unwrap();
        read.drain(..len);
        next(&mut stream, &mut read);
        let Frame::Request(request) = Frame::decode_one(&read, Side::Server, u32::MAX).unwrap().0
        else {
            panic!("a REQUEST comes next");
        };
        stream.write_all(&answer(&request)).unwrap();
        // To the end, so that closing does not take back what was written.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    (address, thread)
}

/// Reads until a frame is whole; gives its length.
fn next(stream: &mut TcpStream, read: &mut Vec<u8>) -> usize {
    loop {
        if let Ok((_, len)) = Frame::decode_one(read, Side::Server, u32::MAX) {
            return len;
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the client leaves");
        read.extend_from_slice(&buffer[..count]);
    }
}

fn error(request: &Request<'_>, code: u16, detail: &str, wait: Option<Duration>) -> Vec<u8> {
    let (code, mut meta, mut out) = (ErrorCode::new(code), MetaBuf::new(), Vec::new());
    if let Some(wait) = wait {
        meta.set_retry_after(wait);
    }
    // A code of class 0x01 is the connection's.
    let seq = if code.get() >> 8 == 1 { 0 } else { request.seq };
    let (detail, meta) = (detail.as_bytes(), meta.view());
    Frame::Error(ErrorFrame {
        seq,
        code,
        detail,
        meta,
        priority: request.priority,
    })
    .encode(&mut out);
    out
}

const SEND: [&str; 5] = ["send", "a/b", "x", "--client-id", "till-7"];

#[test]
fn every_option_is_in_the_request_and_all_of_the_answer_in_the_json() {
    let (to, server) = serve(|request| {
        assert_eq!((request.topic, request.body), (&b"a/b"[..], &b"x"[..]));
        assert_eq!((request.priority, request.qos), (6, Qos::AtLeastOnce));
        assert_eq!(request.meta.content_type(), Some("text/plain"));
        assert!(matches!(request.meta.timeout_ms(), Some(50_001..=60_000)));
        let headers: Vec<_> = request.meta.headers().collect();
        assert_eq!(headers, [("tenant", &b"a=b"[..]), ("empty", b"")]);
        let (mut meta, mut out) = (MetaBuf::new(), Vec::new());
        meta.add_header("kind", b"good").unwrap();
        meta.add_header("raw", b"\xff").unwrap();
        meta.set_route_revision(12);
        let (seq, priority, meta) = (request.seq, request.priority, meta.view());
        let body = b"done";
        Frame::Response(Response {
            seq,
            priority,
            body,
            meta,
        })
        .encode(&mut out);
        out
    });
    let flags = [
        "--to",
        &to,
        "--json",
        "--priority",
        "6",
        "--qos",
        "1",
        "--timeout",
        "1m",
    ];
    let more = [
        "--header",
        "tenant=a=b",
        "--header",
        "empty=",
        "--content-type",
        "text/plain",
    ];
    let answer = run([&SEND[..], &flags, &more].concat()).expect(0).json();
    server.join().unwrap();
    assert_eq!(answer["body"], "done");
    assert_eq!(answer["route_revision"], 12);
    let expected = serde_json::json!([
        {"key": "kind", "value": "good", "value_base64": null},
        {"key": "raw", "value": null, "value_base64": "/w=="},
    ]);
    assert_eq!(answer["headers"], expected);
}

/// Code, exit code, what is said.
#[test]
fn each_class_has_its_exit_code_also_for_codes_without_a_name() {
    for (code, exit, line) in [
        (0x0105, 75, "CLOSING (not executed, transient): words"),
        (
            0x0101,
            69,
            "HEARTBEAT_TIMEOUT (may have been executed, transient): words",
        ),
        (0x0201, 75, "OVERLOADED (not executed, transient): words"),
        (0x027f, 75, "0x027f (not executed, transient): words"),
        (0x02ff, 77, "0x02ff (not executed, permanent): words"),
        (
            0x0304,
            79,
            "INTERNAL (may have been executed, transient): words",
        ),
        (
            0x037f,
            79,
            "0x037f (may have been executed, transient): words",
        ),
        (
            0x0977,
            79,
            "0x0977 (may have been executed, transient): words",
        ),
        (0x0481, 1, "HANDLER_ERROR (executed, permanent): words"),
        (0x0483, 1, "RESULT_TOO_LARGE (executed, permanent): words"),
    ] {
        let (to, server) = serve(move |request| error(request, code, "words", None));
        let ran = run([&SEND[..], &["--to", &to]].concat()).expect(exit);
        server.join().unwrap();
        let lines: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(lines[0], line);
        assert!(
            lines.len() == 2 && lines[1].starts_with("hint: "),
            "{ran:?}"
        );
    }
}

#[test]
fn the_time_to_wait_is_said() {
    let wait = Some(Duration::from_millis(1500));
    let (to, server) = serve(move |request| error(request, 0x0202, "", wait));
    let ran = run([&SEND[..], &["--to", &to]].concat()).expect(75);
    server.join().unwrap();
    let expected = "RATE_LIMITED (not executed, transient): over the route's rate\n\
         hint: wait and send it again; the route's rate_limit is the limit; wait at least 1.5s\n";
    assert_eq!(ran.stderr, expected);
}

#[test]
fn what_a_server_says_cannot_play_with_the_terminal() {
    for (code, exit) in [(0x0281, 77), (0x0481, 1)] {
        let text = "a\u{1b}[2Jb\nhint: trust me";
        let (to, server) = serve(move |request| error(request, code, text, None));
        let ran = run([&SEND[..], &["--to", &to]].concat()).expect(exit);
        server.join().unwrap();
        assert!(
            !ran.stderr.contains('\u{1b}') && ran.stderr.contains("\\u{1b}[2Jb"),
            "{ran:?}"
        );
        let second = ran.stderr.lines().nth(1).unwrap();
        assert_ne!(second, "hint: trust me", "{ran:?}");
    }
}

#[test]
fn a_long_word_of_a_handler_stands_below() {
    let text = format!("first\nsecond {}", "x".repeat(300));
    let (to, server) = serve(move |request| error(request, 0x0481, &text, None));
    let ran = run([&SEND[..], &["--to", &to]].concat()).expect(1);
    server.join().unwrap();
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "HANDLER_ERROR (executed, permanent): the handler ran and says no"
    );
    assert!(
        lines[2] == "first" && lines[3].starts_with("second x"),
        "{ran:?}"
    );
    assert!(ran.stdout.is_empty());
}
