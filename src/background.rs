//! Work that takes a while, such as reading a large document, beside the threads that answer.

use std::cell::Cell;
use tokio::runtime::Handle;
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
struct Awaited<T>(JoinHandle<T>);

impl<T> Drop for Awaited<T> {
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
    let mut work = Awaited(spawn_blocking(move || {
        if !STEPPED_BACK.replace(true) {
            // Of this thread alone, on Linux. Without it the work is merely less polite.
            let _ = rustix::process::nice(NICE);
        }
        work()
    }));
    (&mut work.0).await
}

/// Runs `work` on the runtime of `handle`, whoever asks for it. It goes no further when the future is
/// dropped.
///
/// # Errors
/// The work panicked, or the runtime ends.
pub(crate) async fn on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let mut work = Awaited(handle.spawn(work));
    (&mut work.0).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_goes_no_further() {
        let (held, dropped) = oneshot::channel::<()>();
        let (started, runs) = oneshot::channel();
        let here = Handle::current();
        let work = on(&here, async move {
            let _held = held;
            let _ = started.send(());
            std::future::pending::<()>().await;
        });
        tokio::select! {
            _ = work => unreachable!("it has no end"),
            began = runs => began.unwrap(),
        }
        dropped.await.unwrap_err();
    }
}
