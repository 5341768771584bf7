//! Asks servers how they are.

use super::{Asked, Peer};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long one may take to answer: it is on the same network, and the answer is some hundred bytes.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Largest answer that is read.
const MAX_BODY: usize = 4 << 10;
/// How many are asked at once.
const AT_ONCE: usize = 32;
/// Longest texts that are taken.
const MAX_SERVER_ID: usize = 128;
const MAX_HASH: usize = 64;
const MAX_WORD: usize = 32;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PeerStatus {
    /// Its SERVER_ID.
    pub(crate) server_id: String,
    /// The revision of its live routes.
    pub(crate) revision: u64,
    /// Their hash in hex; empty before there are any.
    pub(crate) hash: String,
    /// Open connections.
    pub(crate) connections: u64,
    lifecycle: String,
}

impl PeerStatus {
    /// Whether it is about to stop.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.lifecycle.as_str(), "shutting_down" | "stopped")
    }

    /// Nothing longer than a server of ours says, since it is kept and shown.
    fn check(self) -> Result<PeerStatus, String> {
        let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let good = (1..=MAX_SERVER_ID).contains(&self.server_id.len())
            && self.hash.len() <= MAX_HASH
            && hex(&self.hash)
            && self.lifecycle.len() <= MAX_WORD;
        good.then_some(self)
            .ok_or_else(|| "answers what no server of ours says".to_owned())
    }
}

/// Asks servers at their sidecar ports.
#[derive(Debug, Clone)]
pub(crate) struct Asker(Client);

impl Asker {
    /// # Errors
    /// There is no HTTP client to be had.
    pub(crate) fn new() -> Result<Asker, String> {
        // Whoever comes second finds it installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(TIMEOUT)
            .http1_only()
            // They are in the same cluster, and an answer that sends elsewhere is none of theirs.
            .no_proxy()
            .redirect(Policy::none())
            .pool_max_idle_per_host(1)
            .build();
        client.map(Asker).map_err(|error| innermost(&error))
    }

    /// Asks all of them, some at a time; the answers are in the order of the questions.
    pub(crate) async fn ask(&self, peers: Vec<Peer>) -> Vec<Asked> {
        let mut asked: Vec<Asked> = peers
            .into_iter()
            .map(|peer| Asked {
                peer,
                status: Err("was not asked".to_owned()),
            })
            .collect();
        let mut asking = JoinSet::new();
        let mut next = 0;
        loop {
            while asking.len() < AT_ONCE && next < asked.len() {
                let (client, addr, at) = (self.0.clone(), asked[next].peer.addr, next);
                asking.spawn(async move { (at, status(&client, addr).await) });
                next += 1;
            }
            match asking.join_next().await {
                Some(Ok((at, status))) => asked[at].status = status,
                // One that panicked was not asked.
                Some(Err(_)) => {}
                None => return asked,
            }
        }
    }
}

async fn status(client: &Client, addr: SocketAddr) -> Result<PeerStatus, String> {
    let sent = client.get(format!("http://{addr}/statusz")).send().await;
    let answer = sent.map_err(|error| innermost(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("answers {}", answer.status().as_u16()));
    }
    let body = body(answer).await?;
    let status: PeerStatus = serde_json::from_slice(&body)
        .map_err(|_| "answers what no server of ours says".to_owned())?;
    status.check()
}

async fn body(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
        if body.len() + chunk.len() > MAX_BODY {
            return Err(format!("answers with more than {MAX_BODY} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What it was in the end, for people.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("has not answered within {TIMEOUT:?}");
    }
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const GOOD: &str =
        r#"{"server_id":"a","revision":3,"hash":"0aF9","lifecycle":"running","connections":7}"#;

    /// A server that gives this answer, whatever it is asked.
    async fn server(head: &str, body: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        addr
    }

    async fn ask(addr: SocketAddr) -> Result<PeerStatus, String> {
        let mut asked = Asker::new().unwrap().ask(vec![Peer::at(addr)]).await;
        asked.remove(0).status
    }

    #[tokio::test]
    async fn a_server_says_how_it_is() {
        let status = ask(server("200 OK", GOOD.to_owned()).await).await.unwrap();
        assert_eq!((status.revision, status.connections), (3, 7));
        assert!(!status.is_draining());
        let draining = GOOD.replace("running", "shutting_down");
        let status = ask(server("200 OK", draining).await).await.unwrap();
        assert!(status.is_draining());
    }

    #[tokio::test]
    async fn what_is_no_server_of_ours_is_not_believed() {
        let long = GOOD.replace("\"a\"", &format!("{:?}", "x".repeat(129)));
        let padded = format!("{GOOD}{}", " ".repeat(MAX_BODY));
        for (head, body, problem) in [
            ("500 Oh", GOOD.to_owned(), "answers 500"),
            (
                "302 Found\r\nlocation: /statusz",
                String::new(),
                "answers 302",
            ),
            ("200 OK", "{}".to_owned(), "no server of ours"),
            ("200 OK", "[".repeat(2000), "no server of ours"),
            ("200 OK", GOOD.replace("0aF9", "x"), "no server of ours"),
            ("200 OK", GOOD.replace('7', "-7"), "no server of ours"),
            ("200 OK", long, "no server of ours"),
            ("200 OK", padded, "more than 4096 bytes"),
        ] {
            let told = ask(server(head, body).await).await.unwrap_err();
            assert!(told.contains(problem), "{head}: {told}");
        }
    }

    /// Many are asked a few at a time, and one that is not there holds up nobody.
    #[tokio::test]
    async fn each_answer_is_that_of_its_peer() {
        let good = server("200 OK", GOOD.to_owned()).await;
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = closed.local_addr().unwrap();
        drop(closed);
        let peers = (0..3 * AT_ONCE).map(|n| Peer::at(if n % 2 == 0 { good } else { gone }));
        let asked = Asker::new().unwrap().ask(peers.collect()).await;
        assert_eq!(asked.len(), 3 * AT_ONCE);
        for (n, one) in asked.iter().enumerate() {
            assert_eq!(one.status.is_ok(), n % 2 == 0, "{n}: {one:?}");
        }
    }
}
