//! Clients that are known by the names in their certificates.

use super::encrypted;
use super::handshakes::is_let_in;
use crate::support::tls::{Ca, Issued, TlsStream, params, params_of_uri, shake_hands};
use crate::support::{Peer, Server, Start, scratch};
use crate::tools::{eventually, hello, proxied};
use crate::trust::{HASH, trusting, write};
use mcpd_proto::{ErrorCode, Frame, GoAwayReason};
use rcgen::{CertificateParams, SanType};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const TILLS: &str = "{name: tills, certificates: [{uri: 'spiffe://x/till/*'}],
    allow: [echo, 'tills/#'], deny: ['tills/+/admin']}";
const DEVICES: &str = "{name: devices, certificates: [{dns: '*.devices.example'}],
    allow: [echo, 'devices/${subject}/#']}";
const STAFF: &str = "{name: staff, certificates: [{email: '*@example.org'}],
    client_ids: ['${subject}'], allow: [echo, 'staff/${client_id}/+']}";

/// A server that knows clients by certificates, and one of them by the token `test`.
struct Known {
    ca: Ca,
    server: Server,
    principals: TempDir,
    _files: TempDir,
}

fn document() -> String {
    let token =
        format!("{{name: holders, tokens: [{{name: a, sha256: {HASH}}}], allow: [echo, held]}}");
    format!("[{TILLS}, {DEVICES}, {STAFF}, {token}]")
}

impl Known {
    fn new(start: Start) -> Known {
        let (ca, principals) = (Ca::new(), scratch());
        let start = start
            .client_ca("DATA", principals.path(), &ca)
            .set("DATA__TLS__CLIENT_AUTH", "optional");
        let start = trusting(start, principals.path(), &document());
        let (server, files) = encrypted(&ca, start);
        Known {
            ca,
            server,
            principals,
            _files: files,
        }
    }

    fn peer(&self, certificate: Option<&Issued>) -> Peer<TlsStream> {
        self.server.tls_peer(self.ca.client(certificate))
    }

    /// A peer with a certificate of these names.
    fn named(&self, params: CertificateParams) -> Peer<TlsStream> {
        self.peer(Some(&self.ca.issue(params)))
    }
}

fn params_of_mail(address: &str) -> CertificateParams {
    let mut params = params(&[]);
    let mail = SanType::Rfc822Name(address.try_into().unwrap());
    params.subject_alt_names.push(mail);
    params
}

/// What becomes of a request; where it is allowed there is no route.
fn outcome(peer: &mut Peer<TlsStream>, topic: &str) -> ErrorCode {
    peer.request(1, topic, b"");
    peer.expect().error().1
}

fn greeted(peer: &mut Peer<TlsStream>, token: Option<&[u8]>, id: Option<&str>) {
    peer.send(&hello(|meta| {
        if let Some(token) = token {
            meta.set_auth_token(token).unwrap();
        }
        if let Some(id) = id {
            meta.set_client_id(id).unwrap();
        }
    }));
}

fn expect_welcome(peer: &mut Peer<TlsStream>) {
    let got = peer.expect();
    assert!(matches!(got.frame(), Frame::Hello(_)), "{got:?}");
}

fn expect_refusal(peer: &mut Peer<TlsStream>, told: &str) {
    let got = peer.expect();
    match got.frame() {
        Frame::Error(error) => {
            assert_eq!(error.code, ErrorCode::UNAUTHENTICATED);
            let text = String::from_utf8_lossy(error.detail);
            assert!(text.contains(told), "{text}");
        }
        other => panic!("an ERROR, not {other:?}"),
    }
    assert_eq!(peer.next(), None);
}

fn expect_reauthenticate(peer: &mut Peer<TlsStream>) {
    match peer.expect().frame() {
        Frame::GoAway(away) => assert_eq!(away.reason, GoAwayReason::Reauthenticate as u16),
        other => panic!("GOAWAY, not {other:?}"),
    }
}

#[test]
fn each_kind_of_name_stands_for_its_principal_without_a_hello() {
    let known = Known::new(Start::new());
    let denied = ErrorCode::PERMISSION_DENIED;
    let mut till = known.named(params_of_uri("spiffe://x/till/7"));
    assert_eq!(outcome(&mut till, "tills/7/sales"), ErrorCode::NO_ROUTE);
    assert_eq!(outcome(&mut till, "tills/7/admin"), denied);
    assert_eq!(outcome(&mut till, "devices/a/b"), denied);
    till.expect_alive(1);
    // The subject is the name as the certificate has it, and no other device's.
    let mut device = known.named(params(&["d1.devices.example"]));
    let own = "devices/d1.devices.example/state";
    assert_eq!(outcome(&mut device, own), ErrorCode::NO_ROUTE);
    let other = "devices/d2.devices.example/state";
    assert_eq!(outcome(&mut device, other), denied);
    assert_eq!(outcome(&mut device, "tills/7/sales"), denied);
    // With a HELLO, where its CLIENT_ID is bound to the name.
    let mut staff = known.named(params_of_mail("ada@EXAMPLE.org"));
    greeted(&mut staff, None, Some("ada@EXAMPLE.org"));
    expect_welcome(&mut staff);
    let own = "staff/ada@EXAMPLE.org/desk";
    assert_eq!(outcome(&mut staff, own), ErrorCode::NO_ROUTE);
    for id in [None, Some("eve@example.org")] {
        let mut staff = known.named(params_of_mail("ada@example.org"));
        greeted(&mut staff, None, id);
        expect_refusal(&mut staff, "may not use this CLIENT_ID");
    }
    let ok = "mcpd_authentications_total{method=\"certificate\",result=\"ok\"}";
    known.server.await_metric(ok, |n| n == 3.0);
}

#[test]
fn only_who_has_no_name_of_somebody_must_begin_with_a_hello() {
    let known = Known::new(Start::new().set("LIMITS__HELLO_TIMEOUT", "500ms"));
    let mut till = known.named(params_of_uri("spiffe://x/till/7"));
    let strangers = [
        params_of_uri("spiffe://x/till/7/8"),
        params_of_uri("spiffe://x/TILL/7"),
        params(&["a.b.devices.example", "devices.example"]),
        params_of_mail("ada@sub.example.org"),
    ];
    for stranger in strangers {
        let mut stranger = known.named(stranger);
        stranger.request(1, "echo", b"");
        expect_refusal(&mut stranger, "HELLO");
    }
    let mut nobody = known.peer(None);
    nobody.request(1, "echo", b"");
    expect_refusal(&mut nobody, "HELLO");
    // Who says nothing at all is waited for only where a certificate speaks for it.
    expect_refusal(&mut known.peer(None), "HELLO");
    till.expect_alive(1);
}

#[test]
fn names_of_several_principals_are_nobodys_until_a_token_says_whose() {
    let known = Known::new(Start::new());
    let mut both = params_of_uri("spiffe://x/till/7");
    let dns = SanType::DnsName("d1.devices.example".try_into().unwrap());
    both.subject_alt_names.push(dns);
    let both = known.ca.issue(both);
    let mut silent = known.peer(Some(&both));
    greeted(&mut silent, None, None);
    expect_refusal(&mut silent, "several principals");
    // The token decides, for better or worse.
    let single = known.ca.issue(params_of_uri("spiffe://x/till/7"));
    for certificate in [&both, &single] {
        let mut holder = known.peer(Some(certificate));
        greeted(&mut holder, Some(b"test"), None);
        expect_welcome(&mut holder);
        assert_eq!(outcome(&mut holder, "held"), ErrorCode::NO_ROUTE);
        let tills = outcome(&mut holder, "tills/7/sales");
        assert_eq!(tills, ErrorCode::PERMISSION_DENIED);
        let mut wrong = known.peer(Some(certificate));
        greeted(&mut wrong, Some(b"guess"), None);
        expect_refusal(&mut wrong, "this token is not known");
    }
}

#[test]
fn a_certificate_that_expires_has_its_client_authenticate_again() {
    let known = Known::new(Start::new().set("GOAWAY__GRACE", "0s"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut short = params_of_uri("spiffe://x/till/7");
    short.not_after = rcgen::date_time_ymd(1970, 1, 1) + (now + Duration::from_secs(5));
    let short = known.ca.issue(short);
    let mut peer = known.peer(Some(&short));
    peer.expect_alive(1);
    expect_reauthenticate(&mut peer);
    peer.expect_end(ErrorCode::CLOSING);
    // TLS takes it to the end of its last second.
    eventually("no handshake by it", || {
        !is_let_in(&known.server, known.ca.client(Some(&short)))
    });
}

#[test]
fn who_loses_its_names_is_asked_to_authenticate_again_and_served_meanwhile() {
    let known = Known::new(Start::new());
    let mut till = known.named(params_of_uri("spiffe://x/till/7"));
    let mut device = known.named(params(&["d1.devices.example"]));
    till.expect_alive(1);
    device.expect_alive(1);
    let fewer = TILLS.replace("spiffe://x/till/*", "spiffe://x/till/8");
    write(known.principals.path(), &format!("[{fewer}, {DEVICES}]"));
    expect_reauthenticate(&mut till);
    till.expect_alive(2);
    // A name that somebody else has, too, by now, is as good as none.
    let thief = TILLS.replace("uri: 'spiffe://x/till/*'", "dns: d1.devices.example");
    write(known.principals.path(), &format!("[{thief}, {DEVICES}]"));
    expect_reauthenticate(&mut device);
}

/// The encrypted half of the rule; over plaintext it is refused, whoever the token is.
#[test]
fn a_token_from_afar_stands_for_its_principal_when_it_is_encrypted() {
    let afar = proxied(Ipv4Addr::new(203, 0, 113, 9));
    let known = Known::new(Start::new().set("DATA__PROXY_PROTOCOL", "required"));
    let stream = TcpStream::connect(known.server.data).unwrap();
    let mut stream = Peer::new(stream);
    stream.send(&afar);
    let mut peer = Peer::over(shake_hands(stream.stream, known.ca.client(None)).unwrap());
    greeted(&mut peer, Some(b"test"), None);
    expect_welcome(&mut peer);
    assert_eq!(outcome(&mut peer, "held"), ErrorCode::NO_ROUTE);

    let dir = scratch();
    let start = Start::new().set("DATA__PROXY_PROTOCOL", "required");
    let plain = trusting(start, dir.path(), &document()).spawn();
    let mut peer = plain.peer();
    peer.send(&afar);
    peer.send(&hello(|meta| meta.set_auth_token(b"test").unwrap()));
    peer.expect_end(ErrorCode::UNAUTHENTICATED);
}
