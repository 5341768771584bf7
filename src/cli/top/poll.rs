//! Asking the server, again and again, on a thread of its own: a server that does not answer must
//! not keep the keys from working.

use super::scrape::Page;
use super::server::About;
use crate::cli::admin::{Api, Failed};
use crate::cli::exit::Exit;
use crate::cli::render;
use crate::telemetry::watched as names;
use serde_json::Value;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a refusal of the admin API is taken for an answer: whoever asks every second fills the
/// server's log with its own refusals.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What the server was seen to do.
#[derive(Debug)]
pub(super) struct Look {
    /// When the page of metrics came.
    pub(super) at: Instant,
    pub(super) page: Page,
    pub(super) about: About,
}

/// What the one who looks at it wants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Every(Duration),
    Pause(bool),
}

/// Asks one server.
#[derive(Debug)]
pub(super) struct Poller {
    api: Api,
    /// Since when, and why, the admin API is not asked.
    refused: Option<(Instant, String)>,
}

impl Poller {
    pub(super) fn new(api: Api) -> Poller {
        Poller { api, refused: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// There is no page of metrics to be had.
    pub(super) fn look(&mut self) -> Result<Look, Failed> {
        let looked = self.metrics().and_then(|(at, page)| {
            let about = self.about(&page)?;
            Ok(Look { at, page, about })
        });
        if looked.is_err() {
            // Whoever comes back may be another.
            self.refused = None;
        }
        looked
    }

    /// Waits; false if Ctrl-C ended that.
    pub(super) fn pause(&self, time: Duration) -> bool {
        self.api.pause(time)
    }

    fn metrics(&self) -> Result<(Instant, Page), Failed> {
        let (status, text) = self.api.page("metrics", None)?;
        let at = Instant::now();
        let page = Page::parse(&text, names::WATCHED);
        if status == 200 && page.sum(names::CONNECTIONS).is_some() {
            return Ok((at, page));
        }
        let address = self.api.address();
        Err(Failed::foreign(format!(
            "{address}/metrics answers {status}, and not with the metrics of mcpd"
        )))
    }

    /// From the admin API if it lets us, else from what everybody may see.
    fn about(&mut self, page: &Page) -> Result<About, Failed> {
        let fresh = |(at, _): &(Instant, String)| at.elapsed() < ASK_AGAIN;
        if let Some((_, why)) = self.refused.as_ref().filter(|refused| fresh(refused)) {
            return self.open_pages(page, why);
        }
        let asked = self.api.get(&["state"]);
        let failed = match asked.and_then(|answer| answer.json::<Value>()) {
            Ok(state) => return Ok(About::of_state(&state)),
            Err(failed) => failed,
        };
        if failed.status.is_none() && failed.kind != "not_mcpd" {
            // Nobody is there any more.
            return Err(failed);
        }
        let why = failed.text.clone();
        let about = self.open_pages(page, &why);
        self.refused = is_lasting(&failed).then(|| (Instant::now(), why));
        about
    }

    fn open_pages(&self, page: &Page, why: &str) -> Result<About, Failed> {
        let (_, text) = self.api.page("statusz", None)?;
        let mut about = About::of_statusz(&serde_json::from_str(&text).unwrap_or(Value::Null));
        let (status, text) = self.api.page("readyz", Some("verbose"))?;
        about.readiness(status, &text);
        about.version = page.label(names::BUILD, "version").map(render::one_line);
        about.uptime_seconds = page.sum(names::STARTED).and_then(uptime);
        let why = render::one_line(why);
        about.missing = Some(format!("source of the routes, progress of a drain: {why}"));
        Ok(about)
    }
}

/// Whether asking again at once is of no use: no token, a wrong one, one without the scope, or an
/// admin API that has a port of its own.
fn is_lasting(failed: &Failed) -> bool {
    matches!(
        failed.kind,
        "unauthenticated" | "forbidden" | "not_found" | "not_mcpd" | "refused"
    )
}

/// By the clock of this machine, which the server's may differ from.
fn uptime(started: f64) -> Option<f64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some((now.as_secs_f64() - started).max(0.0))
}

/// Looks until nobody takes what was seen any more, or gives orders.
pub(super) fn run(
    mut poller: Poller,
    mut every: Duration,
    orders: &Receiver<Order>,
    tell: impl Fn(Result<Look, Failed>) -> bool,
) {
    let mut paused = false;
    loop {
        let began = Instant::now();
        if !paused {
            let looked = poller.look();
            let interrupted = looked
                .as_ref()
                .is_err_and(|failed| failed.exit == Exit::Interrupted);
            if interrupted || !tell(looked) {
                return;
            }
        }
        loop {
            let wait = match paused {
                true => Duration::from_secs(3600),
                false => every.saturating_sub(began.elapsed()),
            };
            match orders.recv_timeout(wait) {
                Ok(Order::Every(time)) => every = time,
                Ok(Order::Pause(pause)) => paused = pause,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}
