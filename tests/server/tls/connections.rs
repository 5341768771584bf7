//! What a connection does is the same with TLS under it.

use super::encrypted;
use crate::support::tls::{Ca, Issued, dial};
use crate::support::{PATIENCE, Peer, Start};
use crate::tools::{request, rest, slow};
use mcpd_proto::{ErrorCode, Frame, Meta};
use std::io::{Read, Write};

const KIB: usize = 1024;

#[test]
fn requests_are_answered_over_both_versions() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = ca.client(None);
        let provider = std::sync::Arc::clone(config.crypto_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&ca)).unwrap();
        config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut peer = server.tls_peer(config);
        assert_eq!(peer.stream.conn.protocol_version(), Some(version.version));
        peer.expect_alive(1);
    }
}

fn der(ca: &Ca) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()
}

#[test]
fn a_close_notify_is_a_half_close_and_is_answered_by_one() {
    let ca = Ca::new();
    let (server, _dir) = encrypted(&ca, Start::new());
    let mut peer = server.tls_peer(ca.client(None));
    for seq in 1..=100 {
        peer.request(seq, "echo", &[7; 4 * KIB]);
    }
    peer.close_notify();
    let answers: Vec<u16> = rest(&mut peer).iter().map(|got| got.response().0).collect();
    assert_eq!(answers, (1..=100).collect::<Vec<u16>>());
    let closed = "mcpd_connections_closed_total{reason=\"EOF\"}";
    server.await_metric(closed, |n| n == 1.0);
}
