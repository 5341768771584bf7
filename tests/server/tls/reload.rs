//! Certificates that change while the server runs, and such that cannot be used.

use super::encrypted;
use crate::support::tls::{Ca, Issued, TlsStream, dial, expired, params};
use crate::support::{Peer, Server, Start, scratch};
use crate::tools::eventually;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const REFUSED: &str = "mcpd_tls_reloads_total{port=\"data\",result=\"refused\"}";
const EXPIRY: &str = "mcpd_tls_certificate_expiry_timestamp_seconds{port=\"data\"}";

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()
}

/// Waits until new connections are shown this certificate.
fn await_shown(server: &Server, ca: &Ca, issued: &Issued) {
    eventually("the new certificate is shown", || {
        server.tls_peer(ca.client(None)).shown() == der(issued)
    });
}

/// What keeps a certificate, its key or a CA out is in the log; the old ones stay in force.
fn expect_refused(server: &mut Server, ca: &Ca, told: &str) {
    server.await_log(told);
    server.await_metric(REFUSED, |n| n > 0.0);
    server.tls_peer(ca.client(None)).expect_alive(1);
}

#[test]
fn a_swap_under_load_loses_nothing_and_shows_to_new_connections() {
    let ca = Ca::new();
    let (server, dir) = encrypted(&ca, Start::new());
    let next = ca.server();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (over, data) = (&over, server.data);
        let load = |mut peer: Peer<TlsStream>| {
            let mut answered = 0_u32;
            while !over.load(Ordering::Relaxed) {
                for seq in 1..=16 {
                    peer.request(seq, "echo", &[9; 64]);
                }
                for seq in 1..=16 {
                    assert_eq!(peer.expect().response(), (seq, vec![9; 64]));
                }
                answered += 16;
            }
            answered
        };
        let loads = [(); 2].map(|()| {
            let peer = Peer::over(dial(data, ca.client(None)).unwrap());
            scope.spawn(move || load(peer))
        });
        next.write(dir.path());
        await_shown(&server, &ca, &next);
        over.store(true, Ordering::Relaxed);
        for load in loads {
            assert!(load.join().unwrap() > 0);
        }
    });
}

/// As a Secret is mounted: the files are links into a directory behind one link, which is replaced.
#[test]
fn a_mounted_secret_is_swapped_as_a_whole() {
    let (ca, dir) = (Ca::new(), scratch());
    let version = |name: &str, issued: &Issued| {
        let version = dir.path().join(name);
        std::fs::create_dir(&version).unwrap();
        issued.write(&version);
        symlink(name, dir.path().join("new")).unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("..data")).unwrap();
    };
    version("1", &ca.server());
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), dir.path().join(file)).unwrap();
    }
    let server = Start::new().tls("DATA", dir.path()).spawn();
    let mut old = server.tls_peer(ca.client(None));
    for name in ["2", "3"] {
        let next = ca.server();
        version(name, &next);
        await_shown(&server, &ca, &next);
    }
    assert_eq!(server.metric(REFUSED), 0.0);
    old.expect_alive(1);
}

#[test]
fn what_cannot_be_used_is_refused_and_the_old_stays() {
    let ca = Ca::new();
    let (mut server, dir) = encrypted(&ca, Start::new());
    let (first, other) = (server.tls_peer(ca.client(None)).shown(), ca.server());
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();

    write("tls.key", &other.key);
    expect_refused(&mut server, &ca, "is not the key of the certificate");
    write("tls.key", "nonsense");
    expect_refused(&mut server, &ca, "has no private key in it");
    let old = ca.issue(expired(params(&["localhost"])));
    old.write(dir.path());
    expect_refused(&mut server, &ca, "has expired at 2000-01-01");
    std::fs::remove_file(dir.path().join("tls.crt")).unwrap();
    expect_refused(&mut server, &ca, "tls.crt: No such file");
    assert_eq!(server.tls_peer(ca.client(None)).shown(), first);

    other.write(dir.path());
    await_shown(&server, &ca, &other);
    assert!(
        !server
            .output()
            .iter()
            .any(|line| line.contains("PRIVATE KEY"))
    );
}

#[test]
fn another_client_ca_holds_for_new_connections() {
    let (ca, next) = (Ca::new(), Ca::new());
    let files = scratch();
    let start = Start::new().client_ca("DATA", files.path(), &ca);
    let (server, _dir) = encrypted(&ca, start);
    let issued = ca.issue(params(&["a"]));
    let mut old = server.tls_peer(ca.client(Some(&issued)));
    old.expect_alive(1);
    std::fs::write(files.path().join("ca.crt"), next.pem()).unwrap();
    let of_next = next.issue(params(&["a"]));
    let reloads = "mcpd_tls_reloads_total{port=\"data\",result=\"ok\"}";
    server.await_metric(reloads, |n| n == 2.0);
    server.tls_peer(ca.client(Some(&of_next))).expect_alive(1);
    // Who is there stays.
    old.expect_alive(2);
}

/// What is wrong at the start is told and tried again.
#[test]
fn a_wrong_pair_at_the_start_is_a_fault_until_it_is_put_right() {
    let (ca, dir) = (Ca::new(), scratch());
    let (one, other) = (ca.server(), ca.server());
    one.write(dir.path());
    std::fs::write(dir.path().join("tls.key"), &other.key).unwrap();
    let mut server = Start::new().tls("DATA", dir.path()).spawn_unready();
    let told = "is not the key of the certificate";
    server.await_get("/readyz?verbose", |status, page| {
        status == 503 && page.contains("data.tls.key") && page.contains(told)
    });
    one.write(dir.path());
    server.await_data();
    server.tls_peer(ca.client(None)).expect_alive(1);
}

#[test]
fn check_finds_a_wrong_pair_and_an_expired_ca() {
    let (ca, dir) = (Ca::new(), scratch());
    let (one, other) = (ca.server(), ca.server());
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcpd"));
        for (key, file) in [
            ("CERTIFICATE", "tls.crt"),
            ("KEY", "tls.key"),
            ("CLIENT_CA", "ca.crt"),
        ] {
            command.env(format!("MCPD__DATA__TLS__{key}"), dir.path().join(file));
        }
        let output = command.arg("check").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    one.write(dir.path());
    write("ca.crt", &ca.pem());
    assert_eq!(check().0, Some(0));
    write("tls.key", &other.key);
    let (code, text) = check();
    assert_ne!(code, Some(0));
    assert!(
        text.contains("data.tls.key") && text.contains("is not the key"),
        "{text}"
    );
    one.write(dir.path());
    write("ca.crt", &Ca::of(expired(params(&[]))).pem());
    let (code, text) = check();
    assert_ne!(code, Some(0));
    assert!(
        text.contains("data.tls.client_ca") && text.contains("expired"),
        "{text}"
    );
}

#[test]
fn an_end_that_is_near_is_told_and_shown() {
    let (ca, dir) = (Ca::new(), scratch());
    let mut soon = params(&["localhost"]);
    let at = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    soon.not_after = at.into();
    ca.issue(soon).write(dir.path());
    let mut server = Start::new().tls("DATA", dir.path()).spawn();
    server.await_log("expires soon");
    let since_1970 = at.duration_since(std::time::UNIX_EPOCH).unwrap();
    server.await_metric(EXPIRY, |n| n == since_1970.as_secs() as f64);
}
