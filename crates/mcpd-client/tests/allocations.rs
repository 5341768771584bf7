//! A request costs one allocation, the body of its answer, and nothing else. In a binary of its own,
//! since the whole process is counted.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use mcpd_client::{Bytes, Client, ConnectOptions, Connection};
use mcpd_proto::session::{Server, ServerEvent, ServerSettings, Welcome};
use mcpd_proto::{Deframer, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CALLERS: usize = 16;
const EACH: usize = 500;

/// Answers every request with its body, and allocates nothing while it does.
fn echo(mut stream: TcpStream) -> Option<()> {
    let mut server = Server::new(ServerSettings::default().into(), Instant::now());
    let (mut deframer, mut buffer, mut out) = (Deframer::new(), vec![0; 64 * 1024], Vec::new());
    loop {
        let count = stream.read(&mut buffer).ok()?;
        let (mut input, now) = (buffer.get(..count)?, Instant::now());
        out.clear();
        while let Some(raw) = deframer.next(&mut input, &server.rules(), now).ok()? {
            match server.receive(&raw, now, &mut out).ok()? {
                ServerEvent::Hello(_) => server.welcome(Welcome::default(), &mut out),
                ServerEvent::Request(admitted) => Response {
                    seq: admitted.request.seq,
                    priority: admitted.request.priority,
                    body: admitted.request.body,
                    ..Response::default()
                }
                .encode(&mut out),
                _ => {}
            }
        }
        if count == 0 || stream.write_all(&out).is_err() {
            return None;
        }
    }
}

fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || echo(stream));
        }
    });
    address
}

/// Allocations of a request when so many callers send one after the other, each at the same time as
/// the others: one, and so many in a hundred requests beyond it.
async fn per_request<C, F>(what: &str, beyond: usize, call: C)
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Bytes> + Send,
{
    let mut counted = 0;
    // Whatever is kept for use again is there after the first round.
    for _ in 0..2 {
        let region = Region::new(COUNTED);
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| {
                let call = call.clone();
                tokio::spawn(async move {
                    for _ in 0..EACH {
                        assert_eq!(call().await.len(), 64);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let change = region.change();
        counted = change.allocations + change.reallocations;
    }
    let requests = CALLERS * EACH;
    assert!(
        counted.abs_diff(requests) * 100 < requests * beyond,
        "{what}: {counted} for {requests} requests"
    );
}

#[test]
fn a_request_allocates_the_body_of_its_answer_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (address, body) = (serve(), Bytes::from_static(&[7; 64]));
        let connection = Connection::connect(&address, ConnectOptions::new());
        let (connection, sent) = (connection.await.unwrap(), body.clone());
        per_request("a connection", 5, move || {
            let request = connection.request("user/login").body(sent.clone());
            async move { request.send().await.unwrap().into_body() }
        })
        .await;
        // With QoS 2 there are CONFIRMs, in batches that are as large as time lets them be.
        for (qos, beyond) in [(0, 5), (1, 5), (2, 50)] {
            let builder = Client::builder(address.as_str()).client_id("counted");
            let client = builder.build().await.unwrap();
            let sent = body.clone();
            per_request(&format!("a client, QoS {qos}"), beyond, move || {
                let request = client.request("user/login").qos(qos).body(sent.clone());
                async move { request.send().await.unwrap().into_body() }
            })
            .await;
        }
    });
}
