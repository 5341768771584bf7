//! Functions in their server: layers around them, their end, and the server's.

use super::{ANYWHERE, client, server, text_of};
use mcpd::function::{Failure, Function, IntoReply, Reply, Request};
use mcpd::{Route, Server};
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::{Notify, Semaphore};

/// Refuses requests without a HEADER, and counts those it has seen.
#[derive(Clone)]
struct Guarded<T>(T, Arc<AtomicUsize>);

#[derive(Clone)]
struct Guard(Arc<AtomicUsize>);

impl<T> tower_layer::Layer<T> for Guard {
    type Service = Guarded<T>;
    fn layer(&self, inner: T) -> Guarded<T> {
        Guarded(inner, Arc::clone(&self.0))
    }
}

impl<T> tower_service::Service<Request> for Guarded<T>
where
    T: tower_service::Service<Request, Response = Reply, Error = Infallible>,
    T::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.1.fetch_add(1, Ordering::Relaxed);
        if request.header("key").is_none() {
            let refusal = Failure::rejected("key: is missing").status(401);
            return Box::pin(ready(Ok(refusal.into_reply())));
        }
        Box::pin(self.0.call(request))
    }
}

#[tokio::test]
async fn layers_are_around_one_function_or_all_and_keep_what_they_keep() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let go_on = Arc::new(Semaphore::new(0));
    let slow = {
        let (running, most, go_on) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go_on));
        move || {
            let (running, most, go_on) =
                (Arc::clone(&running), Arc::clone(&most), Arc::clone(&go_on));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                go_on.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
            }
        }
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let guard = Guard(Arc::clone(&seen));
    let server = server()
        .layer(guard)
        .route(
            "slow",
            slow.layer(tower::limit::ConcurrencyLimitLayer::new(2)),
        )
        .route("quick", || async { "there" });
    let server = server.start().await.unwrap();
    let client = client(&server).await;
    let error = client.request("quick").send().await.unwrap_err();
    assert_eq!(
        (error.status(), text_of(&error).as_str()),
        (Some(401), "key: is missing")
    );
    let calls = (0..6).map(|_| client.request("slow").header("key", "1").send());
    let calls: Vec<_> = calls.map(tokio::spawn).collect();
    while running.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    go_on.add_permits(6);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(seen.load(Ordering::Relaxed), 7);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_function_is_dropped_when_its_client_gives_up() {
    struct Dropped(Arc<Notify>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hang = {
        let (began, dropped) = (Arc::clone(&began), Arc::clone(&dropped));
        move || {
            let (began, dropped) = (Arc::clone(&began), Dropped(Arc::clone(&dropped)));
            async move {
                let _dropped = dropped;
                began.notify_one();
                std::future::pending::<()>().await;
            }
        }
    };
    let server = server().route("hang", hang).start().await.unwrap();
    let client = client(&server).await;
    let call = tokio::spawn(client.request("hang").send());
    began.notified().await;
    call.abort();
    dropped.notified().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn several_servers_live_in_one_process_and_a_wrong_one_says_why() {
    let one = server()
        .route("who", || async { "one" })
        .start()
        .await
        .unwrap();
    let two = server()
        .route("who", || async { "two" })
        .start()
        .await
        .unwrap();
    for (server, name) in [(&one, "one"), (&two, "two")] {
        let answer = client(server).await.request("who").send().await.unwrap();
        assert_eq!(&answer.body()[..], name.as_bytes());
    }
    let taken = Server::builder().listen(one.data()).sidecar(ANYWHERE);
    let error = taken.start().await.unwrap_err().to_string();
    assert!(error.contains(&one.data().to_string()), "{error}");
    let wrong = server()
        .route("a/#/b", || async {})
        .route(Route::new("x").name("No"), || async {});
    let error = wrong.start().await.unwrap_err().to_string();
    assert!(
        error.contains("a/#/b") && error.contains("\"No\""),
        "{error}"
    );
    let twice = server().route("x", || async {}).route("x", || async {});
    assert!(
        twice
            .start()
            .await
            .unwrap_err()
            .to_string()
            .contains("routes[1]")
    );
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_connected_when_it_stops_gets_its_answer() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
        move || {
            let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
            async move {
                began.notify_one();
                go_on.notified().await;
                "done"
            }
        }
    };
    let server = server().route("slow", slow).start().await.unwrap();
    let data = server.data();
    let connection = mcpd_client::Connection::connect(data.to_string(), Default::default());
    let connection = connection.await.unwrap();
    let call = tokio::spawn(connection.request("slow").send());
    began.notified().await;
    let stopping = tokio::spawn(server.stop());
    let mut state = connection.watch();
    state
        .wait_for(|state| !matches!(state, mcpd_client::State::Open))
        .await
        .unwrap();
    go_on.notify_one();
    assert_eq!(&call.await.unwrap().unwrap().body()[..], b"done");
    stopping.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(data).await.is_err());
}
