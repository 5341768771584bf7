//! What a write has done, as the server tells it.

use super::Diff;
use crate::cli::admin::{Answer, Failed, Problem};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, complain, settle};
use crate::cli::render;
use serde::Deserialize;
use serde_json::Value;
use std::io;

#[derive(Debug, Deserialize)]
struct Written {
    revision: u64,
    routes: u64,
    changed: bool,
    dry_run: bool,
    #[serde(default)]
    etag: Option<String>,
    changes: Changes,
    #[serde(default)]
    warnings: Vec<Warning>,
    /// Of a write that was to wait for all servers.
    converged: Option<bool>,
    #[serde(default)]
    stragglers: Vec<Straggler>,
    problem: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Straggler {
    server: String,
    revision: Option<u64>,
    problem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Warning {
    Text(String),
    Problem(Problem),
}

/// Shows a write; `diff` is what is known beyond names.
pub(super) fn show(answer: &Answer, diff: Option<&Diff>, json: bool) -> Result<Exit, Failed> {
    let written: Written = answer.json()?;
    for warning in &written.warnings {
        let text = match warning {
            Warning::Text(text) => text.clone(),
            Warning::Problem(problem) => problem.to_string(),
        };
        complain(&format!("warning: {}", render::one_line(&text)));
    }
    let output = Output::new();
    let shown = match json {
        true => output.json(&answer.json::<Value>()?),
        false => written.text(diff, output),
    };
    Ok(settle(shown, written.everywhere()))
}

impl Written {
    /// Says who does not have it, if it was to wait for them.
    fn everywhere(&self) -> Exit {
        if self.converged != Some(false) {
            return Exit::Ok;
        }
        let say = |text: String| complain(&render::one_line(&text));
        for straggler in &self.stragglers {
            let server = &straggler.server;
            say(match (&straggler.problem, straggler.revision) {
                (Some(problem), _) => format!("not known: {server} {problem}"),
                (None, Some(revision)) => format!("behind: {server} has revision {revision}"),
                (None, None) => format!("behind: {server}"),
            });
        }
        let why = self.problem.as_ref();
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        say(format!(
            "the change stands, but not all servers have it yet{why}"
        ));
        Exit::Executed
    }

    fn text(&self, diff: Option<&Diff>, output: Output) -> io::Result<()> {
        let changes = &self.changes;
        for (sign, names) in [
            ('+', &changes.added),
            ('~', &changes.changed),
            ('-', &changes.removed),
        ] {
            for name in names {
                let line = match diff {
                    Some(diff) => diff.line_of(sign, name),
                    None => format!("{sign} {name}"),
                };
                output.line(&render::one_line(&line))?;
            }
        }
        let tag = self.etag.as_deref().unwrap_or_default();
        let now = format!(
            "revision {}, {} routes, etag {tag}",
            self.revision, self.routes
        );
        let counts = format!(
            "{} added, {} changed, {} removed",
            changes.added.len(),
            changes.changed.len(),
            changes.removed.len()
        );
        let line = match (self.changed, self.dry_run) {
            (false, _) => format!("nothing to change: {now}"),
            (true, true) => format!("dry run: {counts}; it would be {now}"),
            (true, false) => format!("applied: {counts}; now {now}"),
        };
        output.line(&render::one_line(&line))
    }
}
