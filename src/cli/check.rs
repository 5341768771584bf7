//! `mcpd check`: everything a start would refuse, without a start.

use super::exit::Exit;
use super::output::{Output, complain, settle};
use super::peer::env;
use super::render;
use super::serve::Sources;
use crate::app;
use crate::config::{self, Config, Setting};
use crate::router::document::{self, Document, ParseOptions, Problems};
use crate::router::store::{FileStore, FileStoreOptions, RouteStore};
use clap::Args;
use serde::Serialize;
use std::io;

const EXAMPLES: &str = "Examples:
  mcpd check --config mcpd.yaml --routes routes.yaml
  mcpd check --verbose        the configuration in force, and where each value came from
  mcpd check --json | jq -r '.problems[].message'

Ends with 0 when a server would start, warnings or not; with 64 when the configuration is wrong;
with 65 when the routes are.";

/// Arguments of `mcpd check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    sources: Sources,
    /// Print every key with its value and where that came from (default: only what is wrong)
    #[arg(long, short)]
    verbose: bool,
    /// Print one JSON object (default: text, one line a problem)
    #[arg(long)]
    json: bool,
}

/// What was found, and what `--json` prints. Keys are only ever added: scripts read this.
#[derive(Debug, Default, Serialize)]
struct Findings {
    ok: bool,
    exit_code: u8,
    config_file: Option<String>,
    routes_source: Option<String>,
    revision: Option<u64>,
    hash: Option<String>,
    routes: Option<usize>,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
    /// With `--verbose`.
    settings: Option<Vec<Shown>>,
}

/// One problem or warning.
#[derive(Debug, Serialize)]
struct Finding {
    /// `config` or `routes`.
    about: &'static str,
    /// Where the value came from.
    origin: String,
    line: Option<u32>,
    key: Option<String>,
    value: Option<String>,
    message: String,
    /// All of it, for people.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    key: String,
    value: String,
    origin: String,
}

pub(super) fn run(args: &Check) -> Exit {
    let (findings, exit) = match find(args) {
        Ok(found) => found,
        Err(error) => {
            complain(&format!("cannot check: {error}"));
            return Exit::Internal;
        }
    };
    let output = Output::new();
    let written = match args.json {
        true => output.json(&findings),
        false => show(&findings, output),
    };
    settle(written, exit)
}

fn find(args: &Check) -> io::Result<(Findings, Exit)> {
    let mut findings = Findings {
        config_file: args.sources.file().map(|path| path.display().to_string()),
        ..Findings::default()
    };
    match args.sources.load(Vec::new()) {
        Ok(config) => {
            if args.verbose {
                findings.settings = Some(config.effective().into_iter().map(Shown::from).collect());
            }
            findings.look_at(&config)?;
        }
        Err(errors) => {
            findings.problems = errors.problems.iter().map(Finding::config).collect();
            // Which handlers there would be is not known, but the document can be read.
            let routes = args.sources.routes.clone();
            if let Some(path) = routes.or_else(|| env("MCPD__ROUTES__FILE")) {
                findings.read_routes(path)?;
            }
        }
    }
    let exit = findings.exit();
    findings.ok = exit == Exit::Ok;
    findings.exit_code = exit.code();
    Ok((findings, exit))
}

impl Findings {
    fn look_at(&mut self, config: &Config) -> io::Result<()> {
        let found = app::check(config)?;
        for problem in found.handlers.into_iter().chain(found.tokens) {
            self.problems.push(Finding::of_file(problem));
        }
        self.add_routes(&found.source, &found.routes, &found.warnings);
        if let Some(document) = &found.document {
            self.describe(document);
            // The embedded routes cannot be edited, and their handlers answer at once.
            if config.routes.file.is_some() {
                self.warn_of_timeouts(document, config, &found.source);
            }
        }
        self.routes_source = Some(found.source);
        Ok(())
    }

    /// The document by itself.
    fn read_routes(&mut self, path: String) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let options = FileStoreOptions {
            parse: ParseOptions::default(),
            ..FileStoreOptions::default()
        };
        let store = FileStore::new(&path, options);
        match runtime.block_on(store.load()) {
            Ok(loaded) => {
                self.add_routes(&path, &Problems::default(), &loaded.warnings);
                self.describe(&loaded.document);
            }
            Err(error) => {
                let problems = match error.document_error() {
                    Some(document) => document.problems.clone(),
                    None => document::Problem::new(0, "", error.to_string()).into(),
                };
                self.add_routes(&path, &problems, &Problems::default());
            }
        }
        self.routes_source = Some(path);
        Ok(())
    }

    fn add_routes(&mut self, source: &str, problems: &Problems, warnings: &Problems) {
        for (list, found) in [
            (&mut self.problems, problems),
            (&mut self.warnings, warnings),
        ] {
            list.extend(found.iter().map(|problem| Finding::route(source, problem)));
            let kept = found.iter().count();
            if found.total() > kept {
                let text = format!("… and {} more", found.total() - kept);
                list.push(Finding::route(source, &document::Problem::new(0, "", text)));
            }
        }
    }

    fn describe(&mut self, document: &Document) {
        self.revision = Some(document.revision);
        self.hash = Some(document.hash_hex().to_string());
        self.routes = Some(document.routes.len());
    }

    /// A stop cuts off what takes longer than `drain.finish`.
    fn warn_of_timeouts(&mut self, document: &Document, config: &Config, source: &str) {
        let finish = config.drain.finish;
        let routes = document.routes.iter().enumerate();
        let mut slow = routes.filter(|(_, route)| route.timeout > finish);
        let Some((at, first)) = slow.next() else {
            return;
        };
        // One for all of them: with the defaults it would be every route.
        let (name, more, longest) = slow.fold(
            (first.name.clone(), 0_usize, first.timeout),
            |(name, more, longest), (_, route)| (name, more + 1, longest.max(route.timeout)),
        );
        let who = match more {
            0 => format!("{name} may take {longest:?}"),
            _ => format!("{name} and {more} more may take up to {longest:?}"),
        };
        let message = format!(
            "{who}, but a stop cuts off what is not finished within drain.finish = {finish:?}; \
             raise that, or lower the timeout of what should not be waited for"
        );
        let key = format!("routes[{at}].timeout");
        let warning = document::Problem::new(first.line, key, message);
        self.add_routes(source, &Problems::default(), &warning.into());
    }

    fn exit(&self) -> Exit {
        if self.problems.iter().any(|found| found.about == "config") {
            Exit::Usage
        } else if self.problems.is_empty() {
            Exit::Ok
        } else {
            Exit::Routes
        }
    }
}

fn show(findings: &Findings, output: Output) -> io::Result<()> {
    for shown in findings.settings.iter().flatten() {
        output.line(&format!(
            "{} = {}  # {}",
            shown.key, shown.value, shown.origin
        ))?;
    }
    for problem in &findings.problems {
        complain(&format!("error: {}", render::one_line(&problem.text)));
    }
    for warning in &findings.warnings {
        complain(&format!("warning: {}", render::one_line(&warning.text)));
    }
    let (problems, warnings) = (findings.problems.len(), findings.warnings.len());
    let routes = findings.routes.unwrap_or(0);
    let source = findings.routes_source.as_deref().unwrap_or("nowhere");
    match (findings.ok, warnings) {
        (true, 0) => output.line(&format!("ok: {routes} routes from {source}")),
        (true, _) => output.line(&format!(
            "ok: {routes} routes from {source}, warnings: {warnings}"
        )),
        (false, _) => {
            complain(&format!(
                "refused: problems: {problems}, warnings: {warnings}"
            ));
            Ok(())
        }
    }
}

impl Finding {
    fn config(problem: &config::Problem) -> Finding {
        let key = Some(problem.key.clone()).filter(|key| !key.is_empty());
        Finding {
            about: "config",
            origin: problem.origin.clone(),
            line: None,
            key,
            value: problem.value.clone(),
            message: problem.message.clone(),
            text: problem.to_string(),
        }
    }

    /// `handlers.<name>: what is wrong` with a file that the configuration names.
    fn of_file(problem: String) -> Finding {
        let (key, message) = problem.split_once(": ").unwrap_or(("handlers", &problem));
        Finding {
            about: "config",
            origin: key.split('.').next().unwrap_or(key).to_owned(),
            line: None,
            key: Some(key.to_owned()),
            value: None,
            message: message.to_owned(),
            text: problem.clone(),
        }
    }

    fn route(source: &str, problem: &document::Problem) -> Finding {
        Finding {
            about: "routes",
            origin: source.to_owned(),
            line: Some(problem.line).filter(|line| *line > 0),
            key: Some(problem.key.clone()).filter(|key| !key.is_empty()),
            value: None,
            message: problem.message.clone(),
            text: match problem.line == 0 && problem.message.contains(source) {
                true => problem.to_string(),
                false => format!("{source}: {problem}"),
            },
        }
    }
}

impl From<Setting> for Shown {
    fn from(Setting { key, value, origin }: Setting) -> Shown {
        Shown { key, value, origin }
    }
}
