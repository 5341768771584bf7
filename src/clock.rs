//! The time, read once for everything that a connection does in one go.
//!
//! Looking at the clock takes as long as a tenth of an echo. What one read or one delivery of mail brings is
//! dealt with in microseconds, and all of it shares one look; whoever runs elsewhere looks for himself.

use std::cell::Cell;
use std::time::Instant;

thread_local! {
    static HELD: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The clock stands still on this thread while it lives.
pub(crate) struct Held(());

/// Has this thread take it to be `now`, as somebody has just looked.
#[inline]
pub(crate) fn hold(now: Instant) -> Held {
    HELD.set(Some(now));
    Held(())
}

impl Drop for Held {
    #[inline]
    fn drop(&mut self) {
        HELD.set(None);
    }
}

/// The time that is held on this thread.
#[inline]
pub(crate) fn held() -> Option<Instant> {
    HELD.get()
}

/// The time, as it is held on this thread or by the system's clock.
#[inline]
pub(crate) fn now() -> Instant {
    held().unwrap_or_else(Instant::now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_stands_still_while_it_is_held_and_goes_on_afterwards() {
        let past = Instant::now() - Duration::from_secs(1);
        let held = hold(past);
        assert_eq!(now(), past);
        drop(held);
        assert!(now() > past);
    }
}
