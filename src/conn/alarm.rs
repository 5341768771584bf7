//! The one timer of a connection.

use super::core::Shared;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::Sleep;

/// Wakes a connection's task when something is due, or earlier: a time that moves back with every
/// frame, as that of the next heartbeat does, leaves it alone, since looking again once in a while is
/// cheaper than moving a timer all the time.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    set: Option<(Pin<Box<Sleep>>, Instant)>,
    /// Whether the timer knows the task: it was polled since it was last set.
    armed: bool,
}

impl Alarm {
    /// Ready when it goes off; it must be [set again](Alarm::set_again) then. `busy` says at which
    /// time something else kept the task awake, if it did.
    pub(super) fn poll<D>(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
        busy: Option<Instant>,
        shared: &Shared<D>,
    ) -> Poll<()> {
        match &mut self.set {
            Some((sleep, at)) if *at > deadline => {
                sleep.as_mut().reset(deadline.into());
                *at = deadline;
            }
            // The time has not come: if it goes off from now on, it wakes the task again.
            Some((_, at)) if self.armed && busy.is_some_and(|now| now < *at) => {
                return Poll::Pending;
            }
            Some(_) => {}
            None => self.set = Some((shared.sleep_until(deadline), deadline)),
        }
        let Some((sleep, _)) = &mut self.set else {
            return Poll::Pending;
        };
        self.armed = true;
        sleep.as_mut().poll(cx)
    }

    /// Sets an alarm that has gone off to its next time.
    pub(super) fn set_again(&mut self, next: Instant) {
        if let Some((sleep, at)) = &mut self.set {
            sleep.as_mut().reset(next.into());
            *at = next;
            self.armed = false;
        }
    }
}
