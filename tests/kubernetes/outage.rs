//! What becomes of servers while the API server is not there.

use crate::plane::{Namespace, Plane, eventually};
use crate::replica::{Replica, start, table};
use crate::support::Server;
use mcpd::telemetry::METRICS;
use std::fs;

const CONFIRMED: &str = "mcpd_routes_last_confirmed_timestamp_seconds";

pub(crate) fn a_while_without(plane: &mut Plane, namespace: &Namespace) {
    namespace.apply("routes", &table(&["one"], "echo"));
    let [a, b, c] = ["pod-a", "pod-b", "pod-c"].map(|pod| start(namespace, pod).spawn());
    a.write(&a.etag(), &["two"]).ok();
    for server in [&a, &b, &c] {
        server.await_routes("convergence", |routes| routes["revision"] == 2);
    }
    a_connection_lives_on(plane, &a);
    let b = a_container_is_restarted(namespace, b);
    without_a_copy_nothing_is_guessed(namespace, c);

    plane.order("start");
    // All of them see what has happened since, the restarted one above all.
    namespace.apply("routes", &table(&["three"], "echo"));
    for server in [&a, &b] {
        let caught_up = server.await_routes("the present", |routes| routes["revision"] == 1);
        assert_eq!(caught_up["source"], "ConfigMap mcpd-routes");
        server.await_routes("contact", |routes| routes["unreachable"].is_null());
        assert!(server.serves("three"));
    }
    a.write(&a.etag(), &["four"]).ok();
    b.await_routes("convergence", |routes| routes["revision"] == 2);
    every_count_is_on_a_page(namespace, &[&a, &b]);
    a_silent_one_is_given_up(plane, &a);
    a_snapshot_that_cannot_be_written_harms_nothing(namespace);
}

fn a_connection_lives_on(plane: &mut Plane, server: &Server) {
    let mut peer = server.peer();
    peer.expect_alive_on("two");
    plane.order("stop");
    server.await_routes("notice", |routes| routes["unreachable"].is_string());
    let confirmed = server.metric(CONFIRMED);
    peer.expect_alive_on("two");
    assert!(server.serves("two"));
    assert_eq!(server.get("/readyz").0, 200);
    let refused = server.write(&server.etag(), &["lost"]).problem(503);
    assert!(refused.starts_with("nothing was written"), "{refused}");
    // Another attempt of the watch has failed since.
    let failed = "mcpd_kubernetes_requests_total{verb=\"list\",outcome=\"unavailable\"}";
    let attempts = server.metric(failed);
    server.await_metric(failed, |now| now > attempts);
    assert_eq!(server.metric(CONFIRMED), confirmed, "nothing confirms");
}

fn a_container_is_restarted(namespace: &Namespace, mut server: Server) -> Server {
    let etag = server.etag();
    server.signal("KILL");
    server.await_exit();
    let again = start(namespace, "pod-b").spawn();
    assert!(again.serves("two"));
    assert_eq!(again.get("/readyz").0, 200);
    let routes = again.routes();
    assert_eq!(routes["etag"], etag.as_str());
    assert!(
        routes["source"].as_str().unwrap().starts_with("snapshot "),
        "{routes}"
    );
    assert!(routes["last_confirmed"].is_null(), "{routes}");
    let verbose = again.get("/readyz?verbose").1;
    assert!(
        verbose.contains("snapshot") && verbose.contains("cannot be asked"),
        "{verbose}"
    );
    again
}

fn without_a_copy_nothing_is_guessed(namespace: &Namespace, server: Server) {
    drop(server);
    fs::remove_dir_all(namespace.files.path().join("pod-c")).unwrap();
    let stranger = start(namespace, "pod-c").spawn_unready();
    let why = |code: u16, text: &str| code == 503 && text.contains("cannot be reached");
    stranger.await_get("/readyz?verbose", why);
    assert_eq!(stranger.get("/livez").0, 200);
}

fn every_count_is_on_a_page(namespace: &Namespace, servers: &[&Server]) {
    // By now everything has happened but this, which one of them does.
    namespace.delete("routes");
    for server in servers {
        server.await_routes("the next revision", |routes| routes["revision"] == 3);
    }
    let mut groups = METRICS.iter();
    let group = groups.find(|group| group.title == "Kubernetes").unwrap();
    for metric in group.metrics {
        let series = format!("\n{}{{", metric.name);
        let is_there = |server: &&Server| server.get("/metrics").1.contains(&series);
        eventually(metric.name, || servers.iter().any(is_there).then_some(()));
    }
}

/// An API server that is stuck and keeps its connections.
fn a_silent_one_is_given_up(plane: &Plane, server: &Server) {
    let etag = server.etag();
    plane.signal("STOP");
    // Whether it has been written nobody can say who gets no answer; here it has not even been read.
    let refused = server.write(&etag, &["five"]);
    assert!(matches!(refused.status, 503 | 504), "{refused:?}");
    assert!(server.serves("four"));
    assert_eq!(server.get("/readyz").0, 200);
    plane.signal("CONT");
    server.await_routes("contact", |routes| routes["unreachable"].is_null());
    server.await_routes("a table", |routes| routes["problem"].is_null());
}

fn a_snapshot_that_cannot_be_written_harms_nothing(namespace: &Namespace) {
    // A file where the directory should be.
    fs::write(namespace.files.path().join("pod-d"), "in the way").unwrap();
    let mut server = start(namespace, "pod-d").spawn();
    server.await_log("no snapshot");
    let failed = "mcpd_kubernetes_snapshots_total{document=\"routes\",result=\"failed\"}";
    eventually("the count", || (server.metric(failed) >= 1.0).then_some(()));
    let written = server.write(&server.etag(), &["six"]);
    written.ok();
    assert!(server.serves("six"));
    assert_eq!(server.get("/readyz").0, 200);
}
