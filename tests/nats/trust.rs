//! TLS and credentials.

use crate::front::{Front, code};
use crate::server::NatsServer;
use mcpd::handler::{NatsCredentials, NatsMode, TlsFiles};
use mcpd_client::ErrorCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::PathBuf;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(500);

fn file(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Whether a handler so told gets a message to the server.
fn gets_through(front: &Front) -> bool {
    let answered = front.run(front.request("t").send());
    match answered {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(code(Err(error)), ErrorCode::UPSTREAM_UNAVAILABLE);
            false
        }
    }
}

#[test]
fn a_token_or_password_is_read_from_its_file_for_every_connection() {
    let dir = tempfile::tempdir().unwrap();
    let config = file(&dir, "token.conf", "authorization {token: s3cret}\n");
    let nats = NatsServer::start(&["-c", config.to_str().unwrap()]);
    let token = file(&dir, "token", "wrong");
    let credentials = NatsCredentials::Token(token.clone());
    let front = Front::new(&nats, "x", |settings| {
        settings.mode = NatsMode::Publish;
        settings.connect_timeout = SHORT;
        settings.credentials = Some(credentials);
    });
    assert!(!gets_through(&front));
    std::fs::write(token, "s3cret\n").unwrap();
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while !gets_through(&front) {
        assert!(
            std::time::Instant::now() < deadline,
            "the new token is never shown"
        );
        std::thread::sleep(Duration::from_millis(20));
    }

    let config = file(
        &dir,
        "user.conf",
        "authorization {user: ada, password: s3cret}\n",
    );
    let nats = NatsServer::start(&["-c", config.to_str().unwrap()]);
    let password = file(&dir, "password", "s3cret\n");
    let front = Front::new(&nats, "x", |settings| {
        settings.mode = NatsMode::Publish;
        settings.credentials = Some(NatsCredentials::Password("ada".to_owned(), password));
    });
    assert!(gets_through(&front));
}

#[test]
fn tls_trusts_the_authority_it_is_told_and_shows_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let issue = |name: &str, san: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![san.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &ca).unwrap();
        let key = file(&dir, &format!("{name}.key"), &key.serialize_pem());
        (file(&dir, &format!("{name}.pem"), &certificate.pem()), key)
    };
    let ca_file = file(&dir, "ca.pem", &ca.pem());
    let (certificate, key) = issue("server", "127.0.0.1");
    let client = issue("client", "mcpd");
    let path = |path: &PathBuf| path.display().to_string();
    let tls = format!(
        "tls {{cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true}}\n",
        path(&certificate),
        path(&key),
        path(&ca_file)
    );
    let config = file(&dir, "tls.conf", &tls);
    let nats = NatsServer::start(&["-c", config.to_str().unwrap()]);
    let front = |tls: TlsFiles| {
        Front::new(&nats, "x", |settings| {
            settings.mode = NatsMode::Publish;
            settings.connect_timeout = SHORT;
            settings.tls = Some(tls);
        })
    };
    let trusted = TlsFiles {
        ca_file: Some(ca_file),
        client_files: None,
    };
    assert!(
        !gets_through(&front(TlsFiles::default())),
        "a stranger is not trusted"
    );
    assert!(
        !gets_through(&front(trusted.clone())),
        "it wants a certificate"
    );
    let shown = TlsFiles {
        client_files: Some(client),
        ..trusted
    };
    let front = front(shown);
    let deadline = std::time::Instant::now() + crate::PATIENCE;
    while !gets_through(&front) {
        assert!(
            std::time::Instant::now() < deadline,
            "it never gets through"
        );
    }
    // Whoever insists on TLS sends nothing without it.
    let plain = NatsServer::start(&[]);
    let front = Front::new(&plain, "x", |settings| {
        settings.mode = NatsMode::Publish;
        settings.connect_timeout = SHORT;
        settings.tls = Some(TlsFiles::default());
    });
    assert!(!gets_through(&front));
}
