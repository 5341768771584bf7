//! A server inside somebody else's program: what that brings along, and what it hears.

use super::control::DrainWish;
use crate::handler::Handlers;
use crate::lifecycle::DrainCause;
use crate::router::document::Document;
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};

/// What a program brings along that has a server in it.
#[derive(Debug, Default)]
pub struct Embedding {
    /// Handlers beside those that are configured; routes find them by name.
    pub handlers: Handlers,
    /// The first routes, where no file is configured. Changes of them last as long as the process.
    pub document: Option<Document>,
    /// Who waits for the server and ends it. `None`: it is the whole program, which takes signals,
    /// tells its ports on standard output, and tries again what it cannot have.
    pub host: Option<Host>,
}

/// The ends of a server that its host does not hold.
#[derive(Debug)]
pub struct Host {
    /// Told once: where it listens, or why it cannot. In that case it is over.
    pub started: oneshot::Sender<Result<Addresses, String>>,
    /// Resolves, one way or another, when the server is to stop in order.
    pub stop: oneshot::Receiver<()>,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For MCP.
    pub data: SocketAddr,
    /// For HTTP: health, readiness, metrics.
    pub sidecar: SocketAddr,
}

/// What is left of a [`Host`] while the server runs.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    hosted: bool,
    started: Option<oneshot::Sender<Result<Addresses, String>>>,
}

impl Embedded {
    /// Must be called on the runtime of the control loop.
    pub(super) fn new(host: Option<Host>, wishes: &mpsc::Sender<DrainWish>) -> Embedded {
        let Some(Host { started, stop }) = host else {
            return Embedded::default();
        };
        let wishes = wishes.clone();
        tokio::spawn(async move {
            // A host that has gone wants it to stop, too.
            let _ = stop.await;
            let (cause, (seen, _)) = (DrainCause::Host, oneshot::channel());
            let hasten = false;
            let _ = wishes
                .send(DrainWish {
                    hasten,
                    cause,
                    seen,
                })
                .await;
        });
        Embedded {
            hosted: true,
            started: Some(started),
        }
    }

    /// Whether it is a part of somebody else's program.
    pub(super) fn is_hosted(&self) -> bool {
        self.hosted
    }

    /// The server listens.
    pub(super) fn started(&mut self, addresses: Addresses) {
        if let Some(started) = self.started.take() {
            // Whoever does not wait for it does not want to know.
            let _ = started.send(Ok(addresses));
        }
    }

    /// It cannot start. Gives whether its host is told, and so will not have it try again.
    pub(super) fn failed(&mut self, what: &str) -> bool {
        let started = self.started.take();
        started.is_some_and(|started| started.send(Err(what.to_owned())).is_ok())
    }
}
