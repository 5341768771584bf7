//! When a command that goes on ends.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Told once that it is time to end; clones hear the same.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Ends with SIGTERM or SIGINT.
    pub(crate) fn on_signal() -> Result<Stop> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell.send_replace(true);
            // Whoever asks later must still be told.
            std::future::pending::<()>().await;
        });
        Ok(Stop(told))
    }

    pub(crate) fn is_over(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn stopped(&mut self) {
        // The sender lives as long as the runtime.
        let _ = self.0.wait_for(|over| *over).await;
    }
}

/// What `kubectl exec pod -- /mcpd-e2e stop` does: the image has no shell and no `kill`.
pub(crate) fn stop_first_process() -> Result<()> {
    kill_process(Pid::INIT, Signal::TERM).context("cannot stop process 1")
}
