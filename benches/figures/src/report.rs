//! Figures with their spread, and the lines a reader gets.

use std::fmt::Write as _;

use serde::Serialize;

/// The median of several runs, and how far they lay apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one value; `None` of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Spread { median, min, max })
    }

    /// `0.41 (0.40..0.43)`.
    pub(crate) fn text(&self, decimals: usize) -> String {
        let Spread { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}..{max:.decimals$})")
    }
}

/// Something a figure should stay below. Missing one is printed, never an error: figures depend
/// on the machine.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    what: String,
    limit: f64,
    unit: &'static str,
    /// `None` when what it is about was not measured.
    measured: Option<f64>,
    met: Option<bool>,
}

impl Goal {
    pub(crate) fn at_most(
        what: impl Into<String>,
        limit: f64,
        unit: &'static str,
        measured: Option<f64>,
    ) -> Self {
        Goal {
            what: what.into(),
            limit,
            unit,
            measured,
            met: measured.map(|measured| measured <= limit),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Goal {
            what, limit, unit, ..
        } = self;
        let verdict = match (self.measured, self.met) {
            (Some(measured), Some(true)) => format!("{measured:.2}: met"),
            (Some(measured), _) => format!("{measured:.2}: missed"),
            (None, _) => "not measured".to_owned(),
        };
        format!("  goal  {what} ≤ {limit} {unit}: {verdict}")
    }
}

/// Lays rows out in columns: the first one to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Writing into a String cannot fail.
            let _ = if column == 0 {
                write!(line, "  {cell:<width$}")
            } else {
                write!(line, "   {cell:>width$}")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_both_ends() {
        let odd = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(odd.text(1), "2.0 (1.0..3.0)");
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 8.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_goal_says_whether_it_is_met() {
        let text = |measured| Goal::at_most("mcpd", 1.5, "× floor", measured).text();
        assert_eq!(text(Some(1.5)), "  goal  mcpd ≤ 1.5 × floor: 1.50: met");
        assert_eq!(text(Some(1.51)), "  goal  mcpd ≤ 1.5 × floor: 1.51: missed");
        assert_eq!(text(None), "  goal  mcpd ≤ 1.5 × floor: not measured");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["a".into(), "µs".into()],
            vec!["bcd".into(), "1.25".into()],
        ];
        assert_eq!(table(&rows), "  a       µs\n  bcd   1.25\n");
    }
}
