//! What a principal is known by besides tokens: JWTs and client certificates.

use super::Report;
use crate::auth::jwt::Claims;
use crate::message::Certificate;
use crate::router::document::reading::{self, Field, Fields};

/// Most matches of an entry, of either kind.
const MAX_MATCHES: usize = 64;
/// Most claims that one match looks at.
const MAX_CLAIMS: usize = 16;
/// Longest text that is compared.
const MAX_LEN: usize = 1024;

/// A JWT that stands for a principal: all that is asked for has to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JwtMatch {
    subject: Option<Beginning>,
    /// Name and wanted value of claims at the top level.
    claims: Vec<(String, String)>,
}

/// A text, or how one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beginning {
    text: String,
    open: bool,
}

impl JwtMatch {
    pub(crate) fn fits(&self, claims: &Claims) -> bool {
        let subject = claims.subject();
        let begins = |wanted: &Beginning| match subject.strip_prefix(wanted.text.as_str()) {
            Some(rest) => wanted.open || rest.is_empty(),
            None => false,
        };
        self.subject.as_ref().is_none_or(begins)
            && self
                .claims
                .iter()
                .all(|(name, value)| claims.has(name, value))
    }

    pub(super) fn read(item: Field<'_>, report: &mut Report) -> Option<JwtMatch> {
        let place = item.place();
        let fields = Fields::of(item, &["subject", "claims"], report)?;
        fields.unknown(report);
        let subject = fields.get("subject");
        let subject = subject.and_then(|field| beginning(&field, report));
        let claims = fields.get("claims");
        let claims = claims.and_then(|field| wanted(&field, report));
        let claims = claims.unwrap_or_default();
        if subject.is_none() && claims.is_empty() {
            let message = "matches every JWT; write a subject, or claims";
            reading::wrong_at(&place, message, report);
        }
        Some(JwtMatch { subject, claims })
    }
}

fn beginning(field: &Field<'_>, report: &mut Report) -> Option<Beginning> {
    let text = short(field, report)?;
    let fixed = text.strip_suffix('*').unwrap_or(text);
    if fixed.is_empty() || fixed.contains('*') {
        let message = "is no subject; write a text, or a beginning and one `*` at its end";
        reading::wrong(field, message, report);
        return None;
    }
    Some(Beginning {
        text: fixed.to_owned(),
        open: fixed.len() < text.len(),
    })
}

fn wanted(field: &Field<'_>, report: &mut Report) -> Option<Vec<(String, String)>> {
    let entries = reading::entries(field, report)?;
    if entries.len() > MAX_CLAIMS {
        let message = format!("are too many; at most {MAX_CLAIMS} are taken");
        reading::wrong(field, &message, report);
        return None;
    }
    let one = |(name, value): (&str, Field<'_>)| {
        let value = short(&value, report)?.to_owned();
        Some((name.to_owned(), value))
    };
    Some(entries.into_iter().filter_map(one).collect())
}

fn short<'n>(field: &Field<'n>, report: &mut Report) -> Option<&'n str> {
    let text = reading::text(field, report)?;
    if text.is_empty() || text.len() > MAX_LEN {
        let message = format!("is not 1 to {MAX_LEN} bytes long");
        reading::wrong(field, &message, report);
        return None;
    }
    Some(text)
}

/// A subject alternative name of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SanPattern {
    /// A URI; with `true`, one more segment of its path follows.
    Uri(String, bool),
    /// A DNS name in lower case; with `true`, one more label comes before it.
    Dns(String, bool),
    /// The part before the `@`, if that matters, and the domain in lower case.
    Email(Option<String>, String),
}

impl SanPattern {
    /// The name of the certificate that this is.
    pub(crate) fn find<'c>(&self, certificate: &'c Certificate) -> Option<&'c str> {
        let names = match self {
            SanPattern::Uri(..) => &certificate.uris,
            SanPattern::Dns(..) => &certificate.dns_names,
            SanPattern::Email(..) => &certificate.emails,
        };
        let found = names.iter().find(|name| self.fits(name));
        found.map(String::as_str)
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            SanPattern::Uri(uri, false) => uri == name,
            SanPattern::Uri(start, true) => name.strip_prefix(start.as_str()).is_some_and(is_part),
            SanPattern::Dns(dns, false) => dns.eq_ignore_ascii_case(name),
            SanPattern::Dns(domain, true) => name
                .split_once('.')
                .is_some_and(|(label, rest)| is_part(label) && domain.eq_ignore_ascii_case(rest)),
            SanPattern::Email(local, domain) => name.rsplit_once('@').is_some_and(|(name, at)| {
                domain.eq_ignore_ascii_case(at)
                    && !name.is_empty()
                    && local.as_ref().is_none_or(|local| local == name)
            }),
        }
    }

    pub(super) fn read(item: Field<'_>, report: &mut Report) -> Option<SanPattern> {
        let place = item.place();
        let fields = Fields::of(item, &["uri", "dns", "email"], report)?;
        fields.unknown(report);
        let found = ["uri", "dns", "email"].map(|key| fields.get(key).map(|field| (key, field)));
        let mut found = found.into_iter().flatten();
        let (Some((key, field)), None) = (found.next(), found.next()) else {
            reading::wrong_at(&place, "needs one of uri, dns and email", report);
            return None;
        };
        let text = short(&field, report)?;
        let parsed = match key {
            "uri" => uri(text),
            "dns" => dns(text),
            _ => email(text),
        };
        parsed
            .map_err(|why| reading::wrong(&field, why, report))
            .ok()
    }
}

/// What a wildcard may stand for: something, that is no wildcard, no step elsewhere and nothing that
/// only looks like a letter.
fn is_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~:@-".contains(&byte);
    !matches!(text, "" | "." | "..") && text.bytes().all(plain)
}

fn uri(text: &str) -> Result<SanPattern, &'static str> {
    let fixed = text.strip_suffix("/*").map(|start| format!("{start}/"));
    let open = fixed.is_some();
    let fixed = fixed.unwrap_or_else(|| text.to_owned());
    let authority = fixed.split_once("://").map(|(_, rest)| rest);
    // Of a wildcard right behind the scheme everybody's names would be part.
    let has_host = authority.is_some_and(|rest| !rest.starts_with('/') && !rest.is_empty());
    if !has_host || fixed.contains('*') || !is_visible(&fixed) {
        return Err(
            "is no URI; write `spiffe://domain/path`, or `/*` at its end for one more segment",
        );
    }
    Ok(SanPattern::Uri(fixed, open))
}

fn dns(text: &str) -> Result<SanPattern, &'static str> {
    let fixed = text.strip_prefix("*.");
    let name = fixed.unwrap_or(text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let label = |label: &str| !label.is_empty() && label.bytes().all(plain);
    if !name.split('.').all(label) {
        return Err(
            "is no DNS name; write `till-7.example`, or `*.tills.example` for one more label",
        );
    }
    Ok(SanPattern::Dns(name.to_ascii_lowercase(), fixed.is_some()))
}

fn email(text: &str) -> Result<SanPattern, &'static str> {
    let wrong =
        "is no mail address; write `ops@example.org`, or `*@example.org` for all of a domain";
    let (local, domain) = text.rsplit_once('@').ok_or(wrong)?;
    let SanPattern::Dns(domain, false) = dns(domain).map_err(|_| wrong)? else {
        return Err(wrong);
    };
    match local {
        "*" => Ok(SanPattern::Email(None, domain)),
        _ if local.is_empty() || local.contains('*') || !is_visible(local) => Err(wrong),
        _ => Ok(SanPattern::Email(Some(local.to_owned()), domain)),
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The JWTs that a field names.
pub(super) fn jwts(field: &Field<'_>, report: &mut Report) -> Vec<JwtMatch> {
    let items = reading::bounded(field, MAX_MATCHES, report).unwrap_or_default();
    let read = items
        .into_iter()
        .filter_map(|item| JwtMatch::read(item, report));
    read.collect()
}

/// The certificates that a field names.
pub(super) fn certificates(field: &Field<'_>, report: &mut Report) -> Vec<SanPattern> {
    let items = reading::bounded(field, MAX_MATCHES, report).unwrap_or_default();
    let read = items
        .into_iter()
        .filter_map(|item| SanPattern::read(item, report));
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(uris: &[&str], dns_names: &[&str], emails: &[&str]) -> Certificate {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Certificate {
            uris: owned(uris),
            dns_names: owned(dns_names),
            emails: owned(emails),
            not_after: std::time::SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_wildcard_of_a_uri_is_one_plain_segment() {
        let exact = uri("spiffe://prod/till").unwrap();
        let open = uri("spiffe://prod/till/*").unwrap();
        for (name, exactly, openly) in [
            ("spiffe://prod/till", true, false),
            ("spiffe://prod/till/", false, false),
            ("spiffe://prod/till/7", false, true),
            ("spiffe://prod/till/7/8", false, false),
            ("spiffe://prod/till/..", false, false),
            ("spiffe://prod/till/*", false, false),
            ("spiffe://prod/till/%2e%2e", false, false),
            ("spiffe://prod/till/７", false, false),
            ("spiffe://prod/tillx/7", false, false),
            ("spiffe://Prod/till", false, false),
            ("xspiffe://prod/till/7", false, false),
        ] {
            let certificate = certificate(&[name], &[name], &[name]);
            assert_eq!(exact.find(&certificate).is_some(), exactly, "{name}");
            assert_eq!(open.find(&certificate).is_some(), openly, "{name}");
        }
    }

    #[test]
    fn names_of_hosts_and_people_are_compared_as_such() {
        let open = dns("*.Tills.example").unwrap();
        for (name, fits) in [
            ("a.tills.example", true),
            ("A.TILLS.EXAMPLE", true),
            ("a.b.tills.example", false),
            ("tills.example", false),
            (".tills.example", false),
            ("*.tills.example", false),
            ("a.tills.example.evil", false),
            ("а.tills.example", false),
        ] {
            let found = certificate(&[], &[name], &[]);
            assert_eq!(open.find(&found).is_some(), fits, "{name}");
        }
        let (one, all) = (email("ops@x.org").unwrap(), email("*@x.org").unwrap());
        for (name, is_one, is_of_all) in [
            ("ops@X.org", true, true),
            ("Ops@x.org", false, true),
            ("@x.org", false, false),
            ("ops@x.org@evil.org", false, false),
            ("ops@y.x.org", false, false),
        ] {
            let found = certificate(&[], &[], &[name]);
            assert_eq!(one.find(&found).is_some(), is_one, "{name}");
            assert_eq!(all.find(&found).is_some(), is_of_all, "{name}");
        }
    }

    #[test]
    fn patterns_that_would_match_strangers_are_none() {
        for text in [
            "*",
            "spiffe://*",
            "spiffe:///*",
            "spiffe://a/*/b",
            "a/*",
            "spiffe://é/x",
        ] {
            assert!(uri(text).is_err(), "{text}");
        }
        for text in ["*", "*.", "a.*.b", "**.a", "a b", "é.example", ""] {
            assert!(dns(text).is_err(), "{text}");
        }
        for text in ["*", "@a", "a*@b", "a@*.b", "a@"] {
            assert!(email(text).is_err(), "{text}");
        }
    }
}
