use super::super::figures::{Requests, Upstream};
use super::super::server::About;
use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::time::Duration;

const COLOURS: Theme = Theme { colours: true };

/// A server with so many routes, `route-00` the busiest.
fn model(now: Instant, routes: u32) -> Model {
    let mut model = Model::default();
    model.seen(super::super::model::tests::look(now, 1, 0));
    let text = |text: &str| Some(text.to_owned());
    model.about = About {
        server_id: text("till-server"),
        version: text("1.2.3"),
        uptime_seconds: Some(75.0),
        phase: text("running"),
        ready: Some(true),
        revision: Some(7),
        hash: text("b1b523a6344446f20f2d8c58"),
        ..About::default()
    };
    let mut rates = Rates {
        requests: Requests {
            per_second: 1234.0,
            server: 2.0,
            client: 1.0,
            p50: Some(0.000_035),
            p99: Some(0.0125),
            ..Requests::default()
        },
        ..Rates::default()
    };
    for n in 0..routes {
        let per_second = f64::from(1000 - n);
        let route = Requests {
            per_second,
            ..Requests::default()
        };
        rates.routes.insert(format!("route-{n:02}"), route);
    }
    model.rates = Some(rates);
    model
}

fn drawn(
    size: (u16, u16),
    model: &Model,
    controls: &Controls,
    theme: Theme,
    now: Instant,
) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
    terminal
        .draw(|frame| draw(frame, "http://h:1", model, controls, theme, now))
        .unwrap();
    terminal
}

fn lines(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width.max(1));
    let symbols: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    symbols
        .chunks(width)
        .map(|row| row.concat().trim_end().to_owned())
        .collect()
}

fn screen(size: (u16, u16), model: &Model, controls: &Controls, now: Instant) -> Vec<String> {
    lines(&drawn(size, model, controls, COLOURS, now))
}

fn controls(keys: &[KeyCode]) -> Controls {
    let mut controls = Controls::new(Duration::from_secs(1));
    for code in keys {
        controls.press(KeyEvent::new(*code, KeyModifiers::NONE), 40);
    }
    controls
}

#[track_caller]
fn assert_shows(screen: &[String], parts: &[&str]) {
    for part in parts {
        assert!(
            screen.iter().any(|line| line.contains(part)),
            "no {part:?} in\n{}",
            screen.join("\n")
        );
    }
}

#[test]
fn the_screen_says_who_how_fast_and_where() {
    let now = Instant::now();
    let mut model = model(now, 2);
    let up = Upstream {
        attempts: 5.0,
        endpoints: 3.0,
        open: 1.0,
        ..Upstream::default()
    };
    model
        .rates
        .as_mut()
        .unwrap()
        .upstreams
        .insert("orders".to_owned(), up);
    model.history = [Some(1.0), None, Some(4.0)].into();
    let screen = screen((90, 30), &model, &controls(&[]), now);
    assert_eq!(screen[0], " mcpd top  http://h:1  every 1s");
    assert_shows(
        &screen,
        &[
            "till-server (version 1.2.3), up for 75s",
            "running, ready",
            "revision 7, hash b1b523a6344446f2",
            "connections  5 open",
            "requests     1234/s",
            "errors       3.0/s (0.2 %) by fault: server 2.0/s, handler 0/s, client 1.0/s",
            "latency      P50 35.0µs, P90 -, P99 12.5ms",
            "≤ 4.0/s",
            "█",
            "1 of 3",
            "q quit",
        ],
    );
    let heads = screen
        .iter()
        .position(|line| line.contains("REQ/S▾"))
        .unwrap();
    assert!(screen[heads + 1].starts_with("route-00"), "{screen:?}");
    assert!(screen[heads + 2].starts_with("route-01"), "{screen:?}");
}

#[test]
fn routes_scroll_and_are_sorted_by_name() {
    let now = Instant::now();
    let model = model(now, 40);
    let screen_of = |keys: &[KeyCode]| screen((80, 24), &model, &controls(keys), now);
    let first = |screen: &[String]| {
        screen
            .iter()
            .find(|line| line.starts_with("route-"))
            .unwrap()[..8]
            .to_owned()
    };
    assert_eq!(first(&screen_of(&[])), "route-00");
    assert_eq!(
        first(&screen_of(&[KeyCode::Down, KeyCode::PageDown])),
        "route-11"
    );
    let end = screen_of(&[KeyCode::End]);
    assert_eq!(first(&end), "route-39");
    let by_name = screen_of(&[KeyCode::Char('s'); 3]);
    assert_shows(&by_name, &["ROUTE▾"]);
    // Routes that went away after somebody had scrolled down leave the last one there is.
    let fewer = super::tests::model(now, 3);
    assert_eq!(
        first(&screen((80, 24), &fewer, &controls(&[KeyCode::End]), now)),
        "route-02"
    );
}

#[test]
fn an_outage_and_a_restart_are_told() {
    let t = Instant::now();
    let seconds = Duration::from_secs;
    let mut model = model(t, 1);
    model.failed(t + seconds(2), "cannot connect: refused".to_owned());
    let outage = screen((100, 24), &model, &controls(&[]), t + seconds(7));
    assert_shows(
        &outage,
        &["no answer    for 5.0s: cannot connect: refused; what is below is 7.0s old"],
    );
    assert!(
        !outage.iter().any(|line| line.contains("REQ/S")),
        "rates of nothing: {outage:?}"
    );
    model.seen(super::super::model::tests::look(t + seconds(8), 2, 0));
    let back = screen((100, 24), &model, &controls(&[]), t + seconds(9));
    assert_shows(&back, &["restarted    1.0s ago (1 seen)"]);
    assert!(
        !back.iter().any(|line| line.contains("no answer")),
        "{back:?}"
    );
}

#[test]
fn before_the_first_answer_it_says_so() {
    let now = Instant::now();
    let mut model = Model::default();
    assert_shows(
        &screen((80, 5), &model, &controls(&[]), now),
        &["waiting for the first answer"],
    );
    model.failed(now, "nobody\u{1b}[2J there".to_owned());
    let failed = screen((80, 5), &model, &controls(&[]), now);
    assert_shows(&failed, &["no answer    for 0.0s: nobody\\u{1b}[2J there"]);
}

#[test]
fn pause_and_help_are_seen() {
    let now = Instant::now();
    let model = model(now, 1);
    assert_shows(
        &screen((80, 24), &model, &controls(&[KeyCode::Char('p')]), now),
        &["PAUSED"],
    );
    let help = screen((80, 24), &model, &controls(&[KeyCode::Char('?')]), now);
    assert_shows(&help, &["sort routes by the next column"]);
    assert!(
        !help.iter().any(|line| line.contains("till-server")),
        "{help:?}"
    );
}

#[test]
fn every_size_of_terminal_is_drawn() {
    let now = Instant::now();
    let mut model = model(now, 40);
    model.history = (0..2000).map(|n| Some(f64::from(n))).collect();
    for width in [0, 1, 2, 5, 13, 14, 40, 300] {
        for height in [0, 1, 2, 3, 10, 23, 24, 25, 100] {
            for keys in [&[][..], &[KeyCode::Char('?')], &[KeyCode::End]] {
                screen((width, height), &model, &controls(keys), now);
            }
        }
    }
}

#[test]
fn without_colours_there_are_none() {
    let now = Instant::now();
    let model = model(now, 3);
    let coloured = |theme| {
        let terminal = drawn((80, 30), &model, &controls(&[]), theme, now);
        let cells = terminal.backend().buffer().content().to_vec();
        cells
            .iter()
            .any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(COLOURS));
    assert!(!coloured(Theme { colours: false }));
}

#[test]
fn what_a_server_calls_itself_does_nothing_to_the_terminal() {
    let now = Instant::now();
    let mut model = model(now, 0);
    model
        .rates
        .as_mut()
        .unwrap()
        .routes
        .insert("\u{1b}]0;x\u{7}a\nb".to_owned(), Requests::default());
    let screen = screen((80, 24), &model, &controls(&[]), now);
    assert_shows(&screen, &["\\u{1b}]0;x\\u{7}a b"]);
}
