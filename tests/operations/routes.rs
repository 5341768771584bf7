//! The routes file: edited in every way, broken in every way.

use crate::support::{Server, Start, scratch, write_routes};
use mcpd_proto::ErrorCode;
use std::path::Path;
use tempfile::TempDir;

/// A document whose one topic `t` leads to `handler`.
fn table(handler: &str) -> String {
    format!(
        "apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 1\nroutes:\n  - name: t\n    topic: t\n    handler: {handler}\n"
    )
}

/// With handlers `old` and `new` that answer with their names, and `slow`.
fn start(file: &Path) -> Start {
    let fixed = |start: Start, name: &str| {
        let upper = name.to_uppercase();
        start
            .set(&format!("HANDLERS__{upper}__TYPE"), "static")
            .set(&format!("HANDLERS__{upper}__BODY"), name)
    };
    fixed(fixed(Start::new(), "old"), "new")
        .set("HANDLERS__SLOW__TYPE", "delay")
        .set("HANDLERS__SLOW__LATENCY", "1s")
        .set("ROUTES__POLL_INTERVAL", "50ms")
        .routes(file)
}

fn started(text: &str) -> (TempDir, std::path::PathBuf, Server) {
    let dir = scratch();
    let file = write_routes(&dir, text);
    let server = start(&file).spawn();
    (dir, file, server)
}

/// Waits until requests on `t` are answered with `body`; every answer on the way is `old` or `new`.
fn await_answer(server: &Server, body: &str) {
    let mut peer = server.peer();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    for seq in (1..=u16::MAX).cycle() {
        peer.request(seq, "t", b"");
        let (_, answer) = peer.expect().response();
        if answer == body.as_bytes() {
            return;
        }
        assert!(answer == b"old" || answer == b"new");
        assert!(std::time::Instant::now() < deadline, "still {answer:?}");
    }
}

fn reloads(server: &Server, result: &str) -> f64 {
    server.metric(&format!("mcpd_routes_reloads_total{{result=\"{result}\"}}"))
}

#[test]
fn a_server_that_drains_goes_by_new_routes_as_long_as_it_serves() {
    let dir = scratch();
    let file = write_routes(&dir, &table("old"));
    let server = start(&file).set("DRAIN__DELAY", "1h").spawn();
    server.signal("TERM");
    server.await_get("/statusz", |_, text| text.contains("shutting_down"));
    std::fs::write(&file, table("new")).unwrap();
    await_answer(&server, "new");
}

#[test]
fn an_edit_in_place_and_one_by_renaming_over_are_followed() {
    let (dir, file, server) = started(&table("old"));
    await_answer(&server, "old");
    std::fs::write(&file, table("new")).unwrap();
    await_answer(&server, "new");
    let beside = dir.path().join("beside");
    std::fs::write(&beside, table("old")).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    await_answer(&server, "old");
    server.await_metric("mcpd_routes_reloads_total{result=\"ok\"}", |n| n == 3.0);
    assert_eq!(reloads(&server, "refused"), 0.0);
}

/// As the kubelet updates a mounted ConfigMap.
#[test]
fn a_swap_of_the_data_symlink_is_followed() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    for (version, handler) in [("v1", "old"), ("v2", "new")] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::write(path(version).join("routes.yaml"), table(handler)).unwrap();
    }
    std::os::unix::fs::symlink("v1", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/routes.yaml", path("routes.yaml")).unwrap();
    let server = start(&path("routes.yaml")).spawn();
    await_answer(&server, "old");
    std::os::unix::fs::symlink("v2", path("..data_tmp")).unwrap();
    std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
    await_answer(&server, "new");
}

#[test]
fn hundreds_of_swaps_of_the_file_never_leave_a_request_without_a_route() {
    let (dir, file, server) = started(&table("old"));
    let beside = dir.path().join("beside");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut peer = server.peer();
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            for (asked, seq) in (1..=u16::MAX).cycle().enumerate() {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return asked;
                }
                peer.request(seq, "t", b"");
                let body = peer.expect().response().1;
                assert!(body == b"old" || body == b"new", "{body:?}");
            }
            unreachable!("the cycle does not end")
        });
        // SIGHUP has the file looked at now, whatever the poll interval.
        for n in 0.. {
            let handler = if n % 2 == 0 { "new" } else { "old" };
            std::fs::write(&beside, table(handler)).unwrap();
            std::fs::rename(&beside, &file).unwrap();
            server.signal("HUP");
            // On a busy machine many swaps are one reload.
            if n % 2 == 1 && n > 300 && reloads(&server, "ok") > 10.0 {
                break;
            }
        }
        await_answer(&server, "old");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(asker.join().unwrap() > 0);
    });
    assert_eq!(reloads(&server, "refused"), 0.0);
}

/// Makes `text` the file's content, expects it to be refused for `reason`, and mends it.
fn refused(text: &str, reason: &[&str]) {
    let (_dir, file, mut server) = started(&table("old"));
    std::fs::write(&file, text).unwrap();
    let line = server.await_log("routes refused, the last good ones stay");
    let page = server.await_get("/readyz?verbose", |_, body| body.contains("refused"));
    for part in reason {
        assert!(page.contains(part), "{part:?} is not in {page}");
        assert!(
            line.contains(&part.replace('"', "\\\"")),
            "{part:?} is not in {line}"
        );
    }
    assert_eq!(server.get("/readyz").0, 200, "the last good routes serve");
    assert_eq!(reloads(&server, "refused"), 1.0);
    await_answer(&server, "old");
    std::fs::write(&file, table("new")).unwrap();
    await_answer(&server, "new");
    let page = server.await_get("/readyz?verbose", |_, body| !body.contains("refused"));
    assert!(page.contains("1 routes"), "{page}");
}

#[test]
fn a_broken_document_is_refused_with_every_line_and_key() {
    let broken = table("old").replace("topic: t", "topic: a/#/b") + "    timeout: 5\n    qos: 3\n";
    refused(
        &broken,
        &[
            "line 6: routes[0].topic:",
            "line 8: routes[0].timeout:",
            "line 9: routes[0].qos:",
        ],
    );
}

#[test]
fn an_empty_document_is_refused() {
    refused("", &["is not a valid route document: "]);
}

#[test]
fn a_half_written_document_is_refused() {
    let whole = table("old");
    refused(
        &whole[..whole.len() - 12],
        &["is not a valid route document: line "],
    );
}

#[test]
fn a_huge_document_is_refused() {
    refused(&"#".repeat(9 << 20), &["is larger than 8388608 bytes"]);
}

#[test]
fn a_route_with_qos_1_is_refused() {
    let qos = table("old") + "    qos: 1\n";
    refused(&qos, &["line 5: routes[0].qos: QoS 1 needs a journal"]);
}

#[test]
fn an_unknown_handler_is_refused_naming_the_ones_there_are() {
    refused(
        &table("echoo"),
        &[
            "routes[0].handler: there is no handler \"echoo\"",
            "there are: discard, echo, monitor, new, old, slow",
        ],
    );
}

#[test]
fn a_missing_file_leaves_the_last_good_routes() {
    let (_dir, file, mut server) = started(&table("old"));
    std::fs::remove_file(&file).unwrap();
    server.await_log("routes refused, the last good ones stay");
    server.await_get("/readyz?verbose", |status, body| {
        status == 200 && body.contains("No such file")
    });
    await_answer(&server, "old");
    std::fs::write(&file, table("new")).unwrap();
    await_answer(&server, "new");
}

#[test]
fn without_a_file_it_is_alive_and_not_ready_until_the_file_appears() {
    let dir = scratch();
    let file = dir.path().join("routes.yaml");
    let mut server = start(&file).spawn_unready();
    let page = server.await_get("/readyz?verbose", |_, body| body.contains("refused"));
    assert!(page.contains("[-] routes: none yet"), "{page}");
    assert!(page.contains("No such file"), "{page}");
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.get("/readyz"), (503, "not ready\n".to_owned()));
    std::fs::write(&file, table("old")).unwrap();
    server.await_data();
    await_answer(&server, "old");
    server.await_get("/readyz", |status, _| status == 200);
}

#[test]
fn an_invalid_file_at_the_start_is_explained_and_waited_for() {
    let dir = scratch();
    let file = write_routes(&dir, &table("nobody"));
    let mut server = start(&file).spawn_unready();
    let page = server.await_get("/readyz?verbose", |_, body| body.contains("refused"));
    assert!(
        page.contains("routes.yaml: line 5: routes[0].handler"),
        "{page}"
    );
    assert_eq!(server.get("/livez").0, 200);
    std::fs::write(&file, table("new")).unwrap();
    server.await_data();
    await_answer(&server, "new");
}

/// An alert on the age of the last confirmation is about the store, not about how long nobody has
/// changed the routes.
#[test]
fn the_live_table_is_confirmed_as_long_as_it_is_the_stores() {
    const CONFIRMED: &str = "mcpd_routes_last_confirmed_timestamp_seconds";
    let (_dir, file, mut server) = started(&table("old"));
    let first = server.metric(CONFIRMED);
    server.await_metric(CONFIRMED, |at| at > first);
    std::fs::remove_file(&file).unwrap();
    server.await_log("routes refused, the last good ones stay");
    server.await_get("/readyz?verbose", |_, body| body.contains("refused"));
    let last = server.metric(CONFIRMED);
    std::fs::write(&file, table("new")).unwrap();
    await_answer(&server, "new");
    server.await_metric(CONFIRMED, |at| at > last);
}

#[test]
fn a_request_keeps_the_table_it_began_with() {
    let (_dir, file, server) = started(&table("slow"));
    let mut peer = server.peer();
    peer.request(1, "t", b"from the old table");
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    std::fs::write(&file, table("new").replace("topic: t", "topic: other")).unwrap();
    let mut asker = server.peer();
    for seq in (1..=u16::MAX).cycle() {
        asker.request(seq, "other", b"");
        match asker.expect() {
            got if got.is_response() => break,
            got => assert_eq!(got.error().1, ErrorCode::NO_ROUTE),
        }
    }
    peer.request(2, "t", b"");
    let (first, second) = (peer.expect(), peer.expect());
    assert_eq!(first.error(), (2, ErrorCode::NO_ROUTE));
    assert_eq!(second.response(), (1, b"from the old table".to_vec()));
}
