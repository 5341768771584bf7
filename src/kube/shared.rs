//! A document that all replicas share: a text in a ConfigMap of its own.
//!
//! The API server is what makes replicas agree: each watches the ConfigMap, and whoever writes does so on
//! condition that nobody else has. [`SharedDocument`] knows nothing of what the text says. Whoever puts it in
//! force says so ([`SharedDocument::in_force`]), and from then on the text survives: it is copied to the directory of
//! snapshots, and the ConfigMap is created again from it if somebody deletes it.

use super::config_map::{Held, Kind, Place};
use super::events::{Events, News};
use super::follow;
use super::others::Others;
use super::snapshot::Snapshot;
use super::{Cluster, Failure, Why};
use crate::background;
use crate::telemetry::KubernetesMetrics;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};

/// How long a server that has refused something lets others create it again first.
const BEHIND: Duration = Duration::from_secs(2);

/// How a document is kept, and what may be done to it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the names of ConfigMaps begin with.
    pub(crate) name: String,
    /// Whether the document is ever written.
    pub(crate) writes: bool,
    /// Whether a ConfigMap that is not there may be created.
    pub(crate) create: bool,
    /// Where copies of documents in force go.
    pub(crate) snapshots: Option<PathBuf>,
    /// How often the ConfigMap is read besides being watched.
    pub(crate) poll: Duration,
    /// This pod, for those who want to know who wrote.
    pub(crate) pod: Option<String>,
}

/// What a ConfigMap is created from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// What a new installation begins with.
    Seed,
    /// What was in force when somebody deleted it.
    LastGood,
    /// What was written through the admin API.
    Api,
}

/// What is known of the ConfigMap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What it held last; `None` before it could be read.
    pub(super) held: Option<Held>,
    /// When that was last known to be so.
    pub(crate) confirmed: Option<SystemTime>,
    /// Why it cannot be read just now.
    pub(crate) problem: Option<String>,
}

impl Seen {
    /// The resourceVersion of what was seen.
    pub(crate) fn version(&self) -> Option<&str> {
        match &self.held {
            Some(Held::Found(found)) => Some(&found.version),
            _ => None,
        }
    }
}

/// A document in a ConfigMap. One waits for its changes; anybody may do the rest.
pub(crate) struct SharedDocument {
    pub(super) place: Place,
    pub(super) settings: Settings,
    pub(super) seen: watch::Sender<Seen>,
    pub(super) metrics: KubernetesMetrics,
    others: Arc<dyn Others>,
    events: Events,
    snapshot: Option<Snapshot>,
    /// Makes of the last good text the one that is created again.
    again: fn(&str) -> Option<String>,
    /// The text in force.
    good: Mutex<Option<Arc<str>>>,
    /// Whether the ConfigMap has held something since that was not taken here.
    is_behind: AtomicBool,
    /// What was handed out last.
    handed: Mutex<Option<Held>>,
    pokes: AtomicU64,
    pokes_seen: AtomicU64,
    poked: Notify,
    following: AtomicBool,
    /// Held while a copy is written.
    writing: Mutex<()>,
}

impl SharedDocument {
    /// A document that nobody looks at yet.
    pub(crate) fn new(
        cluster: Cluster,
        kind: Kind,
        settings: Settings,
        others: Arc<dyn Others>,
        events: Events,
        again: fn(&str) -> Option<String>,
    ) -> Arc<SharedDocument> {
        let metrics = KubernetesMetrics;
        let name = format!("{}-{}", settings.name, kind.name());
        let directory = settings.snapshots.as_deref();
        Arc::new(SharedDocument {
            snapshot: directory.map(|directory| Snapshot::new(directory, kind.key())),
            place: Place {
                cluster,
                name,
                kind,
                metrics,
            },
            settings,
            seen: watch::Sender::default(),
            metrics,
            others,
            events,
            again,
            good: Mutex::default(),
            is_behind: AtomicBool::new(false),
            handed: Mutex::default(),
            pokes: AtomicU64::new(0),
            pokes_seen: AtomicU64::new(0),
            poked: Notify::new(),
            following: AtomicBool::new(false),
            writing: Mutex::default(),
        })
    }

    /// Has the ConfigMap watched from now on, for as long as the runtime lives.
    pub(crate) fn follow(self: &Arc<Self>) {
        if !self.following.swap(true, Ordering::AcqRel) {
            tokio::spawn(follow::run(Arc::clone(self)));
        }
    }

    /// What is known of the ConfigMap without asking.
    pub(crate) fn seen(&self) -> watch::Ref<'_, Seen> {
        // Not held for long by anybody.
        self.seen.borrow()
    }

    /// Whether it may be written.
    pub(crate) fn is_writable(&self) -> bool {
        self.settings.writes
    }

    /// The document as the API server has it, with the ConfigMap it is in; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, or the ConfigMap is one without the document: [`Why::Invalid`].
    pub(crate) async fn get(&self) -> Result<Option<(Arc<str>, ConfigMap)>, Failure> {
        let map = self.place.get().await?;
        let held = Held::of(map.as_ref(), self.place.kind);
        let text = self.text_of(&held)?;
        Ok(text.zip(map))
    }

    /// The document to start with. If there is none and one may be created, that is what `make` makes of the
    /// copy of an earlier one, or of nothing; unless another replica serves, which has it and will create it.
    /// `None` if there is none and none is to be made.
    ///
    /// # Errors
    /// The API server cannot be asked, another replica is to create it, or `make` has failed.
    pub(crate) async fn first(
        &self,
        make: impl FnOnce(Option<String>) -> Result<Option<String>, String>,
    ) -> Result<Option<Arc<str>>, Failure> {
        let map = self.place.get().await?;
        let held = Held::of(map.as_ref(), self.place.kind);
        *lock(&self.handed) = Some(held.clone());
        if held != Held::Absent {
            return self.text_of(&held);
        }
        if !self.may_create() {
            return Ok(None);
        }
        let copy = self.copy().await;
        let origin = copy.as_ref().map_or(Origin::Seed, |_| Origin::LastGood);
        let made = make(copy).map_err(|problem| Failure::new(Why::Invalid, problem))?;
        let Some(text) = made else { return Ok(None) };
        if self.others.serve().await? {
            let text = format!(
                "{} is not there; another replica serves, and is to create it again",
                self.place
            );
            return Err(Failure::new(Why::NotFound, text));
        }
        match self.create(&text, origin).await {
            // Another replica that starts was faster.
            Err(failure) if failure.why == Why::Exists => {}
            done => drop(done?),
        }
        let map = self.place.get().await?;
        let held = Held::of(map.as_ref(), self.place.kind);
        *lock(&self.handed) = Some(held.clone());
        self.text_of(&held)
    }

    /// Waits until the ConfigMap holds another document than was last handed out, and hands that out.
    /// Cancel safe.
    ///
    /// # Errors
    /// It is gone, or has no document in it.
    pub(crate) async fn changed(&self) -> Result<Arc<str>, Failure> {
        let mut seen = self.seen.subscribe();
        loop {
            if let Some(held) = self.news(&mut seen) {
                return self.text_of(&held)?.ok_or_else(|| self.gone());
            }
            let pokes = self.pokes.load(Ordering::Acquire);
            if self.pokes_seen.load(Ordering::Acquire) != pokes {
                let got = self.place.get().await;
                self.pokes_seen.store(pokes, Ordering::Release);
                // While the API server is away there is nothing to be said; the watch goes on trying.
                if let Ok(map) = got {
                    let held = Held::of(map.as_ref(), self.place.kind);
                    *lock(&self.handed) = Some(held.clone());
                    return self.text_of(&held)?.ok_or_else(|| self.gone());
                }
            }
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { std::future::pending().await },
                () = self.poked.notified() => {}
            }
        }
    }

    /// What is to be handed out, if there is anything.
    fn news(&self, seen: &mut watch::Receiver<Seen>) -> Option<Held> {
        let held = seen.borrow_and_update().held.clone()?;
        let mut handed = lock(&self.handed);
        if handed
            .as_ref()
            .is_some_and(|handed| handed.says_the_same(&held))
        {
            return None;
        }
        *handed = Some(held.clone());
        Some(held)
    }

    /// Has [`SharedDocument::changed`] hand out what there is, be it new or not.
    pub(crate) fn poke(&self) {
        self.pokes.fetch_add(1, Ordering::AcqRel);
        self.poked.notify_one();
    }

    /// Replaces the document in `map`, if that is still what it was. Everything else in it stays.
    ///
    /// # Errors
    /// [`Why::Conflict`] and [`Why::NotFound`] mean that somebody else was faster; see [`Why`].
    pub(crate) async fn update(&self, mut map: ConfigMap, text: &str) -> Result<(), Failure> {
        map.metadata
            .annotations
            .get_or_insert_default()
            .extend(self.signed("written"));
        self.place.update(map, text).await.map(drop)
    }

    /// Creates the ConfigMap.
    ///
    /// # Errors
    /// [`Why::Exists`] means that somebody else was faster; see [`Why`].
    pub(crate) async fn create(&self, text: &str, origin: Origin) -> Result<(), Failure> {
        let (how, reason, note) = match origin {
            Origin::Seed => ("created", "Created", "created from the seed"),
            Origin::LastGood => (
                "recreated",
                "CreatedAgain",
                "created from the last good document, as it was not there any more",
            ),
            Origin::Api => ("created", "Created", "created through the admin API"),
        };
        let signed = self.signed(how).into();
        let map = self.place.create(text, &signed).await?;
        self.metrics.created(self.place.kind.name(), origin.label());
        tracing::info!(place = %self.place, note, "a ConfigMap was created");
        let uid = map.metadata.uid.unwrap_or_default();
        self.tell(false, reason, note.to_owned(), uid);
        Ok(())
    }

    /// Who does it, and when, as annotations.
    fn signed(&self, how: &str) -> [(String, String); 2] {
        let pod = self.settings.pod.as_deref().unwrap_or("mcpd");
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        [
            (format!("mcpd/{how}-by"), pod.to_owned()),
            (format!("mcpd/{how}-at"), now),
        ]
    }

    fn may_create(&self) -> bool {
        self.settings.writes && self.settings.create
    }

    /// The ConfigMap is not there: creates it again, if there is anything that it could be created from.
    /// Whether it should be there by now.
    pub(super) async fn restore(&self) -> Result<bool, Failure> {
        let good = lock(&self.good).clone();
        let text = good.filter(|_| self.may_create());
        let Some(text) = text.and_then(|text| (self.again)(&text)) else {
            return Ok(false);
        };
        if self.is_behind.load(Ordering::Acquire) {
            // Others may have taken what was refused here, and theirs is the one to come back.
            tokio::time::sleep(BEHIND).await;
        }
        match self.create(&text, Origin::LastGood).await {
            Err(failure) if failure.why != Why::Exists => Err(failure),
            // Another replica was faster: theirs is as good.
            _ => Ok(true),
        }
    }

    /// `text` is in force now.
    pub(crate) fn in_force(self: &Arc<Self>, text: impl Into<Arc<str>>) {
        self.metrics.document(self.place.kind.name(), true);
        *lock(&self.good) = Some(text.into());
        self.is_behind.store(false, Ordering::Release);
        if self.snapshot.is_some() {
            let this = Arc::clone(self);
            tokio::task::spawn_blocking(move || this.write_copy());
        }
    }

    /// Writes whatever is in force by then, so that of two writers the later one is right.
    fn write_copy(&self) {
        let _one_at_a_time = lock(&self.writing);
        let good = lock(&self.good).clone();
        let (Some(snapshot), Some(text)) = (&self.snapshot, good) else {
            return;
        };
        let written = snapshot.write(&text);
        self.metrics
            .snapshot(self.place.kind.name(), written.is_ok());
        if let Err(error) = written {
            let path = snapshot.path().display();
            tracing::warn!(%path, %error, "no snapshot; without one a restart needs the API server");
        }
    }

    /// The copy of an earlier document in force, if there is any.
    pub(crate) async fn copy(&self) -> Option<String> {
        let snapshot = self.snapshot.clone()?;
        let path = snapshot.path().display().to_string();
        let read = background::run(move || snapshot.read()).await.ok()?;
        read.unwrap_or_else(|error| {
            tracing::warn!(path, %error, "a snapshot cannot be read");
            None
        })
    }

    /// Where the copy is.
    pub(crate) fn copy_path(&self) -> String {
        let snapshot = self.snapshot.as_ref();
        snapshot.map_or_else(String::new, |snapshot| {
            snapshot.path().display().to_string()
        })
    }

    /// What the ConfigMap holds cannot be put in force.
    pub(crate) fn refused(&self, problem: &str) {
        self.metrics.document(self.place.kind.name(), false);
        self.is_behind.store(true, Ordering::Release);
        let (reason, uid) = match &self.seen().held {
            Some(Held::Found(found)) => ("Refused", found.uid.clone()),
            Some(Held::Absent) => ("Missing", String::new()),
            None => ("Refused", String::new()),
        };
        self.tell(true, reason, problem.to_owned(), uid);
    }

    fn tell(&self, warning: bool, reason: &'static str, note: String, uid: String) {
        self.events.tell(News {
            warning,
            reason,
            note,
            name: self.place.name.clone(),
            uid,
        });
    }

    fn text_of(&self, held: &Held) -> Result<Option<Arc<str>>, Failure> {
        match held {
            Held::Absent => Ok(None),
            Held::Found(found) => found.text.clone().map(Some).ok_or_else(|| {
                let text = format!("{} has no key {}", self.place, self.place.kind.key());
                Failure::new(Why::Invalid, text)
            }),
        }
    }

    /// The failure that is no document.
    pub(crate) fn gone(&self) -> Failure {
        Failure::new(Why::NotFound, format!("{} is not there", self.place))
    }
}

impl Origin {
    /// How it is counted.
    fn label(self) -> &'static str {
        match self {
            Origin::Seed => "seed",
            Origin::LastGood => "last_good",
            Origin::Api => "api",
        }
    }
}

impl fmt::Display for SharedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// What is behind these locks is replaced in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
