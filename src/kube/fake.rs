//! An API server for tests that show what a real one cannot be made to do: whoever has it answers each request by hand,
//! in whichever order.

use super::{Cluster, Settings};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use hyper::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tower::service_fn;

/// How long a request may take in these tests, where time is paused.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Requests as they come in.
pub(super) struct Api {
    calls: mpsc::UnboundedReceiver<Call>,
}

/// A request that waits for its answer. One that is dropped never gets any.
pub(super) struct Call {
    /// Verb and resource: `GET configmaps/x`, `LIST configmaps`, `WATCH configmaps`, `POST events`.
    pub(super) what: String,
    /// Its query.
    pub(super) query: String,
    /// Its body.
    pub(super) body: Value,
    answer: oneshot::Sender<Response<Answer>>,
}

/// The body of an answer, which may go on for a while.
pub(super) struct Answer(mpsc::UnboundedReceiver<Bytes>);

/// A watch under way; it ends when this is dropped.
pub(super) struct Watching(mpsc::UnboundedSender<Bytes>);

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.poll_recv(context);
        next.map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}

impl Api {
    /// An API server, and the way to it.
    pub(super) fn new() -> (Api, Cluster) {
        let (sender, calls) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Body>| {
            let sender = sender.clone();
            async move {
                let (answer, answered) = oneshot::channel();
                let _ = sender.send(Call::of(request, answer).await);
                match answered.await {
                    Ok(response) => Ok::<_, Infallible>(response),
                    // Whoever was to answer has dropped it.
                    Err(_) => std::future::pending().await,
                }
            }
        });
        let settings = Settings {
            namespace: None,
            timeout: TIMEOUT,
        };
        let client = Client::new(service, "shop");
        (Api { calls }, Cluster::by(client, settings))
    }

    /// The next request, which has to be this one.
    pub(super) async fn expect(&mut self, what: &str) -> Call {
        let call = self.calls.recv().await.expect("the server lives");
        assert_eq!(call.what, what);
        call
    }

    /// Whether nothing is asked for so long.
    pub(super) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.calls.recv()).await.is_err()
    }
}

impl Call {
    async fn of(request: Request<Body>, answer: oneshot::Sender<Response<Answer>>) -> Call {
        let (head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let resource: Vec<&str> = head.uri.path().split("/shop/").skip(1).collect();
        let resource = resource.concat();
        let verb = match (head.method.as_str(), resource.contains('/')) {
            ("GET", false) if query.contains("watch=true") => "WATCH",
            ("GET", false) => "LIST",
            (method, _) => method,
        };
        let body = body.collect_bytes().await.unwrap_or_default();
        Call {
            what: format!("{verb} {resource}"),
            query,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            answer,
        }
    }

    /// Answers with this status and body.
    pub(super) fn answer(self, status: u16, body: &Value) {
        let (sender, parts) = mpsc::unbounded_channel();
        let _ = sender.send(body.to_string().into());
        let response = Response::builder().status(status).body(Answer(parts));
        let _ = self.answer.send(response.expect("a response"));
    }

    /// Answers with a failure of this code and reason.
    pub(super) fn fail(self, code: u16, reason: &str) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "no", "reason": reason, "code": code,
        });
        self.answer(code, &status);
    }

    /// Answers a list with these objects.
    pub(super) fn list(self, version: &str, items: &[Value]) {
        let list = json!({
            "kind": "List", "apiVersion": "v1",
            "metadata": {"resourceVersion": version}, "items": items,
        });
        self.answer(200, &list);
    }

    /// Begins to answer a watch.
    pub(super) fn watch(self) -> Watching {
        let (sender, parts) = mpsc::unbounded_channel();
        let _ = self.answer.send(Response::new(Answer(parts)));
        Watching(sender)
    }
}

impl Watching {
    /// Tells of a change: `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(super) fn tell(&self, kind: &str, object: &Value) {
        let line = json!({"type": kind, "object": object}).to_string() + "\n";
        let _ = self.0.send(line.into());
    }
}

/// A ConfigMap with routes in it.
pub(super) fn map(version: &str, text: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "mcpd-routes", "namespace": "shop", "resourceVersion": version, "uid": "u-1"},
        "data": {"routes.yaml": text},
    })
}
