use super::super::{Document, DocumentError, Loaded, ParseOptions};
use super::*;

const HEAD: &str = "apiVersion: mcpd/v1\nkind: RouteTable\n";
const ALL: &str = "requires: [fault, match, mirror, rewrite, split]\n";

const SHAPED: &str = "\
routes:
  - name: checkout
    topic: \"checkout/+\"
    split:
      - {handler: stable, weight: 90}
      - {handler: canary, weight: 10}
    sticky: {header: session}
    match:
      - {handler: beta, header: {a: \"x*\", tenant: acme}}
      - {client_id: \"edge-*\", handler: edge, principal: ci}
    rewrite: \"v2/{1}\"
    mirror: {handler: shadow, percent: 10}
    fault: {delay: \"100ms\", error: OVERLOADED, percent: 5}
";

fn load(text: &str) -> Result<Loaded, DocumentError> {
    Document::parse(text.as_bytes(), &ParseOptions::default())
}

fn shaped() -> Loaded {
    load(&format!("{HEAD}revision: 0\n{ALL}{SHAPED}")).unwrap()
}

/// The problems of a document with one route on `a/+` to `h` with these keys.
fn refused(keys: &str) -> String {
    let text = format!("{HEAD}routes:\n  - {{topic: a/+, {keys}}}\n");
    load(&text).expect_err(&text).to_string()
}

#[test]
fn every_key_is_read_and_written_again_as_a_person_would() {
    let loaded = shaped();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let route = &loaded.document.routes[0];
    let Target::Split(split) = &route.target else {
        panic!("{:?}", route.target)
    };
    assert_eq!(split.shares[1].weight, 10);
    assert_eq!(split.sticky, Some(Sticky::Header("session".to_owned())));
    assert_eq!(route.matches[0].headers[1].1.as_str(), "acme");
    assert_eq!(route.fault.unwrap().error, Some(ErrorCode::OVERLOADED));
    let handlers: Vec<_> = route.handlers().into_iter().map(|(_, name)| name).collect();
    assert_eq!(handlers, ["stable", "canary", "beta", "edge", "shadow"]);

    let written = loaded.document.to_yaml();
    assert_eq!(
        written,
        format!("{HEAD}revision: 0\n{ALL}{SHAPED}").replace(
            "[fault, match, mirror, rewrite, split]",
            "[\"fault\", \"match\", \"mirror\", \"rewrite\", \"split\"]",
        )
    );
    let again = load(&written).unwrap().document;
    assert_eq!(again, loaded.document);
    let json = load(&loaded.document.to_json().to_string())
        .unwrap()
        .document;
    assert_eq!(json.hash_hex(), again.hash_hex());
}

#[test]
fn the_hash_of_a_known_document_never_changes() {
    // Pods of two versions compare hashes while a rollout runs: a change here splits them.
    let hash = "1a2dc795c73a593b";
    assert_eq!(&shaped().document.hash_hex()[..16], hash);
}

#[test]
fn what_is_used_is_required_whether_the_document_says_so_or_not() {
    let silent = load(&format!("{HEAD}{SHAPED}")).unwrap();
    let warnings = silent.warnings.to_string();
    assert_eq!(silent.warnings.total(), 5, "{warnings}");
    assert!(warnings.contains("requires: has no `split`, which the routes use; add it"));
    assert_eq!(silent.document.hash(), shaped().document.hash());
    assert!(
        silent
            .document
            .to_yaml()
            .contains("requires: [\"fault\", \"match\",")
    );

    // A document that was put together says it, too.
    let mut made = Document {
        routes: silent.document.routes.clone(),
        ..Document::default()
    };
    assert_eq!(made.hash(), silent.document.hash());
    assert_eq!(made.to_yaml(), silent.document.to_yaml());
    assert_eq!(made.require_used().len(), 5);
    assert_eq!(made.require_used().len(), 0);
    assert_eq!(made.hash(), silent.document.hash());

    let plain = load(&format!("{HEAD}routes: [{{topic: a, handler: b}}]\n")).unwrap();
    assert!(plain.document.requires.is_empty() && plain.warnings.is_empty());
}

#[test]
fn a_rate_for_each_client_is_required_of_readers_and_the_default_is_not_written() {
    let text = |rest: &str| {
        format!("{HEAD}routes: [{{topic: a, handler: b, rate_limit: {{per_second: 5{rest}}}}}]\n")
    };
    let each = load(&text(", per: client_id")).unwrap();
    assert_eq!(each.document.requires, ["rate_per"]);
    let again = load(&each.document.to_yaml()).unwrap();
    assert_eq!(again.document.hash(), each.document.hash());
    assert_eq!(
        again.document.routes[0].rate_limit.unwrap().per,
        RatePer::ClientId
    );
    assert!(again.warnings.is_empty(), "{}", again.warnings);
    let all = load(&text("")).unwrap().document;
    assert_ne!(all.hash(), each.document.hash());
    assert_eq!(
        load(&text(", per: route")).unwrap().document.hash(),
        all.hash()
    );
    assert!(all.requires.is_empty());
}

#[test]
fn what_cannot_be_meant_is_refused_by_line_and_key() {
    let many: Vec<String> = (0..17)
        .map(|n| format!("{{handler: h{n}, weight: 1}}"))
        .collect();
    let many = format!("split: [{}]", many.join(", "));
    let rules = format!(
        "handler: h, match: [{}]",
        "{client_id: a, handler: b}, ".repeat(33)
    );
    for (keys, problem) in [
        (
            "qos: 0",
            "line 4: routes[0].handler: is missing; write a handler or a split",
        ),
        (
            "handler: h, split: [{handler: a, weight: 1}]",
            "handler: a route has a handler or a split, not both",
        ),
        ("split: []", "split: has 0 handlers; write 1 to 16"),
        (&many, "split: has 17 handlers; write 1 to 16"),
        (
            "split: [{handler: a, weight: 0}]",
            "split: has only weights of 0",
        ),
        (
            "split: [{handler: a, weight: 1}, {handler: a, weight: 2}]",
            "split: names the handler `a` twice",
        ),
        ("split: [{handler: a}]", "split[0].weight: is missing"),
        (
            "split: [{handler: a, weight: -1}]",
            "split[0].weight: `-1` is out of range; write a whole number from 0 to 10000",
        ),
        (
            "split: [{handler: a, wait: 1, weight: 1}]",
            "split[0].wait: is not known here; there are: handler, weight",
        ),
        ("handler: h, sticky: client_id", "sticky: needs a `split`"),
        (
            "split: [{handler: a, weight: 1}], sticky: me",
            "sticky: write client_id, or {header: KEY}",
        ),
        (
            "split: [{handler: a, weight: 1}], sticky: {header: Big}",
            "sticky.header: `Big` is not the key of a HEADER",
        ),
        (
            "handler: h, match: [{handler: b}]",
            "match[0]: has no condition",
        ),
        (
            "handler: h, match: [{client_id: a}]",
            "match[0].handler: is missing",
        ),
        (
            "handler: h, match: [{client_ids: a, handler: b}]",
            "match[0].client_ids: is not known here; did you mean `client_id`?",
        ),
        (
            "handler: h, match: [{client_id: a*b*, handler: b}]",
            "match[0].client_id: has more than one `*`",
        ),
        (
            "handler: h, match: [{header: {}, handler: b}]",
            "match[0].header: has 0 keys; write 1 to 8",
        ),
        (
            "handler: h, match: [{header: {A: b}, handler: b}]",
            "match[0].header.A: `A` is not the key of a HEADER",
        ),
        (
            "handler: h, match: [{header: {a: 1}, handler: b}]",
            "match[0].header.a: `1` is a number in YAML; quote it",
        ),
        (&rules, "match: has 33 entries; at most 32 are taken"),
        (
            "handler: h, rewrite: \"b/{2}\"",
            "rewrite: `{2}` stands for nothing",
        ),
        (
            "handler: h, mirror: {handler: m}",
            "mirror.percent: is missing",
        ),
        (
            "handler: h, mirror: {handler: m, percent: 101}",
            "mirror.percent: `101` is out of range",
        ),
        (
            "handler: h, fault: {percent: 1}",
            "fault: does nothing; give it a delay, an error, or both",
        ),
        (
            "handler: h, fault: {percent: 1, error: NO_ROUTE}",
            "fault.error: is no code that a fault has; write one of OVERLOADED",
        ),
        (
            "handler: h, fault: {percent: 1, delay: 5}",
            "fault.delay: `5` has no unit",
        ),
        (
            "handler: h, fault: {percent: 1, delay: 5s, errors: INTERNAL}",
            "fault.errors: is not known here; did you mean `error`?",
        ),
    ] {
        let problems = refused(keys);
        assert!(problems.contains(problem), "{keys}: {problems}");
    }
}
