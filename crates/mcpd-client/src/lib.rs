//! A client for MCP, the *Message Communication Protocol*.
//!
//! [`Connection`] is the bare connection: it opens a socket, introduces itself, sends any number of
//! requests at a time and gives each its answer. Heartbeats, cancelling, back-pressure and the end
//! of a connection are its business; reconnecting and repeating are not.
//!
//! An [`Error`] says what may be concluded about a request ([`ErrorClass`]), which is what deciding
//! about a repetition takes.

mod address;
#[cfg(feature = "blocking")]
pub mod blocking;
mod call;
mod client;
mod connection;
mod connector;
mod driver;
mod error;
mod options;
mod pool;
mod random;
mod reply;
mod request;
mod resolve;
mod retry;
mod shared;
mod state;
mod telemetry;
mod throttle;
mod trace;

pub use client::{Client, ClientBuilder, Notifier};
pub use connection::Connection;
pub use connector::{BoxFuture, Connector, Stream, Target, TcpConnector};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use options::ConnectOptions;
pub use reply::Answer;
pub use request::{Body, IntoQos, Request, RequestBuilder};
pub use state::{CloseCause, Closed, GoingAway, ServerInfo, State};
pub use throttle::ConnectLimit;

pub use bytes::Bytes;
pub use mcpd_proto::session::HeartbeatSettings;
pub use mcpd_proto::{ErrorCode, GoAwayReason, Meta, MetaBuf, Qos, Trace};
