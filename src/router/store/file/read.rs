//! One look at the file, and one reading of it.

use super::super::{StoreError, StoreErrorKind};
use crate::router::document::{Document, Loaded, ParseOptions};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What tells without reading that a file is another or has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fingerprint {
    Found {
        device: u64,
        inode: u64,
        modified: (i64, i64),
        changed: (i64, i64),
        len: u64,
    },
    /// It cannot even be looked at; most often because it is not there.
    Failed(io::ErrorKind),
}

impl Fingerprint {
    pub(super) fn of(path: &Path) -> Fingerprint {
        match std::fs::metadata(path) {
            Ok(metadata) => Fingerprint::from(&metadata),
            Err(error) => Fingerprint::Failed(error.kind()),
        }
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Fingerprint {
        Fingerprint::Found {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            len: metadata.len(),
        }
    }
}

/// What one reading found.
#[derive(Debug)]
pub(super) struct Reading {
    /// Of the file that was read; the same before and after if nobody wrote meanwhile.
    pub(super) fingerprint: Fingerprint,
    /// Hash of what was found: the content, or the failure.
    pub(super) content: [u8; 32],
    pub(super) result: Result<Loaded, StoreError>,
}

/// Reads and parses the file.
pub(super) fn read(path: &Path, options: &ParseOptions) -> Reading {
    match read_bytes(path, options.max_bytes) {
        Ok((fingerprint, bytes)) => Reading {
            fingerprint,
            content: Sha256::digest(&bytes).into(),
            result: Document::parse(&bytes, options)
                .map_err(|error| StoreError::invalid(path.display(), error)),
        },
        Err(error) => Reading {
            fingerprint: Fingerprint::of(path),
            content: Sha256::digest(error.to_string().as_bytes()).into(),
            result: Err(error),
        },
    }
}

fn read_bytes(path: &Path, max_bytes: usize) -> Result<(Fingerprint, Vec<u8>), StoreError> {
    let failed = |error| StoreError::io(format_args!("reading {}", path.display()), error);
    // Looked at before it is opened: merely opening a device can have effects.
    refuse_special(path, &std::fs::metadata(path).map_err(failed)?)?;
    let file = open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    refuse_special(path, &before)?;
    if before.len() > max_bytes as u64 {
        return Err(too_large(path, max_bytes));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed, in case it grows while it is read.
    let mut limited = (&file).take(max_bytes as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > max_bytes {
        return Err(too_large(path, max_bytes));
    }
    let after = file.metadata().map_err(failed)?;
    Ok((Fingerprint::from(&after), bytes))
}

/// Does not wait for a writer, should the file have turned into a named pipe just now.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn refuse_special(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() {
        "a directory"
    } else {
        "no regular file"
    };
    let message = format!("{} is {what}; name a YAML file", path.display());
    Err(StoreError::new(StoreErrorKind::NotAFile, message))
}

fn too_large(path: &Path, max_bytes: usize) -> StoreError {
    let message = format!("{} is larger than {max_bytes} bytes", path.display());
    StoreError::new(StoreErrorKind::TooLarge, message)
}
