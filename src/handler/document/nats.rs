//! Entries of type `nats`.

use super::tls;
use super::value::{duration, list, number, of_text, parsed, path, set};
use crate::handler::nats::{NatsCredentials, NatsMode, NatsSettings, server};
use crate::router::document::reading::{self, Fields, Report};

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
    nats.tls = tls::files(fields, report);
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

#[cfg(test)]
mod tests {
    use super::super::Document;
    use super::*;
    use crate::handler::TlsFiles;
    use std::path::PathBuf;
    use std::time::Duration;

    fn parse(keys: &str) -> Result<NatsSettings, String> {
        let text = format!(
            "apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n  - name: bus\n    type: nats\n    {}\n",
            keys.replace('\n', "\n    ")
        );
        let document = Document::parse(text.as_bytes())?;
        match &document.handlers[0].kind {
            super::super::kind::Kind::Nats(nats) => Ok((**nats).clone()),
            other => panic!("{other:?}"),
        }
    }

    const USUAL: &str = "servers: [nats://a]\nsubject: x";

    #[test]
    fn every_key_is_read() {
        let mut expected = NatsSettings::new(&["nats://a"], "x").unwrap();
        assert_eq!(parse(USUAL).unwrap(), expected);
        let file = |name: &str| PathBuf::from(name);
        for (keys, credentials) in [
            ("token_file: t", NatsCredentials::Token(file("t"))),
            ("credentials_file: c", NatsCredentials::File(file("c"))),
            (
                "user: ada\npassword_file: p",
                NatsCredentials::Password("ada".to_owned(), file("p")),
            ),
        ] {
            expected.credentials = Some(credentials);
            assert_eq!(parse(&format!("{USUAL}\n{keys}")).unwrap(), expected);
        }
        let nats = parse(
            "servers: [nats://a, \"tls://b:4333\"]\nsubject: x.{topic}\nmode: jetstream\n\
             tls: {ca_file: c, cert_file: d, key_file: e}\nconnect_timeout: 2s\nmax_in_flight: 7",
        );
        let mut expected = NatsSettings::new(&["nats://a", "tls://b:4333"], "x.{topic}").unwrap();
        expected.mode = NatsMode::JetStream;
        expected.tls = Some(TlsFiles {
            ca_file: Some(file("c")),
            client_files: Some((file("d"), file("e"))),
        });
        expected.connect_timeout = Duration::from_secs(2);
        expected.max_in_flight = 7;
        assert_eq!(nats.unwrap(), expected);
    }

    #[test]
    fn every_problem_is_told_by_its_key_and_no_secret_is() {
        for (keys, problem) in [
            ("subject: x", "servers: is missing"),
            ("servers: [a]", "subject: is missing"),
            ("servers: []\nsubject: x", "servers: names no server"),
            (
                "servers: [\"nats://ada:s3cret@a\"]\nsubject: x",
                "servers[0]: holds a name or password",
            ),
            ("servers: [a]\nsubject: a b", "subject: has white space"),
            ("servers: [a]\nsubject: 'x.{0}'", "subject: has `{0}`"),
        ] {
            let told = parse(keys).unwrap_err();
            assert!(told.contains(problem), "{keys}: {told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
        for (keys, problem) in [
            ("mode: ask", "mode: is no mode"),
            ("user: ada", "user: is given alone"),
            ("password_file: p", "password_file: is given alone"),
            (
                "token_file: t\nuser: ada\npassword_file: p",
                "is given alone",
            ),
            ("tls: {cert_file: c}", "tls: has one of cert_file"),
            ("tls: {cafile: c}", "did you mean `ca_file`?"),
            ("connect_timeout: 5", "connect_timeout: "),
            ("max_in_flight: 0", "max_in_flight: `0` is out of range"),
            ("tokenfile: t", "did you mean `token_file`?"),
        ] {
            let told = parse(&format!("{USUAL}\n{keys}")).unwrap_err();
            assert!(told.contains(problem), "{keys}: {told}");
        }
    }
}
