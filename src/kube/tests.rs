//! Orderings and failures that a real API server shows only by chance. What it does by itself is in
//! `tests/kubernetes`.

use super::fake::{Api, TIMEOUT, Watching, map};
use super::*;
use crate::upstream::BoxFuture;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Other replicas that serve, or do not.
struct Fleet(bool);

impl super::Others for Fleet {
    fn serve(&self) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async { Ok(self.0) })
    }
}

const POLL: Duration = Duration::from_secs(30);

fn settings(snapshots: Option<&TempDir>) -> DocumentSettings {
    DocumentSettings {
        name: "mcpd".to_owned(),
        writes: true,
        create: true,
        snapshots: snapshots.map(|directory| directory.path().to_owned()),
        poll: POLL,
        pod: Some("pod-1".to_owned()),
    }
}

/// Routes behind an API server of which every request is answered by the test; Events go elsewhere.
fn routes(settings: DocumentSettings, others: bool) -> (Api, Arc<SharedDocument>) {
    let (api, cluster) = Api::new();
    let (_, elsewhere) = Api::new();
    let events = Events::new(elsewhere, None);
    let again = |text: &str| Some(format!("{text} again"));
    let others = Arc::new(Fleet(others));
    let document = SharedDocument::new(cluster, Kind::Routes, settings, others, events, again);
    (api, document)
}

/// The same, watched from `text` on, which is in force.
async fn watched(text: &str) -> (Api, Arc<SharedDocument>, Watching) {
    let (mut api, document) = routes(settings(None), false);
    document.follow();
    let list = api.expect("LIST configmaps").await;
    assert!(
        list.query
            .contains("fieldSelector=metadata.name%3Dmcpd-routes")
    );
    list.list("10", &[map("7", text)]);
    let watch = api.expect("WATCH configmaps").await;
    assert!(
        watch.query.contains("resourceVersion=10"),
        "{}",
        watch.query
    );
    assert!(watch.query.contains("allowWatchBookmarks=true"));
    assert_eq!(&*document.changed().await.unwrap(), text);
    document.in_force(text);
    (api, document, watch.watch())
}

/// Whether nothing is handed out for a while.
async fn is_silent(document: &SharedDocument) -> bool {
    let changed = document.changed();
    tokio::time::timeout(Duration::from_secs(3), changed)
        .await
        .is_err()
}

fn bookmark(version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": version}})
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code})
}

#[tokio::test(start_paused = true)]
async fn changes_are_handed_out_once_and_labels_are_none() {
    let (_api, document, watch) = watched("one").await;
    watch.tell("MODIFIED", &map("11", "two"));
    assert_eq!(&*document.changed().await.unwrap(), "two");
    assert_eq!(document.seen().version(), Some("11"));
    watch.tell("MODIFIED", &map("12", "two"));
    assert!(is_silent(&document).await);
    assert_eq!(document.seen().version(), Some("12"));
}

#[tokio::test(start_paused = true)]
async fn after_gone_the_old_document_stays_until_the_list_is_whole() {
    let (mut api, document, watch) = watched("one").await;
    watch.tell("ERROR", &status(410, "Expired"));
    let list = api.expect("LIST configmaps").await;
    assert!(is_silent(&document).await);
    assert_eq!(document.seen().version(), Some("7"));
    list.list("90", &[map("80", "two")]);
    assert_eq!(&*document.changed().await.unwrap(), "two");
    let watch = api.expect("WATCH configmaps").await;
    assert!(watch.query.contains("resourceVersion=90"));
}

#[tokio::test(start_paused = true)]
async fn what_a_watch_misses_is_found_by_a_poll() {
    let (mut api, document, _silent) = watched("one").await;
    // A poll that finds nothing new leaves the watch alone.
    api.expect("LIST configmaps")
        .await
        .list("20", &[map("7", "one")]);
    // The next one finds something, and the watch that has not told it is given up.
    api.expect("LIST configmaps")
        .await
        .list("30", &[map("25", "two")]);
    api.expect("LIST configmaps")
        .await
        .list("31", &[map("25", "two")]);
    assert_eq!(&*document.changed().await.unwrap(), "two");
    let watch = api.expect("WATCH configmaps").await;
    assert!(watch.query.contains("resourceVersion=31"));
}

#[tokio::test(start_paused = true)]
async fn only_news_of_the_api_server_confirms() {
    let (mut api, document, watch) = watched("one").await;
    let confirmed = || document.seen().confirmed;
    let at_first = confirmed().unwrap();
    assert!(at_first <= SystemTime::now());
    assert!(is_silent(&document).await);
    assert_eq!(confirmed(), Some(at_first), "silence confirms nothing");

    watch.tell("BOOKMARK", &bookmark("15"));
    let next = api.expect("LIST configmaps").await;
    let by_bookmark = confirmed().unwrap();
    assert!(by_bookmark > at_first);

    // It is not there for the poll.
    next.fail(503, "ServiceUnavailable");
    for _ in 0..3 {
        let again = api.expect("LIST configmaps").await;
        again.fail(503, "ServiceUnavailable");
    }
    let poll = api.expect("LIST configmaps").await;
    assert_eq!(confirmed(), Some(by_bookmark));
    assert!(document.seen().problem.is_some());

    poll.list("40", &[map("7", "one")]);
    let _next_poll = api.expect("LIST configmaps").await;
    assert!(confirmed().unwrap() > by_bookmark);
    assert_eq!(document.seen().problem, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_is_created_again_and_nobody_hears_of_it() {
    let (mut api, document, watch) = watched("one").await;
    watch.tell("DELETED", &map("11", "one"));
    let create = api.expect("POST configmaps").await;
    assert_eq!(create.body["data"]["routes.yaml"], "one again");
    assert_eq!(
        create.body["metadata"]["annotations"]["mcpd/recreated-by"],
        "pod-1"
    );
    let created = map("12", "one again");
    create.answer(201, &created);
    watch.tell("ADDED", &created);
    assert_eq!(&*document.changed().await.unwrap(), "one again");
}

#[tokio::test(start_paused = true)]
async fn of_replicas_that_create_again_the_first_one_is_right() {
    let (mut api, document, watch) = watched("one").await;
    watch.tell("DELETED", &map("11", "one"));
    api.expect("POST configmaps")
        .await
        .fail(409, "AlreadyExists");
    watch.tell("ADDED", &map("12", "theirs"));
    assert_eq!(&*document.changed().await.unwrap(), "theirs");
}

#[tokio::test(start_paused = true)]
async fn who_has_refused_something_lets_others_go_first() {
    let (mut api, document, watch) = watched("one").await;
    watch.tell("MODIFIED", &map("11", "two"));
    assert_eq!(&*document.changed().await.unwrap(), "two");
    document.refused("not here");
    watch.tell("DELETED", &map("12", "two"));
    assert!(api.is_quiet_for(Duration::from_millis(1900)).await);
    // Nobody else has done it, so this is still within the time in which it is to be there again.
    let create = api.expect("POST configmaps").await;
    assert_eq!(create.body["data"]["routes.yaml"], "one again");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_created_again_is_tried_again_within_seconds() {
    let (mut api, document, watch) = watched("one").await;
    watch.tell("DELETED", &map("11", "one"));
    api.expect("POST configmaps").await.fail(403, "Forbidden");
    assert_eq!(document.changed().await.unwrap_err().why, Why::NotFound);
    let failed = tokio::time::Instant::now();
    api.expect("LIST configmaps").await.list("12", &[]);
    let create = api.expect("POST configmaps").await;
    assert!(failed.elapsed() < Duration::from_secs(5));
    create.answer(201, &map("13", "one again"));
    let watch = api.expect("WATCH configmaps").await.watch();
    watch.tell("ADDED", &map("13", "one again"));
    assert_eq!(&*document.changed().await.unwrap(), "one again");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_ever_written_where_others_declare() {
    let declared = DocumentSettings {
        writes: false,
        ..settings(None)
    };
    let (mut api, document) = routes(declared, false);
    let first = document.first(|_| panic!("nothing is to be made"));
    let answer = async {
        api.expect("GET configmaps/mcpd-routes")
            .await
            .fail(404, "NotFound")
    };
    let (first, ()) = tokio::join!(first, answer);
    assert_eq!(first.unwrap(), None);

    document.in_force("one");
    document.follow();
    api.expect("LIST configmaps").await.list("10", &[]);
    let _watch = api.expect("WATCH configmaps").await.watch();
    assert_eq!(document.seen().version(), None);
    assert!(api.is_quiet_for(POLL / 2).await, "nothing is created");
    assert!(!document.is_writable());
}

#[tokio::test(start_paused = true)]
async fn who_starts_beside_others_waits_for_them() {
    let (mut api, document) = routes(settings(None), true);
    let first = document.first(|_| Ok(Some("seed".to_owned())));
    let answer = async {
        api.expect("GET configmaps/mcpd-routes")
            .await
            .fail(404, "NotFound")
    };
    let (first, ()) = tokio::join!(first, answer);
    let failure = first.unwrap_err();
    assert_eq!(failure.why, Why::NotFound);
    assert!(
        failure.to_string().contains("another replica serves"),
        "{failure}"
    );
    assert!(api.is_quiet_for(TIMEOUT).await, "nothing is created");
}

#[tokio::test(start_paused = true)]
async fn of_replicas_that_start_together_one_brings_the_seed() {
    let (mut api, document) = routes(settings(None), false);
    let first = document.first(|_| Ok(Some("seed".to_owned())));
    let answer = async {
        let get = "GET configmaps/mcpd-routes";
        api.expect(get).await.fail(404, "NotFound");
        let create = api.expect("POST configmaps").await;
        assert_eq!(create.body["data"]["routes.yaml"], "seed");
        create.fail(409, "AlreadyExists");
        api.expect(get).await.answer(200, &map("5", "theirs"));
    };
    let (first, ()) = tokio::join!(first, answer);
    assert_eq!(first.unwrap().as_deref(), Some("theirs"));
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_what_was_in_force_comes_before_the_seed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("routes.yaml"), "copy").unwrap();
    let (mut api, document) = routes(settings(Some(&directory)), false);
    let first = document.first(|copy| Ok(copy.map(|copy| format!("{copy} again"))));
    let answer = async {
        let get = "GET configmaps/mcpd-routes";
        api.expect(get).await.fail(404, "NotFound");
        let create = api.expect("POST configmaps").await;
        assert_eq!(create.body["data"]["routes.yaml"], "copy again");
        create.answer(201, &map("5", "copy again"));
        api.expect(get).await.answer(200, &map("5", "copy again"));
    };
    let (first, ()) = tokio::join!(first, answer);
    assert_eq!(first.unwrap().as_deref(), Some("copy again"));
}

#[tokio::test(start_paused = true)]
async fn a_read_is_tried_again_within_its_time_and_a_write_never_is() {
    let (mut api, document) = routes(settings(None), false);
    let began = tokio::time::Instant::now();
    let answer = async {
        let get = "GET configmaps/mcpd-routes";
        api.expect(get).await.fail(503, "ServiceUnavailable");
        api.expect(get).await.fail(500, "InternalError");
        api.expect(get).await.answer(200, &map("5", "one"));
    };
    let (got, ()) = tokio::join!(document.get(), answer);
    let (_, found) = got.unwrap().unwrap();
    assert!(began.elapsed() < TIMEOUT);

    let answer = async {
        api.expect("PUT configmaps/mcpd-routes")
            .await
            .fail(500, "ServerTimeout")
    };
    let (written, ()) = tokio::join!(document.update(found.clone(), "two"), answer);
    assert_eq!(written.unwrap_err().why, Why::Unknown);
    let answer = async {
        api.expect("PUT configmaps/mcpd-routes")
            .await
            .fail(409, "Conflict")
    };
    let (written, ()) = tokio::join!(document.update(found, "two"), answer);
    assert_eq!(written.unwrap_err().why, Why::Conflict);
    assert!(api.is_quiet_for(TIMEOUT).await);
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_by_the_version_that_was_read_and_keeps_all_else() {
    let (mut api, document) = routes(settings(None), false);
    let mut there = map("5", "one");
    there["data"]["theirs"] = json!("kept");
    there["metadata"]["labels"] = json!({"team": "shop"});
    let answer = async {
        api.expect("GET configmaps/mcpd-routes")
            .await
            .answer(200, &there)
    };
    let (got, ()) = tokio::join!(document.get(), answer);
    let (_, found) = got.unwrap().unwrap();
    let answer = async {
        let put = api.expect("PUT configmaps/mcpd-routes").await;
        let body = put.body.clone();
        put.answer(200, &map("6", "two"));
        body
    };
    let (written, body) = tokio::join!(document.update(found, "two"), answer);
    written.unwrap();
    assert_eq!(body["metadata"]["resourceVersion"], "5");
    assert_eq!(body["metadata"]["labels"]["team"], "shop");
    assert_eq!(
        body["data"],
        json!({"routes.yaml": "two", "theirs": "kept"})
    );
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_not_waited_for() {
    let (mut api, document) = routes(settings(None), false);
    let began = tokio::time::Instant::now();
    let unanswered = api.expect("GET configmaps/mcpd-routes");
    let (got, _call) = tokio::join!(document.get(), unanswered);
    assert_eq!(got.unwrap_err().why, Why::Unknown);
    assert!(began.elapsed() <= TIMEOUT + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_config_map_without_the_document_says_so() {
    let (mut api, document, watch) = watched("one").await;
    let mut empty = map("11", "");
    empty["data"] = json!({"other": "x"});
    watch.tell("MODIFIED", &empty);
    let failure = document.changed().await.unwrap_err();
    assert_eq!(failure.why, Why::Invalid);
    assert!(failure.to_string().contains("has no key routes.yaml"));
    assert!(is_silent(&document).await);
    // Somebody wants to know in any case.
    document.poke();
    let answer = async {
        api.expect("GET configmaps/mcpd-routes")
            .await
            .answer(200, &map("12", "two"))
    };
    let (changed, ()) = tokio::join!(document.changed(), answer);
    assert_eq!(&*changed.unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn the_same_event_is_counted_up_and_one_that_is_not_allowed_harms_nobody() {
    let (mut api, cluster) = Api::new();
    let events = Events::new(cluster, Some("pod-1".to_owned()));
    let news = |note: &str| events::News {
        warning: true,
        reason: "Refused",
        note: note.to_owned(),
        name: "mcpd-routes".to_owned(),
        uid: "u-1".to_owned(),
    };
    events.tell(news("bad"));
    let create = api.expect("POST events").await;
    let event = create.body.clone();
    assert_eq!(event["reason"], "Refused");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["note"], "bad");
    assert_eq!(event["regarding"]["kind"], "ConfigMap");
    assert_eq!(event["regarding"]["uid"], "u-1");
    assert_eq!(event["reportingInstance"], "pod-1");
    create.answer(201, &event);

    events.tell(news("bad"));
    let name = event["metadata"]["name"].as_str().unwrap();
    let patch = api.expect(&format!("PATCH events/{name}")).await;
    assert_eq!(patch.body["series"]["count"], 2);
    patch.answer(200, &event);

    events.tell(news(&"ü".repeat(2000)));
    let create = api.expect("POST events").await;
    assert!(create.body["note"].as_str().unwrap().len() <= 1024);
    create.fail(403, "Forbidden");
    events.tell(news("worse"));
    assert_eq!(api.expect("POST events").await.body["note"], "worse");
}
