//! Pure: what a key does.

use super::figures::{Rates, Requests};
use super::poll::Order;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Duration;

/// Times between two looks, for `+` and `-`.
const INTERVALS: [Duration; 8] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Lines of PgUp and PgDn.
const PAGE: usize = 10;

/// What the keys do, for the screen that says so.
pub(super) const HELP: [(&str, &str); 8] = [
    ("q, Esc, Ctrl-C", "quit"),
    ("s", "sort routes by the next column"),
    ("↑ ↓, k j", "scroll the routes"),
    ("PgUp PgDn, Home End", "scroll them by more"),
    ("p, space", "pause: ask nothing, keep what is shown"),
    ("+ -", "ask less or more often"),
    ("?", "this page"),
    (
        "",
        "rates are those since the look before; latencies are those of successes",
    ),
];

/// What routes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Errors,
    Latency,
    Name,
}

/// What the person at the keyboard has chosen.
#[derive(Debug)]
pub(super) struct Controls {
    pub(super) sort: Sort,
    /// Routes that are scrolled away above.
    pub(super) skipped: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) interval: Duration,
}

/// What follows from a key.
#[derive(Debug)]
pub(super) enum Act {
    /// It is drawn anew.
    Draw,
    Order(Order),
    Quit,
}

impl Sort {
    /// Routes in this order, the greatest first.
    pub(super) fn routes(self, rates: &Rates) -> Vec<(&str, &Requests)> {
        let routes = rates.routes.iter();
        let mut routes: Vec<_> = routes.map(|(name, route)| (name.as_str(), route)).collect();
        let key = |route: &Requests| match self {
            Sort::Rate => route.per_second,
            Sort::Errors => route.errors(),
            Sort::Latency => route.p99.unwrap_or(-1.0),
            Sort::Name => 0.0,
        };
        // It is stable, so what is equal stays in the order of names.
        routes.sort_by(|(_, a), (_, b)| key(b).total_cmp(&key(a)));
        routes
    }

    fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Errors,
            Sort::Errors => Sort::Latency,
            Sort::Latency => Sort::Name,
            Sort::Name => Sort::Rate,
        }
    }
}

impl Controls {
    pub(super) fn new(interval: Duration) -> Controls {
        Controls {
            sort: Sort::default(),
            skipped: 0,
            paused: false,
            help: false,
            interval,
        }
    }

    /// Does what the key says, where there are so many routes.
    pub(super) fn press(&mut self, key: KeyEvent, routes: usize) -> Act {
        if key.kind == KeyEventKind::Release {
            return Act::Draw;
        }
        let last = routes.saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Act::Quit;
            }
            KeyCode::Char('q') => return Act::Quit,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => return Act::Quit,
            KeyCode::Char('?' | 'h') => self.help = !self.help,
            KeyCode::Char('s') => (self.sort, self.skipped) = (self.sort.next(), 0),
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return Act::Order(Order::Pause(self.paused));
            }
            KeyCode::Char('+' | '=') => return self.every(longer(self.interval)),
            KeyCode::Char('-') => return self.every(shorter(self.interval)),
            KeyCode::Up | KeyCode::Char('k') => self.skipped = self.skipped.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.skipped = (self.skipped + 1).min(last),
            KeyCode::PageUp => self.skipped = self.skipped.saturating_sub(PAGE),
            KeyCode::PageDown => self.skipped = (self.skipped + PAGE).min(last),
            KeyCode::Home => self.skipped = 0,
            KeyCode::End => self.skipped = last,
            _ => {}
        }
        Act::Draw
    }

    fn every(&mut self, interval: Duration) -> Act {
        self.interval = interval;
        Act::Order(Order::Every(interval))
    }
}

fn longer(time: Duration) -> Duration {
    INTERVALS
        .into_iter()
        .find(|step| *step > time)
        .unwrap_or(time)
}

fn shorter(time: Duration) -> Duration {
    INTERVALS
        .into_iter()
        .rfind(|step| *step < time)
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(controls: &mut Controls, code: KeyCode) -> Act {
        controls.press(KeyEvent::new(code, KeyModifiers::NONE), 25)
    }

    #[test]
    fn three_keys_quit_and_a_plain_c_does_not() {
        let mut controls = Controls::new(INTERVALS[2]);
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert!(matches!(press(&mut controls, code), Act::Quit));
        }
        assert!(matches!(
            press(&mut controls, KeyCode::Char('c')),
            Act::Draw
        ));
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(matches!(controls.press(ctrl_c, 0), Act::Quit));
        // Who reads the help wants to be back.
        press(&mut controls, KeyCode::Char('?'));
        assert!(controls.help);
        assert!(matches!(press(&mut controls, KeyCode::Esc), Act::Draw));
        assert!(!controls.help);
    }

    #[test]
    fn scrolling_stays_among_the_routes() {
        let mut controls = Controls::new(INTERVALS[2]);
        for (code, skipped) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 11),
            (KeyCode::PageDown, 21),
            (KeyCode::PageDown, 24),
            (KeyCode::Down, 24),
            (KeyCode::PageUp, 14),
            (KeyCode::Home, 0),
            (KeyCode::End, 24),
            (KeyCode::Char('s'), 0),
        ] {
            press(&mut controls, code);
            assert_eq!(controls.skipped, skipped, "{code:?}");
        }
        controls.press(KeyEvent::new(KeyCode::End, KeyModifiers::NONE), 0);
        assert_eq!(controls.skipped, 0);
    }

    #[test]
    fn the_interval_has_steps_and_ends() {
        let mut controls = Controls::new(Duration::from_millis(1700));
        press(&mut controls, KeyCode::Char('+'));
        assert_eq!(controls.interval, Duration::from_secs(2));
        for _ in 0..20 {
            press(&mut controls, KeyCode::Char('-'));
        }
        assert_eq!(controls.interval, INTERVALS[0]);
        let act = press(&mut controls, KeyCode::Char('-'));
        assert!(matches!(act, Act::Order(Order::Every(time)) if time == INTERVALS[0]));
        for _ in 0..20 {
            press(&mut controls, KeyCode::Char('+'));
        }
        assert_eq!(controls.interval, INTERVALS[7]);
    }

    #[test]
    fn every_sort_puts_its_greatest_first() {
        let mut rates = Rates::default();
        let route = |per_second, server, p99| Requests {
            per_second,
            server,
            p99,
            ..Requests::default()
        };
        rates
            .routes
            .insert("a".to_owned(), route(1.0, 0.0, Some(3.0)));
        rates.routes.insert("b".to_owned(), route(2.0, 0.0, None));
        rates
            .routes
            .insert("c".to_owned(), route(1.0, 1.0, Some(1.0)));
        let mut sort = Sort::default();
        for order in ["bac", "cab", "acb", "abc", "bac"] {
            let names: String = sort.routes(&rates).iter().map(|(name, _)| *name).collect();
            assert_eq!(names, order, "{sort:?}");
            sort = sort.next();
        }
    }
}
