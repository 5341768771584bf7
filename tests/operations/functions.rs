//! Rust functions behind a whole server in this process, asked by the client.

use mcpd::function::{
    Client, Codec, CodecError, Deadline, Failure, Function, Headers, IntoReply, Json, MessagePack,
    Params, Payload, Protobuf, Reply, Request, State, Topic, TraceContext,
};
use mcpd::{Builder, Route, Server};
use mcpd_client::{Error, ErrorClass};
use mcpd_proto::ErrorCode;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn server() -> Builder<()> {
    Server::builder().listen(ANYWHERE).sidecar(ANYWHERE)
}

async fn client(server: &Server) -> mcpd_client::Client {
    let client = mcpd_client::Client::builder(server.data().to_string()).client_id("c7");
    client.max_attempts(1).build().await.expect("a connection")
}

#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Login {
    user: String,
    age: u8,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ticket {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(uint32, tag = "2")]
    seat: u32,
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
        deadline: Deadline,
        trace: TraceContext,
        Json(login): Json<Login>,
    ) -> Json<serde_json::Value> {
        seen.fetch_add(1, Ordering::Relaxed);
        Json(serde_json::json!({
            "topic": topic, "params": params, "user": login.user, "client": sender.id.as_deref(),
            "tenant": headers.get("tenant").map(|value| String::from_utf8_lossy(value).into_owned()),
            "in_time": deadline.left() <= Duration::from_secs(2), "trace": trace.traceparent(),
        }))
    }
    let seen = Arc::new(AtomicUsize::new(0));
    let server = server()
        .with_state(Arc::clone(&seen))
        .route("order/+/update/#", update);
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
        "tenant": "acme", "in_time": true, "trace": trace,
    });
    assert_eq!(answer, expected);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    server.stop().await.unwrap();
}

async fn login(Json(login): Json<Login>) -> Json<Login> {
    Json(login)
}

async fn pack(MessagePack(login): MessagePack<Login>) -> MessagePack<Login> {
    MessagePack(login)
}

async fn seat(Protobuf(ticket): Protobuf<Ticket>) -> Protobuf<Ticket> {
    Protobuf(Ticket {
        seat: ticket.seat + 1,
        ..ticket
    })
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_rejected_with_the_name_of_the_field() {
    let server = server()
        .route("json", login)
        .route("pack", pack)
        .route("proto", seat);
    let server = server.start().await.unwrap();
    let client = client(&server).await;
    let packed = rmp_serde::to_vec_named(&serde_json::json!({"user": "ada", "age": 300})).unwrap();
    for (topic, media_type, body, status, told) in [
        (
            "json",
            "application/json",
            &br#"{"user":"ada","age":300}"#[..],
            400,
            "age: invalid value",
        ),
        (
            "json",
            "application/json",
            br#"{"user":"ada"}"#,
            400,
            "missing field `age`",
        ),
        (
            "json",
            "application/json",
            br#"{"user":"ada","age":3} x"#,
            400,
            "trailing",
        ),
        ("json", "", b"\xff", 400, "the body cannot be read"),
        (
            "json",
            "text/plain",
            b"{}",
            415,
            "this topic takes application/json",
        ),
        (
            "pack",
            "application/msgpack",
            &packed,
            400,
            "age: invalid value",
        ),
        (
            "pack",
            "application/json",
            b"{}",
            415,
            "application/msgpack",
        ),
        (
            "proto",
            "application/x-protobuf",
            b"\x0a\x05ab",
            400,
            "Ticket.user",
        ),
    ] {
        let request = client.request(topic).body(body.to_vec());
        let request = if media_type.is_empty() {
            request
        } else {
            request.content_type(media_type)
        };
        let error = request.send().await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(ErrorCode::HANDLER_ERROR),
            "{topic} {told}: {error}"
        );
        assert_eq!(error.status(), Some(status), "{topic} {told}");
        assert!(
            text_of(&error).contains(told),
            "{told}: {}",
            text_of(&error)
        );
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn each_format_answers_in_kind_and_payloads_by_what_they_say() {
    /// Numbers in the words of a format that only this test knows.
    #[derive(Debug)]
    struct Roman;
    impl Codec for Roman {
        fn media_types(&self) -> &[&str] {
            &["text/x-roman"]
        }
        fn decode(
            &self,
            body: &[u8],
            read: &mut mcpd::function::Read<'_>,
        ) -> Result<(), CodecError> {
            let count = u64::try_from(body.len())?;
            let count = serde::de::value::U64Deserializer::<serde::de::value::Error>::new(count);
            read(&mut <dyn erased_serde::Deserializer<'_>>::erase(count))
        }
        fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<bytes::Bytes, CodecError> {
            let value = serde_json::to_value(value)?.as_u64().unwrap_or_default();
            Ok("I".repeat(usize::try_from(value)?).into())
        }
    }
    async fn twice(number: Payload<u64>) -> Payload<u64> {
        let doubled = number.value * 2;
        number.answer(doubled)
    }
    let server = server()
        .codec(Roman)
        .route("twice", twice)
        .route("proto", seat);
    let server = server.start().await.unwrap();
    let client = client(&server).await;
    for (media_type, body, expected) in [
        ("application/json; charset=utf-8", &b"4"[..], &b"8"[..]),
        ("Application/MsgPack", b"\x04", b"\x08"),
        ("text/x-roman", b"II", b"IIII"),
    ] {
        let request = client
            .request("twice")
            .content_type(media_type)
            .body(body.to_vec());
        let answer = request.send().await.unwrap();
        assert_eq!(&answer.body()[..], expected, "{media_type}");
        let bare = media_type.split(';').next().unwrap().to_lowercase();
        assert_eq!(answer.content_type(), Some(bare.as_str()));
    }
    let error = client
        .request("twice")
        .content_type("text/html")
        .body("4")
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(415));
    assert!(
        text_of(&error).contains("text/x-roman"),
        "{}",
        text_of(&error)
    );
    let ticket = Ticket {
        user: "ada".to_owned(),
        seat: 6,
    };
    let answer = client
        .request("proto")
        .body(prost::Message::encode_to_vec(&ticket))
        .send()
        .await
        .unwrap();
    let answered: Ticket = prost::Message::decode(answer.body().clone()).unwrap();
    assert_eq!(answered.seat, 7);
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
    async fn panics() {
        panic!("on purpose");
    }
    let server = server()
        .route("full", full)
        .route("rejected", rejected)
        .route("broken", broken)
        .route("busy", busy)
        .route("panics", panics)
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
    for topic in ["broken", "panics"] {
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

/// Refuses requests without a HEADER, and counts those it has seen.
#[derive(Clone)]
struct Guarded<T>(T, Arc<AtomicUsize>);

#[derive(Clone)]
struct Guard(Arc<AtomicUsize>);

impl<T> tower_layer::Layer<T> for Guard {
    type Service = Guarded<T>;
    fn layer(&self, inner: T) -> Guarded<T> {
        Guarded(inner, Arc::clone(&self.0))
    }
}

impl<T> tower_service::Service<Request> for Guarded<T>
where
    T: tower_service::Service<Request, Response = Reply, Error = Infallible>,
    T::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.1.fetch_add(1, Ordering::Relaxed);
        if request.header("key").is_none() {
            let refusal = Failure::rejected("key: is missing").status(401);
            return Box::pin(ready(Ok(refusal.into_reply())));
        }
        Box::pin(self.0.call(request))
    }
}

#[tokio::test]
async fn layers_are_around_one_function_or_all_and_keep_what_they_keep() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let go_on = Arc::new(Semaphore::new(0));
    let slow = {
        let (running, most, go_on) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go_on));
        move || {
            let (running, most, go_on) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go_on));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                go_on.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let guard = Guard(Arc::clone(&seen));
    let server = server()
        .layer(guard)
        .route(
            "slow",
            slow.layer(tower::limit::ConcurrencyLimitLayer::new(2)),
        )
        .route("quick", || async { "there" });
    let server = server.start().await.unwrap();
    let client = client(&server).await;
    let error = client.request("quick").send().await.unwrap_err();
    assert_eq!(
        (error.status(), text_of(&error).as_str()),
        (Some(401), "key: is missing")
    );
    let calls = (0..6).map(|_| client.request("slow").header("key", "1").send());
    let calls: Vec<_> = calls.map(tokio::spawn).collect();
    while running.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    go_on.add_permits(6);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(seen.load(Ordering::Relaxed), 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_function_is_dropped_when_its_client_gives_up() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hang = {
        let (began, dropped) = (Arc::clone(&began), Arc::clone(&dropped));
        move || {
            let (began, dropped) = (Arc::clone(&began), Dropped(Arc::clone(&dropped)));
            async move {
                let _dropped = dropped;
                began.notify_one();
                std::future::pending::<()>().await;
            }
        }
    };
    let server = server().route("hang", hang).start().await.unwrap();
    let client = client(&server).await;
    let call = tokio::spawn(client.request("hang").send());
    began.notified().await;
    call.abort();
    dropped.notified().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn several_servers_live_in_one_process_and_a_wrong_one_says_why() {
    let one = server()
        .route("who", || async { "one" })
        .start()
        .await
        .unwrap();
    let two = server()
        .route("who", || async { "two" })
        .start()
        .await
        .unwrap();
    for (server, name) in [(&one, "one"), (&two, "two")] {
        let answer = client(server).await.request("who").send().await.unwrap();
        assert_eq!(&answer.body()[..], name.as_bytes());
    }
    let taken = Server::builder().listen(one.data()).sidecar(ANYWHERE);
    let error = taken.start().await.unwrap_err().to_string();
    assert!(error.contains(&one.data().to_string()), "{error}");
    let wrong = server()
        .route("a/#/b", || async {})
        .route(Route::new("x").name("No"), || async {});
    let error = wrong.start().await.unwrap_err().to_string();
    assert!(
        error.contains("a/#/b") && error.contains("\"No\""),
        "{error}"
    );
    let twice = server().route("x", || async {}).route("x", || async {});
    assert!(
        twice
            .start()
            .await
            .unwrap_err()
            .to_string()
            .contains("routes[1]")
    );
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_connected_when_it_stops_gets_its_answer() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
        move || {
            let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
            async move {
                began.notify_one();
                go_on.notified().await;
                "done"
            }
        }
    };
    let server = server().route("slow", slow).start().await.unwrap();
    let data = server.data();
    let connection = mcpd_client::Connection::connect(data.to_string(), Default::default());
    let connection = connection.await.unwrap();
    let call = tokio::spawn(connection.request("slow").send());
    began.notified().await;
    let stopping = tokio::spawn(server.stop());
    let mut state = connection.watch();
    state
        .wait_for(|state| !matches!(state, mcpd_client::State::Open))
        .await
        .unwrap();
    go_on.notify_one();
    assert_eq!(&call.await.unwrap().unwrap().body()[..], b"done");
    stopping.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(data).await.is_err());
}
