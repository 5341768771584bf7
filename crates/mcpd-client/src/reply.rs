//! Answers, owned.

use bytes::Bytes;
use mcpd_proto::{Meta, Qos, Response, Trace};

/// The payload of an answer: its metadata and body in one piece of memory.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The entries, without the block's length field.
    block: Bytes,
    body: Bytes,
}

impl Reply {
    /// Copies what is kept of a payload: one allocation, and none for an empty answer.
    pub(crate) fn copy(payload: &[u8], meta: &Meta<'_>, body: &[u8]) -> Reply {
        if meta.is_empty() {
            return Reply {
                block: Bytes::new(),
                body: Bytes::copy_from_slice(body),
            };
        }
        let bytes = Bytes::copy_from_slice(payload);
        // A payload is the block's length, the block, what belongs to the type, the body.
        Reply {
            block: bytes.slice(2..meta.encoded_len()),
            body: bytes.slice(payload.len() - body.len()..),
        }
    }

    pub(crate) fn meta(&self) -> Meta<'_> {
        // It was checked when the frame was decoded, so it does parse.
        Meta::parse(&self.block).unwrap_or_default()
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("meta", &self.meta())
            .field("body_len", &self.body.len())
            .finish()
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    reply: Reply,
    priority: u8,
    granted: Option<Qos>,
}

impl Answer {
    pub(crate) fn new(response: &Response<'_>, payload: &[u8], granted: Option<Qos>) -> Answer {
        Answer {
            reply: Reply::copy(payload, &response.meta, response.body),
            priority: response.priority,
            granted,
        }
    }

    /// What the handler says.
    pub fn body(&self) -> &Bytes {
        self.reply.body()
    }

    /// The body alone.
    pub fn into_body(self) -> Bytes {
        self.reply.body
    }

    /// Reads the body as JSON, whatever its media type says.
    ///
    /// # Errors
    /// The body is not JSON of this shape.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(self.body())
    }

    /// The priority, 0–7: the request's.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// The delivery the server granted by ACK; `None` when there was none, as for QoS 0.
    pub fn granted(&self) -> Option<Qos> {
        self.granted
    }

    /// Media type of the body, if the server named one.
    pub fn content_type(&self) -> Option<&str> {
        self.meta().content_type()
    }

    /// Headers, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.meta().headers()
    }

    /// The first header of that key.
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        let mut headers = self.meta().headers();
        headers
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    }

    /// The server's span, exactly when the request carried a trace.
    pub fn trace(&self) -> Option<Trace> {
        self.meta().trace()
    }

    /// Revision of the table of routes that led the request, where the server is set to tell.
    pub fn route_revision(&self) -> Option<u64> {
        self.meta().route_revision()
    }

    /// All metadata. It is walked anew by each call; keep it for several look-ups.
    pub fn meta(&self) -> Meta<'_> {
        self.reply.meta()
    }
}
