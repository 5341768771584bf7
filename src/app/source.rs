//! Where handlers and principals come from: a file, or a ConfigMap that all replicas share.

use super::watched::Watch;
use crate::files;
#[cfg(feature = "kubernetes")]
use crate::kube::{Failure, SharedDocument, Why};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How far apart two readings of a file are at the start, and how many there are at most; later it is looked at
/// again and again.
const STILL: Duration = Duration::from_millis(100);
const READINGS: usize = 10;

/// The source of one small document.
#[derive(Clone)]
pub(super) struct Source {
    place: Place,
    /// Largest document.
    max_bytes: usize,
}

#[derive(Clone)]
enum Place {
    /// The configuration key that names the file, the file, and what it was when it was looked at last.
    File(&'static str, PathBuf, Arc<Mutex<Watch<Found>>>),
    /// The document, and the file that it is created from where there is none.
    #[cfg(feature = "kubernetes")]
    Shared(Arc<SharedDocument>, Option<PathBuf>),
}

/// What a look at a file found.
type Found = Result<Vec<u8>, String>;

/// Why there is nothing to start with.
#[derive(Debug)]
pub(super) struct Nothing {
    /// For people.
    pub(super) problem: String,
    /// Whether nobody could be asked: there may be one, and what it says is not known.
    pub(super) unasked: bool,
}

impl Source {
    pub(super) fn file(key: &'static str, path: PathBuf, max_bytes: usize) -> Source {
        let watch = Arc::new(Mutex::new(Watch::new()));
        let place = Place::File(key, path, watch);
        Source { place, max_bytes }
    }

    #[cfg(feature = "kubernetes")]
    pub(super) fn shared(
        document: Arc<SharedDocument>,
        seed: Option<PathBuf>,
        max_bytes: usize,
    ) -> Source {
        let place = Place::Shared(document, seed);
        Source { place, max_bytes }
    }

    /// What it holds; to begin with, or after a start that failed. `None`: there is none, and none is to be
    /// waited for.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) async fn first(&self) -> Result<Option<Vec<u8>>, Nothing> {
        match &self.place {
            Place::File(key, path, _) => {
                let found = read_still(key, path, self.max_bytes).await;
                found.map(Some).map_err(|problem| Nothing {
                    problem,
                    unasked: false,
                })
            }
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, seed) => {
                document.follow();
                let (seed, max_bytes) = (seed.clone(), self.max_bytes);
                let make = move |copy: Option<String>| match copy {
                    Some(copy) => Ok(Some(copy)),
                    None => seed_of(seed.as_deref(), max_bytes),
                };
                let first = document.first(make).await;
                let bytes = first.map(|text| text.map(|text| text.as_bytes().to_vec()));
                bytes.map_err(|failure| Nothing {
                    unasked: !matches!(failure.why, Why::NotFound | Why::Invalid),
                    problem: self.said(&failure),
                })
            }
        }
    }

    /// The copy of the last one that was in force here, and where that is.
    pub(super) async fn copy(&self) -> Option<(Vec<u8>, String)> {
        match &self.place {
            Place::File(..) => None,
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => {
                let text = document.copy().await?;
                Some((text.into_bytes(), document.copy_path()))
            }
        }
    }

    /// Waits until it holds something else. Of a file, the first look counts, too. Cancel safe; for one waiter at
    /// a time.
    ///
    /// # Errors
    /// It cannot be read, or is gone.
    pub(super) async fn changed(&self) -> Found {
        match &self.place {
            Place::File(key, path, watch) => {
                let mut watch = watch.lock().await;
                loop {
                    watch.tick().await;
                    let (key, path, max_bytes) = (*key, path.clone(), self.max_bytes);
                    let look = move || read_file(key, &path, max_bytes);
                    if let Some(found) = watch.look(look).await {
                        return found.clone();
                    }
                }
            }
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => {
                document.follow();
                let changed = document.changed().await;
                let bytes = changed.map(|text| text.as_bytes().to_vec());
                bytes.map_err(|failure| self.said(&failure))
            }
        }
    }

    /// Waits until a start that failed for want of this may be tried again: something else is there. Of a file
    /// that is found out by trying.
    pub(super) async fn first_may_come(&self) {
        match &self.place {
            Place::File(..) => std::future::pending().await,
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => drop(document.changed().await),
        }
    }

    /// The document alone, for those who know what it is.
    pub(super) fn place(&self) -> String {
        match &self.place {
            Place::File(_, path, _) => path.display().to_string(),
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => document.to_string(),
        }
    }

    /// Told what is in force now.
    pub(super) fn in_force(&self, bytes: &[u8]) {
        match &self.place {
            // Whoever writes a file wants no word of that.
            Place::File(..) => _ = bytes,
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => document.in_force(String::from_utf8_lossy(bytes)),
        }
    }

    /// Told that what it holds is not taken, and why.
    pub(super) fn refused(&self, problem: &str) {
        match &self.place {
            Place::File(..) => _ = problem,
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => document.refused(problem),
        }
    }

    #[cfg(feature = "kubernetes")]
    fn said(&self, failure: &Failure) -> String {
        let (place, text) = (self.to_string(), failure.to_string());
        match text.starts_with(&place) {
            true => text,
            false => format!("{place}: {text}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(key, path, _) => write!(f, "{key}: {}", path.display()),
            #[cfg(feature = "kubernetes")]
            Place::Shared(document, _) => document.fmt(f),
        }
    }
}

/// Reads the file when nobody is writing it, as far as two readings show: half of a document may be a valid one
/// that denies less.
async fn read_still(key: &str, path: &Path, max_bytes: usize) -> Found {
    let mut found = read_file(key, path, max_bytes)?;
    for _ in 0..READINGS {
        tokio::time::sleep(STILL).await;
        let again = read_file(key, path, max_bytes)?;
        if again == found {
            return Ok(found);
        }
        found = again;
    }
    let path = path.display();
    Err(format!("{key}: {path}: is being written all the time"))
}

fn read_file(key: &str, path: &Path, max_bytes: usize) -> Found {
    let read = files::read(path, max_bytes);
    read.map_err(|error| format!("{key}: {}: {error}", path.display()))
}

/// What a ConfigMap is created from, if there is such a file.
#[cfg(feature = "kubernetes")]
fn seed_of(file: Option<&Path>, max_bytes: usize) -> Result<Option<String>, String> {
    let Some(file) = file.filter(|file| file.exists()) else {
        return Ok(None);
    };
    let bytes = read_file("kubernetes.seed", file, max_bytes)?;
    if bytes.len() > max_bytes {
        let file = file.display();
        return Err(format!(
            "kubernetes.seed: {file} is larger than {max_bytes} bytes"
        ));
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|error| format!("kubernetes.seed: {}: {error}", file.display()))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_document_that_is_being_written_at_the_start_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("principals.yaml");
        std::fs::write(&path, "half").unwrap();
        let writing = async {
            tokio::time::sleep(STILL / 2).await;
            std::fs::write(&path, "half, and the rest").unwrap();
        };
        let (found, ()) = tokio::join!(read_still("auth.principals", &path, 100), writing);
        assert_eq!(found.unwrap(), b"half, and the rest");

        let never_still = async {
            for n in 0.. {
                std::fs::write(&path, format!("{n}")).unwrap();
                tokio::time::sleep(STILL / 2).await;
            }
        };
        tokio::select! {
            found = read_still("auth.principals", &path, 100) => {
                assert!(found.unwrap_err().contains("is being written"));
            }
            () = never_still => {}
        }
    }
}
