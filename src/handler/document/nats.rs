//! Entries of type `nats`.

use super::value::{duration, list, number, of_text, parsed, section, set};
use crate::handler::nats::{NatsCredentials, NatsMode, NatsSettings, NatsTls, server};
use crate::router::document::reading::{self, Fields, Report};
use std::path::PathBuf;

pub(super) const KEYS: &[&str] = &[
    "name",
    "type",
    "concurrency",
    "queue",
    "servers",
    "subject",
    "mode",
    "token_file",
    "user",
    "password_file",
    "credentials_file",
    "tls",
    "connect_timeout",
    "max_in_flight",
];

/// More servers than any cluster has that one client is told of.
const MAX_SERVERS: usize = 64;

const MODES: &[(&str, NatsMode)] = &[
    ("request", NatsMode::Request),
    ("publish", NatsMode::Publish),
    ("jetstream", NatsMode::JetStream),
];

pub(super) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<NatsSettings> {
    let place = fields.require("servers", report);
    let servers = list(fields, "servers", MAX_SERVERS, server, report);
    if servers.as_ref().is_some_and(Vec::is_empty)
        && let Some(place) = place
    {
        reading::wrong(&place, "names no server; write at least one", report);
    }
    let subject = fields.require("subject", report)?;
    let made = |text: &str| NatsSettings::of(servers.clone().unwrap_or_default(), text);
    let mut nats = of_text(&subject, made, report)?;
    set(&mut nats.mode, parsed(fields, "mode", mode, report));
    nats.credentials = credentials(fields, report);
    nats.tls = tls(fields, report);
    let connect = duration(fields, "connect_timeout", report);
    set(&mut nats.connect_timeout, connect);
    let max = number(fields, "max_in_flight", 1..=1_000_000, report);
    set(&mut nats.max_in_flight, max.map(|max| max as usize));
    Some(nats)
}

fn mode(text: &str) -> Result<NatsMode, String> {
    let found = MODES.iter().find(|(word, _)| *word == text);
    let found = found.map(|(_, mode)| *mode);
    found.ok_or_else(|| "is no mode; write request, publish or jetstream".to_owned())
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text.is_empty() {
        true => Err("is empty; name a file".to_owned()),
        false => Ok(PathBuf::from(text)),
    }
}

fn credentials(fields: &Fields<'_>, report: &mut Report) -> Option<NatsCredentials> {
    let token = fields.get("token_file");
    let user = fields.get("user");
    let password = fields.get("password_file");
    let file = fields.get("credentials_file");
    match (token, user, password, file) {
        (None, None, None, None) => None,
        (Some(token), None, None, None) => {
            of_text(&token, path, report).map(NatsCredentials::Token)
        }
        (None, None, None, Some(file)) => of_text(&file, path, report).map(NatsCredentials::File),
        (None, Some(user), Some(password), None) => {
            let name = reading::text(&user, report).map(str::to_owned);
            let file = of_text(&password, path, report);
            Some(NatsCredentials::Password(name?, file?))
        }
        (token, user, password, file) => {
            let given = [token, user, password, file].into_iter().flatten();
            let message = "is given alone or beside another; keep token_file, or credentials_file, or user and \
                 password_file";
            reading::wrong(&given.last()?, message, report);
            None
        }
    }
}

fn tls(fields: &Fields<'_>, report: &mut Report) -> Option<NatsTls> {
    let place = fields.get("tls")?;
    let known = &["ca_file", "cert_file", "key_file"];
    let fields = section(fields, "tls", known, report)?;
    let mut file = |key| parsed(&fields, key, path, report);
    let (ca_file, certificate, key) = (file("ca_file"), file("cert_file"), file("key_file"));
    if fields.get("cert_file").is_some() != fields.get("key_file").is_some() {
        let message = "has one of cert_file and key_file; set both, or none";
        reading::wrong(&place, message, report);
    }
    Some(NatsTls {
        ca_file,
        client_files: certificate.zip(key),
    })
}

/// What operators are shown of it.
pub(super) fn shown(nats: &NatsSettings) -> Vec<(&'static str, String)> {
    let mode = MODES.iter().find(|(_, mode)| *mode == nats.mode);
    vec![
        ("servers", nats.addresses().join(", ")),
        ("subject", nats.subject.to_string()),
        ("mode", mode.map_or("", |(word, _)| word).to_owned()),
        ("max_in_flight", nats.max_in_flight.to_string()),
    ]
}
