//! Protobuf, for messages made by `prost`.

use super::codec::{expect, undecodable};
use super::{Failure, FromRequest, IntoReply, Request};
use crate::message::Reply;

const PROTOBUF: &[&str] = &[
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
];

/// A body of Protobuf: an argument, or a result.
#[derive(Debug, Clone, Copy)]
pub struct Protobuf<T>(pub T);

impl<S, T: prost::Message + Default> FromRequest<S> for Protobuf<T> {
    type Rejection = Failure;

    fn from_request(request: &Request, _: &S) -> Result<Self, Failure> {
        expect(request, PROTOBUF)?;
        // Its errors name the message and the field.
        let value = T::decode(&request.body[..]).map_err(|error| undecodable(&error.into()))?;
        Ok(Protobuf(value))
    }
}

impl<T: prost::Message> IntoReply for Protobuf<T> {
    fn into_reply(self) -> Reply {
        Reply::new(self.0.encode_to_vec()).content_type(PROTOBUF[0])
    }
}
