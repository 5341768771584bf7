//! The threads of the process: event loops for the data port, and one for the sidecar.

use crate::admin::{self, Gate, Pulse};
use crate::conn::TlsConfig;
use crate::home::{self, Home};
use axum::Router;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How often a data thread shows that its loop turns.
const PULSE: Duration = Duration::from_secs(1);

/// Threads beside that of an HTTP port, for what would hold up a probe, such as reading a large
/// document. More would only take turns with those that serve.
const BESIDE_HTTP: usize = 2;

/// A pulse for each of so many data threads, and one for the threads beside them, where connections
/// are accepted and time passes.
pub(super) fn pulses(threads: usize) -> Arc<[Pulse]> {
    let now = Instant::now();
    let data = (0..threads).map(|at| Pulse::new(format!("data-{at}"), now));
    data.chain([Pulse::new("work", now)]).collect()
}

/// Starts the data threads, each with a runtime of its own. Connections stay on the
/// thread they were given to: no stealing, no shared run queue, and its buffers stay in its cache.
/// Their runtimes wait for sockets only; time passes on the runtime this is called from.
pub(super) fn start_workers(
    pulses: &Arc<[Pulse]>,
    threads: usize,
    running: &watch::Receiver<()>,
) -> io::Result<Vec<Handle>> {
    let runtime = |_| Builder::new_current_thread().enable_io().build();
    let runtimes: Vec<Runtime> = (0..threads).map(runtime).collect::<io::Result<_>>()?;
    let all: Arc<[Handle]> = runtimes.iter().map(|one| one.handle().clone()).collect();
    for (at, runtime) in runtimes.into_iter().enumerate() {
        let (all, running) = (Arc::clone(&all), running.clone());
        spawn(format!("data-{at}"), runtime, async move {
            home::settle(Home { at, all });
            over(running).await;
        })?;
    }
    tokio::spawn(pulse(all.to_vec(), Arc::clone(pulses)));
    Ok(all.to_vec())
}

/// Has every data thread show that it still turns, and shows that it is asked.
async fn pulse(workers: Vec<Handle>, pulses: Arc<[Pulse]>) {
    let mut turns = tokio::time::interval(PULSE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Vec<Option<JoinHandle<()>>> = workers.iter().map(|_| None).collect();
    loop {
        turns.tick().await;
        if let Some(pulse) = pulses.last() {
            pulse.beat(Instant::now());
        }
        for (at, (worker, asked)) in workers.iter().zip(&mut asked).enumerate() {
            // One that is stuck must not collect a question a second for when it comes round.
            if asked.as_ref().is_none_or(JoinHandle::is_finished) {
                let pulses = Arc::clone(&pulses);
                *asked = Some(worker.spawn(async move {
                    if let Some(pulse) = pulses.get(at) {
                        pulse.beat(Instant::now());
                    }
                }));
            }
        }
    }
}

/// Resolves when the server is over, whose own the other end is.
async fn over(mut running: watch::Receiver<()>) {
    while running.changed().await.is_ok() {}
}

/// Serves a port that speaks HTTP on a thread of its own until the server is over.
pub(super) fn start_http(
    name: &'static str,
    listener: TcpListener,
    tls: Option<TlsConfig>,
    router: Router,
    gate: Gate,
    running: watch::Receiver<()>,
) -> io::Result<()> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder
        .enable_all()
        .max_blocking_threads(BESIDE_HTTP)
        .build()?;
    spawn(name.to_owned(), runtime, async move {
        tokio::select! {
            () = over(running) => {}
            Err(error) = admin::serve(listener, tls, router, gate) => {
                tracing::error!(%error, port = name, "a port is lost");
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_thread_is_asked_once_until_it_answers() {
        let data = Builder::new_current_thread().build().unwrap();
        let mut work = Builder::new_current_thread();
        let work = work.enable_time().start_paused(true).build().unwrap();
        // Meanwhile nobody turns the data thread's loop.
        work.block_on(async {
            let asking = pulse(vec![data.handle().clone()], pulses(1));
            tokio::time::timeout(PULSE * 100, asking).await.unwrap_err();
        });
        assert_eq!(data.metrics().num_alive_tasks(), 1);
        data.block_on(tokio::task::yield_now());
        assert_eq!(data.metrics().num_alive_tasks(), 0);
    }
}
