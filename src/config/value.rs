//! One value: from what a file, variable or flag holds to what a key means,
//! and back to text.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::config::ValueKind;
use bytesize::ByteSize;
use tracing_subscriber::EnvFilter;

use super::keys::Kind;
use super::problem::{ProblemKind, nearest, one_line};

/// A value that fits its key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Parsed {
    Text(String),
    Address(SocketAddr),
    Bool(bool),
    Choice(&'static str),
    /// A count or a size.
    Number(u64),
    Duration(Duration),
    Ratio(f64),
}

/// Why a value does not fit, without its key and origin.
pub(super) type Misfit = (ProblemKind, String);

fn bad(message: impl Into<String>) -> Misfit {
    (ProblemKind::BadValue, message.into())
}

/// Reads `value` as `kind`.
pub(super) fn parse(kind: Kind, value: &ValueKind) -> Result<Parsed, Misfit> {
    match kind {
        Kind::Text { max, ascii } => text(value, max, ascii).map(Parsed::Text),
        Kind::Body { max } => body(value, max).map(Parsed::Text),
        Kind::Address => address(string(value, kind)?).map(Parsed::Address),
        Kind::Path => match string(value, kind)? {
            "" => Err(bad("is empty; name a file or leave the key out")),
            path => Ok(Parsed::Text(path.to_owned())),
        },
        Kind::Bool => boolean(value).map(Parsed::Bool),
        Kind::Choice(words) => choice(value, words).map(Parsed::Choice),
        Kind::Count { min, max } => {
            in_range(count(value)?, min, max, |n| n.to_string()).map(Parsed::Number)
        }
        Kind::Size { min, max } => in_range(size(value)?, min, max, show_size).map(Parsed::Number),
        Kind::Duration { min, max, off } => match duration(value)? {
            Duration::ZERO if off => Ok(Parsed::Duration(Duration::ZERO)),
            span => in_range(span, min, max, show_duration).map(Parsed::Duration),
        },
        Kind::Ratio => ratio(value).map(Parsed::Ratio),
        Kind::Factor { min, max } => factor(value, min, max).map(Parsed::Ratio),
        Kind::Filter => filter(string(value, kind)?).map(Parsed::Text),
        Kind::Url { max } => url(text(value, max, true)?).map(Parsed::Text),
    }
}

/// What `kind` wants, for the reader of an error or of the documentation.
pub(super) fn wants(kind: Kind) -> String {
    match kind {
        Kind::Text { .. } | Kind::Body { .. } => "text".to_owned(),
        Kind::Address => "an address such as `127.0.0.1:8080`".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Choice(words) => format!("one of `{}`", words.join("`, `")),
        Kind::Count { .. } => "a whole number".to_owned(),
        Kind::Size { .. } => "a size such as `64KiB` or `1MiB`".to_owned(),
        Kind::Duration { .. } => "a duration such as `250ms` or `30s`".to_owned(),
        Kind::Ratio => "a fraction from 0 to 1".to_owned(),
        Kind::Factor { .. } => "a number such as `1.2`".to_owned(),
        Kind::Filter => "a log filter such as `info`".to_owned(),
        Kind::Url { .. } => "a URL such as `http://localhost:4317`".to_owned(),
    }
}

/// The value as somebody wrote it, on one line.
pub(super) fn show(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => format!("\"{}\"", one_line(text)),
        ValueKind::Nil => "null".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        other => one_line(&other.to_string()),
    }
}

/// The largest unit that divides the size, so that nothing is rounded.
pub(super) fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// A duration as it may be written in a configuration.
pub(super) fn show_duration(span: Duration) -> String {
    humantime::format_duration(span)
        .to_string()
        .replace(' ', "")
}

fn wrong_type(value: &ValueKind, wanted: &str) -> Misfit {
    let found = match value {
        ValueKind::Nil => "nothing",
        ValueKind::Boolean(_) => "a boolean",
        ValueKind::String(_) => "text",
        ValueKind::Table(_) => "a section",
        ValueKind::Array(_) => "a list",
        ValueKind::Float(_) => "a fraction",
        _ => "a number",
    };
    (
        ProblemKind::WrongType,
        format!("is {found}; write {wanted}"),
    )
}

fn string(value: &ValueKind, kind: Kind) -> Result<&str, Misfit> {
    match value {
        ValueKind::String(text) => Ok(text),
        other => Err(wrong_type(other, &wants(kind))),
    }
}

fn body(value: &ValueKind, max: usize) -> Result<String, Misfit> {
    match value {
        ValueKind::String(text) if text.len() <= max => Ok(text.clone()),
        ValueKind::String(text) => Err((
            ProblemKind::OutOfRange,
            format!("has {} bytes; at most {max} are allowed", text.len()),
        )),
        other => Err(wrong_type(other, "text, in quotes")),
    }
}

fn text(value: &ValueKind, max: usize, ascii: bool) -> Result<String, Misfit> {
    let text = body(value, max)?;
    if text.is_empty() {
        Err(bad("is empty; give it a value or leave the key out"))
    } else if text.chars().any(char::is_control) {
        Err(bad("has control characters; remove them"))
    } else if ascii && !text.is_ascii() {
        Err(bad("has characters outside ASCII; remove them"))
    } else {
        Ok(text)
    }
}

fn url(text: String) -> Result<String, Misfit> {
    let wanted = wants(Kind::Url { max: 0 });
    let url = reqwest::Url::parse(&text);
    match url.map(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) {
        Ok(true) => Ok(text),
        Ok(false) => Err(bad(format!("is no URL of http or https; write {wanted}"))),
        Err(why) => Err(bad(format!("is no URL ({why}); write {wanted}"))),
    }
}

fn boolean(value: &ValueKind) -> Result<bool, Misfit> {
    match value {
        ValueKind::Boolean(flag) => Ok(*flag),
        ValueKind::String(text) => text
            .parse()
            .map_err(|_| bad("is neither `true` nor `false`; write one of them")),
        other => Err(wrong_type(other, &wants(Kind::Bool))),
    }
}

fn choice(value: &ValueKind, words: &'static [&'static str]) -> Result<&'static str, Misfit> {
    let word = match value {
        // `off` is a boolean to many YAML tools, which then write `false`.
        ValueKind::Boolean(false) => "false",
        ValueKind::Boolean(true) => "true",
        other => string(other, Kind::Choice(words))?,
    };
    let word = match word {
        "false" if words.contains(&"off") => "off",
        "true" if words.contains(&"required") => "required",
        word => word,
    };
    if let Some(known) = words.iter().find(|known| **known == word) {
        return Ok(known);
    }
    let wanted = wants(Kind::Choice(words));
    Err(match nearest(word, words.iter().copied()) {
        Some(near) => bad(format!("is unknown; did you mean `{near}`? Write {wanted}")),
        None => bad(format!("is unknown; write {wanted}")),
    })
}

/// A whole number out of whichever integer type the file format used.
fn whole(value: &ValueKind) -> Option<i128> {
    match value {
        ValueKind::I64(n) => Some(i128::from(*n)),
        ValueKind::U64(n) => Some(i128::from(*n)),
        ValueKind::I128(n) => Some(*n),
        ValueKind::U128(n) => Some(i128::try_from(*n).unwrap_or(i128::MAX)),
        _ => None,
    }
}

fn unsigned(n: i128) -> Result<u64, Misfit> {
    // Beyond 64 bits every limit is exceeded anyway.
    u64::try_from(n.min(i128::from(u64::MAX))).map_err(|_| {
        (
            ProblemKind::OutOfRange,
            "is negative; write a positive number".to_owned(),
        )
    })
}

fn count(value: &ValueKind) -> Result<u64, Misfit> {
    if let ValueKind::String(text) = value {
        let n: i128 = text
            .parse()
            .map_err(|_| bad("is not a whole number; write digits only"))?;
        return unsigned(n);
    }
    let wanted = "a whole number, digits only";
    whole(value).map_or_else(|| Err(wrong_type(value, wanted)), unsigned)
}

fn decimal(value: &ValueKind, wanted: &str) -> Result<f64, Misfit> {
    Ok(match value {
        ValueKind::Float(number) => *number,
        ValueKind::String(text) => text
            .parse()
            .map_err(|_| bad(format!("is not a number; write {wanted}")))?,
        other => whole(other).ok_or_else(|| wrong_type(other, wanted))? as f64,
    })
}

/// `min` and `max` are in hundredths.
fn factor(value: &ValueKind, min: u64, max: u64) -> Result<f64, Misfit> {
    let factor = decimal(value, "one such as 1.2")?;
    let (min, max) = (min as f64 / 100.0, max as f64 / 100.0);
    match (min..=max).contains(&factor) {
        true => Ok(factor),
        false => Err((
            ProblemKind::OutOfRange,
            format!("is not between {min} and {max}"),
        )),
    }
}

fn ratio(value: &ValueKind) -> Result<f64, Misfit> {
    let ratio = decimal(value, "a fraction such as 0.01")?;
    // What is not a number is in no range either.
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err((
            ProblemKind::OutOfRange,
            "is not between 0 and 1; 0.01 is one in a hundred".to_owned(),
        )),
    }
}

fn size(value: &ValueKind) -> Result<u64, Misfit> {
    let wanted = "plain bytes or a unit, such as 65536, 64KiB or 1MiB";
    if let ValueKind::String(text) = value {
        return match text.parse::<ByteSize>() {
            Ok(size) => Ok(size.as_u64()),
            Err(_) => Err(bad(format!("is not a size; write {wanted}"))),
        };
    }
    whole(value).map_or_else(|| Err(wrong_type(value, wanted)), unsigned)
}

fn duration(value: &ValueKind) -> Result<Duration, Misfit> {
    let bare = match value {
        ValueKind::String(text) => {
            let text = text.trim();
            let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            (digits && !text.is_empty()).then(|| text.to_owned())
        }
        ValueKind::Float(n) => Some(n.to_string()),
        other => whole(other).map(|n| n.to_string()),
    };
    if let Some(number) = bare {
        let number = number.trim_start_matches('-');
        return Err(bad(format!(
            "has no unit; write {number}s for seconds or {number}ms for milliseconds"
        )));
    }
    let kind = Kind::Duration {
        min: Duration::ZERO,
        max: Duration::MAX,
        off: false,
    };
    humantime::parse_duration(string(value, kind)?).map_err(|_| {
        bad("is not a duration; write numbers with units ms, s, m or h, such as 250ms, 30s or 1m30s")
    })
}

fn in_range<T: PartialOrd + Copy>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, Misfit> {
    let side = if value < min {
        "below the least allowed"
    } else if value > max {
        "above the most allowed"
    } else {
        return Ok(value);
    };
    Err((
        ProblemKind::OutOfRange,
        format!("is {side}; write {} to {}", show(min), show(max)),
    ))
}

fn address(text: &str) -> Result<SocketAddr, Misfit> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    // No look-up: a name that resolves to something else tomorrow would move
    // the port between two starts.
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port
            .parse()
            .map_err(|_| bad("has no valid port; ports are 0 to 65535"))?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    Err(bad(address_advice(text)))
}

fn address_advice(text: &str) -> String {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    if inner == "localhost" || inner.parse::<Ipv4Addr>().is_ok() {
        return format!("has no port; write {inner}:8080");
    }
    if inner.parse::<IpAddr>().is_ok() {
        return format!("has no port; write [{inner}]:8080");
    }
    if let Some(port) = text.strip_prefix(':') {
        return format!("has no address; write 0.0.0.0:{port} or [::]:{port} for all of them");
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() => {
            "has no valid port; ports are 0 to 65535".to_owned()
        }
        _ => "is not an address; write an IP address (or localhost) and a port, such as \
              127.0.0.1:8080 or [::]:8080"
            .to_owned(),
    }
}

fn filter(text: &str) -> Result<String, Misfit> {
    if text.trim().is_empty() {
        return Err(bad("is empty; write `off` to log nothing, or `info`"));
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(bad(format!(
            "is not a log filter ({}); write a level such as `info`, or `info,mcpd::conn=debug`",
            one_line(&error.to_string())
        ))),
    }
}
