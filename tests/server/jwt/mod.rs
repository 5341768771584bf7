//! Clients that show JWTs, good ones and others.

mod issuer;

use crate::support::{Peer, Server, Start, scratch};
use crate::tools::{eventually, hello};
use crate::trust::trusting;
use issuer::{Endpoint, Reply, Signer, encode, from_now, good, jwks};
use mcpd_proto::{ErrorCode, Frame, GoAwayReason};
use serde_json::json;
use std::path::Path;

const TILLS: &str = "[{name: tills, jwt: [{subject: 'till-*'}], allow: [echo, 'own/${subject}/#']},
    {name: ops, jwt: [{claims: {groups: ops}}], client_ids: ['${subject}'], allow: ['#']}]";

fn judging(start: Start, dir: &Path) -> Start {
    trusting(start, dir, TILLS)
        .set("AUTH__JWT__ISSUER", "joe")
        .set("AUTH__JWT__AUDIENCE", "mcpd")
        .set("AUTH__JWT__LEEWAY", "0s")
        .set("LOG__FILTER", "info,mcpd::auth=debug,mcpd::conn=debug")
}

fn by_file(dir: &Path, signers: &[&Signer]) -> Start {
    put(dir, &jwks(signers));
    let file = dir.join("jwks.json");
    judging(Start::new(), dir).set("AUTH__JWT__JWKS_FILE", file.to_str().unwrap())
}

fn put(dir: &Path, text: &str) {
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("jwks.json")).unwrap();
}

fn shown(server: &Server, token: &str, id: Option<&str>) -> Peer {
    let mut peer = server.peer();
    peer.send(&hello(|meta| {
        meta.set_auth_token(token.as_bytes()).unwrap();
        if let Some(id) = id {
            meta.set_client_id(id).unwrap();
        }
    }));
    peer
}

fn welcomed(server: &Server, token: &str) -> Peer {
    let mut peer = shown(server, token, None);
    let got = peer.expect();
    assert!(matches!(got.frame(), Frame::Hello(_)), "{got:?}");
    peer
}

fn expect_reauthenticate(peer: &mut Peer) {
    match peer.expect().frame() {
        Frame::GoAway(away) => assert_eq!(away.reason, GoAwayReason::Reauthenticate as u16),
        other => panic!("GOAWAY, not {other:?}"),
    }
}

fn judged(result: &str) -> String {
    format!("mcpd_authentications_total{{method=\"jwt\",result=\"{result}\"}}")
}

#[test]
fn a_jwt_stands_for_the_principal_that_its_claims_name() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let server = by_file(dir.path(), &[&signer]).spawn();
    let mut till = welcomed(&server, &signer.token(json!({})));
    till.expect_alive(1);
    for (topic, code) in [
        ("own/till-7/a", ErrorCode::NO_ROUTE),
        ("own/till-8/a", ErrorCode::PERMISSION_DENIED),
    ] {
        till.request(2, topic, b"");
        assert_eq!(till.expect().error(), (2, code), "{topic}");
    }
    let ops = signer.token(json!({"sub": "ann", "groups": ["x", "ops"]}));
    let mut ann = shown(&server, &ops, Some("ann"));
    assert!(matches!(ann.expect().frame(), Frame::Hello(_)));
    shown(&server, &ops, Some("bob")).expect_end(ErrorCode::UNAUTHENTICATED);
    server.await_metric(&judged("ok"), |n| n == 2.0);
    server.await_metric(&judged("client_id"), |n| n == 1.0);
}

#[test]
fn the_configuration_says_how_tokens_are_signed_and_how_wrong_clocks_may_be() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let start = by_file(dir.path(), &[&signer]);
    let server = start.set("AUTH__JWT__ALGORITHMS", "ES256").spawn();
    shown(&server, &signer.token(json!({})), None).expect_end(ErrorCode::UNAUTHENTICATED);
    server.await_metric(&judged("algorithm"), |n| n == 1.0);

    let start = by_file(dir.path(), &[&signer]).set("AUTH__JWT__LEEWAY", "5m");
    let server = start.spawn();
    let near = json!({"exp": from_now(-60), "nbf": from_now(60)});
    welcomed(&server, &signer.token(near)).expect_alive(1);
    for (claim, at, result) in [("exp", -400, "expired"), ("nbf", 400, "not_yet")] {
        let far = signer.token(json!({claim: from_now(at)}));
        shown(&server, &far, None).expect_end(ErrorCode::UNAUTHENTICATED);
        server.await_metric(&judged(result), |n| n == 1.0);
    }
}

#[test]
fn what_is_wrong_with_a_token_is_counted_and_told_without_the_token() {
    let (dir, signer, stranger) = (scratch(), Signer::new("a"), Signer::new("a"));
    let mut server = by_file(dir.path(), &[&signer]).spawn();
    let header = json!({"alg": "EdDSA", "kid": "a"});
    let with = |name: &str, value: serde_json::Value| {
        let mut header = header.clone();
        header[name] = value;
        signer.sign(&header, &good(json!({})))
    };
    let unsigned = json!({"alg": "none", "kid": "a"}).to_string();
    let unsigned = format!(
        "{}.{}.",
        encode(unsigned),
        encode(good(json!({})).to_string())
    );
    let twice = format!(
        r#"{{"iss":"joe","aud":"mcpd","sub":"x","sub":"till-7","exp":{}}}"#,
        from_now(60)
    );
    let twice = signer.sign_text(&header.to_string(), &twice);
    let cases = [
        ("expired", signer.token(json!({"exp": from_now(-1)}))),
        ("not_yet", signer.token(json!({"nbf": from_now(600)}))),
        ("audience", signer.token(json!({"aud": "others"}))),
        ("issuer", signer.token(json!({"iss": "jim"}))),
        ("claims", signer.token(json!({"exp": null}))),
        ("unknown", signer.token(json!({"sub": "nobody"}))),
        ("ambiguous", signer.token(json!({"groups": "ops"}))),
        ("signature", stranger.token(json!({}))),
        ("algorithm", unsigned),
        ("algorithm", with("alg", json!("HS256"))),
        ("header", with("jku", json!("http://127.0.0.1:1/"))),
        ("header", with("crit", json!(["exp"]))),
        ("key", with("kid", json!("b"))),
        ("malformed", twice),
        ("oversized", signer.token(json!({"x": "x".repeat(8 << 10)}))),
        // Letters that only look like these.
        ("unknown", signer.token(json!({"sub": "tіll-7"}))),
    ];
    for (result, token) in &cases {
        let before = server.metric(&judged(result));
        shown(&server, token, None).expect_end(ErrorCode::UNAUTHENTICATED);
        server.await_metric(&judged(result), |n| n == before + 1.0);
        server.await_log(&format!("\"result\":\"{result}\""));
    }
    shown(&server, "no.jwt.", None).expect_end(ErrorCode::UNAUTHENTICATED);
    server.signal("TERM");
    let log = server.output_to_end().join("\n");
    for (_, token) in &cases {
        for part in token.split('.').filter(|part| !part.is_empty()) {
            assert!(!log.contains(part), "{part} in\n{log}");
        }
    }
}

#[test]
fn a_key_that_is_withdrawn_has_its_clients_authenticate_again() {
    let (dir, old, new) = (scratch(), Signer::new("old"), Signer::new("new"));
    let server = by_file(dir.path(), &[&old]).spawn();
    let mut peer = welcomed(&server, &old.token(json!({})));
    put(dir.path(), &jwks(&[&old, &new]));
    server.await_get("/readyz?verbose", |_, body| {
        body.contains("jwt keys: 2 keys")
    });
    // What is no document changes nothing, and shows.
    put(dir.path(), "{\"keys\": []}");
    let told = server.await_get("/readyz?verbose", |_, body| body.contains("no key that"));
    assert!(told.contains("[+] jwt keys: 2 keys"), "{told}");
    assert!(server.metric("mcpd_jwt_keys_reloads_total{result=\"refused\"}") >= 1.0);
    let mut other = welcomed(&server, &new.token(json!({})));
    peer.expect_alive(1);
    put(dir.path(), &jwks(&[&new]));
    expect_reauthenticate(&mut peer);
    shown(&server, &old.token(json!({})), None).expect_end(ErrorCode::UNAUTHENTICATED);
    other.expect_alive(1);
}

#[test]
fn who_has_an_expired_jwt_is_asked_to_show_another() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let start = by_file(dir.path(), &[&signer]).set("GOAWAY__GRACE", "0s");
    let server = start.spawn();
    let mut peer = welcomed(&server, &signer.token(json!({"exp": from_now(5)})));
    expect_reauthenticate(&mut peer);
    peer.expect_end(ErrorCode::CLOSING);
}

fn by_url(dir: &Path, endpoint: &Endpoint) -> Start {
    judging(Start::new(), dir).set("AUTH__JWT__JWKS_URL", &endpoint.url())
}

#[test]
fn without_keys_at_the_start_nobody_is_served_and_the_reason_shows() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let endpoint = Endpoint::new(Reply::Status(503));
    let mut server = by_url(dir.path(), &endpoint).spawn_unready();
    let told = server.await_get("/readyz?verbose", |status, body| {
        status == 503 && body.contains("answers 503")
    });
    assert!(told.contains("auth.jwt.jwks_url"), "{told}");
    endpoint.set(Reply::Keys(jwks(&[&signer])));
    server.await_data();
    welcomed(&server, &signer.token(json!({}))).expect_alive(1);
}

#[test]
fn an_unknown_key_causes_one_look_however_many_show_it() {
    let (dir, old, new) = (scratch(), Signer::new("old"), Signer::new("new"));
    let endpoint = Endpoint::new(Reply::Keys(jwks(&[&old])));
    let server = by_url(dir.path(), &endpoint).spawn();
    assert_eq!(endpoint.asked(), 1);
    endpoint.set(Reply::Keys(jwks(&[&old, &new])));
    let token = new.token(json!({}));
    let mut peers: Vec<Peer> = (0..20).map(|_| shown(&server, &token, None)).collect();
    for peer in &mut peers {
        assert!(matches!(peer.expect().frame(), Frame::Hello(_)));
    }
    assert_eq!(endpoint.asked(), 2);
    // For a while made-up keys cause none.
    let made_up = Signer::new("made-up").token(json!({}));
    for _ in 0..20 {
        shown(&server, &made_up, None).expect_end(ErrorCode::UNAUTHENTICATED);
    }
    assert!(endpoint.asked() <= 3, "{} looks", endpoint.asked());
}

#[test]
fn keys_stay_while_their_url_gives_none() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let endpoint = Endpoint::new(Reply::Keys(jwks(&[&signer])));
    let start = by_url(dir.path(), &endpoint).set("AUTH__JWT__REFRESH", "1s");
    let server = start.set("AUTH__JWT__MAX_STALE", "0s").spawn();
    let mut peer = welcomed(&server, &signer.token(json!({})));
    let elsewhere = Endpoint::new(Reply::Keys(jwks(&[&signer])));
    for (reply, wanted) in [
        (Reply::Status(500), "answers 500"),
        (Reply::Redirect(elsewhere.url()), "answers 302"),
        (
            Reply::Keys(" ".repeat(300 << 10)),
            "larger than auth.jwt.max_bytes",
        ),
        (Reply::Keys("{}".to_owned()), "no list `keys`"),
    ] {
        endpoint.set(reply);
        server.await_get("/readyz?verbose", |_, body| body.contains(wanted));
        peer.expect_alive(1);
        welcomed(&server, &signer.token(json!({})));
    }
    assert_eq!(elsewhere.asked(), 0);
    endpoint.set(Reply::Keys(jwks(&[&signer])));
    server.await_get("/readyz?verbose", |_, body| !body.contains("refused"));
}

#[test]
fn keys_that_are_too_old_are_good_no_more() {
    let (dir, signer) = (scratch(), Signer::new("a"));
    let endpoint = Endpoint::new(Reply::Keys(jwks(&[&signer])));
    let start = by_url(dir.path(), &endpoint).set("AUTH__JWT__REFRESH", "1s");
    let mut server = start.set("AUTH__JWT__MAX_STALE", "1s").spawn();
    let mut peer = welcomed(&server, &signer.token(json!({})));
    endpoint.set(Reply::Status(500));
    server.await_log("the keys of JWTs are too old");
    expect_reauthenticate(&mut peer);
    shown(&server, &signer.token(json!({})), None).expect_end(ErrorCode::UNAUTHENTICATED);
    server.await_metric(&judged("no_keys"), |n| n == 1.0);
    endpoint.set(Reply::Keys(jwks(&[&signer])));
    eventually("there are keys again", || {
        let mut peer = shown(&server, &signer.token(json!({})), None);
        matches!(peer.expect().frame(), Frame::Hello(_))
    });
}
