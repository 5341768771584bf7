//! The care for an upstream, as all handlers that reach out have it: timeouts, retries, breakers.

use super::value::{duration, flag, number, section, set};
use crate::router::document::reading::{self, Fields, Report};
use crate::upstream::{AdaptiveSettings, Settings};
use std::time::Duration;

const COUNT: std::ops::RangeInclusive<u32> = 0..=1_000_000;

/// Reads what is there of `idempotent`, `timeouts`, `retry`, `hedge`, `breaker`, `ejection`, `adaptive` and
/// `resolve_every`.
pub(super) fn read(fields: &Fields<'_>, care: &mut Settings, report: &mut Report) {
    set(&mut care.idempotent, flag(fields, "idempotent", report));
    let every = duration(fields, "resolve_every", report);
    set(&mut care.resolve_every, every);
    if let Some(timeouts) = section(fields, "timeouts", &["try", "total"], report) {
        set(&mut care.try_timeout, duration(&timeouts, "try", report));
        set(&mut care.timeout, duration(&timeouts, "total", report));
    }
    retry(fields, care, report);
    if let Some(hedge) = section(fields, "hedge", &["after"], report) {
        let _ = hedge.require("after", report);
        care.hedge = duration(&hedge, "after", report);
        if !care.idempotent
            && let Some(field) = fields.get("hedge")
        {
            let message =
                "would have requests executed twice; say that they may with `idempotent: true`";
            reading::wrong(&field, message, report);
        }
    }
    breaker(fields, care, report);
    ejection(fields, care, report);
    adaptive(fields, care, report);
}

fn retry(fields: &Fields<'_>, care: &mut Settings, report: &mut Report) {
    let known = &[
        "attempts",
        "first_pause",
        "max_pause",
        "budget_percent",
        "budget_per_second",
    ];
    let Some(fields) = section(fields, "retry", known, report) else {
        return;
    };
    let retry = &mut care.retry;
    set(
        &mut retry.attempts,
        number(&fields, "attempts", 1..=10, report),
    );
    let backoff = &mut retry.backoff;
    set(&mut backoff.first, duration(&fields, "first_pause", report));
    set(&mut backoff.cap, duration(&fields, "max_pause", report));
    let percent = number(&fields, "budget_percent", 0..=100, report);
    let budget = &mut retry.budget;
    set(
        &mut budget.ratio,
        percent.map(|percent| f64::from(percent) / 100.0),
    );
    let floor = number(&fields, "budget_per_second", COUNT, report);
    set(&mut budget.per_second, floor);
}

fn breaker(fields: &Fields<'_>, care: &mut Settings, report: &mut Report) {
    let known = &[
        "consecutive",
        "percent",
        "least",
        "window",
        "open_for",
        "probes",
    ];
    let Some(fields) = section(fields, "breaker", known, report) else {
        return;
    };
    let breaker = &mut care.breaker;
    set(
        &mut breaker.consecutive,
        number(&fields, "consecutive", COUNT, report),
    );
    set(&mut breaker.percent, percent(&fields, "percent", report));
    set(
        &mut breaker.least,
        number(&fields, "least", 1..=1_000_000, report),
    );
    set(&mut breaker.window, duration(&fields, "window", report));
    set(&mut breaker.open_for, duration(&fields, "open_for", report));
    set(
        &mut breaker.probes,
        number(&fields, "probes", 1..=100, report),
    );
}

fn ejection(fields: &Fields<'_>, care: &mut Settings, report: &mut Report) {
    let known = &[
        "consecutive",
        "percent",
        "least",
        "window",
        "base",
        "max",
        "max_percent",
    ];
    let Some(fields) = section(fields, "ejection", known, report) else {
        return;
    };
    let ejection = &mut care.ejection;
    set(
        &mut ejection.consecutive,
        number(&fields, "consecutive", COUNT, report),
    );
    set(&mut ejection.percent, percent(&fields, "percent", report));
    set(
        &mut ejection.least,
        number(&fields, "least", 1..=1_000_000, report),
    );
    set(&mut ejection.window, duration(&fields, "window", report));
    set(&mut ejection.base, duration(&fields, "base", report));
    set(&mut ejection.max, duration(&fields, "max", report));
    set(
        &mut ejection.max_percent,
        percent(&fields, "max_percent", report),
    );
}

fn adaptive(fields: &Fields<'_>, care: &mut Settings, report: &mut Report) {
    let known = &["min", "max", "tolerance_percent"];
    let Some(fields) = section(fields, "adaptive", known, report) else {
        return;
    };
    let mut adaptive = AdaptiveSettings::default();
    set(
        &mut adaptive.min,
        number(&fields, "min", 1..=1_000_000, report),
    );
    set(
        &mut adaptive.max,
        number(&fields, "max", 1..=1_000_000, report),
    );
    let tolerance = number(&fields, "tolerance_percent", 100..=1000, report);
    set(&mut adaptive.tolerance_percent, tolerance);
    if adaptive.min > adaptive.max
        && let Some(field) = fields.get("min").or_else(|| fields.get("max"))
    {
        reading::wrong(&field, "has min above max; swap them", report);
    }
    care.adaptive = Some(adaptive);
}

fn percent(fields: &Fields<'_>, key: &str, report: &mut Report) -> Option<u8> {
    let percent = number(fields, key, 0..=100, report)?;
    u8::try_from(percent).ok()
}

/// What operators are shown of it.
pub(super) fn shown(care: &Settings) -> Vec<(&'static str, String)> {
    let span = |span: Duration| humantime::format_duration(span).to_string();
    let mut shown = vec![
        ("idempotent", care.idempotent.to_string()),
        ("timeouts.try", span(care.try_timeout)),
        ("timeouts.total", span(care.timeout)),
        ("retry.attempts", care.retry.attempts.to_string()),
        ("pool.max_pending", care.max_pending.to_string()),
        (
            "ejection.max_percent",
            care.ejection.max_percent.to_string(),
        ),
    ];
    shown.extend(care.hedge.map(|after| ("hedge.after", span(after))));
    shown
}
