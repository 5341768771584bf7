//! Who may do what, and what becomes of tokens in the log.

use crate::client::{Admin, Got, JSON, call, entry, with_tokens};
use crate::support::{Server, Start, scratch};

fn bearer(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Got {
    let line = format!("Authorization: Bearer {token}");
    server.admin(method, path, &[JSON, &line], body)
}

const ROUTE: &str = r#"{"topic": "a", "handler": "echo"}"#;

#[test]
fn a_token_is_good_for_its_scopes_and_nothing_else() {
    let server = with_tokens(&[
        entry("reader", "r-secret", "read"),
        entry("router", "w-secret", "routes, read"),
        entry("operator", "o-secret", "operate"),
    ])
    .spawn();
    for token in ["r-secret", "w-secret"] {
        bearer(&server, token, "GET", "state", "").ok();
    }
    assert!(
        bearer(&server, "o-secret", "GET", "state", "")
            .problem(403)
            .contains("`read`")
    );
    let refused = bearer(&server, "r-secret", "PUT", "routes/a", ROUTE);
    assert!(refused.problem(403).contains("`routes`"));
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(challenge.contains("scope=\"routes\""), "{challenge}");
    bearer(&server, "w-secret", "PUT", "routes/a", ROUTE).ok();
    for (method, path) in [
        ("POST", "drain"),
        ("PUT", "log-filter"),
        ("DELETE", "connections/1"),
    ] {
        assert!(
            bearer(&server, "w-secret", method, path, "{}")
                .problem(403)
                .contains("`operate`")
        );
    }
    let filter = r#"{"filter": "info"}"#;
    bearer(&server, "o-secret", "PUT", "log-filter", filter).ok();
}

#[test]
fn without_a_good_token_nothing_is_shown_or_done() {
    let mut server = with_tokens(&[entry("ops", "right", "read, routes")]).spawn();
    // Once there is a token, being on this machine is not enough.
    let got = server.read("state");
    got.problem(401);
    assert_eq!(
        got.header("www-authenticate"),
        Some("Bearer realm=\"mcpd\"")
    );
    let long = "x".repeat(5000);
    for wrong in [
        "wrong",
        "",
        "right2",
        "Right",
        &long,
        "r\u{e9}",
        "right right",
    ] {
        bearer(&server, wrong, "GET", "state", "").problem(401);
    }
    for (lines, status) in [
        (&["Authorization: Basic cmlnaHQ="][..], 401),
        (&["Authorization: right"], 401),
        (
            &["Authorization: Bearer right", "Authorization: Bearer right"],
            400,
        ),
    ] {
        server.admin("GET", "state", lines, "").problem(status);
    }
    // Not even that there is nothing.
    server.read("nothing").problem(401);
    server.admin("DELETE", "routes/echo", &[], "").problem(401);
    assert_eq!(server.get("/livez").0, 200, "probes need none");
    assert_eq!(server.get("/openapi.json").0, 200);
    bearer(&server, "right", "GET", "state", "").ok();
    server.signal("TERM");
    let log = server.output_to_end().join("\n");
    assert!(
        log.contains("admin requests without a fitting token"),
        "{log}"
    );
    assert!(!log.contains("right") && !log.contains("xxxx"), "{log}");
}

#[test]
fn a_thousand_wrong_tokens_are_a_few_lines() {
    let mut server = with_tokens(&[entry("ops", "right", "read")]).spawn();
    for n in 0..1000 {
        bearer(&server, &format!("guess-{n}"), "GET", "state", "").problem(401);
    }
    bearer(&server, "right", "GET", "state", "").ok();
    server.signal("TERM");
    let lines = server.output_to_end();
    let told = lines
        .iter()
        .filter(|line| line.contains("without a fitting token"))
        .count();
    assert!((1..100).contains(&told), "{told} lines");
    assert!(!lines.iter().any(|line| line.contains("guess-")));
}

#[test]
fn every_change_is_told_with_who_made_it() {
    let mut server = with_tokens(&[entry("deployer", "s3cret", "read, routes")]).spawn();
    bearer(&server, "s3cret", "PUT", "routes/a", ROUTE).ok();
    let line = server.await_log("mcpd::audit");
    for part in [
        "\"who\":\"deployer\"",
        "\"method\":\"PUT\"",
        "/admin/v1/routes/a",
        "\"status\":200",
    ] {
        assert!(line.contains(part), "{line}");
    }
    bearer(&server, "s3cret", "PUT", "routes/a", "{}").problem(422);
    assert!(server.await_log("mcpd::audit").contains("\"status\":422"));
    assert!(!server.output().iter().any(|line| line.contains("s3cret")));
}

#[test]
fn without_tokens_only_this_machine_is_let_in_and_only_if_that_is_allowed() {
    let server = Server::start();
    server.read("state").ok();
    // A proxy speaks for somebody who may be anywhere.
    for line in [
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "Via: 1.1 p",
    ] {
        server.admin("GET", "state", &[line], "").problem(403);
    }
    bearer(&server, "any", "GET", "state", "").problem(401);
    let server = Start::new().set("ADMIN__ALLOW_LOOPBACK", "false").spawn();
    assert!(
        server
            .read("state")
            .problem(403)
            .contains("admin.tokens_file")
    );
    // In a pod, loopback is whoever shares it.
    let pod = |start: Start| {
        start.with(|command| {
            command.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        })
    };
    let server = pod(Start::new()).spawn();
    server.read("state").problem(403);
    let (code, _, error) = pod(Start::new().set("ADMIN__ALLOW_LOOPBACK", "true")).run();
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("admin.allow_loopback"), "{error}");
    let tokens = [entry("ops", "right", "read")];
    let server = with_tokens(&tokens)
        .set("ADMIN__ALLOW_LOOPBACK", "true")
        .spawn();
    server.read("state").ok();
}

#[test]
fn the_file_of_tokens_is_read_anew_and_a_bad_one_changes_nothing() {
    let dir = scratch();
    let file = dir.path().join("tokens.yaml");
    let write = |text: String| {
        let new = dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    write(format!("tokens: [{}]\n", entry("first", "one", "read")));
    let mut server = Start::new()
        .set("ADMIN__TOKENS_FILE", file.to_str().unwrap())
        .spawn();
    bearer(&server, "one", "GET", "state", "").ok();
    write(format!("tokens:\n  - {}\n", entry("second", "two", "read")));
    server.await_log("the tokens of the admin API are read anew");
    bearer(&server, "two", "GET", "state", "").ok();
    bearer(&server, "one", "GET", "state", "").problem(401);
    write("tokens: [{name: x, sha256: three-in-the-clear, scopes: [read]}]\n".to_owned());
    let line = server.await_log("tokens refused, the last good ones stay");
    assert!(line.contains("tokens[0].sha256"), "{line}");
    assert!(!line.contains("three-in-the-clear"), "{line}");
    bearer(&server, "two", "GET", "state", "").ok();
    server.signal("HUP");
    server.await_log("configuration refused, the old one stays");
    bearer(&server, "two", "GET", "state", "").ok();
    std::fs::remove_file(&file).unwrap();
    server.await_log("tokens refused, the last good ones stay");
    bearer(&server, "two", "GET", "state", "").ok();
    write("tokens: []\n".to_owned());
    server.await_log("the tokens of the admin API are read anew");
    bearer(&server, "two", "GET", "state", "").problem(401);
    // To withdraw the last one does not open loopback.
    server.read("state").problem(403);
}

#[test]
fn a_server_does_not_start_with_tokens_that_are_none() {
    for (key, value) in [
        (
            "ADMIN__TOKENS",
            "[{name: a, sha256: in-the-clear, scopes: [read]}]",
        ),
        ("ADMIN__TOKENS_FILE", "/does/not/exist"),
    ] {
        let (code, _, error) = Start::new().set(key, value).run();
        assert_eq!(code, Some(64), "{error}");
        assert!(error.contains("admin.tokens"), "{error}");
        assert!(!error.contains("in-the-clear"), "{error}");
    }
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let server = with_tokens(&[entry("ops", "right", "read")]).spawn();
    let config = bearer(&server, "right", "GET", "config", "").ok();
    let tokens = &config["admin.tokens"];
    assert!(
        tokens["value"].as_str().unwrap().starts_with("***"),
        "{tokens}"
    );
    assert_eq!(tokens["origin"], "environment MCPD__ADMIN__TOKENS");
    assert_eq!(config["drain.flush"]["origin"], "default");
    let hash = entry("ops", "right", "read");
    let hash = &hash[hash.find('"').unwrap() + 1..][..64];
    assert!(!config.to_string().contains(hash));
}

#[test]
fn a_port_of_its_own_takes_the_api_away_from_the_probes() {
    let mut server = Start::new()
        .set("ADMIN__LISTEN", "127.0.0.1:0")
        .spawn_unready();
    let admin = server.await_admin();
    server.await_data();
    call(admin, "GET", "state", &[], b"").ok();
    assert_eq!(server.get("/admin/v1/state").0, 404);
    assert_eq!(server.get("/openapi.json").0, 404);
    for path in ["/livez", "/metrics", "/statusz"] {
        assert_eq!(server.get(path).0, 200);
        assert_eq!(crate::support::http(admin, "GET", path).0, 404);
    }
}
