//! Small files that are read again whenever they say something else: tokens, principals, certificates.
//!
//! They are polled as the routes file is, and for the same reasons; but being small they are read
//! every time, so that a mount that is swapped as a whole shows at once.

use crate::background;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The first `max_bytes` of a file and one byte more, should there be any: whoever reads them refuses
/// what is too large with words of its own.
///
/// # Errors
/// It is not there, no regular file, or cannot be read.
pub(super) fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
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

/// Looks at something every second, and tells when it differs from what it was.
pub(super) struct Watch<T> {
    looks: Interval,
    before: Option<T>,
}

impl<T: PartialEq + Send + 'static> Watch<T> {
    pub(super) fn new() -> Watch<T> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let before = None;
        Watch { looks, before }
    }

    /// Waits until it is time for another look; the first time is now.
    pub(super) async fn tick(&mut self) {
        self.looks.tick().await;
    }

    /// Runs `look` where it may block: what it gave, if that differs from the look before or is the first.
    /// The first look counts, because a file may have changed since the start has read it.
    pub(super) async fn look(&mut self, look: impl FnOnce() -> T + Send + 'static) -> Option<&T> {
        let seen = background::run(look).await.ok()?;
        if self.before.as_ref() == Some(&seen) {
            return None;
        }
        self.before = Some(seen);
        self.before.as_ref()
    }

    /// There is nothing to look at for now: the next look is a first one.
    pub(super) fn forget(&mut self) {
        self.before = None;
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

    #[tokio::test(start_paused = true)]
    async fn only_what_differs_is_told() {
        let mut watch = Watch::new();
        watch.tick().await;
        assert_eq!(watch.look(|| 1).await, Some(&1));
        watch.tick().await;
        assert_eq!(watch.look(|| 1).await, None);
        assert_eq!(watch.look(|| 2).await, Some(&2));
        watch.forget();
        assert_eq!(watch.look(|| 2).await, Some(&2));
    }
}
