//! The handlers that routes may name.

use super::Handler;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Handlers by name.
#[derive(Clone, Default)]
pub struct Handlers {
    by_name: BTreeMap<String, Arc<dyn Handler>>,
}

impl Handlers {
    /// No handlers.
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Gives a handler a name, in place of another one with that name.
    pub fn insert(&mut self, name: impl Into<String>, handler: Arc<dyn Handler>) {
        self.by_name.insert(name.into(), handler);
    }

    /// Takes those of `others`, in place of ones with their names.
    pub fn extend(&mut self, others: &Handlers) {
        let others = others.by_name.iter();
        let others = others.map(|(name, handler)| (name.clone(), Arc::clone(handler)));
        self.by_name.extend(others);
    }

    /// The handler of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Handler>> {
        self.by_name.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}
