//! The threads of the process: one event loop each for the data port, one for the sidecar.

use crate::admin::{self, Pulse, Status};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};

/// How often a data thread shows that its loop turns.
const PULSE: Duration = Duration::from_secs(1);

/// Starts a data thread for each pulse, each with a runtime of its own. Connections stay on the
/// thread they were given to: no stealing, no shared run queue, and its buffers stay in its cache.
pub(super) fn start_workers(pulses: &Arc<[Pulse]>) -> io::Result<Vec<Handle>> {
    (0..pulses.len())
        .map(|at| start_worker(at, Arc::clone(pulses)))
        .collect()
}

fn start_worker(at: usize, pulses: Arc<[Pulse]>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    spawn(format!("data-{at}"), runtime, async move {
        let mut turns = tokio::time::interval(PULSE);
        loop {
            turns.tick().await;
            if let Some(pulse) = pulses.get(at) {
                pulse.beat(Instant::now());
            }
        }
    })?;
    Ok(handle)
}

/// Serves the sidecar port on a thread of its own until the process ends.
pub(super) fn start_sidecar(listener: TcpListener, status: Status) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    spawn("sidecar".to_owned(), runtime, async move {
        if let Err(error) = admin::serve(listener, status).await {
            tracing::error!(%error, "the sidecar port is lost");
        }
    })
}

fn spawn(
    name: String,
    runtime: Runtime,
    work: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    std::thread::Builder::new()
        .name(name)
        .spawn(move || runtime.block_on(work))?;
    Ok(())
}
