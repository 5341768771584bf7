//! A server that speaks TLS and then does what a test tells it.

use crate::pki::{Ca, Identity};
use crate::support::Peer;
use mcpd_proto::session::ServerSettings;
use std::io;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ALL_VERSIONS, version};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::server::TlsStream;

pub(crate) type TlsPeer = Peer<TlsStream<TcpStream>>;

pub(crate) const ONE_TWO: &[&SupportedProtocolVersion] = &[&version::TLS12];
pub(crate) const ONE_THREE: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// How a server is set up.
pub(crate) struct Setup<'a> {
    pub(crate) identity: Identity,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    pub(crate) alpn: &'static [u8],
    /// Whose clients alone may come.
    pub(crate) clients: Option<&'a Ca>,
}

impl Setup<'_> {
    pub(crate) fn of(identity: Identity) -> Setup<'static> {
        Setup {
            identity,
            versions: ALL_VERSIONS,
            alpn: b"mcp/1",
            clients: None,
        }
    }

    pub(crate) fn config(&self) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                let pem = ca.pem();
                roots
                    .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                    .unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let cert = CertificateDer::from_pem_slice(self.identity.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.identity.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![cert], key).unwrap();
        config.alpn_protocols = vec![self.alpn.to_vec()];
        config
    }

    pub(crate) async fn listen(&self) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Listener {
            port: listener.local_addr().unwrap().port(),
            listener,
            acceptor: TlsAcceptor::from(Arc::new(self.config())),
        }
    }
}

pub(crate) struct Listener {
    listener: TcpListener,
    pub(crate) port: u16,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// From now on it is set up like this.
    pub(crate) fn set(&mut self, setup: &Setup<'_>) {
        self.acceptor = TlsAcceptor::from(Arc::new(setup.config()));
    }

    pub(crate) fn address(&self) -> String {
        format!("mcps://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn accept(&self) -> io::Result<TlsPeer> {
        let stream = self.listener.accept().await?.0;
        let stream = self.acceptor.accept(stream).await?;
        Ok(Peer::new(stream, ServerSettings::default()))
    }

    /// The next client, after its HELLO.
    pub(crate) async fn welcome(&self) -> TlsPeer {
        let mut peer = self.accept().await.unwrap();
        peer.welcome().await;
        peer
    }

    /// Takes clients and lets them go, for those who do not get far.
    pub(crate) async fn turn_away(self) {
        loop {
            if let Ok(mut peer) = self.accept().await {
                peer.try_welcome().await;
            }
        }
    }
}
