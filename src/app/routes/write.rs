//! Changes of the routes that come through the admin API: into the store, and live.

use super::Routes;
use crate::admin::{Change, Precondition, Refused, Version, WriteError, Written};
use crate::background;
use crate::dispatch;
use crate::router::document::{Document, Loaded};
use crate::router::store::{Expected, StoreError, StoreErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How often a write without a version of its own is tried again after somebody else's came
/// between.
const ATTEMPTS: u32 = 5;

/// Whether a write has begun, so that one that did not can be called off.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const CALLED_OFF: u8 = 2;

impl Stage {
    /// Gives whether it was waiting before.
    fn go_to(&self, stage: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.0.compare_exchange(WAITING, stage, success, failure);
        before.is_ok()
    }
}

/// A change of one route is one of the document that is there. When that has gone, writing one of the
/// single route would end all others, which are still live.
fn gone() -> StoreError {
    let text = "the routes document has gone from where it was, and the last good one is only live; \
                write all of it with If-None-Match: *";
    StoreError::new(StoreErrorKind::Missing, text)
}

/// What comes of the edit.
struct Edited {
    after: Version,
    changed: bool,
}

impl Routes {
    /// What the store holds, or what is live while the store cannot be read.
    ///
    /// # Errors
    /// There is nothing.
    pub(in crate::app) async fn version(&self) -> Result<Arc<Version>, StoreError> {
        match (self.store.load().await, self.live()) {
            // Its hash is known.
            (Ok(loaded), Some(live)) if loaded.document == live.document => Ok(live),
            (Ok(loaded), _) => hashed(loaded.document).await,
            (Err(_), Some(live)) => Ok(live),
            (Err(error), None) => Err(error),
        }
    }

    /// Makes a change within `patience`, or gives up waiting for it.
    ///
    /// # Errors
    /// Why there was no change, or that this is not known.
    pub(in crate::app) async fn change(
        self: &Arc<Self>,
        change: Change,
        patience: Duration,
    ) -> Result<Written, WriteError> {
        let stage = Arc::new(Stage::default());
        let dry_run = change.dry_run;
        // On its own, so that it is whole even if the client goes away.
        let work = tokio::spawn(Arc::clone(self).change_in_turn(change, Arc::clone(&stage)));
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(WriteError::Unknown),
            Err(_) if stage.go_to(CALLED_OFF) || dry_run => Err(WriteError::Busy),
            Err(_) => Err(WriteError::Unknown),
        }
    }

    async fn change_in_turn(
        self: Arc<Self>,
        change: Change,
        stage: Arc<Stage>,
    ) -> Result<Written, WriteError> {
        let _turn = self.turn.lock().await;
        if !stage.go_to(BEGUN) {
            return Err(WriteError::Busy);
        }
        let change = Arc::new(change);
        let mut attempts = 1;
        loop {
            match self.try_change(&change).await {
                Err(WriteError::Store(error)) if error.kind() == StoreErrorKind::Conflict => {
                    // Somebody else has written between reading and writing.
                    if attempts >= ATTEMPTS {
                        return Err(WriteError::Busy);
                    }
                    attempts += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_change(self: &Arc<Self>, change: &Arc<Change>) -> Result<Written, WriteError> {
        let before = self.stored().await.map_err(WriteError::Store)?;
        check(&change.precondition, before.as_deref())?;
        if before.is_none() && change.precondition == Precondition::None && self.live().is_some() {
            return Err(WriteError::Store(gone()));
        }
        let (this, with, was) = (Arc::clone(self), Arc::clone(change), before.clone());
        let edited = blocking(move || this.edit(&with, was.as_deref())).await??;
        let expected = match &before {
            Some(before) => Expected::Version(before.etag),
            None => Expected::Absent,
        };
        let after = match (edited.changed, change.dry_run) {
            (_, true) => return Ok(written(before, edited)),
            // What is in the store already may not have been noticed yet.
            (false, false) => edited.after,
            (true, false) => self.save(edited.after.document, expected).await?,
        };
        let (this, after) = (Arc::clone(self), Arc::new(after));
        let live = Arc::clone(&after);
        let applied = blocking(move || this.make_live(live)).await?;
        applied.map_err(WriteError::NotLive)?;
        let changed = edited.changed;
        Ok(Written {
            before,
            after,
            changed,
        })
    }

    async fn save(&self, document: Document, expected: Expected) -> Result<Version, WriteError> {
        self.writes.fetch_add(1, Ordering::AcqRel);
        let saved = self.store.save(document, expected).await;
        let saved = saved.inspect_err(|error| {
            if error.kind() == StoreErrorKind::OutcomeUnknown {
                // Whatever it is now, it is to be live.
                self.store.poke();
            }
        });
        blocking(move || saved.map(Version::new))
            .await?
            .map_err(WriteError::Store)
    }

    fn make_live(&self, version: Arc<Version>) -> Result<(), String> {
        match self.live() {
            Some(live) if live.etag == version.etag => {
                self.confirmed();
                Ok(())
            }
            _ => {
                self.apply(version, &self.source)
                    .inspect_err(|problem| self.refused(problem))?;
                self.confirmed();
                Ok(())
            }
        }
    }

    async fn stored(&self) -> Result<Option<Arc<Version>>, StoreError> {
        let document = match self.store.load().await {
            Ok(Loaded { document, .. }) => document,
            Err(error) if error.kind() == StoreErrorKind::Missing => return Ok(None),
            Err(error) => return Err(error),
        };
        match self.live() {
            Some(live) if live.document == document => Ok(Some(live)),
            _ => hashed(document).await.map(Some),
        }
    }

    /// The document as it is to be, if this server can serve it.
    fn edit(&self, change: &Change, before: Option<&Version>) -> Result<Edited, WriteError> {
        let was = before.map(|before| &before.document);
        let mut document = (change.edit)(was).map_err(WriteError::Refused)?;
        document.require_used();
        let (handlers, allow_faults) = {
            let mut state = self.state();
            let handlers = state.handlers(&self.context());
            let handlers = handlers.map_err(WriteError::Handlers)?;
            (handlers, state.options.allow_faults)
        };
        let problems = dispatch::check(&document, &handlers, allow_faults);
        if !problems.is_empty() {
            return Err(WriteError::Refused(Refused::Invalid(problems)));
        }
        let revision = was.map_or(0, |was| was.revision);
        document.revision = revision;
        let mut after = Version::new(document);
        let changed = before.is_none_or(|before| before.hash != after.hash);
        if changed {
            after.advance();
        }
        Ok(Edited { after, changed })
    }
}

fn written(before: Option<Arc<Version>>, edited: Edited) -> Written {
    let Edited { after, changed } = edited;
    let after = Arc::new(after);
    Written {
        before,
        after,
        changed,
    }
}

fn check(precondition: &Precondition, before: Option<&Version>) -> Result<(), WriteError> {
    let tag = before.map(|before| before.etag);
    let holds = match (precondition, tag) {
        (Precondition::None, _) => true,
        (Precondition::Any, tag) => tag.is_some(),
        (Precondition::Absent, tag) => tag.is_none(),
        (Precondition::Versions(tags), Some(tag)) => tags.contains(&tag),
        (Precondition::Versions(_), None) => false,
    };
    match holds {
        true => Ok(()),
        false => Err(WriteError::Precondition(tag)),
    }
}

async fn hashed(document: Document) -> Result<Arc<Version>, StoreError> {
    let hash = move || Arc::new(Version::new(document));
    match blocking(hash).await {
        Ok(version) => Ok(version),
        Err(_) => Err(StoreError::broken("hashing the routes broke off")),
    }
}

/// Does what takes a moment for a large document where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WriteError> {
    let done = background::run(work).await;
    done.map_err(|error| {
        tracing::error!(%error, "a change of the routes broke");
        WriteError::Unknown
    })
}
