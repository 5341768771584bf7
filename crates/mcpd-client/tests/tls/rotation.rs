//! Files that are replaced while a client runs.

use crate::pki::{Ca, Identity};
use crate::server::{Listener, Setup};
use mcpd_client::{ConnectOptions, Connection, ErrorKind, Result, Tls};
use std::path::{Path, PathBuf};

/// A directory that goes away with the test.
struct Files(PathBuf);

impl Files {
    fn new() -> Files {
        let name = format!("mcpd-client-tls-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Files(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

/// Connects; gives the certificate that the client has shown.
async fn connect(listener: &Listener, tls: &Tls) -> Result<Vec<u8>> {
    let options = ConnectOptions::new().tls(tls.clone());
    let accepting = async {
        let mut peer = listener.accept().await.ok()?;
        peer.try_welcome().await.then_some(peer)
    };
    let (connected, peer) =
        tokio::join!(Connection::connect(listener.address(), options), accepting);
    connected?;
    let peer = peer.unwrap();
    let shown = peer.stream.get_ref().1.peer_certificates();
    Ok(shown.unwrap()[0].to_vec())
}

#[tokio::test]
async fn each_connection_goes_by_the_files_of_its_time_and_broken_ones_change_nothing() {
    let (old, new) = (Ca::new("old"), Ca::new("new"));
    let (one, two) = (old.issue(&["till-7"]), old.issue(&["till-7"]));
    let files = Files::new();
    let put = |Identity { cert, key }: &Identity| {
        files.write("tls.crt", cert);
        files.write("tls.key", key);
    };
    files.write("ca.crt", old.pem());
    put(&one);
    let tls = Tls::new()
        .ca_file(files.path("ca.crt"))
        .client_cert_files(files.path("tls.crt"), files.path("tls.key"));
    let setup = |ca: &Ca| Setup {
        clients: Some(&old),
        ..Setup::of(ca.issue(&["127.0.0.1"]))
    };
    let mut listener = setup(&old).listen().await;
    let first = connect(&listener, &tls).await.unwrap();

    // A certificate without its key: as it happens between two writes.
    files.write("tls.crt", &two.cert);
    assert_eq!(connect(&listener, &tls).await.unwrap(), first);
    files.write("tls.key", "");
    assert_eq!(connect(&listener, &tls).await.unwrap(), first);
    std::fs::remove_file(files.path("tls.key")).unwrap();
    assert_eq!(connect(&listener, &tls).await.unwrap(), first);
    put(&two);
    assert_ne!(connect(&listener, &tls).await.unwrap(), first);

    // The server gets a certificate of a new authority; both are trusted, then the new one alone.
    listener.set(&setup(&new));
    let error = connect(&listener, &tls).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    files.write("ca.crt", old.pem() + &new.pem());
    connect(&listener, &tls).await.unwrap();
    files.write("ca.crt", new.pem());
    connect(&listener, &tls).await.unwrap();
    listener.set(&setup(&old));
    connect(&listener, &tls).await.unwrap_err();
}
