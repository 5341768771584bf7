//! Connections: listener, limits, the socket driver and the outbound lanes.
//!
//! A connection is one task that owns its socket, its session and what waits to be written. It knows
//! nothing of routes and handlers but the [`Dispatch`] trait.

mod alarm;
mod answer;
mod arrival;
mod buffers;
mod certificate;
mod core;
mod describe;
mod driver;
mod greeting;
mod handshake;
mod hosted;
mod lanes;
mod later;
mod listener;
mod mailbox;
mod pending;
mod phase;
mod proxy;
mod registry;
mod settings;
mod socket;
mod stream;
mod tls;
mod work;

pub use describe::{Connected, Described, Page, describe};
pub use handshake::TlsConfig;
pub(crate) use listener::MAX_LINGERING;
pub use listener::{Listener, ListenerError};
pub use mailbox::Order;
pub use registry::Registry;
pub use settings::{ConnSettings, ListenSettings, Settings};
pub(crate) use socket::listen;

use crate::message::{Answer, Call, Certificate, Outcome, Proof, Verdict};
use crate::telemetry::RouteStats;
use std::sync::Arc;
use std::time::Duration;

/// Where a connection takes its requests.
pub trait Dispatch: Send + Sync + 'static {
    /// The routes at one moment, and what else judges requests. A connection takes it once for everything
    /// that one read brought, so that a request keeps the table it began with.
    type Table;
    /// One route; cheap to clone.
    type Route: Route;

    /// The routes of now.
    fn table(&self) -> Self::Table;

    /// Finds the route of a call and judges it in the protocol's order, lowering its priority to what its
    /// sender may have; `refusing` says that this connection takes no new requests.
    ///
    /// # Errors
    /// The answer, when the request goes no further.
    fn route<'t>(
        &self,
        table: &'t Self::Table,
        call: &mut Call<'_>,
        refusing: bool,
    ) -> Result<&'t Self::Route, Refusal<'t>>;

    /// Whether a connection must begin with a HELLO that says who it is; `certificate` is what its TLS
    /// handshake has shown. By default nobody is asked.
    fn demands_hello(&self, _certificate: Option<&Certificate>) -> bool {
        false
    }

    /// Who is at the other end of a connection that names itself `client_id`. By default nobody is asked.
    fn authenticate(&self, _proof: Proof<'_>, _client_id: Option<&str>) -> Verdict {
        Verdict::Now(Ok(None))
    }
}

/// A request that is answered without being run.
#[derive(Debug)]
pub struct Refusal<'t> {
    /// Always an ERROR of class 0x02.
    pub answer: Answer<'static>,
    /// Where it is counted; `None` when no route was found.
    pub stats: Option<&'t Arc<RouteStats>>,
    /// ROUTE_REVISION for the answer, when that is wanted.
    pub revision: Option<u64>,
}

/// What a connection needs to know of a route.
pub trait Route: Clone + Send + 'static {
    /// Runs the handler, or begins to.
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a>;
    /// How long a request may take, from its last byte to its answer.
    fn timeout(&self) -> Duration;
    /// Whether requests of one connection to one topic run one at a time.
    fn is_ordered(&self) -> bool;
    /// The lane for an answer to a request of this priority: within the route's bounds.
    fn lane(&self, priority: u8) -> u8;
    /// Where its requests are counted.
    fn stats(&self) -> &Arc<RouteStats>;
    /// ROUTE_REVISION for its answers, when that is wanted.
    fn revision(&self) -> Option<u64>;
}
