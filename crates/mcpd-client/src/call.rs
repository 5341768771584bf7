//! One request on one connection: from its place to its answer.

use crate::connection::Connection;
use crate::driver::{Call, Command, Waiting};
use crate::error::{Error, ErrorClass, ErrorKind, Result};
use crate::reply::Answer;
use crate::request::Parts;
use crate::shared::Shared;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout_at;

/// How much longer than the server one waits here: its own answer to a request out of time says
/// more than silence does.
const GRACE: Duration = Duration::from_millis(250);

impl Connection {
    /// Sends a request, in the slot that is held for it or the next free one, and waits for its
    /// final answer.
    pub(crate) async fn call(
        &self,
        parts: Parts,
        slot: Option<OwnedSemaphorePermit>,
        deadline: Option<Instant>,
    ) -> Result<Answer> {
        let shared = self.shared();
        let mut given_up = GiveUp::new(shared);
        let submitting = self.submit(parts, slot, deadline);
        let receiver = match deadline {
            None => submitting.await?,
            Some(at) => match timeout_at(at.into(), submitting).await {
                Ok(receiver) => receiver?,
                Err(_) => return Err(Error::not_sent_in_time()),
            },
        };
        let receiver = given_up.watch(receiver);
        let answer = match deadline.and_then(|at| at.checked_add(GRACE)) {
            None => receiver.await,
            Some(at) => match timeout_at(at.into(), receiver).await {
                Ok(answer) => answer,
                Err(_) => return Err(not_answered_in_time()),
            },
        };
        given_up.settled();
        // The task is gone without a word when its runtime is.
        answer.unwrap_or_else(|_| Err(shared.closed().error(ErrorClass::Unknown)))
    }

    /// Waits for a slot and for room on the way to the task.
    async fn submit(
        &self,
        parts: Parts,
        slot: Option<OwnedSemaphorePermit>,
        deadline: Option<Instant>,
    ) -> Result<oneshot::Receiver<Result<Answer>>> {
        let shared = self.shared();
        let refused = || shared.closed().error(ErrorClass::NotExecuted).unsent();
        let slot = match slot {
            Some(slot) => slot,
            None => {
                let slots = shared.slots.clone();
                slots.acquire_owned().await.map_err(|_| refused())?
            }
        };
        let room = self.commands().reserve().await.map_err(|_| refused())?;
        let (reply, receiver) = oneshot::channel();
        room.send(Command::Call(Box::new(Call {
            topic: parts.topic,
            body: parts.body,
            priority: parts.priority,
            qos: parts.qos,
            dup: parts.dup,
            meta: parts.meta,
            deadline,
            waiting: Waiting { reply, slot },
        })));
        Ok(receiver)
    }
}

fn not_answered_in_time() -> Error {
    let text = "no answer within the time given";
    Error::new(ErrorKind::Timeout, ErrorClass::Unknown, text)
}

/// Tells the task when a call's future is dropped before its answer came.
struct GiveUp<'a> {
    shared: &'a Arc<Shared>,
    receiver: Option<oneshot::Receiver<Result<Answer>>>,
}

impl<'a> GiveUp<'a> {
    fn new(shared: &'a Arc<Shared>) -> GiveUp<'a> {
        GiveUp {
            shared,
            receiver: None,
        }
    }

    fn watch(
        &mut self,
        receiver: oneshot::Receiver<Result<Answer>>,
    ) -> &mut oneshot::Receiver<Result<Answer>> {
        self.receiver.insert(receiver)
    }

    fn settled(&mut self) {
        self.receiver = None;
    }
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        if let Some(mut receiver) = self.receiver.take() {
            // Closed first, so that the task sees it when it looks.
            receiver.close();
            self.shared.gave_up();
        }
    }
}
