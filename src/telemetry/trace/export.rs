//! The thread that exports: nobody waits for it, and it waits for a receiver with patience.

use super::super::conn::ConnMetrics;
use super::super::routes::RouteCatalog;
use super::Tracer;
use super::otlp::{self, OtlpError, TraceSettings};
use super::queue::{Dropped, Item, SpanQueue};
use super::sampling::{Rules, Sampling};
use super::spans::SpanBuilder;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

/// The pause after a first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause. While it lasts the queue fills, and what does not fit is dropped and counted.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How much sooner than a flush an export ends for its sake, so that what it could not send is counted.
const TO_COUNT: Duration = Duration::from_millis(100);
/// A receiver that stays away is news once a minute.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Where spans go: to a queue and out by OTLP, or nowhere.
#[derive(Debug, Default)]
pub struct Spans {
    settings: TraceSettings,
    queue: Option<Arc<SpanQueue>>,
    flushes: Option<mpsc::Sender<Flush>>,
}

/// Asks for everything to be exported by a time.
#[derive(Debug)]
struct Flush {
    by: Instant,
    done: oneshot::Sender<()>,
}

impl Spans {
    /// Makes room for spans where there is an endpoint; nothing is exported until it is
    /// [started](Spans::start).
    pub fn new(settings: TraceSettings) -> Spans {
        let exports = settings.endpoint.is_some();
        let queue = exports.then(|| SpanQueue::new(settings.queue, settings.batch));
        Spans {
            settings,
            queue,
            flushes: None,
        }
    }

    /// Whether spans go anywhere.
    pub fn are_exported(&self) -> bool {
        self.queue.is_some()
    }

    pub(in crate::telemetry) fn queue(&self) -> Option<&Arc<SpanQueue>> {
        self.queue.as_ref()
    }

    /// Has connections sample, and starts the thread that exports. To be called before connections are
    /// served.
    ///
    /// # Errors
    /// The endpoint is none, or there is no thread to be had. What is sampled is then counted as
    /// dropped.
    pub fn start(
        &mut self,
        connections: &mut ConnMetrics,
        catalog: &Arc<RouteCatalog>,
    ) -> (Sampling, Result<(), OtlpError>) {
        let rules = Arc::new(Rules::new());
        connections.tracer = Tracer::new(Arc::clone(&rules), self.queue.clone());
        let started = match &self.queue {
            Some(queue) => start(&self.settings, queue).map(|flushes| self.flushes = Some(flushes)),
            None => Ok(()),
        };
        let exports = self.flushes.is_some();
        let sampling = Sampling::new(rules, Arc::clone(catalog), exports);
        // Whoever made them up checked them; a ratio that is none samples nothing.
        let _ = sampling.set(self.settings.sampling.clone());
        (sampling, started)
    }

    /// Exports what is there, within `patience`. Whatever is left then is dropped and counted, and
    /// nothing is exported any more.
    pub async fn flush(&mut self, patience: Duration) {
        let Some(flushes) = self.flushes.take() else {
            return;
        };
        let end = Instant::now() + patience;
        let by = end - TO_COUNT.min(patience / 2);
        let (done, flushed) = oneshot::channel();
        // Its end is bounded twice: the thread itself may be stuck.
        let asked = flushes.send(Flush { by, done });
        let _ = timeout_at(end.into(), async {
            if asked.await.is_ok() {
                let _ = flushed.await;
            }
        })
        .await;
        if let Some(queue) = &self.queue {
            queue.drop_rest();
            let dropped = queue.dropped();
            if dropped > 0 {
                tracing::warn!(dropped, "spans were dropped since the start");
            }
        }
    }
}

fn start(
    settings: &TraceSettings,
    queue: &Arc<SpanQueue>,
) -> Result<mpsc::Sender<Flush>, OtlpError> {
    let (settings, queue) = (settings.clone(), Arc::clone(queue));
    let (flushes, asked) = mpsc::channel(1);
    let (started, outcome) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name("telemetry".to_owned())
        .spawn(move || {
            // Made here, because whoever starts this may be within a runtime of their own.
            match prepare(&settings) {
                Ok((runtime, exporter)) => {
                    let _ = started.send(Ok(()));
                    let exporting = Exporting::new(exporter, queue, settings, asked);
                    runtime.block_on(exporting.run());
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
    let gone = |_| Err(io::Error::other("the thread that exports has ended").into());
    outcome.recv().unwrap_or_else(gone).map(|()| flushes)
}

fn prepare(settings: &TraceSettings) -> Result<(Runtime, SpanExporter), OtlpError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let exporter = {
        let _within = runtime.enter();
        otlp::exporter(settings)?
    };
    Ok((runtime, exporter))
}

struct Exporting {
    exporter: SpanExporter,
    queue: Arc<SpanQueue>,
    settings: TraceSettings,
    spans: SpanBuilder,
    asked: mpsc::Receiver<Flush>,
    flush: Option<Flush>,
    /// In a row.
    failures: u32,
    /// When a failure was logged last.
    told: Option<Instant>,
}

impl Exporting {
    fn new(
        exporter: SpanExporter,
        queue: Arc<SpanQueue>,
        settings: TraceSettings,
        asked: mpsc::Receiver<Flush>,
    ) -> Exporting {
        Exporting {
            exporter,
            queue,
            settings,
            spans: SpanBuilder::new(),
            asked,
            flush: None,
            failures: 0,
            told: None,
        }
    }

    /// Exports until it was asked to flush, or nobody is left who could ask.
    async fn run(mut self) {
        while self.wait().await {
            self.export_all().await;
            if let Some(flush) = self.flush.take() {
                self.queue.drop_rest();
                let _ = flush.done.send(());
                return;
            }
        }
        self.queue.drop_rest();
    }

    /// Waits until it is time to export; `false` if the server is gone without asking.
    async fn wait(&mut self) -> bool {
        let pause = match self.failures {
            0 if self.queue.has_batch() => return true,
            0 => self.settings.interval,
            n => FIRST_PAUSE
                .saturating_mul(1 << (n - 1).min(16))
                .min(LONGEST_PAUSE),
        };
        let failed = self.failures > 0;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.queue.wake.notified(), if !failed => {}
            flush = self.asked.recv() => {
                self.flush = flush;
                return self.flush.is_some();
            }
        }
        true
    }

    /// Exports batch by batch until nothing is left, an export fails, or the time to flush is over.
    async fn export_all(&mut self) {
        self.spans.adjust();
        loop {
            let batch = self.next_batch();
            if batch.is_empty() {
                return;
            }
            let spans = batch.len() as u64;
            match self.export(batch).await {
                Ok(()) => {
                    self.queue.exported(spans);
                    self.succeeded();
                }
                Err(error) => {
                    self.failed(&error, spans);
                    return;
                }
            }
        }
    }

    fn next_batch(&self) -> Vec<SpanData> {
        let mut spans = Vec::with_capacity(self.settings.batch * 3);
        for _ in 0..self.settings.batch.max(1) {
            match self.queue.pop() {
                Some(Item::Record(record)) => self.spans.build(record, &mut spans),
                Some(Item::Span(span)) => spans.push(*span),
                None => break,
            }
        }
        spans
    }

    /// Sends one batch. A flush that is asked for meanwhile shortens the time it has.
    async fn export(&mut self, batch: Vec<SpanData>) -> Result<(), OTelSdkError> {
        let timeout = self.settings.timeout;
        let mut by = Instant::now() + timeout;
        let sending = self.exporter.export(batch);
        tokio::pin!(sending);
        loop {
            if let Some(flush) = &self.flush {
                by = by.min(flush.by);
            }
            tokio::select! {
                sent = &mut sending => return sent,
                () = tokio::time::sleep_until(by.into()) => {
                    return Err(OTelSdkError::Timeout(timeout));
                }
                flush = self.asked.recv(), if self.flush.is_none() => match flush {
                    Some(flush) => self.flush = Some(flush),
                    // The server is gone without asking; there is no one to export for.
                    None => return Err(OTelSdkError::AlreadyShutdown),
                },
            }
        }
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            tracing::info!("spans are exported again");
            self.told = None;
        }
    }

    fn failed(&mut self, error: &OTelSdkError, spans: u64) {
        let why = match error {
            OTelSdkError::Timeout(_) => Dropped::Timeout,
            _ => Dropped::Refused,
        };
        self.queue.count_dropped(why, spans);
        self.failures = self.failures.saturating_add(1);
        let now = Instant::now();
        let is_news = self.told.is_none_or(|told| now >= told + TELL_EVERY);
        if is_news {
            self.told = Some(now);
            let dropped = self.queue.dropped();
            tracing::warn!(%error, dropped, "spans cannot be exported");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever embeds the parts may drop them in any order.
    #[test]
    fn the_thread_ends_with_those_who_could_ask_it_to() {
        let settings = TraceSettings {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            ..TraceSettings::default()
        };
        let mut spans = Spans::new(settings);
        let catalog = Arc::<RouteCatalog>::default();
        let mut connections = ConnMetrics::new(Arc::clone(&catalog));
        let (_, started) = spans.start(&mut connections, &catalog);
        started.unwrap();
        let queue = Arc::downgrade(spans.queue().unwrap());
        drop((spans, connections));
        let began = Instant::now();
        while queue.strong_count() > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "it goes on");
            std::thread::yield_now();
        }
    }
}
