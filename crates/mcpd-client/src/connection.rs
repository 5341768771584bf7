//! The handle of a connection.

use crate::address;
use crate::connector::{Connector, Io, Stream, Target};
use crate::driver::{Driver, now};
use crate::error::{Error, ErrorClass, Result};
use crate::exchange::{Attempt, Exchange};
use crate::home;
use crate::options::ConnectOptions;
use crate::reply::Answer;
use crate::request::{Request, RequestBuilder};
use crate::shared::Shared;
use crate::state::{ServerInfo, State};
#[cfg(feature = "tls")]
use crate::tls;
use mcpd_proto::MetaBuf;
use mcpd_proto::session::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

/// A connection to a server: one socket, one task, many requests at a time.
///
/// A handle is cheap to clone; all of them share the connection. When the last one is dropped it
/// closes. It does not reconnect and does not repeat requests: what it says of a request's fate is
/// what a caller needs to do so.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/echo.rs"));
/// use mcpd_client::{ConnectOptions, Connection};
/// use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let address = serve_echo().await?;
///
/// let connection = Connection::connect(&address, ConnectOptions::new()).await?;
/// let answer = connection
///     .request("user/login")
///     .body(r#"{"user":"ada"}"#)
///     .timeout(Duration::from_secs(2))
///     .send()
///     .await?;
/// assert_eq!(answer.body(), r#"{"user":"ada"}"#);
///
/// // Requests share the connection; nobody waits for anybody.
/// let (a, b) = tokio::join!(
///     connection.request("a").body("1").send(),
///     connection.request("b").body("2").send(),
/// );
/// assert_eq!((a?.into_body(), b?.into_body()), ("1".into(), "2".into()));
/// connection.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connection(Arc<Handle>);

struct Handle {
    shared: Holder,
    server: ServerInfo,
}

/// As long as there is one, somebody may want something of the connection.
struct Holder(Arc<Shared>);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.forsake();
    }
}

impl Connection {
    /// Connects to `host:port`, `mcp://host:port` or, with the feature `tls`, `mcps://host:port`
    /// (port 8080 if there is none) and waits for the server's HELLO.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a bad address or option, and for a token that
    /// would be sent in the clear; [`Connect`](crate::ErrorKind::Connect) when no connection came
    /// about, with the server's [`code`](Error::code) if it gave one.
    pub async fn connect(address: impl AsRef<str>, options: ConnectOptions) -> Result<Connection> {
        let address = address.as_ref();
        let place = address::parse(address)?;
        let options = options.for_scheme(place.secure)?;
        options.hello_meta()?;
        let until = Instant::now().checked_add(options.connect_timeout);
        let opening = async {
            options.check_files().await?;
            let hello = options.fresh_hello().await?;
            let failed = |error: std::io::Error| {
                let text = format!("cannot connect to {address}: {error}");
                Error::connect(text).with_source(Arc::new(error))
            };
            let stream = TcpStream::connect((place.host, place.port)).await;
            let stream = match &options.home {
                Some(home) => stream.and_then(|stream| home::moved(stream, home)),
                None => stream,
            };
            let stream = Stream::tcp(stream.map_err(failed)?);
            Connection::over(stream, place.host, &options, hello).await
        };
        in_time(until, options.connect_timeout, opening).await
    }

    /// Connects to one address by way of a connector.
    pub(crate) async fn reach(
        connector: &dyn Connector,
        target: &Target,
        options: &ConnectOptions,
    ) -> Result<Connection> {
        let until = Instant::now().checked_add(options.connect_timeout);
        let opening = async {
            let hello = options.fresh_hello().await?;
            let failed = |error: std::io::Error| {
                let text = format!("cannot connect to {target}: {error}");
                Error::connect(text).with_source(Arc::new(error))
            };
            let stream = connector.connect(target).await.map_err(failed)?;
            Connection::over(stream, &target.host, options, hello).await
        };
        in_time(until, options.connect_timeout, opening).await
    }

    /// Makes the stream secure if it is to be, and opens the connection.
    #[cfg_attr(
        not(feature = "tls"),
        allow(unused_variables, reason = "who is met by TLS")
    )]
    async fn over(
        stream: Stream,
        host: &str,
        options: &ConnectOptions,
        hello: Option<MetaBuf>,
    ) -> Result<Connection> {
        // Frames are whole when they are written; waiting for more only delays them.
        let peer = stream.settle().map_err(|error| {
            Error::connect(format!("cannot connect: {error}")).with_source(Arc::new(error))
        })?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &options.tls {
            let stream = tls.secure(stream, host).await?;
            let opened = Connection::open(tokio::io::split(stream), options, hello).await;
            return opened.map_err(|error| tls::after_handshake(host, error));
        }
        match stream.into_io() {
            Io::Tcp(stream) => {
                let loopback = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
                options.check_plaintext(loopback)?;
                Connection::open(stream.into_split(), options, hello).await
            }
            Io::Other(stream) => Connection::open(tokio::io::split(stream), options, hello).await,
        }
    }

    /// Speaks MCP over a stream that is connected already: a Unix socket, a pipe in memory, TLS of
    /// your own.
    /// Whoever gives a stream vouches for its secrecy: a token is sent over any.
    ///
    /// # Errors
    /// As [`Connection::connect`].
    pub async fn from_stream<S>(stream: S, options: ConnectOptions) -> Result<Connection>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        // Such a stream has no address, and so no scheme that asks for TLS.
        let options = options.for_scheme(false)?;
        options.hello_meta()?;
        let until = Instant::now().checked_add(options.connect_timeout);
        let opening = async {
            let hello = options.fresh_hello().await?;
            Connection::open(tokio::io::split(stream), &options, hello).await
        };
        in_time(until, options.connect_timeout, opening).await
    }

    async fn open<R, W>(
        stream: (R, W),
        options: &ConnectOptions,
        hello: Option<MetaBuf>,
    ) -> Result<Connection>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let session = Client::new(options.session(), now());
        let exchange = Exchange::new(session, options.write_buffer, options.grace);
        // If this future is dropped, so is the holder, and the task ends for want of handles.
        let shared = Holder(Arc::new(Shared::new(exchange)));
        let (opened, server) = oneshot::channel();
        let driver = Driver::new(stream, options, hello, shared.0.clone(), opened);
        home::spawn(options.home.as_ref(), driver.run());
        // Without an answer the task has ended.
        let server = server.await;
        let server = server.map_err(|_| shared.0.closed().connect_error())?;
        Ok(Connection(Arc::new(Handle { shared, server })))
    }

    /// Begins a request to a topic; [`RequestBuilder::send`] sends it.
    pub fn request(&self, topic: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::to(self.clone(), topic.as_ref())
    }

    /// Sends a request that was made before and waits for its final answer, of use until then: for
    /// whoever may have to send it again, to another server. Otherwise as [`RequestBuilder::send`].
    ///
    /// # Errors
    /// Those of [`RequestBuilder::send`].
    pub async fn send(&self, request: &Request, until: std::time::Instant) -> Result<Answer> {
        request.parts.check()?;
        let attempt = Attempt::plain(&request.parts, Some(until));
        self.call(&attempt, now()).await
    }

    /// Asks the server for a sign of life and gives the time it took. When a heartbeat is on its way
    /// already, its answer serves.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the connection ended instead, as it does when the
    /// server is silent for three of its heartbeat intervals.
    pub async fn ping(&self) -> Result<Duration> {
        let (reply, receiver) = oneshot::channel();
        // If the connection has ended, no answer comes.
        self.shared().ping(now(), reply);
        let ended = |_| self.shared().closed().error(ErrorClass::NotExecuted);
        receiver.await.map_err(ended)
    }

    /// What the server said of itself; the protocol's defaults without HELLO.
    pub fn server(&self) -> &ServerInfo {
        &self.0.server
    }

    /// How the connection is doing now.
    pub fn state(&self) -> State {
        self.shared().state.borrow().clone()
    }

    /// Follows the state: GOAWAY and the end of the connection show here without a request.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared().state.subscribe()
    }

    /// Whether new requests are welcome here: the server neither asked to move nor is gone.
    pub fn is_open(&self) -> bool {
        matches!(*self.shared().state.borrow(), State::Open) && !self.shared().is_closing()
    }

    /// Requests that hold a place: unanswered, or about to be sent. Never more than the server's
    /// [`max_in_flight`](ServerInfo::max_in_flight).
    pub fn in_flight(&self) -> usize {
        let free = self.shared().free_places();
        usize::from(self.0.server.max_in_flight).saturating_sub(free)
    }

    /// Ends the connection: requests that were not sent are refused, those that were get their
    /// answers, then the stream is closed. Takes as long as the slowest answer; who does not want to
    /// wait drops all handles instead. Stopping to wait does not stop the closing.
    pub async fn close(&self) {
        self.shared().close();
        self.shared().until_gone().await;
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared.0
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.0.server)
            .field("state", &*self.shared().state.borrow())
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

/// Bounds the opening of a connection, its name look-up and HELLO included.
async fn in_time<T>(
    until: Option<Instant>,
    timeout: Duration,
    opening: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(until) = until else {
        return opening.await;
    };
    let late = |_| Error::connect(format!("the connection was not open within {timeout:?}"));
    timeout_at(until, opening).await.map_err(late)?
}
