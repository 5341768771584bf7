//! The client: one handle for any number of servers and connections.

mod builder;
mod send;
#[cfg(feature = "tower")]
mod service;

pub use builder::ClientBuilder;

use crate::connection::Connection;
use crate::driver::now;
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::pool::Pool;
use crate::reply::Answer;
use crate::request::{Request, RequestBuilder};
use crate::retry::{Budget, RetrySettings};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout_at;

/// A client of one or several servers, which keeps its connections in order by itself.
///
/// A handle is cheap to clone; all of them share the connections, and when the last one is dropped
/// these are closed. Requests share connections and do not wait for each other. What a server
/// refused, or certainly did not execute, is sent again elsewhere within a budget; what may have run
/// only with QoS ≥ 1, where the server knows copies by their id. A server that is stopped in order
/// is left before it stops.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/echo.rs"));
/// use mcpd_client::Client;
/// use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (a, b) = (serve_echo().await?, serve_echo().await?);
///
/// let client = Client::builder(format!("mcp://{a},{b}"))
///     .client_id("edge-7")
///     .build()
///     .await?;
/// let answer = client
///     .request("user/login")
///     .body(r#"{"user":"ada"}"#)
///     .priority(5)
///     .timeout(Duration::from_secs(2))
///     .send()
///     .await?;
/// assert_eq!(answer.body(), r#"{"user":"ada"}"#);
/// client.notify("user/seen").body("ada").send().await?;
/// client.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    budget: Mutex<Budget>,
    retry: RetrySettings,
    /// How long a call may take unless it says otherwise.
    timeout: Option<Duration>,
    has_client_id: bool,
}

impl Inner {
    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.forsake();
    }
}

impl Client {
    /// Begins with the servers' addresses: `mcp://host:8080,host2:8080`, the scheme and the port
    /// (8080) may be left out. A name may stand for several addresses. `mcps://`, which needs the
    /// feature `tls`, holds for all of them.
    pub fn builder(addresses: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(addresses.into())
    }

    /// Begins a request to a topic; its `send` sends it.
    pub fn request(&self, topic: impl AsRef<str>) -> RequestBuilder<Client> {
        RequestBuilder::to(self.clone(), topic.as_ref())
    }

    /// Begins a request whose answer is of no interest. Its `send` returns as soon as the request
    /// has its place on a connection; what is to be sent again is, behind the caller's back.
    pub fn notify(&self, topic: impl AsRef<str>) -> RequestBuilder<Notifier> {
        RequestBuilder::to(Notifier(self.clone()), topic.as_ref())
    }

    /// Sends a request that was made without a client.
    ///
    /// # Errors
    /// As [`RequestBuilder::send`].
    pub async fn send(&self, request: Request) -> Result<Answer> {
        let RequestBuilder { parts, .. } = request;
        RequestBuilder {
            target: self.clone(),
            parts,
        }
        .send()
        .await
    }

    /// Asks a server for a sign of life and gives the time that took, connecting first if need be.
    ///
    /// # Errors
    /// No sign came within the client's usual time: [`Connect`](crate::ErrorKind::Connect) when
    /// there is no connection, [`Timeout`](crate::ErrorKind::Timeout) when there is one.
    pub async fn ping(&self) -> Result<Duration> {
        let deadline = self.0.timeout.and_then(|time| now().checked_add(time));
        let asking = async {
            loop {
                let lease = self.0.pool.lease(deadline).await?;
                // A connection that ends meanwhile makes way for another.
                if let Ok(time) = lease.link.connection.ping().await {
                    return Ok(time);
                }
                tokio::task::consume_budget().await;
            }
        };
        match deadline {
            None => asking.await,
            Some(at) => match timeout_at(at.into(), asking).await {
                Ok(result) => result,
                Err(_) => {
                    let text = "no sign of life within the time given";
                    Err(Error::new(
                        ErrorKind::Timeout,
                        ErrorClass::NotExecuted,
                        text,
                    ))
                }
            },
        }
    }

    /// One of the connections, connecting first if need be: for what concerns a single one, such as
    /// what its server says of itself. The client goes on keeping it; when it ends, this handle does
    /// not move on.
    ///
    /// # Errors
    /// [`Connect`](crate::ErrorKind::Connect) when there was none within the client's usual time.
    pub async fn connection(&self) -> Result<Connection> {
        let deadline = self.0.timeout.and_then(|time| now().checked_add(time));
        // The place on it is given back.
        let lease = self.0.pool.lease(deadline).await?;
        Ok(lease.link.connection.clone())
    }

    /// Ends the client for all its handles: calls that were not sent are refused with
    /// [`Shutdown`](crate::ErrorKind::Shutdown), those that were get their answers, and every
    /// connection is closed. Takes as long as the slowest answer.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// Connections that take new requests now.
    pub fn connections(&self) -> usize {
        self.0.pool.view().borrow().counts().0
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

/// Whom a notification goes to: see [`Client::notify`].
#[derive(Debug, Clone)]
pub struct Notifier(Client);

#[cfg(feature = "blocking")]
impl Notifier {
    pub(crate) fn new(client: Client) -> Notifier {
        Notifier(client)
    }
}
