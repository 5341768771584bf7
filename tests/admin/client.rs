//! A client of the admin API that may also say what no library would.

use crate::support::{PATIENCE, Server, Start};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn etag(&self) -> String {
        self.header("etag").expect("an ETag").to_owned()
    }

    /// Expects a problem document with this status; gives its text.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let json = self.json();
        assert_eq!(json["status"], status, "{self:?}");
        assert!(json["title"].is_string() && json["type"] == "about:blank");
        json["detail"].as_str().expect("a detail").to_owned()
    }

    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }
}

/// Sends `head` (without its last empty line) and `body` as they are, and reads to the end.
pub(crate) fn raw(addr: SocketAddr, head: &str, body: &[u8]) -> Got {
    let mut stream = TcpStream::connect(addr).expect("it accepts");
    stream.set_read_timeout(Some(PATIENCE * 6)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The server may have said enough before everything is written.
    let _ = stream.write_all(format!("{head}\r\n\r\n").as_bytes());
    let _ = stream.write_all(body);
    read(&mut stream)
}

pub(crate) fn read(stream: &mut TcpStream) -> Got {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer in time");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head: {text:?}"));
    Got {
        status: head[9..12].parse().expect("a status"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// One request to `/admin/v1/…` as anybody on this machine.
pub(crate) fn call(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Got {
    let mut head = format!("{method} /admin/v1/{path} HTTP/1.1\r\nConnection: close");
    if !headers
        .iter()
        .any(|line| line.to_lowercase().starts_with("host:"))
    {
        head.push_str("\r\nHost: localhost");
    }
    if !body.is_empty() || matches!(method, "PUT" | "POST") {
        head.push_str(&format!("\r\nContent-Length: {}", body.len()));
    }
    for line in headers {
        head.push_str(&format!("\r\n{line}"));
    }
    raw(addr, &head, body)
}

pub(crate) const JSON: &str = "Content-Type: application/json";
pub(crate) const YAML: &str = "Content-Type: application/yaml";

/// Requests to a server that lets loopback in.
pub(crate) trait Admin {
    fn admin(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Got;

    fn read(&self, path: &str) -> Got {
        self.admin("GET", path, &[], "")
    }

    fn put(&self, path: &str, body: &str) -> Got {
        self.admin("PUT", path, &[JSON], body)
    }
}

impl Admin for Server {
    fn admin(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Got {
        call(self.sidecar, method, path, headers, body.as_bytes())
    }
}

/// One entry of a list of tokens.
pub(crate) fn entry(name: &str, token: &str, scopes: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{{name: {name}, sha256: \"{hex}\", scopes: [{scopes}]}}")
}

/// A server that lets in who shows a token.
pub(crate) fn with_tokens(entries: &[String]) -> Start {
    Start::new().set("ADMIN__TOKENS", &format!("[{}]", entries.join(", ")))
}

/// A document of these topics to the handler echo.
pub(crate) fn document(topics: impl IntoIterator<Item = String>) -> String {
    let mut text = String::from("apiVersion: mcpd/v1\nkind: RouteTable\nroutes:\n");
    for topic in topics {
        text.push_str(&format!("  - {{topic: {topic}, handler: echo}}\n"));
    }
    text
}
