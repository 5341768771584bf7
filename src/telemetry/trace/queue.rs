//! The bounded queue between those who end spans and the thread that exports them.

use super::record::Record;
use crossbeam_queue::ArrayQueue;
use metrics::counter;
use opentelemetry_sdk::trace::SpanData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// What waits to be exported.
#[derive(Debug)]
pub(super) enum Item {
    /// A frame, that is, up to three spans. Boxed, so that an empty queue is small.
    Record(Box<Record>),
    /// A span that code of a handler made.
    Span(Box<SpanData>),
}

impl Item {
    /// Spans it will become.
    fn spans(&self) -> u64 {
        match self {
            Item::Record(record) => record.spans(),
            Item::Span(_) => 1,
        }
    }
}

/// Why spans were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry) enum Dropped {
    /// The exporter does not keep up, or is down.
    QueueFull,
    /// The receiver did not answer in time.
    Timeout,
    /// The receiver could not be reached, or refused.
    Refused,
    /// They were left when the process had to end.
    Shutdown,
}

impl Dropped {
    const ALL: [(Dropped, &'static str); 4] = [
        (Dropped::QueueFull, "queue_full"),
        (Dropped::Timeout, "timeout"),
        (Dropped::Refused, "refused"),
        (Dropped::Shutdown, "shutdown"),
    ];

    pub(in crate::telemetry) fn labels() -> Vec<&'static str> {
        Self::ALL.map(|(_, label)| label).to_vec()
    }
}

/// Ended spans, bounded; pushing never waits.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    items: ArrayQueue<Item>,
    /// So many items are worth waking the exporter for before its time.
    batch: usize,
    woken: AtomicBool,
    pub(super) wake: Notify,
    exported: AtomicU64,
    dropped: [AtomicU64; Dropped::ALL.len()],
}

impl SpanQueue {
    pub(super) fn new(len: usize, batch: usize) -> Arc<SpanQueue> {
        Arc::new(SpanQueue {
            items: ArrayQueue::new(len.max(1)),
            batch: batch.min(len.div_ceil(2)),
            woken: AtomicBool::new(false),
            wake: Notify::new(),
            exported: AtomicU64::new(0),
            dropped: [const { AtomicU64::new(0) }; _],
        })
    }

    /// Takes an item, or drops and counts it when the queue is full.
    pub(super) fn push(&self, item: Item) {
        if let Err(item) = self.items.push(item) {
            return self.count_dropped(Dropped::QueueFull, item.spans());
        }
        // Waking costs a system call, so it is done once for each batch.
        if self.items.len() >= self.batch
            && !self.woken.load(Ordering::Relaxed)
            && !self.woken.swap(true, Ordering::Relaxed)
        {
            self.wake.notify_one();
        }
    }

    pub(super) fn pop(&self) -> Option<Item> {
        self.items.pop()
    }

    /// Whether a whole batch waits. When there is none, the next one wakes the exporter again.
    pub(super) fn has_batch(&self) -> bool {
        let full = self.items.len() >= self.batch;
        if !full {
            self.woken.store(false, Ordering::Relaxed);
        }
        full
    }

    pub(super) fn count_dropped(&self, why: Dropped, spans: u64) {
        for (at, (reason, _)) in Dropped::ALL.iter().enumerate() {
            if *reason == why {
                self.dropped[at].fetch_add(spans, Ordering::Relaxed);
            }
        }
    }

    /// Drops whatever is left.
    pub(super) fn drop_rest(&self) {
        while let Some(item) = self.pop() {
            self.count_dropped(Dropped::Shutdown, item.spans());
        }
    }

    pub(super) fn exported(&self, spans: u64) {
        self.exported.fetch_add(spans, Ordering::Relaxed);
    }

    /// All spans dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        let all = self.dropped.iter();
        all.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Hands the counts to the recorder of the `metrics` facade.
    pub(super) fn publish(&self) {
        let exported = self.exported.load(Ordering::Relaxed);
        counter!("mcpd_spans_exported_total").absolute(exported);
        for (count, (_, reason)) in self.dropped.iter().zip(Dropped::ALL) {
            counter!("mcpd_spans_dropped_total", "reason" => reason)
                .absolute(count.load(Ordering::Relaxed));
        }
    }
}

/// Has the page show the counts from the start, whether anything is exported or not.
pub(in crate::telemetry) fn register() {
    counter!("mcpd_spans_exported_total").absolute(0);
    for reason in Dropped::labels() {
        counter!("mcpd_spans_dropped_total", "reason" => reason).absolute(0);
    }
}
