//! How often and whom a handler asks when things go wrong.

use crate::front::{Front, code};
use crate::service::{Seen, Service};
use crate::support::PATIENCE;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mcpd_client::ErrorCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// An address where nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_unavailable_then_the_circuit_opens_and_closes_again() {
    let addr = nobody().await;
    let care = "retry: {attempts: 1}, breaker: {consecutive: 3, open_for: 100ms, probes: 1}";
    let front = Front::new(&format!("url: \"http://{addr}/\", {care}")).await;
    for _ in 0..3 {
        assert_eq!(
            code(&front.refused("a").await),
            ErrorCode::UPSTREAM_UNAVAILABLE
        );
    }
    let error = front.refused("a").await;
    // A slow machine may be at the next probe already.
    let circuit = [ErrorCode::CIRCUIT_OPEN, ErrorCode::UPSTREAM_UNAVAILABLE];
    assert!(circuit.contains(&code(&error)), "{error}");
    front
        .ask_until("a", |answer| {
            let error = answer.as_ref().unwrap_err();
            code(error) == ErrorCode::CIRCUIT_OPEN && error.retry_after().is_some()
        })
        .await;
    let listener = tokio::net::TcpListener::bind(addr).await.unwrap();
    let app = axum::Router::new().fallback(|| async { "back" });
    tokio::spawn(async move { axum::serve(listener, app).await });
    front.ask_until("a", Result::is_ok).await;
    assert_eq!(front.metric("breaker_state", ",state=\"closed\""), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_half_the_time_is_ejected_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let services = [
        half(&broken).await,
        Service::new(|_: Seen| "well").await,
        Service::new(|_: Seen| "well").await,
    ];
    let [bad, good, other] = services.each_ref().map(|one| one.addr);
    let care = "ejection: {percent: 30, least: 10, base: 200ms, max: 1s}, breaker: {percent: 0, consecutive: 0}";
    let entry =
        format!("url: \"http://svc/\", endpoints: [\"{bad}\", \"{good}\", \"{other}\"], {care}");
    let front = Front::new(&entry).await;
    let deadline = Instant::now() + PATIENCE;
    while front.metric("ejections_total", "") == 0.0 {
        assert!(Instant::now() < deadline, "never ejected");
        for _ in 0..30 {
            let _ = front.request("a").send().await;
        }
    }
    broken.store(false, Ordering::SeqCst);
    let before = services[0].count();
    while services[0].count() < before + 10 {
        assert!(Instant::now() < deadline, "it does not come back");
        front.ask("a", "").await;
    }
}

async fn half(broken: &Arc<AtomicBool>) -> Service {
    let (n, broken) = (AtomicUsize::new(0), Arc::clone(broken));
    let n = Arc::new(n);
    Service::new(move |_: Seen| {
        let fails = n.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        match fails && broken.load(Ordering::SeqCst) {
            true => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            false => "well".into_response(),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_everything_is_not_asked_much_more_often() {
    let service = Service::new(|_: Seen| StatusCode::SERVICE_UNAVAILABLE).await;
    let url = service.url("/");
    let care = "refuses_before_running: true, retry: {attempts: 5, first_pause: 1ms}";
    let front = Front::new(&format!("url: \"{url}\", {care}")).await;
    let began = Instant::now();
    let mut sending = tokio::task::JoinSet::new();
    const REQUESTS: usize = 1000;
    for _ in 0..10 {
        let client = front.client.clone();
        sending.spawn(async move {
            for _ in 0..REQUESTS / 10 {
                let error = client
                    .request("a")
                    .timeout(PATIENCE)
                    .send()
                    .await
                    .unwrap_err();
                assert_eq!(code(&error), ErrorCode::OVERLOADED);
            }
        });
    }
    sending.join_all().await;
    // The floor of ten a second counts for the ten seconds before, too.
    let seconds = began.elapsed().as_secs() as usize + 1 + 10;
    let (asked, most) = (service.count(), REQUESTS * 12 / 10 + 10 * seconds);
    assert!(asked <= most, "{asked} attempts, {most} allowed");
    assert!(asked > REQUESTS, "{asked}: some are tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_connection_is_bounded_and_the_rest_told_at_once() {
    let (release, waits) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let service = Service::waiting({
        let (release, waits) = (Arc::clone(&release), Arc::clone(&waits));
        move |_| {
            let (release, waits) = (Arc::clone(&release), Arc::clone(&waits));
            async move {
                let released = release.notified();
                waits.fetch_add(1, Ordering::SeqCst);
                released.await;
                "done".into_response()
            }
        }
    })
    .await;
    let url = service.url("/");
    let pool = "pool: {max_connections: 2, max_pending: 3}";
    let front = Front::new(&format!("url: \"{url}\", {pool}")).await;
    let mut sent = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let client = front.client.clone();
        sent.spawn(async move { client.request("a").timeout(PATIENCE).send().await });
    }
    let deadline = Instant::now() + PATIENCE;
    while front.metric("pending", "") < 3.0 || waits.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < deadline, "they do not wait");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = front.refused("a").await;
    assert_eq!(code(&error), ErrorCode::OVERLOADED);
    assert!(error.retry_after().is_some());
    assert_eq!(front.metric("connections", ",state=\"active\""), 2.0);
    while !sent.is_empty() {
        release.notify_waiters();
        if let Ok(Some(answer)) =
            tokio::time::timeout(Duration::from_millis(20), sent.join_next()).await
        {
            assert_eq!(answer.unwrap().unwrap().body(), "done");
        }
    }
    assert_eq!(service.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_the_same_key_go_to_the_same_endpoint() {
    let services = [
        Service::new(|_: Seen| "0").await,
        Service::new(|_: Seen| "1").await,
        Service::new(|_: Seen| "2").await,
    ];
    let [a, b, c] = services.each_ref().map(|one| one.addr);
    let entry = format!(
        "url: \"http://svc/\", endpoints: [\"{a}\", \"{b}\", \"{c}\"], hash_by: \"header:x-user\""
    );
    let front = Front::new(&entry).await;
    let mut all = std::collections::HashSet::new();
    for user in 0..20 {
        let mut of_one = std::collections::HashSet::new();
        for _ in 0..5 {
            let request = front.request("a").header("x-user", user.to_string());
            of_one.insert(request.send().await.unwrap().into_body());
        }
        assert_eq!(of_one.len(), 1, "{user}");
        all.extend(of_one);
    }
    assert!(all.len() > 1, "all users at one endpoint");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_take_endpoints_out_and_put_them_back() {
    let services = [
        Service::new(|_: Seen| "0").await,
        Service::new(|_: Seen| "1").await,
    ];
    let [a, b] = services.each_ref().map(|one| one.addr);
    let front = Front::new(&format!(
        "url: \"http://svc/\", endpoints: [\"{a}\", \"{b}\"]"
    ))
    .await;
    let post = |what: &str, endpoint: &str| {
        let path = format!("/admin/v1/handlers/up/endpoints/{endpoint}/{what}");
        crate::support::http(front.server.sidecar, "POST", &path)
    };
    let (status, _, body) = post("eject", &a.to_string());
    assert_eq!(status, 200, "{body}");
    for _ in 0..30 {
        assert_eq!(front.ask("x", "").await.body(), "1");
    }
    let shown = front.shown();
    let endpoints = shown["upstream"]["endpoints"].as_array().unwrap();
    let of = |addr: std::net::SocketAddr| {
        let found = endpoints
            .iter()
            .find(|one| one["address"] == addr.to_string());
        found.unwrap()
    };
    assert_eq!(of(a)["ejected"], "operator");
    assert_eq!(of(b)["ejected"], serde_json::Value::Null);
    assert_eq!(of(b)["attempts"], 30);
    assert_eq!(
        of(b)["connections"]["idle"],
        1,
        "one connection for all of them"
    );
    assert_eq!(post("eject", &b.to_string()).0, 200);
    assert_eq!(
        code(&front.refused("x").await),
        ErrorCode::UPSTREAM_UNAVAILABLE
    );
    assert_eq!(post("restore", &a.to_string()).0, 200);
    assert_eq!(front.ask("x", "").await.body(), "0");
    assert_eq!(post("restore", "127.0.0.1:1").0, 404);
    assert_eq!(post("restore", "nonsense").0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_call() {
    let (began, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    struct Tell(Arc<Notify>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let service = Service::waiting({
        let (began, ended) = (Arc::clone(&began), Arc::clone(&ended));
        move |_| {
            let (began, tell) = (Arc::clone(&began), Tell(Arc::clone(&ended)));
            async move {
                let _tell = tell;
                began.notify_one();
                std::future::pending().await
            }
        }
    })
    .await;
    for version in ["1", "auto"] {
        let url = service.url("/");
        let front = Front::new(&format!("url: \"{url}\", http: {version}")).await;
        for gone in [false, true] {
            let client = front.client.clone();
            let call =
                tokio::spawn(async move { client.request("a").timeout(PATIENCE).send().await });
            let in_time = |what: Arc<Notify>| async move {
                tokio::time::timeout(PATIENCE, what.notified())
                    .await
                    .unwrap();
            };
            in_time(Arc::clone(&began)).await;
            match gone {
                true => front.client.close().await,
                // Dropping a request cancels it.
                false => call.abort(),
            }
            in_time(Arc::clone(&ended)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_answers_for_an_endpoint_that_hangs() {
    let hangs = Service::waiting(|_| std::future::pending()).await;
    let works = Service::new(|_: Seen| "done").await;
    let (a, b) = (hangs.addr, works.addr);
    let care = "idempotent: true, hedge: {after: 20ms}, timeouts: {try: 15s}";
    let front = Front::new(&format!(
        "url: \"http://svc/\", endpoints: [\"{a}\", \"{b}\"], {care}"
    ))
    .await;
    let deadline = Instant::now() + PATIENCE;
    while hangs.count() == 0 {
        assert!(Instant::now() < deadline, "the other was never asked");
        assert_eq!(front.ask("a", "").await.body(), "done");
    }
    assert!(front.metric("retries_total", "") >= 1.0);
}
