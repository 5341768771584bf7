//! The metrics page when clients do what they can to swell it, or to break it.

use crate::metrics_page::parse;
use crate::support::{Peer, Server, Start, scratch, write_routes};
use mcpd_proto::{Frame, Hello, MetaBuf, Request};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

const CLIENTS: u32 = 10_000;
const TOPICS_EACH: u32 = 10;
/// So many at once, for the sake of open files.
const WAVE: u32 = 200;
const ROUTES: u32 = 1_000;
/// The cap of docs/metrics.md.
const OWN_SERIES: usize = 200;
const PRINCIPALS: u32 = 50;
/// Is in everything that clients choose, and must not come out again.
const MARK: &str = "zqz";
const MAX_PAGE: usize = 2 << 20;

/// As long as a name may be.
fn name(route: u32) -> String {
    format!("r{route:0>62}")
}

fn routes() -> String {
    let mut text = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n".to_owned();
    for route in 0..ROUTES {
        let handler = ["echo", "monitor"][route as usize % 2];
        writeln!(
            text,
            "  - {{name: {}, topic: r{route}/#, handler: {handler}}}",
            name(route)
        )
        .unwrap();
    }
    text
}

fn token(principal: u32) -> String {
    format!("{MARK}-token-{principal}")
}

fn principals() -> String {
    let mut text = "apiVersion: mcpd/v1\nkind: Principals\nprincipals:\n".to_owned();
    for principal in 0..PRINCIPALS {
        let digest = Sha256::digest(token(principal).as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(
            text,
            "  - {{name: {MARK}{principal}, tokens: [{{name: a, sha256: {hex}}}], allow: ['#']}}"
        )
        .unwrap();
    }
    text
}

fn start() -> Server {
    let dir = scratch();
    let file = dir.path().join("principals.yaml");
    std::fs::write(&file, principals()).unwrap();
    Start::new()
        .routes(&write_routes(&dir, &routes()))
        .set("AUTH__PRINCIPALS", file.to_str().unwrap())
        .set("DATA__ACCEPTS_PER_SECOND", "0")
        .spawn()
}

/// What becomes of a topic.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Routed,
    NoRoute,
    Invalid,
}

/// A route of topic number `n`; all of them get every kind.
fn route_of(n: u32) -> u32 {
    n / 8 % ROUTES
}

/// Topic number `n`, which is like no other.
fn topic(n: u32) -> (Vec<u8>, Fate) {
    let start = format!("r{}/{MARK}{n}", route_of(n));
    match n % 8 {
        // What ends a label, a line and a family.
        0 => (
            format!("{start}\"}} 1\n# EOF\nevil_total{{a=\"").into_bytes(),
            Fate::Invalid,
        ),
        1 => (
            format!("{start}\\\",code=\\\"OK\\\"}} 7").into_bytes(),
            Fate::Routed,
        ),
        // Right to left, a mark of order, the last code point: odd, and good UTF-8.
        2 => (
            format!("{start}/\u{202e}\u{feff}\u{10ffff}").into_bytes(),
            Fate::Routed,
        ),
        // Too long a form of NUL, and no UTF-8 at all.
        3 => (
            [start.as_bytes(), &[0xC0, 0x80, 0xFF]].concat(),
            Fate::Invalid,
        ),
        4 => (
            format!("{start}/{}", "x".repeat(254 - start.len())).into_bytes(),
            Fate::Routed,
        ),
        5 => (
            format!("{MARK}/{n}{{route=\"r1\"}}").into_bytes(),
            Fate::NoRoute,
        ),
        6 => (format!("{start}\0\u{7f}\u{85}").into_bytes(), Fate::Invalid),
        _ => (start.into_bytes(), Fate::Routed),
    }
}

/// Somebody with a name of their own asks for ten topics.
fn ask(server: &Server, client: u32) -> Peer {
    let mut meta = MetaBuf::new();
    meta.set_client_id(&format!("{MARK}-client-{client}@le:0.5"))
        .unwrap();
    meta.set_auth_token(token(client % PRINCIPALS).as_bytes())
        .unwrap();
    let mut wire = Vec::new();
    let hello = Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    };
    Frame::Hello(hello).encode(&mut wire);
    for n in 0..TOPICS_EACH {
        let (topic, _) = topic(client * TOPICS_EACH + n);
        let request = Request {
            seq: n as u16 + 2,
            topic: &topic,
            ..Request::default()
        };
        Frame::Request(request).encode(&mut wire);
    }
    let mut peer = server.peer();
    peer.send(&wire);
    peer
}

fn ask_all(server: &Server, clients: std::ops::Range<u32>) {
    for from in clients.step_by(WAVE as usize) {
        let mut peers: Vec<Peer> = (from..from + WAVE).map(|n| ask(server, n)).collect();
        for peer in &mut peers {
            // The answer to HELLO, and those to the requests.
            for _ in 0..=TOPICS_EACH {
                peer.expect();
            }
        }
    }
}

/// The names and labels of all series.
fn series(page: &str) -> BTreeSet<String> {
    let families = parse(page).into_values();
    let samples = families.flat_map(|family| family.samples);
    samples.map(|(series, _)| series).collect()
}

/// Prometheus' own program reads the page and has nothing to complain of.
fn promtool_agrees(page: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/prometheus");
    let found = Command::new(script).stderr(Stdio::inherit()).output();
    let found = found.expect("tests/support/prometheus runs");
    assert!(found.status.success(), "promtool can be installed");
    let program = String::from_utf8(found.stdout).unwrap();
    let mut command = Command::new(program.trim());
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("promtool starts");
    // It reads to the end before it says anything.
    let mut input = child.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let told = child.wait_with_output().unwrap();
    let text = [told.stdout, told.stderr].concat();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn ten_thousand_hostile_clients_neither_swell_nor_break_the_page() {
    let server = start();
    ask_all(&server, 0..CLIENTS / 2);
    let halfway = series(&server.get("/metrics").1);
    ask_all(&server, CLIENTS / 2..CLIENTS);
    let page = server.get("/metrics").1;
    assert!(page.len() < MAX_PAGE, "{} bytes", page.len());
    promtool_agrees(&page);
    assert_eq!(series(&page), halfway, "the second half added series");
    assert!(!page.contains(MARK), "something that a client chose");
    assert!(!page.contains("evil"));

    // The first routes by the alphabet have series, the others share one, and every request is in one of them.
    let requests = &parse(&page)["mcpd_requests_total"].samples;
    let count = |start: &str| -> f64 {
        let fits = requests.iter().filter(|(series, _)| series.contains(start));
        fits.map(|(_, value)| value).sum()
    };
    let labelled = |(series, _): &(String, f64)| {
        let label = series.split_once("route=\"").unwrap().1;
        label.split_once('"').unwrap().0.to_owned()
    };
    let shown: BTreeSet<String> = requests.iter().map(labelled).collect();
    let mut names: Vec<String> = (0..ROUTES).map(name).collect();
    names.sort();
    let (own, others) = names.split_at(OWN_SERIES);
    let mut expected = BTreeSet::from(["_none".to_owned(), "_other".to_owned()]);
    expected.extend(own.iter().cloned());
    assert_eq!(shown, expected);
    let topics = || (0..CLIENTS * TOPICS_EACH).map(|n| (n, topic(n).1));
    let of = |fate: Fate| topics().filter(|(_, is)| *is == fate).count() as f64;
    assert_eq!(
        count("route=\"_none\",code=\"NO_ROUTE\""),
        of(Fate::NoRoute)
    );
    assert_eq!(count("route=\"_none\",code=\"INVALID"), of(Fate::Invalid));
    let is_other = |n: u32| others.binary_search(&name(route_of(n))).is_ok();
    let shared = topics().filter(|(n, fate)| *fate == Fate::Routed && is_other(*n));
    let shared = shared.count() as f64;
    assert_eq!(count("route=\"_other\",code=\"OK\""), shared);
    assert_eq!(server.metric("mcpd_series_dropped_total"), shared);
    assert_eq!(count("code=\"OK\""), of(Fate::Routed));
}
