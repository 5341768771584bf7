//! Whether an attempt is followed by another, and after which pause. Pure.

use super::attempt::Fate;
use mcpd_client::{Backoff, BudgetSettings};
use std::time::Duration;

/// How often and how soon attempts are repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// Attempts for one request at most, the first included; hedges are not counted.
    pub attempts: u32,
    /// Bounds of the pauses, of which each is drawn anew from nothing to its bound.
    pub backoff: Backoff,
    /// How many attempts there may be beyond the first ones, over all requests.
    pub budget: BudgetSettings,
}

impl Default for RetrySettings {
    fn default() -> RetrySettings {
        RetrySettings {
            attempts: 3,
            backoff: Backoff {
                first: Duration::from_millis(25),
                cap: Duration::from_secs(1),
            },
            budget: BudgetSettings {
                ratio: 0.2,
                per_second: 10,
            },
        }
    }
}

/// The pause that an attempt with this fate, the `n`-th from 1 on, is followed by; `None` where it is the
/// last one. `random` is from 0 up to 1.
pub(super) fn pause(
    settings: &RetrySettings,
    idempotent: bool,
    n: u32,
    fate: Fate,
    random: f64,
) -> Option<Duration> {
    let may = match fate {
        Fate::NotSent | Fate::Unreached | Fate::Refused { .. } => true,
        Fate::Unknown | Fate::TimedOut => idempotent,
        Fate::Answered { .. } | Fate::Rejected | Fate::GivenUp => false,
    };
    if !may || n >= settings.attempts {
        return None;
    }
    let jitter = settings.backoff.bound(n - 1).mul_f64(random);
    match fate {
        // At least what was asked for, and up to as much again.
        Fate::Refused {
            retry_after: Some(wait),
        } => Some(wait + wait.mul_f64(random).max(jitter)),
        _ => Some(jitter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(idempotent: bool, n: u32, fate: Fate) -> Option<u128> {
        let settings = RetrySettings::default();
        let pause = pause(&settings, idempotent, n, fate, 0.5);
        pause.map(|pause| pause.as_micros())
    }

    #[test]
    fn only_what_was_not_executed_or_may_be_twice_is_tried_again() {
        let refused = Fate::Refused { retry_after: None };
        for fate in [Fate::NotSent, refused] {
            assert_eq!(again(false, 1, fate), Some(12_500));
            assert_eq!(again(false, 2, fate), Some(25_000));
            assert_eq!(again(true, 3, fate), None);
        }
        assert_eq!(again(false, 1, Fate::Unknown), None);
        assert_eq!(again(true, 1, Fate::Unknown), Some(12_500));
        for well in [true, false] {
            assert_eq!(again(true, 1, Fate::Answered { well }), None);
        }
        assert_eq!(again(true, 1, Fate::Rejected), None);
    }

    #[test]
    fn a_wait_that_was_asked_for_is_waited() {
        let fate = |ms| Fate::Refused {
            retry_after: Some(Duration::from_millis(ms)),
        };
        assert_eq!(again(false, 1, fate(100)), Some(150_000));
        assert_eq!(again(false, 1, fate(1)), Some(13_500));
    }
}
