//! HTTP/2, and TLS with a CA of our own.

use crate::front::{Front, code};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mcpd_client::ErrorCode;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Tells what it was asked by, and counts its connections.
struct Service {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Service {
    async fn new(tls: Option<TlsAcceptor>, two: bool) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let tls = tls.clone();
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return serve(stream, two).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        serve(stream, two).await;
                    }
                });
            }
        });
        Service { addr, connections }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, two: bool) {
    let answer = service_fn(|request: Request<Incoming>| async move {
        let version = match request.version() {
            Version::HTTP_2 => 2,
            _ => 1,
        };
        let authority = request.uri().authority().map(ToString::to_string);
        let host = request
            .headers()
            .get("host")
            .map(|host| host.to_str().unwrap().to_owned());
        let text = format!(
            "{version} {} {:?}",
            request.uri().path(),
            authority.or(host)
        );
        Ok::<_, Infallible>(Response::new(text))
    });
    let io = TokioIo::new(stream);
    if two {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, answer).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(io, answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_connection_of_http_2() {
    let service = Service::new(None, true).await;
    let front = Front::new(&format!("url: \"http://{}/{{1}}\", http: 2", service.addr)).await;
    let mut sent = tokio::task::JoinSet::new();
    for n in 0..50 {
        let client = front.client.clone();
        sent.spawn(async move { (n, client.request(format!("t{n}")).send().await.unwrap()) });
    }
    for (n, answer) in sent.join_all().await {
        let expected = format!("2 /t{n} Some(\"{}\")", service.addr);
        assert_eq!(answer.body(), expected.as_str());
    }
    assert_eq!(service.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_and_negotiates_the_version() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["orders.test".to_owned()]).unwrap();
    let acceptor = |protocols: &[&[u8]]| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    };
    let dir = crate::support::scratch();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, cert.pem()).unwrap();
    let tls = |name: &str| format!("tls: {{ca_file: {}, server_name: {name}}}", ca.display());
    for (protocols, asked, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], "auto", "2"),
        (&[b"http/1.1"], "auto", "1"),
        (&[b"h2", b"http/1.1"], "1", "1"),
    ] {
        let service = Service::new(Some(acceptor(protocols)), false).await;
        let url = format!("https://{}/x", service.addr);
        let good = tls("orders.test");
        let front = Front::new(&format!("url: \"{url}\", http: {asked}, {good}")).await;
        let expected = format!("{version} /x Some(\"{}\")", service.addr);
        for _ in 0..3 {
            assert_eq!(front.ask("a", "").await.body(), expected.as_str());
        }
        assert_eq!(service.connections.load(Ordering::SeqCst), 1);
        let wrong = tls("payments.test");
        let front = Front::new(&format!("url: \"{url}\", retry: {{attempts: 1}}, {wrong}")).await;
        let error = front.refused("a").await;
        assert_eq!(code(&error), ErrorCode::UPSTREAM_UNAVAILABLE, "{error}");
    }
}
