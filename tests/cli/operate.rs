//! `mcpd state`, `drain`, `connections` and the other looks into a running server.

use crate::run::{Ran, await_end, mcpd, run, signal};
use crate::support::{Server, Start};
use std::io::{BufRead, BufReader, Read};

fn at(server: &Server, args: &[&str]) -> Ran {
    run(with(server, args))
}

fn with(server: &Server, args: &[&str]) -> Vec<String> {
    let admin = server.sidecar.to_string();
    let args = args.iter().chain(&["--admin"]).map(|arg| (*arg).to_owned());
    args.chain([admin]).collect()
}

#[test]
fn state_says_what_the_server_does() {
    let server = Start::new().set("SERVER_ID", "test-1").spawn();
    let ran = at(&server, &["state"]).expect(0);
    for part in [
        "test-1 (version ",
        "running, ready, since ",
        "2 routes, revision 1",
    ] {
        assert!(ran.text().contains(part), "{part} in {ran:?}");
    }
    let state = at(&server, &["state", "--json"]).expect(0).json();
    assert_eq!(state["phase"], "running");
    assert_eq!(state["routes"]["count"], 2);
}

#[test]
fn watching_ends_with_ctrl_c_and_sees_a_drain() {
    let mut server = Start::new().set("DRAIN__DELAY", "1h").spawn();
    let watch = with(&server, &["state", "--watch", "--interval", "10ms"]);
    let mut child = mcpd(watch).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert_eq!(first, "running, ready, 0 connections, routes revision 1");
    let asked = at(&server, &["drain", "--yes"]).expect(0);
    assert!(
        asked.text().starts_with("shutting_down, not ready, "),
        "{asked:?}"
    );
    // It may have looked between the change of the phase and the first stage.
    let mut told = lines.by_ref().map(Result::unwrap);
    let next = told.find(|line| line.contains("drain: "));
    assert!(next.is_some_and(|line| line.contains("drain: delay")));
    server.signal("KILL");
    server.await_exit();
    let mut rest = lines.map(Result::unwrap);
    assert!(rest.any(|line| line == "unreachable"));
    signal(&child, "INT");
    assert_eq!(await_end(&mut child), Some(0));
}

#[test]
fn a_drain_is_waited_for_to_its_end() {
    let mut server = Start::new().set("DRAIN__DELAY", "1h").spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    let wait = with(&server, &["drain", "--wait"]);
    let mut child = mcpd(wait).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = progress.next().unwrap().unwrap();
    assert!(
        line.contains("1 connections") && line.contains("drain: delay"),
        "{line}"
    );
    drop(peer);
    at(&server, &["drain", "--hasten"]).expect(0);
    assert_eq!(await_end(&mut child), Some(0));
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(said, "drained: the server has ended\n");
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn a_drain_is_hastened_stage_by_stage() {
    let mut server = Start::new()
        .set("DRAIN__DELAY", "1h")
        .set("DRAIN__SPREAD", "1h")
        .set("DRAIN__FINISH", "1h")
        .spawn();
    let mut peer = server.peer();
    peer.expect_alive(1);
    let stage = |args: &[&str]| {
        let state = at(&server, &[args, &["--json"]].concat()).expect(0).json();
        state["drain"]["stage"].as_str().unwrap().to_owned()
    };
    assert_eq!(stage(&["drain"]), "delay");
    assert_eq!(stage(&["drain"]), "delay");
    assert_ne!(stage(&["drain", "--hasten"]), "delay");
    drop(peer);
    at(&server, &["drain", "--hasten"]);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn connections_are_listed_filtered_paged_and_closed() {
    let server = Server::start();
    let mut peers: Vec<_> = (0..5).map(|_| server.peer()).collect();
    for peer in &mut peers {
        peer.expect_alive(1);
    }
    let ran = at(&server, &["connections"]).expect(0);
    assert_eq!(ran.text().lines().count(), 7, "{ran:?}");
    assert!(ran.text().ends_with("\n5 of 5\n"), "{ran:?}");
    let ran = at(&server, &["connections", "--limit", "2"]).expect(0);
    assert!(ran.text().contains("2 of 5; more with --all"), "{ran:?}");
    let pages = at(&server, &["connections", "--limit", "2", "--all", "--json"]).expect(0);
    let pages = pages.json_lines();
    let ids: Vec<u64> = pages
        .iter()
        .flat_map(|page| page["connections"].as_array().unwrap())
        .map(|one| one["id"].as_u64().unwrap())
        .collect();
    assert_eq!((pages.len(), ids.len()), (3, 5), "{pages:?}");
    let none = at(&server, &["connections", "--client-id", "edge-*"]).expect(0);
    assert!(none.text().ends_with("\n0 of 0\n"), "{none:?}");
    at(&server, &["connections", "--addr", "127.0.0.1"]).expect(0);
    at(&server, &["connections", "close", &ids[0].to_string()]).expect(0);
    at(
        &server,
        &["connections", "close", &ids[1].to_string(), "--cut"],
    )
    .expect(0);
    server.await_metric("mcpd_connections", |open| open == 3.0);
    let ran = at(&server, &["connections", "close", "4711"]).expect(77);
    assert!(ran.stderr.contains("see `mcpd connections`"), "{ran:?}");
}

#[test]
fn endpoints_are_shown_taken_out_and_put_back() {
    let dir = crate::support::scratch();
    let file = dir.path().join("handlers.yaml");
    let entry = "{name: orders, type: http, url: \"http://orders/\", endpoints: [\"127.0.0.1:9\"]}";
    let text = format!("{{apiVersion: mcpd/v1, kind: Handlers, handlers: [{entry}]}}");
    std::fs::write(&file, text).unwrap();
    let start = Start::new().set("HANDLERS_FILE", file.to_str().unwrap());
    let server = start.spawn();
    let ran = at(&server, &["handlers", "orders"]).expect(0);
    assert!(ran.text().contains("127.0.0.1:9"), "{ran:?}");
    let ran = at(&server, &["handlers", "eject", "orders", "127.0.0.1:9"]).expect(0);
    assert!(ran.text().contains("operator"), "{ran:?}");
    let back = &["handlers", "restore", "orders", "127.0.0.1:9", "--json"];
    let shown = at(&server, back).expect(0).json();
    assert_eq!(
        shown["upstream"]["endpoints"][0]["ejected"],
        serde_json::Value::Null
    );
    let ran = at(&server, &["handlers", "eject", "orders", "127.0.0.1:1"]).expect(77);
    assert!(ran.stderr.contains("mcpd handlers orders"), "{ran:?}");
}

#[test]
fn handlers_and_clients_are_listed() {
    let server = Server::start();
    let to = server.data.to_string();
    run(["send", "heartbeat", "--client-id", "edge-7", "--to", &to]).expect(0);
    let ran = at(&server, &["handlers"]).expect(0);
    assert!(
        ran.text().lines().any(|line| line.starts_with("echo ")),
        "{ran:?}"
    );
    let one = at(&server, &["handlers", "monitor", "--json"])
        .expect(0)
        .json();
    assert_eq!(one["name"], "monitor");
    at(&server, &["handlers", "nowhere"]).expect(77);
    let ran = at(&server, &["monitor"]).expect(0);
    assert!(
        ran.text().contains("heartbeat") && ran.text().contains("edge-7"),
        "{ran:?}"
    );
}

#[test]
fn the_log_filter_and_the_sampling_change_while_it_runs() {
    let server = Server::start();
    assert_eq!(at(&server, &["log-filter"]).expect(0).text(), "info\n");
    at(&server, &["log-filter", "warn"]).expect(0);
    assert_eq!(at(&server, &["log-filter"]).expect(0).text(), "warn\n");
    at(&server, &["log-filter", "x=y=z"]).expect(64);
    let args = ["sampling", "--ratio", "0.25", "--route", "echo=1", "--json"];
    at(&server, &args).expect(0);
    at(&server, &["sampling", "--control-ratio", "0.5"]).expect(0);
    let rates = at(&server, &["sampling", "--json"]).expect(0).json();
    assert_eq!(
        (&rates["ratio"], &rates["control_ratio"]),
        (&0.25.into(), &0.5.into())
    );
    assert_eq!(rates["routes"]["echo"], 1.0);
    let ran = at(&server, &["sampling", "--route", "echo=default"]).expect(0);
    assert!(!ran.text().contains("echo"), "{ran:?}");
}
