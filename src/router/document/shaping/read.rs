//! Reading the shaping keys of a route.
//!
//! Unknown keys in here are refused, unlike those of the route itself: half a condition would match what
//! it should not, half a fault would do other harm than was meant.

use super::super::fields::{Field, Fields, Report, items, text, whole};
use super::super::parse::{duration, name};
use super::super::problem::Problem;
use super::super::yaml::Value;
use super::{
    FAULT_CODES, FaultSpec, Glob, MAX_MATCH_HEADERS, MAX_MATCHES, MAX_SHARES, MAX_WEIGHT,
    MatchSpec, MirrorSpec, Rewrite, Share, Split, Sticky, Target,
};
use mcpd_proto::topic::Pattern;
use mcpd_proto::{ErrorCode, MetaBuf};
use std::collections::HashSet;
use std::time::Duration;

const SHARE_KEYS: &[&str] = &["handler", "weight"];
const STICKY_KEYS: &[&str] = &["header"];
const MATCH_KEYS: &[&str] = &["header", "client_id", "principal", "handler"];
const MIRROR_KEYS: &[&str] = &["handler", "percent"];
const FAULT_KEYS: &[&str] = &["percent", "delay", "error"];

/// A mapping without unknown keys.
fn exactly<'n>(
    field: Field<'n>,
    known: &'static [&'static str],
    report: &mut Report,
) -> Option<Fields<'n>> {
    let fields = Fields::of(field, known, report)?;
    fields.refuse_unknown(report);
    Some(fields)
}

/// Where a route leads, by `handler` or `split`.
pub(in super::super) fn target(fields: &Fields<'_>, report: &mut Report) -> Option<Target> {
    let sticky = fields.get("sticky");
    let Some(split) = fields.get("split") else {
        if let Some(sticky) = sticky {
            report.wrong(&sticky, "needs a `split`; leave it out");
        }
        let Some(handler) = fields.get("handler") else {
            let message = "is missing; write a handler or a split";
            report.problem(fields.problem_at("handler", message));
            return None;
        };
        return Some(Target::Handler(name(&handler, report)?));
    };
    if let Some(handler) = fields.get("handler") {
        let message = "a route has a handler or a split, not both; remove one of them";
        report.wrong(&handler, message);
    }
    let sticky = sticky.map(|field| self::sticky(field, report));
    Some(Target::Split(Split {
        shares: shares(&split, report)?,
        sticky: match sticky {
            Some(sticky) => Some(sticky?),
            None => None,
        },
    }))
}

fn shares(field: &Field<'_>, report: &mut Report) -> Option<Vec<Share>> {
    let items = items(field, report)?;
    if items.is_empty() || items.len() > MAX_SHARES {
        let message = format!("has {} handlers; write 1 to {MAX_SHARES}", items.len());
        report.wrong(field, message);
        return None;
    }
    let count = items.len();
    let shares = items.into_iter().filter_map(|item| share(item, report));
    let shares: Vec<Share> = shares.collect();
    if shares.len() < count {
        return None;
    }
    let mut seen = HashSet::new();
    if let Some(twice) = shares.iter().find(|share| !seen.insert(&share.handler)) {
        let message = format!("names the handler `{}` twice", twice.handler);
        report.wrong(field, message);
    }
    if shares.iter().all(|share| share.weight == 0) {
        report.wrong(field, "has only weights of 0; give one handler more");
    }
    Some(shares)
}

fn share(field: Field<'_>, report: &mut Report) -> Option<Share> {
    let fields = exactly(field, SHARE_KEYS, report)?;
    let handler = fields.require("handler", report);
    let handler = handler.and_then(|f| name(&f, report));
    let weight = fields.require("weight", report);
    let weight = weight.and_then(|f| whole(&f, 0..=MAX_WEIGHT, report));
    Some(Share {
        handler: handler?,
        weight: weight?,
    })
}

fn sticky(field: Field<'_>, report: &mut Report) -> Option<Sticky> {
    if matches!(field.node.value, Value::Mapping(_)) {
        let fields = exactly(field, STICKY_KEYS, report)?;
        let header = fields.require("header", report)?;
        let key = text(&header, report)?;
        return header_key(&header, key, report).map(Sticky::Header);
    }
    if text(&field, report)? == "client_id" {
        return Some(Sticky::ClientId);
    }
    report.wrong(&field, "write client_id, or {header: KEY}");
    None
}

fn header_key(field: &Field<'_>, key: &str, report: &mut Report) -> Option<String> {
    if MetaBuf::new().add_header(key, b"").is_ok() {
        return Some(key.to_owned());
    }
    let message = format!(
        "`{}` is not the key of a HEADER; write [a-z0-9_.-]{{1,64}}",
        key.escape_debug()
    );
    report.wrong(field, message);
    None
}

/// What shapes the requests of a route beside its target.
#[derive(Default)]
pub(in super::super) struct Shape {
    pub(in super::super) matches: Vec<MatchSpec>,
    pub(in super::super) mirror: Option<MirrorSpec>,
    pub(in super::super) rewrite: Option<Rewrite>,
    pub(in super::super) fault: Option<FaultSpec>,
}

/// Reads all of it; `pattern` is the route's, if it has a valid one.
pub(in super::super) fn shape(
    fields: &Fields<'_>,
    pattern: Option<&Pattern>,
    report: &mut Report,
) -> Shape {
    let matches = fields.get("match").and_then(|f| matches(&f, report));
    let rewrite = fields.get("rewrite").zip(pattern);
    Shape {
        matches: matches.unwrap_or_default(),
        mirror: fields.get("mirror").and_then(|f| mirror(f, report)),
        rewrite: rewrite.and_then(|(f, pattern)| rewritten(&f, pattern, report)),
        fault: fields.get("fault").and_then(|f| fault(f, report)),
    }
}

fn matches(field: &Field<'_>, report: &mut Report) -> Option<Vec<MatchSpec>> {
    let items = items(field, report)?;
    if items.len() > MAX_MATCHES {
        let message = format!(
            "has {} entries; at most {MAX_MATCHES} are taken",
            items.len()
        );
        report.wrong(field, message);
        return None;
    }
    let rules = items.into_iter().filter_map(|item| rule(item, report));
    Some(rules.collect())
}

fn rule(field: Field<'_>, report: &mut Report) -> Option<MatchSpec> {
    let (line, path) = field.place();
    let fields = exactly(field, MATCH_KEYS, report)?;
    let headers = fields.get("header").map(|f| headers(f, report));
    let mut glob_of = |key| fields.get(key).and_then(|f| glob(&f, report));
    let (client_id, principal) = (glob_of("client_id"), glob_of("principal"));
    let handler = fields.require("handler", report);
    let handler = handler.and_then(|f| name(&f, report));
    if ["header", "client_id", "principal"]
        .iter()
        .all(|key| fields.get(key).is_none())
    {
        let message = "has no condition; give it header, client_id or principal";
        report.problem(Problem::new(line, path, message));
    }
    Some(MatchSpec {
        headers: headers.unwrap_or_default(),
        client_id,
        principal,
        handler: handler?,
    })
}

fn headers(field: Field<'_>, report: &mut Report) -> Vec<(String, Glob)> {
    let mut found = Vec::new();
    let Value::Mapping(entries) = &field.node.value else {
        report.wrong(
            &field,
            "write a mapping of keys to values, such as {tenant: acme}",
        );
        return found;
    };
    if entries.is_empty() || entries.len() > MAX_MATCH_HEADERS {
        let message = format!("has {} keys; write 1 to {MAX_MATCH_HEADERS}", entries.len());
        report.wrong(&field, message);
        return found;
    }
    for entry in entries {
        let value = Field {
            node: &entry.value,
            path: format!("{}.{}", field.path, entry.key.escape_debug()),
        };
        let key = header_key(&value, &entry.key, report);
        found.extend(key.zip(glob(&value, report)));
    }
    // As they are written again.
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn glob(field: &Field<'_>, report: &mut Report) -> Option<Glob> {
    let glob = Glob::parse(text(field, report)?);
    glob.map_err(|why| report.wrong(field, why)).ok()
}

fn percent(fields: &Fields<'_>, report: &mut Report) -> Option<u8> {
    let percent = fields.require("percent", report)?;
    whole(&percent, 0..=100, report)
}

fn mirror(field: Field<'_>, report: &mut Report) -> Option<MirrorSpec> {
    let fields = exactly(field, MIRROR_KEYS, report)?;
    let percent = percent(&fields, report);
    let handler = fields.require("handler", report)?;
    Some(MirrorSpec {
        handler: name(&handler, report)?,
        percent: percent?,
    })
}

fn rewritten(field: &Field<'_>, pattern: &Pattern, report: &mut Report) -> Option<Rewrite> {
    let rewrite = Rewrite::parse(text(field, report)?, pattern);
    rewrite.map_err(|why| report.wrong(field, why)).ok()
}

fn fault(field: Field<'_>, report: &mut Report) -> Option<FaultSpec> {
    let (line, path) = field.place();
    let fields = exactly(field, FAULT_KEYS, report)?;
    let percent = percent(&fields, report);
    let delay = fields.get("delay");
    let error = fields.get("error");
    if delay.is_none() && error.is_none() {
        let message = "does nothing; give it a delay, an error, or both";
        report.problem(Problem::new(line, path, message));
    }
    let delay: Option<Duration> = delay.and_then(|f| duration(&f, report));
    Some(FaultSpec {
        percent: percent?,
        delay,
        error: error.and_then(|f| code(&f, report)),
    })
}

fn code(field: &Field<'_>, report: &mut Report) -> Option<ErrorCode> {
    let found = ErrorCode::from_name(text(field, report)?);
    let found = found.filter(|code| FAULT_CODES.contains(code));
    if found.is_none() {
        let names: Vec<String> = FAULT_CODES.iter().map(ToString::to_string).collect();
        report.wrong(
            field,
            format!(
                "is no code that a fault has; write one of {}",
                names.join(", ")
            ),
        );
    }
    found
}
