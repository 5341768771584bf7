//! The handle through which everybody else sees and drives the machine.

use std::time::SystemTime;

use tokio::sync::watch;

use super::machine::{Event, InvalidTransition, Machine, Phase, Transition};

/// A cheap, cloneable handle on the one lifecycle of this process.
///
/// ```
/// use mcpd::lifecycle::{Event, Lifecycle, Phase};
///
/// let lifecycle = Lifecycle::new();
/// let elsewhere = lifecycle.clone();
/// lifecycle.transition(Event::Started)?;
/// assert_eq!(elsewhere.current(), Phase::Running);
/// # Ok::<(), mcpd::lifecycle::InvalidTransition>(())
/// ```
#[derive(Clone, Debug)]
pub struct Lifecycle {
    // The sender lives in every handle, so a receiver never sees it dropped.
    machine: watch::Sender<Machine>,
    seen: watch::Receiver<Machine>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A lifecycle in [`Phase::Initializing`].
    #[must_use]
    pub fn new() -> Self {
        let (machine, seen) = watch::channel(Machine::new());
        Self { machine, seen }
    }

    /// The phase right now.
    #[must_use]
    pub fn current(&self) -> Phase {
        self.machine.borrow().phase()
    }

    /// The machine as it is now, with its history, for status pages.
    #[must_use]
    pub fn snapshot(&self) -> Machine {
        self.machine.borrow().clone()
    }

    /// Applies `event`, logs the step, wakes everybody who watches and returns
    /// the step.
    ///
    /// # Errors
    /// [`InvalidTransition`] when the current phase does not allow the event;
    /// nothing changes, nobody is woken, and a warning is logged.
    pub fn transition(&self, event: Event) -> Result<Transition, InvalidTransition> {
        let mut outcome = None;
        self.machine.send_if_modified(|machine| {
            let result = machine.apply(event.clone(), SystemTime::now()).cloned();
            let changed = result.is_ok();
            outcome = Some(result);
            changed
        });
        // The closure runs exactly once; the fallback only satisfies the types.
        let result = outcome.unwrap_or(Err(InvalidTransition {
            phase: self.current(),
            event: event.name(),
        }));
        log(&result);
        result
    }

    /// Waits for the next change that this handle has not seen yet and returns
    /// the phase after it. Steps that follow one another quickly may be seen
    /// as one; [`snapshot`](Self::snapshot) has them all.
    ///
    /// Cancel safe.
    pub async fn changed(&mut self) -> Phase {
        // Cannot fail: this handle itself keeps the sender alive.
        let _ = self.seen.changed().await;
        self.seen.borrow_and_update().phase()
    }

    /// Waits until the phase satisfies `wanted`, which may be at once, and
    /// returns it. Every step is looked at unless others follow it before
    /// this task runs.
    ///
    /// Cancel safe.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(Phase) -> bool) -> Phase {
        loop {
            let phase = self.seen.borrow_and_update().phase();
            if wanted(phase) {
                return phase;
            }
            let _ = self.seen.changed().await;
        }
    }
}

fn log(result: &Result<Transition, InvalidTransition>) {
    match result {
        Ok(step) if step.to == Phase::Error => tracing::error!(
            from = step.from.name(), to = step.to.name(), cause = %step.cause, "lifecycle"
        ),
        Ok(step) => tracing::info!(
            from = step.from.name(), to = step.to.name(), cause = %step.cause, "lifecycle"
        ),
        Err(refused) => tracing::warn!(
            phase = refused.phase.name(),
            event = refused.event,
            "lifecycle event refused"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::{Cause, DrainCause};

    #[tokio::test]
    async fn a_step_wakes_every_handle() {
        let lifecycle = Lifecycle::new();
        let mut first = lifecycle.clone();
        let mut second = lifecycle.clone();
        let waiting = tokio::spawn(async move { (first.changed().await, second.changed().await) });
        lifecycle.transition(Event::Started).unwrap();
        assert_eq!(waiting.await.unwrap(), (Phase::Running, Phase::Running));
    }

    #[tokio::test]
    async fn a_refused_event_wakes_nobody_and_changes_nothing() {
        let lifecycle = Lifecycle::new();
        let mut watcher = lifecycle.clone();
        let refused = lifecycle.transition(Event::Stopped).unwrap_err();
        assert_eq!(refused.phase, Phase::Initializing);
        let mut changed = Box::pin(watcher.changed());
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(changed.as_mut().poll(cx)))
                .await
                .is_pending()
        );
        lifecycle.transition(Event::Started).unwrap();
        assert_eq!(changed.await, Phase::Running);
    }

    #[tokio::test]
    async fn waiting_for_a_phase_that_is_already_there_returns_at_once() {
        let mut lifecycle = Lifecycle::new();
        let drain = Event::Drain {
            cause: DrainCause::Interrupt,
        };
        lifecycle.transition(drain).unwrap();
        let phase = lifecycle
            .wait_for(|phase| phase == Phase::ShuttingDown)
            .await;
        assert_eq!(phase, Phase::ShuttingDown);
    }

    #[tokio::test]
    async fn waiting_for_a_phase_sleeps_through_the_others() {
        let lifecycle = Lifecycle::new();
        let mut watcher = lifecycle.clone();
        let running =
            tokio::spawn(async move { watcher.wait_for(|phase| phase == Phase::Running).await });
        let what = "routes.yaml is missing".to_owned();
        lifecycle.transition(Event::Fault { what }).unwrap();
        tokio::task::yield_now().await;
        lifecycle.transition(Event::Recover).unwrap();
        tokio::task::yield_now().await;
        lifecycle.transition(Event::Started).unwrap();
        assert_eq!(running.await.unwrap(), Phase::Running);
    }

    #[test]
    fn the_snapshot_has_every_step_with_its_cause() {
        let lifecycle = Lifecycle::new();
        let what = "port in use".to_owned();
        lifecycle
            .transition(Event::Fault { what: what.clone() })
            .unwrap();
        lifecycle.transition(Event::Recover).unwrap();
        let causes: Vec<Cause> = lifecycle
            .snapshot()
            .history()
            .map(|step| step.cause.clone())
            .collect();
        assert_eq!(causes, [Cause::Fault(what), Cause::Recover]);
    }

    #[test]
    fn concurrent_events_are_decided_one_by_one() {
        let lifecycle = Lifecycle::new();
        let accepted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| lifecycle.transition(Event::Started).is_ok()))
                .collect();
            threads
                .into_iter()
                .map(|thread| usize::from(thread.join().unwrap()))
                .sum()
        });
        assert_eq!(accepted, 1);
    }
}
