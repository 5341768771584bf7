//! From a call to its route: the judgement that comes before a handler.

mod bind;
mod rate;

pub use bind::{bind, check};

use crate::conn::{Dispatch, Refusal, Route};
use crate::handler::Handler;
use crate::message::{Answer, Call, Outcome};
use crate::router::document::{PriorityBounds, RateLimitSpec};
use crate::router::handle::Handle;
use crate::router::table::Table;
use crate::telemetry::RouteStats;
use arc_swap::Guard;
use mcpd_proto::{ErrorCode, Qos};
use rate::TokenBucket;
use std::sync::Arc;
use std::time::Duration;

/// A route of the live table, bound to its handler, its counts and its rate limit.
pub struct BoundRoute {
    name: String,
    handler: Arc<dyn Handler>,
    qos: Qos,
    timeout: Duration,
    ordered: bool,
    priority: PriorityBounds,
    rate: Option<(RateLimitSpec, Arc<TokenBucket>)>,
    stats: Arc<RouteStats>,
    revision: Option<u64>,
}

impl std::fmt::Debug for BoundRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundRoute")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Route for Arc<BoundRoute> {
    #[inline]
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        self.handler.call(call)
    }

    #[inline]
    fn timeout(&self) -> Duration {
        self.timeout
    }

    #[inline]
    fn is_ordered(&self) -> bool {
        self.ordered
    }

    #[inline]
    fn lane(&self, priority: u8) -> u8 {
        priority.clamp(self.priority.min, self.priority.max)
    }

    #[inline]
    fn stats(&self) -> &Arc<RouteStats> {
        &self.stats
    }

    #[inline]
    fn revision(&self) -> Option<u64> {
        self.revision
    }
}

/// Looks routes up in the live table.
#[derive(Debug, Clone, Default)]
pub struct Dispatcher {
    routes: Handle<Arc<BoundRoute>>,
}

impl Dispatcher {
    /// Requests are routed by what `routes` holds when they are read.
    pub fn new(routes: Handle<Arc<BoundRoute>>) -> Dispatcher {
        Dispatcher { routes }
    }
}

impl Dispatch for Dispatcher {
    type Table = Guard<Arc<Table<Arc<BoundRoute>>>>;
    type Route = Arc<BoundRoute>;

    #[inline]
    fn table(&self) -> Self::Table {
        self.routes.load()
    }

    #[inline]
    fn route<'t>(
        &self,
        table: &'t Self::Table,
        call: &Call<'_>,
        refusing: bool,
    ) -> Result<&'t Arc<BoundRoute>, Refusal<'t>> {
        let Some(route) = table.lookup(call.topic.as_str()) else {
            let text = format!("no route for topic {:?}", call.topic.as_str());
            return Err(Refusal {
                answer: Answer::error(ErrorCode::NO_ROUTE, text),
                stats: None,
                // All routes of a table are of one revision.
                revision: table.iter().next().and_then(|(_, route)| route.revision),
            });
        };
        match route.judge(call, refusing) {
            None => Ok(route),
            Some(answer) => Err(Refusal {
                answer,
                stats: Some(&route.stats),
                revision: route.revision,
            }),
        }
    }
}

impl BoundRoute {
    /// The refusal of a call, in the protocol's order; `None` lets it pass.
    #[inline]
    fn judge(&self, call: &Call<'_>, refusing: bool) -> Option<Answer<'static>> {
        if call.qos > self.qos {
            return Some(self.refuse_qos(call.qos));
        }
        if refusing {
            let text = "this connection takes no new requests; open another";
            return Some(Answer::error(ErrorCode::DRAINING, text));
        }
        if let Some((spec, bucket)) = &self.rate
            && let Err(wait) = bucket.take(call.received)
        {
            let detail = format!("over {} requests a second", spec.per_second).into();
            let code = ErrorCode::RATE_LIMITED;
            return Some(Answer::Error {
                code,
                detail,
                retry_after: Some(wait),
            });
        }
        if call.timeout(self.timeout) <= call.waited {
            let text = "its time was over before it could start";
            return Some(Answer::error(ErrorCode::EXPIRED, text));
        }
        None
    }

    fn refuse_qos(&self, asked: Qos) -> Answer<'static> {
        let (asked, given) = (asked as u8, self.qos as u8);
        let text = format!(
            "QoS {asked} was asked for, route {:?} gives {given}",
            self.name
        );
        Answer::error(ErrorCode::QOS_UNSUPPORTED, text)
    }
}
