use super::*;
use crate::router::document::RouteSpec;
use mcpd_proto::topic::Pattern;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use tempfile::TempDir;

/// Time is paused in these tests, so that it only sets how many polls there are.
const POLL: Duration = Duration::from_millis(100);

fn options() -> FileStoreOptions {
    FileStoreOptions {
        poll_interval: POLL,
        parse: ParseOptions {
            strict: false,
            max_bytes: 256 << 10,
        },
    }
}

fn table(topics: &[&str]) -> String {
    let mut text = "apiVersion: mcpd/v1\nkind: RouteTable\nrevision: 1\nroutes:\n".to_owned();
    for topic in topics {
        text.push_str(&format!("  - {{topic: {topic}, handler: echo}}\n"));
    }
    text
}

fn topics(loaded: &Loaded) -> Vec<&str> {
    let routes = loaded.document.routes.iter();
    routes.map(|route| route.pattern.as_str()).collect()
}

/// A directory with `routes.yaml` in it, which has been loaded.
async fn loaded(text: &str) -> (TempDir, PathBuf, FileStore) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.yaml");
    fs::write(&path, text).unwrap();
    let store = FileStore::new(&path, options());
    store.load().await.unwrap();
    (directory, path, store)
}

/// The next change, which must come within a few polls.
async fn soon(store: &FileStore) -> Result<Loaded, StoreError> {
    let change = tokio::time::timeout(POLL * 10, store.changed()).await;
    change.expect("a change is noticed")
}

/// That several polls notice nothing.
async fn nothing_new(store: &FileStore) {
    let change = tokio::time::timeout(POLL * 10, store.changed()).await;
    assert!(change.is_err(), "{change:?}");
}

fn entries(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn edits_in_place_and_by_renaming_over_are_noticed() {
    let (directory, path, store) = loaded(&table(&["a"])).await;
    nothing_new(&store).await;

    fs::write(&path, table(&["a", "b"])).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["a", "b"]);

    let new = directory.path().join("new");
    fs::write(&new, table(&["c"])).unwrap();
    fs::rename(&new, &path).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["c"]);

    // Touched or written again with the same content: no news.
    fs::write(&path, table(&["c"])).unwrap();
    nothing_new(&store).await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_same_length_right_after_loading_is_noticed() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    fs::write(&path, table(&["b"])).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_volume_is_followed_through_its_symlinks() {
    let volume = tempfile::tempdir().unwrap();
    let at = |name: &str| volume.path().join(name);
    for (version, topic) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("routes.yaml"), table(&[topic])).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/routes.yaml", at("routes.yaml")).unwrap();
    let store = FileStore::new(at("routes.yaml"), options());
    assert_eq!(topics(&store.load().await.unwrap()), ["a"]);

    symlink("..2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..1")).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_written_file_is_not_a_shorter_table() {
    let (_directory, path, store) = loaded(&table(&["a", "b", "c"])).await;
    nothing_new(&store).await;
    // Each part is valid by itself, and none of them stays for two polls.
    for part in [&["x"][..], &["x", "y"], &["x", "y", "z"]] {
        fs::write(&path, table(part)).unwrap();
        let one_poll = tokio::time::timeout(POLL * 3 / 2, store.changed()).await;
        assert!(one_poll.is_err(), "{one_poll:?}");
    }
    assert_eq!(topics(&soon(&store).await.unwrap()), ["x", "y", "z"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_is_told_once_and_its_repair_too() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    for broken in [
        String::new(),
        "routes: [".to_owned(),
        table(&["a"])[..20].to_owned(),
        table(&["a", "a"]),
    ] {
        fs::write(&path, &broken).unwrap();
        let error = soon(&store).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{broken}");
        assert!(error.document_error().is_some());
        nothing_new(&store).await;
    }
    fs::write(&path, table(&["a"])).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_goes_away_is_told_once_and_its_return_too() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    nothing_new(&store).await;
    // Gone for less than two polls, as some editors do it: no news.
    fs::remove_file(&path).unwrap();
    let one_poll = tokio::time::timeout(POLL * 3 / 2, store.changed()).await;
    assert!(one_poll.is_err());
    fs::write(&path, table(&["a"])).unwrap();
    nothing_new(&store).await;

    fs::remove_file(&path).unwrap();
    let error = soon(&store).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Missing);
    assert!(error.to_string().contains("routes.yaml"), "{error}");
    nothing_new(&store).await;
    fs::write(&path, table(&["a"])).unwrap();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_poke_or_a_save_is_told_at_once_and_in_any_case() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.yaml");
    fs::write(&path, table(&["a"])).unwrap();
    // No poll would ever see it.
    let options = FileStoreOptions {
        poll_interval: Duration::from_secs(1 << 30),
        ..options()
    };
    let store = FileStore::new(&path, options);
    store.load().await.unwrap();
    store.poke();
    assert_eq!(topics(&soon(&store).await.unwrap()), ["a"]);
    fs::write(&path, table(&["b"])).unwrap();
    let (change, ()) = tokio::join!(soon(&store), async { store.poke() });
    let change = change.unwrap();
    assert_eq!(topics(&change), ["b"]);

    let version = Expected::Version(change.document.etag());
    let (change, saved) = tokio::join!(soon(&store), store.save(document(&["c"]), version));
    assert_eq!(change.unwrap().document.etag(), saved.unwrap().etag());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_regular_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for path in [directory.path(), &pipe, Path::new("/dev/zero")] {
        let store = FileStore::new(path, options());
        let error = store.load().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotAFile, "{}", path.display());
        let saved = store.save(Document::default(), Expected::Absent).await;
        assert_eq!(saved.unwrap_err().kind(), StoreErrorKind::NotAFile);
    }
}

#[tokio::test(start_paused = true)]
async fn a_huge_file_is_refused_while_watched() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    // A sparse gigabyte: refused by its size, or this test takes its time.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    let error = soon(&store).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    assert!(error.to_string().contains("larger than 262144 bytes"));
}

fn document(topics: &[&str]) -> Document {
    let route = |topic: &&str| RouteSpec::new(Pattern::parse(topic).unwrap(), "echo");
    Document {
        routes: topics.iter().map(route).collect(),
        ..Document::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_counts_the_revision_up_keeps_the_mode_and_leaves_nothing_behind() {
    let (directory, path, store) = loaded(&table(&["a"])).await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(directory.path().join(".routes.yaml.mcpd-new"), "of a crash").unwrap();
    let version = store.load().await.unwrap().document.etag();

    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await
        .unwrap();
    assert_eq!(saved.revision, 2);
    let change = soon(&store).await.unwrap();
    assert_eq!(change.document.etag(), saved.etag());
    assert_eq!(topics(&change), ["b"]);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o640
    );
    assert_eq!(entries(directory.path()), ["routes.yaml"]);
    nothing_new(&store).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_edited_meanwhile_is_not_overwritten() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    let version = store.load().await.unwrap().document.etag();
    let edited = table(&["a", "edited"]);
    fs::write(&path, &edited).unwrap();
    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await;
    assert_eq!(saved.unwrap_err().kind(), StoreErrorKind::Conflict);
    let saved = store.save(document(&["b"]), Expected::Absent).await;
    assert_eq!(saved.unwrap_err().kind(), StoreErrorKind::Conflict);
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);

    fs::write(&path, "broken by hand").unwrap();
    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await;
    assert_eq!(saved.unwrap_err().kind(), StoreErrorKind::Invalid);
    fs::remove_file(&path).unwrap();
    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await;
    assert_eq!(saved.unwrap_err().kind(), StoreErrorKind::Conflict);
    let saved = store
        .save(document(&["b"]), Expected::Absent)
        .await
        .unwrap();
    assert_eq!(saved.revision, 1);
}

#[tokio::test]
async fn of_two_writers_of_one_version_one_succeeds() {
    let (_directory, path, store) = loaded(&table(&["a"])).await;
    let other = FileStore::new(&path, options());
    for _ in 0..20 {
        let version = Expected::Version(store.load().await.unwrap().document.etag());
        let (one, two) = tokio::join!(
            store.save(document(&["one"]), version),
            other.save(document(&["two"]), version),
        );
        assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
        let refused = one.and(two).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Conflict);
    }
    assert_eq!(store.load().await.unwrap().document.revision, 21);
}

#[tokio::test]
async fn a_symlink_stays_and_its_target_is_replaced() {
    let (directory, path, _) = loaded(&table(&["a"])).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.yaml");
    symlink(&path, &link).unwrap();
    let store = FileStore::new(&link, options());
    let version = store.load().await.unwrap().document.etag();
    store
        .save(document(&["b"]), Expected::Version(version))
        .await
        .unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), path);
    assert!(fs::read_to_string(&path).unwrap().contains("topic: b"));
    assert_eq!(entries(directory.path()), ["routes.yaml"]);

    fs::remove_file(&path).unwrap();
    let error = store
        .save(document(&["b"]), Expected::Absent)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("symlink to nowhere"), "{error}");
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let store = FileStore::new("no/such/directory/routes.yaml", options());
    let error = store
        .save(document(&["b"]), Expected::Absent)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no/such/directory"), "{error}");
}

/// A file system of its own: neither a full disk nor a read-only one can be had for root in a
/// plain directory. None where mounting is not permitted.
struct Tmpfs(TempDir);

impl Tmpfs {
    fn mount() -> Option<Tmpfs> {
        let at = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(at.path());
        let done = mount.output().is_ok_and(|output| output.status.success());
        done.then_some(Tmpfs(at))
    }

    fn make_read_only(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(self.0.path());
        assert!(mount.status().unwrap().success());
    }

    /// Mounts a file over itself, as containers do with single files.
    fn bind(path: &Path) -> Bound<'_> {
        let mut mount = Command::new("mount");
        mount.arg("--bind").args([path, path]);
        assert!(mount.status().unwrap().success());
        Bound(path)
    }
}

struct Bound<'a>(&'a Path);

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_document_and_no_rubbish() {
    let Some(disk) = Tmpfs::mount() else {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(
            StoreError::io("writing x", full).kind(),
            StoreErrorKind::NoSpace
        );
        return;
    };
    let path = disk.0.path().join("routes.yaml");
    fs::write(&path, table(&["a"])).unwrap();
    let store = FileStore::new(&path, options());
    let version = store.load().await.unwrap().document.etag();

    let many: Vec<_> = (0..2000).map(|i| format!("topic/number/{i}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let saved = store
        .save(document(&many), Expected::Version(version))
        .await;
    let error = saved.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NoSpace, "{error}");
    assert!(
        error
            .to_string()
            .contains("free some space, nothing was changed")
    );
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(fs::read_to_string(&path).unwrap(), table(&["a"]));
    assert_eq!(entries(disk.0.path()), ["routes.yaml"]);
    // With what fits, it works.
    store
        .save(document(&["b"]), Expected::Version(version))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_read_only_place_is_named_as_the_reason() {
    let Some(disk) = Tmpfs::mount() else {
        let forbidden = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(
            StoreError::io("writing x", forbidden).kind(),
            StoreErrorKind::Forbidden
        );
        return;
    };
    let path = disk.0.path().join("routes.yaml");
    fs::write(&path, table(&["a"])).unwrap();
    disk.make_read_only();
    let store = FileStore::new(&path, options());
    let version = store.load().await.unwrap().document.etag();
    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await;
    let error = saved.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Forbidden, "{error}");
    assert!(error.to_string().contains("mounted read-only"), "{error}");
    assert_eq!(topics(&store.load().await.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_file_mounted_by_itself_cannot_be_replaced_and_is_left_alone() {
    let Some(disk) = Tmpfs::mount() else {
        let busy = std::io::Error::from(std::io::ErrorKind::ResourceBusy);
        assert_eq!(
            StoreError::io("writing x", busy).kind(),
            StoreErrorKind::Forbidden
        );
        return;
    };
    let path = disk.0.path().join("routes.yaml");
    fs::write(&path, table(&["a"])).unwrap();
    let _bound = Tmpfs::bind(&path);
    let store = FileStore::new(&path, options());
    let version = store.load().await.unwrap().document.etag();
    let saved = store
        .save(document(&["b"]), Expected::Version(version))
        .await;
    let error = saved.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Forbidden, "{error}");
    assert!(
        error.to_string().contains("mount its directory instead"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), table(&["a"]));
    assert_eq!(entries(disk.0.path()), ["routes.yaml"]);
}
