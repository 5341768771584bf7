//! What a handler of type `nats` is told.

use super::secrets::Credentials;
use super::subject;
use crate::handler::TlsFiles;
use crate::handler::template::Template;
use async_nats::ServerAddr;
use std::time::Duration;

/// Connecting takes no longer, unless it is told otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that wait for a reply: four times what one connection of a client may have in flight by
/// default.
const MAX_IN_FLIGHT: usize = 1024;
/// Schemes of the protocol of NATS itself.
const SCHEMES: [&str; 2] = ["nats", "tls"];

/// What is done with a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NatsMode {
    /// A service is asked; its reply is the answer.
    #[default]
    Request,
    /// It is published; the answer, which is empty, comes when the NATS server has it.
    Publish,
    /// It is published to a stream; the answer comes when that has stored it.
    JetStream,
}

/// Where NATS is, and what goes there.
#[derive(Debug, Clone, PartialEq)]
pub struct NatsSettings {
    pub(super) servers: Vec<ServerAddr>,
    pub(crate) subject: Template,
    /// What is done with requests.
    pub mode: NatsMode,
    /// What is shown to the server.
    pub credentials: Option<Credentials>,
    /// TLS, which is then spoken even to a server that does not ask for it, by files that are read for
    /// every connection; without it the address or the server decides.
    pub tls: Option<TlsFiles>,
    /// The longest that connecting may take. Requests that come before there was a connection wait
    /// for it as long.
    pub connect_timeout: Duration,
    /// Messages that may wait for a reply; one more is OVERLOADED.
    pub max_in_flight: usize,
}

impl NatsSettings {
    /// Servers as `nats://host:4222` or `tls://host:4222`, and the template of the subject.
    ///
    /// # Errors
    /// Which of them is wrong, and how.
    pub fn new(servers: &[&str], subject: &str) -> Result<NatsSettings, String> {
        if servers.is_empty() {
            return Err("there is no server; name one".to_owned());
        }
        let servers = servers.iter().map(|text| server(text));
        NatsSettings::of(servers.collect::<Result<_, _>>()?, subject)
    }

    /// The same with addresses that were read already.
    pub(crate) fn of(servers: Vec<ServerAddr>, subject: &str) -> Result<NatsSettings, String> {
        Ok(NatsSettings {
            servers,
            subject: subject_of(subject)?,
            mode: NatsMode::default(),
            credentials: None,
            tls: None,
            connect_timeout: CONNECT_TIMEOUT,
            max_in_flight: MAX_IN_FLIGHT,
        })
    }

    /// Hosts and ports of the servers.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let servers = self.servers.iter();
        servers
            .map(|one| format!("{}:{}", one.host(), one.port()))
            .collect()
    }
}

/// Reads the address of a server.
pub(crate) fn server(text: &str) -> Result<ServerAddr, String> {
    let shape = "write nats://host:4222, or tls://host:4222";
    let address = text.parse::<ServerAddr>();
    // Nothing of it is repeated: somebody may have written a password there.
    let address = address.map_err(|_| format!("is no address of a NATS server; {shape}"))?;
    if address.has_user_pass() || address.password().is_some() {
        let text = "holds a name or password; put them into files, and name those";
        return Err(text.to_owned());
    }
    if !SCHEMES.contains(&address.scheme()) || address.host().is_empty() {
        return Err(format!("is no address that is spoken to here; {shape}"));
    }
    Ok(address)
}

/// Reads the template of subjects.
fn subject_of(text: &str) -> Result<Template, String> {
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    match subject::problem(&template) {
        None => Ok(template),
        Some(problem) => Err(problem.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_nats_and_hold_no_secrets() {
        for good in ["nats://a:4222", "tls://a", "a:4222", "nats://[::1]:4222"] {
            assert!(server(good).is_ok(), "{good}");
        }
        for bad in [
            "nats://ada:s3cret@a:4222",
            "nats://s3cret@a",
            "nats://:s3cret@a",
            "ws://a",
            "http://a",
            "nats://",
        ] {
            let problem = server(bad).unwrap_err();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }
}
