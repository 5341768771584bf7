//! Large tables under load: nothing is lost, and what was answered is live.

use crate::client::{Admin, YAML, document};
use crate::support::{Peer, Start};
use mcpd_proto::ErrorCode;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests of one write.
const BURST: u16 = 100;
const ROUTES: usize = 10_000;
/// Tables put one after the other.
const SWAPS: usize = 3;

fn table(generation: usize) -> String {
    let others = (0..ROUTES - 2).map(|n| format!("t/{n}/g{generation}"));
    let fixed = ["echo".to_owned(), format!("generation/{generation}")];
    document(fixed.into_iter().chain(others))
}

#[test]
fn ten_thousand_routes_are_put_under_load_and_no_request_is_lost() {
    // Not a test of time: the table of a debug build on a busy machine takes what it takes.
    let server = Start::new().set("ADMIN__TIMEOUT", "300s").spawn();
    let stop = AtomicBool::new(false);
    let data = server.data;
    std::thread::scope(|scope| {
        let stop = &stop;
        let loads: Vec<_> = (0..4)
            .map(|_| scope.spawn(move || load(data, stop)))
            .collect();
        let mut peer = server.peer();
        for generation in 1..=SWAPS {
            let got = server.admin("PUT", "routes", &[YAML, "If-Match: *"], &table(generation));
            assert_eq!(got.status, 200, "{got:?}");
            // The very next request.
            peer.request(1, &format!("generation/{generation}"), b"live");
            assert_eq!(peer.expect().response(), (1, b"live".to_vec()));
            peer.request(2, &format!("generation/{}", generation - 1), b"");
            assert_eq!(peer.expect().error(), (2, ErrorCode::NO_ROUTE));
            assert_eq!(got.ok()["routes"], ROUTES);
        }
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            let answered = load.join().expect("every request is answered");
            assert!(answered > 0);
        }
    });
    let fault = server.read("state").ok();
    assert_eq!(fault["routes"]["count"], ROUTES);
}

/// Sends bursts until told to stop; every request must be answered with its own body.
fn load(data: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut peer = Peer::new(TcpStream::connect(data).expect("it accepts"));
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        for seq in 1..=BURST {
            peer.request(seq, "echo", &seq.to_be_bytes());
        }
        for seq in 1..=BURST {
            assert_eq!(peer.expect().response(), (seq, seq.to_be_bytes().to_vec()));
            answered += 1;
        }
    }
    answered
}
