//! The client without futures, for programs that have no runtime: it brings one of its own.
//!
//! ```
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/echo.rs"));
//! use mcpd_client::blocking::Client;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let address = runtime.block_on(serve_echo())?;
//!
//! let client = Client::connect(address)?;
//! let answer = client.request("user/login").body("ada").send()?;
//! assert_eq!(answer.body(), "ada");
//! # Ok(())
//! # }
//! ```

use crate::client::ClientBuilder;
use crate::error::{Error, Result};
use crate::reply::Answer;
use crate::request::{Request, RequestBuilder};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// A [`Client`](crate::Client) whose calls block the thread they are made on. A handle is cheap to
/// clone; all of them share the connections and one thread that serves these.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    client: Option<crate::Client>,
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.client = None;
        if let Some(runtime) = self.runtime.take() {
            // Waiting is not allowed everywhere a handle may be dropped.
            runtime.shutdown_background();
        }
    }
}

impl ClientBuilder {
    /// As [`ClientBuilder::build`], for calls that block.
    ///
    /// # Errors
    /// As there; [`Invalid`](crate::ErrorKind::Invalid) also on a thread that runs futures, which
    /// must not block, and when the system gives no thread.
    pub fn build_blocking(self) -> Result<Client> {
        check_thread()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mcpd-client")
            .enable_all()
            .build()
            .map_err(|error| {
                Error::invalid("no thread for the client").with_source(Arc::new(error))
            })?;
        let client = runtime.block_on(self.build())?;
        Ok(Client(Arc::new(Inner {
            client: Some(client),
            runtime: Some(runtime),
        })))
    }
}

impl Client {
    /// Connects with the defaults; [`ClientBuilder::build_blocking`] has more to choose from.
    ///
    /// # Errors
    /// As there.
    pub fn connect(addresses: impl Into<String>) -> Result<Client> {
        crate::Client::builder(addresses).build_blocking()
    }

    /// Begins a request to a topic; its `send` sends it.
    pub fn request(&self, topic: impl AsRef<str>) -> RequestBuilder<Client> {
        RequestBuilder::to(self.clone(), topic.as_ref())
    }

    /// Sends a request that was made without a client.
    ///
    /// # Errors
    /// As [`Client::request`]'s `send`.
    pub fn send(&self, request: Request) -> Result<Answer> {
        self.run(|client| async move { client.send(request).await })
    }

    /// Sends a request whose answer is of no interest: returns as soon as it has its place on a
    /// connection.
    ///
    /// # Errors
    /// As far as it is known before the request is on its way.
    pub fn notify(&self, request: Request) -> Result<()> {
        self.run(|client| async move {
            let notification = RequestBuilder {
                target: crate::Notifier::new(client),
                parts: request.parts,
            };
            notification.send().await
        })
    }

    /// Asks a server for a sign of life and gives the time that took.
    ///
    /// # Errors
    /// As [`crate::Client::ping`].
    pub fn ping(&self) -> Result<Duration> {
        self.run(|client| async move { client.ping().await })
    }

    /// Ends the client for all its handles, as [`crate::Client::close`].
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) on a thread that runs futures.
    pub fn close(&self) -> Result<()> {
        self.run(|client| async move {
            client.close().await;
            Ok(())
        })
    }

    fn run<T, F>(&self, call: impl FnOnce(crate::Client) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        check_thread()?;
        let Inner {
            client: Some(client),
            runtime: Some(runtime),
        } = &*self.0
        else {
            // Only a drop takes them out, and no handle is left then.
            return Err(Error::invalid("the client is gone"));
        };
        runtime.block_on(call(client.clone()))
    }
}

impl RequestBuilder<Client> {
    /// Sends the request, as often as is right and needed, and waits for its final answer.
    ///
    /// # Errors
    /// As the `send` of [`crate::Client::request`]; [`Invalid`](crate::ErrorKind::Invalid) also on
    /// a thread that runs futures, which must not block.
    pub fn send(self) -> Result<Answer> {
        let RequestBuilder { target, parts } = self;
        target.send(RequestBuilder { target: (), parts })
    }
}

fn check_thread() -> Result<()> {
    match Handle::try_current() {
        Err(_) => Ok(()),
        Ok(_) => Err(Error::invalid(
            "a blocking client on a thread that runs futures; use mcpd_client::Client there",
        )),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.client).finish()
    }
}
