//! Values of keys: durations, sizes, words, hosts.

use crate::router::document::reading::{self, Field, Fields, Report};
use std::path::PathBuf;
use std::time::Duration;

/// The longest that anything may be set to take.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A duration from 1 ms to a day, if the key is there.
pub(super) fn duration(fields: &Fields<'_>, key: &str, report: &mut Report) -> Option<Duration> {
    let field = fields.get(key)?;
    let text = reading::text(&field, report)?;
    let parsed = humantime::parse_duration(text).ok();
    let good = parsed.filter(|span| (Duration::from_millis(1)..=LONGEST).contains(span));
    if good.is_none() {
        let message = "is no duration from 1ms to 24h; write it as 500ms or 30s";
        reading::wrong(&field, message, report);
    }
    good
}

/// A number, if the key is there.
pub(super) fn number(
    fields: &Fields<'_>,
    key: &str,
    range: std::ops::RangeInclusive<u32>,
    report: &mut Report,
) -> Option<u32> {
    let field = fields.get(key)?;
    reading::number(&field, range, report)
}

/// A size in bytes, with or without a unit.
pub(super) fn size(fields: &Fields<'_>, key: &str, max: u64, report: &mut Report) -> Option<usize> {
    let field = fields.get(key)?;
    let text = reading::written(&field, report)?;
    let parsed: Option<bytesize::ByteSize> = text.parse().ok();
    let good = parsed.filter(|size| (1..=max).contains(&size.as_u64()));
    if good.is_none() {
        let max = bytesize::ByteSize(max);
        let message = format!("is no size of at most {max}; write it as 512KiB or 1MiB");
        reading::wrong(&field, &message, report);
    }
    good.and_then(|size| usize::try_from(size.as_u64()).ok())
}

/// `true` or `false`, if the key is there.
pub(super) fn flag(fields: &Fields<'_>, key: &str, report: &mut Report) -> Option<bool> {
    reading::boolean(&fields.get(key)?, report)
}

/// What `parse` makes of a text, if the key is there.
pub(super) fn parsed<T>(
    fields: &Fields<'_>,
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    of_text(&fields.get(key)?, parse, report)
}

/// What `parse` makes of a text.
pub(super) fn of_text<T>(
    field: &Field<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<T> {
    let text = reading::text(field, report)?;
    let parsed = parse(text);
    parsed
        .map_err(|message| reading::wrong(field, &message, report))
        .ok()
}

/// What `parse` makes of each text of a list of at most `max`, if the key is there.
pub(super) fn list<T>(
    fields: &Fields<'_>,
    key: &str,
    max: usize,
    parse: impl Fn(&str) -> Result<T, String>,
    report: &mut Report,
) -> Option<Vec<T>> {
    let field = fields.get(key)?;
    let items = bounded(&field, max, report)?;
    let items = items.iter();
    Some(
        items
            .filter_map(|item| of_text(item, &parse, report))
            .collect(),
    )
}

/// The items of a list of at most `max`.
pub(super) fn bounded<'n>(
    field: &Field<'n>,
    max: usize,
    report: &mut Report,
) -> Option<Vec<Field<'n>>> {
    let items = reading::items(field, report)?;
    if items.len() > max {
        let message = format!("are too many; at most {max} are taken");
        reading::wrong(field, &message, report);
        return None;
    }
    Some(items)
}

/// The mapping of a key, with nothing in it but `known`, if the key is there.
pub(super) fn section<'n>(
    fields: &Fields<'n>,
    key: &str,
    known: &'static [&'static str],
    report: &mut Report,
) -> Option<Fields<'n>> {
    let section = Fields::of(fields.get(key)?, known, report)?;
    section.unknown(report);
    Some(section)
}

/// The name of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text.is_empty() {
        true => Err("is empty; name a file".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

/// Puts what was found where the default is.
pub(super) fn set<T>(place: &mut T, found: Option<T>) {
    if let Some(found) = found {
        *place = found;
    }
}
