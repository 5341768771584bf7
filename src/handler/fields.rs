//! Values that several types of handlers have in the handlers document.

use crate::router::document::reading::{self, Field, Report, text};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// A duration with its unit.
pub(super) fn duration(
    field: &Field<'_>,
    range: &RangeInclusive<Duration>,
    report: &mut Report,
) -> Option<Duration> {
    let written = text(field, report)?;
    let shown = humantime::format_duration;
    let (least, most) = (shown(*range.start()), shown(*range.end()));
    match humantime::parse_duration(written) {
        Ok(time) if range.contains(&time) => Some(time),
        _ => {
            let message = format!("write a duration from {least} to {most}, such as 500ms or 30s");
            reading::wrong(field, &message, report);
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    field: &Field<'_>,
    words: &[(&str, T)],
    report: &mut Report,
) -> Option<T> {
    let written = text(field, report)?;
    let found = words.iter().find(|(word, _)| *word == written);
    if found.is_none() {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("is none of `{}`; write one of them", words.join("`, `"));
        reading::wrong(field, &message, report);
    }
    found.map(|(_, meaning)| *meaning)
}

/// The path of a file, which need not be there yet.
pub(super) fn path(field: &Field<'_>, report: &mut Report) -> Option<PathBuf> {
    let written = text(field, report)?;
    if written.is_empty() {
        reading::wrong(field, "is empty; name a file", report);
        return None;
    }
    Some(PathBuf::from(written))
}
