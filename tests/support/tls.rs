//! Certificates made for a test, and peers that speak TLS.

use super::{PATIENCE, Peer, Server, Start};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::client::WantsClientCert;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DEFAULT_VERSIONS, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

/// The client's end of a TLS connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Who issues certificates.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

/// What a certificate says, before it is signed.
pub fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// The same with a URI.
pub fn params_of_uri(uri: &str) -> CertificateParams {
    let mut params = params(&[]);
    let uri = SanType::URI(uri.try_into().unwrap());
    params.subject_alt_names.push(uri);
    params
}

/// One that was good until the year 2000.
pub fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(1999, 1, 1);
    params.not_after = rcgen::date_time_ymd(2000, 1, 1);
    params
}

impl Ca {
    pub fn new() -> Ca {
        Ca::of(params(&[]))
    }

    pub fn of(mut params: CertificateParams) -> Ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Ca(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A certificate for a server on this machine.
    pub fn server(&self) -> Issued {
        self.issue(params(&["localhost"]))
    }

    fn builder(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
    }

    /// A client that trusts this one, and shows `certificate`.
    pub fn client(&self, certificate: Option<&Issued>) -> ClientConfig {
        let builder = self.builder(DEFAULT_VERSIONS);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"mcp/1".to_vec()];
        config
    }
}

impl Ca {
    /// A client of one version of TLS.
    pub fn client_of(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let mut config = self.builder(&[version]).with_no_client_auth();
        config.alpn_protocols = vec![b"mcp/1".to_vec()];
        config
    }
}

impl Issued {
    /// Puts both files into a directory, as a mount has them that is swapped as a whole.
    pub fn write(&self, dir: &Path) {
        std::fs::write(dir.join("tls.crt"), &self.certificate).unwrap();
        std::fs::write(dir.join("tls.key"), &self.key).unwrap();
    }
}

impl Start {
    /// Has a port (`DATA` or `ADMIN`) speak TLS by the files `tls.crt` and `tls.key` of a directory.
    pub fn tls(self, port: &str, dir: &Path) -> Start {
        let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        self.set(&format!("{port}__TLS__CERTIFICATE"), &file("tls.crt"))
            .set(&format!("{port}__TLS__KEY"), &file("tls.key"))
    }

    /// Has it ask clients for certificates of this CA.
    pub fn client_ca(self, port: &str, dir: &Path, ca: &Ca) -> Start {
        let path = dir.join("ca.crt");
        std::fs::write(&path, ca.pem()).unwrap();
        self.set(&format!("{port}__TLS__CLIENT_CA"), path.to_str().unwrap())
    }
}

/// Connects and shakes hands.
///
/// # Errors
/// The handshake failed on this side or was refused.
pub fn dial(addr: SocketAddr, config: ClientConfig) -> std::io::Result<TlsStream> {
    shake_hands(TcpStream::connect(addr).expect("the port accepts"), config)
}

/// Shakes hands on a stream that is there.
///
/// # Errors
/// The handshake failed on this side or was refused.
pub fn shake_hands(mut stream: TcpStream, config: ClientConfig) -> std::io::Result<TlsStream> {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

impl Peer<TlsStream> {
    /// A peer that has shaken hands already.
    pub fn over(stream: TlsStream) -> Peer<TlsStream> {
        Peer {
            stream,
            read: Vec::new(),
        }
    }

    /// "No more requests", as TLS says it; the socket stays open.
    pub fn close_notify(&mut self) {
        self.stream.conn.send_close_notify();
        while self.stream.conn.wants_write() {
            self.stream.conn.write_tls(&mut self.stream.sock).unwrap();
        }
    }

    /// The certificate that the server has shown.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap()[0].clone()
    }
}

impl Server {
    /// A peer that speaks TLS.
    pub fn tls_peer(&self, config: ClientConfig) -> Peer<TlsStream> {
        Peer::over(dial(self.data, config).expect("a handshake"))
    }
}
