//! What is set while the server runs.

use crate::client::Admin;
use crate::support::{Server, Start, scratch};

#[test]
fn the_log_filter_changes_at_once_and_a_bad_one_changes_nothing() {
    let mut server = Server::start();
    assert_eq!(server.read("log-filter").ok()["filter"], "info");
    server
        .put("log-filter", r#"{"filter": "info,mcpd::conn=debug"}"#)
        .ok();
    server
        .peer()
        .send(b"no frame at all, and longer than a header");
    server.await_log("the connection ends");
    let wrong = server.put("log-filter", r#"{"filter": "mcpd=loud"}"#);
    wrong.problem(422);
    assert_eq!(wrong.json()["errors"][0]["field"], "filter");
    assert_eq!(
        server.read("log-filter").ok()["filter"],
        "info,mcpd::conn=debug"
    );
    let empty = server.put("log-filter", r#"{"filter": ""}"#);
    empty.problem(422);
    let typed = server.put("log-filter", r#"{"filter": 7}"#);
    typed.problem(422);
    assert_eq!(typed.json()["errors"][0]["field"], "filter");
}

/// The rule for what may be set in two places: the newer of two changes counts.
#[test]
fn a_reload_replaces_what_was_set_here_only_where_the_configuration_has_changed() {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("log: {filter: info}\ntracing: {ratio: 0.1}");
    let mut server = Start::new().arg("--config").arg(&file).spawn();
    let set = |server: &Server| {
        let filter = r#"{"filter": "info,mcpd::conn=debug"}"#;
        server.put("log-filter", filter).ok();
        server.put("sampling", r#"{"ratio": 0.5}"#).ok();
    };
    let in_force = |server: &Server| {
        let filter = server.read("log-filter").ok()["filter"].clone();
        (filter, server.read("sampling").ok()["ratio"].clone())
    };
    set(&server);
    write("log: {filter: info}\ntracing: {ratio: 0.1}\nlimits: {max_in_flight: 300}");
    server.signal("HUP");
    server.await_log("\"configuration reloaded\"");
    assert_eq!(
        in_force(&server),
        ("info,mcpd::conn=debug".into(), 0.5.into())
    );
    write("log: {filter: \"info,mcpd::app=debug\"}\ntracing: {ratio: 0.2}");
    server.signal("HUP");
    server.await_log("\"configuration reloaded\"");
    assert_eq!(
        in_force(&server),
        ("info,mcpd::app=debug".into(), 0.2.into())
    );
}

#[test]
fn sampling_is_checked_before_it_is_taken() {
    let server = Server::start();
    let before = server.read("sampling").ok();
    let set = server
        .put("sampling", r#"{"ratio": 0.25, "routes": {"echo": 1}}"#)
        .ok();
    assert_eq!(
        (&set["ratio"], &set["routes"]["echo"]),
        (&0.25.into(), &1.0.into())
    );
    assert_eq!(
        set["late_per_second"], before["late_per_second"],
        "what is left out stays"
    );
    for (body, field) in [
        (r#"{"ratio": 1.5}"#, "ratio"),
        (r#"{"ratio": -0.1}"#, "ratio"),
        (r#"{"control_ratio": 2}"#, "control_ratio"),
        (r#"{"routes": {"nobody": 0.5}}"#, "routes.nobody"),
        (r#"{"routes": {"echo": 7}}"#, "routes.echo"),
        (r#"{"slow_seconds": 1e9}"#, "slow_seconds"),
        (r#"{"late_per_second": -1}"#, "late_per_second"),
        (r#"{"late_per_second": 1001}"#, "late_per_second"),
        (r#"{"parent_per_second": 1000001}"#, "parent_per_second"),
        (
            r#"{"parent_per_principal": 1000001}"#,
            "parent_per_principal",
        ),
        (r#"{"ratio": "all"}"#, "ratio"),
    ] {
        let got = server.put("sampling", body);
        got.problem(422);
        assert_eq!(got.json()["errors"][0]["field"], field, "{got:?}");
    }
    server.put("sampling", r#"{"ratio": NaN}"#).problem(400);
    assert_eq!(server.read("sampling").ok(), set);
}

#[test]
fn a_share_of_a_route_that_has_gone_is_in_nobodys_way() {
    let server = Server::start();
    server.put("sampling", r#"{"routes": {"echo": 1}}"#).ok();
    server.admin("DELETE", "routes/echo", &[], "").ok();
    let both = r#"{"routes": {"echo": 1, "heartbeat": 0.5}}"#;
    assert_eq!(
        server.put("sampling", both).ok()["routes"]["heartbeat"],
        0.5
    );
    server.put("sampling", r#"{"routes": {}}"#).ok();
    server.put("sampling", both).problem(422);
}

/// Whoever may change the filter must not be able to go on unseen.
#[test]
fn no_filter_silences_the_audit() {
    let mut server = Start::new().spawn();
    for (id, filter) in [(901, "off"), (902, "mcpd::audit=off"), (903, "error")] {
        let body = format!(r#"{{"filter": "{filter}"}}"#);
        server.put("log-filter", &body).ok();
        let path = format!("connections/{id}");
        assert_eq!(server.admin("DELETE", &path, &[], "").status, 404);
        let line = server.await_log(&path);
        assert!(line.contains("mcpd::audit"), "{line}");
    }
}
