use super::*;

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn policy(principals: &str) -> Policy {
    let text = format!("{{apiVersion: mcpd/v1, kind: Principals, principals: {principals}}}");
    Policy::parse(text.as_bytes()).unwrap()
}

fn auth(principals: &str) -> Arc<Auth> {
    let auth = Arc::new(Auth::default());
    auth.set_policy(policy(principals));
    auth
}

fn shown(auth: &Arc<Auth>, proof: Proof<'_>, client_id: Option<&str>) -> Result<Identity, Denied> {
    match auth.authenticate(proof, client_id) {
        Verdict::Now(who) => who.map(|who| who.expect("somebody asks")),
        Verdict::Later(_) => panic!("a token is decided at once"),
    }
}

fn permits(who: &Identity, topic: &str, client_id: Option<&str>) -> bool {
    who.permits(&who.rules(), topic, client_id)
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
        assert_eq!(permits(&who, topic, Some("c7")), allowed, "{topic}");
    }
    // Without a name of its own it owns nothing.
    assert!(!permits(&who, "a//y", None) && !permits(&who, "a/c7/y", None));
    // No value of a placeholder is more than the text of one level.
    for id in ["+", "#", "c7/#", "..", "$x"] {
        assert!(!permits(&who, "a/c7/y", Some(id)), "{id}");
    }
}

#[test]
fn a_change_reaches_those_who_are_connected() {
    let entry = |allow: &str| {
        format!("[{{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: [{allow}]}}]")
    };
    let auth = auth(&entry("a"));
    let who = shown(&auth, Proof::Token(b"test"), None).unwrap();
    assert!(permits(&who, "a", None) && auth.still_good(&who));
    auth.set_policy(policy(&entry("b")));
    assert!(permits(&who, "b", None) && !permits(&who, "a", None) && auth.still_good(&who));
    auth.set_policy(policy("[{name: till, anonymous: true, allow: [b]}]"));
    assert!(!auth.still_good(&who));
    auth.set_policy(policy("[]"));
    assert!(!permits(&who, "b", None) && !auth.still_good(&who));
}

#[test]
fn what_is_traced_at_clients_wish_is_counted_for_each_principal() {
    let anybody = "{name: any, anonymous: true, allow: [a]}";
    let auth = auth(&format!(
        "[{{name: till, tokens: [{{name: a, sha256: {HASH}}}], allow: [a]}}, {anybody}]"
    ));
    let till = || shown(&auth, Proof::Token(b"test"), None).unwrap();
    let (one, two) = (till(), till());
    let other = shown(&auth, Proof::Nothing, None).unwrap();
    let now = Instant::now();
    let traced = |who: &Identity, now| (0..5).filter(|_| who.may_be_traced(3, now)).count();
    // However many connections it has.
    assert_eq!((traced(&one, now), traced(&two, now)), (3, 0));
    assert_eq!(traced(&other, now), 3);
    assert_eq!(traced(&two, now + Duration::from_secs(1)), 3);
    assert!(!other.may_be_traced(0, now + Duration::from_secs(9)));
}

fn certificate(uris: &[&str], dns_names: &[&str]) -> Certificate {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Certificate {
        uris: owned(uris),
        dns_names: owned(dns_names),
        emails: Vec::new(),
        not_after: SystemTime::now() + Duration::from_secs(3600),
    }
}

#[test]
fn a_certificate_stands_for_the_one_principal_that_has_its_name() {
    let principals = |rest: &str| {
        format!(
            "[{{name: till, certificates: [{{uri: 'spiffe://p/till/*'}}], allow: ['${{subject}}/#', a]}},
              {{name: ops, certificates: [{{dns: ops.example}}], client_ids: ['${{subject}}']}}{rest}]"
        )
    };
    let auth = auth(&principals(""));
    let till = certificate(&["spiffe://p/till/7"], &[]);
    let ops = certificate(&[], &["ops.example"]);
    let both = certificate(&["spiffe://p/till/7"], &["ops.example"]);
    let none = certificate(&["spiffe://q/till/7"], &["x"]);
    let hello = [&till, &ops, &both, &none].map(|shown| auth.demands_hello(Some(shown)));
    assert_eq!(hello, [false, false, true, true]);
    let who = shown(&auth, Proof::Certificate(&till), None).unwrap();
    assert_eq!(
        (who.name(), who.subject()),
        ("till", Some("spiffe://p/till/7"))
    );
    assert_eq!(who.expires(), Some(till.not_after));
    // A subject with slashes is no level, and so matches none.
    assert!(permits(&who, "a", None) && !permits(&who, "spiffe://p/till/7/x", None));
    let named = |id| shown(&auth, Proof::Certificate(&ops), id);
    assert!(named(Some("ops.example")).is_ok());
    assert!(named(Some("ops.examplE")).is_err() && named(None).is_err());
    for bad in [&both, &none] {
        let denied = shown(&auth, Proof::Certificate(bad), None).unwrap_err();
        assert_eq!(denied.code, ErrorCode::UNAUTHENTICATED);
    }
    let old = Certificate {
        not_after: SystemTime::UNIX_EPOCH,
        ..till
    };
    assert!(shown(&auth, Proof::Certificate(&old), None).is_err());
    // It goes on for as long as it is the one.
    assert!(auth.still_good(&who));
    auth.set_policy(policy(&principals(
        ", {name: c, certificates: [{uri: 'spiffe://p/till/7'}]}",
    )));
    assert!(!auth.still_good(&who));
    auth.set_policy(policy("[{name: any, anonymous: true}]"));
    assert!(!auth.still_good(&who));
    let anybody = shown(&auth, Proof::Certificate(&none), None).unwrap();
    assert_eq!(anybody.name(), "any");
}

#[test]
fn a_certificate_of_very_many_names_is_nobodys() {
    let auth = auth("[{name: any, anonymous: true}, {name: a, certificates: [{dns: a}]}]");
    let names = vec!["a"; 65];
    assert!(shown(&auth, Proof::Certificate(&certificate(&[], &names)), None).is_err());
}

#[test]
fn bytes_are_counted_and_a_large_request_passes_when_there_are_any() {
    let auth = auth(
        "[{name: any, anonymous: true, allow: ['#'],
           limits: {bytes_per_second: 1000, bytes_burst: 2000, requests_per_second: 10, burst: 2}}]",
    );
    let who = shown(&auth, Proof::Nothing, None).unwrap();
    let now = std::time::Instant::now();
    assert!(who.take(&who.rules(), 5000, now).is_ok());
    assert_eq!(who.take(&who.rules(), 1, now), Err(Duration::from_secs(3)));
    // One that was refused for its bytes is not counted as a request.
    let later = now + Duration::from_millis(3001);
    assert!(who.take(&who.rules(), 0, later).is_ok() && who.take(&who.rules(), 0, later).is_ok());
    assert!(who.take(&who.rules(), 0, later).is_err());
}

/// Whatever a client may call itself, it is the text of one level and nothing else.
#[test]
fn no_client_id_and_no_subject_gets_out_of_its_level() {
    let auth = auth(
        "[{name: tills.eu, anonymous: true,
           allow: ['own/${client_id}/#', '${principal}/in', 'x-${client_id}-y']}]",
    );
    let who = shown(&auth, Proof::Nothing, None).unwrap();
    for id in [
        "+",
        "#",
        "a/b",
        "../b",
        "..",
        "${client_id}",
        "${principal}",
        "$x",
        "",
    ] {
        for topic in [
            "own/b/z",
            "own/a/b",
            "own",
            "own/b",
            "b/z",
            "tills/in",
            "tillsxeu/in",
        ] {
            assert!(!permits(&who, topic, Some(id)), "{id} on {topic}");
        }
    }
    assert!(permits(&who, "tills.eu/in", None));
    // What looks alike is not the same.
    assert!(permits(&who, "own/a/z", Some("a")) && !permits(&who, "own/а/z", Some("a")));
    assert!(!permits(&who, "own/A/z", Some("a")) && !permits(&who, "own/a\u{301}/z", Some("a")));
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
    assert!(
        first.take(&first.rules(), 0, now).is_ok() && second.take(&second.rules(), 0, now).is_ok()
    );
    assert_eq!(
        first.take(&first.rules(), 0, now),
        Err(Duration::from_millis(100))
    );
    assert!(
        first
            .take(&first.rules(), 0, now + Duration::from_millis(100))
            .is_ok()
    );
    let place = first.enter();
    assert!(second.is_full(&second.rules()));
    drop(place);
    assert!(!second.is_full(&second.rules()));
    assert_eq!(first.rules().priority_ceiling(), 3);
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
        ("[{name: a, anonymous: true, jws: []}]", "principals[0].jws"),
        (
            "[{name: a, jwt: [{}]}]",
            "principals[0].jwt[0]: matches every JWT",
        ),
        (
            "[{name: a, jwt: [{subject: '*'}]}]",
            "principals[0].jwt[0].subject",
        ),
        (
            "[{name: a, jwt: [{subject: 'a*b'}]}]",
            "principals[0].jwt[0].subject",
        ),
        (
            "[{name: a, jwt: [{claims: {n: 7}}]}]",
            "principals[0].jwt[0].claims.n",
        ),
        (
            "[{name: a, certificates: [{}]}]",
            "needs one of uri, dns and email",
        ),
        (
            "[{name: a, certificates: [{dns: a.b, uri: 'a://b'}]}]",
            "needs one of uri, dns and email",
        ),
        (
            "[{name: a, certificates: [{uri: 'spiffe://*'}]}]",
            "principals[0].certificates[0].uri",
        ),
        (
            "[{name: a, anonymous: true, limits: {bytes_burst: 7}}]",
            "does nothing without bytes_per_second",
        ),
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
