//! Standard output and error, for readers that may go away at any moment.

use super::exit::Exit;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// Where the results of a command go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Whether a person looks at it.
    pub(super) terminal: bool,
}

impl Output {
    pub(super) fn new() -> Output {
        Output {
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Writes at once: whoever reads a pipe wants each line when it is there.
    ///
    /// # Errors
    /// Standard output takes no more; [`settle`] knows what to make of it.
    pub(super) fn bytes(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    pub(super) fn line(self, line: &str) -> io::Result<()> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// One JSON object on one line.
    pub(super) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(value)?;
        text.push(b'\n');
        self.bytes(&text)
    }
}

/// Says something to the person, or to the log of a script.
pub(super) fn complain(text: &str) {
    // If nobody listens there, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The exit code of a command whose last act was to write. A reader that went away (`| head`) has
/// seen enough, which changes nothing about how the command ended.
pub(super) fn settle(written: io::Result<()>, exit: Exit) -> Exit {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Internal
        }
        _ => exit,
    }
}
