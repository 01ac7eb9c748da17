//! Files that are not the store's own, or not the one that it had open.

use super::*;

/// The file may be the right one, but cannot be used.
fn rejection(path: &Path) -> String {
    match Local::open(path) {
        Err(StoreError::Rejected(text)) => one_line_on(path, text),
        other => panic!("expected to be refused, got {other:?}"),
    }
}

/// The path is a wrong one.
fn mistake(path: &Path) -> String {
    match Local::open(path) {
        Err(StoreError::Invalid(text)) => one_line_on(path, text),
        other => panic!("expected to be called a mistake, got {other:?}"),
    }
}

fn one_line_on(path: &Path, text: String) -> String {
    assert!(text.contains(path.to_str().unwrap()) && !text.contains('\n'), "{text}");
    text
}

#[test]
fn foreign_files_are_refused_and_left_as_they_are() {
    let world = World::new();
    let (text, short, sqlite) = (world.path("text"), world.path("short"), world.path("sqlite"));
    fs::write(&text, "some notes\n".repeat(1000)).unwrap();
    fs::write(&short, "x").unwrap();
    let database = Connection::open(&sqlite).unwrap();
    database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    // A log that is still to be folded in: whoever opens the database with SQLite would change the file.
    let copy = world.path("copy");
    for end in ["", "-wal"] {
        fs::copy(format!("{}{end}", sqlite.display()), format!("{}{end}", copy.display())).unwrap();
    }
    for path in [&text, &short, &copy] {
        let before = fs::read(path).unwrap();
        assert!(mistake(path).contains("is not a kvlock store"));
        assert_eq!(fs::read(path).unwrap(), before);
    }
    assert!(
        world.path("copy-wal").exists() && !world.path("copy-shm").exists() && !world.path("copy-journal").exists()
    );
}

#[test]
fn folders_devices_and_files_without_permission_are_refused() {
    let world = World::new();
    assert!(mistake(world.folder.path()).contains("is a folder"));
    assert!(mistake(Path::new("/dev/null")).contains("is no ordinary file"));
    fs::write(world.path("file"), "text").unwrap();
    rejection(&world.path("file/below"));
    drop(world.open());
    let locks = world.path("locks");
    fs::set_permissions(&locks, fs::Permissions::from_mode(0o400)).unwrap();
    // The superuser may write everything.
    if fs::OpenOptions::new().write(true).open(&locks).is_err() {
        assert!(rejection(&locks).contains("check its mode"));
    }
}

#[test]
fn a_file_of_a_newer_layout_is_refused() {
    let world = World::new();
    drop(world.open());
    Connection::open(world.path("locks")).unwrap().execute_batch("PRAGMA user_version = 2").unwrap();
    assert!(rejection(&world.path("locks")).contains("newer"));
}

#[test]
fn missing_folders_are_made_for_this_user_only() {
    let world = World::new();
    let path = world.path("a/b/locks");
    Local::open(&path).unwrap();
    let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn an_empty_file_becomes_ours_and_odd_names_are_names() {
    let world = World::new();
    for name in ["empty", "with space", "a?mode=ro", "a#b", "a%20b", "file:x", ":memory:"] {
        let path = world.path(name);
        fs::write(&path, "").unwrap();
        written(Local::open(&path).unwrap().add("k", b"value", MINUTE));
        assert!(fs::metadata(&path).unwrap().len() > 0, "{name}");
        assert!(Local::open(&path).unwrap().get("k").unwrap().is_some());
    }
}

#[test]
fn what_is_written_is_there_for_the_next_process() {
    let world = World::new();
    let version = written(world.open().add("k", b"value", MINUTE));
    let store = world.open();
    assert_eq!(store.era("k").unwrap().lossless_for, Duration::MAX);
    assert_eq!(store.delete("k", version), Ok(DeleteOutcome::Deleted));
}

#[test]
fn a_deleted_file_is_a_new_era_for_clients_that_had_it_open() {
    let world = World::new();
    let (one, two) = (world.open(), world.open());
    let old = written(one.add("k", b"value", MINUTE));
    assert!(two.get("k").unwrap().is_some());
    fs::remove_file(world.path("locks")).unwrap();
    assert_eq!(one.replace("k", b"new", MINUTE, old), Ok(WriteOutcome::Conflict(None)));
    let new = written(two.add("k", b"new", MINUTE));
    assert!(new.era > old.era + old.number);
    assert_eq!(one.get("k").unwrap().unwrap().version, new);
    assert_eq!(one.era("k").unwrap().id, two.era("k").unwrap().id);
    assert!(two.era("k").unwrap().lossless_for < Duration::from_secs(60), "the loss is told");
}

#[test]
fn a_file_replaced_by_an_older_copy_is_a_new_era() {
    let world = World::new();
    let store = world.open();
    store.add("kept", b"value", MINUTE).unwrap();
    fs::copy(world.path("locks"), world.path("copy")).unwrap();
    let old = written(store.add("k", b"value", MINUTE));
    fs::rename(world.path("copy"), world.path("locks")).unwrap();
    let new = written(store.add("k", b"new", MINUTE));
    assert!(new.era > old.era + old.number);
    assert_eq!(store.delete("k", old), Ok(DeleteOutcome::Conflict(None)));
    assert!(store.get("kept").unwrap().is_some());
}

#[test]
fn a_file_written_over_by_an_older_copy_or_emptied_is_a_new_era() {
    let world = World::new();
    let store = world.open();
    fs::copy(world.path("locks"), world.path("copy")).unwrap();
    let first = written(store.add("k", b"value", MINUTE));
    drop(store);
    let overwrite = |from: &str| {
        let status = process::command("cp").args([world.path(from), world.path("locks")]).status().unwrap();
        assert!(status.success());
    };
    let store = world.open();
    store.get("k").unwrap();
    overwrite("copy");
    let second = written(store.add("k", b"value", MINUTE));
    assert!(second.era > first.era + first.number, "{first:?} {second:?}");
    fs::write(world.path("none"), "").unwrap();
    overwrite("none");
    let third = written(store.add("k", b"value", MINUTE));
    assert!(third.era > second.era + second.number, "{second:?} {third:?}");
}
