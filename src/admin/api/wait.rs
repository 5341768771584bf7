//! `wait=all&timeout=10s`: the answer to a write comes when all servers have it, or when the time is over.

use super::problem::Problem;
use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use std::time::Duration;

/// How long it is waited unless the request says it.
const USUAL: Duration = Duration::from_secs(10);
/// Bounds of what the request may say.
const LEAST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Who is waited for.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Whom {
    /// Every server that serves.
    All,
}

/// How long the answer waits, if it is to.
///
/// # Errors
/// The time is none, or nobody is waited for.
pub(super) fn patience(
    whom: Option<Whom>,
    timeout: Option<&str>,
) -> Result<Option<Duration>, Problem> {
    match (whom, timeout) {
        (None, None) => Ok(None),
        (Some(Whom::All), None) => Ok(Some(USUAL)),
        (None, Some(_)) => Err(Problem::bad_request(
            "timeout: does nothing without wait=all",
        )),
        (Some(Whom::All), Some(text)) => {
            let wrong = "timeout: is no time from 1ms to 60s; write it as 10s or 500ms";
            let good = time(text).filter(|time| (LEAST..=LONGEST).contains(time));
            good.map(Some).ok_or_else(|| Problem::bad_request(wrong))
        }
    }
}

/// Seconds or milliseconds, in the one way in which the description of the API has them.
fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix("ms") {
        Some(digits) => (digits, Duration::from_millis(1)),
        None => (text.strip_suffix('s')?, Duration::from_secs(1)),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let count: u32 = digits.parse().ok().filter(|_| plain)?;
    unit.checked_mul(count)
}

#[derive(Deserialize)]
struct Asked {
    wait: Option<Whom>,
    timeout: Option<String>,
}

/// How much longer than usual a request may take that asks for it; not at all if it asks wrongly.
pub(super) fn longest(uri: &Uri) -> Duration {
    let asked = Query::<Asked>::try_from_uri(uri).ok();
    let patience = asked.and_then(|Query(asked)| {
        let timeout = asked.timeout.as_deref();
        patience(asked.wait, timeout).ok().flatten()
    });
    patience.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_waits_for_as_long_as_it_asks_within_bounds() {
        let of = |query: &str| longest(&format!("/admin/v1/routes?{query}").parse().unwrap());
        assert_eq!(of("wait=all"), USUAL);
        assert_eq!(
            of("dry_run=true&wait=all&timeout=2500ms"),
            Duration::from_millis(2500)
        );
        assert_eq!(of("wait=all&timeout=60s"), LONGEST);
        for wrong in [
            "",
            "timeout=5s",
            "wait=some",
            "wait=all&timeout=61s",
            "wait=all&timeout=0s",
            "wait=all&timeout=x",
            "wait=all&timeout=05s",
            "wait=all&timeout=%2B5s",
            "wait=all&timeout=1m",
            "wait=all&timeout=s",
        ] {
            assert_eq!(of(wrong), Duration::ZERO, "{wrong}");
        }
        assert!(patience(None, Some("5s")).is_err());
        assert!(patience(Some(Whom::All), Some("1h")).is_err());
        assert_eq!(patience(None, None).unwrap(), None);
    }
}
