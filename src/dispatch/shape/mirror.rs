//! Copies of requests that go to another handler, of which nobody waits for the answer.

use super::Leg;
use super::rotation::Rotation;
use crate::message::{Answer, Call, Outcome, OwnedCall, Work};
use crate::telemetry::{Count, NewCounts, Shaped};
use mcpd_proto::MetaBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

/// The HEADER that says of a request that it is a copy. Its value is the name of the route.
pub const MIRROR_HEADER: &str = "mcpd-mirror";

/// The least urgent: a copy gets a place when nobody else wants it.
const LOWEST: u8 = 0;

/// How many copies there may be at one time, of all routes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MirrorLimits {
    /// Copies that are under way.
    pub copies: usize,
    /// Bytes of their bodies and metadata.
    pub bytes: usize,
}

impl Default for MirrorLimits {
    /// 1000 copies of 64 MiB together.
    fn default() -> MirrorLimits {
        MirrorLimits {
            copies: 1000,
            bytes: 64 << 20,
        }
    }
}

/// Where copies run, and what there is room for.
#[derive(Debug)]
pub struct Mirrors {
    background: Handle,
    max_copies: AtomicUsize,
    max_bytes: AtomicUsize,
    copies: AtomicUsize,
    bytes: AtomicUsize,
    /// The last copy is done with.
    done: Notify,
    is_cut: watch::Sender<bool>,
}

impl Mirrors {
    /// Copies run on `background`, beside the threads of the connections.
    pub fn new(background: Handle, limits: MirrorLimits) -> Mirrors {
        Mirrors {
            background,
            max_copies: AtomicUsize::new(limits.copies),
            max_bytes: AtomicUsize::new(limits.bytes),
            copies: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            done: Notify::new(),
            is_cut: watch::Sender::new(false),
        }
    }

    /// Copies that are under way.
    pub fn under_way(&self) -> usize {
        self.copies.load(Ordering::Acquire)
    }

    /// Waits until no copy is under way.
    pub async fn done(&self) {
        loop {
            let done = self.done.notified();
            if self.under_way() == 0 {
                return;
            }
            done.await;
        }
    }

    /// Stops all copies, and lets none begin. How many there were.
    pub fn cut(&self) -> usize {
        let cut = self.under_way();
        self.is_cut.send_replace(true);
        cut
    }

    /// Uses other limits for copies from now on.
    pub fn set_limits(&self, limits: MirrorLimits) {
        self.max_copies.store(limits.copies, Ordering::Relaxed);
        self.max_bytes.store(limits.bytes, Ordering::Relaxed);
    }

    /// Room for a copy of so many bytes, if there is any.
    fn enter(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        // It takes its room first, so that two at once do not both find the last of it free.
        let copies = self.copies.fetch_add(1, Ordering::Relaxed) + 1;
        let held = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let room = Room {
            mirrors: Arc::clone(self),
            bytes,
        };
        let fits = !*self.is_cut.borrow()
            && copies <= self.max_copies.load(Ordering::Relaxed)
            && held <= self.max_bytes.load(Ordering::Relaxed);
        fits.then_some(room)
    }
}

/// What a copy holds until it is done with.
struct Room {
    mirrors: Arc<Mirrors>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.mirrors.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.mirrors.copies.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.mirrors.done.notify_waiters();
        }
    }
}

/// Which requests of a route are copied, and where to.
pub(super) struct Mirror {
    pub(super) rotation: Arc<Rotation>,
    route: String,
    leg: Arc<Leg>,
    mirrors: Arc<Mirrors>,
    answered: Arc<Count>,
    failed: Arc<Count>,
    dropped: Arc<Count>,
    cut: Arc<Count>,
}

impl Mirror {
    pub(super) fn new(
        percent: u8,
        leg: Leg,
        before: Option<&Arc<Rotation>>,
        route: &str,
        mirrors: &Arc<Mirrors>,
        counts: &mut NewCounts<'_>,
    ) -> Mirror {
        let percent = u32::from(percent);
        let mut count = |outcome| counts.count(Shaped::Mirror, route, outcome);
        Mirror {
            rotation: Rotation::keeping(before, &[percent, 100 - percent]),
            route: route.to_owned(),
            leg: Arc::new(leg),
            mirrors: Arc::clone(mirrors),
            answered: count("answered"),
            failed: count("failed"),
            dropped: count("dropped"),
            cut: count("cut"),
        }
    }

    /// Sends a copy off, if it is this one's turn and there is room.
    #[inline]
    pub(super) fn send(&self, call: &Call<'_>) {
        if self.rotation.next() == 0 && self.copy(call).is_none() {
            self.dropped.add();
        }
    }

    fn copy(&self, call: &Call<'_>) -> Option<()> {
        let meta = call.meta.as_bytes().len();
        let room = self.mirrors.enter(call.body.len() + meta)?;
        let mut marked = MetaBuf::from(call.meta);
        // A block that has no room for the mark would make a copy that nobody can tell from a request.
        marked
            .add_header(MIRROR_HEADER, self.route.as_bytes())
            .ok()?;
        let copy = OwnedCall::from(&Call {
            meta: marked.view(),
            priority: LOWEST,
            span: None,
            ..*call
        });
        // It fails unless something else becomes of it.
        let ending = Ending(Arc::clone(&self.failed));
        let (answered, cut) = (Arc::clone(&self.answered), Arc::clone(&self.cut));
        let leg = Arc::clone(&self.leg);
        let mut is_cut = self.mirrors.is_cut.subscribe();
        self.mirrors.background.spawn(async move {
            // Both are moved in here: it counts however this ends, and then there is room again.
            let (_room, mut ending) = (room, ending);
            tokio::select! {
                is_answered = run(&leg, &copy) => {
                    if is_answered == Some(true) {
                        ending.0 = answered;
                    }
                }
                _ = is_cut.wait_for(|is_cut| *is_cut) => ending.0 = cut,
            }
        });
        Some(())
    }
}

/// Counts how a copy ended, also by a panic.
struct Ending(Arc<Count>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Whether the answer was a RESPONSE; `None` if there was none in time.
async fn run(leg: &Leg, copy: &OwnedCall) -> Option<bool> {
    let deadline = copy.as_call()?.deadline();
    let work = match begin(leg, copy)? {
        Ok(answer) => return Some(answer),
        Err(work) => work,
    };
    let answer = tokio::time::timeout_at(deadline.into(), work).await;
    Some(answer.ok()?.is_response())
}

/// Calls the handler; the work that it has is behind the gates.
fn begin(leg: &Leg, copy: &OwnedCall) -> Option<Result<bool, Work>> {
    let call = copy.as_call()?;
    let outcome = match leg.handler.call(&call) {
        Outcome::Here(work) => admit(leg, work, &call),
        Outcome::Later(work) => admit(leg, work, &call),
        outcome => outcome,
    };
    Some(match outcome {
        Outcome::Now(answer) => Ok(Answer::is_response(&answer)),
        Outcome::Later(work) | Outcome::Waiting(work, _) => Err(work),
        Outcome::Here(work) => Err(work),
    })
}

fn admit(leg: &Leg, work: Work, call: &Call<'_>) -> Outcome<'static> {
    let admitted = leg
        .admission
        .admit(work, LOWEST, call.now(), call.deadline());
    admitted.map_or_else(|instead| instead, |work| Outcome::Later(Box::pin(work)))
}
