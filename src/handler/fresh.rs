//! What handlers make of files, made again as the files change.

use crate::background;
use crate::files::{self, Settled};
use arc_swap::{ArcSwap, Guard};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often files are looked at, at most: what has several endpoints is asked to look for each of them.
const LOOK_EVERY: Duration = Duration::from_millis(900);

/// What is made of some files. A change counts once it was seen by two looks; what is no good changes
/// nothing, and the log says why.
pub(super) struct Fresh<T> {
    handler: String,
    sources: Vec<Source>,
    make: Make<T>,
    now: ArcSwap<T>,
    looks: Mutex<Looks>,
}

/// A file, the key that names it, and the most that is read of it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) max_bytes: usize,
}

/// What the files hold, in the order of their sources.
pub(super) type Contents = Vec<Vec<u8>>;

/// Makes it, or tells what is wrong, by key.
pub(super) type Make<T> = Box<dyn Fn(&Contents) -> Result<T, String> + Send + Sync>;

struct Looks {
    due: Instant,
    /// One at a time: a file system that hangs must not use up all threads.
    running: bool,
    settled: Settled<Result<Contents, String>>,
}

impl<T: Send + Sync + 'static> Fresh<T> {
    /// Reads the files, which may block.
    ///
    /// # Errors
    /// What is wrong with one, by its key.
    pub(super) fn new(
        handler: &str,
        sources: Vec<Source>,
        make: Make<T>,
    ) -> Result<Arc<Fresh<T>>, String> {
        let contents = read(&sources)?;
        Ok(Arc::new(Fresh {
            handler: handler.to_owned(),
            now: ArcSwap::from_pointee(make(&contents)?),
            sources,
            make,
            looks: Mutex::new(Looks {
                due: Instant::now() + LOOK_EVERY,
                running: false,
                settled: Settled::new(Some(Ok(contents))),
            }),
        }))
    }

    /// What is made of them now.
    pub(super) fn now(&self) -> Guard<Arc<T>> {
        self.now.load()
    }

    /// Has the files looked at beside everything else, if it is time; to be called about every second, on a
    /// runtime.
    pub(super) fn look(self: &Arc<Self>, now: Instant) {
        {
            let mut looks = self.looks();
            if self.sources.is_empty() || looks.running || now < looks.due {
                return;
            }
            looks.running = true;
            looks.due = now + LOOK_EVERY;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let looking = Arc::clone(&this);
            // If it failed the runtime is at its end.
            let _ = background::run(move || looking.refresh()).await;
            this.looks().running = false;
        });
    }

    fn refresh(&self) {
        let seen = read(&self.sources);
        let mut looks = self.looks();
        let Some(found) = looks.settled.see(seen) else {
            return;
        };
        let made = found.as_ref().map_err(Clone::clone);
        match made.and_then(|contents| (self.make)(contents)) {
            Ok(made) => {
                self.now.store(Arc::new(made));
                tracing::info!(handler = self.handler, "changed files are in force");
            }
            Err(problem) => {
                let handler = &self.handler;
                tracing::error!(handler, %problem, "files refused, the last good ones stay");
            }
        }
    }

    /// They are changed in single steps.
    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(sources: &[Source]) -> Result<Contents, String> {
    let contents = sources.iter().map(|source| {
        let Source {
            key,
            path,
            max_bytes,
        } = source;
        let told =
            |problem: &dyn std::fmt::Display| format!("{key}: {}: {problem}", path.display());
        let bytes = files::read(path, *max_bytes).map_err(|error| told(&error))?;
        match bytes.len() > *max_bytes {
            true => Err(told(&format_args!("has more than {max_bytes} bytes"))),
            false => Ok(bytes),
        }
    });
    contents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text made of a file; one with `wrong` in it is no good.
    fn fresh(path: &std::path::Path) -> Result<Arc<Fresh<String>>, String> {
        let source = Source {
            key: "word".to_owned(),
            path: path.to_owned(),
            max_bytes: 8,
        };
        let make = |contents: &Contents| match String::from_utf8(contents[0].clone()) {
            Ok(text) if !text.contains("wrong") => Ok(text),
            _ => Err("word: is wrong".to_owned()),
        };
        Fresh::new("orders", vec![source], Box::new(make))
    }

    #[test]
    fn a_change_counts_when_it_was_seen_twice_and_what_is_no_good_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(fresh(&path).err().unwrap().starts_with("word: "));
        std::fs::write(&path, "123456789").unwrap();
        assert!(fresh(&path).err().unwrap().contains("more than 8 bytes"));
        std::fs::write(&path, "one").unwrap();
        let fresh = fresh(&path).unwrap();
        let seen = |text: &str| {
            std::fs::write(&path, text).unwrap();
            fresh.refresh();
            (**fresh.now()).clone()
        };
        assert_eq!(seen("one"), "one");
        assert_eq!(
            (seen("tw"), seen("two")),
            ("one".to_owned(), "one".to_owned())
        );
        assert_eq!(seen("two"), "two");
        for _ in 0..3 {
            assert_eq!(seen("wrong"), "two");
        }
        std::fs::remove_file(&path).unwrap();
        for _ in 0..3 {
            fresh.refresh();
        }
        assert_eq!(**fresh.now(), "two");
        seen("three");
        assert_eq!(seen("three"), "three");
    }

    #[tokio::test]
    async fn a_look_is_made_when_it_is_due_and_only_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let fresh = fresh(&path).unwrap();
        let now = Instant::now();
        fresh.look(now);
        assert!(!fresh.looks().running, "it is not due");
        fresh.look(now + LOOK_EVERY * 2);
        assert!(fresh.looks().running);
        let due = fresh.looks().due;
        fresh.look(due);
        assert_eq!(fresh.looks().due, due, "one is under way");
        while fresh.looks().running {
            tokio::task::yield_now().await;
        }
    }
}
