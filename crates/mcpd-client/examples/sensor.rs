//! A sensor that reports its readings whatever happens to its servers: the client reconnects, the
//! sensor only decides what a lost reading is worth.
//!
//! `cargo run -p mcpd-client --example sensor [ADDRESSES]`; without addresses it brings two
//! servers, one of which hangs up every 300 ms.

use mcpd_client::{Client, ErrorClass};
use std::time::Duration;

include!("../tests/support/echo.rs");

async fn serve_badly() -> std::io::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let patience = Duration::from_millis(300);
            tokio::spawn(tokio::time::timeout(patience, echo(stream)));
        }
    });
    Ok(address)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = match std::env::args().nth(1) {
        Some(addresses) => addresses,
        None => format!("{},{}", serve_badly().await?, serve_echo().await?),
    };
    // It starts although no server may be there yet.
    let client = Client::builder(addresses)
        .client_id("sensor-12")
        .timeout(Duration::from_secs(5))
        .build_lazy()?;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    for reading in 0..40_u32 {
        tick.tick().await;
        let report = client
            .request("sensor/12/temperature")
            .body(reading.to_string());
        match report.send().await {
            Ok(_) => println!("{reading}: reported"),
            // It did not arrive, and nobody else will send it.
            Err(error) if error.class() == ErrorClass::NotExecuted => {
                println!("{reading}: lost, {error}");
            }
            // The next reading will tell; one that must not get lost has QoS 1.
            Err(error) => println!("{reading}: perhaps reported, {error}"),
        }
    }
    client.close().await;
    Ok(())
}
