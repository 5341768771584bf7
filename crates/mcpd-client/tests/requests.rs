//! Requests and their answers.

mod support;

use mcpd_client::{
    ConnectOptions, Connection, ErrorClass, ErrorCode, ErrorKind, MetaBuf, Qos, Trace,
};
use mcpd_proto::session::ServerSettings;
use std::time::Duration;
use support::{Got, Peer, pair, pair_with};

const TRACE: Trace = Trace {
    trace_id: [1; 16],
    span_id: [2; 8],
    flags: 1,
};

fn limited(max_in_flight: u16) -> ServerSettings {
    ServerSettings {
        max_in_flight,
        ..ServerSettings::default()
    }
}

#[tokio::test]
async fn a_thousand_at_a_time_get_their_own_answers_in_any_order() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("mcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut peer = Peer::new(stream, ServerSettings::default());
        let asks = peer.requests(1000).await;
        for ask in asks.iter().rev() {
            let body = [b"re: ", &ask.body[..]].concat();
            peer.respond(ask, &body).await;
        }
        assert_eq!(peer.next().await, Got::Eof);
    });
    let connection = Connection::connect(&address, ConnectOptions::new())
        .await
        .unwrap();
    let call = |n: usize| connection.request("echo").body(n.to_string()).send();
    let calls: Vec<_> = (0..1000).map(|n| tokio::spawn(call(n))).collect();
    for (n, call) in calls.into_iter().enumerate() {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(answer.body(), format!("re: {n}").as_bytes());
    }
    connection.close().await;
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn over_the_servers_limit_calls_wait_their_turn() {
    let (connection, mut peer) = pair_with(1 << 20, ConnectOptions::new(), limited(3)).await;
    let call = |n: usize| connection.request("a").body(n.to_string()).send();
    let calls: Vec<_> = (0..7).map(|n| tokio::spawn(call(n))).collect();
    let mut asks = peer.requests(3).await;
    peer.expect_silence().await;
    assert_eq!(connection.in_flight(), 3);
    for next in 3..7 {
        let answered = asks.remove(1);
        peer.respond(&answered, b"").await;
        let ask = peer.request().await;
        assert_eq!(
            ask.body,
            next.to_string().as_bytes(),
            "first come, first served"
        );
        asks.push(ask);
    }
    for ask in &asks {
        peer.respond(ask, b"").await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn what_a_request_and_its_answer_carry_arrives() {
    let (connection, mut peer) = pair().await;
    let request = connection
        .request("orders/eu")
        .body(vec![b'x'; 9000])
        .priority(6)
        .qos(Qos::AtLeastOnce)
        .dup(true)
        .header("tenant", "acme")
        .content_type("text/csv")
        .trace(TRACE)
        .message_id([7; 16])
        .incarnation([8; 16])
        .age(Duration::from_secs(2))
        .timeout(Duration::from_secs(3600));
    let call = tokio::spawn(request.send());
    let ask = peer.request().await;
    assert_eq!(
        (ask.topic.as_str(), ask.priority, ask.qos, ask.dup),
        ("orders/eu", 6, Qos::AtLeastOnce, true)
    );
    assert_eq!(ask.body, [b'x'; 9000]);
    let meta = ask.meta();
    assert_eq!(
        meta.headers().collect::<Vec<_>>(),
        [("tenant", &b"acme"[..])]
    );
    assert_eq!(
        (meta.content_type(), meta.trace()),
        (Some("text/csv"), Some(TRACE))
    );
    assert_eq!(
        (meta.message_id(), meta.incarnation()),
        (Some([7; 16]), Some([8; 16]))
    );
    assert_eq!(meta.age_ms(), Some(2000));
    assert!((3_500_000..=3_600_000).contains(&meta.timeout_ms().unwrap()));

    let mut meta = MetaBuf::new();
    meta.set_trace(TRACE);
    meta.set_route_revision(12);
    meta.set_content_type("image/png").unwrap();
    meta.add_header("a", b"1").unwrap();
    meta.add_header("b", b"2").unwrap();
    peer.ack(&ask, Qos::AtLeastOnce).await;
    peer.respond_with(&ask, b"stored", &meta).await;
    let answer = call.await.unwrap().unwrap();
    assert_eq!((&answer.body()[..], answer.priority()), (&b"stored"[..], 6));
    assert_eq!(answer.granted(), Some(Qos::AtLeastOnce));
    assert_eq!(
        (answer.trace(), answer.route_revision()),
        (Some(TRACE), Some(12))
    );
    assert_eq!(answer.content_type(), Some("image/png"));
    assert_eq!(answer.header("b"), Some(&b"2"[..]));
    assert_eq!(answer.headers().count(), 2);
    assert_eq!(answer.into_body(), "stored");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_cancelled_and_its_place_stays_taken_until_the_answer() {
    let (connection, mut peer) = pair_with(4096, ConnectOptions::new(), limited(1)).await;
    let first = tokio::spawn(connection.request("slow").send());
    let ask = peer.request().await;
    first.abort();
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    let second = tokio::spawn(connection.request("next").send());
    peer.expect_silence().await;
    peer.fail(ask.seq, ErrorCode::CANCELLED, b"", &MetaBuf::new())
        .await;
    let ask = peer.request().await;
    assert_eq!(ask.topic, "next");
    peer.respond(&ask, b"").await;
    second.await.unwrap().unwrap();
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn every_call_of_a_crowd_that_leaves_is_cancelled_once() {
    let (connection, mut peer) = pair().await;
    let calls: Vec<_> = (0..500)
        .map(|_| tokio::spawn(connection.request("a").send()))
        .collect();
    let mut seqs: Vec<u16> = peer.requests(500).await.iter().map(|ask| ask.seq).collect();
    calls.iter().for_each(|call| call.abort());
    let mut cancelled = Vec::new();
    while cancelled.len() < 500 {
        match peer.next().await {
            Got::Cancel(seq) => cancelled.push(seq),
            other => panic!("{other:?}"),
        }
    }
    cancelled.sort_unstable();
    seqs.sort_unstable();
    assert_eq!(cancelled, seqs);
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn out_of_time_after_sending_it_may_have_run_and_is_cancelled() {
    let (connection, mut peer) = pair().await;
    let request = connection
        .request("slow")
        .timeout(Duration::from_millis(1500));
    let call = tokio::spawn(request.send());
    let ask = peer.request().await;
    assert_eq!(ask.meta().timeout_ms(), Some(1500));
    assert_eq!(peer.next().await, Got::Cancel(ask.seq));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Timeout, ErrorClass::Unknown)
    );
    // The late answer frees the place and disturbs nobody.
    peer.respond(&ask, b"late").await;
    let call = tokio::spawn(connection.request("again").send());
    let ask = peer.request().await;
    peer.respond(&ask, b"well").await;
    assert_eq!(call.await.unwrap().unwrap().body(), "well");
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_servers_word_is_waited_for_a_little_longer_than_the_time() {
    let (connection, mut peer) = pair().await;
    let request = connection
        .request("slow")
        .timeout(Duration::from_millis(100));
    let call = tokio::spawn(request.send());
    let ask = peer.request().await;
    tokio::time::advance(Duration::from_millis(110)).await;
    peer.fail(ask.seq, ErrorCode::DEADLINE_EXCEEDED, b"", &MetaBuf::new())
        .await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::DEADLINE_EXCEEDED));
}

#[tokio::test(start_paused = true)]
async fn out_of_time_before_sending_it_did_not_run() {
    let (connection, mut peer) = pair_with(4096, ConnectOptions::new(), limited(1)).await;
    let _first = tokio::spawn(connection.request("slow").send());
    peer.request().await;
    for timeout in [Duration::from_secs(1), Duration::ZERO] {
        let request = connection.request("late").timeout(timeout);
        let error = request.send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Timeout, ErrorClass::NotExecuted)
        );
    }
    peer.expect_silence().await;
}

#[tokio::test(start_paused = true)]
async fn time_spent_waiting_for_a_place_is_taken_off() {
    let (connection, mut peer) = pair_with(4096, ConnectOptions::new(), limited(1)).await;
    let _first = tokio::spawn(connection.request("slow").send());
    let ask = peer.request().await;
    let request = connection.request("b").timeout(Duration::from_secs(10));
    let _second = tokio::spawn(request.send());
    tokio::time::sleep(Duration::from_secs(4)).await;
    peer.respond(&ask, b"").await;
    assert_eq!(peer.request().await.meta().timeout_ms(), Some(6000));
}

#[tokio::test]
async fn each_error_says_what_may_be_concluded() {
    use {ErrorClass as Class, ErrorKind as Kind};
    let (connection, mut peer) = pair().await;
    for (code, kind, class, permanent) in [
        (
            ErrorCode::OVERLOADED,
            Kind::Refused,
            Class::NotExecuted,
            false,
        ),
        (ErrorCode::NO_ROUTE, Kind::Refused, Class::NotExecuted, true),
        (
            ErrorCode::UPSTREAM_LOST,
            Kind::Unknown,
            Class::Unknown,
            false,
        ),
        (
            ErrorCode::RESULT_EVICTED,
            Kind::Executed,
            Class::Executed,
            true,
        ),
        (
            ErrorCode::new(0x02f0),
            Kind::Refused,
            Class::NotExecuted,
            true,
        ),
        (ErrorCode::new(0x0901), Kind::Unknown, Class::Unknown, false),
    ] {
        let call = tokio::spawn(connection.request("a").send());
        let ask = peer.request().await;
        let mut meta = MetaBuf::new();
        meta.set_retry_after(Duration::from_millis(700));
        peer.fail(ask.seq, code, b"because", &meta).await;
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(
            (error.kind(), error.class(), error.is_permanent()),
            (kind, class, permanent)
        );
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(700)));
        assert!(error.to_string().contains("because"), "{error}");
        assert_eq!(error.body(), None);
    }
}

#[tokio::test]
async fn a_handlers_no_has_a_body_of_its_own_type() {
    let (connection, mut peer) = pair().await;
    let call = tokio::spawn(connection.request("a").send());
    let ask = peer.request().await;
    let mut meta = MetaBuf::new();
    meta.set_status(409);
    meta.set_content_type("application/cbor").unwrap();
    peer.fail(ask.seq, ErrorCode::HANDLER_ERROR, b"\xa1\xff", &meta)
        .await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.class()),
        (ErrorKind::Executed, ErrorClass::Executed)
    );
    assert_eq!(error.body().map(|body| &body[..]), Some(&b"\xa1\xff"[..]));
    assert_eq!(
        (error.content_type(), error.status()),
        (Some("application/cbor"), Some(409))
    );
}

#[tokio::test]
async fn what_the_server_would_refuse_is_refused_here() {
    let (connection, mut peer) = pair().await;
    let long = "x".repeat(5000);
    let max = connection.server().max_payload as usize;
    for (request, why) in [
        (connection.request(""), "at least one byte"),
        (connection.request("a/#"), "belongs to patterns"),
        (connection.request("a").priority(8), "priority 8"),
        (connection.request("a").header("Upper", "x"), "HEADER"),
        (connection.request("a").header("k", &long), "HEADER"),
        (
            connection.request("a").header("k", "a\nb").header("k", "v"),
            "HEADER",
        ),
        (
            connection.request("a").content_type("plään"),
            "CONTENT_TYPE",
        ),
        (
            connection.request("a").body(vec![0; max]),
            "over the server's limit",
        ),
    ] {
        let error = request.send().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Invalid, ErrorClass::NotExecuted)
        );
        assert!(error.is_permanent());
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
    }
    assert_eq!(connection.in_flight(), 0);
    // The largest that does fit goes through, in one piece.
    let body = vec![1; max - 3];
    let call = tokio::spawn(connection.request("a").body(body.clone()).send());
    let ask = peer.request().await;
    assert!(ask.body == body);
    peer.respond(&ask, b"").await;
    call.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_every_size_come_back_whole_over_a_socket() {
    let address = support::echo::serve_echo().await.unwrap();
    let connection = Connection::connect(&address, ConnectOptions::new())
        .await
        .unwrap();
    let callers = (0..8u8).map(|caller| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for size in [0, 1, 4095, 4096, 4097, 70_000, 5, 600_000, 33_000] {
                let body = vec![caller; size];
                let request = connection.request("echo").priority(caller);
                let answer = request.body(body.clone()).send().await.unwrap();
                assert!(answer.body() == &body, "caller {caller}, {size} bytes");
                assert_eq!(answer.priority(), caller);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    connection.close().await;
}
