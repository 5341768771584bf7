//! A shop: three topics, and behind each of them another kind of handler.
//!
//! | topic | answered by |
//! |---|---|
//! | `user/login` | a Rust function of this program |
//! | `order/update` | an HTTP service of its own (`orders.rs`, here a second process) |
//! | `heartbeat` | the built-in handler `monitor` |
//!
//! `cargo run --example shop` starts all of it, sends a request to each topic, and serves until Ctrl-C; `-- --once` ends
//! after the requests. With OTEL_EXPORTER_OTLP_ENDPOINT set, traces go there.

#![allow(clippy::print_stdout)]

mod orders;

use mcpd::Server;
use mcpd::config::{self, LoadOptions};
use mcpd::function::{Client, Failure, Json, State};
use mcpd_proto::Trace;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::error::Error;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Users, and the SHA-256 of their passwords. A real shop would salt them and take its time over it.
type Users = Arc<HashMap<&'static str, [u8; 32]>>;

#[derive(Deserialize)]
struct Login {
    user: String,
    password: String,
}

#[derive(Serialize)]
struct Session {
    user: String,
    client: Option<String>,
    session: String,
}

async fn login(
    State(users): State<Users>,
    client: Client,
    Json(login): Json<Login>,
) -> Result<Json<Session>, Failure> {
    let known = users.get(login.user.as_str());
    let shown: [u8; 32] = Sha256::digest(&login.password).into();
    if known != Some(&shown) {
        return Err(Failure::rejected("user or password: is wrong").status(401));
    }
    let mut session = [0; 16];
    getrandom::fill(&mut session)?;
    Ok(Json(Session {
        user: login.user,
        client: client.id.map(|id| id.to_string()),
        session: hex(&session),
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("orders") => orders::serve().await,
        Some("--once") => shop(true).await,
        None => shop(false).await,
        Some(other) => Err(format!("what is {other:?}? there is only --once").into()),
    }
}

async fn shop(once: bool) -> Result<(), Box<dyn Error>> {
    let (mut orders, addr) = start_orders().await?;
    println!("orders listens on {addr} (HTTP)");
    let dir = tempfile::tempdir()?;
    let document = include_str!("handlers.yaml").replace("127.0.0.1:9090", &addr);
    let handlers = dir.path().join("handlers.yaml");
    std::fs::write(&handlers, document)?;

    let mut config = config::load(LoadOptions::from_process(None, Vec::new()))?;
    config.handlers_file = Some(handlers);
    let users: Users = Arc::new(HashMap::from([("ada", Sha256::digest("lovelace").into())]));
    let server = Server::builder()
        .config(config)
        .with_state(users)
        .route("user/login", login)
        .route_to("order/update", "orders")
        .route_to("heartbeat", "monitor")
        .start()
        .await?;
    println!(
        "shop listens on {} (MCP) and {} (HTTP)\n",
        server.data(),
        server.sidecar()
    );

    let client = mcpd_client::Client::builder(server.data().to_string()).client_id("till-7");
    let client = client.build().await?;
    for (topic, body) in [
        ("user/login", r#"{"user":"ada","password":"lovelace"}"#),
        ("user/login", r#"{"user":"ada","password":"byron"}"#),
        ("order/update", r#"{"id":7,"state":"paid"}"#),
        ("order/update", r#"{"id":7,"state":"lost"}"#),
        ("heartbeat", "here"),
    ] {
        ask(&client, topic, body).await?;
    }
    if !once {
        let to = server.data();
        println!(
            "Try: mcpd send --to {to} user/login '{{\"user\":\"ada\",\"password\":\"lovelace\"}}'"
        );
        println!("Ctrl-C ends the shop.");
        tokio::signal::ctrl_c().await?;
    }
    client.close().await;
    server.stop().await?;
    // The end of its input is the end of the service, which has its last spans to tell.
    drop(orders.stdin.take());
    orders.wait().await?;
    Ok(())
}

/// Sends a request and shows what comes back, and by which id its trace is found.
async fn ask(client: &mcpd_client::Client, topic: &str, body: &str) -> Result<(), Box<dyn Error>> {
    let mut random = [0; 24];
    getrandom::fill(&mut random)?;
    let (trace_id, span_id) = random.split_at(16);
    let trace = Trace {
        trace_id: trace_id.try_into()?,
        span_id: span_id.try_into()?,
        flags: 1,
    };
    println!("{topic} {body}");
    match client
        .request(topic)
        .body(body.to_owned())
        .trace(trace)
        .send()
        .await
    {
        Ok(answer) => println!("  = {}", one_line(answer.body())),
        Err(error) => {
            let status = error.status().map(|status| format!(" {status}"));
            let code = error
                .code()
                .map(|code| code.to_string())
                .unwrap_or_default();
            let body = error.body().map(|body| one_line(body)).unwrap_or_default();
            println!("  ! {code}{}: {body}", status.unwrap_or_default());
        }
    }
    println!("  trace {}\n", hex(&trace.trace_id));
    Ok(())
}

fn one_line(body: &[u8]) -> String {
    let lines = String::from_utf8_lossy(body);
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Starts the orders service and reads where it listens.
async fn start_orders() -> Result<(Child, String), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let command = command
        .arg("orders")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or("no output of the orders service")?;
    let line = BufReader::new(stdout).lines().next_line().await?;
    Ok((child, line.ok_or("the orders service does not start")?))
}
