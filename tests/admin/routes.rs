//! Reading and changing routes: preconditions, dry runs, strictness, one route by name.

use crate::client::{Admin, JSON, YAML, call, document};
use crate::support::{Server, Start, scratch, write_routes};
use mcpd_proto::ErrorCode;

fn topics(of: &[&str]) -> String {
    document(of.iter().map(|topic| (*topic).to_owned()))
}

#[test]
fn the_document_is_read_as_json_and_as_yaml() {
    let server = Server::start();
    let got = server.read("routes");
    let json = got.ok();
    assert_eq!(json["revision"], 1);
    assert_eq!(json["routes"][0]["name"], "echo");
    assert_eq!(got.header("content-type"), Some("application/json"));
    for (path, accept) in [("routes?format=yaml", "*/*"), ("routes", "text/yaml, */*")] {
        let yaml = server.admin("GET", path, &[&format!("Accept: {accept}")], "");
        assert_eq!(yaml.header("content-type"), Some("application/yaml"));
        assert!(yaml.body.starts_with("apiVersion: mcpd/v1\n"), "{yaml:?}");
        assert_eq!(yaml.etag(), got.etag());
    }
    let known = format!("If-None-Match: W/{}", got.etag());
    assert_eq!(server.admin("GET", "routes", &[&known], "").status, 304);
    server.read("routes?format=xml").problem(400);
    server.read("routes?nonsense=1").problem(400);
    let one = server.read("routes/echo");
    assert_eq!(one.ok()["handler"], "echo");
    assert_eq!(one.etag(), got.etag());
    assert!(server.read("routes/other").problem(404).contains("other"));
}

#[test]
fn what_is_written_is_live_with_the_answer() {
    let server = Server::start();
    let before = server.read("routes").etag();
    let (put, tag) = (topics(&["new"]), format!("If-Match: {before}"));
    let got = server.admin("PUT", "routes", &[YAML, &tag], &put);
    let mut peer = server.peer();
    peer.request(1, "new", b"at once");
    assert_eq!(peer.expect().response(), (1, b"at once".to_vec()));
    peer.request(2, "echo", b"");
    assert_eq!(peer.expect().error(), (2, ErrorCode::NO_ROUTE));
    let json = got.ok();
    assert_eq!(json["revision"], 2);
    assert_eq!(
        (&json["routes"], &json["changed"]),
        (&1.into(), &true.into())
    );
    assert_eq!(json["etag"], got.etag().as_str());
    assert_eq!(json["changes"]["added"][0], "new");
    assert_eq!(json["changes"]["removed"].as_array().unwrap().len(), 2);
    assert_eq!(server.read("routes").etag(), got.etag());
    let state = server.read("state").ok();
    assert_eq!(state["routes"]["etag"], got.etag().as_str());
    assert_eq!(state["routes"]["hash"], json["hash"]);
    // The same again is no other version.
    let again = server.admin("PUT", "routes", &[YAML, "If-Match: *"], &put);
    assert_eq!(again.ok()["changed"], false);
    assert_eq!(again.etag(), got.etag());
}

#[test]
fn a_write_needs_the_version_it_replaces() {
    let server = Server::start();
    let (tag, put) = (server.read("routes").etag(), topics(&["a"]));
    let with = |lines: &[&str]| {
        let lines: Vec<&str> = [YAML].into_iter().chain(lines.iter().copied()).collect();
        server.admin("PUT", "routes", &lines, &put)
    };
    with(&[]).problem(428);
    for stale in [
        "If-Match: \"9-0123456789abcdef\"",
        &format!("If-Match: W/{tag}"),
        "If-Match: \"something-else\"",
        "If-None-Match: *",
    ] {
        let got = with(&[stale]);
        got.problem(412);
        assert_eq!(got.etag(), tag, "{stale}");
    }
    for garbled in ["If-Match:", "If-Match: 1", "If-Match: \"", "If-Match: *, *"] {
        with(&[garbled]).problem(400);
    }
    with(&["If-Match: *", "If-None-Match: *"]).problem(400);
    let many = format!("If-Match: {}", vec![tag.as_str(); 40].join(", "));
    with(&[&many]).problem(400);
    assert_eq!(server.read("routes").etag(), tag, "nothing has changed");
    let listed = format!("If-Match: \"other\", {tag}");
    with(&[&listed]).ok();
}

#[test]
fn of_two_writers_one_learns_of_the_other() {
    let server = Server::start();
    for round in 0..20 {
        let tag = format!("If-Match: {}", server.read("routes").etag());
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let writers = [0, 1].map(|writer| {
                let (tag, addr) = (&tag, server.sidecar);
                scope.spawn(move || {
                    let put = topics(&[&format!("t{round}/{writer}")]);
                    call(addr, "PUT", "routes", &[YAML, tag], put.as_bytes()).status
                })
            });
            writers.map(|writer| writer.join().unwrap()).to_vec()
        });
        assert!(
            statuses.contains(&200) && statuses.contains(&412),
            "{statuses:?}"
        );
    }
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let server = Server::start();
    let before = server.read("routes");
    let put = topics(&["a", "b"]);
    let dry = server.admin("PUT", "routes?dry_run=true", &[YAML, "If-Match: *"], &put);
    let told = dry.ok();
    assert_eq!(
        (&told["dry_run"], &told["changed"]),
        (&true.into(), &true.into())
    );
    assert_eq!(server.read("routes").etag(), before.etag());
    let one = server.admin("DELETE", "routes/echo?dry_run=true", &[], "");
    assert_eq!(one.ok()["changes"]["removed"][0], "echo");
    assert_eq!(server.read("routes").body, before.body);
    let wet = server.admin("PUT", "routes", &[YAML, "If-Match: *"], &put);
    assert_eq!(wet.ok()["etag"], told["etag"]);
}

#[test]
fn every_mistake_is_named_by_field_and_line() {
    let server = Server::start();
    let put = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  - topic: a\n    handler: nobody\n  \
               - topic: b\n    handler: echo\n    timeout: 5\n";
    let got = server.admin("PUT", "routes", &[YAML, "If-Match: *"], put);
    got.problem(422);
    let json = got.json();
    assert_eq!(json["errors"][0]["field"], "routes[1].timeout");
    assert_eq!(json["errors"][0]["line"], 8);
    let got = server.admin(
        "PUT",
        "routes",
        &[YAML, "If-Match: *"],
        &put.replace("timeout: 5", "timeout: 5s"),
    );
    got.problem(422);
    assert_eq!(got.json()["errors"][0]["field"], "routes[0].handler");
    assert_eq!(got.json()["errors"][0]["line"], 4);
    let one = server.put("routes/a", r#"{"topic": "a", "handler": "nobody"}"#);
    one.problem(422);
    assert_eq!(one.json()["errors"][0]["field"], "handler");
}

#[test]
fn unknown_keys_are_refused_or_kept() {
    let server = Server::start();
    let put = r#"{"topic": "a", "handler": "echo", "owner": "team-7"}"#;
    let got = server.put("routes/a", put);
    got.problem(422);
    assert_eq!(got.json()["errors"][0]["field"], "owner");
    let got = server.put("routes/a?strict=false", put);
    assert_eq!(got.ok()["warnings"][0]["field"], "owner");
    assert_eq!(server.read("routes/a").ok()["owner"], "team-7");
}

#[test]
fn one_route_is_created_replaced_and_removed_by_name() {
    let server = Server::start();
    let put = r#"{"topic": "a/+", "handler": "echo"}"#;
    assert_eq!(server.put("routes/a", put).ok()["changes"]["added"][0], "a");
    let create = server.admin("PUT", "routes/a", &[JSON, "If-None-Match: *"], put);
    create.problem(412);
    let put = r#"{"name": "a", "topic": "a/+", "handler": "discard", "timeout": "5s"}"#;
    assert_eq!(
        server.put("routes/a", put).ok()["changes"]["changed"][0],
        "a"
    );
    assert_eq!(server.read("routes/a").ok()["timeout"], "5s");
    let misnamed = server.put("routes/b", put);
    misnamed.problem(422);
    assert_eq!(misnamed.json()["errors"][0]["field"], "name");
    let twin = server.put("routes/b", r#"{"topic": "a/+", "handler": "echo"}"#);
    twin.problem(422);
    assert_eq!(twin.json()["errors"][0]["field"], "topic");
    let stale = "If-Match: \"1-0123456789abcdef\"";
    server
        .admin("DELETE", "routes/a", &[stale], "")
        .problem(412);
    assert_eq!(
        server.admin("DELETE", "routes/a", &[], "").ok()["changes"]["removed"][0],
        "a"
    );
    server.admin("DELETE", "routes/a", &[], "").problem(404);
}

#[test]
fn a_change_of_the_file_beside_a_write_is_not_lost() {
    let dir = scratch();
    let file = write_routes(&dir, &topics(&["first"]));
    let server = Start::new().routes(&file).spawn();
    let stale = server.read("routes").etag();
    std::fs::write(&file, topics(&["edited"])).unwrap();
    // The store is asked what it really holds, long before the change is noticed.
    let put = topics(&["mine"]);
    let got = server.admin(
        "PUT",
        "routes",
        &[YAML, &format!("If-Match: {stale}")],
        &put,
    );
    got.problem(412);
    let current = server.read("routes");
    assert_eq!(got.etag(), current.etag());
    assert_eq!(current.ok()["routes"][0]["topic"], "edited");
    server
        .admin(
            "PUT",
            "routes",
            &[YAML, &format!("If-Match: {}", got.etag())],
            &put,
        )
        .ok();
    server.peer().expect_alive_on("mine");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("topic: mine")
    );
}

#[test]
fn the_routes_can_come_by_admin_while_the_server_waits_for_them() {
    let dir = scratch();
    let file = dir.path().join("routes.yaml");
    let mut server = Start::new().routes(&file).spawn_unready();
    server.read("routes").problem(503);
    let put = topics(&["late"]);
    server
        .admin("PUT", "routes", &[YAML, "If-Match: *"], &put)
        .problem(412);
    server
        .admin("PUT", "routes", &[YAML, "If-None-Match: *"], &put)
        .ok();
    server.await_data();
    server.peer().expect_alive_on("late");
}

#[test]
fn handlers_are_shown_with_the_routes_that_lead_to_them() {
    let server = Start::new()
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "20ms")
        .spawn();
    server
        .put("routes/s", r#"{"topic": "s", "handler": "slow"}"#)
        .ok();
    let slow = server.read("handlers/slow").ok();
    assert_eq!(slow["type"], "delay");
    assert_eq!(slow["settings"]["latency"], "20ms");
    assert_eq!(slow["routes"][0], "s");
    let all = server.read("handlers").ok();
    let names: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|h| h["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["discard", "echo", "monitor", "slow"]);
    server.read("handlers/nobody").problem(404);
}

#[test]
fn a_handler_shows_how_busy_it_is() {
    let server = Start::new()
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "10m")
        .set("HANDLERS__SLOW__CONCURRENCY", "1")
        .spawn();
    server
        .put("routes/s", r#"{"topic": "s", "handler": "slow"}"#)
        .ok();
    let mut peer = server.peer();
    for seq in 1..=3 {
        peer.request(seq, "s", b"");
    }
    server.await_metric("mcpd_queue_depth{priority=\"0\"}", |n| n == 2.0);
    let slow = server.read("handlers/slow").ok();
    let load = ["running", "waiting", "limit"].map(|key| slow[key].as_u64());
    assert_eq!(load, [1, 2, 1].map(Some));
    // Who answers in place never waits.
    let echo = server.read("handlers/echo").ok();
    assert!(echo["running"].is_null() && echo["limit"].is_null());
}
