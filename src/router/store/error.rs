//! What can go wrong with a store.

use crate::router::document::DocumentError;
use std::fmt;
use std::io;

/// What sort of failure it is, for who decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// There is no document.
    Missing,
    /// What is there is not a regular file.
    NotAFile,
    /// The document is larger than the limit.
    TooLarge,
    /// The document is not valid; the source is a [`DocumentError`].
    Invalid,
    /// The store holds another version than the write expected.
    Conflict,
    /// The disk or a quota is full.
    NoSpace,
    /// The place may not be written, or the document may not be read.
    Forbidden,
    /// The write may or may not have happened; or it has, but may not survive a power failure.
    OutcomeUnknown,
    /// The store cannot be asked at present. Nothing has changed.
    Unavailable,
    /// Any other failure of input or output.
    Io,
}

/// A failed operation on a store: what was done to what, and why it failed.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Source>,
}

#[derive(Debug)]
enum Source {
    Io(io::Error),
    Document(DocumentError),
}

impl StoreError {
    /// A failure that has no other error behind it.
    pub(crate) fn new(kind: StoreErrorKind, message: impl Into<String>) -> StoreError {
        StoreError {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Something gave way that should not have.
    pub(crate) fn broken(message: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Io, message)
    }

    pub(crate) fn invalid(what: impl fmt::Display, source: DocumentError) -> StoreError {
        StoreError {
            kind: StoreErrorKind::Invalid,
            message: format!("{what} is not a valid route document"),
            source: Some(Source::Document(source)),
        }
    }

    /// The kind follows from the error of the system, and so does the advice.
    pub(super) fn io(what: impl fmt::Display, source: io::Error) -> StoreError {
        use io::ErrorKind as E;
        let (kind, advice) = match source.kind() {
            E::NotFound => (StoreErrorKind::Missing, ""),
            E::StorageFull | E::QuotaExceeded => (
                StoreErrorKind::NoSpace,
                "; free some space, nothing was changed",
            ),
            E::ReadOnlyFilesystem => (
                StoreErrorKind::Forbidden,
                "; the file system is mounted read-only",
            ),
            E::PermissionDenied => (
                StoreErrorKind::Forbidden,
                "; check the owner and mode of file and directory",
            ),
            // Renaming over a single file that is mounted into a container.
            E::ResourceBusy => (
                StoreErrorKind::Forbidden,
                "; a file that is a mount point cannot be replaced, mount its directory instead",
            ),
            _ => (StoreErrorKind::Io, ""),
        };
        StoreError {
            kind,
            message: format!("{what}: {source}{advice}"),
            source: Some(Source::Io(source)),
        }
    }

    /// The same failure, to be treated as `kind`.
    pub(super) fn with_kind(mut self, kind: StoreErrorKind) -> StoreError {
        self.kind = kind;
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What is wrong with the document, if that is the failure.
    pub fn document_error(&self) -> Option<&DocumentError> {
        match &self.source {
            Some(Source::Document(error)) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(Source::Io(error)) => Some(error),
            Some(Source::Document(error)) => Some(error),
            None => None,
        }
    }
}
