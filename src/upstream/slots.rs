//! How many attempts run at a time, and how many wait for that.

use super::limit::{AdaptiveSettings, Gradient};
use super::refusal::Refusal;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What one that finds no room is asked to wait: by then a few of those before it are done.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Places for attempts. No semaphore, as taking a place that is free and giving it back is all that most do, and costs
/// a counter here.
pub(super) struct Slots {
    running: AtomicUsize,
    max: usize,
    max_pending: usize,
    pending: AtomicUsize,
    /// Whose turn it is among those that wait…
    turn: tokio::sync::Mutex<()>,
    /// …and that a place may be free.
    freed: Notify,
    adaptive: Option<Mutex<Gradient>>,
}

/// A place of an attempt, until it is over.
pub(super) struct Slot<'s>(&'s Slots);

impl Slot<'_> {
    /// It is held by whoever will ask for it by [`Slots::held`].
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // In one order with what those that wait do: either it sees one, or that one sees the place.
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        if self.0.pending.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// Waits; counted until it is dropped.
struct Waiting<'s>(&'s AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slots {
    pub(super) fn new(max: usize, max_pending: usize, adaptive: Option<AdaptiveSettings>) -> Slots {
        Slots {
            running: AtomicUsize::new(0),
            max: max.max(1),
            max_pending,
            pending: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            freed: Notify::new(),
            adaptive: adaptive.map(|settings| Mutex::new(Gradient::new(settings))),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    fn gradient(&self) -> Option<MutexGuard<'_, Gradient>> {
        let gradient = self.adaptive.as_ref()?.lock();
        Some(gradient.unwrap_or_else(PoisonError::into_inner))
    }

    /// The adaptive limit, where there is one.
    pub(super) fn limit(&self) -> Option<usize> {
        self.gradient().map(|gradient| gradient.limit())
    }

    /// A place that was [kept](Slot::keep).
    pub(super) fn held(&self) -> Slot<'_> {
        Slot(self)
    }

    /// A place, at once. Those that wait for one come first.
    pub(super) fn try_enter(&self) -> Option<Slot<'_>> {
        let is_over = self.limit().is_some_and(|limit| self.running() >= limit);
        match is_over || self.pending.load(Ordering::Relaxed) > 0 {
            true => None,
            false => self.take(),
        }
    }

    fn take(&self) -> Option<Slot<'_>> {
        let one_more = |running| (running < self.max).then_some(running + 1);
        let taken = self
            .running
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        taken.ok().map(|_| Slot(self))
    }

    /// The next place that is free when it is this one's turn.
    async fn next(&self) -> Slot<'_> {
        let _turn = self.turn.lock().await;
        loop {
            let mut freed = pin!(self.freed.notified());
            // Before it looks, so that no place is freed unseen in between.
            freed.as_mut().enable();
            if let Some(slot) = self.take() {
                return slot;
            }
            freed.await;
        }
    }

    /// A place, or a place among those who wait for one.
    pub(super) async fn enter(&self, deadline: Instant) -> Result<Slot<'_>, Refusal> {
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
        // Who may not wait is never seen to do so: it would be in the way of who finds a place.
        let one_more = |waits| (waits < self.max_pending).then_some(waits + 1);
        let waits = self
            .pending
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more);
        waits.map_err(|_| overloaded)?;
        let _waiting = Waiting(&self.pending);
        let slot = tokio::time::timeout_at(deadline.into(), self.next()).await;
        slot.map_err(|_| Refusal::Expired)
    }

    /// An attempt was answered after `took`, or lost.
    pub(super) fn ended(&self, took: impl FnOnce() -> Option<Duration>) {
        let Some(mut gradient) = self.gradient() else {
            return;
        };
        match took() {
            Some(took) => gradient.answered(took, self.running()),
            None => gradient.lost(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn however_many_come_and_go_everybody_gets_a_place_and_no_more_than_so_many_have_one() {
        let (slots, most) = (
            Arc::new(Slots::new(3, 64, None)),
            Arc::new(AtomicUsize::new(0)),
        );
        let visitor = |n: u64| {
            let (slots, most) = (Arc::clone(&slots), Arc::clone(&most));
            tokio::spawn(async move {
                for turn in 0..500 {
                    let deadline = in_a_minute();
                    if (n + turn).is_multiple_of(7) {
                        // Gives up while it waits, perhaps when it has just got its turn.
                        let soon = tokio::task::yield_now();
                        tokio::select! { _ = slots.enter(deadline) => {}, () = soon => {} }
                        continue;
                    }
                    let _slot = slots.enter(deadline).await.ok().unwrap();
                    most.fetch_max(slots.running(), Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        };
        let visitors: Vec<_> = (0..16).map(visitor).collect();
        for visitor in visitors {
            tokio::time::timeout(Duration::from_secs(60), visitor)
                .await
                .expect("nobody waits for ever")
                .unwrap();
        }
        assert_eq!(most.load(Ordering::Relaxed), 3);
        assert_eq!((slots.running(), slots.pending()), (0, 0));
    }

    #[tokio::test]
    async fn who_waits_is_served_before_who_comes_even_if_it_has_not_looked_yet() {
        let slots = Arc::new(Slots::new(1, 8, None));
        let first = slots.try_enter().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let visit = |name: &'static str| {
            let (slots, order) = (Arc::clone(&slots), Arc::clone(&order));
            tokio::spawn(async move {
                let _slot = slots.enter(in_a_minute()).await.ok().unwrap();
                order.lock().unwrap().push(name);
            })
        };
        let waiting = [visit("a"), visit("b")];
        while slots.pending() < 2 {
            tokio::task::yield_now().await;
        }
        // They are told, and have not run since.
        drop(first);
        assert!(slots.try_enter().is_none());
        let mut newcomer = pin!(slots.enter(in_a_minute()));
        let looked = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(newcomer.as_mut().poll(cx).is_ready())
        });
        assert!(!looked.await, "it comes after those that wait");
        drop(newcomer.await);
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["a", "b"]);
        assert_eq!((slots.running(), slots.pending()), (0, 0));
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
