//! Copies of documents in force, for a start while the API server cannot be asked.
//!
//! They are of use to this pod alone: an emptyDir outlives the container and not the pod. Whatever is wrong
//! with the directory costs the copy and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Largest copy that is read: what fits into a ConfigMap, and more.
const MAX_BYTES: u64 = 2 << 20;

/// A copy of one document.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    path: PathBuf,
}

impl Snapshot {
    pub(super) fn new(directory: &Path, file: &str) -> Snapshot {
        let path = directory.join(file);
        Snapshot { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the copy as a whole: whatever happens, there is the old one or the new one. Only this user may
    /// read it, since there are hashes of tokens in principals.
    ///
    /// # Errors
    /// The disk is full, or may not be written.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = self.write_new(&new, text);
        if written.is_err() {
            // Half a file would hold room on a disk that is full. There may be none.
            let _ = fs::remove_file(&new);
        }
        written
    }

    fn write_new(&self, new: &Path, text: &str) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(new, &self.path)
    }

    /// The copy, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or is no document of ours.
    pub(super) fn read(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        Ok((!text.is_empty()).then_some(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_is_there_whole_and_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        // An emptyDir is there; a directory below it is made.
        let snapshot = Snapshot::new(&directory.path().join("below"), "routes.yaml");
        assert_eq!(snapshot.read().unwrap(), None);
        snapshot.write("one").unwrap();
        snapshot.write("two").unwrap();
        assert_eq!(snapshot.read().unwrap().as_deref(), Some("two"));
        let mode = fs::metadata(snapshot.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(directory.path().join("below")).unwrap();
        assert_eq!(files.count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_copy() {
        let directory = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::new(directory.path(), "routes.yaml");
        snapshot.write("one").unwrap();
        // Not even root writes into a directory as if it were a file.
        fs::create_dir(directory.path().join("routes.yaml.new")).unwrap();
        assert!(snapshot.write("two").is_err());
        assert_eq!(snapshot.read().unwrap().as_deref(), Some("one"));
        let below_a_file = Snapshot::new(snapshot.path(), "x");
        assert!(below_a_file.write("three").is_err());
    }
}
