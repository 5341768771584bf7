//! How many connections the process has file descriptors for.
//!
//! Without this bound a flood of connections would take the last descriptor, the sidecar could not
//! accept a probe, and a server that is merely busy would be restarted.

use crate::{admin, conn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept free for all else: connections that were turned away and linger, event loops, pipes, files
/// and what is opened in passing.
const OTHERS: usize = conn::MAX_LINGERING + 64;

/// `wanted` connections, or as many as there is room for beside so many ports that speak HTTP.
pub(super) fn room_for(wanted: usize, http_ports: usize) -> usize {
    let Some(limit) = soft_limit() else {
        return wanted;
    };
    let room = room_within(limit, http_ports);
    if wanted > room {
        tracing::warn!(
            key = "data.max_connections",
            wanted,
            limit = room,
            descriptors = limit,
            "more connections than there are file descriptors for; raise the limit (ulimit -n)"
        );
    }
    wanted.min(room)
}

/// With a very low limit the connections get a quarter, lest there be none at all.
fn room_within(limit: usize, http_ports: usize) -> usize {
    let kept = OTHERS + http_ports * admin::MAX_CONNECTIONS;
    limit.saturating_sub(kept).max(limit / 4).max(1)
}

/// Takes as many descriptors as the process may: the soft limit is often a low one, for the sake of
/// programs that use `select`.
pub(super) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of file descriptors stays");
    }
}

/// `None` is unlimited.
fn soft_limit() -> Option<usize> {
    let current = getrlimit(Resource::Nofile).current?;
    Some(usize::try_from(current).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sidecar_keeps_its_descriptors() {
        assert_eq!(room_within(20_000, 1), 19_552);
        assert_eq!(room_within(1024, 1), 576);
        assert_eq!(room_within(256, 1), 64);
        assert_eq!(room_within(0, 1), 1);
    }
}
