//! Sends a burst of requests at once and watches the connections grow.
//!
//! `cargo run -p mcpd-client --example burst [ADDRESSES] [COUNT]`; without addresses it brings two
//! servers of its own.

use mcpd_client::Client;
use std::time::{Duration, Instant};

include!("../tests/support/echo.rs");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let addresses = match args.next() {
        Some(addresses) => addresses,
        None => format!("{},{}", serve_echo().await?, serve_echo().await?),
    };
    let count: usize = args.next().map_or(Ok(20_000), |count| count.parse())?;
    let client = Client::builder(addresses)
        .max_connections(8)
        .idle_timeout(Duration::from_secs(1))
        .build()
        .await?;
    let began = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..count {
        calls.spawn(client.request("echo").body(n.to_be_bytes().to_vec()).send());
    }
    let mut failed = 0;
    while let Some(call) = calls.join_next().await {
        if let Err(error) = call? {
            failed += 1;
            println!("{:?}: {error}", error.class());
        }
    }
    println!(
        "{count} requests, {failed} failed, in {:?} over {} connections",
        began.elapsed(),
        client.connections()
    );
    // Connections that are not needed go.
    tokio::time::sleep(Duration::from_secs(3)).await;
    println!("{} connections later", client.connections());
    client.close().await;
    Ok(())
}
