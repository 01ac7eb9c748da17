//! Eras: restarts, flushes, lost epoch items.

use std::thread;
use std::time::Duration;

use kvlock::store::{DeleteOutcome, KvStore, WriteOutcome};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::faults;

use crate::support::{SECOND, TTL, add, get, replace, store, token};

#[test]
fn a_restart_ends_the_era_and_its_versions_match_nothing() {
    let mut server = MemcachedServer::start();
    let (store, other) = (store(&server), store(&server));
    let old = add(&store, "k", "old");
    assert_eq!(old.era, store.era("k").unwrap().id);
    server.restart();
    let new_era = store.era("k").unwrap().id;
    assert!(new_era > token(old), "{new_era} {old:?}");
    assert_eq!(store.get("k").unwrap(), None);
    let new = add(&other, "k", "new");
    assert_eq!(new.era, new_era);
    assert!(token(new) > token(old));
    assert_eq!(store.replace("k", b"x", TTL, old).unwrap(), WriteOutcome::Conflict(None));
    assert_eq!(store.delete("k", old).unwrap(), DeleteOutcome::Conflict(None));
    assert_eq!(get(&store, "k").value, b"new");
}

#[test]
fn a_cas_value_that_comes_again_after_a_restart_deletes_nothing() {
    let mut server = MemcachedServer::start();
    let old = add(&store(&server), "k", "old");
    let old_cas = server.command("mg k c");
    server.restart();
    let new = add(&store(&server), "k", "new");
    // The control: memcached did begin to count anew, and a bare compare-and-delete would have hit.
    assert_eq!(server.command("mg k c"), old_cas);
    assert_eq!(old.number, new.number);
    let fresh = store(&server);
    assert_eq!(fresh.delete("k", old).unwrap(), DeleteOutcome::Conflict(None));
    assert_eq!(get(&fresh, "k").version, new);
}

#[test]
fn a_flush_ends_the_era_on_open_connections_too() {
    let server = MemcachedServer::start();
    let store = store(&server);
    let old = add(&store, "k", "old");
    server.flush();
    let new = add(&store, "k", "new");
    assert!(new.era > old.era && token(new) > token(old), "{new:?} {old:?}");
    assert_eq!(store.era("k").unwrap().id, new.era);
    server.flush();
    let era = store.era("k").unwrap().id;
    assert!(era > new.era);
    assert_eq!(store.delete("k", new).unwrap(), DeleteOutcome::Conflict(None));
    let third = add(&store, "k", "third");
    server.flush();
    assert_eq!(store.replace("k", b"x", TTL, third).unwrap(), WriteOutcome::Conflict(None));
    server.flush();
    assert_eq!(store.get("k").unwrap(), None);
    assert!(store.era("k").unwrap().id > era);
}

#[test]
fn a_connection_that_slept_through_a_flush_knows_the_versions_of_the_next_era() {
    let server = MemcachedServer::start();
    let (asleep, awake) = (store(&server), store(&server));
    add(&asleep, "other", "v");
    server.flush();
    let version = add(&awake, "k", "v");
    let version = replace(&asleep, "k", "w", version);
    server.flush();
    add(&awake, "k", "v");
    assert_eq!(awake.delete("k", version).unwrap(), DeleteOutcome::Conflict(None));
    let version = get(&awake, "k").version;
    assert_eq!(asleep.delete("k", version).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn a_server_that_lost_nothing_is_as_old_as_it_is_and_a_flushed_one_is_new() {
    let server = MemcachedServer::start();
    thread::sleep(4 * SECOND);
    let before = server.stat("uptime");
    let lossless = store(&server).era("k").unwrap().lossless_for.as_secs();
    assert!((before - 3..=before).contains(&lossless), "{lossless} of {before}");
    server.flush();
    let flushed = store(&server);
    let lossless = flushed.era("k").unwrap().lossless_for;
    assert!(lossless < SECOND, "{lossless:?}");
    thread::sleep(SECOND);
    let later = flushed.era("k").unwrap().lossless_for;
    assert!(later >= SECOND && later < 3 * SECOND, "{later:?}");
}

#[test]
fn what_outlives_the_epoch_item_stays_and_its_old_version_matches_nothing() {
    let server = MemcachedServer::start();
    let (store, other) = (store(&server), store(&server));
    let [kept, replaced, deleted] = ["kept", "replaced", "deleted"].map(|key| add(&store, key, "old"));
    add(&other, "warm", "v");
    // What an eviction would do.
    assert_eq!(server.command("md kvlock:epoch"), "HD\r\n");
    assert!(matches!(store.add("kept", b"new", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
    let entry = store.get("kept").unwrap().unwrap();
    assert_eq!(entry.value, b"old");
    assert!(entry.version.era > kept.era && token(entry.version) > token(kept), "{entry:?}");
    assert_eq!(other.replace("replaced", b"x", TTL, replaced).unwrap(), WriteOutcome::Conflict(None));
    assert_eq!(store.delete("deleted", deleted).unwrap(), DeleteOutcome::Conflict(None));
    let present = replace(&store, "kept", "newer", entry.version);
    assert!(token(present) > token(entry.version));
    assert_eq!(other.delete("kept", present).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn a_value_from_before_the_first_era_is_left_alone() {
    let server = MemcachedServer::start();
    assert_eq!(server.command("set kvlock:lock:k 0 0 2\r\n42"), "STORED\r\n");
    let store = store(&server);
    assert!(matches!(store.add("kvlock:lock:k", b"mine", TTL).unwrap(), WriteOutcome::Conflict(_)));
    assert_eq!(store.get("kvlock:lock:k").unwrap().unwrap().value, b"42");
}

#[test]
fn tokens_grow_over_writes_flushes_and_restarts() {
    let mut server = MemcachedServer::start();
    let store = store(&server);
    faults::tokens_grow(&store, |round, present| match round % 4 {
        0 => server.flush(),
        1 => {
            server.restart();
            // Long enough for the connection to be looked at before it is used again.
            thread::sleep(Duration::from_millis(30));
        }
        2 => {
            assert_eq!(store.delete("k", present).unwrap(), DeleteOutcome::Deleted);
            assert_eq!(server.command("md kvlock:epoch"), "HD\r\n");
        }
        _ => assert_eq!(store.delete("k", present).unwrap(), DeleteOutcome::Deleted),
    });
}

#[test]
fn an_epoch_item_of_another_life_is_replaced() {
    let server = MemcachedServer::start();
    let old = add(&store(&server), "k", "v");
    let mark = "kvlock epoch 1 started=1000000000 uptime=5 (restored from a dump)";
    server.command(&format!("set kvlock:epoch 0 0 {}\r\n{mark}", mark.len()));
    let new = add(&store(&server), "other", "v");
    assert!(new.era > token(old));
}

#[test]
fn under_contention_and_flushes_an_entry_is_its_writers_until_the_era_ends() {
    let server = MemcachedServer::start();
    let store = store(&server);
    store.get("warm").unwrap();
    let taken: usize = thread::scope(|scope| {
        let contend = || {
            let mut taken = 0;
            for _ in 0..500 {
                let Ok(WriteOutcome::Written(version)) = store.add("k", b"v", TTL) else { continue };
                taken += 1;
                match store.delete("k", version) {
                    Ok(DeleteOutcome::Deleted) => {}
                    other => assert!(store.era("k").unwrap().id > version.era, "{other:?}"),
                }
            }
            taken
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(contend)).collect();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(5));
            server.flush();
        }
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(taken > 100, "{taken}");
}
