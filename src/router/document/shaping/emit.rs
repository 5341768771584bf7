//! Writing the shaping keys of a route. Only those in use are written, so that the hash of a document
//! that has none of them is the same as to versions that do not know them.

use super::{FaultSpec, Glob, MatchSpec, MirrorSpec, RouteSpec, Share, Sticky, Target};
use serde_json::{Map, Value as Json, json};

/// Keys whose items have a line of their own in YAML.
pub(in super::super) const SPLIT: &str = "split";
pub(in super::super) const MATCH: &str = "match";

/// `handler`, or `split` with `sticky`.
pub(in super::super) fn target(route: &RouteSpec) -> Vec<(&'static str, Json)> {
    match &route.target {
        Target::Handler(name) => vec![("handler", json!(name))],
        Target::Split(split) => {
            let share = |share: &Share| json!({"handler": share.handler, "weight": share.weight});
            let shares = split.shares.iter().map(share).collect();
            let sticky = split.sticky.as_ref().map(|sticky| match sticky {
                Sticky::ClientId => json!("client_id"),
                Sticky::Header(key) => json!({"header": key}),
            });
            let sticky = sticky.map(|sticky| ("sticky", sticky));
            [(SPLIT, shares)].into_iter().chain(sticky).collect()
        }
    }
}

/// What there is of the other keys.
pub(in super::super) fn fields(route: &RouteSpec) -> Vec<(&'static str, Json)> {
    let matches = (!route.matches.is_empty()).then(|| route.matches.iter().map(rule).collect());
    let rewrite = route
        .rewrite
        .as_ref()
        .map(|rewrite| rewrite.as_str().into());
    let all = [
        (MATCH, matches),
        ("rewrite", rewrite),
        ("mirror", route.mirror.as_ref().map(mirror)),
        ("fault", route.fault.as_ref().map(fault)),
    ];
    let used = all
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    used.collect()
}

fn rule(rule: &MatchSpec) -> Json {
    let mut known = Map::new();
    let glob = |glob: &Glob| Json::from(glob.as_str());
    if !rule.headers.is_empty() {
        let headers = rule.headers.iter();
        let headers: Map<_, _> = headers
            .map(|(key, value)| (key.clone(), glob(value)))
            .collect();
        known.insert("header".to_owned(), headers.into());
    }
    known.extend(
        rule.client_id
            .as_ref()
            .map(|id| ("client_id".to_owned(), glob(id))),
    );
    known.extend(
        rule.principal
            .as_ref()
            .map(|name| ("principal".to_owned(), glob(name))),
    );
    known.insert("handler".to_owned(), json!(rule.handler));
    Json::Object(known)
}

fn mirror(mirror: &MirrorSpec) -> Json {
    json!({"handler": mirror.handler, "percent": mirror.percent})
}

fn fault(fault: &FaultSpec) -> Json {
    let mut known = Map::new();
    known.insert("percent".to_owned(), json!(fault.percent));
    let delay = fault
        .delay
        .map(|delay| humantime::format_duration(delay).to_string());
    known.extend(delay.map(|delay| ("delay".to_owned(), json!(delay))));
    let error = fault.error.and_then(|code| code.name());
    known.extend(error.map(|code| ("error".to_owned(), json!(code))));
    Json::Object(known)
}
