//! Routes with more than one handler on a real server: moved under load, refused, told of.

use crate::client::{Admin, JSON, YAML};
use crate::support::{PATIENCE, Peer, Server, Start, scratch, write_routes};
use mcpd_proto::{Frame, Hello, MetaBuf};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// Requests of one write.
const BURST: u16 = 100;

/// Handlers that say their names.
fn named(start: Start, names: &[&str]) -> Start {
    names.iter().fold(start, |start, name| {
        let key = |field: &str| format!("HANDLERS__{}__{field}", name.to_uppercase());
        start.set(&key("TYPE"), "static").set(&key("BODY"), name)
    })
}

fn split(stable: u32, canary: u32) -> String {
    format!(
        "{{\"topic\": \"checkout\", \"split\": [{{\"handler\": \"stable\", \"weight\": {stable}}}, \
         {{\"handler\": \"canary\", \"weight\": {canary}}}]}}"
    )
}

fn put(server: &Server, route: &str) {
    let got = server.admin("PUT", "routes/checkout", &[JSON], route);
    assert_eq!(got.status, 200, "{got:?}");
}

/// What the load and the one who changes the routes know of each other.
#[derive(Default)]
struct Shift {
    /// Odd once the answer to the PUT of 0/100 is there, even from before the next PUT on.
    step: AtomicUsize,
    /// Bursts of all connections.
    bursts: AtomicUsize,
    stop: AtomicBool,
}

#[test]
fn a_split_moves_under_load_and_nothing_is_lost_or_late() {
    let server = named(Start::new(), &["stable", "canary"]).spawn();
    put(&server, &split(90, 10));
    let (shift, data) = (Shift::default(), server.data);
    std::thread::scope(|scope| {
        let shift = &shift;
        let loads: Vec<_> = (0..4)
            .map(|_| scope.spawn(move || load(data, shift)))
            .collect();
        for _ in 0..10 {
            await_bursts(shift, 8);
            put(&server, &split(0, 100));
            shift.step.fetch_add(1, Ordering::SeqCst);
            await_bursts(shift, 8);
            shift.step.fetch_add(1, Ordering::SeqCst);
            put(&server, &split(90, 10));
        }
        shift.stop.store(true, Ordering::SeqCst);
        for load in loads {
            let [stable, canary] = load.join().expect("every request is answered");
            assert!(stable > 0 && canary > 0, "{stable}, {canary}");
        }
    });
}

fn await_bursts(shift: &Shift, more: usize) {
    let until = shift.bursts.load(Ordering::SeqCst) + more;
    let deadline = Instant::now() + PATIENCE;
    while shift.bursts.load(Ordering::SeqCst) < until {
        assert!(Instant::now() < deadline, "requests are not answered");
        std::thread::yield_now();
    }
}

/// Gives how many answers came from each handler.
fn load(data: SocketAddr, shift: &Shift) -> [u64; 2] {
    let mut peer = Peer::new(TcpStream::connect(data).expect("it accepts"));
    let mut seen = [0, 0];
    while !shift.stop.load(Ordering::SeqCst) {
        let before = shift.step.load(Ordering::SeqCst);
        (1..=BURST).for_each(|seq| peer.request(seq, "checkout", b""));
        let mut stable = 0;
        for seq in 1..=BURST {
            match peer.expect().response() {
                (of, body) if of == seq && body == b"stable" => stable += 1,
                (of, body) => assert_eq!((of, body), (seq, b"canary".to_vec())),
            }
        }
        let after = shift.step.load(Ordering::SeqCst);
        if before == after && before % 2 == 1 {
            assert_eq!(
                stable, 0,
                "sent after the answer to the PUT, by the old table"
            );
        }
        seen = [seen[0] + stable, seen[1] + u64::from(BURST) - stable];
        shift.bursts.fetch_add(1, Ordering::SeqCst);
    }
    seen
}

#[test]
fn a_handler_names_every_route_that_leads_to_it() {
    let server = named(Start::new(), &["stable", "canary", "shadow"]).spawn();
    let table = "apiVersion: mcpd/v1\nkind: RouteTable\nrequires: [match, mirror, split]\nroutes:\n  \
                 - {topic: a, split: [{handler: stable, weight: 1}, {handler: canary, weight: 0}]}\n  \
                 - {topic: b, handler: stable, match: [{client_id: x, handler: canary}, {client_id: y, handler: canary}]}\n  \
                 - {topic: c, handler: stable, mirror: {handler: shadow, percent: 1}}\n";
    let got = server.admin("PUT", "routes", &[YAML, "If-Match: *"], table);
    assert_eq!(got.ok()["warnings"].as_array().unwrap().len(), 0);
    for (handler, routes) in [
        ("stable", serde_json::json!(["a", "b", "c"])),
        ("canary", serde_json::json!(["a", "b"])),
        ("shadow", serde_json::json!(["c"])),
    ] {
        let shown = server.read(&format!("handlers/{handler}")).ok();
        assert_eq!(shown["routes"], routes, "{handler}");
    }
    // Every one of them has to be there.
    let got = server.admin(
        "PUT",
        "routes",
        &[YAML, "If-Match: *"],
        &table.replace("shadow", "none"),
    );
    let problem = got.json();
    assert_eq!(problem["errors"][0]["field"], "routes[2].mirror.handler");
    assert_eq!(got.status, 422);
}

#[test]
fn what_a_single_route_uses_the_document_requires() {
    let server = named(Start::new(), &["stable", "canary"]).spawn();
    assert_eq!(
        server.read("routes").ok()["requires"],
        serde_json::json!([])
    );
    put(&server, &split(1, 1));
    let document = server.read("routes");
    assert_eq!(document.ok()["requires"], serde_json::json!(["split"]));
    let shown = server.read("routes/checkout").ok();
    assert!(shown.get("handler").is_none(), "{shown}");
    assert_eq!(shown["split"][1]["weight"], 1);
    // The same again, as it was read, is no other version.
    let tag = format!("If-Match: {}", document.etag());
    let again = server.admin("PUT", "routes", &[JSON, &tag], &document.body);
    assert_eq!(again.ok()["changed"], false);
}

#[test]
fn faults_are_refused_unless_the_server_is_there_to_be_tested_and_are_loud() {
    let faulty = "{\"topic\": \"checkout\", \"handler\": \"echo\", \
                  \"fault\": {\"percent\": 100, \"error\": \"OVERLOADED\"}}";
    let server = Server::start();
    let got = server.admin("PUT", "routes/checkout", &[JSON], faulty);
    assert_eq!(got.status, 422, "{got:?}");
    assert_eq!(got.json()["errors"][0]["field"], "fault");
    assert!(got.body.contains("routes.allow_faults"), "{got:?}");

    let dir = scratch();
    let config = dir.path().join("mcpd.yaml");
    std::fs::write(&config, "routes: {allow_faults: true}\n").unwrap();
    let mut server = Start::new().arg("--config").arg(&config).spawn();
    put(&server, faulty);
    server.await_log("these routes fail on purpose");
    let ready = server.get("/readyz?verbose");
    assert_eq!(ready.0, 200);
    assert!(
        ready
            .1
            .contains("FAULTS ARE INJECTED on purpose by 1: checkout"),
        "{}",
        ready.1
    );
    let mut peer = server.peer();
    peer.request(1, "checkout", b"");
    assert_eq!(peer.expect().error().1.name(), Some("OVERLOADED"));
    let series = "mcpd_route_faults_total{route=\"checkout\",kind=\"error\"}";
    assert_eq!(server.metric(series), 1.0);

    // What is live is not taken away by a reload that would forbid it.
    std::fs::write(&config, "routes: {allow_faults: false}\n").unwrap();
    server.signal("HUP");
    server.await_log("configuration refused");
    peer.request(2, "checkout", b"");
    assert_eq!(peer.expect().error().1.name(), Some("OVERLOADED"));
    put(&server, "{\"topic\": \"checkout\", \"handler\": \"echo\"}");
    assert!(!server.get("/readyz?verbose").1.contains("FAULTS"));
    server.signal("HUP");
    server.await_log("configuration reloaded");
    assert_eq!(
        server
            .admin("PUT", "routes/checkout", &[JSON], faulty)
            .status,
        422
    );
}

/// The principal is judged by the client's topic and chooses the handler; the handler sees another topic.
#[test]
fn a_principal_chooses_the_handler_and_is_judged_by_its_own_topic() {
    let dir = scratch();
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let principals = dir.path().join("principals.yaml");
    let text = format!(
        "{{apiVersion: mcpd/v1, kind: Principals, principals: [\
         {{name: ci-7, tokens: [{{name: a, sha256: {hash}}}], allow: [checkout/new], deny: [v2/checkout]}}]}}"
    );
    std::fs::write(&principals, text).unwrap();
    let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nrequires: [match, rewrite]\nroutes:\n  \
                  - {name: checkout, topic: checkout/+, handler: stable, rewrite: v2/checkout, \
                  match: [{principal: \"ci-*\", handler: watch}]}\n";
    let server = named(Start::new(), &["stable"])
        .set("HANDLERS__WATCH__TYPE", "monitor")
        .set("AUTH__PRINCIPALS", principals.to_str().unwrap())
        .routes(&write_routes(&dir, routes))
        .spawn();
    let mut peer = server.peer();
    let mut meta = MetaBuf::new();
    meta.set_auth_token(b"test").unwrap();
    let meta = meta.view();
    peer.frame(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta,
    }));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer.request(1, "checkout/new", b"");
    let (_, body) = peer.expect().response();
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(seen["topic"], "v2/checkout");
    peer.request(2, "v2/checkout", b"");
    assert_eq!(peer.expect().error().1.name(), Some("PERMISSION_DENIED"));
}
