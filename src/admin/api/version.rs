//! Preconditions: If-Match and If-None-Match as HTTP has them.

use super::control::Precondition;
use super::problem::Problem;
use crate::router::document::ETag;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// Most tags in one header: nobody has seen more versions than that at once.
const MAX_TAGS: usize = 16;

/// What a header lists.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    Any,
    /// The tags that may be ours, and whether each is weak.
    Tags(Vec<(Option<ETag>, bool)>),
}

/// The precondition of a write.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let if_match = listed(headers, header::IF_MATCH)?;
    let if_none_match = listed(headers, header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (Some(Listed::Any), None) => Ok(Precondition::Any),
        (None, Some(Listed::Any)) => Ok(Precondition::Absent),
        // A weak tag never matches here, and one that is not ours never at all.
        (Some(Listed::Tags(tags)), None) => {
            let strong = tags.into_iter().filter(|(_, weak)| !weak);
            Ok(Precondition::Versions(
                strong.filter_map(|(tag, _)| tag).collect(),
            ))
        }
        (None, Some(Listed::Tags(_))) => {
            let text = "a write takes If-Match with a tag, or If-None-Match: *";
            Err(Problem::bad_request(text))
        }
        (Some(_), Some(_)) => {
            let text = "send If-Match or If-None-Match, not both";
            Err(Problem::bad_request(text))
        }
    }
}

/// Whether the reader has this version already. A header that makes no sense costs them the body.
pub(super) fn is_known(headers: &HeaderMap, etag: ETag) -> bool {
    match listed(headers, header::IF_NONE_MATCH) {
        Ok(Some(Listed::Any)) => true,
        Ok(Some(Listed::Tags(tags))) => tags.iter().any(|(tag, _)| *tag == Some(etag)),
        Ok(None) | Err(_) => false,
    }
}

/// A write without a precondition where it needs one.
pub(super) fn required() -> Problem {
    let text = "send If-Match with the ETag of the routes that you have changed, If-Match: * to \
                replace whatever is there, or If-None-Match: * if there should be none";
    Problem::new(StatusCode::PRECONDITION_REQUIRED, text)
}

/// The routes are not what the precondition says.
pub(super) fn failed(current: Option<ETag>) -> Problem {
    let text = match current {
        Some(tag) => {
            format!("the routes are version {tag} by now; read them and change them again")
        }
        None => "there are no routes yet; create them with If-None-Match: *".to_owned(),
    };
    let problem = Problem::new(StatusCode::PRECONDITION_FAILED, text);
    match current {
        Some(tag) => problem.with(header::ETAG, tag),
        None => problem,
    }
}

fn listed(headers: &HeaderMap, name: HeaderName) -> Result<Option<Listed>, Problem> {
    let mut tags = Vec::new();
    let (mut any, mut seen) = (false, false);
    for value in headers.get_all(&name) {
        seen = true;
        let value = value.to_str().map_err(|_| garbled(&name))?.trim();
        if value == "*" {
            any = true;
            continue;
        }
        let mut rest = value;
        loop {
            let (tag, weak, after) = take_tag(rest).ok_or_else(|| garbled(&name))?;
            tags.push((tag.parse().ok(), weak));
            if tags.len() > MAX_TAGS {
                let text = format!("{name} has more than {MAX_TAGS} tags");
                return Err(Problem::bad_request(text));
            }
            match after.trim_start().strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if after.trim().is_empty() => break,
                None => return Err(garbled(&name)),
            }
        }
    }
    match (any, tags.is_empty()) {
        _ if !seen => Ok(None),
        (true, true) => Ok(Some(Listed::Any)),
        (false, _) => Ok(Some(Listed::Tags(tags))),
        (true, false) => Err(garbled(&name)),
    }
}

/// One tag with its quotes, whether it is weak, and what follows.
fn take_tag(text: &str) -> Option<(&str, bool, &str)> {
    let (weak, tag) = match text.strip_prefix("W/") {
        Some(tag) => (true, tag),
        None => (false, text),
    };
    let end = tag.strip_prefix('"')?.find('"')? + 2;
    let (tag, rest) = tag.split_at_checked(end)?;
    let valid = |b: u8| b == 0x21 || (0x23..=0x7e).contains(&b);
    let inner = tag.get(1..tag.len() - 1)?;
    inner.bytes().all(valid).then_some((tag, weak, rest))
}

fn garbled(name: &HeaderName) -> Problem {
    let text =
        format!("{name} is * or a list of tags such as \"7-0123456789abcdef\", quotes included");
    Problem::bad_request(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn read(lines: &[(HeaderName, &str)]) -> Result<Precondition, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        precondition(&headers)
    }

    fn tags(of: &[&str]) -> Precondition {
        Precondition::Versions(of.iter().map(|tag| tag.parse().unwrap()).collect())
    }

    const A: &str = "\"7-0123456789abcdef\"";
    const B: &str = "\"8-0123456789abcdef\"";

    #[test]
    fn headers_are_read_as_http_has_them() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let of = |value: &str| read(&[(IF_MATCH, value)]).unwrap();
        assert_eq!(read(&[]).unwrap(), Precondition::None);
        assert_eq!(of("*"), Precondition::Any);
        assert_eq!(of(A), tags(&[A]));
        assert_eq!(of(&format!("{A} ,  {B}")), tags(&[A, B]));
        assert_eq!(
            read(&[(IF_MATCH, A), (IF_MATCH, B)]).unwrap(),
            tags(&[A, B])
        );
        assert_eq!(of(&format!("W/{A}")), tags(&[]), "weak tags match no write");
        assert_eq!(of("\"\", \"other\", \"a,b\""), tags(&[]));
        assert_eq!(read(&[(IF_NONE_MATCH, "*")]).unwrap(), Precondition::Absent);
        let many = vec![A; MAX_TAGS + 1].join(",");
        for wrong in [
            "",
            ",",
            "7-0123456789abcdef",
            "\"",
            "\"a",
            "*, \"a\"",
            "\"a\" \"b\"",
            "w/\"a\"",
            "\"a\",",
            &many,
        ] {
            assert!(read(&[(IF_MATCH, wrong)]).is_err(), "{wrong}");
        }
        assert!(read(&[(IF_MATCH, "*"), (IF_MATCH, A)]).is_err());
        assert!(read(&[(IF_MATCH, A), (IF_NONE_MATCH, "*")]).is_err());
        assert!(read(&[(IF_NONE_MATCH, A)]).is_err());
    }
}
