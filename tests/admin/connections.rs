//! Who is connected, who is alive, and showing one the door.

use crate::client::Admin;
use crate::support::{Peer, Server};
use mcpd_proto::{ErrorCode, Frame, Hello, MetaBuf};
use serde_json::Value;

fn greeted(server: &Server, id: &str) -> Peer {
    let mut peer = server.peer();
    let mut meta = MetaBuf::new();
    meta.set_client_id(id).unwrap();
    peer.frame(Frame::Hello(Hello {
        seq: 1,
        reply: false,
        meta: meta.view(),
    }));
    assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    peer
}

fn ids(page: &Value) -> Vec<u64> {
    let list = page["connections"].as_array().unwrap().iter();
    list.map(|one| one["id"].as_u64().unwrap()).collect()
}

#[test]
fn connections_tell_of_themselves() {
    let server = Server::start();
    let mut peer = greeted(&server, "edge-7");
    for seq in 2..5 {
        peer.expect_alive(seq);
    }
    let page = server.read("connections").ok();
    assert_eq!((&page["total"], &page["next"]), (&1.into(), &Value::Null));
    let one = &page["connections"][0];
    assert_eq!(one["client_id"], "edge-7");
    assert_eq!(one["addr"], peer.stream.local_addr().unwrap().to_string());
    assert_eq!(
        (&one["requests"], &one["in_flight"]),
        (&3.into(), &0.into())
    );
    assert_eq!(
        (&one["phase"], &one["outbound_bytes"]),
        (&"open".into(), &0.into())
    );
    assert_eq!(one["heartbeat_seconds"], 30.0);
    let id = one["id"].as_u64().unwrap();
    assert_eq!(
        server.read(&format!("connections/{id}")).ok()["client_id"],
        "edge-7"
    );
    for (wrong, status) in [
        ("999", 404),
        ("x", 400),
        ("-1", 400),
        ("99999999999999999999", 400),
    ] {
        server.read(&format!("connections/{wrong}")).problem(status);
    }
}

#[test]
fn pages_follow_each_other_and_filters_narrow_them() {
    let server = Server::start();
    let _edge: Vec<Peer> = (0..5)
        .map(|n| greeted(&server, &format!("edge-{n}")))
        .collect();
    let _core: Vec<Peer> = (0..2)
        .map(|n| greeted(&server, &format!("core-{n}")))
        .collect();
    let (mut seen, mut after) = (Vec::new(), 0);
    loop {
        let page = server
            .read(&format!("connections?limit=3&after={after}"))
            .ok();
        assert_eq!(page["total"], 7);
        seen.extend(ids(&page));
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted(), "{seen:?}");
    for (query, count) in [
        ("client_id=edge-*", 5),
        ("client_id=edge-3", 1),
        ("client_id=*", 7),
        ("client_id=edge", 0),
        ("addr=127.0.0.1", 7),
        ("addr=::ffff:127.0.0.1", 7),
        ("addr=127.0.0.9", 0),
        ("client_id=core-%2A&addr=127.0.0.1", 2),
    ] {
        assert_eq!(
            server.read(&format!("connections?{query}")).ok()["total"],
            count,
            "{query}"
        );
    }
    for wrong in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "addr=nobody",
        "after=-1",
        "limit=1&limit=2",
        "x=1",
    ] {
        server.read(&format!("connections?{wrong}")).problem(400);
    }
}

#[test]
fn one_connection_is_closed_and_the_others_stay() {
    let server = Server::start();
    let (mut stays, mut goes) = (greeted(&server, "stays"), greeted(&server, "goes"));
    let page = server.read("connections?client_id=goes").ok();
    let id = ids(&page)[0];
    let closing = server.admin("DELETE", &format!("connections/{id}?mode=finish"), &[], "");
    assert_eq!(closing.status, 202, "{closing:?}");
    goes.expect_draining_and_end();
    drop(goes);
    stays.expect_alive(2);
    while server
        .admin("DELETE", &format!("connections/{id}"), &[], "")
        .status
        != 404
    {}
    server
        .admin("DELETE", &format!("connections/{id}?mode=now"), &[], "")
        .problem(400);
}

#[test]
fn cutting_a_connection_stops_its_work() {
    let server = crate::support::Start::new()
        .set("HANDLERS__MONITOR__TYPE", "delay")
        .set("HANDLERS__MONITOR__LATENCY", "1h")
        .spawn();
    let mut peer = greeted(&server, "busy");
    peer.request(9, "heartbeat", b"");
    server.await_metric("mcpd_requests_in_flight", |n| n == 1.0);
    let page = server.read("connections").ok();
    assert_eq!(page["connections"][0]["in_flight"], 1);
    let id = ids(&page)[0];
    server.admin("DELETE", &format!("connections/{id}"), &[], "");
    assert!(matches!(peer.expect().frame(), Frame::GoAway(_)));
    peer.request(10, "echo", b"");
    assert_eq!(peer.expect().error(), (10, ErrorCode::DRAINING));
    let shown = server.read(&format!("connections/{id}")).ok();
    assert_eq!(shown["phase"], "refusing");
    server.admin("DELETE", &format!("connections/{id}?mode=cut"), &[], "");
    assert_eq!(peer.expect().error(), (9, ErrorCode::DEADLINE_EXCEEDED));
    peer.expect_end(ErrorCode::CLOSING);
}

#[test]
fn the_monitor_tells_who_is_alive_and_what_was_heard() {
    let server = Server::start();
    let mut peer = greeted(&server, "edge-1");
    let _other = server.peer();
    peer.request(2, "heartbeat", b"");
    peer.expect();
    let page = server.read("monitor?client_id=edge-1").ok();
    assert_eq!(page["total"], 1);
    let client = &page["clients"][0];
    assert_eq!(
        (&client["client_id"], &client["alive"]),
        (&"edge-1".into(), &true.into())
    );
    assert_eq!(
        (&client["misses"], &client["interval_seconds"]),
        (&0.into(), &30.0.into())
    );
    let topic = &page["topics"][0];
    assert_eq!(
        (&topic["topic"], &topic["handler"]),
        (&"heartbeat".into(), &"monitor".into())
    );
    assert_eq!(
        (&topic["count"], &topic["last_client"]),
        (&1.into(), &"edge-1".into())
    );
    assert_eq!(
        server.read("monitor?limit=1").ok()["next"],
        page["clients"][0]["connection"]
    );
}
