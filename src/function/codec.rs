//! Bodies as values: JSON, MessagePack, Protobuf, and whatever users add.

use super::extract::FromRequest;
use super::reply::IntoReply;
use super::{Failure, Request};
use crate::message::Reply;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;

/// A format of bodies that [`Payload`] knows by its media types. [`Json`] and, by a cargo feature, `MessagePack` are there;
/// others are added with [`Builder::codec`](crate::Builder::codec).
///
/// ```
/// use bytes::Bytes;
/// use mcpd::function::{Codec, CodecError};
/// use serde::de::value::{Error, StrDeserializer};
///
/// /// `text/plain`, for values that are a single text.
/// #[derive(Debug)]
/// struct Plain;
///
/// impl Codec for Plain {
///     fn media_types(&self) -> &[&str] {
///         &["text/plain"]
///     }
///
///     fn decode(&self, body: &[u8], read: &mut mcpd::function::Read<'_>) -> Result<(), CodecError> {
///         let text = std::str::from_utf8(body)?;
///         let text: StrDeserializer<'_, Error> = StrDeserializer::new(text);
///         read(&mut <dyn erased_serde::Deserializer<'_>>::erase(text))
///     }
///
///     fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError> {
///         let value = serde_json::to_value(value)?;
///         let text = value.as_str().ok_or_else(|| CodecError::new("is no single text"))?;
///         Ok(Bytes::copy_from_slice(text.as_bytes()))
///     }
/// }
/// ```
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Its media types, without parameters; answers carry the first.
    fn media_types(&self) -> &[&str];

    /// Hands a deserializer of the body to `read`, then sees to it that nothing is left over.
    ///
    /// # Errors
    /// The body is not of this format, or `read` says so.
    fn decode(&self, body: &[u8], read: &mut Read<'_>) -> Result<(), CodecError>;

    /// Writes a value.
    ///
    /// # Errors
    /// The format has no place for such a value.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError>;
}

/// What a [`Codec`] hands its deserializer to.
pub type Read<'r> =
    dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), CodecError> + 'r;

/// What is wrong with a body, by the path of the field where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecError(String);

impl CodecError {
    /// With these words.
    pub fn new(text: impl Into<String>) -> CodecError {
        CodecError(text.into())
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Every error of a format is one; this one itself is none, which allows for that.
impl<E: std::error::Error> From<E> for CodecError {
    fn from(error: E) -> CodecError {
        CodecError(error.to_string())
    }
}

/// Reads a value, noting where in it one is when something does not fit.
pub(super) fn read_value<'de, T, D>(deserializer: D) -> Result<T, CodecError>
where
    T: DeserializeOwned,
    D: Deserializer<'de>,
{
    serde_path_to_error::deserialize(deserializer).map_err(|error| CodecError(error.to_string()))
}

/// Whether a media type, whatever its parameters, is one of these.
pub(super) fn is_one_of(media_type: &str, known: &[&str]) -> bool {
    let bare = media_type.split(';').next().unwrap_or_default().trim();
    known.iter().any(|one| one.eq_ignore_ascii_case(bare))
}

/// Refuses a body that says it is something else; one that says nothing is taken at its reader's word.
pub(super) fn expect(request: &Request, known: &[&str]) -> Result<(), Failure> {
    match request.meta().content_type() {
        Some(found) if !is_one_of(found, known) => Err(unsupported(found, known)),
        _ => Ok(()),
    }
}

fn unsupported(found: &str, known: &[&str]) -> Failure {
    let known = known.join(", ");
    let text = format!("CONTENT_TYPE: is {found:?}, but this topic takes {known}");
    Failure::rejected(text).status(415)
}

pub(super) fn undecodable(error: &CodecError) -> Failure {
    Failure::rejected(format!("the body cannot be read: {error}")).status(400)
}

/// What a function gave has no place in the format: its own fault.
pub(super) fn unencodable(error: &CodecError) -> Reply {
    tracing::error!(%error, "an answer cannot be written");
    Failure::failed("the answer cannot be written").into_reply()
}

/// JSON, by [`Json`] or [`Payload`].
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonCodec;

const JSON: &[&str] = &["application/json", "text/json"];

impl Codec for JsonCodec {
    fn media_types(&self) -> &[&str] {
        JSON
    }

    fn decode(&self, body: &[u8], read: &mut Read<'_>) -> Result<(), CodecError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))?;
        Ok(json.end()?)
    }

    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Bytes, CodecError> {
        Ok(serde_json::to_vec(value)?.into())
    }
}

/// A body of JSON: an argument, or a result.
///
/// A body of another CONTENT_TYPE is rejected with STATUS 415, one that does not fit with 400.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    fn from_request(request: &Request, _: &S) -> Result<Self, Failure> {
        expect(request, JSON)?;
        let mut json = serde_json::Deserializer::from_slice(&request.body);
        let value = read_value(&mut json).map_err(|error| undecodable(&error))?;
        json.end().map_err(|error| undecodable(&error.into()))?;
        Ok(Json(value))
    }
}

impl<T: Serialize> IntoReply for Json<T> {
    fn into_reply(self) -> Reply {
        match serde_json::to_vec(&self.0) {
            Ok(body) => Reply::new(body).content_type(JSON[0]),
            Err(error) => unencodable(&error.into()),
        }
    }
}

/// The formats that [`Payload`] knows, the first being that of bodies which do not say what they are.
#[derive(Debug, Clone)]
pub struct Codecs(Vec<Arc<dyn Codec>>);

impl Default for Codecs {
    fn default() -> Codecs {
        Codecs(vec![
            Arc::new(JsonCodec),
            #[cfg(feature = "messagepack")]
            Arc::new(super::MessagePackCodec),
        ])
    }
}

impl Codecs {
    /// Adds a format. Where media types are the same, the one that was added last counts.
    pub fn add(&mut self, codec: impl Codec) {
        self.0.push(Arc::new(codec));
    }

    fn find(&self, media_type: Option<&str>) -> Option<&Arc<dyn Codec>> {
        let Some(media_type) = media_type else {
            return self.0.first();
        };
        let knows = |codec: &&Arc<dyn Codec>| is_one_of(media_type, codec.media_types());
        self.0.iter().rev().find(knows)
    }

    fn media_types(&self) -> Vec<&str> {
        self.0
            .iter()
            .flat_map(|codec| codec.media_types())
            .copied()
            .collect()
    }
}

/// A body whose CONTENT_TYPE says how to read it. Its answer is written the same way.
///
/// ```
/// use mcpd::function::Payload;
///
/// async fn double(number: Payload<u64>) -> Payload<u64> {
///     let doubled = number.value * 2;
///     number.answer(doubled)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Payload<T> {
    /// What the body says.
    pub value: T,
    codec: Arc<dyn Codec>,
}

impl<T> Payload<T> {
    /// A value in the format of this one.
    pub fn answer<U>(&self, value: U) -> Payload<U> {
        let codec = Arc::clone(&self.codec);
        Payload { value, codec }
    }
}

impl<S, T: DeserializeOwned> FromRequest<S> for Payload<T> {
    type Rejection = Failure;

    fn from_request(request: &Request, _: &S) -> Result<Self, Failure> {
        let (codecs, said) = (&request.codecs, request.meta().content_type());
        let codec = codecs.find(said);
        let codec =
            codec.ok_or_else(|| unsupported(said.unwrap_or_default(), &codecs.media_types()))?;
        let mut value = None;
        let read = codec.decode(&request.body, &mut |deserializer| {
            value = Some(read_value(deserializer)?);
            Ok(())
        });
        read.map_err(|error| undecodable(&error))?;
        let value = value.ok_or_else(|| Failure::failed("the codec has read nothing"))?;
        let codec = Arc::clone(codec);
        Ok(Payload { value, codec })
    }
}

impl<T: Serialize> IntoReply for Payload<T> {
    fn into_reply(self) -> Reply {
        let media_type = self
            .codec
            .media_types()
            .first()
            .copied()
            .unwrap_or_default();
        match self.codec.encode(&self.value) {
            Ok(body) => Reply::new(body).content_type(media_type),
            Err(error) => unencodable(&error),
        }
    }
}
