//! What happens to a call between its route and its handler, where the route says more than one name.
//!
//! In this order: a fault may strike it, a match or the split chooses its handler, its topic is made
//! another one, a copy may go to the mirror, and the handler is called. A route that says nothing of
//! this has no [`Shape`], and its calls do not come by here.

mod bind;
mod fault;
mod mirror;
mod rotation;
mod rule;

pub(super) use bind::Binding;
pub use mirror::{MIRROR_HEADER, MirrorLimits, Mirrors};

use super::BoundRoute;
use crate::handler::Handler;
use crate::message::{Answer, Call, Outcome};
use crate::router::document::{Rewrite, Sticky};
use crate::scheduler::Admission;
use crate::telemetry::Count;
use fault::Fault;
use mcpd_proto::ErrorCode;
use mcpd_proto::topic::Topic;
use mirror::Mirror;
use rotation::Rotation;
use rule::Rule;
use std::sync::Arc;

/// A handler and the way there.
pub(super) struct Leg {
    pub(super) handler: Arc<dyn Handler>,
    pub(super) admission: Admission,
    /// Its name and what the route gave it so far, where there is a choice.
    pub(super) choice: Option<(Arc<str>, Arc<Count>)>,
}

/// What a route does beside leading to one handler.
pub(super) struct Shape {
    fault: Option<Fault>,
    rules: Box<[Rule]>,
    split: Option<Split>,
    rewrite: Option<Rewrite>,
    mirror: Option<Mirror>,
}

/// Handlers by weight.
struct Split {
    rotation: Arc<Rotation>,
    sticky: Option<Sticky>,
    legs: Box<[Leg]>,
}

impl Split {
    fn leg(&self, call: &Call<'_>) -> Option<&Leg> {
        let place = match self.key(call) {
            Some(key) => self.rotation.of(key),
            None => self.rotation.next(),
        };
        self.legs.get(place)
    }

    /// By what the call stays with a handler.
    fn key<'c>(&self, call: &Call<'c>) -> Option<&'c [u8]> {
        match self.sticky.as_ref()? {
            Sticky::ClientId => call.peer.client_id.as_deref().map(str::as_bytes),
            Sticky::Header(key) => {
                let mut headers = call.meta.headers();
                headers
                    .find(|(found, _)| found == key)
                    .map(|(_, value)| value)
            }
        }
    }
}

impl Shape {
    /// The handler of a call; `None` for the route's own.
    fn choose(&self, call: &Call<'_>) -> Option<&Leg> {
        let rule = self.rules.iter().find(|rule| rule.holds(call));
        match rule {
            Some(rule) => Some(&rule.leg),
            None => self.split.as_ref()?.leg(call),
        }
    }
}

impl BoundRoute {
    /// Takes a call on to a handler, by way of whatever the route does beside.
    pub(super) fn go_on<'a>(self: &'a Arc<Self>, call: &Call<'a>) -> Outcome<'a> {
        match self.shape.as_ref().and_then(|shape| shape.fault.as_ref()) {
            Some(fault) => self.past_fault(fault, call),
            None => self.forward(call),
        }
    }

    /// Chooses the handler, makes the topic, sends the copy, and calls.
    fn forward<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        let Some(shape) = &self.shape else {
            return self.run(&self.leg, call);
        };
        let leg = shape.choose(call).unwrap_or(&self.leg);
        let Some(rewrite) = &shape.rewrite else {
            return self.hand_over(shape, leg, call);
        };
        let Some(made) = rewrite.fill(call.topic.as_str()) else {
            return Outcome::Now(not_made("it would be too long"));
        };
        match Topic::parse(made.as_bytes()) {
            Ok(topic) if !topic.is_reserved() => {
                let call = Call { topic, ..*call };
                // An answer in place may be made of the topic, which ends here.
                self.hand_over(shape, leg, &call).into_owned()
            }
            Ok(_) => Outcome::Now(not_made("it is kept for the server itself")),
            Err(error) => Outcome::Now(not_made(&error.to_string())),
        }
    }

    fn hand_over<'a>(&'a self, shape: &Shape, leg: &'a Leg, call: &Call<'a>) -> Outcome<'a> {
        if let Some((name, count)) = &leg.choice {
            count.add();
            if let Some(span) = call.span {
                span.leads_to(name);
            }
        }
        if let Some(mirror) = &shape.mirror {
            mirror.send(call);
        }
        self.run(leg, call)
    }
}

#[cold]
fn not_made(why: &str) -> Answer<'static> {
    let text = format!("the route makes another topic of this one, and it is none: {why}");
    Answer::error(ErrorCode::INVALID_REQUEST, text)
}
