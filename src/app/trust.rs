//! Who clients are: from the principals document, and from the keys of JWTs, to what is in force, again
//! whenever they change.

use super::keys::{self, Endpoint, Source};
use super::source;
use super::watched::Watch;
use crate::admin::{DocumentStatus, TrustStatus};
use crate::auth::{Auth, Jwt, JwtRules, KeySet, MAX_BYTES, Policy};
use crate::config::{Config, JwtConfig};
use crate::conn::{Order, Registry};
use crate::files;
use crate::message::Peer;
use crate::telemetry::ProcessMetrics;
use mcpd_proto::GoAwayReason;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long after a look for keys that brought none there is another.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long after a change connections are looked at once more: longer than letting one in takes.
const ONCE_MORE: Duration = Duration::from_secs(1);

/// What is in force, where it comes from, and who is to know when it changes.
pub(super) struct Trust {
    pub(super) auth: Arc<Auth>,
    principals: Option<source::Source>,
    keys: Option<Source>,
    registry: Arc<Registry>,
    metrics: ProcessMetrics,
    status: watch::Sender<TrustStatus>,
    grace: Duration,
}

impl Trust {
    /// # Errors
    /// Keys are to be got from a URL, and there is no HTTP client to be had.
    pub(super) fn new(
        config: &Config,
        principals: Option<source::Source>,
        registry: Arc<Registry>,
        metrics: ProcessMetrics,
    ) -> Result<Trust, String> {
        let jwt = &config.auth.jwt;
        let keys = Source::of(jwt)?;
        let asks = matches!(keys, Some(Source::Url(_)));
        let judge = keys.is_some().then(|| Jwt::new(rules(jwt), asks));
        let status = TrustStatus {
            principals: principals.as_ref().map(|_| DocumentStatus::default()),
            keys: keys.as_ref().map(|_| DocumentStatus::default()),
        };
        Ok(Trust {
            auth: Arc::new(Auth::new(judge)),
            principals,
            keys,
            registry,
            metrics,
            status: watch::Sender::new(status),
            grace: config.goaway.grace,
        })
    }

    pub(super) fn status(&self) -> watch::Receiver<TrustStatus> {
        self.status.subscribe()
    }

    /// Puts in force what the configuration names, before anybody connects.
    ///
    /// # Errors
    /// It cannot be read, or is not valid.
    pub(super) async fn load(&self) -> Result<(), String> {
        if let Some(source) = &self.principals {
            self.load_principals(source).await?;
        }
        if let Some(source) = &self.keys {
            self.take_keys(source, &source.get().await)?;
        }
        Ok(())
    }

    /// Takes what documents and keys are whenever they are something else, for as long as the process
    /// runs.
    pub(super) fn watch(self: &Arc<Self>) {
        if let Some(source) = self.principals.clone() {
            tokio::spawn(Arc::clone(self).watch_principals(source));
        }
        match self.keys.clone() {
            Some(Source::File(path, max_bytes)) => {
                tokio::spawn(Arc::clone(self).watch_file(path, max_bytes));
            }
            Some(Source::Url(endpoint)) => {
                tokio::spawn(Arc::clone(self).watch_url(endpoint));
            }
            None => {}
        }
    }

    /// A copy of an earlier document has to do only while nobody can be asked whether there is another. One that
    /// is gone or not valid may have been taken away from somebody.
    async fn load_principals(&self, source: &source::Source) -> Result<(), String> {
        let found = match source.first().await {
            Ok(found) => found.ok_or_else(|| format!("{source} is not there")),
            Err(nothing) if nothing.unasked => {
                let problem = nothing.problem;
                let copy = source.copy().await;
                let (copy, place) = copy.ok_or_else(|| problem.clone())?;
                tracing::warn!(place, problem, "principals of an earlier start have to do");
                Ok(copy)
            }
            Err(nothing) => Err(nothing.problem),
        };
        self.take_principals(source, &found)
    }

    /// Waits for a reason to try [`Trust::load`] again: there are other principals. Never ends when they are not
    /// what is missing. Cancel safe.
    pub(super) async fn may_load(&self) {
        let is_missing = {
            let status = self.status.borrow();
            let known = status.principals.as_ref();
            known.is_some_and(|known| known.live.is_none())
        };
        match &self.principals {
            Some(source) if is_missing => source.first_may_come().await,
            _ => std::future::pending().await,
        }
    }

    async fn watch_principals(self: Arc<Self>, source: source::Source) {
        loop {
            let found = source.changed().await;
            if self.take_principals(&source, &found).is_ok() {
                self.reauthenticate();
            }
        }
    }

    async fn watch_file(self: Arc<Self>, path: PathBuf, max_bytes: usize) {
        let source = Source::File(path.clone(), max_bytes);
        let mut watch = Watch::new();
        loop {
            watch.tick().await;
            let path = path.clone();
            let Some(found) = watch.look(move || keys::read(&path, max_bytes)).await else {
                continue;
            };
            if self.take_keys(&source, found) == Ok(true) {
                self.reauthenticate();
            }
        }
    }

    /// The start has just looked.
    async fn watch_url(self: Arc<Self>, endpoint: Endpoint) {
        let (mut good, mut wait) = (Instant::now(), endpoint.refresh);
        let (refresh, max_stale) = (endpoint.refresh, endpoint.max_stale);
        let source = Source::Url(endpoint);
        let Some(jwt) = self.auth.jwt() else { return };
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = jwt.asked() => {}
            }
            let taken = self.take_keys(&source, &source.get().await);
            let is_stale = max_stale.is_some_and(|max| good.elapsed() >= max);
            let changed = match taken {
                Ok(changed) => {
                    (good, wait) = (Instant::now(), refresh);
                    changed
                }
                Err(_) => {
                    wait = refresh.min(LOOK_AGAIN);
                    is_stale && self.forget_keys()
                }
            };
            jwt.looked();
            if changed {
                self.reauthenticate();
            }
        }
    }

    fn take_principals(
        &self,
        source: &source::Source,
        found: &Result<Vec<u8>, String>,
    ) -> Result<(), String> {
        let policy = found.as_ref().map_err(Clone::clone).and_then(|bytes| {
            let wrong = |problem| format!("{source}: {problem}");
            Ok((Policy::parse(bytes).map_err(wrong)?, bytes))
        });
        self.metrics.principals(policy.is_ok());
        let taken = policy.map(|(policy, bytes)| {
            let principals = policy.len();
            // The first look is at what the start has read, and a comment changes nothing.
            if !self.auth.has(&policy) {
                self.auth.set_policy(policy);
                tracing::info!(principals, "principals are in force");
            }
            source.in_force(bytes);
            format!("{principals} principals, from {}", source.place())
        });
        let taken = taken.inspect_err(|problem| {
            tracing::error!(%problem, "principals refused, the last good ones stay");
            source.refused(problem);
        });
        self.show(|status| status.principals.get_or_insert_default(), taken)
    }

    /// Whether they are others than before.
    fn take_keys(&self, source: &Source, found: &Result<Vec<u8>, String>) -> Result<bool, String> {
        let keys = found.as_ref().map_err(Clone::clone);
        let keys = keys.and_then(|bytes| parse(source, bytes));
        self.metrics.keys(keys.is_ok());
        let Some(jwt) = self.auth.jwt() else {
            return Ok(false);
        };
        let changed = keys.as_ref().is_ok_and(|keys| !jwt.has(keys));
        let taken = keys.map(|keys| {
            let (known, unused) = (keys.len(), keys.unused);
            if changed {
                tracing::info!(keys = known, unused, %source, "keys of JWTs are in force");
                jwt.set_keys(Some(keys));
            }
            format!("{known} keys, from {source}")
        });
        if let Err(problem) = &taken
            && self.is_news(problem)
        {
            tracing::error!(%problem, "keys of JWTs refused, the last good ones stay");
        }
        let shown = self.show(|status| status.keys.get_or_insert_default(), taken);
        shown.map(|()| changed)
    }

    /// They have not been confirmed for longer than they are good. Whether there were any.
    fn forget_keys(&self) -> bool {
        let Some(jwt) = self.auth.jwt().filter(|jwt| jwt.has_keys()) else {
            return false;
        };
        jwt.set_keys(None);
        tracing::error!("the keys of JWTs are too old: no JWT is good until there are others");
        self.status.send_modify(|status| {
            status.keys.get_or_insert_default().live = None;
        });
        true
    }

    /// An endpoint that is down is down at every look.
    fn is_news(&self, problem: &str) -> bool {
        let status = self.status.borrow();
        let known = status
            .keys
            .as_ref()
            .and_then(|keys| keys.problem.as_deref());
        known != Some(problem)
    }

    /// Shows what is in force, or why the newest is not.
    fn show(
        &self,
        which: impl Fn(&mut TrustStatus) -> &mut DocumentStatus,
        taken: Result<String, String>,
    ) -> Result<(), String> {
        self.status.send_modify(|status| {
            let status = which(status);
            match &taken {
                Ok(live) => {
                    status.live = Some(live.clone());
                    status.problem = None;
                }
                Err(problem) => status.problem = Some(problem.clone()),
            }
        });
        taken.map(drop)
    }

    /// Asks those to connect again whose credential is none any more; and once more a moment later, for
    /// a data thread may be letting somebody in by what was in force before.
    fn reauthenticate(self: &Arc<Self>) {
        let told = self.ask_bad_ones();
        if told > 0 {
            tracing::info!(told, "connections are asked to authenticate again");
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ONCE_MORE).await;
            this.ask_bad_ones();
        });
    }

    /// How many there are. Whoever was asked before takes no notice.
    fn ask_bad_ones(&self) -> usize {
        let order = Order::GoAway {
            reason: GoAwayReason::Reauthenticate,
            retry_after: Duration::ZERO,
            refuse_at: Instant::now() + self.grace,
        };
        // One that has not said a word yet has its HELLO judged by what is in force then.
        let bad = |peer: &Peer| {
            let who = peer.identity.as_deref();
            who.is_some_and(|who| !self.auth.still_good(who))
        };
        self.registry.order_those(bad, &order)
    }
}

/// What keeps the documents from being put in force. Keys at a URL are not looked at.
pub(super) fn problem(config: &Config) -> Option<String> {
    let auth = &config.auth;
    let principals = auth.principals.as_deref().map(|path| {
        let wrong = |problem| format!("auth.principals: {}: {problem}", path.display());
        read(path).and_then(|bytes| Policy::parse(&bytes).map(drop).map_err(wrong))
    });
    let keys = auth.jwt.jwks_file.as_ref().map(|path| {
        let (max_bytes, source) = (auth.jwt.max_bytes, path.clone());
        let source = Source::File(source, max_bytes);
        keys::read(path, max_bytes).and_then(|bytes| parse(&source, &bytes).map(drop))
    });
    let mut checked = principals.into_iter().chain(keys);
    checked.find_map(Result::err)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = files::read(path, MAX_BYTES);
    read.map_err(|error| format!("auth.principals: {}: {error}", path.display()))
}

fn parse(source: &Source, bytes: &[u8]) -> Result<KeySet, String> {
    let keys = match bytes.len() > source.max_bytes() {
        true => Err("is larger than auth.jwt.max_bytes".to_owned()),
        false => KeySet::parse(bytes),
    };
    keys.map_err(|problem| format!("{}: {source}: {problem}", source.key()))
}

fn rules(config: &JwtConfig) -> JwtRules {
    JwtRules {
        issuer: config.issuer.clone().unwrap_or_default(),
        audiences: config.audience.clone(),
        leeway: config.leeway,
        algorithms: config.algorithms.clone(),
        subject_claim: config.subject_claim.clone(),
    }
}
