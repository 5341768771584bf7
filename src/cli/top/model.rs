//! Pure: everything that is shown of a server, as one look after the other comes in.

use super::figures::{Gauges, Rates};
use super::poll::Look;
use super::rates::Interval;
use super::scrape::Page;
use super::server::About;
use crate::telemetry::watched as names;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Looks whose rate is remembered; wider than any screen.
const MAX_HISTORY: usize = 1024;

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Model {
    last: Option<(Instant, Page)>,
    pub(super) about: About,
    pub(super) gauges: Gauges,
    /// `None` before the second look, and after a restart.
    pub(super) rates: Option<Rates>,
    /// Requests a second, the newest last; `None` where there was no answer.
    pub(super) history: VecDeque<Option<f64>>,
    /// Since when there is no answer, and what the last failure was.
    pub(super) trouble: Option<(Instant, String)>,
    /// Restarts that were seen, and when the last one was.
    pub(super) restarts: Option<(usize, Instant)>,
    /// Samples of the last page that could not be read.
    pub(super) skipped: usize,
}

impl Model {
    /// The server has answered.
    pub(super) fn seen(&mut self, look: Look) {
        let Look { at, page, about } = look;
        self.rates = self.rates_until(at, &page);
        if self
            .last
            .as_ref()
            .is_some_and(|(_, before)| is_another(before, &page))
        {
            let (count, _) = self.restarts.unwrap_or((0, at));
            self.restarts = Some((count + 1, at));
        }
        if self.last.is_some() {
            self.remember(self.rates.as_ref().map(|rates| rates.requests.per_second));
        }
        self.gauges = Gauges::of(&page);
        self.skipped = page.skipped;
        self.about = about;
        self.last = Some((at, page));
        self.trouble = None;
    }

    /// It has not.
    pub(super) fn failed(&mut self, at: Instant, why: String) {
        let since = self.trouble.as_ref().map_or(at, |(since, _)| *since);
        self.trouble = Some((since, why));
        self.rates = None;
        self.remember(None);
    }

    /// Whether the server has answered at all.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// How old what is shown is.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.last.as_ref()?;
        Some(now.saturating_duration_since(*at))
    }

    /// What a process counted before tells nothing about another, and two pages of one moment nothing at all.
    fn rates_until(&self, at: Instant, page: &Page) -> Option<Rates> {
        let (from, before) = self.last.as_ref()?;
        let seconds = at.saturating_duration_since(*from).as_secs_f64();
        if is_another(before, page) || seconds <= 0.0 {
            return None;
        }
        Some(Rates::of(Interval {
            before,
            now: page,
            seconds,
        }))
    }

    fn remember(&mut self, rate: Option<f64>) {
        if self.history.len() == MAX_HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(rate);
    }
}

/// Whether these are pages of two processes: they have started at different times, in whole seconds, or
/// what only grows has shrunk.
fn is_another(before: &Page, now: &Page) -> bool {
    let shrinks = |name| now.sum(name) < before.sum(name);
    before.sum(names::STARTED) != now.sum(names::STARTED)
        || shrinks(names::OPENED)
        || shrinks(names::FRAMES)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A look at a process that started then and has answered so many requests of route `a`.
    pub(crate) fn look(at: Instant, started: u32, requests: u32) -> Look {
        let text = format!(
            "{} {started}\n{} 5\n{}{{route=\"a\",code=\"OK\",fault=\"none\"}} {requests}\n",
            names::STARTED,
            names::CONNECTIONS,
            names::REQUESTS,
        );
        let page = Page::parse(&text, names::WATCHED);
        Look {
            at,
            page,
            about: About::default(),
        }
    }

    fn rate(model: &Model) -> Option<f64> {
        model.rates.as_ref().map(|rates| rates.requests.per_second)
    }

    #[test]
    fn rates_are_there_from_the_second_look_on() {
        let (mut model, t) = (Model::default(), Instant::now());
        model.seen(look(t, 1, 10));
        assert_eq!((rate(&model), model.gauges.connections), (None, Some(5.0)));
        model.seen(look(t + Duration::from_secs(2), 1, 30));
        assert_eq!(rate(&model), Some(10.0));
        // Two looks at one moment would be a division by nothing.
        model.seen(look(t + Duration::from_secs(2), 1, 30));
        assert_eq!(rate(&model), None);
    }

    #[test]
    fn a_restart_is_noticed_and_does_not_make_up_a_rate() {
        let (mut model, t) = (Model::default(), Instant::now());
        let second = Duration::from_secs(1);
        model.seen(look(t, 1, 10));
        model.seen(look(t + second, 2, 50));
        assert_eq!(rate(&model), None);
        assert_eq!(model.restarts, Some((1, t + second)));
        model.seen(look(t + 2 * second, 2, 57));
        assert_eq!(rate(&model), Some(7.0));
    }

    #[test]
    fn a_restart_within_a_second_shows_in_what_only_grows() {
        let page = |opened: u32| {
            let text = format!("{} 7\n{} {opened}", names::STARTED, names::OPENED);
            Page::parse(&text, names::WATCHED)
        };
        assert!(is_another(&page(3), &page(2)));
        assert!(!is_another(&page(3), &page(3)) && !is_another(&page(3), &page(4)));
    }

    #[test]
    fn an_outage_lasts_from_its_first_failure_to_the_next_answer() {
        let (mut model, t) = (Model::default(), Instant::now());
        let second = Duration::from_secs(1);
        model.seen(look(t, 1, 0));
        model.failed(t + second, "refused".to_owned());
        model.failed(t + 2 * second, "timed out".to_owned());
        assert_eq!(model.trouble, Some((t + second, "timed out".to_owned())));
        assert_eq!(
            (rate(&model), model.age(t + 3 * second)),
            (None, Some(3 * second))
        );
        // What came meanwhile is spread over all of the time.
        model.seen(look(t + 4 * second, 1, 8));
        assert_eq!((rate(&model), &model.trouble), (Some(2.0), &None));
        assert_eq!(model.history, [None, None, Some(2.0)]);
    }

    #[test]
    fn history_is_bounded() {
        let mut model = Model::default();
        (0..MAX_HISTORY + 9).for_each(|_| model.failed(Instant::now(), String::new()));
        assert_eq!(model.history.len(), MAX_HISTORY);
    }
}
