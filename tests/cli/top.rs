//! `mcpd top`, in a terminal and for scripts.

use crate::http::{self, answer};
use crate::run::{Ran, run};
use crate::screen::Screen;
use crate::support::{Server, Start};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

fn top(sidecar: SocketAddr, more: &[&str]) -> Vec<String> {
    let args = ["top", "--admin"].map(str::to_owned).into_iter();
    let args = args.chain([sidecar.to_string()]);
    args.chain(more.iter().map(|arg| (*arg).to_owned()))
        .collect()
}

/// Requests without a pause, one of two for a topic that has no route, until it is dropped.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn on(server: &Server) -> Load {
        let (mut peer, over) = (server.peer(), Arc::new(AtomicBool::new(false)));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                peer.expect_alive(1);
                peer.request(2, "nowhere", b"");
                peer.expect().error();
            }
        });
        Load {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

#[test]
fn a_snapshot_has_rates_latencies_and_routes() {
    let server = Start::new().set("SERVER_ID", "test-1").spawn();
    let _load = Load::on(&server);
    let ran = run(top(server.sidecar, &["--once", "--interval", "200ms"])).expect(0);
    for part in [
        "test-1 (version ",
        "running, ready",
        "1 open; ",
        "revision 1, hash ",
        "server 0/s, handler 0/s, client ",
        "ROUTE",
    ] {
        assert!(ran.text().contains(part), "{part} in {ran:?}");
    }
    assert!(
        ran.text().lines().any(|line| line.starts_with("echo ")),
        "{ran:?}"
    );
    assert!(!ran.text().contains('\u{1b}'), "{ran:?}");

    let said = run(top(server.sidecar, &["--json", "--interval", "200ms"]))
        .expect(0)
        .json();
    let number = |pointer: &str| {
        said.pointer(pointer)
            .and_then(|value| value.as_f64())
            .unwrap_or(-1.0)
    };
    assert_eq!(number("/gauges/connections"), 1.0);
    let echo = number("/rates/routes/echo/per_second");
    assert!(echo > 0.0, "{said}");
    assert_eq!(number("/rates/routes/echo/client"), 0.0);
    // One of two has no route; a page is written while both are counted.
    let (client, all) = (
        number("/rates/requests/client"),
        number("/rates/requests/per_second"),
    );
    assert!(all * 0.25 < client && client < all * 0.75, "{said}");
    let (p50, p99) = (number("/rates/requests/p50"), number("/rates/requests/p99"));
    assert!(0.0 < p50 && p50 <= p99, "{said}");
    assert!(
        number("/rates/frames_in") > 0.0 && number("/rates/bytes_out") > 0.0,
        "{said}"
    );
}

#[test]
fn keys_do_what_they_say_and_the_terminal_is_given_back() {
    let server = Start::new().set("SERVER_ID", "test-1").spawn();
    let _load = Load::on(&server);
    let mut screen = Screen::run(&top(server.sidecar, &["--interval", "100ms"]), 30, 100);
    let text = screen.expect("REQ/S▾");
    assert!(screen.is_taken(), "{text}");
    for part in [
        "mcpd top",
        "test-1 (version ",
        "running, ready",
        "1 open",
        "every 100ms",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let is_routed = |text: &str| text.lines().any(|line| line.starts_with("echo "));
    screen.expect_that("the route echo", is_routed);
    screen.type_in("s");
    screen.expect("ERR/S▾");
    screen.type_in("+");
    screen.expect("every 250ms");
    screen.type_in("p");
    screen.expect("PAUSED");
    screen.type_in("p?");
    screen.expect("sort routes by the next column");
    screen.type_in("?");
    screen.expect("ERR/S▾");
    screen.resize(1, 1);
    screen.resize(4, 17);
    screen.expect("mcpd top  http:/");
    screen.resize(30, 100);
    screen.expect("ERR/S▾");
    screen.type_in("q");
    screen.expect_end(0);
}

#[test]
fn it_ends_in_order_by_ctrl_c_and_by_signals() {
    let server = Server::start();
    for end in ["\u{3}", "TERM", "HUP", "INT"] {
        let mut screen = Screen::run(&top(server.sidecar, &[]), 24, 80);
        screen.expect("running, ready");
        assert!(screen.is_taken());
        match end {
            "\u{3}" => screen.type_in(end),
            signal => screen.signal(signal),
        }
        screen.expect_end(0);
    }
}

#[test]
fn outages_and_restarts_are_told_and_it_goes_on() {
    let mut server = Server::start();
    let (data, sidecar) = (server.data, server.sidecar);
    // What a process has counted tells it from the next, even within a second.
    server.peer().expect_alive(1);
    let mut screen = Screen::run(&top(sidecar, &["--interval", "100ms"]), 24, 120);
    screen.expect("REQ/S▾");
    server.signal("KILL");
    server.await_exit();
    screen.expect("no answer");
    screen.expect("cannot connect to http://");
    let again = Start::new().listen(data).sidecar(sidecar);
    let _again = again.set("SERVER_ID", "the-second").spawn();
    let text = screen.expect("(1 seen)");
    assert!(
        text.contains("the-second") && !text.contains("no answer"),
        "{text}"
    );
    screen.expect("REQ/S▾");
    screen.type_in("q");
    screen.expect_end(0);
}

#[test]
fn a_drain_is_watched() {
    let server = Start::new().set("DRAIN__DELAY", "1h").spawn();
    let screen = Screen::run(&top(server.sidecar, &["--interval", "100ms"]), 24, 160);
    screen.expect("running, ready");
    server.signal("TERM");
    let text = screen.expect("drain        delay");
    assert!(text.contains("shutting_down, not ready"), "{text}");
}

#[test]
fn without_a_token_it_shows_what_anybody_may_see() {
    // Of a token that nobody has.
    let tokens = format!(
        "[{{name: ops, sha256: \"{}\", scopes: [read]}}]",
        "0".repeat(64)
    );
    let server = Start::new()
        .set("ADMIN__TOKENS", &tokens)
        .set("SERVER_ID", "test-1")
        .spawn();
    let expect_pages = |ran: Ran| {
        for part in [
            "test-1 (version ",
            "running, ready",
            "revision 1",
            "not shown",
            "progress of a drain: ",
        ] {
            assert!(ran.text().contains(part), "{part} in {ran:?}");
        }
    };
    let once = ["--once", "--interval", "100ms"];
    expect_pages(run(top(server.sidecar, &once)).expect(0));
    // Nor does a port without an admin API keep it from the rest.
    let mut apart = Start::new()
        .set("ADMIN__LISTEN", "127.0.0.1:0")
        .set("SERVER_ID", "test-1")
        .spawn();
    apart.await_admin();
    expect_pages(run(top(apart.sidecar, &once)).expect(0));
}

#[test]
fn what_is_no_server_is_told_with_its_exit_code() {
    let ran = run(top(([127, 0, 0, 1], 1).into(), &["--once"])).expect(69);
    assert!(
        ran.stderr.contains("no connection: cannot connect"),
        "{ran:?}"
    );
    let page = answer("200 OK", "Content-Type: text/plain\r\n", "hello 1\n");
    let (addr, served) = http::serve(vec![page]);
    let ran = run(top(addr.parse().unwrap(), &[])).expect(76);
    served.join().unwrap();
    assert!(
        ran.stderr.contains("not with the metrics of mcpd"),
        "{ran:?}"
    );
    run(["top", "--interval", "1ms"]).expect(64);
}
