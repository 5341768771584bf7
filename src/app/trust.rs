//! Who clients are: from the principals document to what is in force, again whenever it changes.

use super::{Server, watched};
use crate::auth::{Auth, MAX_BYTES, Policy};
use crate::config::Config;
use crate::conn::{Order, Registry};
use crate::message::Peer;
use mcpd_proto::GoAwayReason;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Puts the document in force that the configuration names, before anybody connects.
///
/// # Errors
/// It cannot be read, or is not valid.
pub(super) fn load(server: &Server) -> Result<(), String> {
    if let Some(path) = &server.config.auth.principals {
        let bytes = read(path)?;
        take(&server.auth, path, &bytes)?;
    }
    Ok(())
}

/// What keeps the document from being put in force.
pub(super) fn problem(config: &Config) -> Option<String> {
    let path = config.auth.principals.as_ref()?;
    let taken = read(path).and_then(|bytes| take(&Auth::default(), path, &bytes));
    taken.err()
}

/// Takes what the document says whenever it says something else, for as long as the process runs. While
/// it is invalid or gone, the last good one stays.
pub(super) fn watch(server: &Server) {
    let Some(path) = server.config.auth.principals.clone() else {
        return;
    };
    let (auth, registry) = (Arc::clone(&server.auth), Arc::clone(&server.registry));
    let grace = server.config.goaway.grace;
    tokio::spawn(async move {
        let mut watch = watched::Watch::new();
        loop {
            watch.tick().await;
            let path = path.clone();
            let looked = path.clone();
            let Some(found) = watch.look(move || read(&looked)).await else {
                continue;
            };
            let taken = found.as_ref().map_err(Clone::clone);
            match taken.and_then(|bytes| take(&auth, &path, bytes)) {
                Ok(()) => reauthenticate(&auth, &registry, grace),
                Err(problem) => {
                    tracing::error!(%problem, "principals refused, the last good ones stay");
                }
            }
        }
    });
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = watched::read(path, MAX_BYTES);
    read.map_err(|error| format!("auth.principals: {}: {error}", path.display()))
}

fn take(auth: &Auth, path: &Path, bytes: &[u8]) -> Result<(), String> {
    let policy = Policy::parse(bytes)
        .map_err(|problem| format!("auth.principals: {}: {problem}", path.display()))?;
    let principals = policy.len();
    auth.set_policy(policy);
    tracing::info!(principals, "principals are in force");
    Ok(())
}

/// Asks those to connect again whose credential is none any more.
fn reauthenticate(auth: &Auth, registry: &Registry, grace: Duration) {
    let order = Order::GoAway {
        reason: GoAwayReason::Reauthenticate,
        retry_after: Duration::ZERO,
        refuse_at: Instant::now() + grace,
    };
    // One that has not said a word yet has its HELLO judged by what is in force then.
    let bad = |peer: &Peer| {
        peer.identity
            .as_deref()
            .is_some_and(|who| !auth.still_good(who))
    };
    let told = registry.order_those(bad, &order);
    if told > 0 {
        tracing::info!(told, "connections are asked to authenticate again");
    }
}
