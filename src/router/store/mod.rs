//! Where the route document is kept.
//!
//! A store hands out the document, replaces it on condition that nobody else has, and tells when
//! it has changed. [`FileStore`] keeps it in a file, [`MemoryStore`] in the process.

mod error;
mod file;
mod memory;

pub use error::{StoreError, StoreErrorKind};
pub use file::{DEFAULT_POLL_INTERVAL, FileStore, FileStoreOptions};
pub use memory::{EMBEDDED_ROUTES, MemoryStore};

use super::document::{Document, ETag, Loaded};
use std::pin::Pin;

/// The future of a store's answer.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a write expects to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is no document yet.
    Absent,
    /// The document is still this version.
    Version(ETag),
}

/// A place that keeps one route document. All futures may be dropped at any time; a write whose
/// future is dropped may still happen.
pub trait RouteStore: Send + Sync {
    /// The document as it is now.
    ///
    /// # Errors
    /// There is none, it is invalid, or it cannot be read; see [`StoreErrorKind`].
    fn load(&self) -> StoreFuture<'_, Loaded>;

    /// Replaces the document. The written revision is the replaced one's plus one (the one of
    /// `document` is ignored), or 1 for the first. Returns what was written.
    ///
    /// # Errors
    /// The store holds something other than `expected`, `document` is invalid, or the write
    /// failed; unless the kind is [`StoreErrorKind::OutcomeUnknown`], nothing has changed.
    fn save(&self, document: Document, expected: Expected) -> StoreFuture<'_, Document>;

    /// Waits until the store holds something other than it last handed out (to begin with: than
    /// the first `load` found), and hands it out: a new document, or once the reason why there is
    /// none now; the caller keeps its last good one. A `save` counts as a change. Other `load`s
    /// hide nothing from it. For one waiter at a time.
    ///
    /// # Errors
    /// As for [`RouteStore::load`].
    fn changed(&self) -> StoreFuture<'_, Loaded>;

    /// Makes `changed` look at once and hand out what it finds, be it new or not.
    fn poke(&self);
}
