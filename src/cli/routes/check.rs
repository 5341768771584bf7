//! `mcpd routes check`: documents by themselves, or held against a server.

use super::file;
use crate::cli::admin::{Admin, Api, Call, Failed, Problem};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, complain, settle};
use crate::cli::render;
use crate::router::document::{self, Document, ParseOptions, Problems};
use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use std::io;

const EXAMPLES: &str = "Examples:
  mcpd routes check routes.yaml
  mcpd routes check --strict *.yaml
  mcpd routes check --server routes.yaml     with the handlers that a running server has
  mcpd routes get | mcpd routes check - --json | jq -r '.problems[].message'

Ends with 0 when every document is good, warnings or not; with 65 when one is not.";

/// Arguments of `mcpd routes check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Documents, YAML or JSON; - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Refuse keys that this version does not know (default: warn of them)
    #[arg(long)]
    strict: bool,
    /// Let a server judge them, which changes nothing there (default: without a server; handlers are
    /// not looked at)
    #[arg(long)]
    server: bool,
    /// Print a JSON object for each document, one a line (default: text, one line a problem)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// What was found in one document, and what `--json` prints. Keys are only ever added.
#[derive(Debug, Default, Serialize)]
struct Findings {
    file: String,
    ok: bool,
    revision: Option<u64>,
    hash: Option<String>,
    routes: Option<usize>,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    line: Option<u32>,
    key: Option<String>,
    message: String,
}

pub(super) fn run(args: &Check) -> Result<Exit, Failed> {
    let api = args.server.then(|| args.admin.open()).transpose()?;
    let (output, mut exit) = (Output::new(), Exit::Ok);
    for path in &args.files {
        let findings = look(path, args, api.as_ref())?;
        if !findings.ok {
            exit = Exit::Routes;
        }
        let written = match args.json {
            true => output.json(&findings),
            false => findings.show(output),
        };
        if written.is_err() {
            return Ok(settle(written, exit));
        }
    }
    Ok(exit)
}

fn look(path: &str, args: &Check, api: Option<&Api>) -> Result<Findings, Failed> {
    let mut findings = Findings {
        file: file::shown(path).to_owned(),
        ..Findings::default()
    };
    let options = ParseOptions {
        strict: args.strict,
        ..ParseOptions::default()
    };
    match file::read(path) {
        Err(failed) => findings.problems.push(Finding::whole(failed.text.clone())),
        Ok(text) => match Document::parse(&text, &options) {
            Ok(loaded) => {
                findings.warnings = all(&loaded.warnings);
                findings.describe(&loaded.document);
                if let Some(api) = api {
                    findings.problems = judged(api, text, args.strict)?;
                }
            }
            Err(error) => findings.problems = all(&error.problems),
        },
    }
    findings.ok = findings.problems.is_empty();
    Ok(findings)
}

/// What a server says of it.
fn judged(api: &Api, text: Vec<u8>, strict: bool) -> Result<Vec<Finding>, Failed> {
    let query = [
        ("dry_run", "true"),
        ("strict", if strict { "true" } else { "false" }),
    ];
    let asked = api.ask(Call {
        method: Method::PUT,
        path: &["routes"],
        query: &query,
        body: Some((text, "application/yaml")),
        if_match: Some("*"),
        ..Call::default()
    });
    match asked {
        Ok(answer) => answer.json::<Value>().map(|_| Vec::new()),
        Err(failed) if failed.status == Some(422) && !failed.errors.is_empty() => {
            Ok(failed.errors.iter().cloned().map(Finding::from).collect())
        }
        Err(failed) if matches!(failed.status, Some(413 | 422)) => {
            Ok(vec![Finding::whole(failed.text.clone())])
        }
        Err(failed) => Err(failed),
    }
}

/// A document that cannot be sent for what is wrong with it.
pub(super) fn refusal(name: &str, problems: &Problems) -> Failed {
    let text = format!("{name} is not a good route document");
    let hint = "nothing was sent: correct it";
    let mut failed = Failed::new(Exit::Routes, "invalid", text, hint);
    let problem = |problem: &document::Problem| Problem {
        field: problem.key.clone(),
        detail: problem.message.clone(),
        line: Some(problem.line).filter(|line| *line > 0),
    };
    failed.errors = problems.iter().map(problem).collect();
    failed
}

fn all(problems: &Problems) -> Vec<Finding> {
    let mut found: Vec<Finding> = problems.iter().map(Finding::from).collect();
    if problems.total() > found.len() {
        let more = problems.total() - found.len();
        found.push(Finding::whole(format!("… and {more} more")));
    }
    found
}

impl Findings {
    fn describe(&mut self, document: &Document) {
        self.revision = Some(document.revision);
        self.hash = Some(document.hash_hex());
        self.routes = Some(document.routes.len());
    }

    fn show(&self, output: Output) -> io::Result<()> {
        for (word, list) in [("error", &self.problems), ("warning", &self.warnings)] {
            for finding in list {
                let line = format!("{word}: {}", finding.text(&self.file));
                complain(&render::one_line(&line));
            }
        }
        let warnings = match self.warnings.len() {
            0 => String::new(),
            count => format!(", warnings: {count}"),
        };
        match (self.ok, self.routes) {
            (true, routes) => {
                let routes = routes.unwrap_or_default();
                output.line(&format!("ok: {routes} routes from {}{warnings}", self.file))
            }
            (false, _) => {
                let problems = self.problems.len();
                complain(&format!(
                    "refused: {}: problems: {problems}{warnings}",
                    self.file
                ));
                Ok(())
            }
        }
    }
}

impl Finding {
    fn whole(message: String) -> Finding {
        Finding {
            line: None,
            key: None,
            message,
        }
    }

    fn text(&self, file: &str) -> String {
        let line = self
            .line
            .map(|line| format!("line {line}: "))
            .unwrap_or_default();
        let key = self
            .key
            .as_ref()
            .map(|key| format!("{key}: "))
            .unwrap_or_default();
        match line.is_empty() && self.message.contains(file) {
            true => self.message.clone(),
            false => format!("{file}: {line}{key}{}", self.message),
        }
    }
}

impl From<&document::Problem> for Finding {
    fn from(problem: &document::Problem) -> Finding {
        Finding {
            line: Some(problem.line).filter(|line| *line > 0),
            key: Some(problem.key.clone()).filter(|key| !key.is_empty()),
            message: problem.message.clone(),
        }
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Finding {
        Finding {
            line: problem.line.filter(|line| *line > 0),
            key: Some(problem.field).filter(|key| !key.is_empty()),
            message: problem.detail,
        }
    }
}
