//! The document in a ConfigMap that all replicas share.

use super::memory::successor;
use super::{
    EMBEDDED_ROUTES, Expected, RouteStore, Standing, StoreError, StoreErrorKind, StoreFuture,
};
use crate::background;
use crate::kube::{Failure, MAX_DOCUMENT_BYTES, Origin, SharedDocument, Why};
use crate::router::document::{Document, Loaded, ParseOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// Keeps the document in a ConfigMap. What it hands out is what the API server has, never a cache; a write goes by
/// the resourceVersion that was read right before it, so of two writers one is told of a conflict.
pub(crate) struct KubernetesStore {
    shared: Arc<SharedDocument>,
    parse: ParseOptions,
    /// What the first document is made of; `None` for the built-in one.
    seed: Option<PathBuf>,
}

/// The last good document as it is written again after somebody has deleted it.
pub(crate) fn again(text: &str) -> Option<String> {
    let options = ParseOptions {
        strict: false,
        max_bytes: usize::MAX,
    };
    let mut document = Document::parse(text.as_bytes(), &options).ok()?.document;
    document.revision = document.revision.saturating_add(1);
    Some(document.to_yaml())
}

impl KubernetesStore {
    pub(crate) fn new(
        shared: Arc<SharedDocument>,
        max_bytes: usize,
        seed: Option<PathBuf>,
    ) -> KubernetesStore {
        let parse = ParseOptions {
            strict: false,
            max_bytes,
        };
        KubernetesStore {
            shared,
            parse,
            seed,
        }
    }

    /// Parsing a large document takes a moment.
    async fn parsed(&self, text: Arc<str>) -> Result<Loaded, StoreError> {
        let (options, place) = (self.parse, self.shared.to_string());
        let parse = move || {
            let parsed = Document::parse(text.as_bytes(), &options);
            parsed.map_err(|error| StoreError::invalid(place, error))
        };
        background::run(parse)
            .await
            .unwrap_or_else(|_| Err(StoreError::broken("reading the routes broke off")))
    }

    async fn load_now(&self) -> Result<Loaded, StoreError> {
        match self.shared.get().await.map_err(reading)? {
            Some((text, _)) => self.parsed(text).await,
            None => Err(reading(self.shared.gone())),
        }
    }

    async fn load_first(&self) -> Result<Loaded, StoreError> {
        self.shared.follow();
        let seed = self.seed.clone();
        let make = move |copy: Option<String>| match copy.as_deref().and_then(again) {
            Some(text) => Ok(Some(text)),
            None => first_of(seed).map(Some),
        };
        match self.shared.first(make).await.map_err(reading)? {
            Some(text) => self.parsed(text).await,
            None => {
                let text = format!("{}, and this server may not create it", self.shared.gone());
                Err(StoreError::new(StoreErrorKind::Missing, text))
            }
        }
    }

    async fn save_now(
        &self,
        document: Document,
        expected: Expected,
    ) -> Result<Document, StoreError> {
        let (current, map) = match self.shared.get().await.map_err(reading)? {
            Some((text, map)) => (Some(self.parsed(text).await?.document), Some(map)),
            None => (None, None),
        };
        let make = move || {
            let document = successor(document, current.as_ref(), expected)?;
            let text = document.to_yaml();
            Ok((document, text))
        };
        let made = background::run(make).await;
        let (document, text) =
            made.unwrap_or_else(|_| Err(StoreError::broken("writing the routes broke off")))?;
        if text.len() > MAX_DOCUMENT_BYTES {
            let message = format!(
                "the document has {} bytes, and {MAX_DOCUMENT_BYTES} fit into a ConfigMap",
                text.len()
            );
            return Err(StoreError::new(StoreErrorKind::TooLarge, message));
        }
        let written = match map {
            Some(map) => self.shared.update(map, &text).await,
            None => self.shared.create(&text, Origin::Api).await,
        };
        written.map_err(writing)?;
        Ok(document)
    }

    async fn copy(&self) -> Result<Option<(Loaded, String)>, StoreError> {
        let Some(text) = self.shared.copy().await else {
            return Ok(None);
        };
        let loaded = self.parsed(text.into()).await?;
        Ok(Some((loaded, self.shared.copy_path())))
    }
}

/// The document that a new installation begins with.
fn first_of(seed: Option<PathBuf>) -> Result<String, String> {
    let file = seed.map(|directory| directory.join("routes.yaml"));
    let read = file.map(|file| (std::fs::read_to_string(&file), file));
    let (text, place) = match read {
        // A seed may have handlers alone.
        Some((Err(error), _)) if error.kind() == std::io::ErrorKind::NotFound => {
            (EMBEDDED_ROUTES.to_owned(), String::new())
        }
        Some((text, file)) => {
            let place = format!("kubernetes.seed: {}", file.display());
            (text.map_err(|error| format!("{place}: {error}"))?, place)
        }
        None => (EMBEDDED_ROUTES.to_owned(), String::new()),
    };
    let options = ParseOptions {
        strict: false,
        max_bytes: MAX_DOCUMENT_BYTES,
    };
    let loaded = Document::parse(text.as_bytes(), &options);
    let mut document = loaded
        .map_err(|error| format!("{place}: {error}"))?
        .document;
    document.require_used();
    let first = successor(document, None, Expected::Absent);
    Ok(first.map_err(|error| error.to_string())?.to_yaml())
}

impl RouteStore for KubernetesStore {
    fn load(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(self.load_now())
    }

    fn save(&self, document: Document, expected: Expected) -> StoreFuture<'_, Document> {
        Box::pin(self.save_now(document, expected))
    }

    fn changed(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(async {
            self.shared.follow();
            let text = self.shared.changed().await.map_err(reading)?;
            self.parsed(text).await
        })
    }

    fn poke(&self) {
        self.shared.poke();
    }

    fn first(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(self.load_first())
    }

    fn last_good(&self) -> StoreFuture<'_, Option<(Loaded, String)>> {
        Box::pin(self.copy())
    }

    fn in_force(&self, document: &Document) {
        self.shared.in_force(document.to_yaml());
    }

    fn refused(&self, problem: &str) {
        self.shared.refused(problem);
    }

    fn standing(&self) -> Option<Standing> {
        let seen = self.shared.seen();
        Some(Standing {
            confirmed: seen.confirmed,
            version: seen.version().map(str::to_owned),
            problem: seen.problem.clone(),
        })
    }

    fn is_writable(&self) -> bool {
        self.shared.is_writable()
    }

    fn kind(&self) -> &'static str {
        "kubernetes"
    }
}

/// A failure to read.
fn reading(failure: Failure) -> StoreError {
    let kind = match failure.why {
        Why::NotFound => StoreErrorKind::Missing,
        Why::Invalid => StoreErrorKind::Invalid,
        Why::Forbidden => StoreErrorKind::Forbidden,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, failure.to_string())
}

fn writing(failure: Failure) -> StoreError {
    let kind = match failure.why {
        Why::Conflict | Why::Exists | Why::NotFound | Why::Gone => StoreErrorKind::Conflict,
        Why::TooLarge => StoreErrorKind::TooLarge,
        Why::Forbidden | Why::Invalid => StoreErrorKind::Forbidden,
        Why::Unavailable | Why::Settings => StoreErrorKind::Unavailable,
        Why::Unknown => StoreErrorKind::OutcomeUnknown,
    };
    StoreError::new(kind, failure.to_string())
}
