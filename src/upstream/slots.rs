//! How many attempts run at a time, and how many wait for that.

use super::limit::{AdaptiveSettings, Gradient};
use super::refusal::Refusal;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one that finds no room is asked to wait: by then a few of those before it are done.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Places for attempts.
pub(super) struct Slots {
    places: Arc<Semaphore>,
    max: usize,
    max_pending: usize,
    pending: AtomicUsize,
    adaptive: Option<Mutex<Gradient>>,
}

/// A place of an attempt.
pub(super) struct Slot(
    #[allow(dead_code, reason = "held until the attempt is over")] OwnedSemaphorePermit,
);

/// Waits; counted until it is dropped.
struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Slots {
    pub(super) fn new(max: usize, max_pending: usize, adaptive: Option<AdaptiveSettings>) -> Slots {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Slots {
            places: Arc::new(Semaphore::new(max)),
            max,
            max_pending,
            pending: AtomicUsize::new(0),
            adaptive: adaptive.map(|settings| Mutex::new(Gradient::new(settings))),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.max - self.places.available_permits()
    }

    fn gradient(&self) -> Option<MutexGuard<'_, Gradient>> {
        let gradient = self.adaptive.as_ref()?.lock();
        Some(gradient.unwrap_or_else(PoisonError::into_inner))
    }

    /// The adaptive limit, where there is one.
    pub(super) fn limit(&self) -> Option<usize> {
        self.gradient().map(|gradient| gradient.limit())
    }

    /// A place, at once.
    pub(super) fn try_enter(&self) -> Option<Slot> {
        if self.limit().is_some_and(|limit| self.running() >= limit) {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Slot(place))
    }

    /// A place, or a place among those who wait for one.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<Slot, Refusal> {
        if let Some(slot) = self.try_enter() {
            return Ok(slot);
        }
        let overloaded = Refusal::Overloaded {
            retry_after: RETRY_AFTER,
        };
        // Whoever is over a limit that was found by others' waiting would only make them wait longer.
        if self.limit().is_some_and(|limit| self.running() >= limit) {
            return Err(overloaded);
        }
        let waits = self.pending.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.pending);
        if waits >= self.max_pending {
            return Err(overloaded);
        }
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout_at(deadline.into(), place).await {
            Ok(Ok(place)) => Ok(Slot(place)),
            // It is never closed.
            Ok(Err(_)) => Err(overloaded),
            Err(_) => Err(Refusal::Expired),
        }
    }

    /// An attempt was answered after `took`, or lost.
    pub(super) fn ended(&self, took: Option<Duration>) {
        let Some(mut gradient) = self.gradient() else {
            return;
        };
        match took {
            Some(took) => gradient.answered(took, self.running()),
            None => gradient.lost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_minute() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn so_many_run_so_many_wait_and_the_next_is_told_at_once() {
        let slots = Arc::new(Slots::new(2, 1, None));
        let first = slots.enter(in_a_minute()).await.ok().unwrap();
        let _second = slots.enter(in_a_minute()).await.ok().unwrap();
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.enter(in_a_minute()).await.is_ok() }
        });
        while slots.pending() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = slots.enter(in_a_minute()).await.err();
        let retry_after = RETRY_AFTER;
        assert_eq!(refused, Some(Refusal::Overloaded { retry_after }));
        drop(first);
        assert!(waiting.await.unwrap());
        assert_eq!(slots.pending(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_deadline() {
        let slots = Slots::new(1, 1, None);
        let _first = slots.enter(in_a_minute()).await.ok().unwrap();
        assert_eq!(
            slots.enter(in_a_minute()).await.err(),
            Some(Refusal::Expired)
        );
        assert_eq!(slots.pending(), 0);
    }

    #[tokio::test]
    async fn over_an_adaptive_limit_nobody_waits() {
        let settings = AdaptiveSettings {
            min: 2,
            max: 2,
            ..AdaptiveSettings::default()
        };
        let slots = Slots::new(100, 100, Some(settings));
        let _held = [slots.try_enter().unwrap(), slots.try_enter().unwrap()];
        assert!(matches!(
            slots.enter(in_a_minute()).await,
            Err(Refusal::Overloaded { .. })
        ));
    }
}
