//! The watch of a ConfigMap: what it holds, from the first list on.
//!
//! A round is a list and the watch from there. A watch ends by itself every few minutes, when the API server goes, and
//! with "too old" (410) when it was away for too long; each time the next round begins with a list, and what
//! was seen before stays until that is whole. Every now and then the ConfigMap is read besides: a watch whose
//! connection died in silence is noticed by what it has missed.

use super::config_map::{Changes, Held};
use super::shared::SharedDocument;
use super::{Failure, Why};
use crate::lifecycle::Backoff;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::WatchEvent;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep, sleep_until};

/// Pauses between rounds that failed: short, since all replicas are to have caught up soon after the API server is
/// back, and something deleted is to be there again within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A round that lasted so long was none that failed.
const GOOD_ROUND: Duration = Duration::from_secs(5);

/// Why a watch ended.
enum End {
    /// It was over.
    Over,
    /// What comes next was forgotten by the API server.
    Gone,
    /// It broke.
    Failed,
    /// A read found something that it had not told.
    Missed,
}

impl End {
    fn label(&self) -> &'static str {
        match self {
            End::Over => "ended",
            End::Gone => "gone",
            End::Failed => "failed",
            End::Missed => "missed",
        }
    }
}

/// Watches for as long as the runtime lives.
pub(super) async fn run(document: Arc<SharedDocument>) {
    let fresh = || Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut backoff = fresh();
    loop {
        let began = Instant::now();
        match round(&document).await {
            Ok(end) => document
                .metrics
                .watch_ended(document.place.kind.name(), end.label()),
            Err(failure) => document.cannot_be_read(&failure),
        }
        if began.elapsed() >= GOOD_ROUND {
            backoff = fresh();
            // At once, unless everybody's watch ended for the same reason at the same time.
        }
        let random = (crate::telemetry::random_unit() * u64::MAX as f64) as u64;
        sleep(backoff.next_delay(random)).await;
    }
}

async fn round(document: &SharedDocument) -> Result<End, Failure> {
    let (held, version) = document.place.list().await?;
    match held {
        Held::Absent => {
            if let Err(failure) = document.has_gone().await {
                return Ok(document.broken(failure));
            }
        }
        held => document.holds(held),
    }
    let changes = document.place.watch(&version).await?;
    Ok(watch(document, changes).await)
}

async fn watch(document: &SharedDocument, mut changes: Changes) -> End {
    let mut poll = Instant::now() + document.settings.poll;
    loop {
        let next = std::future::poll_fn(|context| changes.as_mut().poll_next(context));
        let change = tokio::select! {
            change = next => change,
            () = sleep_until(poll) => {
                poll = Instant::now() + document.settings.poll;
                if document.missed_something().await {
                    return End::Missed;
                }
                continue;
            }
        };
        let told = match change {
            None => return End::Over,
            Some(Ok(told)) => told,
            Some(Err(error)) => return document.broken(error.into()),
        };
        match told {
            WatchEvent::Added(map) | WatchEvent::Modified(map) => {
                document.holds(document.held(&map));
            }
            WatchEvent::Deleted(_) => {
                if let Err(failure) = document.has_gone().await {
                    return document.broken(failure);
                }
            }
            WatchEvent::Bookmark(_) => document.confirmed(),
            WatchEvent::Error(status) => return document.broken(kube::Error::Api(status).into()),
        }
    }
}

impl SharedDocument {
    fn held(&self, map: &ConfigMap) -> Held {
        Held::of(Some(map), self.place.kind)
    }

    /// This is what the ConfigMap holds now.
    fn holds(&self, held: Held) {
        self.seen.send_modify(|seen| {
            seen.held = Some(held);
            seen.confirmed = Some(SystemTime::now());
            seen.problem = None;
        });
    }

    /// There is none. If it is created again, the watch tells that next; if it cannot be, the next round tries.
    async fn has_gone(&self) -> Result<(), Failure> {
        let restored = self.restore().await;
        if !matches!(restored, Ok(true)) {
            self.holds(Held::Absent);
        }
        restored.map(drop)
    }

    /// It holds what it held.
    fn confirmed(&self) {
        self.seen.send_if_modified(|seen| {
            seen.confirmed = Some(SystemTime::now());
            seen.problem.take().is_some()
        });
    }

    fn cannot_be_read(&self, failure: &Failure) {
        let problem = failure.to_string();
        let news = self.seen.send_if_modified(|seen| {
            let before = seen.problem.replace(problem.clone());
            before.is_none()
        });
        if news {
            tracing::warn!(place = %self.place, problem, "Kubernetes cannot be asked, what is in force stays");
        }
    }

    /// Whether a read finds something else than the watch has told.
    async fn missed_something(&self) -> bool {
        match self.place.list().await {
            Ok((held, _)) => {
                let known = self.seen().held.clone();
                let same = known.is_some_and(|known| known.says_the_same(&held));
                if same {
                    self.confirmed();
                }
                !same
            }
            Err(failure) => {
                self.cannot_be_read(&failure);
                false
            }
        }
    }

    fn broken(&self, failure: Failure) -> End {
        tracing::debug!(place = %self.place, %failure, "a watch broke");
        match failure.why {
            Why::Gone => End::Gone,
            _ => End::Failed,
        }
    }
}
