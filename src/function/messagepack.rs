//! MessagePack.

use super::codec::{Codec, CodecError, Read, expect, read_value, undecodable, unencodable};
use super::{Failure, FromRequest, IntoReply, Request};
use crate::message::Reply;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const MESSAGEPACK: &[&str] = &[
    "application/msgpack",
    "application/vnd.msgpack",
    "application/x-msgpack",
];

/// MessagePack, by [`MessagePack`] or [`Payload`](super::Payload). Structures are written with the names of their fields.
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePackCodec;

/// What is left over is an error, as for JSON.
fn at_end(left: &[u8]) -> Result<(), CodecError> {
    match left.len() {
        0 => Ok(()),
        left => Err(CodecError::new(format!("{left} bytes are left over"))),
    }
}

impl Codec for MessagePackCodec {
    fn media_types(&self) -> &[&str] {
        MESSAGEPACK
    }

    fn decode(&self, body: &[u8], read: &mut Read<'_>) -> Result<(), CodecError> {
        let mut packed = rmp_serde::Deserializer::new(body);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(
            &mut packed,
        ))?;
        at_end(packed.get_ref())
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError> {
        Ok(rmp_serde::to_vec_named(value)?.into())
    }
}

/// A body of MessagePack: an argument, or a result.
#[derive(Debug, Clone, Copy)]
pub struct MessagePack<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for MessagePack<T> {
    type Rejection = Failure;

    fn from_request(request: &Request, _: &S) -> Result<Self, Failure> {
        expect(request, MESSAGEPACK)?;
        let mut packed = rmp_serde::Deserializer::new(&request.body[..]);
        let value = read_value(&mut packed).map_err(|error| undecodable(&error))?;
        at_end(packed.get_ref()).map_err(|error| undecodable(&error))?;
        Ok(MessagePack(value))
    }
}

impl<T: Serialize> IntoReply for MessagePack<T> {
    fn into_reply(self) -> Reply {
        match rmp_serde::to_vec_named(&self.0) {
            Ok(body) => Reply::new(body).content_type(MESSAGEPACK[0]),
            Err(error) => unencodable(&error.into()),
        }
    }
}
