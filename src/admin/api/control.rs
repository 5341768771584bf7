//! What the admin API asks of the server it is part of. `app` answers it.

use crate::auth::PrincipalView;
use crate::handler::TopicSeen;
use crate::router::document::{Document, ETag, Problems};
use crate::router::store::StoreError;
use crate::upstream::EndpointView;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The future of an answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One version of the routes.
#[derive(Debug)]
pub struct Version {
    /// What it says.
    pub document: Document,
    /// Its tag; a hash of the whole, so it is kept.
    pub etag: ETag,
    /// The whole hash, in hex.
    pub hash: String,
}

impl Version {
    /// Costs a [`Document::hash`].
    pub fn new(document: Document) -> Version {
        let hash = document.hash();
        Version {
            etag: document.etag_of(&hash),
            hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            document,
        }
    }

    /// The same content under the next revision.
    pub fn advance(&mut self) {
        self.etag = self.etag.next();
        self.document.revision = self.etag.revision();
    }
}

/// What a write may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever is there, or nothing.
    None,
    /// Whatever is there.
    Any,
    /// Nothing is there.
    Absent,
    /// One of these versions is there.
    Versions(Vec<ETag>),
}

/// Makes the new document of the one that is there.
pub type Edit = Box<dyn Fn(Option<&Document>) -> Result<Document, Refused> + Send + Sync>;

/// Why an edit cannot be made to the document that is there.
#[derive(Debug)]
pub enum Refused {
    /// What should be changed is not there.
    NotFound,
    /// What should be created is there.
    Exists,
    /// The result would not be valid.
    Invalid(Problems),
}

/// A change of the routes.
pub struct Change {
    /// What it may replace.
    pub precondition: Precondition,
    /// The new document.
    pub edit: Edit,
    /// Whether everything is done but the writing.
    pub dry_run: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("precondition", &self.precondition)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What a change came to. It is live, unless it was a dry run.
#[derive(Debug)]
pub struct Written {
    /// What was there before.
    pub before: Option<Arc<Version>>,
    /// What is there now, or would be.
    pub after: Arc<Version>,
    /// Whether they say different things; if not, nothing was written.
    pub changed: bool,
}

/// Why the routes were not changed.
#[derive(Debug)]
pub enum WriteError {
    /// Another version is there than the precondition names, or none.
    Precondition(Option<ETag>),
    /// The edit cannot be made.
    Refused(Refused),
    /// The handlers cannot be built, so nothing can be judged.
    Handlers(String),
    /// The store failed; its kind says whether anything was written.
    Store(StoreError),
    /// It is written, and cannot be served.
    NotLive(String),
    /// Other writes are under way and do not end. Nothing was written.
    Busy,
    /// It takes too long. Whether it is, or will be, written is unknown.
    Unknown,
}

/// Whether all servers have what was written.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Arrived {
    /// They have, as far as they serve.
    pub converged: bool,
    /// Those that have not, at most 1000.
    pub stragglers: Vec<Straggler>,
    /// Why it is not known who has it, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A server that does not have what was written.
#[derive(Debug, Clone, Serialize)]
pub struct Straggler {
    /// Its pod, else its SERVER_ID, else its address.
    pub server: String,
    /// Its sidecar port.
    pub address: String,
    /// The node that it is on, as far as that is known.
    pub node: Option<String>,
    /// The revision that it has.
    pub revision: Option<u64>,
    /// Why that is not known, when it is not.
    pub problem: Option<String>,
}

/// How connections are shared out among the servers.
#[derive(Debug, Clone, Serialize)]
pub struct RebalanceView {
    /// `level`, `shedding` or `paused`.
    pub state: &'static str,
    /// Why it is paused.
    pub reason: Option<&'static str>,
    /// Servers, when they were last asked.
    pub servers: Option<usize>,
    /// Connections that each would have if all had as many.
    pub share: Option<f64>,
    /// Connections here that were not asked to move.
    pub kept: usize,
    /// Connections that were asked to move since the start.
    pub asked_to_move: u64,
}

/// A handler.
#[derive(Debug, Clone)]
pub struct HandlerView {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: String,
    /// Its further keys, as configured or by default.
    pub settings: BTreeMap<String, String>,
    /// Its queue; `None` for a handler that answers in place.
    pub load: Option<HandlerLoad>,
    /// Whom it asks; `None` for a handler that does all by itself.
    pub upstream: Option<UpstreamView>,
}

/// Whom a handler asks.
#[derive(Debug, Clone)]
pub struct UpstreamView {
    /// Its endpoints, in the order of their addresses.
    pub endpoints: Vec<EndpointView>,
    /// Attempts that wait for a connection.
    pub pending: usize,
    /// Attempts at a time, where that is found out.
    pub adaptive_limit: Option<usize>,
}

/// What an operator may do to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointAction {
    /// Take it out of the choice until it is restored.
    Eject,
    /// Put it back, whoever took it out, and shut its breaker.
    Restore,
}

/// Why an endpoint is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// There is no handler of this name.
    Handler,
    /// The handler asks nobody.
    Upstream,
    /// It asks others.
    Endpoint,
}

/// How busy a handler is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlerLoad {
    /// Requests it works on.
    pub running: usize,
    /// Requests that wait for it.
    pub waiting: usize,
    /// Requests it works on at most at once; `None` for any number.
    pub limit: Option<usize>,
}

/// A drain under way.
#[derive(Debug, Clone)]
pub struct DrainView {
    /// The stage it is in.
    pub stage: &'static str,
    /// Who asked for it.
    pub cause: String,
    /// When it began.
    pub began: Instant,
    /// When it is over at the latest.
    pub ends: Instant,
    /// Connections at its beginning.
    pub connections_at_start: usize,
    /// Connections that were asked to move.
    pub told: usize,
}

/// A configuration key.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// Its value; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// The server as the admin API sees it. Everything may be called at any time, also while the server
/// starts or drains, and nothing waits for longer than it says.
pub trait Control: Send + Sync + 'static {
    /// The routes that the store holds, or the live ones while the store cannot be read.
    ///
    /// # Errors
    /// There are none.
    fn routes(&self) -> Answer<'_, Result<Arc<Version>, StoreError>>;

    /// The routes that requests are routed by, if there are any.
    fn live(&self) -> Option<Arc<Version>>;

    /// Changes the routes; once that is answered, the next request is routed by the new ones. Goes
    /// on to its end if the future is dropped.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing has changed unless it says so. Within `patience`.
    fn change(&self, change: Change, patience: Duration)
    -> Answer<'_, Result<Written, WriteError>>;

    /// Waits until all servers have the routes of this hash, but not for longer than `patience`.
    fn converged<'a>(&'a self, hash: &'a str, patience: Duration) -> Answer<'a, Arrived>;

    /// Whether routes can be changed here at all: some stores are others' to write.
    fn may_change(&self) -> bool;

    /// Every principal, in the order of their document.
    fn principals(&self) -> Vec<PrincipalView>;
    /// The handlers in the order of their names.
    fn handlers(&self) -> Vec<HandlerView>;

    /// Takes an endpoint of a handler out of the choice, or puts it back: it counts from the next attempt on.
    ///
    /// # Errors
    /// There is no such endpoint.
    fn set_endpoint(
        &self,
        handler: &str,
        endpoint: SocketAddr,
        action: EndpointAction,
    ) -> Result<(), NoEndpoint>;

    /// What the handlers of topics remember of them, at most `limit` each.
    fn topics(&self, limit: usize) -> Vec<(String, Vec<TopicSeen>)>;

    /// Begins a drain, or with `hasten` goes on to the next stage of it. Gives whether the server
    /// has taken notice, within `patience`.
    fn drain(&self, hasten: bool, patience: Duration) -> Answer<'_, bool>;

    /// How the drain is getting on, if there is one.
    fn draining(&self) -> Option<DrainView>;

    /// How connections are shared out, where that is looked after.
    fn rebalance(&self) -> Option<RebalanceView>;

    /// Requests that are being worked on.
    fn in_flight(&self) -> u64;

    /// Every configuration key that has a value.
    fn settings(&self) -> Vec<Setting>;

    /// The filter of the log.
    fn log_filter(&self) -> String;

    /// Uses another filter until it is changed again, by this or by a reload that changes the key.
    ///
    /// # Errors
    /// The filter is not one.
    fn set_log_filter(&self, filter: &str) -> Result<(), String>;
}
