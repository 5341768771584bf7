//! A limit that finds itself: as many attempts at a time as an upstream takes without answering later.

use std::time::Duration;

/// Bounds and pace of an adaptive limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveSettings {
    /// Never fewer.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// How many times as long as usual answers may take before the limit sinks, in percent.
    pub tolerance_percent: u32,
}

impl Default for AdaptiveSettings {
    fn default() -> AdaptiveSettings {
        AdaptiveSettings {
            min: 4,
            max: 1000,
            tolerance_percent: 150,
        }
    }
}

/// How fast a limit follows what it sees.
const SMOOTHING: f64 = 0.2;
/// Answers that make up what is usual: enough that one burst does not change it.
const USUAL: f64 = 200.0;
/// What a lost or late attempt does to the limit.
const BACK_OFF: f64 = 0.9;
/// The limit sinks by no more than this at a time, before smoothing.
const LEAST_GRADIENT: f64 = 0.5;

/// A limit by the gradient of latency: the time that answers usually take, divided by what this one
/// took. It reads no clock.
#[derive(Debug)]
pub(super) struct Gradient {
    settings: AdaptiveSettings,
    limit: f64,
    /// Seconds that answers usually take.
    usual: Option<f64>,
}

impl Gradient {
    pub(super) fn new(settings: AdaptiveSettings) -> Gradient {
        let mut gradient = Gradient {
            settings,
            limit: 20.0,
            usual: None,
        };
        gradient.set(20.0);
        gradient
    }

    pub(super) fn limit(&self) -> usize {
        // Between two u32.
        self.limit as usize
    }

    fn set(&mut self, limit: f64) {
        let AdaptiveSettings { min, max, .. } = self.settings;
        let (min, max) = (f64::from(min.max(1)), f64::from(max.max(1)));
        self.limit = limit.min(max).max(min);
    }

    /// An attempt was answered after `took`, when `running` were under way.
    pub(super) fn answered(&mut self, took: Duration, running: usize) {
        let took = took.as_secs_f64().max(1e-6);
        let usual = *self.usual.get_or_insert(took);
        let is_used = (running as f64) >= self.limit / 2.0;
        let is_least = self.limit <= f64::from(self.settings.min.max(1));
        // Answers that come late because we ask for too many must not become the measure.
        let usual = match took < usual || !is_used || is_least {
            true => usual + (took - usual) / USUAL,
            false => usual,
        };
        self.usual = Some(usual);
        // Who does not use the limit learns nothing about it.
        if !is_used {
            return;
        }
        let tolerance = f64::from(self.settings.tolerance_percent) / 100.0;
        let gradient = (tolerance * usual / took).clamp(LEAST_GRADIENT, 1.0);
        let room = self.limit.sqrt();
        let wanted = self.limit * gradient + room;
        self.set(self.limit + (wanted - self.limit) * SMOOTHING);
    }

    /// An attempt was lost, or took too long.
    pub(super) fn lost(&mut self) {
        self.set(self.limit * BACK_OFF);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: AdaptiveSettings = AdaptiveSettings {
        min: 2,
        max: 200,
        tolerance_percent: 150,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// An upstream that works on `places` at a time, 10 ms each.
    fn settle(gradient: &mut Gradient, places: usize) -> usize {
        for _ in 0..3000 {
            let running = gradient.limit();
            let turns = running.div_ceil(places).max(1) as u64;
            gradient.answered(ms(10 * turns), running);
        }
        gradient.limit()
    }

    #[test]
    fn it_grows_while_answers_come_as_usual_and_sinks_when_they_come_late() {
        let mut gradient = Gradient::new(SETTINGS);
        (0..1000).for_each(|_| gradient.answered(ms(10), gradient.limit()));
        assert_eq!(gradient.limit(), 200);
        (0..50).for_each(|_| gradient.answered(ms(100), gradient.limit()));
        assert!(gradient.limit() < 100, "{}", gradient.limit());
    }

    #[test]
    fn it_stays_near_what_the_upstream_can_do() {
        let mut gradient = Gradient::new(SETTINGS);
        gradient.answered(ms(10), 1);
        let limit = settle(&mut gradient, 40);
        assert!((40..=120).contains(&limit), "{limit}");
    }

    #[test]
    fn who_does_not_use_it_does_not_change_it_and_losses_do() {
        let mut gradient = Gradient::new(SETTINGS);
        (0..1000).for_each(|_| gradient.answered(ms(10), 1));
        assert_eq!(gradient.limit(), 20);
        (0..1000).for_each(|_| gradient.lost());
        assert_eq!(gradient.limit(), 2);
    }
}
