//! `mcpd ping`.

use crate::run::{at, finish, mcpd, run, signal};
use crate::support::{Server, Start};
use std::io::{BufRead, BufReader};

#[test]
fn every_heartbeat_is_a_line_and_the_end_a_summary() {
    let server = Server::start();
    let args = ["ping", "--count", "3", "--interval", "10ms"];
    let ran = run(at(&server, &args)).expect(0);
    let lines: Vec<&str> = ran.text().lines().collect();
    assert_eq!(lines.len(), 5, "{ran:?}");
    assert!(lines[0].contains("takes 1048576 bytes a frame"), "{ran:?}");
    for (number, line) in (1..=3).zip(&lines[1..]) {
        let time = line.strip_prefix(&format!("heartbeat {number}: ")).unwrap();
        assert!(
            time.strip_suffix(" ms").unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
    assert!(
        lines[4].starts_with("3 sent, 3 answered; round trip min/avg/max "),
        "{ran:?}"
    );
    assert!(ran.stderr.is_empty());
}

#[test]
fn json_is_an_object_a_line() {
    let server = Start::new().set("SERVER_ID", "till-server").spawn();
    let args = ["ping", "-c", "2", "-i", "10ms", "--json"];
    let lines = run(at(&server, &args)).expect(0).json_lines();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["hello", "heartbeat", "heartbeat", "summary"]);
    assert_eq!(lines[0]["server_id"], "till-server");
    assert_eq!(lines[0]["max_in_flight"], 1024);
    assert_eq!(lines[1]["answered"], true);
    let summary = &lines[3];
    assert_eq!(
        (summary["ok"].as_bool(), summary["answered"].as_u64()),
        (Some(true), Some(2))
    );
    let time = |key: &str| summary[key].as_f64().unwrap();
    assert!(time("min_ms") <= time("avg_ms") && time("avg_ms") <= time("max_ms"));
}

#[test]
fn ctrl_c_ends_it_with_the_summary() {
    let server = Server::start();
    let args = ["ping", "--count", "0", "--interval", "10ms"];
    let mut child = mcpd(at(&server, &args)).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let second = lines.find(|line| line.as_ref().unwrap().starts_with("heartbeat 2"));
    assert!(second.is_some());
    signal(&child, "INT");
    let last = lines.map(Result::unwrap).last().unwrap();
    assert!(last.contains(" answered; round trip"), "{last}");
    finish(child).expect(0);
}

#[test]
fn a_server_that_goes_away_ends_it_with_69() {
    let server = Server::start();
    let args = ["ping", "--count", "0", "--interval", "10ms", "--json"];
    let mut child = mcpd(at(&server, &args)).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.nth(1).unwrap().unwrap().contains("\"answered\":true"));
    server.signal("KILL");
    let last = lines.map(Result::unwrap).last().unwrap();
    let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(summary["exit_code"], 69, "{summary}");
    assert!(summary["text"].is_string(), "{summary}");
    finish(child).expect(69);
}

#[test]
fn a_server_that_stops_answering_is_seen_and_a_silent_one_is_69() {
    let server = Server::start();
    let args = [
        "ping",
        "--count",
        "0",
        "--interval",
        "10ms",
        "--timeout",
        "100ms",
    ];
    let mut child = mcpd(at(&server, &args)).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("heartbeat 1: ")));
    server.signal("STOP");
    assert!(lines.any(|line| line.ends_with(": no answer within 100ms")));
    signal(&child, "INT");
    assert!(lines.any(|line| line.contains(" sent, ")));
    finish(child);

    let ran = run(at(&server, &args)).expect(69);
    let what = "no connection (not executed, transient): the connection was not open within 100ms";
    assert!(ran.stderr.contains(what), "{ran:?}");
}
