//! SIGHUP: what changes at once, what waits for a restart, and what is refused.

use crate::support::{Peer, Server, Start, scratch};
use mcpd_proto::{ErrorCode, Frame, Hello, Meta};
use std::path::PathBuf;
use tempfile::TempDir;

/// A server whose configuration is a file that can be rewritten.
struct Configured {
    server: Server,
    file: PathBuf,
    _dir: TempDir,
}

fn configured(text: &str) -> Configured {
    configured_with(text, |start| start)
}

fn configured_with(text: &str, more: impl FnOnce(Start) -> Start) -> Configured {
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    std::fs::write(&file, text).unwrap();
    let server = more(Start::new().arg("--config").arg(&file)).spawn();
    let _dir = dir;
    Configured { server, file, _dir }
}

impl Configured {
    /// Rewrites the file and reloads it; gives the line that says so.
    fn reload(&mut self, text: &str) -> String {
        self.hup(text, "\"configuration reloaded\"")
    }

    /// Rewrites the file, and expects it to be refused; gives the line that says why.
    fn refused(&mut self, text: &str) -> String {
        self.hup(text, "configuration refused, the old one stays")
    }

    fn hup(&mut self, text: &str, log: &str) -> String {
        std::fs::write(&self.file, text).unwrap();
        self.server.signal("HUP");
        self.server.await_log(log)
    }
}

/// MAX_IN_FLIGHT and SERVER_ID as a new connection is told them.
fn hello(peer: &mut Peer) -> (u16, String) {
    let (seq, reply, meta) = (1, false, Meta::EMPTY);
    peer.frame(Frame::Hello(Hello { seq, reply, meta }));
    let got = peer.expect();
    let Frame::Hello(answer) = got.frame() else {
        panic!("a HELLO, not {got:?}");
    };
    let meta = answer.meta;
    (
        meta.max_in_flight().unwrap(),
        meta.server_id().unwrap().to_owned(),
    )
}

fn ask(peer: &mut Peer, topic: &str) -> String {
    peer.request(9, topic, b"");
    String::from_utf8(peer.expect().response().1).unwrap()
}

#[test]
fn limits_hold_for_new_connections() {
    let mut it = configured("limits: {max_in_flight: 300}");
    let mut old = it.server.peer();
    it.server.await_metric("mcpd_connections", |n| n == 1.0);
    let line = it.reload("limits: {max_in_flight: 400}");
    assert!(
        line.contains("\"changed\":\"limits.max_in_flight\""),
        "{line}"
    );
    assert_eq!(hello(&mut it.server.peer()).0, 400);
    assert_eq!(hello(&mut old).0, 300, "accepted with the old limit");
}

#[test]
fn max_connections_can_be_lowered_and_closes_nobody() {
    let mut it = configured("{}");
    let (mut first, mut second) = (it.server.peer(), it.server.peer());
    first.expect_alive(1);
    second.expect_alive(1);
    it.reload("data: {max_connections: 1}");
    it.server.peer().expect_end(ErrorCode::TOO_MANY_CONNECTIONS);
    first.expect_alive(2);
    second.expect_alive(2);
}

#[test]
fn the_log_filter_changes() {
    let mut it = configured("log: {filter: info}");
    let broken = |server: &Server| {
        let mut peer = server.peer();
        peer.send(&[9; 32]);
        peer.expect_end(ErrorCode::UNSUPPORTED_VERSION);
    };
    broken(&it.server);
    it.reload("log: {filter: \"info,mcpd::conn=debug\"}");
    let told = |line: &String| line.contains("the connection ends");
    assert!(!it.server.output().iter().any(told));
    broken(&it.server);
    it.server.await_log("the connection ends");
}

#[test]
fn the_drain_changes() {
    let hour = "drain: {delay: 1h, spread: 1h, finish: 1h}";
    let dir = scratch();
    let file = dir.path().join("mcpd.yaml");
    std::fs::write(&file, hour).unwrap();
    // The harness shortens the drain by the environment, which would outrank the file.
    let start = Start::new().arg("--config").arg(&file).with(|command| {
        command.env_remove("MCPD__DRAIN__DELAY");
        command.env_remove("MCPD__DRAIN__SPREAD");
    });
    let mut server = start.spawn();
    std::fs::write(&file, "drain: {delay: 0s, spread: 0s, readiness: keep}").unwrap();
    server.signal("HUP");
    server.await_log("\"configuration reloaded\"");
    let mut peer = server.peer();
    peer.expect_alive(1);
    server.signal("TERM");
    peer.expect_draining_and_end();
    drop(peer);
    assert_eq!(server.await_exit(), Some(0));
}

#[test]
fn handlers_change_and_those_that_do_not_keep_what_they_remember() {
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  - {topic: m, handler: monitor}\n  - {topic: s, handler: fixed}\n";
    let dir = scratch();
    let routes = crate::support::write_routes(&dir, routes);
    let fixed = |body: &str| format!("handlers: {{fixed: {{type: static, body: {body}}}}}");
    let mut it = configured_with(&fixed("one"), |start| start.routes(&routes));
    let mut peer = it.server.peer();
    assert!(ask(&mut peer, "m").contains("\"count\":1"));
    assert_eq!(ask(&mut peer, "s"), "one");
    let line = it.reload(&fixed("two"));
    assert!(line.contains("\"changed\":\"handlers.fixed\""), "{line}");
    assert_eq!(ask(&mut peer, "s"), "two", "on an open connection, too");
    assert!(
        ask(&mut peer, "m").contains("\"count\":2"),
        "the monitor remembers"
    );
    let line = it.reload(&fixed("two"));
    assert!(line.contains("\"changed\":\"\""), "{line}");
    it.reload(
        "handlers: {fixed: {type: static, body: two}, monitor: {type: monitor, max_topics: 5}}",
    );
    assert!(
        ask(&mut peer, "m").contains("\"count\":1"),
        "another monitor"
    );
}

#[test]
fn a_body_file_is_read_anew() {
    let dir = scratch();
    let body = dir.path().join("body");
    std::fs::write(&body, "before").unwrap();
    let text = format!(
        "handlers: {{echo: {{type: static, body_file: {}}}}}",
        body.display()
    );
    let mut it = configured(&text);
    let mut peer = it.server.peer();
    assert_eq!(ask(&mut peer, "echo"), "before");
    std::fs::write(&body, "after").unwrap();
    it.reload(&text);
    assert_eq!(ask(&mut peer, "echo"), "after");
}

#[test]
fn keys_that_need_a_restart_are_named_and_stay_as_they_are() {
    let mut it = configured("server_id: before");
    let text = "server_id: after\ndata: {proxy_protocol: required, backlog: 5, threads: 3}\nroutes: {max_bytes: 1KiB}\n";
    let keys = [
        "server_id",
        "data.proxy_protocol",
        "data.backlog",
        "routes.max_bytes",
    ];
    // As long as they wait they are named, however often it is reloaded.
    for _ in 0..2 {
        let line = it.reload(text);
        for key in keys {
            assert!(line.contains(key), "{key} is not in {line}");
            it.server.await_log(&format!(
                "\"changed, but needs a restart\",\"key\":\"{key}\""
            ));
        }
        let mut peer = it.server.peer();
        assert_eq!(hello(&mut peer).1, "before");
        peer.expect_alive(2);
    }
    let line = it.reload("server_id: before");
    assert!(line.contains("\"restart\":\"\""), "{line}");
}

#[test]
fn a_broken_configuration_is_refused_with_every_problem_and_the_old_one_stays() {
    let mut it = configured("limits: {max_in_flight: 300}");
    let text = "darin: 1\nlimits: {max_in_flight: 400, max_payload: 1}\ndrain: {finish: 5}\n";
    let line = it.refused(text);
    for part in [
        "darin",
        "limits.max_payload",
        "drain.finish",
        "line 2",
        "mcpd.yaml",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert_eq!(hello(&mut it.server.peer()).0, 300);
    it.reload("limits: {max_in_flight: 500}");
    assert_eq!(hello(&mut it.server.peer()).0, 500);
}

#[test]
fn a_configuration_that_the_routes_cannot_live_with_is_refused_whole() {
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  - {topic: s, handler: fixed}\n";
    let dir = scratch();
    let routes = crate::support::write_routes(&dir, routes);
    let fixed = "handlers: {fixed: {type: static, body: one}}";
    let mut it = configured_with(fixed, |start| start.routes(&routes));
    let line = it.refused("limits: {max_in_flight: 400}\nlog: {filter: \"off\"}");
    assert!(line.contains("there is no handler"), "{line}");
    let mut peer = it.server.peer();
    assert_eq!(hello(&mut peer).0, 1024);
    assert_eq!(ask(&mut peer, "s"), "one");
    // It still logs, and the same file is taken once it fits.
    it.reload(&format!("limits: {{max_in_flight: 400}}\n{fixed}"));
    assert_eq!(hello(&mut it.server.peer()).0, 400);
}

/// More places are there at once for those who wait, and nobody who runs loses theirs.
#[test]
fn other_limits_of_a_handler_hold_at_once() {
    let text = |places: u32| {
        format!(
            "handlers: {{echo: {{type: delay, latency: 10m, concurrency: {places}, queue: 1}}}}\n"
        )
    };
    let mut configured = configured(&text(1));
    let mut peer = configured.server.peer();
    for seq in 1..=3 {
        peer.request(seq, "echo", b"");
    }
    assert_eq!(peer.expect().error(), (3, ErrorCode::OVERLOADED));
    let depth = "mcpd_queue_depth{priority=\"0\"}";
    assert_eq!(configured.server.metric(depth), 1.0);
    let log = configured.reload(&text(2));
    assert!(log.contains("handlers.echo"), "{log}");
    assert_eq!(configured.server.metric(depth), 0.0);
    configured.reload(&text(1));
    for seq in 4..=5 {
        peer.request(seq, "echo", b"");
    }
    assert_eq!(peer.expect().error(), (5, ErrorCode::OVERLOADED));
    assert_eq!(configured.server.metric("mcpd_requests_in_flight"), 3.0);
}

/// A refused configuration leaves a handler its places, and those who have them theirs.
#[test]
fn a_refused_configuration_leaves_the_queue_of_a_handler_alone() {
    let dir = crate::support::scratch();
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n  \
                  - {topic: slow, handler: slow}\n  - {topic: s, handler: fixed}\n";
    let routes = crate::support::write_routes(&dir, routes);
    let slow = "slow: {type: delay, latency: 10m, concurrency: 1}";
    let fixed = "fixed: {type: static, body: one}";
    let good = format!("handlers: {{{slow}, {fixed}}}");
    let mut it = configured_with(&good, |start| start.routes(&routes));
    let mut peer = it.server.peer();
    peer.request(1, "slow", b"");
    it.server
        .await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    let line = it.refused("handlers: {slow: {type: delay, latency: 10m}}");
    assert!(line.contains("there is no handler"), "{line}");
    it.reload(&good);
    peer.request(2, "slow", b"");
    let depth = "mcpd_queue_depth{priority=\"0\"}";
    it.server.await_metric(depth, |n| n == 1.0);
}

/// Routes that are live already lead through a queue that comes later, and past one that goes.
#[test]
fn a_handler_gets_its_first_limit_and_loses_it() {
    let without = "handlers: {echo: {type: delay, latency: 10m}}\n";
    let with = "handlers: {echo: {type: delay, latency: 10m, concurrency: 1, queue: 0}}\n";
    let mut it = configured(without);
    let mut peer = it.server.peer();
    it.reload(with);
    peer.request(1, "echo", b"");
    peer.request(2, "echo", b"");
    assert_eq!(peer.expect().error(), (2, ErrorCode::OVERLOADED));
    it.reload(without);
    peer.request(3, "echo", b"");
    it.server
        .await_metric("mcpd_requests_in_flight", |n| n == 2.0);
}
