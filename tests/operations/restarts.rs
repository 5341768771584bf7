//! Servers that are restarted and killed under a client: what its callers are told, against what the
//! servers' handlers have noted.

use crate::ledgered::Fleet;
use crate::load::{CALLERS, Fates, Load, call};
use mcpd_client::{Client, Error, ErrorClass, ErrorCode, ErrorKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// Three servers in turn, each restarted by SIGTERM, twenty times in all. With the time that a server
/// gives its clients to move, and without any.
#[test]
fn twenty_restarts_of_three_servers_fail_no_request_and_run_none_twice() {
    let spread = |round: usize| {
        if round.is_multiple_of(2) {
            "250ms"
        } else {
            "0s"
        }
    };
    let mut fleet = Fleet::start(3, spread(0));
    let load = Load::start(fleet.addrs(), &["note"]);
    for round in 0..20 {
        // A drain has at most one request of each caller refused; these pay for more retries than that.
        load.await_more(10 * CALLERS);
        assert_eq!(fleet.stop(round % 3, "TERM"), Some(0));
        load.await_more(10 * CALLERS);
        fleet.restart(round % 3, spread(round));
    }
    load.await_more(10 * CALLERS);
    let fates = load.finish();
    let (ledger, answered) = (fleet.ledger(), fates.answered());
    let twice: Vec<_> = ledger.iter().filter(|(_, ran)| ran.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(
        ledger.keys().eq(fates.0.keys()),
        "{answered} answered, {} ran",
        ledger.len()
    );
    for n in 0..3 {
        let name = Fleet::name(n);
        assert!(
            ledger.values().any(|ran| ran.contains(name)),
            "server {name} had no part"
        );
    }
}

/// Holds a request up on a server, and kills that. The caller is told that it may have run, and it has.
fn kill_with_one_held(fleet: &mut Fleet, n: usize, number: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let (runtime, addr) = (runtime.unwrap(), fleet.addrs()[n].to_string());
    let client = runtime.block_on(Client::builder(addr).build()).unwrap();
    let held = runtime.spawn(async move { call(&client, "hold", number).await });
    assert_eq!(fleet.await_noted(number), Fleet::name(n).to_string());
    fleet.stop(n, "KILL");
    let error = runtime.block_on(held).unwrap().unwrap_err();
    let told = (error.kind(), error.class(), error.attempts());
    assert_eq!(
        told,
        (ErrorKind::Closed, ErrorClass::Unknown, 1),
        "{error:?}"
    );
}

/// What a caller was told of a request, against how often it ran.
fn check(n: u64, fate: &Result<(), Error>, ran: usize, told: &mut BTreeMap<&'static str, u32>) {
    assert!(ran <= 1, "{n} ran {ran} times");
    let (what, agrees) = match fate {
        Ok(()) => ("answered", ran == 1),
        Err(error) => match error.class() {
            ErrorClass::Executed => {
                assert_eq!(error.code(), Some(ErrorCode::HANDLER_ERROR), "{error:?}");
                ("executed", ran == 1)
            }
            ErrorClass::NotExecuted => {
                let honest =
                    error.code() == Some(ErrorCode::NO_ROUTE) || error.kind() == ErrorKind::Connect;
                assert!(honest, "{error:?}");
                ("not executed", ran == 0)
            }
            ErrorClass::Unknown => {
                assert_eq!(
                    (error.kind(), error.attempts()),
                    (ErrorKind::Closed, 1),
                    "{error:?}"
                );
                ("unknown", true)
            }
        },
    };
    assert!(agrees, "{n} ran {ran} times, its caller was told {fate:?}");
    *told.entry(what).or_default() += 1;
}

#[test]
fn killed_servers_cost_what_they_had_and_the_ledger_agrees_with_every_class() {
    let mut fleet = Fleet::start(3, "0s");
    let load = Load::start(
        fleet.addrs(),
        &["note", "note", "note", "reject", "nowhere"],
    );
    let kills = 10;
    for round in 0..kills {
        load.await_more(10 * CALLERS);
        kill_with_one_held(&mut fleet, round % 3, u64::MAX - round as u64);
        load.await_more(10 * CALLERS);
        fleet.restart(round % 3, "0s");
    }
    let Fates(fates) = load.finish();
    let (ledger, mut told) = (fleet.ledger(), BTreeMap::new());
    for (n, fate) in &fates {
        check(*n, fate, ledger.get(n).map_or(0, String::len), &mut told);
    }
    let invented = ledger
        .keys()
        .filter(|n| !fates.contains_key(n) && u64::MAX - **n >= kills as u64);
    assert_eq!(invented.count(), 0);
    // Each caller had one request under way at most.
    let lost = told.get("unknown").copied().unwrap_or(0);
    assert!(u64::from(lost) <= kills as u64 * CALLERS, "{told:?}");
    assert!(
        ["answered", "executed", "not executed"]
            .iter()
            .all(|what| told.contains_key(what))
    );
}

/// With every server gone, calls say that they were never sent, and the ledger has none of them.
#[test]
fn with_every_server_killed_calls_end_as_not_executed() {
    let mut fleet = Fleet::start(3, "0s");
    let addrs: Vec<String> = fleet.addrs().iter().map(ToString::to_string).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime
        .block_on(Client::builder(addrs.join(",")).build())
        .unwrap();
    runtime.block_on(call(&client, "note", 0)).unwrap();
    for n in 0..3 {
        fleet.stop(n, "KILL");
    }
    runtime.block_on(async {
        // The client may not have seen yet that its connection is gone.
        while let Err(error) = call_within(&client, 1).await
            && error.kind() != ErrorKind::Connect
        {}
        for n in 2..10 {
            let error = call_within(&client, n).await.unwrap_err();
            let told = (error.kind(), error.class(), error.attempts());
            assert_eq!(
                told,
                (ErrorKind::Connect, ErrorClass::NotExecuted, 0),
                "{error:?}"
            );
        }
    });
    (0..3).for_each(|n| fleet.restart(n, "0s"));
    runtime.block_on(call(&client, "note", 10)).unwrap();
    let ran: Vec<u64> = fleet.ledger().into_keys().collect();
    assert_eq!(ran, [0, 10]);
}

async fn call_within(client: &Client, n: u64) -> Result<(), Error> {
    let request = client.request("note").body(n.to_be_bytes().to_vec());
    request
        .timeout(Duration::from_millis(50))
        .send()
        .await
        .map(drop)
}
