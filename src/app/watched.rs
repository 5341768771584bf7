//! What is looked at again and again, for as long as the process runs: tokens, principals, certificates, handlers.
//!
//! Files are polled as the routes file is, and for the same reasons; but being small they are read
//! every time, so that a mount that is swapped as a whole shows at once.

use crate::background;
use crate::files::Settled;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often files are looked at. A change counts at the second look, so it is in force within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks at something twice a second, and tells when it differs from what it was.
pub(super) struct Watch<T> {
    looks: Interval,
    settled: Settled<T>,
}

impl<T: PartialEq + Send + 'static> Watch<T> {
    pub(super) fn new() -> Watch<T> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let settled = Settled::new(None);
        Watch { looks, settled }
    }

    /// Waits until it is time for another look; the first time is now.
    pub(super) async fn tick(&mut self) {
        self.looks.tick().await;
    }

    /// Runs `look` where it may block: what it gave, if that was so at the look before, too, and is something
    /// else than was told last. So a file that is caught half written is not taken. What is there from the
    /// beginning is told as well, because a file may have changed since the start has read it.
    pub(super) async fn look(&mut self, look: impl FnOnce() -> T + Send + 'static) -> Option<&T> {
        let seen = background::run(look).await.ok()?;
        self.settled.see(seen)
    }

    /// There is nothing to look at for now: what comes next is told in any case.
    pub(super) fn forget(&mut self) {
        self.settled = Settled::new(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_differs_and_stays_is_told() {
        let mut watch = Watch::new();
        watch.tick().await;
        assert_eq!(watch.look(|| 1).await, None);
        watch.tick().await;
        assert_eq!(watch.look(|| 1).await, Some(&1));
        assert_eq!(watch.look(|| 1).await, None);
        assert_eq!(watch.look(|| 2).await, None);
        assert_eq!(watch.look(|| 3).await, None);
        assert_eq!(watch.look(|| 3).await, Some(&3));
        watch.forget();
        assert_eq!(watch.look(|| 3).await, None);
        assert_eq!(watch.look(|| 3).await, Some(&3));
    }
}
