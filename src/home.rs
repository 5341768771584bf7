//! The data thread that code runs on, so that what a request needs can be kept on the thread that serves it.

use std::cell::OnceCell;
use std::sync::Arc;
use tokio::runtime::Handle;

thread_local! {
    static HOME: OnceCell<Home> = const { OnceCell::new() };
}

/// One data thread among all of its server.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// Which one it is.
    pub(crate) at: usize,
    /// The runtimes of all of them: they wait for sockets, and know no time.
    pub(crate) all: Arc<[Handle]>,
}

/// This thread is that one, for as long as it lives.
pub(crate) fn settle(home: Home) {
    HOME.with(|here| {
        // A thread is given out once.
        let _ = here.set(home);
    });
}

/// Tells `tell` which data thread this is; `None` on any other thread.
pub(crate) fn with<R>(tell: impl FnOnce(Option<&Home>) -> R) -> R {
    HOME.with(|here| tell(here.get()))
}
