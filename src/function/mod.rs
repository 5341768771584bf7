//! Rust functions as handlers: `async fn`s whose arguments are taken out of the request and whose
//! result becomes the answer.
//!
//! ```
//! use mcpd::function::{Failure, Json, Params, State};
//! use serde::{Deserialize, Serialize};
//! use std::collections::HashMap;
//! use std::sync::Arc;
//!
//! type Stock = Arc<HashMap<String, u32>>;
//!
//! #[derive(Deserialize)]
//! struct Order { amount: u32 }
//!
//! #[derive(Serialize)]
//! struct Taken { left: u32 }
//!
//! /// Takes requests to `order/+/new`.
//! async fn order(
//!     State(stock): State<Stock>,
//!     Params(params): Params,
//!     Json(order): Json<Order>,
//! ) -> Result<Json<Taken>, Failure> {
//!     let there = stock.get(&params[0]).copied();
//!     let there = there.ok_or_else(|| Failure::rejected("there is no such thing").status(404))?;
//!     let left = there.checked_sub(order.amount);
//!     let left = left.ok_or_else(|| Failure::rejected("amount: is more than there is"))?;
//!     Ok(Json(Taken { left }))
//! }
//!
//! let stock = Stock::default();
//! let server = mcpd::Server::builder().with_state(stock).route("order/+/new", order);
//! # drop(server);
//! ```
//!
//! **Arguments** implement [`FromRequest`]: [`Json`], [`Payload`] and, by cargo features, `MessagePack` and `Protobuf` read
//! the body, [`Bytes`](bytes::Bytes) and `String` give it as it is; [`Topic`], [`Params`], [`Headers`], [`TraceContext`],
//! [`Deadline`], [`Client`] and [`State`] tell what is around it; [`Request`] is all of it. They may come in any order, up to eight.
//!
//! **Results** implement [`IntoReply`]: a body, nothing, or a [`Reply`]; `Result`s of them and a
//! [`Failure`], into which `?` turns every other error.
//!
//! A body that cannot be read is answered with HANDLER_ERROR and a text that names the field. A panic
//! is answered with INTERNAL, and is the end of that request alone. When the client cancels, goes away
//! or runs out of time, the function's future is dropped at its next `await`.

mod bind;
mod codec;
mod extract;
#[cfg(feature = "messagepack")]
mod messagepack;
#[cfg(feature = "protobuf")]
mod protobuf;
mod reply;
mod request;

pub(crate) use bind::routed;
pub use bind::{Bound, Function, Layered};
pub use codec::{Codec, CodecError, Codecs, Json, JsonCodec, Payload, Read};
pub use extract::{
    Client, Deadline, FromRef, FromRequest, Headers, Params, State, Topic, TraceContext,
};
#[cfg(feature = "messagepack")]
pub use messagepack::{MessagePack, MessagePackCodec};
#[cfg(feature = "protobuf")]
pub use protobuf::Protobuf;
pub use reply::{Failure, IntoReply};
pub use request::Request;

pub use crate::message::Reply;
