//! What may be concluded when no reply comes. A ledger at the far end shows what got there.

use crate::front::{Front, code};
use crate::server::{self, NatsServer};
use mcpd_client::ErrorCode;
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_subject_that_nobody_listens_on_executes_nothing() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    let refused = front.run(front.request("nobody").send());
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
}

#[test]
fn a_service_that_is_silent_may_have_done_it() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    front.run(async {
        let service = server::client(&nats).await;
        let mut asked = server::subscribe(&service, "x.>").await;
        let late = front.request("a").timeout(SHORT).send().await;
        assert_eq!(code(late), ErrorCode::DEADLINE_EXCEEDED);
        // Its reply is of no use to anybody, and confuses nobody.
        let message = server::next(&mut asked).await;
        service
            .publish(message.reply.unwrap(), "late".into())
            .await
            .unwrap();
        let asking = tokio::spawn(front.request("b").send());
        let message = server::next(&mut asked).await;
        service
            .publish(message.reply.unwrap(), "in time".into())
            .await
            .unwrap();
        assert_eq!(asking.await.unwrap().unwrap().body(), "in time");
    });
}

#[test]
fn what_was_sent_is_lost_with_its_server_and_what_comes_later_is_not_executed() {
    let mut nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    let service = front.run(server::client(&nats));
    let mut asked = front.run(server::subscribe(&service, "x.>"));
    let asking = front.server.runtime.spawn(front.request("a").send());
    front.run(server::next(&mut asked));
    nats.kill();
    assert_eq!(code(front.run(asking).unwrap()), ErrorCode::UPSTREAM_LOST);
    let refused = front.run(front.request("never").send());
    assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);

    nats.restart();
    front.run(async {
        let service = server::client(&nats).await;
        let mut asked = server::subscribe(&service, "x.>").await;
        let deadline = Instant::now() + crate::PATIENCE;
        loop {
            let asking = tokio::spawn(front.request("again").send());
            tokio::select! {
                message = server::next(&mut asked) => {
                    assert_eq!(message.subject.as_str(), "x.again", "nothing refused arrives");
                    service.publish(message.reply.unwrap(), "yes".into()).await.unwrap();
                    assert_eq!(asking.await.unwrap().unwrap().body(), "yes");
                    break;
                }
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            if asking.is_finished() {
                let refused = asking.await.unwrap();
                assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
            }
            assert!(Instant::now() < deadline, "it never connects again");
        }
    });
}

#[test]
fn a_server_that_stalls_costs_the_time_of_a_request_and_no_more() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    let service = front.run(server::client(&nats));
    let mut asked = front.run(server::subscribe(&service, "x.>"));
    let answering = front.server.runtime.spawn(async move {
        loop {
            let message = server::next(&mut asked).await;
            service
                .publish(message.reply.unwrap(), "yes".into())
                .await
                .unwrap();
        }
    });
    assert_eq!(front.ask("a", "").body(), "yes");
    nats.signal("STOP");
    let late = front.run(front.request("b").timeout(SHORT).send());
    nats.signal("CONT");
    assert_eq!(code(late), ErrorCode::DEADLINE_EXCEEDED);
    assert_eq!(front.ask("c", "").body(), "yes");
    answering.abort();
}

#[test]
fn as_many_wait_as_may_and_the_next_is_refused_at_once() {
    let nats = NatsServer::start(&[]);
    let front = Front::new(&nats, "x.{topic}", |settings| settings.max_in_flight = 2);
    front.run(async {
        let service = server::client(&nats).await;
        let mut asked = server::subscribe(&service, "x.>").await;
        let first = tokio::spawn(front.request("a").send());
        let second = tokio::spawn(front.request("b").send());
        let waiting = [
            server::next(&mut asked).await,
            server::next(&mut asked).await,
        ];
        assert_eq!(code(front.request("c").send().await), ErrorCode::OVERLOADED);
        for message in waiting {
            service
                .publish(message.reply.unwrap(), "yes".into())
                .await
                .unwrap();
        }
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        // Whoever gives up makes room, too.
        for _ in 0..3 {
            let given_up = front
                .request("d")
                .timeout(Duration::from_millis(1))
                .send()
                .await;
            given_up.unwrap_err();
        }
        let asking = tokio::spawn(front.request("e").send());
        loop {
            let message = server::next(&mut asked).await;
            if message.subject.as_str() == "x.e" {
                service
                    .publish(message.reply.unwrap(), "yes".into())
                    .await
                    .unwrap();
                break;
            }
        }
        asking.await.unwrap().unwrap();
        assert!(server::heard(&mut asked).await.is_none());
    });
}

#[test]
fn what_is_too_large_for_the_server_never_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 1024\n").unwrap();
    let nats = NatsServer::start(&["-c", config.to_str().unwrap()]);
    let front = Front::new(&nats, "x.{topic}", |_| {});
    front.run(async {
        let service = server::client(&nats).await;
        let mut asked = server::subscribe(&service, "x.>").await;
        let asking = tokio::spawn(front.request("a").body(vec![b'x'; 900]).send());
        let message = server::next(&mut asked).await;
        service
            .publish(message.reply.unwrap(), "yes".into())
            .await
            .unwrap();
        asking.await.unwrap().unwrap();
        let refused = front.request("b").body(vec![b'x'; 2000]).send().await;
        assert_eq!(code(refused), ErrorCode::INVALID_REQUEST);
        assert!(server::heard(&mut asked).await.is_none());
    });
}

#[test]
fn a_server_that_is_not_there_executes_nothing() {
    let mut nats = NatsServer::start(&[]);
    nats.kill();
    let front = Front::new(&nats, "x", |settings| settings.connect_timeout = SHORT);
    for _ in 0..3 {
        let refused = front.run(front.request("a").send());
        assert_eq!(code(refused), ErrorCode::UPSTREAM_UNAVAILABLE);
    }
}
