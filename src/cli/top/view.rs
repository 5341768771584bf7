//! Draws what is known on a screen of any size.

use super::figures::Rates;
use super::keys::{Controls, HELP, Sort};
use super::model::Model;
use super::words::{self, ROUTE_HEADS, Tone, UPSTREAM_HEADS};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Sparkline, Table};
use std::time::Instant;

/// Columns of the names before the summary's lines.
const LABELS: usize = 13;
/// Lines of the curve, where there is room for it.
const CURVE: u16 = 3;
/// Height of a screen from which on there is a curve.
const ROOMY: u16 = 24;
/// Most lines of the table of upstreams, its head included: routes matter more.
const UPSTREAMS: usize = 6;

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    /// Whether there may be colours (`NO_COLOR`).
    pub(super) colours: bool,
}

impl Theme {
    fn tone(self, tone: Tone) -> Style {
        let style = match tone {
            Tone::Bad => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        };
        match tone {
            _ if !self.colours => style,
            Tone::Plain => style,
            Tone::Good => style.fg(Color::Green),
            Tone::Warning => style.fg(Color::Yellow),
            Tone::Bad => style.fg(Color::Red),
        }
    }

    fn curve(self) -> Style {
        match self.colours {
            true => Style::new().fg(Color::Cyan),
            false => Style::new(),
        }
    }
}

const HEAD: Style = Style::new().add_modifier(Modifier::REVERSED);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// All of the screen.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    title: &str,
    model: &Model,
    controls: &Controls,
    theme: Theme,
    now: Instant,
) {
    let all = frame.area();
    let lines: Vec<Line<'_>> = match controls.help {
        true => HELP
            .iter()
            .map(|(keys, what)| labelled(keys, what, 21, Style::new()))
            .collect(),
        false => summary(model, theme, now),
    };
    let upstreams = model
        .rates
        .as_ref()
        .map_or(0, |rates| rates.upstreams.len());
    let curve = all.height >= ROOMY && !model.history.is_empty() && !controls.help;
    let [top, text, line, routes, others, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(height(lines.len())),
        Constraint::Length(if curve { CURVE } else { 0 }),
        Constraint::Min(0),
        Constraint::Length(if upstreams > 0 {
            height((upstreams + 1).min(UPSTREAMS))
        } else {
            0
        }),
        Constraint::Length(1),
    ])
    .areas(all);
    frame.render_widget(Paragraph::new(heading(title, controls)).style(HEAD), top);
    frame.render_widget(Paragraph::new(lines), text);
    frame.render_widget(Paragraph::new(FOOTER).style(DIM), keys);
    if curve {
        draw_curve(frame, line, model, theme);
    }
    if let Some(rates) = model.rates.as_ref().filter(|_| !controls.help) {
        draw_routes(frame, routes, rates, controls, theme);
        draw_upstreams(frame, others, rates, theme);
    }
}

const FOOTER: &str = "q quit  s sort  ↑↓ scroll  p pause  + - interval  ? help";

fn height(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn heading(title: &str, controls: &Controls) -> String {
    let every = format!("every {:?}", controls.interval);
    let state = if controls.paused {
        "PAUSED"
    } else {
        every.as_str()
    };
    format!(" mcpd top  {title}  {state}")
}

fn labelled<'a>(label: &'a str, text: &'a str, width: usize, style: Style) -> Line<'a> {
    Line::from(vec![
        Span::styled(format!("{label:<width$}"), DIM),
        Span::styled(text, style),
    ])
}

fn summary(model: &Model, theme: Theme, now: Instant) -> Vec<Line<'static>> {
    let lines = words::summary(model, now);
    if lines.is_empty() {
        return vec![Line::from("waiting for the first answer")];
    }
    let styled = lines.into_iter().map(|line| {
        let label = Span::styled(format!("{:<LABELS$}", line.label), DIM);
        Line::from(vec![label, Span::styled(line.text, theme.tone(line.tone))])
    });
    styled.collect()
}

/// The newest on the right.
fn draw_curve(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme) {
    let left = u16::try_from(LABELS).unwrap_or_default();
    let [label, area] =
        Layout::horizontal([Constraint::Length(left), Constraint::Min(0)]).areas(area);
    let room = usize::from(area.width);
    let shown = model.history.len().min(room);
    let newest = model.history.iter().skip(model.history.len() - shown);
    let most = newest
        .clone()
        .flatten()
        .fold(0.0_f64, |most, rate| most.max(*rate));
    let said = format!("{}/s", words::rate(most));
    frame.render_widget(
        Paragraph::new(format!("each look\n≤ {said}")).style(DIM),
        label,
    );
    // Bars are whole numbers: in thousandths, few requests make a curve, too.
    let missing = std::iter::repeat_n(None, room - shown);
    let newest = newest.map(|rate| rate.map(|rate| (rate * 1e3) as u64));
    let data: Vec<Option<u64>> = missing.chain(newest).collect();
    frame.render_widget(Sparkline::default().data(data).style(theme.curve()), area);
}

fn draw_routes(
    frame: &mut Frame<'_>,
    area: Rect,
    rates: &Rates,
    controls: &Controls,
    theme: Theme,
) {
    let routes = controls.sort.routes(rates);
    // Routes may have gone since somebody scrolled.
    let skipped = controls.skipped.min(routes.len().saturating_sub(1));
    let shown = routes
        .into_iter()
        .skip(skipped)
        .take(usize::from(area.height));
    let rows = shown.map(|(name, requests)| {
        let tone = match requests {
            route if route.server > 0.0 => Tone::Bad,
            route if route.errors() > 0.0 => Tone::Warning,
            _ => Tone::Plain,
        };
        Row::new(words::route(name, requests)).style(theme.tone(tone))
    });
    let sorted = match controls.sort {
        Sort::Name => 0,
        Sort::Rate => 1,
        Sort::Errors => 2,
        Sort::Latency => 5,
    };
    let heads = ROUTE_HEADS
        .iter()
        .enumerate()
        .map(|(at, head)| match at == sorted {
            true => format!("{head}▾"),
            false => (*head).to_owned(),
        });
    frame.render_widget(table(rows, heads), area);
}

fn draw_upstreams(frame: &mut Frame<'_>, area: Rect, rates: &Rates, theme: Theme) {
    let rows = rates.upstreams.iter().map(|(name, upstream)| {
        let tone = match upstream.open > 0.0 {
            true => Tone::Bad,
            false => Tone::Plain,
        };
        Row::new(words::upstream(name, upstream)).style(theme.tone(tone))
    });
    frame.render_widget(table(rows, UPSTREAM_HEADS.map(str::to_owned)), area);
}

/// The first column takes what the others leave.
fn table<'a>(
    rows: impl Iterator<Item = Row<'a>>,
    heads: impl IntoIterator<Item = String>,
) -> Table<'a> {
    let heads: Vec<String> = heads.into_iter().collect();
    let mut widths = vec![Constraint::Length(9); heads.len()];
    if let Some(first) = widths.first_mut() {
        *first = Constraint::Min(10);
    }
    Table::new(rows, widths).header(Row::new(heads).style(HEAD))
}

#[cfg(test)]
mod tests;
