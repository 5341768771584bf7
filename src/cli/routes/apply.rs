//! `mcpd routes apply`: all routes at once.

use super::everywhere::Everywhere;
use super::{Diff, How, file, live, parse, tag, written};
use crate::cli::admin::{Admin, Answer, Api, Call, Failed};
use crate::cli::exit::Exit;
use crate::router::document::ETag;
use clap::Args;
use reqwest::Method;

const EXAMPLES: &str = "Examples:
  mcpd routes apply routes.yaml --dry-run
  mcpd routes apply routes.yaml
  mcpd routes apply routes.yaml --wait all
  mcpd routes get > routes.yaml 2> etag; vi routes.yaml; \\
    mcpd routes apply routes.yaml --if-match \"$(sed 's/^etag: //' etag)\"

The routes are replaced whole or, if anything is wrong with the document, not at all. Without
--if-match the version that is live when the command starts is the one that it replaces.";

/// Arguments of `mcpd routes apply`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Apply {
    /// The document, YAML or JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    how: How,
    /// Replace this version and no other, such as 7-0123456789abcdef (default: the one that is live)
    #[arg(long, value_name = "ETAG", value_parser = etag, conflicts_with = "force")]
    if_match: Option<ETag>,
    /// Replace whatever is there, also if that is nothing (default: only the version that was read)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    everywhere: Everywhere,
    /// Print one JSON object (default: text)
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// The quotes belong to it, but are tedious in a shell.
pub(super) fn etag(text: &str) -> Result<ETag, String> {
    let bare = text.trim_matches('"');
    let tag = format!("\"{bare}\"").parse();
    tag.map_err(|_| "write it as `mcpd routes get` shows it, such as 7-0123456789abcdef".to_owned())
}

pub(super) fn run(args: &Apply) -> Result<Exit, Failed> {
    let text = file::read(&args.file)?;
    let api = args.admin.open()?;
    let before = match (args.if_match, args.force) {
        (None, false) => Some(live(&api).map_err(or_none)?),
        _ => None,
    };
    let tag = match (&before, args.if_match) {
        (Some(answer), _) => tag(answer)?.to_owned(),
        (None, Some(tag)) => tag.to_string(),
        (None, None) => "*".to_owned(),
    };
    let mut query = args.how.query();
    query.extend(args.everywhere.query());
    let put = |if_match: Option<&str>| {
        api.ask(Call {
            method: Method::PUT,
            path: &["routes"],
            query: &query,
            // JSON is a part of YAML, also to the server.
            body: Some((text.clone(), "application/yaml")),
            if_match,
            only_if_absent: if_match.is_none(),
            longer: args.everywhere.longer(),
            ..Call::default()
        })
    };
    let asked = match put(Some(&tag)) {
        Err(failed) if args.force && is_nothing_there(&failed) => put(None),
        asked => asked,
    };
    match asked {
        Ok(answer) => {
            let diff = before
                .and_then(|before| Some(Diff::between(&parse(&before.body)?, &parse(&text)?)));
            written::show(&answer, diff.as_ref(), args.json)
        }
        Err(failed) => Err(explain(failed, args, &api, &text, &tag, before.as_ref())),
    }
}

/// Whether a condition failed for want of any version.
fn is_nothing_there(failed: &Failed) -> bool {
    failed.status == Some(412) && failed.etag.is_none()
}

/// A server that waits for its first routes has none to be read.
fn or_none(mut failed: Failed) -> Failed {
    if failed.status == Some(503) {
        failed.hint += "; where there are no routes yet, --force makes these the first";
    }
    failed
}

/// Says whose document is refused, or what has been changed by whom in between.
fn explain(
    mut failed: Failed,
    args: &Apply,
    api: &Api,
    text: &[u8],
    expected: &str,
    before: Option<&Answer>,
) -> Failed {
    match failed.status {
        Some(412) => conflict(failed, api, text, expected, before),
        Some(422) => {
            failed.exit = Exit::Routes;
            failed.hint = format!("nothing was changed: correct {}", file::shown(&args.file));
            failed
        }
        _ => failed,
    }
}

/// What was read is not what is there now; or what was named with --if-match is not.
fn conflict(
    mut failed: Failed,
    api: &Api,
    text: &[u8],
    expected: &str,
    before: Option<&Answer>,
) -> Failed {
    let now = live(api).ok();
    if let Some(tag) = now.as_ref().and_then(|now| now.etag.clone()) {
        failed.etag = Some(tag);
    }
    let there = failed.etag.as_deref().unwrap_or("another one");
    failed.text =
        format!("someone else has changed the routes: expected {expected}, there is {there}");
    let now = now.and_then(|now| parse(&now.body));
    let (old, new) = match before {
        Some(before) => (parse(&before.body), now),
        None => (now, parse(text)),
    };
    failed.changes = old.zip(new).map(|(old, new)| Diff::between(&old, &new));
    let differs = failed.changes.as_ref().is_some_and(|diff| !diff.is_empty());
    let hint = match (before, differs) {
        (Some(_), true) => "above is what they changed; look at it, then apply again",
        (Some(_), false) => "look at what is there, then apply again",
        (None, true) => {
            "above is what applying this would change there; to replace that version, give it to \
             --if-match"
        }
        (None, false) => "what is there says the same as this, so there is nothing to do",
    };
    hint.clone_into(&mut failed.hint);
    if before.is_none() {
        // The same again would be refused again.
        failed.exit = Exit::Permanent;
    }
    failed
}
