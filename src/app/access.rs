//! Who may use the admin API: from the configuration and the file of tokens to the rules, again
//! whenever one of them changes.

use super::control::Shared;
use crate::admin::{Api, Loopback, MAX_TOKENS_BYTES, Rules, Tokens};
use crate::background;
use crate::config::{Config, LoopbackAccess};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often the file of tokens is read: it is small, and a mount that is swapped as a whole shows
/// at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The rules of a configuration.
///
/// # Errors
/// What is wrong with the tokens, by the key that leads to them.
pub(super) fn rules(config: &Config) -> Result<Rules, String> {
    let file = config.admin.tokens_file.as_deref().map(read).transpose();
    rules_with(config, file?.as_deref())
}

fn rules_with(config: &Config, file: Option<&[u8]>) -> Result<Rules, String> {
    let admin = &config.admin;
    let in_file = parse("admin.tokens_file", file)?;
    let named = file.is_some() || admin.tokens.is_some();
    let in_text = parse("admin.tokens", admin.tokens.as_ref().map(String::as_bytes))?;
    let tokens = in_file.join(in_text);
    Ok(Rules {
        tokens: tokens.map_err(|problem| format!("admin.tokens: {problem}"))?,
        loopback: match admin.loopback {
            LoopbackAccess::Never => Loopback::NeedsToken,
            // Who withdraws the last token wants to let nobody in, rather than everybody on this machine.
            LoopbackAccess::WithoutTokens if named => Loopback::NeedsToken,
            LoopbackAccess::WithoutTokens => Loopback::FreeWithoutTokens,
            LoopbackAccess::Always => Loopback::Free,
        },
        hosts: admin.hosts.clone(),
        timeout: admin.timeout,
        max_concurrent: admin.max_concurrent,
    })
}

fn parse(key: &str, text: Option<&[u8]>) -> Result<Tokens, String> {
    let Some(text) = text else {
        return Ok(Tokens::default());
    };
    Tokens::parse(text).map_err(|problem| format!("{key}: {problem}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: io::Error| format!("admin.tokens_file: {}: {error}", path.display());
    let mut bytes = Vec::new();
    // Does not wait for a writer, should it be a named pipe.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path);
    let is_file = |file: &File| file.metadata().is_ok_and(|meta| meta.is_file());
    let file = file.map_err(failed)?;
    if !is_file(&file) {
        return Err(failed(io::Error::other("is no regular file")));
    }
    let mut limited = file.take(MAX_TOKENS_BYTES as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Takes what the file of tokens says whenever it says something else, for as long as the process
/// runs. While it is invalid or gone, the last good tokens stay.
pub(super) async fn watch(api: Arc<Api>, shared: Arc<Shared>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<Look> = None;
    loop {
        looks.tick().await;
        let config = shared.config();
        let Some(path) = config.admin.tokens_file.clone() else {
            before = None;
            continue;
        };
        let Ok(found) = background::run(move || read(&path)).await else {
            continue;
        };
        let look = Look { config, found };
        // The first look counts, too: the file may have changed since the start has read it.
        if before.is_none_or(|before| before.differs(&look)) {
            take(&api, &look.config, &look.found);
        }
        before = Some(look);
    }
}

/// What the rules were made of.
struct Look {
    config: Arc<Config>,
    found: Result<Vec<u8>, String>,
}

impl Look {
    /// Another configuration counts, too: a reload beside a look may have had its rules replaced by
    /// those of the old one.
    fn differs(&self, newer: &Look) -> bool {
        !Arc::ptr_eq(&self.config, &newer.config) || self.found != newer.found
    }
}

fn take(api: &Api, config: &Config, found: &Result<Vec<u8>, String>) {
    let rules = found.as_ref().map_err(Clone::clone);
    match rules.and_then(|file| rules_with(config, Some(file))) {
        Ok(rules) => {
            let tokens = rules.tokens.len();
            let others = rules.tokens != api.rules().tokens;
            api.set_rules(rules);
            if others {
                tracing::info!(tokens, "the tokens of the admin API are read anew");
            }
        }
        Err(problem) => {
            tracing::error!(%problem, "tokens refused, the last good ones stay");
        }
    }
}
