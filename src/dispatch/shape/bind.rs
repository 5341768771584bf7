//! Binding what shapes a route to its handlers.

use super::mirror::Mirror;
use super::rotation::Rotation;
use super::rule::Rule;
use super::{Fault, Leg, Mirrors, Shape, Split};
use crate::handler::Handlers;
use crate::router::document::{RouteSpec, Target};
use crate::scheduler::Scheduler;
use crate::telemetry::{NewCounts, Shaped};
use std::sync::Arc;

/// What the routes of one table are bound to.
pub(in crate::dispatch) struct Binding<'b> {
    pub(in crate::dispatch) handlers: &'b Handlers,
    pub(in crate::dispatch) scheduler: &'b Scheduler,
    pub(in crate::dispatch) mirrors: &'b Arc<Mirrors>,
    pub(in crate::dispatch) counts: NewCounts<'b>,
}

impl Binding<'_> {
    /// The way to a handler; `None` if there is none of this name.
    fn leg(&self, handler: &str) -> Option<Leg> {
        Some(Leg {
            handler: Arc::clone(self.handlers.get(handler)?),
            admission: self.scheduler.admission(handler),
            choice: None,
        })
    }

    /// Whether a request needs HOPS whichever handler takes it. Where only some of them forward, those
    /// refuse it themselves.
    pub(in crate::dispatch) fn forwards(&self, spec: &RouteSpec) -> bool {
        let forwards = |name: &str| self.handlers.get(name).is_some_and(|one| one.forwards());
        spec.choices().iter().all(|(_, name)| forwards(name))
    }

    /// The same for one of several.
    fn choice(&mut self, route: &str, handler: &str) -> Option<Leg> {
        let count = self.counts.count(Shaped::Choice, route, handler);
        Some(Leg {
            choice: Some((handler.into(), count)),
            ..self.leg(handler)?
        })
    }

    /// The way that a route's calls take by default, and what else is done with them. What deals out
    /// turns goes on where it was in `before`.
    pub(in crate::dispatch) fn route(
        &mut self,
        spec: &RouteSpec,
        before: Option<&Shape>,
    ) -> Option<(Leg, Option<Box<Shape>>)> {
        let name = spec.name.as_str();
        let fault = spec.fault.as_ref().map(|fault| {
            let before = before.and_then(|shape| shape.fault.as_ref());
            Fault::new(
                fault,
                before.map(|fault| &fault.rotation),
                name,
                &mut self.counts,
            )
        });
        let mut rules = Vec::with_capacity(spec.matches.len());
        for rule in &spec.matches {
            rules.push(Rule::new(rule, self.choice(name, &rule.handler)?));
        }
        let (leg, split) = match &spec.target {
            Target::Handler(handler) if rules.is_empty() => (self.leg(handler)?, None),
            Target::Handler(handler) => (self.choice(name, handler)?, None),
            Target::Split(split) => {
                let first = split.shares.first()?;
                let leg = self.choice(name, &first.handler)?;
                (leg, Some(self.split(name, split, before)?))
            }
        };
        let mirror = match &spec.mirror {
            Some(mirror) => {
                let before = before.and_then(|shape| shape.mirror.as_ref());
                let before = before.map(|mirror| &mirror.rotation);
                let leg = self.leg(&mirror.handler)?;
                let (percent, mirrors) = (mirror.percent, self.mirrors);
                Some(Mirror::new(
                    percent,
                    leg,
                    before,
                    name,
                    mirrors,
                    &mut self.counts,
                ))
            }
            None => None,
        };
        let shape = Shape {
            fault,
            rules: rules.into(),
            split,
            rewrite: spec.rewrite.clone(),
            mirror,
        };
        Some((leg, shape.does_anything().then(|| Box::new(shape))))
    }

    fn split(
        &mut self,
        route: &str,
        spec: &crate::router::document::Split,
        before: Option<&Shape>,
    ) -> Option<Split> {
        let before = before.and_then(|shape| shape.split.as_ref());
        let weights: Vec<u32> = spec.shares.iter().map(|share| share.weight).collect();
        let shares = spec.shares.iter();
        let legs = shares.map(|share| self.choice(route, &share.handler));
        Some(Split {
            rotation: Rotation::keeping(before.map(|split| &split.rotation), &weights),
            sticky: spec.sticky.clone(),
            legs: legs.collect::<Option<_>>()?,
        })
    }
}

impl Shape {
    fn does_anything(&self) -> bool {
        let Shape {
            fault,
            rules,
            split,
            rewrite,
            mirror,
        } = self;
        let extra = fault.is_some() || split.is_some() || rewrite.is_some() || mirror.is_some();
        extra || !rules.is_empty()
    }
}
