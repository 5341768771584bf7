use super::*;
use proptest::prelude::*;

const HEAD: &str = "apiVersion: mcpd/v1\nkind: RouteTable\n";

fn load(text: &str) -> Result<Loaded, DocumentError> {
    Document::parse(text.as_bytes(), &ParseOptions::default())
}

fn strict(text: &str) -> Result<Loaded, DocumentError> {
    let options = ParseOptions {
        strict: true,
        ..ParseOptions::default()
    };
    Document::parse(text.as_bytes(), &options)
}

/// The problems of a document with one route made of these lines, which start at line 4.
fn route_problems(lines: &[&str]) -> String {
    let text = format!("{HEAD}routes:\n  - {}\n", lines.join("\n    "));
    load(&text).expect_err(&text).to_string()
}

const FULL: &str = r##"# All there is.
apiVersion: mcpd/v1
kind: RouteTable
revision: 41
requires: []
routes:
  - name: first
    topic: "orders/+/new"
    handler: upstream.orders
    qos: 2
    timeout: 1m 30s
    ordered: true
    rate_limit: {per_second: 1000, burst: 2000}
    priority: {min: 1, max: 6}
  - topic: '#'
    handler: echo
    rate_limit:
      per_second: 5
"##;

#[test]
fn every_key_is_read_and_has_its_default() {
    let document = load(FULL).unwrap().document;
    assert_eq!(document.revision, 41);
    let [first, second] = &document.routes[..] else {
        panic!("two routes")
    };
    assert_eq!(first.name, "first");
    assert_eq!(first.pattern.as_str(), "orders/+/new");
    assert_eq!(first.target, Target::Handler("upstream.orders".to_owned()));
    assert_eq!((first.qos, first.ordered, first.line), (2, true, 7));
    assert_eq!(first.timeout, Duration::from_secs(90));
    let limit = first.rate_limit.unwrap();
    assert_eq!((limit.per_second, limit.burst), (1000, 2000));
    assert_eq!((first.priority.min, first.priority.max), (1, 6));

    assert_eq!(second.name, "all");
    assert_eq!((second.qos, second.ordered), (0, false));
    assert_eq!(second.timeout, Duration::from_secs(30));
    assert_eq!(second.rate_limit.unwrap().burst, 5);
    assert_eq!(second.priority, PriorityBounds::default());
    assert_eq!(second.line, 15);
}

#[test]
fn json_says_the_same_as_yaml() {
    let document = load(FULL).unwrap().document;
    let json = document.canonical();
    assert!(json.starts_with('{'), "{json}");
    let again = load(&json).unwrap().document;
    assert_eq!(again.hash(), document.hash());
    assert_eq!(again.routes.len(), document.routes.len());
}

#[test]
fn yaml_is_written_as_a_person_would() {
    let written = load(FULL).unwrap().document.to_yaml();
    let expected = "\
apiVersion: mcpd/v1
kind: RouteTable
revision: 41
routes:
  - name: first
    topic: \"orders/+/new\"
    handler: upstream.orders
    qos: 2
    timeout: \"1m 30s\"
    ordered: true
    rate_limit: {per_second: 1000, burst: 2000}
    priority: {min: 1, max: 6}
  - name: all
    topic: \"#\"
    handler: echo
    rate_limit: {per_second: 5, burst: 5}
";
    assert_eq!(written, expected);
}

#[test]
fn all_problems_are_named_by_line_and_key() {
    let text = "\
apiVersion: mcpd/v2
kind: RouteTable
revision: -1
requires: [streams]
routes:
  - topic: a/#/b
    handler: Echo!
    timeout: 2h
  - handler: echo
    qos: 3
    rate_limit: {burst: 0}
    priority: {min: 5, max: 2}
  - nonsense
";
    let problems = load(text).unwrap_err().problems;
    let lines: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
    let expected = [
        (1, "apiVersion"),
        (3, "revision"),
        (4, "requires[0]"),
        (6, "routes[0].topic"),
        (7, "routes[0].handler"),
        (8, "routes[0].timeout"),
        (9, "routes[1].topic"),
        (10, "routes[1].qos"),
        (11, "routes[1].rate_limit.burst"),
        (11, "routes[1].rate_limit.per_second"),
        (12, "routes[1].priority"),
        (13, "routes[2]"),
    ];
    assert_eq!(lines, expected, "{problems}");
    assert!(problems.to_string().contains("lacks the feature `streams`"));
}

#[test]
fn what_yaml_takes_for_something_else_gets_a_hint() {
    for (line, hint) in [
        (
            "topic: 12",
            "routes[0].topic: `12` is a number in YAML; quote it: \"12\"",
        ),
        (
            "topic: true",
            "`true` is a truth value in YAML; quote it: \"true\"",
        ),
        (
            "topic: #",
            "routes[0].topic: is empty; give it a value, in quotes if it starts with `#`",
        ),
        ("topic: [a]", "routes[0].topic: is a list; write a text"),
        ("topic: $sys/x", "kept for the server itself"),
        ("topic: /a", "leave the leading `/` out"),
        (
            "ordered: yes",
            "routes[0].ordered: `yes` is a text; write true",
        ),
        ("ordered: 0", "`0` is a number; write false"),
        ("timeout: 30", "routes[0].timeout: `30` has no unit"),
        ("timeout: 1.5", "`1.5` has no unit"),
        ("timeout: soon", "`soon` is no duration"),
        (
            "timeout: 100us",
            "`100us` is out of range; write a duration from 1ms to 1h",
        ),
        (
            "qos: \"1\"",
            "`1` is a text; write a whole number from 0 to 2 without quotes",
        ),
        ("qos: 99999999999999999999", "out of range"),
        (
            "priority: 3",
            "routes[0].priority: is a number; write a mapping with min, max",
        ),
        ("rate_limit: {per_second: 10000001}", "from 1 to 10000000"),
        ("rate_limit: {per_second: 0}", "from 1 to 10000000"),
        (
            "rate_limit: {per_second: 5, algorithm: bucket}",
            "rate_limit.algorithm: is `bucket`; write token_bucket or leaky_bucket",
        ),
        (
            "rate_limit: {per_second: 5, per: client}",
            "rate_limit.per: is `client`; write route or client_id or principal",
        ),
        ("name: Big", "`Big` is not a name; write [a-z0-9._-]{1,63}"),
    ] {
        let text = route_problems(&[line]);
        assert!(text.contains(hint), "{line}: {text}");
    }
}

#[test]
fn topics_and_names_are_unique() {
    let text = format!(
        "{HEAD}routes:\n  - topic: a\n    handler: echo\n  - {{topic: \"a\", handler: x}}\n"
    );
    let text = load(&text).unwrap_err().to_string();
    assert!(
        text.contains("line 6: routes[1].topic: the route at line 4 has the topic `a`, too"),
        "{text}"
    );
    // The first route cannot be read; the second one's position is still its own.
    let text = format!(
        "{HEAD}routes:\n  - topic: 1\n  - {{name: n, topic: a, handler: h}}\n  - {{name: n, topic: b, handler: h}}\n"
    );
    let text = load(&text).unwrap_err().to_string();
    assert!(text.contains("line 6: routes[2].name: the route at line 5 is named `n`, too"));
}

#[test]
fn unknown_keys_are_warned_of_kept_and_written_again() {
    let text = format!(
        "{HEAD}x-owner: team a\nroutes:\n  - topic: a\n    handler: echo\n    timout: 5s\n    \
         rate_limit: {{per_second: 1, window: [1, 2.5, null, {{\"a b\": yes}}]}}\n    priority: {{step: 1}}\n"
    );
    let loaded = load(&text).unwrap();
    let warnings = loaded.warnings.to_string();
    assert!(warnings.contains("line 3: x-owner: is not a key that this version knows; it is kept"));
    assert!(warnings.contains("line 7: routes[0].timout: "));
    assert!(warnings.contains("did you mean `timeout`?"));
    assert_eq!(loaded.warnings.total(), 4);

    let again = load(&loaded.document.to_yaml()).unwrap();
    assert_eq!(again.document.hash(), loaded.document.hash());
    assert_eq!(again.document.unknown["x-owner"], "team a");
    let route = &again.document.routes[0];
    assert_eq!(route.unknown["timout"], "5s");
    assert_eq!(route.unknown_rate_limit["window"][3]["a b"], "yes");
    assert_eq!(route.unknown_priority["step"], 1);

    let refused = strict(&text).unwrap_err().problems;
    assert_eq!(refused.total(), 4, "{refused}");
}

#[test]
fn the_frame_of_the_document_is_checked() {
    assert!(load("").unwrap_err().to_string().contains("is empty"));
    assert!(
        load("just text")
            .unwrap_err()
            .to_string()
            .contains("is a text; write a mapping")
    );
    let missing = load("{}").unwrap_err().to_string();
    for key in ["apiVersion", "kind", "routes"] {
        assert!(missing.contains(&format!("{key}: is missing")), "{missing}");
    }
    let cut = load(&format!("{HEAD}routes:\n")).unwrap_err().to_string();
    assert!(cut.contains("routes: is empty; write a list, `[]` for an empty one"));
    assert!(
        load(&format!("{HEAD}routes: []\n"))
            .unwrap()
            .document
            .routes
            .is_empty()
    );
    let broken = load(&format!("{HEAD}routes: [\n")).unwrap_err().to_string();
    assert!(broken.contains("not YAML"), "{broken}");
    let latin = Document::parse(b"a: 1\nb: \xE9\n", &ParseOptions::default());
    assert!(
        latin
            .unwrap_err()
            .to_string()
            .starts_with("line 2: the document is not UTF-8")
    );
    let small = ParseOptions {
        max_bytes: 10,
        ..ParseOptions::default()
    };
    let huge = Document::parse(FULL.as_bytes(), &small)
        .unwrap_err()
        .to_string();
    assert!(huge.contains("at most 10 are read"));
}

#[test]
fn many_problems_are_cut_and_counted() {
    let text = format!("{HEAD}routes: [{}]", "x, ".repeat(250));
    let problems = load(&text).unwrap_err().problems;
    assert_eq!(
        (problems.total(), problems.iter().count()),
        (250, MAX_PROBLEMS)
    );
}

#[test]
fn the_hash_covers_what_is_said_not_how() {
    let document = load(FULL).unwrap().document;
    let reordered = "kind: RouteTable
routes:
  - {handler: echo, topic: '#', qos: 0, rate_limit: {burst: 5, per_second: 5}, name: all}
  - {timeout: 90s, name: first, topic: orders/+/new, handler: upstream.orders, qos: 2,
     ordered: true, rate_limit: {burst: 2000, per_second: 1000}, priority: {max: 6, min: 1}}
apiVersion: mcpd/v1
";
    let other = load(reordered).unwrap().document;
    assert_eq!(other.hash_hex(), document.hash_hex());
    assert_ne!(other.etag(), document.etag(), "the revision differs");
    assert_eq!(
        document.etag().to_string(),
        format!("\"41-{}\"", &document.hash_hex()[..16])
    );

    let changed = load(&FULL.replace("qos: 2", "qos: 1")).unwrap().document;
    assert_ne!(changed.hash(), document.hash());
    let unknown = load(&FULL.replace("requires: []", "x: 1"))
        .unwrap()
        .document;
    assert_ne!(unknown.hash(), document.hash());
}

#[test]
fn the_hash_of_a_known_document_never_changes() {
    // Pods of two versions compare hashes while a rollout runs: a change here splits them.
    let hash = "ec0e58891bc34ee5";
    assert_eq!(&load(FULL).unwrap().document.hash_hex()[..16], hash);
}

#[test]
fn words_that_other_readers_misread_are_quoted() {
    let mut document = Document::default();
    for topic in [
        "yes",
        "No",
        "null",
        "12",
        "1e3",
        "0x1",
        "+",
        "#",
        "a b",
        "~",
        "a: b",
        "é\u{2028}\u{FEFF}",
        "\"\\",
    ] {
        let pattern = Pattern::parse(topic).unwrap();
        document.routes.push(RouteSpec::new(pattern, "echo"));
    }
    let yaml = document.to_yaml();
    assert!(
        yaml.contains("topic: \"yes\"") && yaml.contains("topic: \"No\""),
        "{yaml}"
    );
    let again = load(&yaml).unwrap().document;
    assert_eq!(again.hash(), document.hash());
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,12}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(".{0,8}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn route() -> impl Strategy<Value = RouteSpec> {
    let topic = "[a-z+#/é \"'\\\\:-]{1,20}".prop_filter_map("pattern", |t| Pattern::parse(&t).ok());
    let limit = prop::option::of((RATE_RANGE, 1..=u32::MAX));
    let key = "x.{0,8}";
    (
        topic,
        "[a-z0-9._-]{1,63}",
        0u8..3,
        1u64..3_600_000,
        any::<bool>(),
        limit,
        0u8..8,
        0u8..8,
    )
        .prop_flat_map(move |route| {
            (
                Just(route),
                prop::collection::btree_map(key, json_value(), 0..3),
            )
        })
        .prop_map(
            |((pattern, handler, qos, ms, ordered, limit, a, b), unknown)| RouteSpec {
                qos,
                timeout: Duration::from_millis(ms),
                ordered,
                rate_limit: limit.map(|(per_second, burst)| RateLimitSpec {
                    per_second,
                    burst,
                    algorithm: RateAlgorithm::ALL[usize::from(a > b)].0,
                    per: RatePer::Route,
                }),
                priority: PriorityBounds {
                    min: a.min(b),
                    max: a.max(b),
                },
                unknown: unknown.into_iter().collect(),
                ..RouteSpec::new(pattern, handler)
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(routes in prop::collection::vec(route(), 0..6), revision: u64) {
        let mut routes = routes;
        routes.sort_by(|a, b| a.name.cmp(&b.name));
        routes.dedup_by(|a, b| a.name == b.name);
        let document = Document { revision, routes, ..Document::default() };
        let yaml = document.to_yaml();
        let mut again = load(&yaml).map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}")))?.document;
        again.routes.iter_mut().for_each(|route| route.line = 0);
        prop_assert_eq!(&again, &document, "{}", yaml);
        prop_assert_eq!(again.etag(), document.etag());
    }

    #[test]
    fn no_text_breaks_the_reader(text in "([a-z]{1,3}|[-\\[\\]{}:,?&*!|>'\"%@`#~ \n\t]|---|\\PC){0,40}") {
        let _ = load(&text);
        let _ = load(&format!("{HEAD}routes:\n  - {text}"));
    }

    #[test]
    fn no_cut_breaks_the_reader(cut in 0..FULL.len(), noise in any::<u8>()) {
        let mut bytes = FULL.as_bytes().to_vec();
        bytes[cut] = noise;
        let _ = Document::parse(&bytes, &ParseOptions::default());
        bytes.truncate(cut);
        let _ = Document::parse(&bytes, &ParseOptions::default());
    }
}
