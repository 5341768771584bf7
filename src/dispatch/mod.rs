//! From a call to its route: the judgement that comes before a handler.

mod bind;
mod rate;
mod shape;
mod trust;

pub use bind::{BindOptions, bind, check};
pub use shape::{MIRROR_HEADER, MirrorLimits, Mirrors};

use crate::auth::Auth;
use crate::conn::{Dispatch, Refusal, Route};
use crate::message::{
    Answer, Begun, Call, Certificate, Here, Outcome, OwnedCall, Proof, Verdict, Work,
};
use crate::router::document::{PriorityBounds, RateLimitSpec};
use crate::router::handle::Handle;
use crate::router::table::Table;
use crate::telemetry::{RouteStats, Traced};
use arc_swap::Guard;
use mcpd_proto::{ErrorCode, Qos};
use rate::Bucket;
use shape::{Leg, Shape};
use std::sync::Arc;
use std::time::Duration;

/// A route of the live table, bound to its handler and the way there, its counts and its rate limit.
pub struct BoundRoute {
    name: String,
    /// Where its calls go, unless its shape says otherwise.
    leg: Leg,
    qos: Qos,
    timeout: Duration,
    ordered: bool,
    /// Whether a request needs HOPS to take it.
    forwards: bool,
    priority: PriorityBounds,
    rate: Option<(RateLimitSpec, Arc<Bucket>)>,
    /// What it does beside leading to one handler.
    shape: Option<Box<Shape>>,
    /// Whether calls do not go straight to the handler: they may have to wait for the rate limit, or
    /// there is a shape.
    detours: bool,
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
        if self.detours {
            return self.pace(call);
        }
        self.run(&self.leg, call)
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

/// Looks routes up in the live table, for clients that may use them.
#[derive(Debug, Clone, Default)]
pub struct Dispatcher {
    routes: Handle<Arc<BoundRoute>>,
    auth: Option<Arc<Auth>>,
}

impl Dispatcher {
    /// Requests are routed by what `routes` holds when they are read.
    pub fn new(routes: Handle<Arc<BoundRoute>>) -> Dispatcher {
        Dispatcher { routes, auth: None }
    }

    /// Clients have to show who they are, once `auth` is in force, and may do what it says.
    #[must_use]
    pub fn with_auth(self, auth: Arc<Auth>) -> Dispatcher {
        let auth = Some(auth);
        Dispatcher { auth, ..self }
    }
}

/// What requests of one read are judged by.
#[derive(Debug)]
pub struct Live {
    routes: Guard<Arc<Table<Arc<BoundRoute>>>>,
    rules: trust::InForce,
}

impl Dispatch for Dispatcher {
    type Table = Live;
    type Route = Arc<BoundRoute>;

    #[inline]
    fn table(&self) -> Self::Table {
        Live {
            routes: self.routes.load(),
            rules: trust::InForce::default(),
        }
    }

    #[inline]
    fn route<'t>(
        &self,
        live: &'t Self::Table,
        call: &mut Call<'_>,
        refusing: bool,
    ) -> Result<&'t Arc<BoundRoute>, Refusal<'t>> {
        let (table, rules) = (&*live.routes, &live.rules);
        if let Some(answer) = trust::judge(self.auth.as_deref(), rules, call) {
            return Err(unrouted(table, answer));
        }
        let Some(route) = table.lookup(call.topic.as_str()) else {
            let text = format!("no route for topic {:?}", call.topic.as_str());
            return Err(unrouted(table, Answer::error(ErrorCode::NO_ROUTE, text)));
        };
        match route.judge(call, refusing, rules) {
            None => Ok(route),
            Some(answer) => Err(Refusal {
                answer,
                stats: Some(&route.stats),
                revision: route.revision,
            }),
        }
    }

    fn demands_hello(&self, certificate: Option<&Certificate>) -> bool {
        let auth = self.auth.as_ref();
        auth.is_some_and(|auth| auth.demands_hello(certificate))
    }

    fn authenticate(&self, proof: Proof<'_>, client_id: Option<&str>) -> Verdict {
        match &self.auth {
            Some(auth) => auth.authenticate(proof, client_id),
            None => Verdict::Now(Ok(None)),
        }
    }
}

/// The refusal of a request that does not get to a route.
#[cold]
fn unrouted<'t>(table: &Table<Arc<BoundRoute>>, answer: Answer<'static>) -> Refusal<'t> {
    Refusal {
        answer,
        stats: None,
        // All routes of a table are of one revision.
        revision: table.iter().next().and_then(|(_, route)| route.revision),
    }
}

impl BoundRoute {
    /// The refusal of a call, in the protocol's order; `None` lets it pass.
    #[inline]
    fn judge(
        &self,
        call: &Call<'_>,
        refusing: bool,
        rules: &trust::InForce,
    ) -> Option<Answer<'static>> {
        if call.qos > self.qos {
            return Some(self.refuse_qos(call.qos));
        }
        if self.forwards && call.meta.hops() == Some(0) {
            let text = "it was forwarded as often as it may be; look for a loop of servers";
            return Some(Answer::error(ErrorCode::HOP_LIMIT, text));
        }
        if refusing {
            let text = "this connection takes no new requests; open another";
            return Some(Answer::error(ErrorCode::DRAINING, text));
        }
        if let Some(answer) = trust::pace(rules, call) {
            return Some(answer);
        }
        if let Some((spec, bucket)) = &self.rate {
            let over = match bucket.is_leaky() {
                // It takes its place when it is called.
                true => bucket.is_full(call),
                false => bucket.take(call, Duration::ZERO).err(),
            };
            if let Some(wait) = over {
                return Some(refuse_rate(spec, wait));
            }
        }
        if call.timeout(self.timeout) <= call.waited {
            let text = "its time was over before it could start";
            return Some(Answer::error(ErrorCode::EXPIRED, text));
        }
        None
    }

    /// Runs the handler; work that is answered later waits for its places first.
    #[inline]
    fn run<'a>(&'a self, leg: &'a Leg, call: &Call<'a>) -> Outcome<'a> {
        if let Some(span) = call.span {
            span.start();
        }
        let outcome = leg.handler.call(call);
        // Looked at where it is: taking it apart would copy every answer.
        if matches!(outcome, Outcome::Later(_) | Outcome::Here(_)) {
            return self.admit(leg, call, outcome);
        }
        outcome
    }

    /// Lets work that takes its time wait for its place.
    #[inline(never)]
    fn admit<'a>(&self, leg: &Leg, call: &Call<'a>, outcome: Outcome<'a>) -> Outcome<'a> {
        let (now, deadline) = (call.now(), call.deadline());
        let priority = call.priority.clamp(self.priority.min, self.priority.max);
        let gates = &leg.admission;
        let admitted = match (outcome, call.span.cloned()) {
            (Outcome::Later(work), None) => {
                let placed = gates.admit(work, priority, now, deadline);
                placed.map(|work| Outcome::Later(Box::pin(work)))
            }
            (Outcome::Later(work), Some(span)) => {
                let placed = gates.admit(Traced::new(work, span), priority, now, deadline);
                placed.map(|work| Outcome::Later(Box::pin(work)))
            }
            (Outcome::Here(work), None) => {
                return gates.admit_here(work, priority, now, deadline);
            }
            (Outcome::Here(work), Some(span)) => {
                let work: Here = Box::pin(Traced::new(work, span));
                return gates.admit_here(work, priority, now, deadline);
            }
            // A handler that lets its work wait knows of nobody else who does.
            (other, _) => return other,
        };
        admitted.unwrap_or_else(|instead| instead)
    }

    /// Takes a call on when the leaky bucket of the route lets it, if it has one.
    fn pace<'a>(self: &'a Arc<Self>, call: &Call<'a>) -> Outcome<'a> {
        let leaky = self.rate.as_ref().filter(|(_, bucket)| bucket.is_leaky());
        let Some((spec, bucket)) = leaky else {
            return self.go_on(call);
        };
        let now = call.now();
        let deadline = call.deadline();
        match bucket.take(call, deadline.saturating_duration_since(now)) {
            Err(wait) => Outcome::Now(refuse_rate(spec, wait)),
            Ok(wait) if wait.is_zero() => self.go_on(call),
            Ok(wait) => {
                let (route, call) = (Arc::clone(self), OwnedCall::from(call));
                let begun = Begun::default();
                let begins = begun.clone();
                let work = Box::pin(async move {
                    tokio::time::sleep_until((now + wait).into()).await;
                    let outcome = call.as_call();
                    let outcome = outcome.map(|call| route.go_on(&call).into_owned());
                    finish(outcome, &begins).await
                });
                Outcome::Waiting(work, begun)
            }
        }
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

/// Goes on with a call that has waited; says by `begins` when its handler begins, which may still not
/// be now. `None` stands for a call that cannot be read again.
async fn finish(outcome: Option<Outcome<'static>>, begins: &Begun) -> Answer<'static> {
    match outcome {
        Some(Outcome::Waiting(work, begun)) => following(work, &begun, begins).await,
        Some(Outcome::Now(answer)) => {
            begins.set();
            answer
        }
        Some(Outcome::Later(work)) => {
            begins.set();
            work.await
        }
        Some(Outcome::Here(work)) => {
            begins.set();
            work.await
        }
        None => Answer::error(ErrorCode::INTERNAL, "the request cannot be read again"),
    }
}

/// Runs `work`, and passes on when it has begun.
async fn following(mut work: Work, begun: &Begun, begins: &Begun) -> Answer<'static> {
    std::future::poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if begun.is_set() {
            begins.set();
        }
        polled
    })
    .await
}

fn refuse_rate(spec: &RateLimitSpec, wait: Duration) -> Answer<'static> {
    Answer::Error {
        code: ErrorCode::RATE_LIMITED,
        detail: format!("over {} requests a second", spec.per_second).into(),
        retry_after: Some(wait),
    }
}
