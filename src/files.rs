//! Small files that are read again as they change: documents, certificates, secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The first `max_bytes` of a file and one byte more, should there be any: whoever reads them refuses
/// what is too large with words of its own.
///
/// # Errors
/// It is not there, no regular file, or cannot be read.
pub(crate) fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Does not wait for a writer, should it be a named pipe.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let is_file = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
    if !is_file(&file) {
        return Err(io::Error::other("is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What counts of all that is seen: a change does once it was seen twice in a row, for a file that is
/// written in place may be caught half done, and half of it may be valid.
pub(crate) struct Settled<T> {
    counts: Option<T>,
    once: Option<T>,
}

impl<T: PartialEq> Settled<T> {
    /// This counts already; `None` where nothing does.
    pub(crate) fn new(counts: Option<T>) -> Settled<T> {
        let once = None;
        Settled { counts, once }
    }

    /// What was seen now, if that is what counts from now on and did not before.
    pub(crate) fn see(&mut self, seen: T) -> Option<&T> {
        let before = self.once.take();
        if self.counts.as_ref() == Some(&seen) {
            return None;
        }
        if before.as_ref() != Some(&seen) {
            self.once = Some(seen);
            return None;
        }
        Some(self.counts.insert(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_a_byte_too_many_and_a_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 3).unwrap(), b"1234");
        assert!(read(dir.path(), 5).is_err());
        assert!(read(&dir.path().join("none"), 5).is_err());
    }

    #[test]
    fn what_is_seen_once_does_not_count() {
        let mut settled = Settled::new(Some("whole"));
        let mut see = |what: &'static str| settled.see(what).copied();
        assert_eq!(see("whole"), None);
        // Half of the next one, and then all of it.
        assert_eq!((see("ne"), see("next")), (None, None));
        assert_eq!((see("next"), see("next")), (Some("next"), None));
        // Half of it again is not what was seen once before.
        assert_eq!((see("ne"), see("next"), see("ne")), (None, None, None));
        assert_eq!((see("next"), see("next")), (None, None));
        assert_eq!((see("gone"), see("gone")), (None, Some("gone")));

        let mut settled = Settled::new(None);
        assert_eq!(
            (settled.see(1).copied(), settled.see(1).copied()),
            (None, Some(1))
        );
    }
}
