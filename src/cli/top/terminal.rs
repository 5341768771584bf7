//! The terminal: taken over, listened to, and given back whatever happens.

use super::keys::{Act, Controls};
use super::model::Model;
use super::poll::{self, Look, Order, Poller};
use super::view::{self, Theme};
use crate::cli::admin::Failed;
use crate::cli::exit::Exit;
use crate::cli::peer;
use crate::cli::render;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often the screen is drawn although nothing has come: ages on it grow.
const REDRAW: Duration = Duration::from_secs(1);
/// Most of what happens that waits to be looked at. Whoever is faster has to wait: a paste of a
/// megabyte must not become one in memory.
const MAX_WAITING: usize = 64;

/// What happens while the screen is there.
enum Happening {
    Looked(Box<Result<Look, Failed>>),
    Typed(Event),
    /// A signal, the end of the terminal, or of a thread that must not end.
    End,
}

/// Gives the terminal back when it goes out of scope. A panic does so by its hook, before it prints.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Screen> {
        ratatui::try_init().map(Screen).inspect_err(|_| give_back())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A screen that is gone cannot be told.
        let _ = self.0.show_cursor();
        give_back();
    }
}

fn give_back() {
    // What could not be undone cannot be told on that terminal either.
    let _ = ratatui::try_restore();
}

/// Tells of the end of a thread, also of one by a panic.
struct Farewell(mpsc::SyncSender<Happening>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Nobody listens when all is over.
        let _ = self.0.send(Happening::End);
    }
}

/// Shows a server until somebody quits.
pub(super) fn watch(
    poller: Poller,
    title: &str,
    interval: Duration,
    theme: Theme,
) -> io::Result<Exit> {
    let (sender, happenings) = mpsc::sync_channel(MAX_WAITING);
    let (orders, received) = mpsc::channel();
    let mut screen = Screen::open()?;
    on_thread("signals", Farewell(sender.clone()), |_| await_signal())?;
    on_thread("keys", Farewell(sender.clone()), listen)?;
    on_thread("poll", Farewell(sender), move |farewell| {
        poll::run(poller, interval, &received, |looked| {
            farewell.0.send(Happening::Looked(Box::new(looked))).is_ok()
        });
    })?;
    let (mut model, mut controls) = (Model::default(), Controls::new(interval));
    loop {
        let now = Instant::now();
        screen
            .0
            .draw(|frame| view::draw(frame, title, &model, &controls, theme, now))?;
        match happenings.recv_timeout(REDRAW) {
            Ok(Happening::Looked(looked)) => match *looked {
                Ok(look) => model.seen(look),
                Err(failed) => model.failed(Instant::now(), render::one_line(&failed.text)),
            },
            Ok(Happening::Typed(Event::Key(key))) => {
                let routes = model.rates.as_ref().map_or(0, |rates| rates.routes.len());
                if !obey(controls.press(key, routes), &orders) {
                    return Ok(Exit::Ok);
                }
            }
            // A new size: it is drawn anew anyway.
            Ok(Happening::Typed(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Happening::End) | Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Ok),
        }
    }
}

/// False if it is over.
fn obey(act: Act, orders: &Sender<Order>) -> bool {
    match act {
        Act::Draw => true,
        Act::Order(order) => orders.send(order).is_ok(),
        Act::Quit => false,
    }
}

fn on_thread(
    name: &str,
    farewell: Farewell,
    work: impl FnOnce(&Farewell) + Send + 'static,
) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(move || work(&farewell)).map(drop)
}

/// Passes on what is typed, until the terminal is gone.
fn listen(farewell: &Farewell) {
    while let Ok(event) = event::read() {
        if farewell.0.send(Happening::Typed(event)).is_err() {
            return;
        }
    }
}

/// Waits for a signal that ends a process. Ctrl-C is a key here.
fn await_signal() {
    let Ok(runtime) = peer::runtime() else {
        return;
    };
    runtime.block_on(async {
        let (Ok(mut term), Ok(mut hup), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
            signal(SignalKind::interrupt()),
        ) else {
            return;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = hup.recv() => {}
            _ = int.recv() => {}
        }
    });
}
