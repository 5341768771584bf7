//! What became of numbered requests, and how it reads as a verdict.

use crate::{epoch_ms, millis};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures that are told in full.
const EXAMPLES: usize = 10;

/// Numbers requests and notes what became of them.
pub(crate) struct Tally {
    began: Instant,
    began_ms: u64,
    next: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    /// By number.
    answered: Vec<bool>,
    seconds: Vec<Second>,
    failures: BTreeMap<String, u64>,
    examples: Vec<String>,
    servers: BTreeMap<String, u64>,
    events: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Second {
    latencies: Vec<Duration>,
    failed: u64,
}

/// What a run of load comes to.
#[derive(Serialize)]
pub(crate) struct Verdict {
    run: String,
    began_ms: u64,
    seconds: f64,
    sent: u64,
    answered: u64,
    /// Requests without a good answer, for whatever reason.
    lost: u64,
    /// Requests that ran more than once; `null` without a ledger.
    duplicated: Option<u64>,
    /// Requests that were answered and never ran.
    invented: Option<u64>,
    /// Requests that ran although their callers were told of a failure.
    ran_unanswered: Option<u64>,
    failures: BTreeMap<String, u64>,
    examples: Vec<String>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    servers: BTreeMap<String, u64>,
    events: BTreeMap<&'static str, u64>,
    timeline: Vec<Moment>,
}

/// One second of a run.
#[derive(Serialize)]
struct Moment {
    answered: usize,
    failed: u64,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            began: Instant::now(),
            began_ms: epoch_ms(),
            next: AtomicU64::new(0),
            notes: Mutex::default(),
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn answered(&self, number: u64, took: Duration, server: Option<&str>) {
        self.note(|notes, second| {
            let index = number as usize;
            if notes.answered.len() <= index {
                notes.answered.resize(index + 1, false);
            }
            notes.answered[index] = true;
            if let Some(server) = server {
                *notes.servers.entry(server.to_owned()).or_default() += 1;
            }
            notes.seconds[second].latencies.push(took);
        });
    }

    /// `kind` is one of few, `text` tells it in full.
    pub(crate) fn failed(&self, number: u64, kind: String, text: &str) {
        self.note(|notes, second| {
            *notes.failures.entry(kind).or_default() += 1;
            notes.seconds[second].failed += 1;
            if notes.examples.len() < EXAMPLES {
                notes
                    .examples
                    .push(format!("second {second}, request {number}: {text}"));
            }
        });
    }

    /// Something that happened on a connection and is no failure.
    pub(crate) fn event(&self, what: &'static str) {
        self.note(|notes, _| *notes.events.entry(what).or_default() += 1);
    }

    fn note(&self, note: impl FnOnce(&mut Notes, usize)) {
        let second = self.began.elapsed().as_secs() as usize;
        // Poisoned only by a panic, which ends this program anyway.
        let Ok(mut notes) = self.notes.lock() else {
            return;
        };
        if notes.seconds.len() <= second {
            notes.seconds.resize_with(second + 1, Second::default);
        }
        note(&mut notes, second);
    }

    /// `ran` has for each number how often the ledger has seen it.
    pub(crate) fn verdict(&self, run: &str, ran: Option<&[u32]>) -> Result<Verdict> {
        let seconds = self.began.elapsed().as_secs_f64();
        let notes = self.notes.lock().ok().context("a caller panicked")?;
        let mut all: Vec<Duration> = notes
            .seconds
            .iter()
            .flat_map(|s| s.latencies.iter().copied())
            .collect();
        all.sort_unstable();
        let is_answered = |n: usize| notes.answered.get(n).copied().unwrap_or(false);
        let count = |wanted: &dyn Fn(usize, u32) -> bool| {
            ran.map(|ran| {
                ran.iter()
                    .enumerate()
                    .filter(|(n, times)| wanted(*n, **times))
                    .count() as u64
            })
        };
        let unseen = |ran: &[u32]| {
            notes
                .answered
                .iter()
                .skip(ran.len())
                .filter(|answered| **answered)
                .count() as u64
        };
        let answered = all.len() as u64;
        let failed: u64 = notes.failures.values().sum();
        Ok(Verdict {
            run: run.to_owned(),
            began_ms: self.began_ms,
            seconds,
            sent: answered + failed,
            answered,
            lost: failed,
            duplicated: count(&|_, times| times > 1),
            invented: count(&|n, times| times == 0 && is_answered(n))
                .zip(ran.map(unseen))
                .map(|(known, beyond)| known + beyond),
            ran_unanswered: count(&|n, times| times > 0 && !is_answered(n)),
            failures: notes.failures.clone(),
            examples: notes.examples.clone(),
            p50_ms: percentile(&all, 50.0),
            p99_ms: percentile(&all, 99.0),
            max_ms: percentile(&all, 100.0),
            servers: notes.servers.clone(),
            events: notes.events.clone(),
            timeline: notes.seconds.iter().map(Moment::of).collect(),
        })
    }
}

impl Moment {
    fn of(second: &Second) -> Moment {
        let mut latencies = second.latencies.clone();
        latencies.sort_unstable();
        Moment {
            answered: latencies.len(),
            failed: second.failed,
            p99_ms: percentile(&latencies, 99.0),
            max_ms: percentile(&latencies, 100.0),
        }
    }
}

/// Nearest rank, in milliseconds; `sorted` goes upwards.
pub(crate) fn percentile(sorted: &[Duration], percent: f64) -> Option<f64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|time| millis(*time))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failure is what a test is for")]

    use super::*;

    #[test]
    fn a_verdict_holds_what_callers_heard_against_the_ledger() {
        let tally = Tally::new();
        for number in [0, 1, 2, 5] {
            tally.answered(number, Duration::from_millis(10 + number), Some("a"));
        }
        tally.failed(3, "Closed".to_owned(), "gone");
        tally.failed(4, "Closed".to_owned(), "gone");
        // 1 ran twice, 2 never, 3 ran unheard; of 5 the ledger has not heard at all.
        let verdict = tally.verdict("r", Some(&[1, 2, 0, 1, 0])).unwrap();
        assert_eq!((verdict.sent, verdict.answered, verdict.lost), (6, 4, 2));
        assert_eq!(verdict.duplicated, Some(1));
        assert_eq!(verdict.invented, Some(2));
        assert_eq!(verdict.ran_unanswered, Some(1));
        assert_eq!(verdict.failures["Closed"], 2);
        assert_eq!(verdict.servers["a"], 4);
        assert_eq!(verdict.max_ms, Some(15.0));
        assert_eq!(tally.verdict("r", None).unwrap().duplicated, None);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50.0), Some(100.0));
        assert_eq!(percentile(&times, 99.0), Some(198.0));
        assert_eq!(percentile(&times, 100.0), Some(200.0));
        assert_eq!(percentile(&[], 99.0), None);
    }
}
