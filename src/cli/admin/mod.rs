//! Asking a server's admin API, for all commands that do.

mod answer;
mod failed;
mod tls;

pub(super) use answer::{Answer, Problem};
pub(super) use failed::Failed;

use super::output::complain;
use super::peer::{self, env};
use super::secret;
use clap::Args;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Client, Method, Request, Url, redirect};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tls::Tls;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

const DEFAULT_ADMIN: &str = "http://127.0.0.1:8081";
const DEFAULT_PORT: u16 = 8081;
/// How long a connection may take to be open, unless there is less time for all of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: pages have a bound, and everything else is small.
const MAX_ANSWER: usize = 16 << 20;

/// Where the admin API is and how to get in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Admin API")]
pub(super) struct Admin {
    /// The server's sidecar port: http://HOST:PORT, https://HOST:PORT or HOST:PORT (default: the
    /// environment variable MCPD_ADMIN, else http://127.0.0.1:8081)
    #[arg(long, value_name = "URL", value_parser = address)]
    admin: Option<Url>,
    /// File with the bearer token (default: the token in the environment variable MCPD_ADMIN_TOKEN,
    /// else none)
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: Tls,
    /// How long each answer may take, with unit
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = peer::duration)]
    admin_timeout: Duration,
}

/// One question.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Levels of the path below `/admin/v1`.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    /// The body with its media type.
    pub(super) body: Option<(Vec<u8>, &'static str)>,
    pub(super) if_match: Option<&'a str>,
    /// Whether what is written must not be there yet.
    pub(super) only_if_absent: bool,
    pub(super) accept: Option<&'static str>,
    /// Largest answer that is read (default: [`MAX_ANSWER`]).
    pub(super) most: Option<usize>,
    /// How much longer than usual the answer may take.
    pub(super) longer: Duration,
}

/// A server's admin API, asked one question after the other.
#[derive(Debug)]
pub(super) struct Api {
    runtime: Option<Runtime>,
    client: Client,
    base: Url,
    token: Option<HeaderValue>,
    timeout: Duration,
    /// Kept from the first wait on: what is asked in turns must not miss the one between two turns.
    interrupts: Mutex<Option<Signal>>,
}

impl Admin {
    /// Gets everything ready; nothing is sent yet.
    pub(super) fn open(&self) -> Result<Api, Failed> {
        let base = self.base()?;
        let token = self.token()?;
        if token.is_some() && base.scheme() == "http" && !is_loopback(&base) {
            complain("warning: the token goes over the network unencrypted; use https or a tunnel");
        }
        Ok(Api {
            client: self.client(&base)?,
            runtime: Some(peer::runtime().map_err(Failed::from)?),
            base,
            token,
            timeout: self.admin_timeout,
            interrupts: Mutex::default(),
        })
    }

    fn base(&self) -> Result<Url, Failed> {
        match (&self.admin, env("MCPD_ADMIN")) {
            (Some(url), _) => Ok(url.clone()),
            (None, given) => address(given.as_deref().unwrap_or(DEFAULT_ADMIN))
                .map_err(|problem| Failed::usage(format!("MCPD_ADMIN: {problem}"))),
        }
    }

    fn token(&self) -> Result<Option<HeaderValue>, Failed> {
        let token = secret::token(self.token_file.as_deref(), "MCPD_ADMIN_TOKEN");
        let Some(token) = token.map_err(Failed::usage)? else {
            return Ok(None);
        };
        let header = HeaderValue::try_from(format!("Bearer {token}"));
        // What was found is ASCII that can be seen.
        let mut header =
            header.map_err(|_| Failed::usage("the token cannot be sent".to_owned()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    fn client(&self, base: &Url) -> Result<Client, Failed> {
        let builder = Client::builder()
            .user_agent(concat!("mcpd/", env!("CARGO_PKG_VERSION")))
            // A redirect would take the token to wherever it points.
            .redirect(redirect::Policy::none())
            .connect_timeout(self.admin_timeout.min(CONNECT_TIMEOUT))
            .timeout(self.admin_timeout);
        // One library for all of mcpd; set before any client looks for it. A second time changes
        // nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        self.tls.apply(builder, base)?.build().map_err(|error| {
            let cause = failed::innermost(&error);
            Failed::usage(format!("cannot prepare for {}: {cause}", base.scheme()))
        })
    }
}

/// `http://HOST:PORT`, maybe with a path before `/admin/v1`, `HOST:PORT` or `HOST`.
fn address(text: &str) -> Result<Url, String> {
    const EXPECTED: &str = "write http://HOST:PORT, https://HOST:PORT or HOST:PORT";
    let full = match text.contains("://") {
        true => text.to_owned(),
        false if has_port(text) => format!("http://{text}"),
        false => format!("http://{text}:{DEFAULT_PORT}"),
    };
    let mut url = Url::parse(&full).map_err(|error| format!("{error}; {EXPECTED}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(EXPECTED.to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials do not belong here; use --token-file".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("it has a ? or #; {EXPECTED}"));
    }
    // Whoever copies the address from a log or the documentation of the API has it with its path.
    if let Some(before) = url.path().trim_end_matches('/').strip_suffix("/admin/v1") {
        let before = before.to_owned();
        url.set_path(&before);
    }
    Ok(url)
}

/// Whether `HOST:PORT` has one; colons within brackets belong to the host.
fn has_port(text: &str) -> bool {
    let behind = text.rsplit_once(']').map_or(text, |(_, behind)| behind);
    behind.contains(':') || text.contains('/')
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}

impl Api {
    /// What is asked, for messages.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Asks, and reads all of the answer.
    ///
    /// # Errors
    /// No answer, one that is not the admin API's, or a refusal.
    pub(super) fn ask(&self, call: Call<'_>) -> Result<Answer, Failed> {
        let writes = call.method != Method::GET;
        let most = call.most.unwrap_or(MAX_ANSWER);
        let timeout = self.timeout + call.longer;
        let request = self.request(call);
        let asked = answer::ask(&self.client, request, self.address(), most);
        let asked = self
            .wait(asked)
            .unwrap_or_else(|| Err(Failed::interrupted(writes)));
        asked.map_err(|failed| failed.after(timeout, writes))
    }

    /// GET of this path.
    ///
    /// # Errors
    /// As [`Api::ask`].
    pub(super) fn get(&self, path: &[&str]) -> Result<Answer, Failed> {
        self.ask(Call {
            path,
            ..Call::default()
        })
    }

    /// GET of a page beside the admin API, such as `/metrics`: its status and text, up to as many
    /// bytes as any answer may have. Such pages need no token and get none.
    ///
    /// # Errors
    /// No answer.
    #[cfg(feature = "top")]
    pub(super) fn page(&self, path: &str, query: Option<&str>) -> Result<(u16, String), Failed> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(path);
        }
        url.set_query(query);
        let mut request = Request::new(Method::GET, url);
        *request.timeout_mut() = Some(self.timeout);
        let asked = answer::page(&self.client, request, self.address(), MAX_ANSWER);
        let asked = self
            .wait(asked)
            .unwrap_or_else(|| Err(Failed::interrupted(false)));
        asked.map_err(|failed| failed.after(self.timeout, false))
    }

    /// Waits; false if Ctrl-C ended that.
    pub(super) fn pause(&self, time: Duration) -> bool {
        self.wait(async move { tokio::time::sleep(time).await })
            .is_some()
    }

    /// `None` for Ctrl-C, also for one that came since the last wait.
    fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.as_ref()?.block_on(async {
            let mut interrupts = self.interrupts.lock().await;
            if interrupts.is_none() {
                *interrupts = signal(SignalKind::interrupt()).ok();
            }
            tokio::select! {
                done = future => Some(done),
                Some(Some(())) = async { Some(interrupts.as_mut()?.recv().await) } => None,
            }
        })
    }

    fn request(&self, call: Call<'_>) -> Request {
        let mut url = self.base.clone();
        // Only a URL without a host has no segments, and those are refused.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments
                .pop_if_empty()
                .extend(["admin", "v1"])
                .extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request = Request::new(call.method, url);
        *request.timeout_mut() = Some(self.timeout + call.longer);
        let headers = request.headers_mut();
        let accept = call.accept.unwrap_or("application/json");
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(tag) = call
            .if_match
            .and_then(|tag| HeaderValue::from_str(tag).ok())
        {
            headers.insert(IF_MATCH, tag);
        }
        if call.only_if_absent {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        if let Some((body, content_type)) = call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            *request.body_mut() = Some(body.into());
        }
        request
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // A look-up of a name may still be running; nobody waits for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_scheme() {
        for (text, url) in [
            ("127.0.0.1:8081", "http://127.0.0.1:8081/"),
            ("localhost:1", "http://localhost:1/"),
            ("[::1]:8081", "http://[::1]:8081/"),
            ("https://ops.example/mcpd/", "https://ops.example/mcpd/"),
            ("localhost", "http://localhost:8081/"),
            ("[::1]", "http://[::1]:8081/"),
            ("http://localhost", "http://localhost/"),
            ("http://h:1/admin/v1/", "http://h:1/"),
            ("h:1/x/admin/v1", "http://h:1/x"),
        ] {
            assert_eq!(address(text).unwrap().as_str(), url);
        }
        for text in [
            "",
            "ftp://a",
            "http://",
            "a b",
            "http://u:p@h",
            "http://h?x",
            "h#y",
        ] {
            let problem = address(text).unwrap_err();
            assert!(!problem.contains("p@"), "{problem}");
        }
    }

    #[test]
    fn loopback_is_known_in_all_its_forms() {
        let is = |text: &str| is_loopback(&address(text).unwrap());
        assert!(is("127.0.0.1:1") && is("127.8.0.1:1") && is("[::1]:1") && is("localhost:1"));
        assert!(!is("10.0.0.1:1") && !is("localhost.example:1"));
    }
}
