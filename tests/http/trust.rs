//! Secrets and certificates in files: shown to the service, replaced while it is asked, told to nobody else.

use crate::front::{Front, code, handlers, write};
use crate::service::{Seen, Service};
use crate::support::tls::{Ca, Issued, params};
use crate::support::{Start, scratch};
use mcpd_client::ErrorCode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A service that wants certificates of a CA, answers each request with that of its client, and ends the connection.
struct Vault {
    addr: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    chain.map(Result::unwrap).collect()
}

fn config(own: &Issued, clients: &Ca) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain(own), key);
    Arc::new(config.unwrap())
}

async fn answer(config: Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        shown.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&shown).await?;
    stream.shutdown().await
}

impl Vault {
    async fn new(own: &Issued, clients: &Ca) -> Vault {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let config = Arc::new(Mutex::new(config(own, clients)));
        let current = Arc::clone(&config);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let config = Arc::clone(&current.lock().unwrap());
                tokio::spawn(answer(config, stream));
            }
        });
        Vault { addr, config }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_shown_the_certificate_that_there_is_now_and_is_trusted_by_the_ca_of_now() {
    let (old, new, clients) = (Ca::new(), Ca::new(), Ca::new());
    let vault = Vault::new(&old.server(), &clients).await;
    let (one, two) = (
        clients.issue(params(&["mcpd"])),
        clients.issue(params(&["mcpd"])),
    );
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ca_file = dir.path().join("ca.crt");
    write(&ca_file, &old.pem());
    one.write(dir.path());
    let tls = |keys: &str| {
        format!(
            "url: \"https://localhost:{}/\", tls: {{ca_file: {}{keys}}}",
            vault.addr.port(),
            path("ca.crt")
        )
    };
    let without = Front::new(&tls("")).await;
    // By TLS 1.3 the service says so when the request may be on its way already.
    let refused = code(&without.refused("a").await);
    let lost = [ErrorCode::UPSTREAM_LOST, ErrorCode::UPSTREAM_UNAVAILABLE];
    assert!(lost.contains(&refused), "{refused}");

    let pair = format!(
        ", cert_file: {}, key_file: {}",
        path("tls.crt"),
        path("tls.key")
    );
    let mut front = Front::new(&tls(&pair)).await;
    let shown = |issued: &Issued| chain(issued)[0].to_vec();
    assert_eq!(front.ask("a", "").await.body(), &shown(&one));

    // A certificate without its key changes nothing, nor does a file that is gone.
    std::fs::write(dir.path().join("tls.crt"), &two.certificate).unwrap();
    let told = front.server.await_log("files refused");
    assert!(told.contains("is not the key of the certificate"), "{told}");
    assert!(!told.contains("PRIVATE"), "{told}");
    assert_eq!(front.ask("a", "").await.body(), &shown(&one));
    two.write(dir.path());
    front.server.await_log("changed files are in force");
    assert_eq!(front.ask("a", "").await.body(), &shown(&two));

    *vault.config.lock().unwrap() = config(&new.server(), &clients);
    let refused = front.refused("a").await;
    assert_eq!(code(&refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    write(&ca_file, &new.pem());
    front.server.await_log("changed files are in force");
    front
        .ask_until("a", |answer| {
            answer
                .as_ref()
                .is_ok_and(|answer| answer.body() == &shown(&two))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_comes_from_a_file_that_changes_and_its_value_is_told_to_nobody_else() {
    let service = Service::new(|seen: Seen| {
        let told = seen.header("authorization").unwrap_or("nothing");
        assert_eq!(seen.header("x-tenant"), Some("shop"));
        told.to_owned()
    })
    .await;
    let dir = scratch();
    let token = dir.path().join("token");
    write(&token, "s3cret-one\n");
    let entry = format!(
        "url: \"{}\", headers: [{{name: authorization, file: {}, prefix: \"Bearer \"}}, {{name: x-tenant, value: shop}}]",
        service.url("/"),
        token.display()
    );
    let text = handlers(&format!("  - {{name: up, type: http, {entry}}}"));
    let mut front = Front::with(&text, |start| start.set("LOG__FILTER", "debug")).await;
    assert_eq!(front.ask("a", "").await.body(), "Bearer s3cret-one");

    write(&token, "s3cret-two");
    front.server.await_log("changed files are in force");
    assert_eq!(front.ask("a", "").await.body(), "Bearer s3cret-two");

    for wrong in ["s3cret\nx-admin: 1", "", &"s3cret-".repeat(2000)] {
        write(&token, wrong);
        let told = front.server.await_log("files refused");
        assert!(told.contains("headers: authorization: "), "{told}");
        assert!(!told.contains("s3cret"), "{told}");
        assert_eq!(front.ask("a", "").await.body(), "Bearer s3cret-two");
        write(&token, "s3cret-two");
        front.server.await_log("changed files are in force");
    }

    let pages = ["/admin/v1/handlers", "/admin/v1/handlers/up", "/statusz"];
    for page in pages {
        let (_, text) = front.server.get(page);
        assert!(!text.contains("s3cret"), "{page}: {text}");
    }
    let logged = front.server.output().join("\n");
    assert!(!logged.contains("s3cret"), "{logged}");
}

#[test]
fn a_start_waits_for_the_files_that_it_needs() {
    let dir = scratch();
    let (document, token) = (dir.path().join("handlers.yaml"), dir.path().join("token"));
    let entry = format!(
        "  - {{name: up, type: http, url: \"http://127.0.0.1:1/\", headers: [{{name: x-key, file: {}}}]}}",
        token.display()
    );
    write(&document, &handlers(&entry));
    let start = Start::new().set("HANDLERS_FILE", document.to_str().unwrap());
    let mut server = start.spawn_unready();
    let told = server.await_log("cannot serve");
    let problem = format!("headers: x-key: {}", token.display());
    assert!(told.contains(&problem), "{told}");
    write(&token, "key");
    server.await_data();
}
