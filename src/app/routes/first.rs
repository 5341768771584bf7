//! The first route table of a process: from the store or, while that has nothing to be served, from a copy of what was
//! in force here before.

use super::super::handlers;
use super::{Routes, explain};
use crate::admin::Version;
use crate::background;
use crate::router::store::{StoreError, StoreErrorKind};
use std::sync::Arc;

impl Routes {
    /// Loads the first document.
    ///
    /// # Errors
    /// Why there are no routes to serve by.
    pub(in crate::app) async fn load_first(self: &Arc<Self>) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        if self.live().is_some() {
            return Ok(());
        }
        self.make_handlers().await?;
        let (problem, kind) = match self.store.first().await {
            Ok(loaded) => match self.take(Ok(loaded)) {
                Ok(()) => return Ok(()),
                Err(problem) => (problem, StoreErrorKind::Invalid),
            },
            Err(error) => (self.nothing_came(&error), error.kind()),
        };
        match kind {
            // It is to be waited for: whoever has it will bring it back.
            StoreErrorKind::Missing => Err(problem),
            _ => self.take_last_good(problem, kind).await,
        }
    }

    /// What is wrong with a store that has given nothing.
    fn nothing_came(&self, error: &StoreError) -> String {
        let problem = explain(error);
        match error.kind() {
            // That is nobody's refusal.
            StoreErrorKind::Unavailable => {
                let unreachable = Some(problem.clone());
                self.status
                    .send_modify(|status| status.unreachable = unreachable);
            }
            _ => self.refused(&problem),
        }
        problem
    }

    /// Makes the handlers, even if they were made before: a body file may have come by now, or have changed.
    async fn make_handlers(&self) -> Result<(), String> {
        let source = self.handlers_source.as_ref();
        let read = handlers::first(source).await;
        let mut state = self.state();
        state.made = None;
        let document = match &read {
            Ok(read) => read.document.clone(),
            Err(problem) => {
                state.unread = Some(problem.clone());
                return Err(problem.clone());
            }
        };
        (state.sources.document, state.unread) = (Arc::new(document), None);
        let handlers = state.handlers(&self.context())?;
        if let (Ok(read), Some(source)) = (&read, source) {
            read.in_force(source);
        }
        handlers::start(&handlers);
        self.scheduler
            .configure(state.server_limits, &state.sources.limits());
        Ok(())
    }

    /// Serves by the copy of the last good document, if there is one that still does; what was wrong with the
    /// store's stays to be seen.
    async fn take_last_good(
        self: &Arc<Self>,
        problem: String,
        kind: StoreErrorKind,
    ) -> Result<(), String> {
        let (loaded, place) = match self.store.last_good().await {
            Ok(Some(copy)) => copy,
            Ok(None) => return Err(problem),
            Err(error) => {
                let error = explain(&error);
                tracing::warn!(%error, "the snapshot of the routes is of no use");
                return Err(problem);
            }
        };
        let (this, source) = (Arc::clone(self), format!("snapshot {place}"));
        let apply = move || this.apply(Arc::new(Version::new(loaded.document)), &source);
        let applied = background::run(apply).await;
        let applied = applied.unwrap_or_else(|error| Err(error.to_string()));
        if let Err(error) = applied {
            tracing::warn!(%error, "the snapshot of the routes is of no use");
            return Err(problem);
        }
        tracing::warn!(problem, "routes of an earlier start have to do");
        if kind != StoreErrorKind::Unavailable {
            self.status
                .send_modify(|status| status.problem = Some(problem));
        }
        Ok(())
    }

    /// Waits for a reason to try [`Routes::load_first`] again: the store holds something else. Never
    /// ends when the routes are not what is missing. Cancel safe.
    pub(in crate::app) async fn first_may_load(&self) {
        if self.live().is_some() {
            return std::future::pending().await;
        }
        let handlers = async {
            match &self.handlers_source {
                Some(source) => source.first_may_come().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Whatever it is now, the next attempt loads it and says what is wrong with it.
            _ = self.store.changed() => {}
            () = handlers => {}
        }
    }
}
