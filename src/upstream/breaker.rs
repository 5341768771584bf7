//! The breaker of an endpoint: one that keeps failing is left alone for a while.
//!
//! ```text
//!            failures              open_for is over
//!  Closed ─────────────▶ Open ───────────────────────▶ HalfOpen
//!     ▲                    ▲                            │     │
//!     └────────────────────┼──── probes succeeded ──────┘     │
//!                          └──────────── one failed ──────────┘
//! ```

use super::window::{Counts, Window};
use std::time::{Duration, Instant};

/// When a breaker opens, and how it closes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// It opens after so many failures in a row; 0 does not look at that.
    pub consecutive: u32,
    /// It opens when so many percent of the attempts of a window failed; 0 does not look at that.
    pub percent: u8,
    /// Of at least so many attempts.
    pub least: u32,
    /// How long attempts are remembered.
    pub window: Duration,
    /// How long it stays open before it lets probes through.
    pub open_for: Duration,
    /// Probes that must succeed, one after the other, before it closes.
    pub probes: u32,
}

impl Default for BreakerSettings {
    fn default() -> BreakerSettings {
        BreakerSettings {
            consecutive: 10,
            percent: 50,
            least: 20,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(5),
            probes: 2,
        }
    }
}

/// Whether attempts get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// All do.
    Closed,
    /// None does.
    Open,
    /// One at a time, to see whether things are better.
    HalfOpen,
}

impl BreakerState {
    /// As metrics and the admin API call it.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool, succeeded: u32 },
}

/// How an attempt ended, as far as the health of its endpoint is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It did its work, or had good reason not to.
    Well,
    /// It could not be reached, was lost, took too long, or failed.
    Failed,
    /// It was given up before it could show.
    Unseen,
}

/// Leave for one attempt, to be given back with its verdict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pass {
    probe: bool,
}

/// A breaker. It reads no clock.
#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    window: Window,
    row: u32,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings, now: Instant) -> Breaker {
        Breaker {
            settings,
            state: State::Closed,
            window: Window::new(settings.window, now),
            row: 0,
        }
    }

    /// An open one whose time is over counts as half open, whether or not somebody has come since.
    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When it may let somebody through, if it does not now.
    pub(super) fn closed_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Open { until } if now < until => Some(until),
            State::HalfOpen { probing: true, .. } => Some(now),
            _ => None,
        }
    }

    /// Leave for an attempt.
    pub(super) fn enter(&mut self, now: Instant) -> Option<Pass> {
        match &mut self.state {
            State::Closed => Some(Pass { probe: false }),
            State::Open { until } if now < *until => None,
            State::Open { .. } => {
                self.state = State::HalfOpen {
                    probing: true,
                    succeeded: 0,
                };
                Some(Pass { probe: true })
            }
            State::HalfOpen { probing: true, .. } => None,
            State::HalfOpen { probing, .. } => {
                *probing = true;
                Some(Pass { probe: true })
            }
        }
    }

    /// An attempt has ended. What began before the breaker opened says nothing about now.
    pub(super) fn ended(&mut self, pass: Pass, verdict: Verdict, now: Instant) {
        match (&mut self.state, pass.probe) {
            (State::Closed, _) => self.count(verdict, now),
            (State::HalfOpen { probing, succeeded }, true) => {
                *probing = false;
                match verdict {
                    Verdict::Unseen => {}
                    Verdict::Failed => self.open(now),
                    Verdict::Well => {
                        *succeeded += 1;
                        if *succeeded >= self.settings.probes {
                            self.close();
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, verdict: Verdict, now: Instant) {
        let failed = match verdict {
            Verdict::Unseen => return,
            Verdict::Well => false,
            Verdict::Failed => true,
        };
        self.row = if failed {
            self.row.saturating_add(1)
        } else {
            0
        };
        self.window.add(failed, now);
        if !failed {
            return;
        }
        let BreakerSettings {
            consecutive,
            percent,
            least,
            ..
        } = self.settings;
        let in_a_row = consecutive > 0 && self.row >= consecutive;
        let counts: Counts = self.window.counts(now);
        if in_a_row || (percent > 0 && counts.failed_percent(percent, least)) {
            self.open(now);
        }
    }

    fn open(&mut self, now: Instant) {
        let until = now + self.settings.open_for;
        self.state = State::Open { until };
    }

    /// Lets everybody through, and forgets.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.row = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        consecutive: 3,
        percent: 50,
        least: 10,
        window: Duration::from_secs(10),
        open_for: Duration::from_secs(5),
        probes: 2,
    };

    fn attempt(breaker: &mut Breaker, verdict: Verdict, now: Instant) {
        let pass = breaker.enter(now).expect("it lets an attempt through");
        breaker.ended(pass, verdict, now);
    }

    #[test]
    fn failures_in_a_row_open_it_and_probes_close_it() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, now);
        for verdict in [Verdict::Failed, Verdict::Failed, Verdict::Well] {
            attempt(&mut breaker, verdict, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        (0..3).for_each(|_| attempt(&mut breaker, Verdict::Failed, now));
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert!(breaker.enter(now).is_none());
        assert_eq!(breaker.closed_until(now), Some(now + SETTINGS.open_for));

        now += SETTINGS.open_for;
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        let probe = breaker.enter(now).unwrap();
        assert!(breaker.enter(now).is_none(), "one probe at a time");
        breaker.ended(probe, Verdict::Well, now);
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        attempt(&mut breaker, Verdict::Well, now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_one_given_up_makes_room_for_another() {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, now);
        let early = breaker.enter(now).unwrap();
        (0..3).for_each(|_| attempt(&mut breaker, Verdict::Failed, now));
        now += SETTINGS.open_for;
        attempt(&mut breaker, Verdict::Unseen, now);
        let probe = breaker.enter(now).unwrap();
        breaker.ended(early, Verdict::Failed, now);
        assert_eq!(
            breaker.state(now),
            BreakerState::HalfOpen,
            "it was no probe"
        );
        breaker.ended(probe, Verdict::Failed, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn the_share_of_failures_opens_it_too_but_not_of_a_few() {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS, now);
        for _ in 0..4 {
            attempt(&mut breaker, Verdict::Failed, now);
            attempt(&mut breaker, Verdict::Well, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        attempt(&mut breaker, Verdict::Well, now);
        attempt(&mut breaker, Verdict::Failed, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }

    #[test]
    fn what_is_not_asked_for_opens_nothing() {
        let now = Instant::now();
        let settings = BreakerSettings {
            consecutive: 0,
            percent: 0,
            ..SETTINGS
        };
        let mut breaker = Breaker::new(settings, now);
        (0..1000).for_each(|_| attempt(&mut breaker, Verdict::Failed, now));
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }
}
