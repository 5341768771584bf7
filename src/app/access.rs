//! Who may use the admin API: from the configuration and the file of tokens to the rules, again
//! whenever one of them changes.

use super::control::Shared;
use super::watched::Watch;
use crate::admin::{Api, Loopback, MAX_TOKENS_BYTES, Rules, Tokens};
use crate::config::{Config, LoopbackAccess};
use crate::files;
use std::path::Path;
use std::sync::Arc;

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
    let failed = |error| format!("admin.tokens_file: {}: {error}", path.display());
    files::read(path, MAX_TOKENS_BYTES).map_err(failed)
}

/// Takes what the file of tokens says whenever it says something else, for as long as the process
/// runs. While it is invalid or gone, the last good tokens stay.
pub(super) async fn watch(api: Arc<Api>, shared: Arc<Shared>) {
    let mut watch = Watch::new();
    loop {
        watch.tick().await;
        let config = shared.config();
        let Some(path) = config.admin.tokens_file.clone() else {
            watch.forget();
            continue;
        };
        let look = move || Look {
            config,
            found: read(&path),
        };
        if let Some(look) = watch.look(look).await {
            take(&api, &look.config, &look.found);
        }
    }
}

/// What the rules were made of.
struct Look {
    config: Arc<Config>,
    found: Result<Vec<u8>, String>,
}

impl PartialEq for Look {
    /// Another configuration counts, too: a reload beside a look may have had its rules replaced by
    /// those of the old one.
    fn eq(&self, other: &Look) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.found == other.found
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
