//! Who a client is, and what it may do.
//!
//! A *principal* is whoever a credential stands for. A document names them, their credentials, the topics
//! they may speak on and their limits. [`Auth`] holds what is in force; a connection that has shown who
//! it is keeps an [`Identity`], which a change of the document reaches at once.

mod identity;

pub use identity::Identity;

use crate::message::{Proof, Verdict};

/// What is in force. Everything in it can be exchanged while connections use it.
#[derive(Debug, Default)]
pub struct Auth {}

impl Auth {
    /// Whether a client must show a credential before its first request: nobody is let in without.
    pub fn demands_credentials(&self) -> bool {
        true
    }

    /// Whose credential this is. `client_id` is the CLIENT_ID of the HELLO that brought it.
    pub fn authenticate(&self, _proof: Proof<'_>, _client_id: Option<&str>) -> Verdict {
        Verdict::Now(Ok(None))
    }
}
