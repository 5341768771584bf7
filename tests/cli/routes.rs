//! `mcpd routes` against a real server, and against one in which somebody else is faster.

use crate::http::{self, answer, json, problem};
use crate::run::{Ran, mcpd, run, run_with};
use crate::support::{Server, Start, scratch, write_routes};
use tempfile::TempDir;

const ROUTES: &str = "apiVersion: mcpd/v1
kind: RouteTable
revision: 7
routes:
  - {topic: echo, handler: echo}
  - {topic: 'orders/#', handler: echo, name: orders, timeout: 5s, rate_limit: {per_second: 10}}
";

/// A server with [`ROUTES`] and what talks to it.
pub(crate) struct Bench {
    server: Server,
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dir = scratch();
        let file = write_routes(&dir, ROUTES);
        let server = Start::new().routes(&file).spawn();
        Bench { server, dir }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let admin = self.server.sidecar.to_string();
        run([args, &["--admin", &admin]].concat())
    }

    /// A document of its own.
    pub(crate) fn document(&self, text: &str) -> String {
        let path = self.dir.path().join("wanted.yaml");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn etag(&self) -> String {
        let shown = self.run(&["routes", "get", "--json"]).expect(0).json();
        shown["etag"].as_str().unwrap().to_owned()
    }
}

#[test]
fn get_prints_what_apply_takes() {
    let bench = Bench::new();
    let ran = bench.run(&["routes", "get"]).expect(0);
    assert!(ran.text().starts_with("apiVersion: mcpd/v1\n"), "{ran:?}");
    assert_eq!(ran.stderr, format!("etag: {}\n", bench.etag()));
    let file = bench.document(ran.text());
    let ran = bench.run(&["routes", "apply", &file]).expect(0);
    assert!(
        ran.text()
            .starts_with("nothing to change: revision 7, 2 routes"),
        "{ran:?}"
    );
    let one = bench.run(&["routes", "get", "orders"]).expect(0);
    let expected = "name: orders\ntopic: \"orders/#\"\nhandler: echo\ntimeout: \"5s\"\n\
                    rate_limit: {per_second: 10, burst: 10}\n";
    assert_eq!(one.text(), expected);
    let file = bench.document(expected);
    let ran = bench
        .run(&["routes", "set", "orders", "-f", &file])
        .expect(0);
    assert!(ran.text().starts_with("nothing to change"), "{ran:?}");
    let one = bench
        .run(&["routes", "get", "orders", "--json"])
        .expect(0)
        .json();
    assert_eq!(one["route"]["timeout"], "5s");
    bench.run(&["routes", "get", "nowhere"]).expect(77);
}

#[test]
fn apply_says_what_it_changes_and_the_next_request_goes_by_it() {
    let bench = Bench::new();
    let wanted = ROUTES
        .replace("topic: echo", "topic: hello")
        .replace("5s", "6s");
    let file = bench.document(&wanted);
    let dry = bench
        .run(&["routes", "apply", &file, "--dry-run"])
        .expect(0);
    let lines: Vec<&str> = dry.text().lines().collect();
    let changes = [
        "+ hello  topic: hello, handler: echo",
        "~ orders  timeout: 5s → 6s",
    ];
    assert_eq!(lines[..2], changes);
    assert_eq!(lines[2], "- echo  topic: echo, handler: echo");
    assert!(lines[3].starts_with("dry run: 1 added, 1 changed, 1 removed; it would be revision 8"));
    let data = bench.server.data.to_string();
    run(["send", "hello", "--to", &data]).expect(77);
    let ran = bench.run(&["routes", "apply", &file]).expect(0);
    assert!(
        ran.text()
            .contains("\napplied: 1 added, 1 changed, 1 removed; now revision 8"),
        "{ran:?}"
    );
    run(["send", "hello", "--to", &data]).expect(0);
    run(["send", "echo", "--to", &data]).expect(77);
    let again = bench
        .run(&["routes", "apply", &file, "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (again["changed"].as_bool(), again["revision"].as_u64()),
        (Some(false), Some(8))
    );
}

#[test]
fn diff_tells_the_same_from_the_different() {
    let bench = Bench::new();
    let file = bench.document(ROUTES);
    let ran = bench
        .run(&["routes", "diff", &file, "--exit-code"])
        .expect(0);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    let file = bench.document(&ROUTES.replace("per_second: 10", "per_second: 20"));
    let ran = bench
        .run(&["routes", "diff", &file, "--exit-code"])
        .expect(1);
    let line = "~ orders  rate_limit: {per_second: 10, burst: 10} → {per_second: 20, burst: 20}\n";
    assert_eq!(ran.text(), line);
    let ran = bench
        .run(&["routes", "diff", &file, "--json"])
        .expect(0)
        .json();
    assert_eq!(ran["same"], false);
    assert_eq!(
        ran["changes"]["changed"][0]["fields"][0]["key"],
        "rate_limit"
    );
    let file = bench.document("routes: 1");
    let ran = bench.run(&["routes", "diff", &file]).expect(65);
    assert!(ran.stderr.contains("error: line 1: routes: "), "{ran:?}");
}

#[test]
fn a_bad_document_changes_nothing_and_is_quoted_by_line() {
    let bench = Bench::new();
    let before = bench.etag();
    let file = bench.document(&ROUTES.replace("handler: echo}", "handler: eco}"));
    for args in [
        &["routes", "apply", &file][..],
        &["routes", "apply", &file, "--dry-run"],
        &["routes", "apply", &file, "--force"],
    ] {
        let ran = bench.run(args).expect(65);
        let problem = "error: line 5: routes[0].handler: there is no handler \"eco\"";
        assert!(ran.stderr.contains(problem), "{ran:?}");
        assert!(
            ran.stderr.ends_with(&format!("correct {file}\n")),
            "{ran:?}"
        );
    }
    let ran = bench
        .run(&["routes", "check", "--server", &file])
        .expect(65);
    assert!(
        ran.stderr
            .contains(&format!("error: {file}: line 5: routes[0].handler")),
        "{ran:?}"
    );
    let json = bench
        .run(&["routes", "apply", &file, "--json"])
        .expect(65)
        .json();
    assert_eq!(json["errors"][0]["line"], 5);
    assert_eq!(bench.etag(), before);
    bench.run(&["routes", "apply", "no/such/file"]).expect(65);
}

#[test]
fn unknown_keys_are_refused_unless_one_says_so() {
    let bench = Bench::new();
    let file = bench.document(&ROUTES.replace("handler: echo}", "handler: echo, colour: red}"));
    let ran = bench.run(&["routes", "apply", &file]).expect(65);
    assert!(ran.stderr.contains("routes[0].colour"), "{ran:?}");
    let ran = bench
        .run(&["routes", "apply", &file, "--no-strict"])
        .expect(0);
    assert!(
        ran.stderr.starts_with("warning: line 5: routes[0].colour"),
        "{ran:?}"
    );
    assert!(ran.text().contains("~ echo  colour: none → red"), "{ran:?}");
}

#[test]
fn a_version_that_is_gone_is_77_and_shows_what_would_change() {
    let bench = Bench::new();
    let read = bench.etag();
    bench
        .run(&["routes", "set", "orders", "--timeout", "9s"])
        .expect(0);
    let file = bench.document(ROUTES);
    let ran = bench
        .run(&["routes", "apply", &file, "--if-match", &read])
        .expect(77);
    assert!(
        ran.stderr
            .contains("(412): someone else has changed the routes"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("\n~ orders  timeout: 9s → 5s\n"),
        "{ran:?}"
    );
    let bare = bench.etag().replace('"', "");
    bench
        .run(&["routes", "apply", &file, "--if-match", &bare])
        .expect(0);
    bench.run(&["routes", "apply", &file, "--force"]).expect(0);
}

#[test]
fn whoever_is_faster_is_seen() {
    let tag = |revision: u32| format!("\"{revision}-0123456789abcdef\"");
    let live = |revision, timeout: &str| {
        let document = ROUTES.replace("5s", timeout);
        let headers = format!(
            "Content-Type: application/yaml\r\nETag: {}\r\n",
            tag(revision)
        );
        answer("200 OK", &headers, &document)
    };
    let refused = problem(
        "412 Precondition Failed",
        r#"{"title":"Precondition Failed"}"#,
    );
    let (admin, server) = http::serve(vec![live(7, "5s"), refused, live(8, "6s")]);
    let args = ["routes", "apply", "-", "--admin", &admin];
    let ran = run_with(ROUTES.as_bytes(), &args).expect(75);
    let requests = server.join().unwrap();
    assert!(
        requests[1].contains(&format!("if-match: {}\r\n", tag(7))),
        "{}",
        requests[1]
    );
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(
        lines[0].ends_with(&format!("expected {}, there is {}", tag(7), tag(8))),
        "{ran:?}"
    );
    assert_eq!(lines[1], "~ orders  timeout: 5s → 6s");
    assert!(
        lines[2].starts_with("hint: above is what they changed"),
        "{ran:?}"
    );
}

#[test]
fn one_route_is_made_changed_and_removed_by_name() {
    let bench = Bench::new();
    let ran = bench
        .run(&["routes", "set", "new", "--timeout", "1s"])
        .expect(64);
    assert!(ran.stderr.contains("a new one needs --topic"), "{ran:?}");
    let new = [
        "routes",
        "set",
        "new",
        "--topic",
        "n/+",
        "--handler",
        "echo",
    ];
    let ran = bench.run(&new).expect(0);
    assert!(
        ran.text().starts_with("+ new  topic: n/+, handler: echo\n"),
        "{ran:?}"
    );
    let change = [
        "routes",
        "set",
        "new",
        "--priority-max",
        "3",
        "--rate-limit",
        "5/9",
        "--ordered",
    ];
    bench.run(&change).expect(0);
    let one = bench.run(&["routes", "get", "new"]).expect(0);
    let expected = "name: new\ntopic: \"n/+\"\nhandler: echo\nordered: true\n\
                    rate_limit: {per_second: 5, burst: 9}\npriority: {min: 0, max: 3}\n";
    assert_eq!(one.text(), expected);
    let ran = bench.run(&[
        "routes",
        "set",
        "new",
        "--rate-limit",
        "none",
        "--ordered=false",
    ]);
    assert!(
        ran.expect(0)
            .text()
            .contains("rate_limit: {per_second: 5, burst: 9} → none")
    );
    let ran = bench
        .run(&["routes", "set", "new", "--handler", "ecco"])
        .expect(65);
    assert!(
        ran.stderr.contains("error: handler: there is no handler"),
        "{ran:?}"
    );
    let ran = bench.run(&["routes", "rm", "new", "typo"]).expect(77);
    assert!(ran.stderr.contains("no route typo"), "{ran:?}");
    let ran = bench.run(&["routes", "rm", "new", "--dry-run"]).expect(0);
    assert!(
        ran.text()
            .contains("dry run: 0 added, 0 changed, 1 removed"),
        "{ran:?}"
    );
    let ran = bench.run(&["routes", "rm", "new", "orders"]).expect(0);
    assert!(
        ran.text().starts_with("- new\n") && ran.text().contains("\n- orders\n"),
        "{ran:?}"
    );
    bench.run(&["routes", "rm", "new"]).expect(77);
}

/// What `mcpd check` says of a document, without a server.
#[test]
fn check_needs_no_server() {
    let dir = scratch();
    let bad = write_routes(
        &dir,
        &ROUTES
            .replace("5s", "5")
            .replace("name: orders", "nmae: orders"),
    );
    let bad = bad.to_str().unwrap();
    let good = dir.path().join("good.yaml");
    std::fs::write(&good, ROUTES).unwrap();
    let good = good.to_str().unwrap();
    let ran = run(["routes", "check", good, bad]).expect(65);
    assert_eq!(ran.text(), format!("ok: 2 routes from {good}\n"));
    assert!(
        ran.stderr
            .contains(&format!("error: {bad}: line 6: routes[1].timeout: ")),
        "{ran:?}"
    );
    let whole = run(["check", "--routes", bad]).expect(65);
    let line = |ran: &Ran| ran.stderr.lines().next().unwrap().to_owned();
    assert_eq!(line(&ran), line(&whole));
    let found = run(["routes", "check", "--json", good, bad])
        .expect(65)
        .json_lines();
    assert_eq!(
        (found[0]["ok"].as_bool(), found[0]["routes"].as_u64()),
        (Some(true), Some(2))
    );
    assert_eq!(found[1]["problems"][0]["key"], "routes[1].timeout");
    let unknown = ROUTES.replace("name: orders", "nmae: orders");
    let ran = run_with(unknown.as_bytes(), &["routes", "check", "-"]).expect(0);
    assert!(ran.stderr.contains("did you mean `name`?"), "{ran:?}");
    run_with(unknown.as_bytes(), &["routes", "check", "--strict", "-"]).expect(65);
}

#[test]
fn a_document_that_is_no_answer_of_ours_is_told() {
    let (admin, server) = http::serve(vec![json(r#"{"routes":[]}"#)]);
    let ran = run(["routes", "get", "--json", "--admin", &admin]).expect(76);
    server.join().unwrap();
    assert!(
        ran.json()["text"].as_str().unwrap().contains("no ETag"),
        "{ran:?}"
    );
}

#[test]
fn tokens_open_what_their_scopes_say() {
    let dir = scratch();
    let token = |name: &str, scopes: &str| {
        let args = ["token", "new", "--json", "--name", name, "--scopes", scopes];
        run(args).expect(0).json()
    };
    let (reader, writer) = (token("reader", "read"), token("writer", "read,routes"));
    let tokens = serde_json::json!({"tokens": [reader["entry"], writer["entry"]]});
    let file = dir.path().join("tokens.json");
    std::fs::write(&file, tokens.to_string()).unwrap();
    let server = Start::new()
        .set("ADMIN__TOKENS_FILE", file.to_str().unwrap())
        .spawn();
    let with = |token: &str, args: &[&str]| {
        let mut command = mcpd([args, &["--admin", &server.sidecar.to_string()]].concat());
        crate::run::finish(command.env("MCPD_ADMIN_TOKEN", token).spawn().unwrap())
    };
    let set = ["routes", "set", "x", "--topic", "x", "--handler", "echo"];
    let ran = with("", &["routes", "get"]).expect(77);
    assert!(ran.stderr.contains("--token-file"), "{ran:?}");
    with("wrong", &["routes", "get"]).expect(77);
    let (reader, writer) = (
        reader["token"].as_str().unwrap(),
        writer["token"].as_str().unwrap(),
    );
    with(reader, &["routes", "get"]).expect(0);
    let ran = with(reader, &set).expect(77);
    assert!(
        ran.stderr.contains("(403)") && ran.stderr.contains("scope"),
        "{ran:?}"
    );
    with(writer, &set).expect(0);
    with(writer, &["drain", "--yes"]).expect(77);
}

/// A server whose file is not there waits for it, and can be given it.
#[test]
fn the_first_routes_of_all_can_be_applied() {
    let dir = scratch();
    let mut server = Start::new()
        .routes(&dir.path().join("none-yet.yaml"))
        .spawn_unready();
    let document = write_routes(&dir, ROUTES).display().to_string();
    let admin = server.sidecar.to_string();
    let apply = ["routes", "apply", &document, "--admin", &admin];
    let hint = run(apply).expect(75).stderr;
    assert!(hint.contains("--force"), "{hint}");
    run([&apply[..], &["--force"]].concat()).expect(0);
    server.await_data();
}
