//! The threads of the process: event loops for the data port, and one for the sidecar.

use crate::admin::{self, Pulse, Status};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::MissedTickBehavior;

/// How often a data thread shows that its loop turns.
const PULSE: Duration = Duration::from_secs(1);

/// Starts a data thread for each pulse, each with a runtime of its own. Connections stay on the
/// thread they were given to: no stealing, no shared run queue, and its buffers stay in its cache.
/// Their runtimes wait for sockets only; time passes on the runtime this is called from.
pub(super) fn start_workers(pulses: &Arc<[Pulse]>) -> io::Result<Vec<Handle>> {
    let workers: Vec<Handle> = (0..pulses.len())
        .map(start_worker)
        .collect::<io::Result<_>>()?;
    tokio::spawn(pulse(workers.clone(), Arc::clone(pulses)));
    Ok(workers)
}

fn start_worker(at: usize) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let handle = runtime.handle().clone();
    spawn(format!("data-{at}"), runtime, std::future::pending())?;
    Ok(handle)
}

/// Has every data thread show that it still turns.
async fn pulse(workers: Vec<Handle>, pulses: Arc<[Pulse]>) {
    let mut turns = tokio::time::interval(PULSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        for (at, worker) in workers.iter().enumerate() {
            let pulses = Arc::clone(&pulses);
            worker.spawn(async move {
                if let Some(pulse) = pulses.get(at) {
                    pulse.beat(Instant::now());
                }
            });
        }
    }
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
