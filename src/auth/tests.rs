use super::*;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn policy(principals: &str) -> Policy {
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: {principals}}}");
    Policy::parse(text.as_bytes()).unwrap()
}

fn auth(principals: &str) -> Auth {
    let auth = Auth::default();
    auth.set_policy(policy(principals));
    auth
}

fn shown(auth: &Auth, proof: Proof<'_>, client_id: Option<&str>) -> Result<Identity, Denied> {
    match auth.authenticate(proof, client_id) {
        Verdict::Now(who) => who.map(|who| who.expect("somebody asks")),
        Verdict::Later(_) => panic!("a token is decided at once"),
    }
}

#[test]
fn a_token_stands_for_its_principal_and_nothing_else_does() {
    let auth = auth(&format!(
        "[{{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: ['a/#']}}]"
    ));
    assert!(auth.demands_hello(None));
    assert_eq!(
        shown(&auth, Proof::Token(b"test"), None).unwrap().name(),
        "till"
    );
    for proof in [Proof::Token(b"tesT"), Proof::Token(b""), Proof::Nothing] {
        let denied = shown(&auth, proof, None).unwrap_err();
        assert_eq!(denied.code, ErrorCode::UNAUTHENTICATED);
    }
}

#[test]
fn what_is_not_allowed_is_denied_and_deny_wins() {
    let auth =
        auth("[{name: any, anonymous: true, allow: ['a/${client_id}/#', b], deny: ['a/+/x']}]");
    assert!(!auth.demands_hello(None));
    let who = shown(&auth, Proof::Nothing, Some("c7")).unwrap();
    for (topic, allowed) in [
        ("a/c7/y", true),
        ("a/c7", true),
        ("b", true),
        ("a/c7/x", false),
        ("a/c8/y", false),
        ("c", false),
        ("a/+/y", false),
    ] {
        assert_eq!(who.permits(topic, Some("c7")), allowed, "{topic}");
    }
    // Without a name of its own it owns nothing.
    assert!(!who.permits("a//y", None) && !who.permits("a/c7/y", None));
    // No value of a placeholder is more than the text of one level.
    for id in ["+", "#", "c7/#", "..", "$x"] {
        assert!(!who.permits("a/c7/y", Some(id)), "{id}");
    }
}

#[test]
fn a_change_reaches_those_who_are_connected() {
    let entry = |allow: &str| {
        format!("[{{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: [{allow}]}}]")
    };
    let auth = auth(&entry("a"));
    let who = shown(&auth, Proof::Token(b"test"), None).unwrap();
    assert!(who.permits("a", None) && auth.still_good(&who));
    auth.set_policy(policy(&entry("b")));
    assert!(who.permits("b", None) && !who.permits("a", None) && auth.still_good(&who));
    auth.set_policy(policy("[{name: till, anonymous: true, allow: [b]}]"));
    assert!(!auth.still_good(&who));
    auth.set_policy(policy("[]"));
    assert!(!who.permits("b", None) && !auth.still_good(&who));
}

#[test]
fn limits_hold_for_all_connections_together() {
    let auth = auth(
        "[{name: any, anonymous: true, allow: ['#'], priority: {max: 3},
           limits: {connections: 2, in_flight: 1, requests_per_second: 10, burst: 2}}]",
    );
    let first = shown(&auth, Proof::Nothing, None).unwrap();
    let second = shown(&auth, Proof::Nothing, None).unwrap();
    let third = shown(&auth, Proof::Nothing, None).unwrap_err();
    assert_eq!(third.code, ErrorCode::TOO_MANY_CONNECTIONS);
    let now = std::time::Instant::now();
    assert!(first.take(now).is_ok() && second.take(now).is_ok());
    assert_eq!(first.take(now), Err(Duration::from_millis(100)));
    assert!(first.take(now + Duration::from_millis(100)).is_ok());
    let place = first.enter();
    assert!(second.is_full());
    drop(place);
    assert!(!second.is_full());
    assert_eq!(first.priority_ceiling(), 3);
    drop(first);
    assert!(shown(&auth, Proof::Nothing, None).is_ok());
}

#[test]
fn expired_tokens_and_foreign_names_are_refused() {
    let auth = auth(&format!(
        "[{{name: old, tokens: [{{name: a, sha256: {HASH}, expires: '2020-01-01T00:00:00Z'}}]}},
          {{name: any, anonymous: true, client_ids: ['till-*']}}]"
    ));
    let old = shown(&auth, Proof::Token(b"test"), None).unwrap_err();
    assert!(old.text.contains("expired"));
    assert!(shown(&auth, Proof::Nothing, Some("till-7")).is_ok());
    assert!(shown(&auth, Proof::Nothing, Some("desk-7")).is_err());
    assert!(shown(&auth, Proof::Nothing, None).is_err());
}

#[test]
fn what_is_wrong_is_named_and_no_token_repeated() {
    for (principals, wanted) in [
        (
            "[{name: a, tokens: [{name: x, sha256: s3cret}]}]",
            "principals[0].tokens[0].sha256",
        ),
        ("[{name: a}]", "neither tokens"),
        (
            "[{name: a, anonymous: true, allow: ['${user}']}]",
            "principals[0].allow[0]",
        ),
        (
            "[{name: a, anonymous: true}, {name: b, anonymous: true}]",
            "principals[1]",
        ),
        ("[{name: a, anonymous: true, jwt: []}]", "principals[0].jwt"),
        (
            "[{name: a, anonymous: true, priority: {max: 8}}]",
            "principals[0].priority.max",
        ),
        ("[{name: A, anonymous: true}]", "principals[0].name"),
    ] {
        let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: {principals}}}");
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        assert!(error.contains(wanted), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
