//! Receivers that are away, slow, unwilling or stuck.

use super::receiver::{Mode, Receiver};
use super::start;
use crate::support::{Server, Start};
use std::net::TcpListener;
use std::time::Duration;

/// More than the queue holds.
const REQUESTS: u16 = 500;
const ROUNDS: u64 = 4;

fn sampling_all(url: &str, protocol: &str) -> Start {
    start(url, protocol)
        .set("TRACING__RATIO", "1")
        .set("TRACING__QUEUE", "64")
        .set("TRACING__BATCH", "16")
        .set("TRACING__TIMEOUT", "200ms")
        .set("DRAIN__FLUSH", "1s")
}

/// What the last line about spans says of those that were dropped since the start.
fn dropped_in(log: &[String]) -> Option<u64> {
    let line = log
        .iter()
        .rev()
        .find(|line| line.contains("spans were dropped"))?;
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
    line["dropped"].as_u64()
}

/// Every request is answered, every span that is not exported is counted, and the end is not held up.
fn serves_all_the_same(mut server: Server, reason: &str) {
    let mut peer = server.peer();
    for _ in 0..ROUNDS {
        for seq in 0..REQUESTS {
            peer.request(seq + 1, "echo", b"x");
        }
        for seq in 0..REQUESTS {
            assert_eq!(peer.expect().response(), (seq + 1, b"x".to_vec()));
        }
    }
    let dropped = |reason: &str| format!("mcpd_spans_dropped_total{{reason=\"{reason}\"}}");
    server.await_metric(&dropped("queue_full"), |n| n > 0.0);
    server.await_metric(&dropped(reason), |n| n > 0.0);
    assert_eq!(server.get("/livez").0, 200);
    server.await_log("spans cannot be exported");
    drop(peer);
    server.signal("TERM");
    assert_eq!(server.await_exit(), Some(0));
    let log = server.output_to_end();
    let spans = ROUNDS * u64::from(REQUESTS) * 3;
    assert_eq!(dropped_in(log), Some(spans), "every span: {log:#?}");
    let told = log
        .iter()
        .filter(|line| line.contains("spans cannot be exported"));
    assert_eq!(told.count(), 0, "told once a minute: {log:#?}");
}

#[test]
fn a_receiver_that_is_away_costs_spans_alone() {
    let nowhere = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for protocol in ["grpc", "http"] {
        let server = sampling_all(&format!("http://{nowhere}"), protocol).spawn();
        serves_all_the_same(server, "refused");
    }
}

#[test]
fn a_receiver_that_refuses_costs_spans_alone() {
    let grpc = Receiver::grpc(Mode::Refuse);
    serves_all_the_same(sampling_all(&grpc.url(), "grpc").spawn(), "refused");
    let http = Receiver::http(Mode::Refuse);
    serves_all_the_same(sampling_all(&http.url(), "http").spawn(), "refused");
}

#[test]
fn a_receiver_that_hangs_costs_spans_alone() {
    let grpc = Receiver::grpc(Mode::Hang);
    serves_all_the_same(sampling_all(&grpc.url(), "grpc").spawn(), "timeout");
    let http = Receiver::http(Mode::Hang);
    serves_all_the_same(sampling_all(&http.url(), "http").spawn(), "timeout");
}

/// The timeout of an export is far longer than anybody would wait for the process to end.
#[test]
fn a_receiver_that_hangs_does_not_hold_up_the_end() {
    for receiver in [Receiver::grpc(Mode::Hang), Receiver::http(Mode::Hang)] {
        let start = sampling_all(&receiver.url(), receiver.protocol).set("TRACING__TIMEOUT", "1m");
        // However long the last stage may be, spans have 5 s of it.
        let mut server = start.set("DRAIN__FLUSH", "10m").spawn();
        let mut peer = server.peer();
        for seq in 1..=20 {
            peer.expect_alive(seq);
        }
        drop(peer);
        server.signal("TERM");
        assert_eq!(server.await_exit(), Some(0));
        let log = server.output_to_end();
        assert_eq!(dropped_in(log), Some(60), "{log:#?}");
    }
}

/// What waits for a receiver is bounded by the queue, however much is sampled.
#[test]
fn a_receiver_that_hangs_costs_no_memory() {
    let receiver = Receiver::grpc(Mode::Hang);
    let start = sampling_all(&receiver.url(), "grpc").set("TRACING__TIMEOUT", "1m");
    let server = start.spawn();
    let mut peer = server.peer();
    let topic = format!("any/{}", "t".repeat(251));
    let mut ask = |rounds: u32| {
        for _ in 0..rounds {
            for seq in 1..=REQUESTS {
                peer.request(seq, &topic, b"x");
            }
            for _ in 0..REQUESTS {
                assert!(peer.expect().is_response());
            }
        }
        server.metric("process_resident_memory_bytes")
    };
    let before = ask(10);
    let after = ask(100);
    // Their topics alone would be 12 MiB, and the rest of a record is more than that.
    let grown = (after - before) / f64::from(1 << 20);
    assert!(grown < 10.0, "{grown} MiB more than {before} bytes");
    assert!(server.metric("mcpd_spans_dropped_total{reason=\"queue_full\"}") > 100_000.0);
}

#[test]
fn a_receiver_that_is_slow_gets_what_it_takes_and_the_rest_is_counted() {
    let mut slow = Receiver::grpc(Mode::Slow(Duration::from_millis(50)));
    let start = sampling_all(&slow.url(), "grpc").set("TRACING__TIMEOUT", "10s");
    let mut server = start.spawn();
    let mut peer = server.peer();
    for seq in 0..REQUESTS {
        peer.request(seq + 1, "echo", b"x");
    }
    for seq in 0..REQUESTS {
        assert_eq!(peer.expect().response(), (seq + 1, b"x".to_vec()));
    }
    slow.await_spans(1, |_| true);
    // All spans are accounted for, in one place or the other.
    let dropped = "mcpd_spans_dropped_total{reason=\"queue_full\"}";
    server.await_metric(dropped, |dropped| {
        let exported = server.metric("mcpd_spans_exported_total");
        dropped > 0.0 && dropped + exported == 3.0 * f64::from(REQUESTS)
    });
    drop(peer);
    server.signal("TERM");
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn what_was_sampled_last_is_exported_before_the_end() {
    let mut receiver = Receiver::grpc(Mode::Take);
    let start = start(&receiver.url(), "grpc").set("TRACING__RATIO", "1");
    // Nothing would be sent before the test is over.
    let mut server = start.set("TRACING__INTERVAL", "60s").spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    drop(peer);
    server.signal("TERM");
    assert_eq!(server.await_exit(), Some(0));
    receiver.await_spans(1, |got| got.span.name == "process echo");
}

#[test]
fn an_endpoint_that_is_none_is_refused_as_a_key_and_ignored_as_a_variable() {
    let (code, _, error) = start("http://[::1", "grpc").run();
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("tracing.endpoint"), "{error}");
    let mut server = Start::new()
        .with(|command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1");
        })
        .spawn();
    let line = server.await_log("a variable of OpenTelemetry is ignored");
    assert!(line.contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{line}");
    server.peer().expect_alive(1);
}
