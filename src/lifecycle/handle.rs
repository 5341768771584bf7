//! The handle through which everybody else sees and drives the machine.

use super::machine::{Event, InvalidTransition, Machine, Phase, Transition};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

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
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    machine: Arc<Mutex<Machine>>,
}

impl Lifecycle {
    /// A lifecycle in [`Phase::Initializing`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The phase right now.
    pub fn current(&self) -> Phase {
        self.machine().phase()
    }

    /// The machine as it is now, with its history, for status pages.
    pub fn snapshot(&self) -> Machine {
        self.machine().clone()
    }

    /// Applies `event`, logs the step and returns it.
    ///
    /// # Errors
    /// [`InvalidTransition`] when the current phase does not allow the event;
    /// nothing changes, and a warning is logged.
    pub fn transition(&self, event: Event) -> Result<Transition, InvalidTransition> {
        // Logged without the lock: standard error may block, health checks must not.
        let result = self.machine().apply(event, SystemTime::now()).cloned();
        log(&result);
        result
    }

    /// A panic elsewhere cannot leave the machine between two phases.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
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
    use crate::lifecycle::Cause;

    #[test]
    fn a_refused_event_changes_nothing() {
        let lifecycle = Lifecycle::new();
        let refused = lifecycle.transition(Event::Stopped).unwrap_err();
        assert_eq!(refused.phase, Phase::Initializing);
        assert_eq!(lifecycle.current(), Phase::Initializing);
        assert_eq!(lifecycle.snapshot().history().len(), 0);
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
