//! A client for MCP, the *Message Communication Protocol*.
//!
//! [`Client`] is what programs use: one handle for any number of servers. It keeps a pool of
//! connections, follows servers that come and go, and sends again what may be sent again.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/echo.rs"));
//! use mcpd_client::{Client, ErrorClass};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (a, b) = (serve_echo().await?, serve_echo().await?);
//!
//! let client = Client::builder(format!("mcp://{a},{b}")).build().await?;
//! match client.request("user/login").body("ada").send().await {
//!     Ok(answer) => assert_eq!(answer.body(), "ada"),
//!     Err(error) if error.class() == ErrorClass::NotExecuted => println!("nothing happened"),
//!     Err(error) => println!("it may have happened: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Connection`] is the bare connection below it: it opens a socket, introduces itself, sends any
//! number of requests at a time and gives each its answer. Heartbeats, cancelling, back-pressure and
//! the end of a connection are its business; reconnecting and repeating are not.
//!
//! An [`Error`] says what may be concluded about a request ([`ErrorClass`]), which is what deciding
//! about a repetition takes.
//!
//! # Features
//! `tracing` (on by default), `tls`, `json`, `blocking`, `metrics`, `opentelemetry`, `tower`.
//!
//! The page `docs/client.md` of the repository has every default, what is repeated when and why,
//! and the metrics.

mod address;
#[cfg(feature = "blocking")]
pub mod blocking;
mod call;
mod client;
mod connection;
mod connector;
mod credentials;
mod driver;
mod error;
mod exchange;
mod file;
mod home;
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
mod text;
mod throttle;
#[cfg(feature = "tls")]
mod tls;
mod trace;

pub use call::Sending;
pub use client::{Client, ClientBuilder, Notifier};
pub use connection::Connection;
pub use connector::{BoxFuture, Connector, Stream, Target, TcpConnector};
pub use credentials::{Credentials, TokenFile};
pub use error::{Error, ErrorClass, ErrorKind, Result};
pub use options::ConnectOptions;
pub use reply::Answer;
pub use request::{Body, IntoQos, Request, RequestBuilder};
pub use retry::{Backoff, Budget, BudgetSettings};
pub use state::{CloseCause, Closed, GoingAway, ServerInfo, State};
pub use throttle::ConnectLimit;
#[cfg(feature = "tls")]
pub use tls::Tls;

pub use bytes::Bytes;
pub use mcpd_proto::session::HeartbeatSettings;
pub use mcpd_proto::{ErrorCode, GoAwayReason, Meta, MetaBuf, Qos, Trace, TraceParentError};
