//! Logs a user in: JSON both ways, a priority, a time limit, and what to make of each failure.
//!
//! `cargo run -p mcpd-client --features json --example login [ADDRESSES]`; without addresses it
//! brings its own server.

use mcpd_client::{Client, ErrorClass, ErrorKind};
use serde::{Deserialize, Serialize};
use std::time::Duration;

include!("../tests/support/echo.rs");

#[derive(Debug, Serialize, Deserialize)]
struct Login {
    user: String,
    device: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = match std::env::args().nth(1) {
        Some(addresses) => addresses,
        None => serve_echo().await?,
    };
    let client = Client::builder(addresses)
        .client_id("edge-7")
        .build()
        .await?;
    let login = Login {
        user: "ada".to_owned(),
        device: "till-3".to_owned(),
    };
    let request = client.request("user/login").json(&login)?.priority(5);
    match request.timeout(Duration::from_secs(2)).send().await {
        // A real server would say something of its own.
        Ok(answer) => println!("logged in: {:?}", answer.json::<Login>()?),
        Err(error) if error.kind() == ErrorKind::Executed => {
            println!("the server says no: {:?}", error.body());
        }
        Err(error) => match error.class() {
            ErrorClass::NotExecuted => println!("nothing happened: {error}"),
            _ => println!("it may have happened: {error}"),
        },
    }
    client.close().await;
    Ok(())
}
