//! Rust functions behind a whole server in this process, asked by the client.

mod bodies;
mod serving;

use bodies::Login;
use mcpd::function::{
    Client, Deadline, Failure, Headers, Json, Params, Reply, State, Topic, TraceContext,
};
use mcpd::{Builder, Server};
use mcpd_client::{Error, ErrorClass};
use mcpd_proto::ErrorCode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn server() -> Builder<()> {
    Server::builder().listen(ANYWHERE).sidecar(ANYWHERE)
}

async fn client(server: &Server) -> mcpd_client::Client {
    let client = mcpd_client::Client::builder(server.data().to_string()).client_id("c7");
    client.max_attempts(1).build().await.expect("a connection")
}

fn text_of(error: &Error) -> String {
    String::from_utf8_lossy(error.body().map_or(&[], |body| &body[..])).into_owned()
}

#[tokio::test]
async fn arguments_come_from_the_request_and_the_state() {
    async fn update(
        Topic(topic): Topic,
        Params(params): Params,
        State(seen): State<Arc<AtomicUsize>>,
        headers: Headers,
        sender: Client,
        trace: TraceContext,
        Json(login): Json<Login>,
    ) -> Json<serde_json::Value> {
        seen.fetch_add(1, Ordering::Relaxed);
        Json(serde_json::json!({
            "topic": topic, "params": params, "user": login.user, "client": sender.id.as_deref(),
            "tenant": headers.get("tenant").map(|value| String::from_utf8_lossy(value).into_owned()),
            "trace": trace.traceparent(),
        }))
    }
    async fn patience(deadline: Deadline) -> Json<bool> {
        Json(deadline.left() <= Duration::from_secs(2))
    }
    let seen = Arc::new(AtomicUsize::new(0));
    let server = server()
        .with_state(Arc::clone(&seen))
        .route("order/+/update/#", update)
        .route("patience", patience);
    let server = server.start().await.unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = client(&server).await;
    let request = request
        .request("order/7/update/a/b")
        .timeout(Duration::from_secs(2));
    let request = request
        .header("tenant", "acme")
        .trace(trace.parse().unwrap());
    let answer = request
        .body(r#"{"user":"ada","age":36}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.content_type(), Some("application/json"));
    let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
    let expected = serde_json::json!({
        "topic": "order/7/update/a/b", "params": ["7", "a/b"], "user": "ada", "client": "c7",
        "tenant": "acme", "trace": trace,
    });
    assert_eq!(answer, expected);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let request = client(&server).await.request("patience");
    let answer = request.timeout(Duration::from_secs(2)).send().await;
    assert_eq!(&answer.unwrap().body()[..], b"true");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn results_become_answers_whose_codes_say_what_is_true() {
    async fn full() -> Reply {
        Reply::new("x")
            .content_type("text/plain")
            .header("left", "3")
    }
    async fn rejected() -> Result<(), Failure> {
        Err(Failure::rejected_with("application/json", r#"{"why":"no"}"#).status(409))
    }
    async fn broken() -> Result<(), Failure> {
        "x".parse::<u32>()?;
        Ok(())
    }
    async fn busy() -> Failure {
        Failure::refused("come back", Duration::from_secs(3))
    }
    async fn strange() -> Reply {
        Reply {
            code: Some(ErrorCode::CLOSING),
            body: b"\xff".as_slice().into(),
            ..Reply::default()
        }
    }
    async fn panics() {
        panic!("on purpose");
    }
    let server = server()
        .route("full", full)
        .route("rejected", rejected)
        .route("broken", broken)
        .route("busy", busy)
        .route("panics", panics)
        .route("strange", strange)
        .route("nothing", || async {});
    let server = server.start().await.unwrap();
    let client = client(&server).await;
    let answer = client.request("full").send().await.unwrap();
    assert_eq!(
        (&answer.body()[..], answer.content_type()),
        (&b"x"[..], Some("text/plain"))
    );
    assert_eq!(answer.header("left"), Some(&b"3"[..]));
    assert!(
        client
            .request("nothing")
            .send()
            .await
            .unwrap()
            .body()
            .is_empty()
    );

    let error = client.request("rejected").send().await.unwrap_err();
    assert_eq!(
        (error.code(), error.status()),
        (Some(ErrorCode::HANDLER_ERROR), Some(409))
    );
    assert_eq!(
        (error.class(), text_of(&error).as_str()),
        (ErrorClass::Executed, r#"{"why":"no"}"#)
    );
    for topic in ["broken", "panics", "strange"] {
        let error = client.request(topic).send().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::INTERNAL), "{topic}");
        // What is inside is no business of a stranger.
        assert!(!error.to_string().contains("invalid digit"), "{error}");
    }
    let error = client.request("busy").send().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OVERLOADED));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    // A panic was the end of its own request alone.
    assert!(client.request("full").send().await.is_ok());
    server.stop().await.unwrap();
}
