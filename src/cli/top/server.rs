//! Who the server is and how it says it does.

use crate::cli::render;
use crate::cli::state;
use serde::Serialize;
use serde_json::Value;

/// Reasons for not being ready that are shown.
const MAX_REASONS: usize = 5;

/// What a server says of itself, from the admin API or from the pages that anybody may read.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct About {
    pub(super) server_id: Option<String>,
    pub(super) version: Option<String>,
    pub(super) uptime_seconds: Option<f64>,
    pub(super) phase: Option<String>,
    pub(super) ready: Option<bool>,
    /// Why it is not ready.
    pub(super) unready: Vec<String>,
    pub(super) revision: Option<u64>,
    pub(super) hash: Option<String>,
    /// Where the routes come from, and why the newest are not in force.
    pub(super) routes_source: Option<String>,
    pub(super) routes_problem: Option<String>,
    /// How far a drain is.
    pub(super) drain: Option<String>,
    /// What is not shown, and why.
    pub(super) missing: Option<String>,
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(render::one_line)
}

impl About {
    /// From `/admin/v1/state`.
    pub(super) fn of_state(value: &Value) -> About {
        let routes = &value["routes"];
        let drain = &value["drain"];
        About {
            server_id: text(&value["server_id"]),
            version: text(&value["version"]),
            uptime_seconds: value["uptime_seconds"].as_f64(),
            phase: text(&value["phase"]),
            ready: value["ready"].as_bool(),
            revision: routes["revision"].as_u64(),
            hash: text(&routes["hash"]),
            routes_source: text(&routes["source"]),
            routes_problem: text(&routes["problem"]),
            drain: drain.is_object().then(|| state::drain_line(drain)),
            ..About::default()
        }
    }

    /// From `/statusz`, which says less.
    pub(super) fn of_statusz(value: &Value) -> About {
        About {
            server_id: text(&value["server_id"]),
            phase: text(&value["lifecycle"]),
            revision: value["revision"].as_u64(),
            hash: text(&value["hash"]),
            ..About::default()
        }
    }

    /// Adds what `/readyz?verbose` says: a line for each condition, `[-]` before those that do not hold.
    pub(super) fn readiness(&mut self, status: u16, page: &str) {
        self.ready = Some(status == 200);
        if status != 200 {
            let reasons = page.lines().filter_map(|line| line.strip_prefix("[-] "));
            self.unready = reasons.take(MAX_REASONS).map(render::one_line).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_says_all_and_statusz_the_rest() {
        let about = About::of_state(&json!({
            "server_id": "a\u{1b}", "version": "1", "phase": "running", "ready": true, "uptime_seconds": 1.5,
            "routes": {"revision": 3, "hash": "abc", "source": "file", "problem": null}, "drain": null,
        }));
        assert_eq!(about.server_id.as_deref(), Some("a\\u{1b}"));
        assert_eq!(
            (about.revision, about.ready, about.uptime_seconds),
            (Some(3), Some(true), Some(1.5))
        );
        assert_eq!((about.routes_problem, about.drain), (None, None));
        let mut about = About::of_statusz(&json!({"server_id": "b", "lifecycle": "shutting_down"}));
        about.readiness(
            503,
            "[+] routes: 2\n[-] lifecycle: shutting_down\nnot ready\n",
        );
        assert_eq!(
            (about.ready, about.unready),
            (Some(false), vec!["lifecycle: shutting_down".to_owned()])
        );
        assert_eq!(about.phase.as_deref(), Some("shutting_down"));
    }

    #[test]
    fn nonsense_says_nothing() {
        for value in [json!(null), json!([]), json!({"routes": 7, "drain": []})] {
            assert_eq!(About::of_state(&value).server_id, None);
        }
    }
}
