//! What becomes of a request, and of a reply.

use crate::front::{Front, code};
use crate::server::{self, NatsServer};
use async_nats::HeaderMap;
use mcpd::handler::NatsMode;
use mcpd_client::{ErrorCode, Trace};
use std::collections::BTreeMap;

/// The headers of a message.
fn headers(map: &HeaderMap) -> BTreeMap<String, Vec<String>> {
    let headers = map.iter().map(|(key, values)| {
        let values = values.iter().map(ToString::to_string);
        (key.to_string(), values.collect())
    });
    headers.collect()
}

#[test]
fn a_request_goes_along_with_all_that_belongs_to_it_and_a_reply_comes_back_with_its_own() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "orders.{2}", |_| {});
    front.run(async {
        let service = server::client(&nats).await;
        let mut orders = server::subscribe(&service, "orders.eu").await;
        let trace: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            .parse()
            .unwrap();
        let asking = front
            .request("order/eu/7")
            .body("buy")
            .content_type("text/x")
            .trace(trace);
        let asking = asking
            .header("tenant", "acme")
            .header("tenant", "b")
            .header("nats-rollup", "all");
        let asking = asking
            .header("host", "evil")
            .header("mcp-priority", "7")
            .message_id([7; 16]);
        let asking = tokio::spawn(asking.send());

        let message = server::next(&mut orders).await;
        assert_eq!(
            (message.subject.as_str(), &message.payload[..]),
            ("orders.eu", &b"buy"[..])
        );
        let mut seen = headers(&message.headers.unwrap());
        let id = seen.remove("Nats-Msg-Id").expect("a message id");
        // printf '\0\0\0\0\0\0\0\6till-7\0\0\0\x10\7\7…' | sha256sum
        assert_eq!(id, [hashed("till-7", [7; 16])]);
        let left: u64 = seen.remove("mcp-timeout-ms").unwrap()[0].parse().unwrap();
        assert!(left <= crate::PATIENCE.as_millis() as u64, "{left}");
        let one = |text: &str| vec![text.to_owned()];
        let expected = [
            ("Content-Type", vec!["text/x".to_owned()]),
            ("tenant", vec!["acme".to_owned(), "b".to_owned()]),
            ("traceparent", vec![trace.to_string()]),
            ("mcp-topic", one("order/eu/7")),
            ("mcp-priority", one("0")),
            ("mcp-client-id", one("till-7")),
        ];
        let expected = expected.map(|(key, values)| (key.to_owned(), values));
        assert_eq!(seen, BTreeMap::from(expected));

        let mut back = HeaderMap::new();
        back.insert("Content-Type", "application/json");
        back.insert("X-Stock", "3");
        back.append("X-Stock", "4");
        back.insert("Set(Cookie)", "no key of ours");
        back.insert("traceparent", "00-not-ours");
        let reply = message.reply.unwrap();
        service
            .publish_with_headers(reply, back, "{}".into())
            .await
            .unwrap();
        let answer = asking.await.unwrap().unwrap();
        assert_eq!(
            (answer.body(), answer.content_type()),
            (&"{}".into(), Some("application/json"))
        );
        let headers: Vec<_> = answer.headers().collect();
        assert_eq!(headers, [("x-stock", &b"3"[..]), ("x-stock", &b"4"[..])]);
        assert_eq!(answer.trace().unwrap().trace_id, trace.trace_id);
    });
}

fn hashed(client: &str, id: [u8; 16]) -> String {
    use sha2::Digest;
    let mut text = vec![0; 4];
    for part in [client.as_bytes(), &id] {
        text.extend_from_slice(&(part.len() as u32).to_be_bytes());
        text.extend_from_slice(part);
    }
    let hash: [u8; 32] = sha2::Sha256::digest(&text).into();
    hash[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_service_that_says_no_is_a_handler_error_with_its_status() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    front.run(async {
        let service = server::client(&nats).await;
        let mut asked = server::subscribe(&service, "x.>").await;
        for (payload, body) in [("{\"why\":1}", "{\"why\":1}"), ("", "no stock")] {
            let asking = tokio::spawn(front.request("stock").send());
            let message = server::next(&mut asked).await;
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error", "no stock");
            headers.insert("Nats-Service-Error-Code", "409");
            let reply = message.reply.unwrap();
            service
                .publish_with_headers(reply, headers, payload.into())
                .await
                .unwrap();
            let error = asking.await.unwrap().unwrap_err();
            assert_eq!(error.code(), Some(ErrorCode::HANDLER_ERROR));
            assert_eq!(error.status(), Some(409));
            assert_eq!(error.body().unwrap(), body);
        }
    });
}

#[test]
fn no_topic_names_more_than_its_own_subject() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "orders.{2}", |settings| {
        settings.mode = NatsMode::Publish
    });
    front.run(async {
        let listener = server::client(&nats).await;
        let mut all = server::subscribe(&listener, ">").await;
        for (topic, subject) in [
            ("o/*", "orders.%2A"),
            ("o/>", "orders.%3E"),
            ("o/a.b", "orders.a%2Eb"),
            ("o/", "orders.%00"),
            ("o/x$JS.API.INFO", "orders.x%24JS%2EAPI%2EINFO"),
            ("o/a b", "orders.a%20b"),
        ] {
            front.request(topic).send().await.unwrap();
            let mut message = server::next(&mut all).await;
            // The server's echo that the handler waits for.
            while message.subject.starts_with("_INBOX.") {
                message = server::next(&mut all).await;
            }
            assert_eq!(message.subject.as_str(), subject);
        }
        assert_eq!(
            code(front.request("short").send().await),
            ErrorCode::INVALID_REQUEST
        );
        let not_text = front.request("o/x").header("key", [0xff]).send().await;
        assert_eq!(code(not_text), ErrorCode::INVALID_REQUEST);
    });
}

#[test]
fn what_is_published_has_reached_the_server_when_it_is_answered() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "news", |settings| settings.mode = NatsMode::Publish);
    front.run(async {
        let listener = server::client(&nats).await;
        let mut news = server::subscribe(&listener, "news").await;
        for n in 0..100 {
            let answer = front.request("t").body(n.to_string()).send().await.unwrap();
            assert!(answer.body().is_empty());
        }
        for n in 0..100 {
            assert_eq!(server::next(&mut news).await.payload, n.to_string());
        }
    });
}
