//! Single values and pairs of them.

use std::time::Duration;

use super::{env, lines, yaml};
use crate::config::*;

#[test]
fn one_bad_value_each_gets_its_own_advice() {
    let cases = [
        (
            "data: {threads: -1}",
            "is negative; write a positive number",
        ),
        (
            "data: {threads: 1.5}",
            "is a fraction; write a whole number, digits only",
        ),
        (
            "data: {threads: [1]}",
            "takes a single value; write it right after the key",
        ),
        (
            "data: {threads: {a: 1}}",
            "takes a single value; write it right after the key",
        ),
        (
            "data: 5",
            "is a section, not a value; write its keys below it, such as `listen: 127.0.0.1:8080`",
        ),
        (
            "drain: {delay: 10}",
            "has no unit; write 10s for seconds or 10ms for milliseconds",
        ),
        (
            "drain: {delay: 1.5}",
            "has no unit; write 1.5s for seconds or 1.5ms for milliseconds",
        ),
        (
            "drain: {delay: 10 parsecs}",
            "is not a duration; write numbers with units ms, s, m or h, such as 250ms, 30s or 1m30s",
        ),
        (
            "drain: {delay: true}",
            "is a boolean; write a duration such as `250ms` or `30s`",
        ),
        (
            "drain: {delay: 2h}",
            "is above the most allowed; write 0s to 1h",
        ),
        (
            "limits: {max_payload: 1XB}",
            "is not a size; write plain bytes or a unit, such as 65536, 64KiB or 1MiB",
        ),
        (
            "limits: {max_payload: -5}",
            "is negative; write a positive number",
        ),
        (
            "data: {listen: 127.0.0.1}",
            "has no port; write 127.0.0.1:8080",
        ),
        ("data: {listen: '::1'}", "has no port; write [::1]:8080"),
        (
            "data: {listen: '127.0.0.1:99999'}",
            "has no valid port; ports are 0 to 65535",
        ),
        (
            "data: {listen: 'localhost:x'}",
            "has no valid port; ports are 0 to 65535",
        ),
        (
            "data: {listen: 'example.com:80'}",
            "is not an address; write an IP address (or localhost) and a port, such as 127.0.0.1:8080 or [::]:8080",
        ),
        (
            "drain: {readiness: kepp}",
            "is unknown; did you mean `keep`? Write one of `keep`, `fail`",
        ),
        (
            "log: {format: xml}",
            "is unknown; write one of `auto`, `pretty`, `json`, `ecs`",
        ),
        (
            "log: {filter: ''}",
            "is empty; write `off` to log nothing, or `info`",
        ),
        ("server_id: 5", "is a number; write text, in quotes"),
        (
            "server_id: \"a\\nb\"",
            "has control characters; remove them",
        ),
        (
            "routes: {file: ''}",
            "is empty; name a file or leave the key out",
        ),
        (
            "drain: {grace: 5s}",
            "is an unknown key; did you mean `goaway.grace`?",
        ),
    ];
    for (text, advice) in cases {
        let lines = lines(yaml(text));
        assert_eq!(lines.len(), 1, "{text}: {lines:?}");
        assert!(lines[0].contains("(file mcpd.yaml line 1)"), "{}", lines[0]);
        assert!(lines[0].ends_with(&format!("): {advice}")), "{}", lines[0]);
    }
    let filter = &lines(yaml("log: {filter: 'mcpd=loud'}"))[0];
    assert!(filter.contains("is not a log filter"), "{filter}");
}

#[test]
fn values_may_be_written_in_more_than_one_way() {
    let config = yaml(
        "server_id: a\ndata: {listen: 'localhost:80', proxy_protocol: true, keepalive: 0s, \
         accepts_per_second: 0}\nlimits: {max_payload: 2097152, max_in_flight: '300'}\n\
         heartbeat: {interval: 1m30s}\nroutes.max_bytes: 1.5MiB\ndrain:\nlog:\n  format:\n",
    )
    .unwrap();
    assert_eq!(config.data.listen.to_string(), "127.0.0.1:80");
    assert_eq!(config.data.proxy_protocol, ProxyProtocol::Required);
    assert_eq!(config.data.keepalive, None);
    assert_eq!(config.data.accepts_per_second, None);
    assert_eq!(config.limits.max_payload, 2 << 20);
    assert_eq!(config.limits.max_in_flight, 300);
    assert_eq!(config.heartbeat.interval, Duration::from_secs(90));
    assert_eq!(config.routes.max_bytes, 3 << 19);
    assert_eq!(config.log.format, LogFormat::Auto, "no value means not set");
    for (word, expected) in [
        ("off", ProxyProtocol::Off),
        ("false", ProxyProtocol::Off),
        ("required", ProxyProtocol::Required),
    ] {
        let config = env(&[("MCPD__DATA__PROXY_PROTOCOL", word)]).unwrap();
        assert_eq!(config.data.proxy_protocol, expected);
    }
}

#[test]
fn addresses_that_would_collide_are_refused() {
    let collide = |data: &str, sidecar: &str| {
        let text = format!("data: {{listen: '{data}'}}\nsidecar: {{listen: '{sidecar}'}}\n");
        match yaml(&text) {
            Ok(_) => false,
            Err(errors) => {
                assert_eq!(errors.problems.len(), 1);
                assert_eq!(errors.problems[0].kind, ProblemKind::Contradiction);
                assert!(errors.to_string().contains("data.listen"), "{errors}");
                true
            }
        }
    };
    assert!(collide("127.0.0.1:9000", "127.0.0.1:9000"));
    assert!(collide("0.0.0.0:9000", "127.0.0.1:9000"));
    assert!(collide("127.0.0.1:9000", "[::]:9000"));
    assert!(!collide("127.0.0.1:9000", "127.0.0.1:9001"));
    assert!(!collide("127.0.0.1:9000", "127.0.0.2:9000"));
    assert!(!collide("0.0.0.0:9000", "[::1]:9000"));
    assert!(
        !collide("127.0.0.1:0", "127.0.0.1:0"),
        "port 0 is never the same twice"
    );
}

#[test]
fn buffers_smaller_than_a_frame_are_refused() {
    let lines = lines(yaml("limits: {max_payload: 16MiB}"));
    assert_eq!(
        lines,
        [
            "limits.max_in_flight_bytes = \"8MiB\" (default): is less than limits.max_payload = \
             16MiB (file mcpd.yaml line 1); raise this or lower that",
            "limits.max_outbound_bytes = \"4MiB\" (default): is less than limits.max_payload = \
             16MiB (file mcpd.yaml line 1); raise this or lower that",
        ]
    );
}

#[test]
fn one_mistake_is_one_problem() {
    // The default that stands in for the bad value is less than the interval.
    let lines = lines(yaml("heartbeat: {interval: 200s, max_interval: 5}"));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("heartbeat.max_interval = 5 "));
}
