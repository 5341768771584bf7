//! Outlier ejection: an endpoint that does worse than it should is taken out of the choice for a
//! while, as long as enough others are left. Where the breaker is what protects an endpoint, and may shut
//! all of them, this protects requests, and never takes more than a share.

use super::breaker::Verdict;
use super::window::Window;
use std::time::{Duration, Instant};

/// When endpoints are taken out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionSettings {
    /// Out after so many failures in a row; 0 does not look at that.
    pub consecutive: u32,
    /// Out when so many percent of the attempts of a window failed; 0 does not look at that.
    pub percent: u8,
    /// Of at least so many attempts.
    pub least: u32,
    /// How long attempts are remembered.
    pub window: Duration,
    /// How long it is out the first time; the n-th time, n times as long.
    pub base: Duration,
    /// But no longer than this.
    pub max: Duration,
    /// Percent of the endpoints that may be out at a time, rounded down; of those that an operator has
    /// taken out, too.
    pub max_percent: u8,
}

impl Default for EjectionSettings {
    fn default() -> EjectionSettings {
        EjectionSettings {
            consecutive: 5,
            percent: 30,
            least: 20,
            window: Duration::from_secs(10),
            base: Duration::from_secs(30),
            max: Duration::from_secs(300),
            max_percent: 50,
        }
    }
}

impl EjectionSettings {
    /// Whether one more may go when `out` of `all` are out.
    pub(super) fn allows(&self, out: usize, all: usize) -> bool {
        (out + 1) * 100 <= all * usize::from(self.max_percent.min(100))
    }
}

/// Whether an endpoint is in the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is.
    In,
    /// It is out, and comes back by itself.
    Out {
        /// At this time.
        until: Instant,
    },
    /// An operator took it out, and has to put it back.
    Removed,
}

/// The place of one endpoint. It reads no clock.
#[derive(Debug)]
pub(super) struct Ejection {
    settings: EjectionSettings,
    place: Place,
    window: Window,
    row: u32,
    /// How often it was out, less one for each [`EjectionSettings::base`] that it did well since.
    times: u32,
    back: Instant,
}

impl Ejection {
    pub(super) fn new(settings: EjectionSettings, now: Instant) -> Ejection {
        Ejection {
            settings,
            place: Place::In,
            window: Window::new(settings.window, now),
            row: 0,
            times: 0,
            back: now,
        }
    }

    pub(super) fn place(&self, now: Instant) -> Place {
        match self.place {
            Place::Out { until } if now >= until => Place::In,
            place => place,
        }
    }

    /// An attempt has ended. Gives whether it should go; what ends while it is out says nothing new.
    pub(super) fn ended(&mut self, verdict: Verdict, now: Instant) -> bool {
        if verdict == Verdict::Unseen || self.place(now) != Place::In {
            return false;
        }
        let failed = verdict == Verdict::Failed;
        self.row = if failed {
            self.row.saturating_add(1)
        } else {
            0
        };
        self.window.add(failed, now);
        let EjectionSettings {
            consecutive,
            percent,
            least,
            ..
        } = self.settings;
        let in_a_row = consecutive > 0 && self.row >= consecutive;
        let share = || percent > 0 && self.window.counts(now).failed_percent(percent, least);
        failed && (in_a_row || share())
    }

    /// It goes, for longer each time.
    pub(super) fn eject(&mut self, now: Instant) {
        let EjectionSettings { base, max, .. } = self.settings;
        let well = now.saturating_duration_since(self.back);
        let forgiven = well.as_nanos() / base.max(Duration::from_millis(1)).as_nanos();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        self.times = self.times.saturating_sub(forgiven).saturating_add(1);
        let until = now + base.saturating_mul(self.times).min(max);
        (self.place, self.back) = (Place::Out { until }, until);
        self.forget();
    }

    /// An operator takes it out.
    pub(super) fn remove(&mut self) {
        self.place = Place::Removed;
        self.forget();
    }

    /// An operator puts it back, whoever took it out.
    pub(super) fn restore(&mut self, now: Instant) {
        (self.place, self.back, self.times) = (Place::In, now, 0);
        self.forget();
    }

    fn forget(&mut self) {
        self.row = 0;
        self.window.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: EjectionSettings = EjectionSettings {
        consecutive: 3,
        percent: 50,
        least: 10,
        window: Duration::from_secs(10),
        base: Duration::from_secs(30),
        max: Duration::from_secs(100),
        max_percent: 50,
    };

    fn until(ejection: &Ejection, now: Instant) -> Duration {
        match ejection.place(now) {
            Place::Out { until } => until - now,
            place => panic!("{place:?}"),
        }
    }

    #[test]
    fn failures_in_a_row_or_a_share_of_them_are_reason_to_go() {
        let now = Instant::now();
        let mut ejection = Ejection::new(SETTINGS, now);
        assert!(!ejection.ended(Verdict::Failed, now));
        assert!(!ejection.ended(Verdict::Failed, now));
        assert!(!ejection.ended(Verdict::Unseen, now));
        assert!(ejection.ended(Verdict::Failed, now));
        let mut ejection = Ejection::new(SETTINGS, now);
        let verdicts = [Verdict::Well, Verdict::Failed].into_iter().cycle();
        let judged: Vec<bool> = verdicts.take(10).map(|v| ejection.ended(v, now)).collect();
        assert_eq!(judged.iter().position(|goes| *goes), Some(9));
    }

    #[test]
    fn each_time_is_longer_up_to_a_bound_and_time_well_spent_is_credited() {
        let mut now = Instant::now();
        let mut ejection = Ejection::new(SETTINGS, now);
        for expected in [30, 60, 90, 100, 100] {
            ejection.eject(now);
            assert_eq!(until(&ejection, now).as_secs(), expected);
            assert!(!ejection.ended(Verdict::Failed, now), "it is out already");
            now += Duration::from_secs(expected);
            assert_eq!(ejection.place(now), Place::In);
        }
        now += 10 * SETTINGS.base;
        ejection.eject(now);
        assert_eq!(until(&ejection, now).as_secs(), 30);
    }

    #[test]
    fn an_operator_decides_for_good() {
        let now = Instant::now();
        let mut ejection = Ejection::new(SETTINGS, now);
        ejection.remove();
        let later = now + Duration::from_secs(1_000_000);
        assert_eq!(ejection.place(later), Place::Removed);
        ejection.restore(later);
        assert_eq!(ejection.place(later), Place::In);
        ejection.eject(later);
        ejection.restore(later);
        assert_eq!(ejection.place(later), Place::In);
    }

    #[test]
    fn no_more_than_a_share_is_out() {
        let allowed = |out, all| SETTINGS.allows(out, all);
        assert!(!allowed(0, 0));
        assert!(!allowed(0, 1), "the last one stays");
        assert!(allowed(0, 2));
        assert!(!allowed(1, 2));
        assert!(!allowed(1, 3));
        assert!(allowed(1, 4));
        let all = EjectionSettings {
            max_percent: 100,
            ..SETTINGS
        };
        assert!(all.allows(0, 1));
    }
}
