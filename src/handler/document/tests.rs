use super::*;
use crate::handler::http::HeaderSource;

fn handlers(list: &str) -> String {
    format!("apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n{list}")
}

fn problem(list: &str) -> String {
    Document::parse(handlers(list).as_bytes()).unwrap_err()
}

#[test]
fn every_key_is_read() {
    let text = handlers(
        r#"
  - name: orders
    type: http
    url: https://orders.shop:8443/v1/{1}/{2..}?from={1}
    endpoints: ["10.0.0.1", "[::1]:9000", "orders-canary:8080"]
    method: PUT
    http: 2
    headers: [{name: authorization, value: "Bearer x"}, {name: x-key, file: /etc/key, prefix: "Key "}]
    pass_headers: [cookie]
    response_headers: [etag]
    content_type: application/json
    max_response: 2MiB
    refuses_before_running: true
    hash_by: header:x-user
    tls: {ca_file: /etc/ca.pem, cert_file: /etc/tls.crt, key_file: /etc/tls.key, server_name: orders}
    pool: {max_connections: 10, max_pending: 5, idle_timeout: 10s, connect_timeout: 1s}
    idempotent: true
    timeouts: {try: 2s, total: 5s}
    retry: {attempts: 2, first_pause: 5ms, max_pause: 50ms, budget_percent: 10, budget_per_second: 1}
    hedge: {after: 100ms}
    breaker: {consecutive: 3, percent: 40, least: 5, window: 5s, open_for: 1s, probes: 1}
    ejection: {consecutive: 2, percent: 20, least: 5, window: 5s, base: 5s, max: 60s, max_percent: 34}
    adaptive: {min: 2, max: 50, tolerance_percent: 200}
    resolve_every: 3s
    concurrency: 50
    queue: 10
  - {name: hi, type: static, body: hello, content_type: text/plain}
  - {name: e, type: echo}
  - {name: d, type: discard}
  - {name: m, type: monitor, max_topics: 5}
  - {name: slow, type: delay, latency: 5ms, failure_percent: 10}
"#,
    );
    let document = Document::parse(text.as_bytes()).unwrap();
    let kinds: Vec<_> = document.handlers.iter().map(Entry::kind).collect();
    assert_eq!(
        kinds,
        ["http", "static", "echo", "discard", "monitor", "delay"]
    );
    let orders = &document.handlers[0];
    assert_eq!(orders.limits, Some((50, 10)));
    let shown = orders.settings();
    assert_eq!(shown["hedge.after"], "100ms");
    assert!(
        !format!("{document:?}").contains("Bearer"),
        "secrets are not told"
    );
    let Kind::Http(http) = &orders.kind else {
        panic!("{orders:?}");
    };
    // None of them is its default.
    let care = crate::upstream::Settings::default();
    let ours = &http.care;
    assert_eq!(ours.retry.attempts, 2);
    assert_ne!(ours.retry.backoff, care.retry.backoff);
    assert_ne!(ours.retry.budget, care.retry.budget);
    assert_ne!(ours.breaker, care.breaker);
    assert_ne!(ours.ejection, care.ejection);
    assert_eq!((ours.max_running, ours.max_pending), (10, 5));
    let [(_, written), (name, file)] = &http.headers[..] else {
        panic!("{:?}", http.headers);
    };
    assert!(matches!(written, HeaderSource::Written(value) if value == "Bearer x"));
    let from = |path: &str, prefix: &str| HeaderSource::File {
        path: path.into(),
        prefix: prefix.to_owned(),
    };
    assert_eq!((name.as_str(), file), ("x-key", &from("/etc/key", "Key ")));
    let tls = http.tls.as_ref().unwrap();
    assert!(tls.files.ca_file.is_some() && tls.files.client_files.is_some());
    assert_eq!(tls.server_name.as_deref(), Some("orders"));
    assert_eq!(http.endpoints[0], ("10.0.0.1".to_owned(), 8443));
    assert_eq!(http.max_response, 2 << 20);
    assert!(ours.adaptive.is_some() && ours.idempotent && http.refuses_before_running);
}

#[test]
fn what_is_wrong_is_told_by_line_and_key() {
    for (entry, expected) in [
        ("{type: echo}", "line 4: handlers[0].name: is missing"),
        ("{name: x}", "handlers[0].type: is missing"),
        ("{name: X, type: echo}", "is not a name"),
        ("{name: x, type: htp}", "is not a type of handler"),
        ("{name: x, type: http}", "handlers[0].url: is missing"),
        (
            "{name: x, type: http, url: orders}",
            "handlers[0].url: is no URL",
        ),
        (
            "{name: x, type: http, url: \"http://a/{0}\"}",
            "stands for nothing",
        ),
        (
            "{name: x, type: http, url: \"http://a\", timeout: 1s}",
            "did you mean `timeouts`",
        ),
        (
            "{name: x, type: echo, url: \"http://a\"}",
            "is not a key that this version knows",
        ),
        (
            "{name: x, type: http, url: \"http://a\", hedge: {after: 1s}}",
            "idempotent: true",
        ),
        (
            "{name: x, type: http, url: \"http://a\", tls: {}}",
            "not https",
        ),
        (
            "{name: x, type: http, url: \"http://a\", queue: 3}",
            "without concurrency",
        ),
        (
            "{name: x, type: http, url: \"http://a\", headers: [{name: host, value: b}]}",
            "connection",
        ),
        (
            "{name: x, type: http, url: \"http://a\", headers: [{name: x-a}]}",
            "headers[0]: has to have one of value and file",
        ),
        (
            "{name: x, type: http, url: \"http://a\", headers: [{name: x-a, value: b, file: c}]}",
            "headers[0]: has to have one of value and file",
        ),
        (
            "{name: x, type: http, url: \"http://a\", headers: [{name: x-a, value: b, prefix: c}]}",
            "headers[0].prefix: belongs to file",
        ),
        (
            "{name: x, type: http, url: \"https://a\", tls: {cert_file: c}}",
            "has one of cert_file and key_file",
        ),
        (
            "{name: x, type: http, url: \"http://a\", pool: {idle_timeout: 30}}",
            "idle_timeout",
        ),
        (
            "{name: x, type: http, url: \"http://a\", max_response: 1TiB}",
            "max_response",
        ),
        (
            "{name: x, type: http, url: \"http://a\", adaptive: {min: 9, max: 3}}",
            "min above max",
        ),
        (
            "{name: x, type: http, url: \"http://a\", method: connect}",
            "is no method",
        ),
        ("{name: x, type: static}", "handlers[0].body: is missing"),
    ] {
        let told = problem(&format!("  - {entry}\n"));
        assert!(told.contains(expected), "{entry}: {told}");
    }
    let twice = problem("  - {name: x, type: echo}\n  - {name: x, type: echo}\n");
    assert!(twice.contains("has the name of an earlier one"), "{twice}");
}
