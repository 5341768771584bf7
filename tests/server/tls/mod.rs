//! The data port over TLS.

mod connections;
mod handshakes;
mod principals;
mod reload;

use crate::support::tls::Ca;
use crate::support::{Server, Start, scratch};
use tempfile::TempDir;

/// A server with a certificate of this CA, and where its files are.
fn encrypted(ca: &Ca, start: Start) -> (Server, TempDir) {
    let dir = scratch();
    ca.server().write(dir.path());
    (start.tls("DATA", dir.path()).spawn(), dir)
}

fn handshakes(result: &str) -> String {
    format!("mcpd_tls_handshakes_total{{port=\"data\",result=\"{result}\"}}")
}
