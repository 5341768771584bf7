//! The signals that mean something to a server.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that mean something.
pub(super) struct Signals {
    pub(super) terminate: Awaited,
    pub(super) interrupt: Awaited,
    pub(super) hangup: Awaited,
}

/// A signal, or one that never comes because it is not this server's.
pub(super) struct Awaited(Option<Signal>);

impl Awaited {
    pub(super) async fn recv(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Signals are the whole program's: a server that is a part of one leaves them alone.
    pub(super) fn listen(wanted: bool) -> io::Result<Signals> {
        let listen = |kind| wanted.then(|| signal(kind)).transpose().map(Awaited);
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}
