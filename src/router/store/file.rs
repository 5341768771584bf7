//! The document in a file.
//!
//! # Noticing changes
//! The file is looked at every poll interval instead of being watched with inotify. A look is one
//! `stat`, which follows symlinks, so it sees edits in place, editors that rename a new file over
//! the old one, and Kubernetes' swap of the `..data` symlink two directories up alike; inotify
//! needs another watch for each of these, loses them when the watched inode goes away, and tells
//! nothing on network file systems. At a poll interval of half a second the price is nothing.
//!
//! A change is taken only after the file has looked the same in two polls in a row: an in-place
//! write that is half done could be a valid, shorter table. The same holds for a file that is
//! gone, as it is for a moment while some editors save. Since a time stamp is only as fine as the
//! kernel's tick, the content is compared once more one poll after it was taken.
//!
//! # Writing
//! A write goes to a temporary file in the same directory, is synced, takes the old file's mode
//! and, where permitted, its owner, and is renamed over it; then the directory is synced. Readers
//! see the old document or the new one. If the path is a symlink, the file it leads to is replaced
//! and the link stays. Writers of mcpd exclude each other by a lock on the directory; the version
//! that is replaced is read from the disk under that lock. An editor takes no lock: a file it
//! changes in the instant between that reading and the rename is overwritten.

mod read;
mod watch;
mod write;

use super::{Expected, RouteStore, StoreError, StoreErrorKind, StoreFuture};
use crate::background;
use crate::router::document::{Document, Loaded, ParseOptions};
use read::{Fingerprint, Reading};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use watch::{Step, Watch};

/// How often the file is looked at unless told otherwise.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How a [`FileStore`] reads its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStoreOptions {
    /// Time between two looks at the file; a change is noticed after one to two of them.
    pub poll_interval: Duration,
    /// How the document is read, and how large it may be.
    pub parse: ParseOptions,
}

impl Default for FileStoreOptions {
    fn default() -> Self {
        FileStoreOptions {
            poll_interval: DEFAULT_POLL_INTERVAL,
            parse: ParseOptions::default(),
        }
    }
}

/// Keeps the document in a YAML file. Needs a tokio runtime with time enabled.
///
/// ```
/// use mcpd::router::store::{FileStore, FileStoreOptions, RouteStore, StoreErrorKind};
///
/// # fn main() -> Result<(), std::io::Error> {
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let store = FileStore::new("no/such/routes.yaml", FileStoreOptions::default());
/// let error = store.load().await.unwrap_err();
/// assert_eq!(error.kind(), StoreErrorKind::Missing);
/// # Ok(()) })
/// # }
/// ```
#[derive(Debug)]
pub struct FileStore {
    path: Arc<Path>,
    options: FileStoreOptions,
    watch: Mutex<Watch>,
    saving: tokio::sync::Mutex<()>,
    pokes: AtomicU64,
    poked: Notify,
}

impl FileStore {
    /// A store in the file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>, options: FileStoreOptions) -> FileStore {
        FileStore {
            path: path.into().into(),
            options,
            watch: Mutex::default(),
            saving: tokio::sync::Mutex::new(()),
            pokes: AtomicU64::new(0),
            poked: Notify::new(),
        }
    }

    async fn read_now(&self) -> Result<Loaded, StoreError> {
        let pokes = self.pokes.load(Ordering::Acquire);
        let reading = self.read().await?;
        self.watch().start(&reading, pokes);
        reading.result
    }

    /// Keeps what it has learned in `watch`, never across an await, so that it may be dropped.
    async fn next_change(&self) -> Result<Loaded, StoreError> {
        loop {
            if self.watch().pokes_seen() == self.pokes.load(Ordering::Acquire) {
                let poked = self.poked.notified();
                // Whichever comes first.
                let _ = tokio::time::timeout(self.options.poll_interval, poked).await;
            }
            let pokes = self.pokes.load(Ordering::Acquire);
            let forced = self.watch().pokes_seen() != pokes;
            if !forced {
                let seen = self.look().await?;
                if self.watch().look(&seen) == Step::Wait {
                    continue;
                }
            }
            let reading = self.read().await?;
            if self.watch().take(&reading, forced, pokes) {
                return reading.result;
            }
        }
    }

    /// A panic elsewhere cannot leave it half changed: its methods do not panic.
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self) -> Result<Fingerprint, StoreError> {
        let path = Arc::clone(&self.path);
        blocking(move || Fingerprint::of(&path)).await
    }

    async fn read(&self) -> Result<Reading, StoreError> {
        let (path, parse) = (Arc::clone(&self.path), self.options.parse);
        blocking(move || read::read(&path, &parse)).await
    }
}

impl RouteStore for FileStore {
    fn load(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(self.read_now())
    }

    fn save(&self, document: Document, expected: Expected) -> StoreFuture<'_, Document> {
        Box::pin(async move {
            let _one_at_a_time = self.saving.lock().await;
            let (path, parse) = (Arc::clone(&self.path), self.options.parse);
            let saved = blocking(move || write::save(&path, &parse, document, expected)).await?;
            if saved.is_ok() {
                self.poke();
            }
            saved
        })
    }

    fn changed(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(self.next_change())
    }

    fn poke(&self) {
        self.pokes.fetch_add(1, Ordering::Release);
        self.poked.notify_one();
    }

    fn kind(&self) -> &'static str {
        "file"
    }
}

/// Runs file operations where they may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    background::run(work).await.map_err(|error| {
        let message = format!("reading or writing the routes broke off: {error}");
        StoreError::new(StoreErrorKind::Io, message)
    })
}

#[cfg(test)]
mod tests;
