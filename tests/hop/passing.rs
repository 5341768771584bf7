//! What goes along, what comes back, and loops.

use crate::embedded::{Embedded, document};
use crate::front::{Does, Front, code, far, leads_to, says};
use crate::support::{Server, Start, scratch, write_routes};
use mcpd::handler::{Echo, Handler, Mcp, McpSettings};
use mcpd::message::{Answer, Call, Outcome, Reply};
use mcpd::upstream::{BoxFuture, Resolve};
use mcpd_client::{ErrorCode, MetaBuf, Trace};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// What the far end saw of a request.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    topic: String,
    body: Vec<u8>,
    priority: u8,
    trace: Option<Trace>,
    timeout_ms: u32,
    message_id: Option<[u8; 16]>,
    content_type: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    hops: Option<u8>,
}

#[test]
fn a_request_goes_along_with_all_that_belongs_to_it() {
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let notes = Arc::clone(&seen);
    let far = far(Arc::new(Does(move |call: &Call<'_>| {
        let headers = call.meta.headers();
        notes.lock().unwrap().push(Seen {
            topic: call.topic.as_str().to_owned(),
            body: call.body.to_vec(),
            priority: call.priority,
            trace: call.meta.trace(),
            timeout_ms: call.meta.timeout_ms().unwrap(),
            message_id: call.meta.message_id(),
            content_type: call.meta.content_type().map(str::to_owned),
            headers: headers
                .map(|(key, value)| (key.to_owned(), value.to_vec()))
                .collect(),
            hops: call.meta.hops(),
        });
        Outcome::Now(says("done"))
    })));
    let front = Front::new(&[far.addr], |settings| {
        settings.topic("eu/{2..}/{1}").unwrap()
    });
    let trace: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        .parse()
        .unwrap();
    let mut meta = MetaBuf::new();
    meta.set_hops(3);
    let request = front
        .client
        .request("order/new/7")
        .meta(meta)
        .body("buy")
        .priority(5)
        .trace(trace);
    let request = request
        .header("tenant", "acme")
        .header("tenant", [0xff])
        .content_type("text/x");
    let request = request.message_id([7; 16]).timeout(Duration::from_secs(15));
    let answer = front.run(request.send()).unwrap();
    assert_eq!(answer.body(), "done");
    assert_eq!(answer.trace().unwrap().trace_id, trace.trace_id);

    let mut seen = seen.lock().unwrap().clone();
    let one = seen.pop().unwrap();
    assert!(seen.is_empty());
    assert!((1..=15_000).contains(&one.timeout_ms), "{}", one.timeout_ms);
    let expected = Seen {
        topic: "eu/new/7/order".to_owned(),
        body: b"buy".to_vec(),
        priority: 5,
        trace: Some(trace),
        timeout_ms: one.timeout_ms,
        message_id: Some(hashed("till-7", [7; 16])),
        content_type: Some("text/x".to_owned()),
        headers: vec![
            ("tenant".into(), b"acme".to_vec()),
            ("tenant".into(), vec![0xff]),
        ],
        hops: Some(2),
    };
    assert_eq!(one, expected);
}

/// First 16 bytes of SHA-256 over principal (none), client id and message id, each behind its length.
fn hashed(client: &str, id: [u8; 16]) -> [u8; 16] {
    use sha2::Digest;
    let mut text = vec![0; 4];
    for part in [client.as_bytes(), &id] {
        text.extend_from_slice(&(part.len() as u32).to_be_bytes());
        text.extend_from_slice(part);
    }
    let hash: [u8; 32] = sha2::Sha256::digest(&text).into();
    *hash.first_chunk().unwrap()
}

#[test]
fn an_answer_comes_back_as_it_is() {
    let far = far(Arc::new(Does(|call: &Call<'_>| {
        let mut meta = MetaBuf::new();
        meta.set_content_type("application/json").unwrap();
        meta.add_header("stock", b"3").unwrap();
        meta.add_header("stock", b"4").unwrap();
        let code = match call.topic.as_str() {
            "says-no" => Some(ErrorCode::HANDLER_ERROR),
            "is-full" => Some(ErrorCode::RATE_LIMITED),
            "is-strange" => Some(ErrorCode::new(0x0377)),
            _ => None,
        };
        if code.is_some() {
            meta.set_status(409);
            meta.set_retry_after(Duration::from_millis(1500));
        }
        let body = "{}".into();
        Outcome::Now(Answer::from(Reply { code, body, meta }))
    })));
    let front = Front::new(&[far.addr], |settings| settings);
    let answer = front.ask("works", "").unwrap();
    assert_eq!(
        (answer.body(), answer.content_type()),
        (&"{}".into(), Some("application/json"))
    );
    let headers: Vec<_> = answer.headers().collect();
    assert_eq!(headers, [("stock", &b"3"[..]), ("stock", &b"4"[..])]);

    for (topic, code) in [
        ("says-no", ErrorCode::HANDLER_ERROR),
        ("is-full", ErrorCode::RATE_LIMITED),
        ("is-strange", ErrorCode::new(0x0377)),
    ] {
        let error = front.ask(topic, "").unwrap_err();
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.status(), Some(409));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1500)));
        assert_eq!(error.meta().header_count(), 2);
        match error.body() {
            Some(body) => assert_eq!(
                (body, error.content_type()),
                (&"{}".into(), Some("application/json"))
            ),
            None => assert_eq!(error.text(), "{}"),
        }
    }
}

trait HeaderCount {
    fn header_count(&self) -> usize;
}

impl HeaderCount for mcpd_client::Meta<'_> {
    fn header_count(&self) -> usize {
        self.headers().filter(|(key, _)| *key == "stock").count()
    }
}

#[test]
fn what_one_server_does_not_take_now_another_may_and_other_refusals_are_for_the_client() {
    let refusing = |code: ErrorCode| {
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        let server = far(Arc::new(Does(move |_: &Call<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            Outcome::Now(Answer::error(code, "not here"))
        })));
        (server, asked)
    };
    let takes = far(Arc::new(Does(|_: &Call<'_>| Outcome::Now(says("here")))));
    for code in [ErrorCode::OVERLOADED, ErrorCode::DRAINING] {
        let (server, asked) = refusing(code);
        let front = Front::new(&[server.addr, takes.addr], |settings| settings);
        while asked.load(Ordering::Relaxed) == 0 {
            assert_eq!(front.ask("a", "").unwrap().body(), "here");
        }
    }
    for told in [ErrorCode::UPSTREAM_UNAVAILABLE, ErrorCode::RATE_LIMITED] {
        let (server, asked) = refusing(told);
        let front = Front::new(&[server.addr], |settings| settings);
        assert_eq!(code(front.ask("a", "")), told);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn refusals_of_a_real_server_keep_their_class() {
    let dir = scratch();
    let routes =
        "{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: 'there/#', handler: echo}]}";
    let next = Start::new().routes(&write_routes(&dir, routes)).spawn();
    let front = Front::new(&[next.data], |settings| settings);
    assert_eq!(front.ask("there/it/is", "hello").unwrap().body(), "hello");
    assert_eq!(code(front.ask("elsewhere", "")), ErrorCode::NO_ROUTE);
}

#[test]
fn a_topic_that_cannot_be_made_is_refused_here() {
    let next = Server::start();
    let front = Front::new(&[next.data], |settings| settings.topic("{2}").unwrap());
    for topic in ["short", "a/$reserved", "a/"] {
        let refused = front.ask(topic, "");
        // A level that starts with `$` is matched by no pattern.
        let expected = [ErrorCode::INVALID_REQUEST, ErrorCode::NO_ROUTE];
        assert!(expected.contains(&code(refused)), "{topic}");
    }
    assert_eq!(front.ask("a/echo", "yes").unwrap().body(), "yes");
}

#[test]
fn a_loop_of_servers_ends_when_no_hops_are_left() {
    // Two servers that lead to each other; the address of one is known when both are there.
    let first = Arc::<OnceLock<SocketAddr>>::default();
    let settings = McpSettings::new(vec![("first".to_owned(), 1)]);
    let resolver = Arc::new(Later(Arc::clone(&first)));
    let to_first = Mcp::with_resolver("next", settings, Arc::default(), resolver);
    let to_first = Arc::new(to_first);
    let counting = Arc::new(Counting(to_first, AtomicUsize::new(0)));
    let handler = Arc::clone(&counting) as Arc<dyn Handler>;
    let b = Embedded::start(vec![("next", handler)], &document(&[("'#'", "next")]));
    let front = Front::new(&[b.addr], |settings| settings);
    first.set(front.server.addr).unwrap();
    assert_eq!(code(front.ask("round/and/round", "")), ErrorCode::HOP_LIMIT);
    // The first passes on with 7 hops left, and the ninth would be the first again.
    assert_eq!(
        counting.1.load(Ordering::Relaxed),
        4,
        "each server took every second hop"
    );
}

/// An address that becomes known.
struct Later(Arc<OnceLock<SocketAddr>>);

impl Resolve for Later {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let known = self.0.get().copied();
        Box::pin(async move {
            known
                .map(|addr| vec![addr])
                .ok_or(io::Error::other("not yet"))
        })
    }
}

/// Counts what another handler is asked.
struct Counting(Arc<dyn Handler>, AtomicUsize);

impl Handler for Counting {
    fn call<'a>(&'a self, call: &Call<'a>) -> Outcome<'a> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.call(call)
    }

    fn forwards(&self) -> bool {
        self.0.forwards()
    }
}

#[test]
fn a_request_without_hops_is_refused_only_where_it_would_go_on() {
    let next = Server::start();
    let to_next = leads_to(&[next.data], |settings| settings);
    let handlers: Vec<(&str, Arc<dyn Handler>)> = vec![("next", to_next), ("here", Arc::new(Echo))];
    let routes = document(&[("echo", "next"), ("here", "here")]);
    let front = Front::of(Embedded::start(handlers, &routes));
    let with = |topic: &str, hops: u8| {
        let mut meta = MetaBuf::new();
        meta.set_hops(hops);
        front.run(front.request(topic).meta(meta).send())
    };
    assert_eq!(code(with("echo", 0)), ErrorCode::HOP_LIMIT);
    assert!(with("echo", 1).is_ok());
    assert!(with("here", 0).is_ok());
}
