//! What becomes of a call on its way to a service, and of a response on its way back.

use crate::front::{Front, code};
use crate::service::{Seen, Service};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mcpd_client::{ErrorCode, Trace};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_becomes_a_request_and_a_response_an_answer() {
    let service = Service::new(|seen: Seen| {
        let headers = [
            ("content-type", "application/json"),
            ("etag", "\"7\""),
            ("x-many", "one"),
            ("set-cookie", "secret=1"),
            ("server", "orders"),
        ];
        (StatusCode::CREATED, headers, seen.body)
    })
    .await;
    let url = service.url("/v1/{1}/{2..}?all={topic}");
    let more =
        "headers: [{name: x-tenant, value: shop}, {name: authorization, value: Bearer s3cret}]";
    let front = Front::new(&format!("url: \"{url}\", {more}")).await;
    let mut request = front.request("orders/eu?/7").body("{}").priority(5);
    request = request
        .content_type("application/json")
        .header("x-user", "ada");
    for (key, value) in [
        ("host", "elsewhere"),
        ("authorization", "Bearer mine"),
        ("cookie", "a=b"),
        ("transfer-encoding", "chunked"),
        ("content-length", "9000"),
        ("traceparent", "00-00"),
        ("idempotency-key", "mine"),
        ("mcp-principal", "root"),
        ("mcp_topic", "other"),
        ("x_tenant", "other"),
        ("x-forwarded-for", "10.0.0.1"),
    ] {
        request = request.header(key, value);
    }
    let trace = Trace {
        trace_id: [7; 16],
        span_id: [9; 8],
        flags: 0,
    };
    let request = request.trace(trace).message_id([b'a'; 16]);
    let answer = request
        .timeout(Duration::from_secs(9))
        .send()
        .await
        .unwrap();

    let seen = service.last();
    assert_eq!(seen.head.method, "POST");
    assert_eq!(seen.path(), "/v1/orders/eu%3F/7?all=orders/eu%3F/7");
    assert_eq!(seen.text(), "{}");
    let host = service.addr.to_string();
    for (name, value) in [
        ("host", Some(host.as_str())),
        ("content-length", Some("2")),
        ("content-type", Some("application/json")),
        ("x-user", Some("ada")),
        ("x-tenant", Some("shop")),
        ("authorization", Some("Bearer s3cret")),
        ("cookie", None),
        ("transfer-encoding", None),
        ("mcp-principal", None),
        ("mcp_topic", None),
        ("x_tenant", None),
        ("x-forwarded-for", None),
        ("mcp-topic", Some("orders/eu%3F/7")),
        ("mcp-client-id", Some("till-7")),
        ("mcp-priority", Some("5")),
        (
            "traceparent",
            Some("00-07070707070707070707070707070707-0909090909090909-00"),
        ),
        // printf '\0\0\0\0\0\0\0\6till-7\0\0\0\x10aaaaaaaaaaaaaaaa' | sha256sum
        ("idempotency-key", Some("4bc8c0ddc3a6ed1c9c0aee4aeb1b1c8b")),
    ] {
        if name == "idempotency-key" {
            let key = seen.header(name).unwrap();
            assert!(key.len() == 32 && key != "mine", "{key}");
            continue;
        }
        assert_eq!(seen.header(name), value, "{name}");
    }
    let left: u64 = seen.header("mcp-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=9000).contains(&left), "{left}");

    assert_eq!(answer.body(), "{}");
    assert_eq!(answer.content_type(), Some("application/json"));
    assert_eq!(answer.header("etag"), Some(&b"\"7\""[..]));
    assert_eq!(answer.header("x-many"), Some(&b"one"[..]));
    for name in ["set-cookie", "server", "content-length", "date"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_status_becomes_what_it_means() {
    let service = Service::new(|seen: Seen| {
        let status: u16 = seen.path().trim_start_matches('/').parse().unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let headers = [("content-type", "text/plain"), ("retry-after", "1")];
        (status, headers, "told")
    })
    .await;
    let care = "retry: {attempts: 1}, breaker: {consecutive: 0, percent: 0}";
    for refuses in [false, true] {
        let url = service.url("/{1}");
        let entry = format!("url: \"{url}\", refuses_before_running: {refuses}, {care}");
        let front = Front::new(&entry).await;
        assert_eq!(front.ask("200", "").await.body(), "told");
        assert_eq!(front.ask("204", "").await.body(), "");
        for status in [400, 404, 409, 422, 500, 501, 303] {
            let error = front.refused(&status.to_string()).await;
            assert_eq!(code(&error), ErrorCode::HANDLER_ERROR, "{status}");
            assert_eq!(error.status(), Some(status));
            assert_eq!(error.body().unwrap(), "told");
            assert_eq!(error.content_type(), Some("text/plain"));
        }
        for status in ["502", "504"] {
            assert_eq!(code(&front.refused(status).await), ErrorCode::UPSTREAM_LOST);
        }
        for status in ["429", "503"] {
            let error = front.refused(status).await;
            match refuses {
                true => {
                    assert_eq!(code(&error), ErrorCode::OVERLOADED);
                    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
                }
                false => assert_eq!(code(&error), ErrorCode::HANDLER_ERROR),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_long_is_not_passed_on_but_it_was_executed() {
    let service = Service::new(|seen: Seen| {
        let size = seen.text().parse().unwrap();
        match seen.path() {
            "/fails" => (StatusCode::BAD_REQUEST, vec![b'x'; size]).into_response(),
            // Of no length that is told beforehand.
            _ => {
                let parts = (0..size / 100).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100]));
                let stream = futures_of(parts);
                axum::body::Body::new(stream).into_response()
            }
        }
    })
    .await;
    let url = service.url("/{1}");
    let front = Front::new(&format!("url: \"{url}\", max_response: 1KiB")).await;
    let send =
        async |topic: &str, size: &str| front.request(topic).body(size.to_owned()).send().await;
    assert_eq!(send("works", "1000").await.unwrap().body().len(), 1000);
    let error = send("works", "1100").await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::RESULT_TOO_LARGE);
    let error = send("works", "1000000").await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::RESULT_TOO_LARGE);
    let error = send("fails", "2000").await.unwrap_err();
    assert_eq!(
        (code(&error), error.status()),
        (ErrorCode::HANDLER_ERROR, Some(400))
    );
    assert_eq!(send("works", "100").await.unwrap().body().len(), 100);
}

/// A body of parts.
fn futures_of<I>(parts: I) -> Parts<I> {
    Parts(parts)
}

struct Parts<I>(I);

impl<I> hyper::body::Body for Parts<I>
where
    I: Iterator<Item = std::io::Result<Vec<u8>>> + Unpin,
{
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let next = self.0.next();
        let frame = next.map(|part| part.map(|part| hyper::body::Frame::data(part.into())));
        std::task::Poll::Ready(frame)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_no_url_can_be_made_of_is_refused() {
    let service = Service::new(|_: Seen| "").await;
    let url = service.url("/v1/{1}/{2}");
    let front = Front::new(&format!("url: \"{url}\"")).await;
    for topic in ["only", "a/..", "./a", "a//b", "a/"] {
        let error = front.refused(topic).await;
        assert_eq!(code(&error), ErrorCode::INVALID_REQUEST, "{topic}");
    }
    assert_eq!(service.count(), 0);
}
