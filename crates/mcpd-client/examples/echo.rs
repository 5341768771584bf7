//! Sends a few requests at once and prints their answers.
//!
//! `cargo run -p mcpd-client --example echo [HOST:PORT]`; without an address it brings its own server.

use mcpd_client::{ConnectOptions, Connection, State};
use std::time::Duration;

include!("../tests/support/echo.rs");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = match std::env::args().nth(1) {
        Some(address) => address,
        None => serve_echo().await?,
    };
    let options = ConnectOptions::new().client_id("example");
    let connection = Connection::connect(&address, options).await?;
    println!("{:?}", connection.server());
    println!("a heartbeat took {:?}", connection.ping().await?);

    let calls = ["one", "two", "three"].map(|word| {
        let request = connection.request("echo").body(word);
        tokio::spawn(request.timeout(Duration::from_secs(2)).send())
    });
    for call in calls {
        match call.await? {
            Ok(answer) => println!("{}", String::from_utf8_lossy(answer.body())),
            Err(error) => println!("{:?}: {error}", error.class()),
        }
    }
    connection.close().await;
    if let State::Closed(closed) = connection.state() {
        println!("{}", closed.text);
    }
    Ok(())
}
