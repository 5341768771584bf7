//! A terminal that is nobody's, with `mcpd` in it.

use crate::run::{await_end, mcpd, signal};
use crate::support::PATIENCE;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A command that believes itself before a person.
pub(crate) struct Screen {
    child: Child,
    /// What a person would hold: types there, and sees.
    master: File,
    /// The terminal as the command has it.
    slave: File,
    before: Termios,
    shown: Arc<Mutex<vt100::Parser>>,
}

impl Screen {
    /// Runs `mcpd` in a terminal of so many rows and columns.
    pub(crate) fn run(args: &[String], rows: u16, columns: u16) -> Screen {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        tcsetwinsize(&master, size(rows, columns)).unwrap();
        let before = tcgetattr(&slave).unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let master = File::from(master);
        watch(master.try_clone().unwrap(), shown.clone());
        let end = || slave.try_clone().unwrap();
        let child = in_session(args)
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn();
        let child = child.expect("setsid of util-linux runs");
        Screen {
            child,
            master,
            slave,
            before,
            shown,
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        self.shown
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(some(rows), some(columns));
        // The kernel tells the command.
        tcsetwinsize(&self.master, size(rows, columns)).unwrap();
    }

    pub(crate) fn text(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// Waits until this stands there.
    #[track_caller]
    pub(crate) fn expect(&self, part: &str) -> String {
        self.expect_that(part, |text| text.contains(part))
    }

    /// Waits until what stands there is so.
    #[track_caller]
    pub(crate) fn expect_that(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "no {what:?} on:\n{text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits for the command's end. The terminal is as it was: the screen from before, a cursor, lines
    /// that are echoed.
    #[track_caller]
    pub(crate) fn expect_end(&mut self, code: i32) {
        assert_eq!(await_end(&mut self.child), Some(code), "{}", self.text());
        self.expect_that("the old screen", |_| {
            let shown = self.shown.lock().unwrap();
            !shown.screen().alternate_screen() && !shown.screen().hide_cursor()
        });
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
    }

    /// Whether the terminal is the command's own now.
    pub(crate) fn is_taken(&self) -> bool {
        let now = tcgetattr(&self.slave).unwrap();
        let alternate = self.shown.lock().unwrap().screen().alternate_screen();
        alternate && now.local_modes != self.before.local_modes
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn some(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a terminal has a cell")
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// In a session of its own, or the terminal of whoever runs the tests would be asked for its size.
fn in_session(args: &[String]) -> Command {
    let plain = mcpd(args);
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .arg(plain.get_program())
        .args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
}

/// Reads to the end, which is an error where a terminal is closed.
fn watch(mut master: File, shown: Arc<Mutex<vt100::Parser>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = master.read(&mut buffer) {
            shown.lock().unwrap().process(&buffer[..n]);
        }
    });
}
