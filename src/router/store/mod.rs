//! Where the route document is kept.
//!
//! A store hands out the document, replaces it on condition that nobody else has, and tells when
//! it has changed. [`FileStore`] keeps it in a file, [`MemoryStore`] in the process, and with the feature
//! `kubernetes` there is one that keeps it in a ConfigMap, for all replicas.

mod error;
mod file;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod memory;

pub use error::{StoreError, StoreErrorKind};
pub use file::{DEFAULT_POLL_INTERVAL, FileStore, FileStoreOptions};
#[cfg(feature = "kubernetes")]
pub(crate) use kubernetes::{KubernetesStore, again};
pub use memory::{EMBEDDED_ROUTES, MemoryStore};

use super::document::{Document, ETag, Loaded};
use std::pin::Pin;
use std::time::SystemTime;

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

    /// The document to start with, which a store may make if there is none yet.
    ///
    /// # Errors
    /// As for [`RouteStore::load`].
    fn first(&self) -> StoreFuture<'_, Loaded> {
        self.load()
    }

    /// What to start with while the store has nothing that could be served: a copy of the last document
    /// that was in force here, and where that is. `None`: there is no copy.
    ///
    /// # Errors
    /// The copy is none.
    fn last_good(&self) -> StoreFuture<'_, Option<(Loaded, String)>> {
        Box::pin(async { Ok(None) })
    }

    /// Told what is in force now, wherever it came from.
    fn in_force(&self, _document: &Document) {}

    /// Told that what the store holds cannot be put in force, and why.
    fn refused(&self, _problem: &str) {}

    /// What is known of a store that has to be asked by others; `None`: it is looked at so often that it
    /// holds what was handed out last.
    fn standing(&self) -> Option<Standing> {
        None
    }

    /// Whether `save` is of any use: some stores are others' to write.
    fn is_writable(&self) -> bool {
        true
    }

    /// What sort of store it is, in a word.
    fn kind(&self) -> &'static str;
}

/// How things stand between a store and this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// When the store last said what it holds.
    pub confirmed: Option<SystemTime>,
    /// The store's own name for the version it held then.
    pub version: Option<String>,
    /// Why it cannot be asked at present.
    pub problem: Option<String>,
}
