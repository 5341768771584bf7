//! Keys `auth.*`.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::build::Settings;
use super::problem::{Problem, ProblemKind};
use super::value::{show_duration, show_size};
use crate::auth::Algorithm;

/// Keys `auth.*`; need a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The principals document; `None` (default): nobody is asked who they are.
    pub principals: Option<PathBuf>,
    /// Tokens that are JWTs.
    pub jwt: JwtConfig,
}

/// Keys `auth.jwt.*`; need a restart. Nothing of it matters where there is neither file nor URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The file with the keys, a JWKS document.
    pub jwks_file: Option<PathBuf>,
    /// Where the keys are got from: https, or http on this machine.
    pub jwks_url: Option<String>,
    /// The `iss` of good tokens; set where there are keys.
    pub issuer: Option<String>,
    /// The `aud` of which good tokens have one; not empty where there are keys.
    pub audience: Vec<String>,
    /// The claim that says whose a token is. Default `sub`.
    pub subject_claim: String,
    /// How tokens may be signed, at least one. Default RS256, PS256, ES256, ES384 and EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// How wrong clocks may be, up to 10 min. Default 30 s.
    pub leeway: Duration,
    /// How often the URL is looked at, 1 s to 24 h. Default 5 min.
    pub refresh: Duration,
    /// How long keys are good that could not be got again; `None` is for ever. Default 24 h.
    pub max_stale: Option<Duration>,
    /// How long the URL may take to answer, 100 ms to 60 s. Default 5 s.
    pub timeout: Duration,
    /// Largest document in bytes, 1 KiB to 1 MiB. Default 256 KiB.
    pub max_bytes: usize,
}

const FILE: &str = "auth.jwt.jwks_file";
const URL: &str = "auth.jwt.jwks_url";
const ISSUER: &str = "auth.jwt.issuer";
const AUDIENCE: &str = "auth.jwt.audience";
const ALGORITHMS: &str = "auth.jwt.algorithms";

fn list(s: &Settings, key: &str) -> Vec<String> {
    let text = s.text(key).unwrap_or_default();
    let items = text.split(',').map(|item| item.trim().to_owned());
    items.filter(|item| !item.is_empty()).collect()
}

pub(super) fn build(s: &Settings) -> AuthConfig {
    let max_stale = s.duration("auth.jwt.max_stale");
    let algorithms = list(s, ALGORITHMS);
    let algorithms = algorithms.iter().filter_map(|name| Algorithm::named(name));
    AuthConfig {
        principals: s.path("auth.principals"),
        jwt: JwtConfig {
            jwks_file: s.path(FILE),
            jwks_url: s.text(URL),
            issuer: s.text(ISSUER),
            audience: list(s, AUDIENCE),
            subject_claim: s.text("auth.jwt.subject_claim").unwrap_or_default(),
            algorithms: algorithms.collect(),
            leeway: s.duration("auth.jwt.leeway"),
            refresh: s.duration("auth.jwt.refresh"),
            max_stale: (!max_stale.is_zero()).then_some(max_stale),
            timeout: s.duration("auth.jwt.timeout"),
            max_bytes: s.number("auth.jwt.max_bytes"),
        },
    }
}

/// Values that are fine by themselves and not together, or only at first sight.
pub(super) fn check(s: &mut Settings) {
    let source = [FILE, URL].into_iter().find(|key| s.is_set(key));
    if s.is_set(FILE) && s.is_set(URL) {
        wrong(
            s,
            URL,
            "and auth.jwt.jwks_file are two places for the same keys; remove one",
        );
    }
    for key in [ISSUER, AUDIENCE] {
        if let (Some(source), false) = (source, s.is_set(key)) {
            let message = format!("needs {key}, lest tokens for others be taken here; set it");
            wrong(s, source, &message);
        }
    }
    if s.is_set(AUDIENCE) && !s.is_misfit(AUDIENCE) && list(s, AUDIENCE).is_empty() {
        wrong(
            s,
            AUDIENCE,
            "names nobody; write one or more, with commas between them",
        );
    }
    let named = s.is_set("auth.principals") || s.flag("kubernetes.principals");
    if let (Some(source), false) = (source, named) {
        wrong(
            s,
            source,
            "does nothing without auth.principals, which says whose tokens these are; set it",
        );
    }
    check_url(s);
    let unknown = list(s, ALGORITHMS)
        .into_iter()
        .find(|name| Algorithm::named(name).is_none());
    if let Some(name) = unknown {
        let known = Algorithm::ALL.map(|(_, name)| name).join(", ");
        let message = format!(
            "has {name:?}, which is none; there are {known}, and none with a shared secret"
        );
        wrong(s, ALGORITHMS, &message);
    } else if list(s, ALGORITHMS).is_empty() {
        wrong(s, ALGORITHMS, "names none; remove it for the default");
    }
}

/// Whoever can change the answer can make tokens up.
fn check_url(s: &mut Settings) {
    let Some(url) = s.text(URL).and_then(|text| Url::parse(&text).ok()) else {
        return;
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let is_open = url.scheme() != "https" && !is_here;
    if !url.username().is_empty() || url.password().is_some() {
        // Without the value, which `wrong` would show.
        let message = "has a user or a password in it, which would show in messages; keys are public, \
                       leave them out";
        s.problems.push(Problem {
            key: URL.to_owned(),
            value: None,
            origin: s.origin(URL),
            kind: ProblemKind::Contradiction,
            message: message.to_owned(),
        });
    } else if is_open {
        let message =
            "is not encrypted, so that anybody on the way could change the keys; use https";
        wrong(s, URL, message);
    }
}

fn wrong(s: &mut Settings, key: &str, message: &str) {
    s.problem(key, ProblemKind::Contradiction, message.to_owned());
}

impl AuthConfig {
    /// Every key that has a value, in table order.
    pub(super) fn plain(&self) -> impl Iterator<Item = (&'static str, String)> {
        let jwt = &self.jwt;
        let path = |path: &PathBuf| path.display().to_string();
        let names = Algorithm::ALL.iter();
        let names = |wanted: &Algorithm| {
            let mut names = names.clone();
            names
                .find(|(it, _)| it == wanted)
                .map_or("", |(_, name)| *name)
        };
        let algorithms: Vec<_> = jwt.algorithms.iter().map(names).collect();
        let audience = (!jwt.audience.is_empty()).then(|| jwt.audience.join(","));
        let max_stale = show_duration(jwt.max_stale.unwrap_or_default());
        let set = [
            ("auth.principals", self.principals.as_ref().map(path)),
            (FILE, jwt.jwks_file.as_ref().map(path)),
            (URL, jwt.jwks_url.clone()),
            (ISSUER, jwt.issuer.clone()),
            (AUDIENCE, audience),
            ("auth.jwt.subject_claim", Some(jwt.subject_claim.clone())),
            (ALGORITHMS, Some(algorithms.join(","))),
            ("auth.jwt.leeway", Some(show_duration(jwt.leeway))),
            ("auth.jwt.refresh", Some(show_duration(jwt.refresh))),
            ("auth.jwt.max_stale", Some(max_stale)),
            ("auth.jwt.timeout", Some(show_duration(jwt.timeout))),
            ("auth.jwt.max_bytes", Some(show_size(jwt.max_bytes as u64))),
        ];
        set.into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }
}
