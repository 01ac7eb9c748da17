//! The local store among processes that come, go and are killed, and with files that are not its own.

#![cfg(feature = "local")]

mod files;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kvlock::clock::{BootClock, Clock, VirtualClock};
use kvlock::store::{Boot, DeleteOutcome, KvStore, Local, Severity, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::process;
use kvlock_tests::Watch;
use rusqlite::Connection;

const MINUTE: Ttl = Ttl::After(Duration::from_secs(60));
const PROCESSES: usize = 4;
const ROUNDS: u64 = 100;

/// A folder of its own.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Local {
        Local::open(self.path("locks")).unwrap()
    }

    /// Runs one of the `child_` tests below in a process of its own.
    fn spawn(&self, child: &str) -> Child {
        process::command(std::env::current_exe().unwrap())
            .args(["--exact", child, "--include-ignored", "--quiet"])
            .env("KVLOCK_TEST_FILE", self.path("locks"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// The file of a child process; none when the test is run by itself.
fn file_of_child() -> Option<Local> {
    Some(Local::open(std::env::var_os("KVLOCK_TEST_FILE")?).unwrap())
}

fn written(outcome: Result<WriteOutcome, StoreError>) -> Version {
    match outcome {
        Ok(WriteOutcome::Written(version)) => version,
        other => panic!("expected a write, got {other:?}"),
    }
}

#[test]
#[ignore = "a process of the test below"]
fn child_counts() {
    let Some(store) = file_of_child() else { return };
    for _ in 0..ROUNDS {
        loop {
            let entry = store.get("counter").unwrap().unwrap();
            let count: u64 = String::from_utf8(entry.value).unwrap().parse().unwrap();
            let next = (count + 1).to_string();
            if let WriteOutcome::Written(_) = store.replace("counter", next.as_bytes(), MINUTE, entry.version).unwrap()
            {
                break;
            }
        }
    }
}

#[test]
fn processes_that_contend_lose_no_update() {
    let world = World::new();
    let store = world.open();
    store.add("counter", b"0", MINUTE).unwrap();
    let children: Vec<Child> = (0..PROCESSES).map(|_| world.spawn("child_counts")).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let total = (PROCESSES as u64 * ROUNDS).to_string();
    assert_eq!(String::from_utf8(store.get("counter").unwrap().unwrap().value).unwrap(), total);
}

#[test]
#[ignore = "a process of the test below"]
fn child_writes_for_ever() {
    let Some(store) = file_of_child() else { return };
    // Values of several pages, so that a kill may come between the pages of one write.
    let value = vec![b'x'; 20_000];
    for round in 0_u64.. {
        let key = format!("key:{}:{}", std::process::id(), round % 20);
        let version = written(store.add(&key, &value, MINUTE));
        if round % 3 != 0 {
            let version = written(store.replace(&key, &value, MINUTE, version));
            store.delete(&key, version).unwrap();
        } else {
            store.delete(&key, version).unwrap();
        }
    }
}

#[test]
fn processes_killed_while_they_write_leave_a_sound_file_and_block_nobody() {
    let world = World::new();
    let store = world.open();
    let mut last = written(store.add("mine", b"value", MINUTE));
    for round in 0..20 {
        let mut children = [world.spawn("child_writes_for_ever"), world.spawn("child_writes_for_ever")];
        // They write, and are killed at another moment each time.
        let before = last.number;
        for own in 1.. {
            last = written(store.replace("mine", b"value", MINUTE, last));
            if last.number > before + own + 5 {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let started = Watch::start();
        let next = written(store.replace("mine", b"value", MINUTE, last));
        started.assert_within(Duration::from_secs(2));
        assert!(next > last);
        last = next;
    }
    drop(store);
    let state: String = Connection::open(world.path("locks"))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(state, "ok");
}

#[test]
fn a_file_that_is_made_by_many_at_once_is_made_once() {
    for _ in 0..10 {
        let world = World::new();
        let eras: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| world.open().era("k").unwrap().id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(eras.iter().all(|era| *era == eras[0]), "{eras:?}");
    }
}

#[test]
fn opening_a_file_again_does_not_drop_the_locks_of_the_process() {
    let world = World::new();
    let first = world.open();
    let other = Connection::open(world.path("locks")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..5 {
        drop(world.open());
    }
    let mut child = world.spawn("child_adds_once");
    std::thread::sleep(Duration::from_millis(500));
    assert!(first.get("child").unwrap().is_none(), "the child waits for the lock that this process has");
    other.execute_batch("COMMIT").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(first.get("child").unwrap().is_some());
}

#[test]
#[ignore = "a process of the test above"]
fn child_adds_once() {
    let Some(store) = file_of_child() else { return };
    written(store.add("child", b"value", MINUTE));
}

#[test]
fn a_file_kept_locked_by_others_is_unavailable_in_the_end() {
    let world = World::new();
    let store = world.open();
    let other = Connection::open(world.path("locks")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Watch::start();
    assert!(matches!(store.add("k", b"value", MINUTE), Err(StoreError::Unavailable(_))));
    assert!(started.elapsed() >= Duration::from_secs(4), "{:?}", started.elapsed());
    started.assert_within(Duration::from_secs(8));
    assert!(store.get("k").unwrap().is_none(), "reading goes on, and nothing happened");
    other.execute_batch("ROLLBACK").unwrap();
    written(store.add("k", b"value", MINUTE));
}

/// A machine whose wall clock stands at a multiple of 1000 s.
fn machine(boot_id: &str, clock: Arc<dyn Clock>, wall: fn() -> Duration) -> Boot {
    Boot::new(clock, boot_id, wall)
}

#[test]
fn after_a_reboot_entries_live_on_by_the_wall_clock() {
    let world = World::new();
    let path = world.path("locks");
    let seconds = Duration::from_secs;
    let before = machine("one", Arc::new(VirtualClock::new()), || Duration::from_secs(1000));
    let store = Local::with_boot(&path, before).unwrap();
    let old = written(store.add("short", b"value", Ttl::After(seconds(100))));
    store.add("long", b"value", Ttl::After(seconds(500))).unwrap();
    store.add("forever", b"value", Ttl::Forever).unwrap();
    drop(store);

    // A boot clock that is far behind, and 200 s later on the wall.
    let clock = Arc::new(VirtualClock::new());
    let after = machine("two", clock.clone(), || Duration::from_secs(1200));
    let store = Local::with_boot(&path, after).unwrap();
    assert!(store.get("short").unwrap().is_none());
    assert_eq!(store.get("long").unwrap().unwrap().time_left, Some(Ttl::After(seconds(300))));
    assert_eq!(store.get("forever").unwrap().unwrap().time_left, Some(Ttl::Forever));
    let new = written(store.add("short", b"value", MINUTE));
    assert_eq!(new.era, old.era);
    assert!(new.number > 1_000_000_000, "numbers that the crash may have forgotten are not given out again");
    clock.advance(seconds(300));
    assert!(store.get("long").unwrap().is_none());
}

#[test]
fn a_wall_clock_set_back_over_a_reboot_prolongs_nothing_beyond_its_ttl() {
    let world = World::new();
    let path = world.path("locks");
    let clock = || Arc::new(VirtualClock::new());
    let store = Local::with_boot(&path, machine("one", clock(), || Duration::from_secs(9000))).unwrap();
    store.add("k", b"value", Ttl::After(Duration::from_secs(100))).unwrap();
    drop(store);
    let store = Local::with_boot(&path, machine("two", clock(), || Duration::from_secs(1000))).unwrap();
    let left = store.get("k").unwrap().unwrap().time_left;
    assert_eq!(left, Some(Ttl::After(Duration::from_secs(100))));
}

#[test]
fn expired_entries_do_not_pile_up() {
    let world = World::new();
    let clock = Arc::new(VirtualClock::new());
    let store = Local::with_clock(world.path("locks"), clock.clone()).unwrap();
    for round in 0..2000 {
        written(store.add(&format!("key:{round}"), &[b'x'; 200], Ttl::After(Duration::from_secs(1))));
        clock.advance(Duration::from_secs(1));
    }
    let size = fs::metadata(world.path("locks")).unwrap().len();
    assert!(size < 100_000, "{size}");
}

#[test]
fn writing_over_an_entry_and_deleting_it_take_no_room_on_the_disk() {
    let world = World::new();
    let store = world.open();
    let ttl = Ttl::After(Duration::from_secs(30));
    let mut version = written(store.add("k", b"a record of a lock", ttl));
    let size =
        || ["locks", "locks-journal"].map(|name| std::fs::metadata(world.path(name)).map_or(0, |data| data.len()));
    let before = size();
    assert!(before[1] > 0, "{before:?}");
    for round in 0..300 {
        let client = if round % 50 == 0 { &world.open() } else { &store };
        version = written(client.replace("k", b"a record of a lock", ttl, version));
        assert_eq!(size(), before);
    }
    store.delete("k", version).unwrap();
    assert_eq!(size(), before);
}

#[test]
fn a_very_long_ttl_is_for_ever() {
    let world = World::new();
    let store = world.open();
    store.add("k", b"value", Ttl::After(Duration::MAX)).unwrap();
    assert_eq!(store.get("k").unwrap().unwrap().time_left, Some(Ttl::Forever));
}

#[test]
fn the_diagnosis_of_a_sound_file_has_nothing_unfit() {
    let world = World::new();
    let findings = world.open().diagnose();
    assert!(findings.iter().all(|finding| finding.severity != Severity::Unfit), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.check == "file" && finding.text.contains("0 entries")));
}

/// Prints what a command such as `kvlock run k -- true` pays the store:
/// `cargo test --release --test local_store -- --ignored --nocapture cost`.
#[test]
#[ignore = "a measurement"]
fn the_cost_of_open_add_and_delete() {
    let world = World::new();
    drop(world.open());
    let rounds = 2000_u32;
    for (name, ttl) in [("a lease", Ttl::After(Duration::from_secs(30))), ("for ever", Ttl::Forever)] {
        let rounds = if ttl == Ttl::Forever { 50 } else { rounds };
        let cycle = |store: &Local| {
            let version = written(store.add("k", b"a record of a lock", ttl));
            store.delete("k", version).unwrap();
        };
        let started = BootClock.now();
        (0..rounds).for_each(|_| cycle(&world.open()));
        let opened = (BootClock.now() - started) / rounds;
        let store = world.open();
        let started = BootClock.now();
        (0..rounds).for_each(|_| cycle(&store));
        println!("{name}: open+add+delete {opened:?}, add+delete {:?}", (BootClock.now() - started) / rounds);
    }
}
