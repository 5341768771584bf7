//! The example of the README, run as it stands there: three kinds of handlers, and one trace from the
//! client's id to the service behind them.

use super::jaeger::{Jaeger, tag};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// Where cargo puts the examples that it builds beside the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let deps = test.parent().expect("a directory");
    deps.with_file_name("examples").join(name)
}

/// What the example says of one request: what it got, and the id of its trace.
fn answers(output: &str, topic: &str) -> Vec<(String, String)> {
    let blocks = output
        .split("\n\n")
        .filter(|block| block.starts_with(topic));
    let answer = |block: &str| {
        let mut lines = block.lines().skip(1).map(str::trim);
        let got = lines.next().unwrap_or_default().to_owned();
        let trace = lines.next().and_then(|line| line.strip_prefix("trace "));
        (got, trace.expect("a trace").to_owned())
    };
    blocks.map(answer).collect()
}

#[test]
fn the_shop_answers_its_three_topics_and_its_traces_reach_the_orders_service() {
    let jaeger = Jaeger::start();
    let ran = Command::new(example("shop"))
        .arg("--once")
        .env("MCPD__DATA__LISTEN", "127.0.0.1:0")
        .env("MCPD__SIDECAR__LISTEN", "127.0.0.1:0")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", jaeger.grpc),
        )
        .output()
        .expect("the example runs");
    let output = String::from_utf8(ran.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{output}{complaints}");
    let logins = answers(&output, "user/login");
    assert!(logins[0].0.contains(r#""client":"till-7""#), "{output}");
    assert!(logins[1].0.starts_with("! HANDLER_ERROR 401"), "{output}");
    let orders = answers(&output, "order/update");
    assert!(orders[0].0.contains(r#""state":"paid""#), "{output}");
    assert!(
        orders[1].0.starts_with("! HANDLER_ERROR 422: state:"),
        "{output}"
    );
    assert!(
        answers(&output, "heartbeat")[0].0.contains("till-7"),
        "{output}"
    );

    let names = |trace: &Value| -> Vec<String> {
        let spans = trace["spans"].as_array().unwrap().iter();
        spans
            .map(|span| span["operationName"].as_str().unwrap().to_owned())
            .collect()
    };
    let login = jaeger.trace(&logins[0].1, 3);
    assert!(
        names(&login).contains(&"handle user.login".to_owned()),
        "{login:#}"
    );
    let order = jaeger.trace(&orders[0].1, 4);
    let spans = order["spans"].as_array().unwrap();
    let named = |name: &str| spans.iter().find(|span| span["operationName"] == name);
    let service = named("update order").unwrap_or_else(|| panic!("{:?}", names(&order)));
    let process = service["processID"].as_str().unwrap();
    assert_eq!(order["processes"][process]["serviceName"], "orders");
    assert_eq!(tag(service, "order.state"), "paid");
    // From the service up to the server's own span, every step is there.
    let mut span = service;
    while span["operationName"] != "process order.update" {
        let parent = &span["references"][0]["spanID"];
        let found = spans.iter().find(|span| span["spanID"] == *parent);
        span = found.unwrap_or_else(|| panic!("no parent of {span:#} in {:?}", names(&order)));
    }
}
