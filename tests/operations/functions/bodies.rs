//! Bodies as values, in the formats there are and one that there is not.

use super::{client, server, text_of};
use mcpd::function::{Codec, CodecError, Json, MessagePack, Payload, Protobuf};
use mcpd_proto::ErrorCode;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Login {
    pub(super) user: String,
    age: u8,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ticket {
    #[prost(string, tag = "1")]
    user: String,
    #[prost(uint32, tag = "2")]
    seat: u32,
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
