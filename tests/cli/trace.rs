//! `mcpd send --trace`.

use crate::run::{at, finish, mcpd, run};
use crate::support::{Server, Start};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A server that records what it is asked to; that nobody takes its spans is not its clients' concern.
fn tracing() -> Server {
    let start = Start::new().set("TRACING__ENDPOINT", "http://127.0.0.1:1");
    start.spawn()
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[test]
fn the_trace_is_told_beside_the_answer() {
    let server = tracing();
    let ran = run(at(&server, &["send", "echo", "hello", "--trace"])).expect(0);
    assert_eq!(ran.text(), "hello");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{ran:?}");
    let rest = lines[0].strip_prefix("trace ").expect("a trace");
    let (id, rest) = rest.split_once(", server span ").expect("a span");
    let (span, _) = rest.split_once(", ").expect("whether it is sampled");
    assert!(is_hex(id, 32) && is_hex(span, 16), "{ran:?}");
    assert!(
        lines[1].contains(id) && lines[1].contains("MCPD_JAEGER_URL"),
        "{ran:?}"
    );
    let other = run(at(&server, &["send", "echo", "--trace"])).expect(0);
    assert!(
        !other.stderr.contains(id),
        "each request has a trace of its own"
    );
}

#[test]
fn a_link_where_the_traces_are_known() {
    let server = tracing();
    let mut command = mcpd(at(&server, &["send", "nowhere", "--traceparent", PARENT]));
    command.env("MCPD_JAEGER_URL", "http://jaeger:16686/");
    let ran = finish(command.spawn().unwrap()).expect(77);
    let link = "find it: http://jaeger:16686/trace/4bf92f3577b34da6a3ce929d0e0e4736\n";
    assert!(
        ran.stderr.starts_with("NO_ROUTE ") && ran.stderr.ends_with(link),
        "{ran:?}"
    );
}

#[test]
fn json_has_the_ids_and_nothing_is_traced_unasked() {
    let server = tracing();
    let args = ["send", "echo", "--json", "--traceparent", PARENT];
    let ran = run(at(&server, &args)).expect(0);
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let answer = ran.json();
    assert_eq!(answer["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(is_hex(answer["span_id"].as_str().unwrap(), 16), "{answer}");
    assert_ne!(answer["span_id"], "00f067aa0ba902b7");
    assert_eq!(answer["sampled"], true);
    let answer = run(at(&server, &["send", "echo", "--json"]))
        .expect(0)
        .json();
    for key in ["trace_id", "span_id", "sampled"] {
        assert!(answer[key].is_null(), "{answer}");
    }
}

#[test]
fn what_was_never_sent_has_no_trace() {
    let ran = run(["send", "echo", "--trace", "--to", "127.0.0.1:1"]).expect(69);
    assert!(!ran.stderr.contains("trace "), "{ran:?}");
    let ran = run(["send", "echo", "--traceparent", "00-abc"]).expect(64);
    assert!(ran.stderr.contains("looks like 00-"), "{ran:?}");
}

#[test]
fn a_server_that_does_not_record_it_is_told_from_one_that_does() {
    let recording = tracing();
    let ran = run(at(&recording, &["send", "echo", "--trace"])).expect(0);
    assert!(ran.stderr.contains(", sampled\n"), "{ran:?}");
    let plain = Server::start();
    let ran = run(at(&plain, &["send", "echo", "--trace"])).expect(0);
    let (line, hint) = ran.stderr.split_once('\n').unwrap();
    assert!(line.ends_with("not sampled there"), "{ran:?}");
    assert!(
        hint.starts_with("hint: ") && hint.contains("tracing.endpoint"),
        "{ran:?}"
    );
    let unsampled = PARENT.replace("-01", "-00");
    let args = ["send", "echo", "--traceparent", &unsampled];
    let ran = run(at(&recording, &args)).expect(0);
    assert!(ran.stderr.contains("ends with 00"), "{ran:?}");
}
