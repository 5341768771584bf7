//! A receiver of traces by OTLP over HTTP, in good or bad health, inside the measuring process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// What it does with spans.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Health {
    /// Takes everything and looks at nothing.
    Good,
    /// The same, each time after a while.
    Slow(Duration),
    /// Answers 503.
    Refusing,
    /// Reads and never answers.
    Silent,
}

/// Starts one; it ends with the process.
pub(crate) fn start(health: Health) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // It ends with its connection.
            thread::spawn(move || take(&stream, health));
        }
    });
    Ok(addr)
}

fn take(mut stream: &TcpStream, health: Health) -> Result<()> {
    let mut input = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(input.read_line(&mut line)? > 0, "the end");
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse().context("a length")?;
            }
        }
        std::io::copy(&mut (&mut input).take(length), &mut std::io::sink())?;
        let status = match health {
            Health::Good => "200 OK",
            Health::Slow(time) => {
                thread::sleep(time);
                "200 OK"
            }
            Health::Refusing => "503 Service Unavailable",
            Health::Silent => continue,
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
    }
}
