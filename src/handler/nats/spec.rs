//! A handler of type `nats` as the handlers document has it.
//!
//! ```yaml
//! - name: orders
//!   type: nats
//!   servers: ["nats://nats-0:4222", "nats://nats-1:4222"]
//!   subject: "orders.{2}"
//!   mode: request                   # or publish, or jetstream
//!   user: ada                       # with password_file; or token_file, or credentials_file
//!   password_file: /etc/mcpd/nats/password
//!   tls: {ca_file: /etc/mcpd/nats/ca.pem, cert_file: cert.pem, key_file: key.pem}
//!   connect_timeout: 5s
//!   max_in_flight: 1024
//! ```

use super::secrets::Credentials;
use super::settings::{
    CONNECT_TIMEOUT, MAX_IN_FLIGHT, NatsMode, NatsSettings, NatsTls, server, subject_of,
};
use crate::handler::fields::{duration, path, word};
use crate::router::document::reading::{self, Field, Fields, Report, items, number, text};
use async_nats::ServerAddr;
use std::time::Duration;

/// The keys of a handler of this type.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "type",
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

const TLS_KEYS: &[&str] = &["ca_file", "cert_file", "key_file"];

/// More servers than any cluster has that one client is told of.
const MAX_SERVERS: usize = 64;

const MODES: &[(&str, NatsMode)] = &[
    ("request", NatsMode::Request),
    ("publish", NatsMode::Publish),
    ("jetstream", NatsMode::JetStream),
];

/// Reads what a handler is told.
pub(crate) fn read(fields: &Fields<'_>, report: &mut Report) -> Option<NatsSettings> {
    let servers = fields.require("servers", report);
    let servers = servers.and_then(|field| servers_of(&field, report));
    let subject = fields.require("subject", report);
    let subject = subject.and_then(|field| {
        let written = text(&field, report)?;
        told(&field, subject_of(written), report)
    });
    let mode = fields.get("mode");
    let mode = mode.map_or(Some(NatsMode::default()), |field| {
        word(&field, MODES, report)
    });
    let credentials = credentials(fields, report);
    let tls = match fields.get("tls") {
        Some(field) => tls(field, report).map(Some),
        None => Some(None),
    };
    let range = Duration::from_millis(1)..=Duration::from_secs(60);
    let connect_timeout = fields.get("connect_timeout");
    let connect_timeout = connect_timeout.map_or(Some(CONNECT_TIMEOUT), |field| {
        duration(&field, &range, report)
    });
    let max_in_flight = fields.get("max_in_flight");
    let max_in_flight = max_in_flight.map_or(Some(MAX_IN_FLIGHT), |field| {
        number(&field, 1..=1_000_000, report)
    });
    Some(NatsSettings {
        servers: servers?,
        subject: subject?,
        mode: mode?,
        credentials: credentials?,
        tls: tls?,
        connect_timeout: connect_timeout?,
        max_in_flight: max_in_flight?,
    })
}

fn told<T>(field: &Field<'_>, result: Result<T, String>, report: &mut Report) -> Option<T> {
    result
        .map_err(|problem| reading::wrong(field, &problem, report))
        .ok()
}

fn servers_of(field: &Field<'_>, report: &mut Report) -> Option<Vec<ServerAddr>> {
    let all = items(field, report)?;
    if all.is_empty() || all.len() > MAX_SERVERS {
        let message = format!("names {} servers; write 1 to {MAX_SERVERS}", all.len());
        reading::wrong(field, &message, report);
        return None;
    }
    let read = |field: &Field<'_>| {
        let written = reading::secret_text(field, report)?;
        told(field, server(written), report)
    };
    // Every one is looked at, so that all problems are told.
    let read: Vec<_> = all.iter().map(read).collect();
    read.into_iter().collect()
}

/// `Some(None)` where there are none.
fn credentials(fields: &Fields<'_>, report: &mut Report) -> Option<Option<Credentials>> {
    let given = ["token_file", "user", "credentials_file"].map(|key| fields.get(key));
    let password = fields.get("password_file");
    match given {
        [None, None, None] if password.is_none() => Some(None),
        [Some(token), None, None] if password.is_none() => {
            Some(Some(Credentials::Token(path(&token, report)?)))
        }
        [None, None, Some(file)] if password.is_none() => {
            Some(Some(Credentials::File(path(&file, report)?)))
        }
        [None, Some(user), None] => {
            let name = text(&user, report).map(str::to_owned);
            let Some(password) = password else {
                reading::wrong(&user, "is given without password_file; set both", report);
                return None;
            };
            let file = path(&password, report);
            Some(Some(Credentials::Password(name?, file?)))
        }
        given => {
            let given = given.into_iter().flatten().chain(password).next_back();
            let message =
                "is not alone; keep token_file, credentials_file, or user and password_file";
            reading::wrong(&given?, message, report);
            None
        }
    }
}

fn tls(field: Field<'_>, report: &mut Report) -> Option<NatsTls> {
    let place = field.place();
    let fields = Fields::of(field, TLS_KEYS, report)?;
    fields.unknown(report);
    let mut file = |key: &str| fields.get(key).map(|field| path(&field, report));
    let [ca, certificate, key] = ["ca_file", "cert_file", "key_file"].map(&mut file);
    let client_files = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate?, key?)),
        _ => {
            let message = "has one of cert_file and key_file; set both, or none";
            reading::wrong_at(&place, message, report);
            return None;
        }
    };
    let ca_file = match ca {
        Some(path) => Some(path?),
        None => None,
    };
    Some(NatsTls {
        ca_file,
        client_files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn parse(text: &str) -> Result<NatsSettings, String> {
        let read = reading::whole(text.as_bytes(), 1 << 16, |field, report| {
            let fields = Fields::of(field, KEYS, report)?;
            fields.unknown(report);
            read(&fields, report)
        });
        read.map(|(settings, _)| settings)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_handler_has_sensible_defaults() {
        let settings = parse("{servers: [nats://a], subject: 'orders.{2}'}").unwrap();
        let expected = NatsSettings::new(&["nats://a"], "orders.{2}").unwrap();
        assert_eq!(settings, expected);
    }

    #[test]
    fn everything_can_be_set() {
        let text = "servers: [nats://a, tls://b:4333]\nsubject: x.{topic}\nmode: jetstream\nuser: ada\n\
            password_file: p\ntls: {ca_file: c, cert_file: d, key_file: e}\nconnect_timeout: 2s\n\
            max_in_flight: 7\n";
        let mut expected = NatsSettings::new(&["nats://a", "tls://b:4333"], "x.{topic}").unwrap();
        let path = PathBuf::from;
        expected.mode = NatsMode::JetStream;
        expected.credentials = Some(Credentials::Password("ada".to_owned(), path("p")));
        expected.tls = Some(NatsTls {
            ca_file: Some(path("c")),
            client_files: Some((path("d"), path("e"))),
        });
        expected.connect_timeout = Duration::from_secs(2);
        expected.max_in_flight = 7;
        assert_eq!(parse(text).unwrap(), expected);
        let token = parse("{servers: [a], subject: x, token_file: t}").unwrap();
        assert_eq!(token.credentials, Some(Credentials::Token(path("t"))));
        let file = parse("{servers: [a], subject: x, credentials_file: f}").unwrap();
        assert_eq!(file.credentials, Some(Credentials::File(path("f"))));
    }

    #[test]
    fn every_problem_is_told_by_its_key_and_no_secret_is() {
        for (wrong, problem) in [
            ("servers: []", "servers: names 0 servers"),
            (
                "servers: [nats://ada:s3cret@a]",
                "servers[0]: holds a name or password",
            ),
            ("subject: a b", "subject: has white space"),
            ("subject: 'x.{0}'", "subject: has `{0}`"),
            ("mode: ask", "mode: is none of `request`"),
            ("user: ada", "user: is given without password_file"),
            ("password_file: p", "password_file: is not alone"),
            (
                "{user: ada, password_file: p, token_file: t}",
                "is not alone",
            ),
            ("tls: {cert_file: c}", "tls: has one of cert_file"),
            ("tls: {cafile: c}", "did you mean `ca_file`?"),
            ("connect_timeout: 5", "connect_timeout: "),
            ("connect_timeout: 2m", "connect_timeout: write a duration"),
            ("max_in_flight: 0", "max_in_flight: `0` is out of range"),
            ("tokenfile: t", "did you mean `token_file`?"),
        ] {
            let wrong = wrong.trim_matches(|c| "{}".contains(c) && wrong.starts_with('{'));
            let mut text = wrong.replace(", ", "\n");
            if wrong.contains("tls") || wrong.contains('[') {
                text = wrong.to_owned();
            }
            for (key, usual) in [
                ("servers", "servers: [nats://a]"),
                ("subject", "subject: x"),
            ] {
                if !wrong.starts_with(key) {
                    text = format!("{text}\n{usual}");
                }
            }
            let told = parse(&text).unwrap_err();
            assert!(told.contains(problem), "{text}: {told}");
            assert!(!told.contains("s3cret"), "{told}");
        }
    }
}
