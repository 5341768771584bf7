//! Whom the next server is taken for, and what it is shown: certificates and a token, from files that may change.

use super::settings::McpSettings;
use crate::background;
use crate::handler::tls::certified_name;
use mcpd_client::{ConnectOptions, Connection, Error, Tls, TokenFile};
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How often the log tells of trouble with one server: a connection is tried several times a second.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What connections to the next servers are opened with. The files are read for each of them; while one is
/// no good, what was in it before is used.
#[derive(Clone)]
pub(super) struct Trust {
    options: ConnectOptions,
    tls: Option<Tls>,
    token: Option<TokenFile>,
}

/// The way to one server.
pub(super) struct Way {
    addr: SocketAddr,
    trust: Trust,
    told: Mutex<Option<Instant>>,
}

impl Trust {
    /// Nothing is read yet.
    pub(super) fn new(settings: &McpSettings) -> Trust {
        let token = settings.token_file.as_ref().map(TokenFile::new);
        let options = settings.options();
        let options = match &token {
            Some(token) => options.credentials(token.clone()),
            None => options,
        };
        let tls = settings.tls.as_ref().map(|settings| {
            let mut tls = Tls::new();
            if let Some(path) = &settings.files.ca_file {
                tls = tls.ca_file(path);
            }
            if let Some((certificate, key)) = &settings.files.client_files {
                tls = tls.client_cert_files(certificate, key);
            }
            tls
        });
        Trust {
            options,
            tls,
            token,
        }
    }

    /// Reads the files, which may block.
    ///
    /// # Errors
    /// What is wrong with one, by its key.
    pub(super) fn load(&self) -> Result<(), String> {
        let tls = self.tls.as_ref().map_or(Ok(()), Tls::load);
        tls.map_err(|error| format!("tls: {error}"))?;
        let token = self.token.as_ref().map_or(Ok(()), TokenFile::load);
        token.map_err(|error| format!("token_file: {error}"))
    }

    /// The way to a server whose certificate is to be for this name, else for its address.
    pub(super) fn way(&self, addr: SocketAddr, name: Option<&str>) -> Way {
        let mut trust = self.clone();
        if let Some(name) = name {
            let named = |tls: Tls| tls.server_name(certified_name(name));
            trust.tls = trust.tls.map(named);
        }
        Way {
            addr,
            trust,
            told: Mutex::default(),
        }
    }
}

impl Way {
    /// Opens a connection that lives on that runtime, else on the current one.
    ///
    /// # Errors
    /// There is none. The words are fit for clients: they tell of no file that was good once.
    pub(super) async fn connect(&self, home: Option<&Handle>) -> Result<Connection, Error> {
        let trust = self.trust.clone();
        let files = background::run(move || trust.load()).await;
        let options = self.trust.options.clone();
        let options = match home {
            Some(home) => options.home(home.clone()),
            None => options,
        };
        let connected = match self.trust.tls.clone() {
            Some(tls) => {
                let address = format!("mcps://{}", self.addr);
                Connection::connect(address, options.tls(tls)).await
            }
            None => Connection::connect(self.addr.to_string(), options).await,
        };
        // A file comes first: it may be why nothing else works.
        if let Ok(Err(problem)) = files {
            self.tell(&problem);
        } else if let Err(error) = &connected {
            self.tell(&error.to_string());
        }
        connected
    }

    fn tell(&self, problem: &str) {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| now >= at + TELL_EVERY) {
            *told = Some(now);
            tracing::warn!(server = %self.addr, problem, "trouble with connecting to the next server");
        }
    }
}
