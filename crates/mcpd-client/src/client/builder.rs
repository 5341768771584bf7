//! How a client is set up.

use super::{Client, Inner};
use crate::address;
use crate::connector::{Connector, TcpConnector};
use crate::credentials::Credentials;
use crate::driver::now;
use crate::error::{Error, Result};
use crate::options::ConnectOptions;
use crate::pool::{Dialler, Keeper, PlanSettings, Pool};
use crate::random::Random;
use crate::resolve::Names;
use crate::retry::{Backoff, Budget, BudgetSettings, RetrySettings};
use crate::throttle::ConnectLimit;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use mcpd_proto::session::HeartbeatSettings;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A client's settings; the defaults suit most. See [`Client::builder`].
#[derive(Clone)]
#[must_use = "a client is made by `build`"]
pub struct ClientBuilder {
    addresses: String,
    options: ConnectOptions,
    has_client_id: bool,
    connector: Arc<dyn Connector>,
    limit: ConnectLimit,
    fail_fast: bool,
    plan: PlanSettings,
    max_waiting: usize,
    timeout: Option<Duration>,
    connect_timeout: Duration,
    resolve_every: Duration,
    retry: RetrySettings,
    budget: BudgetSettings,
}

/// Time for a call, unless it has its own.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The protocol's own heartbeats find a dead server in three of these.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 100;
/// Requests in flight on a connection at which another one is opened: enough that writes are shared,
/// few enough that no server is left with all the work.
const MAX_PENDING: usize = 20;
/// Calls that may wait for a connection: each costs its caller's memory and little here, and more
/// than these wait for nothing good.
const MAX_WAITING: usize = 10_000;
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
const RECONNECT: Backoff = Backoff {
    first: Duration::from_millis(100),
    cap: Duration::from_secs(5),
};
const RETRY: RetrySettings = RetrySettings {
    max_attempts: 10,
    backoff: Backoff {
        first: Duration::from_millis(50),
        cap: Duration::from_secs(5),
    },
};
const BUDGET: BudgetSettings = BudgetSettings {
    ratio: 0.2,
    per_second: 10,
};
/// Shortest times that make sense: below, a client would do nothing else.
const LEAST_PERIOD: Duration = Duration::from_millis(10);

impl ClientBuilder {
    pub(super) fn new(addresses: String) -> ClientBuilder {
        ClientBuilder {
            addresses,
            options: ConnectOptions::new(),
            has_client_id: false,
            connector: Arc::new(TcpConnector),
            limit: ConnectLimit::process(),
            fail_fast: false,
            plan: PlanSettings {
                min: 1,
                max: MAX_CONNECTIONS,
                pending: MAX_PENDING,
                idle_timeout: IDLE_TIMEOUT,
                backoff: RECONNECT,
            },
            max_waiting: MAX_WAITING,
            timeout: Some(TIMEOUT),
            connect_timeout: CONNECT_TIMEOUT,
            resolve_every: RESOLVE_EVERY,
            retry: RETRY,
            budget: BUDGET,
        }
    }

    /// Names this client: 1–128 of `[A-Za-z0-9._:@-]`. QoS 2 needs it.
    pub fn client_id(mut self, id: impl Into<String>) -> ClientBuilder {
        self.options = self.options.client_id(id);
        self.has_client_id = true;
        self
    }

    /// Shows this token to servers. It is never printed, and not sent in the clear except to a
    /// loopback address or with [`ClientBuilder::allow_plaintext_token`].
    pub fn token(mut self, token: impl Into<Vec<u8>>) -> ClientBuilder {
        self.options = self.options.token(token);
        self
    }

    /// Asks for the token of each new connection: see [`Credentials`], and
    /// [`TokenFile`](crate::TokenFile) for one that is ready. Otherwise as [`ClientBuilder::token`],
    /// which it replaces.
    pub fn credentials(mut self, credentials: impl Credentials) -> ClientBuilder {
        self.options = self.options.credentials(credentials);
        self
    }

    /// How connections to `mcps://` addresses are secured (default: [`Tls::new`]). With it other
    /// addresses are refused.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> ClientBuilder {
        self.options = self.options.tls(tls);
        self
    }

    /// Sends the token over unencrypted TCP to any address: everyone on the way can read it.
    pub fn allow_plaintext_token(mut self, allow: bool) -> ClientBuilder {
        self.options = self.options.allow_plaintext_token(allow);
        self
    }

    /// The library and version servers are told, ≤ 128 bytes.
    pub fn agent(mut self, agent: impl Into<String>) -> ClientBuilder {
        self.options = self.options.agent(agent);
        self
    }

    /// How often this side shows that it is alive (1–600 s, default 30 s). A server that is silent
    /// for three of its own intervals is given up.
    pub fn heartbeat(mut self, heartbeat: HeartbeatSettings) -> ClientBuilder {
        self.options = self.options.heartbeat(heartbeat);
        self
    }

    /// The largest payload taken from a server (default 1 MiB + 64 KiB, at least 32 KiB).
    pub fn max_payload(mut self, bytes: u32) -> ClientBuilder {
        self.options = self.options.max_payload(bytes);
        self
    }

    /// Time after which a server that takes no byte is given up (default 30 s).
    pub fn write_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.options = self.options.write_timeout(timeout);
        self
    }

    /// Time for one attempt to connect, HELLO included (default 5 s), and for
    /// [`build`](ClientBuilder::build) to see a first connection.
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.options = self.options.connect_timeout(timeout);
        self.connect_timeout = timeout;
        self
    }

    /// Time for a request from `send` to its answer, all waits and attempts included, unless the
    /// request has its own (default 30 s). Servers are told what is left of it. `None`: the
    /// route's time holds, and without servers a call waits until there are some.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> ClientBuilder {
        self.timeout = timeout.into();
        self
    }

    /// Whether calls are told at once when the last attempt at every address has failed and there is
    /// no connection (default: `false`, they wait within their time for an attempt that succeeds).
    /// Attempts go on behind their backs.
    pub fn fail_fast(mut self, at_once: bool) -> ClientBuilder {
        self.fail_fast = at_once;
        self
    }

    /// Most connections that take new requests (default 100, at least 1). Connections are not
    /// opened for each request: see [`ClientBuilder::max_pending`].
    pub fn max_connections(mut self, count: usize) -> ClientBuilder {
        self.plan.max = count.max(1);
        self
    }

    /// Connections that are kept open though nobody needs them (default 1). They are what servers
    /// know a client by; with 0 there are none until a request comes, and none after a while
    /// without.
    pub fn min_connections(mut self, count: usize) -> ClientBuilder {
        self.plan.min = count;
        self
    }

    /// Unanswered requests on a connection at which another one is opened (default 20, at least
    /// 1), one at a time up to [`max_connections`](ClientBuilder::max_connections). While it is
    /// being opened, and when there are as many as may be, requests share the open ones up to what
    /// their servers allow (MAX_IN_FLIGHT); then calls wait.
    pub fn max_pending(mut self, requests: usize) -> ClientBuilder {
        self.plan.pending = requests.max(1);
        self
    }

    /// Calls that may wait for a connection (default 10,000); one more is refused with
    /// [`Busy`](crate::ErrorKind::Busy).
    pub fn max_waiting(mut self, calls: usize) -> ClientBuilder {
        self.max_waiting = calls;
        self
    }

    /// Connections that were not needed for this long are closed, down to
    /// [`min_connections`](ClientBuilder::min_connections) (default 30 s).
    pub fn idle_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.plan.idle_timeout = timeout.clamp(LEAST_PERIOD, FAR);
        self
    }

    /// The pause before an attempt to reconnect is anywhere below a bound, which begins with
    /// `first` and doubles with each failure at that address up to `cap` (default 100 ms and 5 s).
    pub fn reconnect_backoff(mut self, first: Duration, cap: Duration) -> ClientBuilder {
        self.plan.backoff = backoff(first, cap);
        self
    }

    /// How often names are looked up though nothing failed (default 30 s).
    pub fn resolve_interval(mut self, every: Duration) -> ClientBuilder {
        self.resolve_every = every.clamp(LEAST_PERIOD, FAR);
        self
    }

    /// The bound on attempts to connect in a second that this client obeys, together with all who
    /// share it (default: that of the process, 100 a second).
    pub fn connect_limit(mut self, limit: ConnectLimit) -> ClientBuilder {
        self.limit = limit;
        self
    }

    /// Attempts of one request, the first included (default 10). With 1 nothing is sent twice.
    pub fn max_attempts(mut self, attempts: u32) -> ClientBuilder {
        self.retry.max_attempts = attempts.max(1);
        self
    }

    /// The pause before a request is sent again is anywhere below a bound, which begins with
    /// `first` and doubles with each attempt up to `cap` (default 50 ms and 5 s). A server that asks
    /// for more gets more.
    pub fn retry_backoff(mut self, first: Duration, cap: Duration) -> ClientBuilder {
        self.retry.backoff = backoff(first, cap);
        self
    }

    /// How much may be sent again: a share of the requests of the last ten seconds, and so many a
    /// second whatever their number (default 0.2 and 10).
    pub fn retry_budget(mut self, ratio: f64, per_second: u32) -> ClientBuilder {
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.max(0.0) };
        self.budget = BudgetSettings { ratio, per_second };
        self
    }

    /// How streams are opened: through a proxy, over a Unix socket. With `mcps://` TLS is spoken over
    /// what it gives. Default is [`TcpConnector`].
    pub fn connector(mut self, connector: impl Connector) -> ClientBuilder {
        self.connector = Arc::new(connector);
        self
    }

    /// Makes the client and waits for its first connection, so that a wrong address or token shows
    /// here. It needs a tokio runtime, which must outlive the client.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a setting that cannot be;
    /// [`Connect`](crate::ErrorKind::Connect) when no server was reached within the connect timeout,
    /// or none will have this client.
    pub async fn build(self) -> Result<Client> {
        let until = now().checked_add(self.connect_timeout);
        let secure = address::parse_list(&self.addresses)?.secure;
        self.options
            .clone()
            .for_scheme(secure)?
            .check_files()
            .await?;
        let client = self.build_lazy()?;
        // A place that is taken and not used.
        client.0.pool.lease(until).await?;
        Ok(client)
    }

    /// Makes the client and returns at once; connections are opened behind its back, and calls wait
    /// for them. For services that start before their servers do. Must be called on a tokio
    /// runtime, which must outlive the client.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for a setting that cannot be, or without a runtime.
    pub fn build_lazy(self) -> Result<Client> {
        let found = address::parse_list(&self.addresses)?;
        let options = self.options.for_scheme(found.secure)?;
        // What is wrong with HELLO is wrong on every connection.
        options.hello_meta()?;
        if self.plan.min > self.plan.max {
            let text = "min_connections is above max_connections";
            return Err(Error::invalid(text));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::invalid("a client needs a tokio runtime").with_source(Arc::new(error))
        })?;
        let random = Random::new()?;
        let plan_random = Random::seeded(random.next());
        let pool = Arc::new(Pool::new(self.max_waiting, self.plan.pending, random));
        let names = Names::new(
            found.places,
            self.connector.clone(),
            self.connect_timeout,
            self.resolve_every,
        );
        let dialler = Dialler {
            connector: self.connector,
            options,
            limit: self.limit,
            fail_fast: self.fail_fast,
        };
        let keeper = Keeper::new(pool.clone(), self.plan, dialler, names, plan_random);
        runtime.spawn(keeper.run());
        Ok(Client(Arc::new(Inner {
            pool,
            budget: Mutex::new(Budget::new(self.budget, now())),
            retry: self.retry,
            timeout: self.timeout,
            has_client_id: self.has_client_id,
        })))
    }
}

/// Times beyond this are never: adding them to the clock must not overflow.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn backoff(first: Duration, cap: Duration) -> Backoff {
    let cap = cap.clamp(Duration::from_millis(1), FAR);
    // Without a pause, a server that refuses would be asked as fast as it can.
    let first = first.clamp(Duration::from_millis(1), cap);
    Backoff { first, cap }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("addresses", &self.addresses)
            .field("options", &self.options)
            .field("pool", &self.plan)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
