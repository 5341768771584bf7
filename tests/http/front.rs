//! A server whose handlers come from a document, and a client of it.

use crate::support::{PATIENCE, Server, Start, scratch, write_routes};
use mcpd_client::{Answer, ConnectOptions, Connection, Error, ErrorCode, RequestBuilder};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) struct Front {
    pub(crate) server: Server,
    pub(crate) client: Connection,
    dir: tempfile::TempDir,
}

/// A document of these entries, one a line.
pub(crate) fn handlers(entries: &str) -> String {
    format!("apiVersion: mcpd/v1\nkind: Handlers\nhandlers:\n{entries}\n")
}

/// Writes a file as a whole.
pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

impl Front {
    /// All topics lead to the handler `up` of this entry.
    pub(crate) async fn new(entry: &str) -> Front {
        Front::with(
            &handlers(&format!("  - {{name: up, type: http, {entry}}}")),
            |start| start,
        )
        .await
    }

    /// The same with a whole document.
    pub(crate) async fn with(text: &str, change: impl FnOnce(Start) -> Start) -> Front {
        let dir = scratch();
        let file = dir.path().join("handlers.yaml");
        write(&file, text);
        let routes = "apiVersion: mcpd/v1\nkind: RouteTable\nroutes: [{topic: '#', handler: up}]\n";
        let routes = write_routes(&dir, routes);
        let start = Start::new().routes(&routes);
        let start = start.set("HANDLERS_FILE", file.to_str().unwrap());
        let server = change(start).spawn();
        let options = ConnectOptions::new().client_id("till-7");
        let client = Connection::connect(server.data.to_string(), options);
        let client = client.await.unwrap();
        Front {
            server,
            client,
            dir,
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("handlers.yaml")
    }

    pub(crate) fn request(&self, topic: &str) -> RequestBuilder {
        self.client.request(topic).timeout(PATIENCE)
    }

    /// Asks and expects a RESPONSE.
    pub(crate) async fn ask(&self, topic: &str, body: &str) -> Answer {
        let body = body.to_owned();
        let answer = self.request(topic).body(body).send().await;
        answer.unwrap_or_else(|error| panic!("a RESPONSE, not {error}"))
    }

    /// Asks and expects an ERROR.
    pub(crate) async fn refused(&self, topic: &str) -> Error {
        let answer = self.request(topic).send().await;
        answer.expect_err("an ERROR")
    }

    /// Asks until there is an answer that `wanted` accepts.
    pub(crate) async fn ask_until(
        &self,
        topic: &str,
        wanted: impl Fn(&Result<Answer, Error>) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.request(topic).send().await;
            if wanted(&answer) {
                return;
            }
            assert!(Instant::now() < deadline, "it stays {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the admin API shows of the handler `up`.
    pub(crate) fn shown(&self) -> serde_json::Value {
        let (status, text) = self.server.get("/admin/v1/handlers/up");
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A metric of the handler `up`, with further labels.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> f64 {
        let series = format!("mcpd_upstream_{name}{{handler=\"up\"{labels}}}");
        self.server.metric(&series)
    }
}

pub(crate) fn code(error: &Error) -> ErrorCode {
    error
        .code()
        .unwrap_or_else(|| panic!("an ERROR of the server, not {error}"))
}
