//! Services that a handler asks.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A request as a service saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: Arc<Parts>,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        let first = values.next()?.to_str().ok();
        assert!(values.next().is_none(), "{name} once");
        first
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path_and_query().unwrap().as_str()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// What a service has seen, in the order it came.
pub(crate) type Ledger = Arc<Mutex<Vec<Seen>>>;

/// A service of axum that answers as `answer` says.
pub(crate) struct Service {
    pub(crate) addr: SocketAddr,
    pub(crate) ledger: Ledger,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    pub(crate) async fn new<A, R>(answer: A) -> Service
    where
        A: Fn(Seen) -> R + Clone + Send + Sync + 'static,
        R: IntoResponse + Send + 'static,
    {
        Service::waiting(move |seen| {
            let answer = answer(seen).into_response();
            async move { answer }
        })
        .await
    }

    pub(crate) async fn waiting<A, F>(answer: A) -> Service
    where
        A: Fn(Seen) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let ledger = Ledger::default();
        let noted = Arc::clone(&ledger);
        let handle = async move |request: Request| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let head = Arc::new(head);
            let seen = Seen { head, body };
            noted.lock().unwrap().push(seen.clone());
            answer(seen).await
        };
        let handle = Arc::new(handle);
        let app = axum::Router::new().fallback(move |request: Request| {
            let handle = Arc::clone(&handle);
            async move { handle(request).await }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Service { addr, ledger, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn count(&self) -> usize {
        self.ledger.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> Seen {
        self.ledger
            .lock()
            .unwrap()
            .last()
            .cloned()
            .expect("it was asked")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}
