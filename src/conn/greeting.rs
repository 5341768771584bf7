//! Who is at the other end: what the first frame settles, by HELLO or without.

use super::Dispatch;
use super::core::Core;
use super::lanes::Lanes;
use super::mailbox::{Decided, Mail};
use crate::message::{Denied, Identity, Peer, Proof, Verdict};
use mcpd_proto::session::{Ended, Welcome};
use mcpd_proto::{ErrorCode, Hello};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;

/// When a credential counts as expired that expires in the far future: adding to the clock must not
/// overflow.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl<D: Dispatch> Core<D> {
    /// The first frame was no HELLO: the client is whoever its certificate says, or anybody.
    ///
    /// # Errors
    /// Anybody is not let in.
    #[cold]
    pub(super) fn meet(&mut self) -> Result<(), Ended> {
        let proof = self.certificate.as_deref().map(Proof::Certificate);
        let verdict = self
            .shared
            .dispatch
            .authenticate(proof.unwrap_or(Proof::Nothing), None);
        match verdict {
            Verdict::Now(who) => self.met(None, who),
            // Only a token takes its time, and that needs a HELLO.
            Verdict::Later(_) => Err(Ended::new(
                ErrorCode::UNAUTHENTICATED,
                "the first frame must be a HELLO",
            )),
        }
    }

    /// Decides a HELLO, at once or by mail.
    ///
    /// # Errors
    /// The client is not let in.
    pub(super) fn hello(&mut self, hello: &Hello<'_>, lanes: &mut Lanes) -> Result<(), Ended> {
        let safe = self.is_encrypted || self.peer.addr.ip().is_loopback();
        let exposed = !safe && !self.settings.allow_plaintext_token;
        if hello.meta.auth_token().is_some() && exposed {
            let text = "AUTH_TOKEN over plaintext is refused from other than loopback addresses";
            return Err(Ended::new(ErrorCode::UNAUTHENTICATED, text));
        }
        let proof = match (hello.meta.auth_token(), self.certificate.as_deref()) {
            (Some(token), _) => Proof::Token(token),
            (None, Some(certificate)) => Proof::Certificate(certificate),
            (None, None) => Proof::Nothing,
        };
        let client_id: Option<Arc<str>> = hello.meta.client_id().map(Arc::from);
        let dispatch = &self.shared.dispatch;
        match dispatch.authenticate(proof, client_id.as_deref()) {
            Verdict::Now(who) => {
                self.met(client_id, who)?;
                lanes.control(|control| self.session.welcome(Welcome::default(), control));
            }
            // Until its mail comes nothing more is taken from this connection.
            Verdict::Later(work) => {
                let (mailbox, within) = (
                    Arc::clone(&self.member.mailbox),
                    self.settings.hello_timeout,
                );
                self.shared.background.spawn(async move {
                    let who = timeout(within, work).await.unwrap_or_else(|_| Err(late()));
                    mailbox.send(Mail::Decided(Box::new(Decided { client_id, who })));
                });
            }
        }
        Ok(())
    }

    /// Answers a HELLO whose decision took its time.
    ///
    /// # Errors
    /// The client is not let in.
    pub(super) fn decided(&mut self, decided: Decided) -> Result<(), Ended> {
        self.met(decided.client_id, decided.who)?;
        let lanes = self.lanes.get_or_insert_with(super::buffers::take_lanes);
        lanes.control(|control| self.session.welcome(Welcome::default(), control));
        Ok(())
    }

    /// It is settled who the client is.
    fn met(
        &mut self,
        client_id: Option<Arc<str>>,
        who: Result<Option<Identity>, Denied>,
    ) -> Result<(), Ended> {
        let identity = who.map_err(|denied| {
            let (connection, peer) = (self.peer.connection, self.peer.addr);
            tracing::debug!(connection, %peer, why = denied.text, "not let in");
            Ended {
                code: denied.code,
                text: denied.text,
                retry_after: denied.retry_after,
            }
        })?;
        (self.is_met, self.certificate) = (true, None);
        self.expires_at = identity.as_ref().and_then(Identity::expires).map(from_now);
        if client_id.is_some() || identity.is_some() {
            self.peer = Arc::new(Peer {
                client_id,
                identity: identity.map(Arc::new),
                ..(*self.peer).clone()
            });
            self.member.mailbox.belongs_to(&self.peer);
        }
        Ok(())
    }
}

/// The instant of a time of day.
fn from_now(at: SystemTime) -> Instant {
    let left = at.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + left.min(FAR)
}

fn late() -> Denied {
    Denied {
        code: ErrorCode::UNAUTHENTICATED,
        text: "the credential could not be checked in time".to_owned(),
        retry_after: None,
    }
}
