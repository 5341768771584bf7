//! A client for MCP, the *Message Communication Protocol*.
//!
//! [`Connection`] is the bare connection: it opens a socket, introduces itself, sends any number of
//! requests at a time and gives each its answer. Heartbeats, cancelling, back-pressure and the end
//! of a connection are its business; reconnecting and repeating are not.
//!
//! An [`Error`] says what may be concluded about a request ([`ErrorClass`]), which is what deciding
//! about a repetition takes.

mod address;
mod connection;
mod driver;
mod error;
mod options;
mod reply;
mod request;
mod shared;
mod state;

pub use connection::Connection;
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use options::ConnectOptions;
pub use reply::Answer;
pub use request::{Body, RequestBuilder};
pub use state::{CloseCause, Closed, GoingAway, ServerInfo, State};

pub use bytes::Bytes;
pub use mcpd_proto::session::HeartbeatSettings;
pub use mcpd_proto::{ErrorCode, GoAwayReason, Meta, MetaBuf, Qos, Trace, TraceParentError};
