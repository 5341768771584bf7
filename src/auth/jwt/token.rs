//! A JWT: from its three parts to claims that one may believe.

use super::json;
use super::keys::{Algorithm, KeySet, MAX_KID};
use crate::telemetry::AuthResult as Refused;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest token: half of what a HELLO may hold.
const MAX_TOKEN: usize = 8 << 10;
/// Longest header, decoded.
const MAX_HEADER: usize = 1 << 10;
/// Longest subject.
const MAX_SUBJECT: usize = 255;

/// Header fields that would have us take a key, or a meaning, from the token itself.
const REFUSED_FIELDS: [&str; 9] = [
    "crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "cty",
];

/// What a JWT has to say to be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The `iss` that it has to have.
    pub issuer: String,
    /// The `aud` of which it has to have one.
    pub audiences: Vec<String>,
    /// How wrong clocks may be.
    pub leeway: Duration,
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// The claim that says whose it is, mostly `sub`.
    pub subject_claim: String,
}

/// What a JWT claims, which its issuer vouches for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claims {
    subject: String,
    all: Map<String, Value>,
    /// When it expires, leeway included.
    pub(crate) expires: SystemTime,
    /// The key that it is signed with.
    pub(super) key: [u8; 32],
}

impl Claims {
    /// Whose it is.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether a claim is this text, or a list with it.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        match self.all.get(name) {
            Some(Value::String(text)) => text == value,
            Some(Value::Array(items)) => items.iter().any(|item| item == value),
            _ => false,
        }
    }
}

/// Whether it has the three parts of one. Tokens of `mcpd token new` have not.
pub(crate) fn is_jwt(token: &[u8]) -> bool {
    token.iter().filter(|byte| **byte == b'.').count() == 2
}

/// Judges a token.
///
/// # Errors
/// The first thing that is wrong with it, [`Refused::Key`] for a key that is not known.
pub(super) fn verify(
    token: &[u8],
    keys: &KeySet,
    rules: &Rules,
    now: SystemTime,
) -> Result<Claims, Refused> {
    if token.len() > MAX_TOKEN {
        return Err(Refused::Oversized);
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refused::Malformed);
    };
    let (algorithm, kid) = read_header(header, rules)?;
    let key = keys.find(kid.as_deref()).ok_or(Refused::Key)?;
    let signature = decode(signature)?;
    let signed = token.get(..header.len() + 1 + claims.len());
    let verified = key.verifies(algorithm, signed.unwrap_or_default(), &signature);
    // Nothing of the claims is looked at before they are known to be the issuer's.
    match verified {
        None => Err(Refused::Algorithm),
        Some(false) => Err(Refused::Signature),
        Some(true) => judge(&decode(claims)?, key.id, rules, now),
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, Refused> {
    let decoded = URL_SAFE_NO_PAD.decode(part);
    decoded.map_err(|_| Refused::Malformed)
}

/// Algorithm and key of a header.
fn read_header(part: &[u8], rules: &Rules) -> Result<(Algorithm, Option<String>), Refused> {
    let header = decode(part)?;
    if header.len() > MAX_HEADER {
        return Err(Refused::Oversized);
    }
    let header = json::object(&header).ok_or(Refused::Malformed)?;
    if REFUSED_FIELDS.iter().any(|name| header.contains_key(*name)) {
        return Err(Refused::Header);
    }
    let text = |key: &str| json::text(&header, key).map_err(|()| Refused::Header);
    let kind = text("typ")?.unwrap_or("JWT");
    let kind = kind.strip_prefix("application/").unwrap_or(kind);
    if !kind.eq_ignore_ascii_case("JWT") && !kind.eq_ignore_ascii_case("at+jwt") {
        return Err(Refused::Header);
    }
    let algorithm = text("alg")?.and_then(Algorithm::named);
    let algorithm = algorithm.filter(|it| rules.algorithms.contains(it));
    let kid = text("kid")?.map(str::to_owned);
    if kid.as_ref().is_some_and(|kid| kid.len() > MAX_KID) {
        return Err(Refused::Header);
    }
    Ok((algorithm.ok_or(Refused::Algorithm)?, kid))
}

fn judge(text: &[u8], key: [u8; 32], rules: &Rules, now: SystemTime) -> Result<Claims, Refused> {
    let all = json::object(text).ok_or(Refused::Malformed)?;
    let expires = time(&all, "exp")?.ok_or(Refused::Claims)?;
    let expires = expires.checked_add(rules.leeway).ok_or(Refused::Claims)?;
    if expires <= now {
        return Err(Refused::Expired);
    }
    let begins = time(&all, "nbf")?;
    if begins.is_some_and(|at| at > now + rules.leeway) {
        return Err(Refused::NotYet);
    }
    if all.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(Refused::Issuer);
    }
    if !is_for_us(all.get("aud"), &rules.audiences) {
        return Err(Refused::Audience);
    }
    let subject = all.get(&rules.subject_claim).and_then(Value::as_str);
    let plain = |subject: &&str| {
        (1..=MAX_SUBJECT).contains(&subject.len()) && !subject.chars().any(char::is_control)
    };
    let subject = subject.filter(plain).ok_or(Refused::Claims)?.to_owned();
    Ok(Claims {
        subject,
        all,
        expires,
        key,
    })
}

fn is_for_us(audience: Option<&Value>, ours: &[String]) -> bool {
    let is_ours = |value: &Value| ours.iter().any(|our| value == our.as_str());
    match audience {
        Some(Value::Array(items)) => items.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => false,
    }
}

/// A time in seconds since 1970, with or without a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<SystemTime>, Refused> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_f64().ok_or(Refused::Claims)?;
    let since = Duration::try_from_secs_f64(seconds).map_err(|_| Refused::Claims)?;
    let at = UNIX_EPOCH.checked_add(since).ok_or(Refused::Claims)?;
    Ok(Some(at))
}
