//! A writer that never waits: lines go through a bounded queue to a thread that does.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written. At some 200 bytes each this is what a reader may be behind before
/// lines are dropped: about 1 MiB.
const WAITING: usize = 4096;

enum Line {
    Text(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(SyncSender<()>),
}

/// Where lines are put.
#[derive(Clone)]
pub(super) struct Lines {
    sender: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

impl Lines {
    /// Writes to `out` on a thread of its own.
    pub(super) fn new(out: impl Write + Send + 'static) -> io::Result<Lines> {
        let (sender, lines) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(&lines, out))?;
        let dropped = Arc::default();
        Ok(Lines { sender, dropped })
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until what was put here before is written, or `patience` is over.
    pub(super) fn flush(&self, patience: Duration) {
        let (done, written) = sync_channel(1);
        if self.sender.try_send(Line::Flush(done)).is_ok() {
            // Whatever comes of it, the process ends now.
            let _ = written.recv_timeout(patience);
        }
    }
}

fn write(lines: &Receiver<Line>, mut out: impl Write) {
    for line in lines {
        // Without a reader there is nobody to tell.
        let _ = match line {
            Line::Text(text) => out.write_all(&text),
            Line::Flush(done) => {
                let flushed = out.flush();
                let _ = done.try_send(());
                flushed
            }
        };
    }
}

impl Write for Lines {
    /// Takes a whole line at once, as the formatter gives it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.sender.try_send(Line::Text(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Lines;

    fn make_writer(&'w self) -> Lines {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes a line for each word it is given.
    struct Stuck(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_no_time() {
        let (go, stuck) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let mut log = Lines::new(Stuck(stuck, written)).unwrap();
        for n in 0..WAITING + 100 {
            log.write_all(format!("line {n}\n").as_bytes()).unwrap();
        }
        // One more may be in the hands of the thread.
        assert!((99..=100).contains(&log.dropped()), "{}", log.dropped());
        log.flush(Duration::from_millis(1));
        drop(go);
        assert_eq!(lines.recv().unwrap(), b"line 0\n");
        let mut log = Lines::new(io::sink()).unwrap();
        log.write_all(b"x\n").unwrap();
        log.flush(Duration::from_secs(20));
        assert_eq!(log.dropped(), 0);
    }
}
