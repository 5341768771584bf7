//! Replacing the file, so that whatever happens it holds one whole document.

use super::super::memory::successor;
use super::super::{Expected, StoreError, StoreErrorKind};
use super::read;
use crate::router::document::{Document, ParseOptions};
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how far apart, another process's lock is tried: a write takes milliseconds, so
/// two seconds of them mean that somebody hangs.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Writes `document` in place of what is expected to be there; blocks.
pub(super) fn save(
    path: &Path,
    options: &ParseOptions,
    document: Document,
    expected: Expected,
) -> Result<Document, StoreError> {
    let target = target(path)?;
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(directory).map_err(|e| failed("opening", directory, e))?;
    lock(&directory, path)?;
    let current = current(&target, options)?;
    let document = successor(document, current.as_ref(), expected)?;
    let text = document.to_yaml();
    if text.len() > options.max_bytes {
        let message = format!(
            "the document has {} bytes, {} are allowed",
            text.len(),
            options.max_bytes
        );
        return Err(StoreError::new(StoreErrorKind::TooLarge, message));
    }
    replace(&target, text.as_bytes())?;
    // Until the directory is on disk, too, a power failure could bring the old file back.
    directory.sync_all().map_err(|e| {
        failed("syncing the directory of", path, e).with_kind(StoreErrorKind::OutcomeUnknown)
    })?;
    Ok(document)
}

fn failed(what: &str, path: &Path, error: io::Error) -> StoreError {
    StoreError::io(format_args!("{what} {}", path.display()), error)
}

/// The file itself, behind all symlinks.
fn target(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::canonicalize(path) {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                let message = format!("{} is a symlink to nowhere; remove it", path.display());
                return Err(StoreError::new(StoreErrorKind::Missing, message));
            }
            Ok(path.to_owned())
        }
        Err(error) => Err(failed("looking for", path, error)),
    }
}

/// Released when the directory is closed. File systems without locks are used without.
fn lock(directory: &File, path: &Path) -> Result<(), StoreError> {
    for _ in 0..LOCK_ATTEMPTS {
        match directory.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
    let message = format!(
        "another process has been holding the lock on the directory of {}; try again",
        path.display()
    );
    Err(StoreError::new(StoreErrorKind::Conflict, message))
}

/// What is on disk. A file that somebody has broken is not overwritten: that is for who did it.
fn current(target: &Path, options: &ParseOptions) -> Result<Option<Document>, StoreError> {
    // What was there before strictness was asked for may stay.
    let options = ParseOptions {
        strict: false,
        ..*options
    };
    match read::read(target, &options).result {
        Ok(loaded) => Ok(Some(loaded.document)),
        Err(error) if error.kind() == StoreErrorKind::Missing => Ok(None),
        Err(error) => Err(error),
    }
}

fn replace(target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = temporary_path(target);
    let written =
        write_temporary(&temporary, target, bytes).and_then(|()| fs::rename(&temporary, target));
    written.map_err(|error| {
        // Nothing to be done if this fails, too; the next write removes it.
        let _ = fs::remove_file(&temporary);
        failed("writing", target, error)
    })
}

/// One fixed name beside the target, so that a crash leaves one file behind at most. The dot
/// hides it from whoever reads all YAML files of a directory.
fn temporary_path(target: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(".mcpd-new");
    target.with_file_name(name)
}

fn write_temporary(temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // New by all means: a symlink laid there by somebody else is not followed.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(temporary)?;
    match fs::metadata(target) {
        Ok(old) => dress(&file, &old)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Owner before mode, because a change of owner clears bits of the mode.
fn dress(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only root may give files away; the document is more important than its owner.
        let _ = fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(old.permissions())
}
