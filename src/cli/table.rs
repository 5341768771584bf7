//! What the admin API says, as lines for people or JSON for scripts.

use super::admin::{Answer, Failed};
use super::exit::Exit;
use super::output::{Output, settle};
use super::render;
use serde_json::Value;

/// Shows an answer: as the server sent it, on one line, or as the lines made of it.
///
/// # Errors
/// It is not JSON.
pub(super) fn show(
    answer: &Answer,
    json: bool,
    lines: impl FnOnce(&Value) -> Vec<String>,
) -> Result<Exit, Failed> {
    let value: Value = answer.json()?;
    let output = Output::new();
    let written = match json {
        true => output.json(&value),
        false => lines(&value).iter().try_for_each(|line| output.line(line)),
    };
    Ok(settle(written, Exit::Ok))
}

/// A column: its head, the keys that lead to its value, with dots between them, and how that is said.
pub(super) type Column = (&'static str, &'static str, fn(&Value) -> String);

/// A line of heads, and one for each item.
pub(super) fn table(items: &[Value], columns: &[Column]) -> Vec<String> {
    let heads = columns.iter().map(|(head, ..)| (*head).to_owned());
    let mut rows = vec![heads.collect()];
    rows.extend(items.iter().map(|item| {
        let cells = columns.iter().map(|(_, keys, said)| {
            let value = keys.split('.').fold(item, |value, key| &value[key]);
            said(value)
        });
        cells.collect()
    }));
    aligned(rows)
}

/// Rows in columns. No line ends with blanks.
pub(super) fn aligned(rows: Vec<Vec<String>>) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The list under this key; empty where there is none.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A value in a cell; `-` for what is not known.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => render::one_line(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(cell).collect();
            items.join(",")
        }
        value => render::one_line(&value.to_string()),
    }
}

/// Seconds as people say them.
pub(super) fn seconds(value: &Value) -> String {
    let Some(seconds) = value
        .as_f64()
        .filter(|seconds| (0.0..1e12).contains(seconds))
    else {
        return "-".to_owned();
    };
    let whole = seconds as u64;
    match whole {
        0..=9 => format!("{seconds:.1}s"),
        10..=119 => format!("{whole}s"),
        120..=7199 => format!("{}m{:02}s", whole / 60, whole % 60),
        7200..=172_799 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86400, whole / 3600 % 24),
    }
}

/// Bytes as people say them.
pub(super) fn bytes(value: &Value) -> String {
    value.as_u64().map_or("-".to_owned(), |bytes| {
        bytesize::ByteSize(bytes).display().iec().to_string()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let items = [json!({"a": "äöü", "b": {"c": 1}, "e": ""})];
        let columns: [Column; 3] = [("a", "a", cell), ("bcd", "b.c", cell), ("e", "e", cell)];
        assert_eq!(table(&items, &columns), ["a    bcd  e", "äöü  1"]);
    }

    #[test]
    fn values_as_people_say_them() {
        for (value, said) in [
            (json!(0.04), "0.0s"),
            (json!(75), "75s"),
            (json!(125.9), "2m05s"),
            (json!(7260), "2h01m"),
            (json!(200_000), "2d07h"),
            (json!(-1), "-"),
            (json!(null), "-"),
        ] {
            assert_eq!(seconds(&value), said);
        }
        assert_eq!(cell(&json!(["a\u{1b}", true, 1.5])), "a\\u{1b},yes,1.5");
        assert_eq!(bytes(&json!(2048)), "2.0 KiB");
    }
}
