//! A document that lives as long as the process.

use super::{Expected, RouteStore, StoreError, StoreErrorKind, StoreFuture};
use crate::router::document::{Document, DocumentError, Loaded, ParseOptions};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The routes of a server that was told of none.
pub const EMBEDDED_ROUTES: &str = "\
apiVersion: mcpd/v1
kind: RouteTable
revision: 1
routes:
  - name: echo
    topic: echo
    handler: echo
  - name: heartbeat
    topic: heartbeat
    handler: monitor
";

/// Keeps the document in memory. **Not durable**: what is saved is gone when the process ends.
///
/// ```
/// use mcpd::router::document::Document;
/// use mcpd::router::store::{Expected, MemoryStore, RouteStore};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryStore::embedded()?;
/// let mut document = store.load().await?.document;
/// let version = document.etag();
/// document.routes.retain(|route| route.name == "echo");
/// let saved = store.save(document.clone(), Expected::Version(version)).await?;
/// assert_eq!(saved.revision, 2);
/// assert!(store.save(document, Expected::Version(version)).await.is_err());
/// # Ok(()) })
/// # }
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Debug)]
struct State {
    document: Document,
    /// Whether `changed` has something to hand out.
    news: bool,
}

impl MemoryStore {
    /// Starts with `document`.
    pub fn new(document: Document) -> MemoryStore {
        MemoryStore {
            state: Mutex::new(State {
                document,
                news: false,
            }),
            woken: Notify::new(),
        }
    }

    /// Starts with [`EMBEDDED_ROUTES`].
    ///
    /// # Errors
    /// None in a tested build.
    pub fn embedded() -> Result<MemoryStore, DocumentError> {
        let options = ParseOptions::default();
        let loaded = Document::parse(EMBEDDED_ROUTES.as_bytes(), &options)?;
        Ok(MemoryStore::new(loaded.document))
    }

    /// A panic elsewhere cannot leave the state half changed: it is replaced in single steps.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Loaded {
        Loaded {
            document: self.state().document.clone(),
            ..Loaded::default()
        }
    }

    fn replace(&self, document: Document, expected: Expected) -> Result<Document, StoreError> {
        let mut state = self.state();
        let document = successor(document, Some(&state.document), expected)?;
        state.document = document.clone();
        state.news = true;
        Ok(document)
    }
}

impl RouteStore for MemoryStore {
    fn load(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(async { Ok(self.current()) })
    }

    fn save(&self, document: Document, expected: Expected) -> StoreFuture<'_, Document> {
        Box::pin(async move {
            let saved = self.replace(document, expected)?;
            self.woken.notify_one();
            Ok(saved)
        })
    }

    fn changed(&self) -> StoreFuture<'_, Loaded> {
        Box::pin(async {
            while !std::mem::take(&mut self.state().news) {
                self.woken.notified().await;
            }
            Ok(self.current())
        })
    }

    fn poke(&self) {
        self.state().news = true;
        self.woken.notify_one();
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}

/// The document as it is to be written in place of `current`, or why not.
pub(super) fn successor(
    mut document: Document,
    current: Option<&Document>,
    expected: Expected,
) -> Result<Document, StoreError> {
    let conflict = |message: String| StoreError::new(StoreErrorKind::Conflict, message);
    let revision = match (current, expected) {
        (None, Expected::Absent) => 0,
        (Some(current), Expected::Version(tag)) if current.etag() == tag => current.revision,
        (Some(current), _) => {
            let found = current.etag();
            return Err(conflict(format!(
                "the routes are version {found} by now; read them and apply the change again"
            )));
        }
        (None, Expected::Version(tag)) => {
            return Err(conflict(format!(
                "version {tag} is gone, there are no routes"
            )));
        }
    };
    document.revision = revision.checked_add(1).ok_or_else(|| {
        let text = "the revision has reached its end; edit the document by hand to a lower one";
        StoreError::new(StoreErrorKind::Forbidden, text)
    })?;
    // Never keep what would be refused when it is read again.
    let text = document.to_yaml();
    let options = ParseOptions {
        strict: false,
        max_bytes: usize::MAX,
    };
    match Document::parse(text.as_bytes(), &options) {
        Ok(_) => Ok(document),
        Err(error) => Err(StoreError::invalid("the document to be saved", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::document::Target;

    #[tokio::test]
    async fn the_embedded_routes_are_echo_and_heartbeat() {
        let store = MemoryStore::embedded().unwrap();
        let document = store.load().await.unwrap().document;
        let routes: Vec<_> = document
            .routes
            .iter()
            .map(|r| (r.name.as_str(), r.pattern.as_str(), r.handlers()[0].1))
            .collect();
        assert_eq!(
            routes,
            [
                ("echo", "echo", "echo"),
                ("heartbeat", "heartbeat", "monitor")
            ]
        );
    }

    #[tokio::test]
    async fn a_save_or_a_poke_wakes_who_waits() {
        let store = MemoryStore::embedded().unwrap();
        let document = store.load().await.unwrap().document;
        let version = Expected::Version(document.etag());
        let (changed, saved) = tokio::join!(store.changed(), store.save(document, version));
        assert_eq!(changed.unwrap().document, saved.unwrap());
        let (changed, ()) = tokio::join!(store.changed(), async { store.poke() });
        assert_eq!(changed.unwrap().document.revision, 2);
    }

    #[tokio::test]
    async fn only_the_expected_version_is_replaced_and_only_by_a_valid_one() {
        let store = MemoryStore::embedded().unwrap();
        let document = store.load().await.unwrap().document;
        let version = Expected::Version(document.etag());
        let absent = store.save(document.clone(), Expected::Absent).await;
        assert_eq!(absent.unwrap_err().kind(), StoreErrorKind::Conflict);

        let mut broken = document.clone();
        broken.routes[0].target = Target::Handler("No Name".to_owned());
        let error = store.save(broken, version).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(
            error
                .document_error()
                .unwrap()
                .to_string()
                .contains("routes[0].handler")
        );
        assert_eq!(store.load().await.unwrap().document, document);
    }
}
