//! Services that mean no good, or have gone mad.

use crate::front::{Front, code};
use mcpd_client::ErrorCode;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Reads a request's head on every connection, then does as it likes.
async fn rogue<F>(act: impl Fn(TcpStream) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let act = act.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else {
                        return;
                    };
                    head.push(byte);
                }
                act(stream).await;
            });
        }
    });
    addr
}

/// Writes the same again and again, until nobody reads.
async fn forever(stream: &mut TcpStream, part: &[u8], pause: Duration) {
    while stream.write_all(part).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn meet(addr: SocketAddr, expected: ErrorCode) {
    let care = "max_response: 64KiB, timeouts: {try: 500ms}, retry: {attempts: 1}";
    let front = Front::new(&format!("url: \"http://{addr}/\", {care}")).await;
    for _ in 0..2 {
        assert_eq!(code(&front.refused("a").await), expected);
    }
    assert_eq!(front.metric("connections", ",state=\"active\""), 0.0);
    assert_eq!(
        front.metric("connections", ",state=\"idle\""),
        0.0,
        "none is used again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_headers_are_cut_off() {
    let addr = rogue(|mut stream| async move {
        let _ = stream.write_all(HEAD).await;
        let line = [b"x-", "y".repeat(500).as_bytes(), b": z\r\n"].concat();
        forever(&mut stream, &line, Duration::ZERO).await;
    });
    meet(addr.await, ErrorCode::UPSTREAM_LOST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_is_cut_off() {
    let addr = rogue(|mut stream| async move {
        let _ = stream.write_all(CHUNKED).await;
        let chunk = [b"1000\r\n", &[b'x'; 4096][..], b"\r\n"].concat();
        forever(&mut stream, &chunk, Duration::ZERO).await;
    });
    meet(addr.await, ErrorCode::RESULT_TOO_LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_beyond_the_limit_is_not_read() {
    let addr = rogue(|mut stream| async move {
        let _ = stream.write_all(HEAD).await;
        let _ = stream
            .write_all(b"Content-Length: 99999999999\r\n\r\n")
            .await;
        std::future::pending().await
    });
    meet(addr.await, ErrorCode::RESULT_TOO_LARGE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_drips_has_its_time_and_no_more() {
    for start in [HEAD, CHUNKED] {
        let addr = rogue(move |mut stream| async move {
            let _ = stream.write_all(start).await;
            let drop: &[u8] = if start == HEAD { b"x" } else { b"1\r\nx\r\n" };
            forever(&mut stream, drop, Duration::from_millis(50)).await;
        });
        meet(addr.await, ErrorCode::DEADLINE_EXCEEDED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_cut_off_answers_are_lost() {
    for answer in [
        &b"\x16\x03\x01\x00\x05garbage\r\n\r\n"[..],
        b"HTTP/1.1 banana\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"",
    ] {
        let addr = rogue(move |mut stream| async move {
            let _ = stream.write_all(answer).await;
        });
        meet(addr.await, ErrorCode::UPSTREAM_LOST).await;
    }
}
