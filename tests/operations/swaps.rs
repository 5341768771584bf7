//! The table is swapped while requests run.

use crate::embedded::{Embedded, document};
use crate::support::Peer;
use mcpd::handler::{Handler, Static};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Requests of one write.
const BURST: u16 = 100;

fn fixed(body: &'static str) -> Arc<dyn Handler> {
    Arc::new(Static {
        body: body.into(),
        content_type: None,
    })
}

/// Each request is answered by the old table or by the new one, never by neither, and what came in
/// one read by one of them.
#[test]
fn ten_thousand_swaps_lose_no_request() {
    let tables = [("old", "new"), ("new", "old")]
        .map(|(first, second)| document(&[("a", first), ("b/+", first), ("c", second)]));
    let handlers = vec![("old", fixed("old")), ("new", fixed("new"))];
    let server = Embedded::start(handlers, &tables[0]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| ask_until(&server, &stop)))
            .collect();
        for n in 0..10_000 {
            server.swap(&tables[n % 2]);
        }
        stop.store(true, Ordering::Relaxed);
        for asker in askers {
            let seen = asker.join().expect("every request is answered");
            assert!(seen.0 > 0 && seen.1 > 0, "both tables were seen: {seen:?}");
        }
    });
}

/// Gives how many answers came from each table.
fn ask_until(server: &Embedded, stop: &AtomicBool) -> (u64, u64) {
    let mut peer = Peer::new(TcpStream::connect(server.addr).expect("it accepts"));
    let mut seen = (0, 0);
    while !stop.load(Ordering::Relaxed) || seen.0 == 0 || seen.1 == 0 {
        for seq in 1..=BURST {
            peer.request(seq, ["a", "b/x", "c"][usize::from(seq) % 3], b"");
        }
        for _ in 0..BURST {
            let (_, body) = peer.expect().response();
            match body.as_slice() {
                b"old" => seen.0 += 1,
                b"new" => seen.1 += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    seen
}
