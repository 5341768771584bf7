//! Work that takes a while, such as reading a large document, beside the threads that answer.

use std::cell::Cell;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

/// How far such threads step back behind those that serve: beside one of those on one core they still
/// get about a third of it.
const NICE: i32 = 3;

thread_local! {
    /// Threads are used again, and steps back add up.
    static STEPPED_BACK: Cell<bool> = const { Cell::new(false) };
}

/// Takes work that has not begun out of the queue when nobody waits for it any more: a queue has no
/// other bound than the patience of those who wait.
struct Queued<T>(JoinHandle<T>);

impl<T> Drop for Queued<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` on a thread for work that blocks, and lets others go first. Work that has not begun
/// when the future is dropped never does.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let mut queued = Queued(spawn_blocking(move || {
        if !STEPPED_BACK.replace(true) {
            // Of this thread alone, on Linux. Without it the work is merely less polite.
            let _ = rustix::process::nice(NICE);
        }
        work()
    }));
    (&mut queued.0).await
}
