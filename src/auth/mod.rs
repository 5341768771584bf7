//! Who a client is, and what it may do.
//!
//! A *principal* is whoever a credential stands for. A document names them, their credentials, the topics
//! they may speak on and their limits. [`Auth`] holds what is in force; a connection that has shown who
//! it is keeps an [`Identity`], which a change of the document reaches at once.

mod identity;

pub use identity::{Identity, InFlight};

use crate::message::{Certificate, Proof, Verdict};

/// What is in force. Everything in it can be exchanged while connections use it.
#[derive(Debug, Default)]
pub struct Auth {}

impl Auth {
    /// Whether credentials are asked for at all.
    pub fn is_in_force(&self) -> bool {
        false
    }

    /// Whether a connection must begin with a HELLO that brings a credential: nobody is let in
    /// without, and its certificate, if it has shown one, stands for nobody.
    pub fn demands_hello(&self, _certificate: Option<&Certificate>) -> bool {
        self.is_in_force()
    }

    /// Whose credential this is. `client_id` is the CLIENT_ID of the HELLO that brought it.
    pub fn authenticate(&self, _proof: Proof<'_>, _client_id: Option<&str>) -> Verdict {
        Verdict::Now(Ok(None))
    }
}
