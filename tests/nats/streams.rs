//! Messages that JetStream keeps.

use crate::front::{Front, code};
use crate::server::{self, NatsServer};
use mcpd::handler::NatsMode;
use mcpd_client::ErrorCode;

async fn create_stream(client: &async_nats::Client, config: &str) {
    let name = "ORDERS";
    let subject = format!("$JS.API.STREAM.CREATE.{name}");
    let config = format!("{{\"name\":\"{name}\",\"subjects\":[\"orders.>\"],{config}}}");
    let created = client.request(subject, config.into()).await.unwrap();
    let text = String::from_utf8(created.payload.to_vec()).unwrap();
    assert!(!text.contains("error"), "{text}");
}

#[test]
fn a_stream_says_where_it_keeps_a_message_and_keeps_it_once() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "orders.{2}", |settings| {
        settings.mode = NatsMode::JetStream
    });
    front.run(async {
        let nowhere = front.request("order/eu").send().await;
        assert_eq!(code(nowhere), ErrorCode::UPSTREAM_UNAVAILABLE);

        let client = server::client(&nats).await;
        create_stream(&client, "\"storage\":\"memory\"").await;
        for (id, seq, duplicate) in [(1, 1, false), (2, 2, false), (1, 1, true)] {
            let answer = front
                .request("order/eu")
                .message_id([id; 16])
                .send()
                .await
                .unwrap();
            let said: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            let expected =
                serde_json::json!({"stream": "ORDERS", "seq": seq, "duplicate": duplicate});
            assert_eq!(said, expected);
            assert_eq!(answer.content_type(), Some("application/json"));
        }
    });
}

#[test]
fn somebody_who_is_no_stream_may_have_taken_it() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "orders.{2}", |settings| {
        settings.mode = NatsMode::JetStream
    });
    front.run(async {
        let service = server::client(&nats).await;
        let mut orders = server::subscribe(&service, "orders.>").await;
        for reply in ["thanks", "{}", "{\"stream\":7}"] {
            let asking = tokio::spawn(front.request("order/eu").send());
            let message = server::next(&mut orders).await;
            let to = message.reply.unwrap();
            service.publish(to, reply.into()).await.unwrap();
            assert_eq!(code(asking.await.unwrap()), ErrorCode::UPSTREAM_LOST);
        }
    });
}

#[test]
fn what_a_stream_does_not_take_is_a_handler_error() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "orders.{2}", |settings| {
        settings.mode = NatsMode::JetStream
    });
    front.run(async {
        let client = server::client(&nats).await;
        create_stream(&client, "\"max_msgs\":1,\"discard\":\"new\"").await;
        front.request("order/eu").send().await.unwrap();
        let error = front.request("order/eu").send().await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::HANDLER_ERROR));
        assert_eq!(error.status(), Some(503));
        let body = String::from_utf8(error.body().unwrap().to_vec()).unwrap();
        assert!(body.contains("maximum messages exceeded"), "{body}");
    });
}
