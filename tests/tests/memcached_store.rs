//! The store `memcached://` on real servers, and on servers that misbehave.
//!
//! Each test starts its own server. A server that is a moment old costs the first call a second: eras begin when it
//! has settled.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use kvlock::store::{DeleteOutcome, Entry, KvStore, Memcached, Severity, StoreError, Ttl, Version, WriteOutcome};
use kvlock_tests::{MemcachedServer, Mode, Proxy};

const TTL: Ttl = Ttl::After(Duration::from_secs(30));
const SECOND: Duration = Duration::from_secs(1);

fn store(server: &MemcachedServer) -> Memcached {
    Memcached::connect(&server.addr()).unwrap()
}

#[track_caller]
fn add(store: &Memcached, key: &str, value: &str) -> Version {
    match store.add(key, value.as_bytes(), TTL).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("add `{key}`: {other:?}"),
    }
}

#[track_caller]
fn replace(store: &Memcached, key: &str, value: &str, version: Version) -> Version {
    match store.replace(key, value.as_bytes(), TTL, version).unwrap() {
        WriteOutcome::Written(version) => version,
        other => panic!("replace `{key}`: {other:?}"),
    }
}

#[track_caller]
fn get(store: &Memcached, key: &str) -> Entry {
    store.get(key).unwrap().unwrap_or_else(|| panic!("`{key}` is gone"))
}

fn token(version: Version) -> u64 {
    version.era + version.number
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(text)) => text,
        other => panic!("not `unavailable`: {other:?}"),
    }
}

#[track_caller]
fn assert_rejected<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Rejected(text)) => text,
        other => panic!("not `rejected`: {other:?}"),
    }
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Invalid(text)) => text,
        other => panic!("not `invalid`: {other:?}"),
    }
}

#[track_caller]
fn assert_unknown<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::UnknownOutcome(text)) => text,
        other => panic!("not `unknown outcome`: {other:?}"),
    }
}

#[test]
fn a_key_is_added_once_and_the_loser_learns_the_version() {
    let server = MemcachedServer::start();
    let (one, two) = (store(&server), store(&server));
    let version = add(&one, "k", "one");
    assert_eq!(two.add("k", b"two", TTL).unwrap(), WriteOutcome::Conflict(Some(version)));
    let entry = get(&two, "k");
    assert_eq!((entry.value.as_slice(), entry.version), (b"one".as_slice(), version));
    let Some(Ttl::After(left)) = entry.time_left else { panic!("{entry:?}") };
    assert!((28..=30).contains(&left.as_secs()), "{left:?}");
}

#[test]
fn only_the_present_version_replaces_and_deletes() {
    let server = MemcachedServer::start();
    let store = store(&server);
    let first = add(&store, "k", "first");
    let second = replace(&store, "k", "second", first);
    assert!(second > first && second.era == first.era);
    assert_eq!(store.replace("k", b"third", TTL, first).unwrap(), WriteOutcome::Conflict(Some(second)));
    assert_eq!(store.delete("k", first).unwrap(), DeleteOutcome::Conflict(None));
    let far = Version { number: u64::MAX, ..second };
    assert_eq!(store.delete("k", far).unwrap(), DeleteOutcome::Conflict(None));
    assert_eq!(get(&store, "k").value, b"second");
    assert_eq!(store.delete("k", second).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(store.delete("k", second).unwrap(), DeleteOutcome::Absent);
    assert_eq!(store.replace("k", b"third", TTL, second).unwrap(), WriteOutcome::Absent);
    assert_eq!(store.get("k").unwrap(), None);
}

#[test]
fn values_of_any_bytes_and_keys_of_any_letters_come_back() {
    let server = MemcachedServer::start();
    let store = store(&server);
    let long = "k".repeat(250);
    let binary: Vec<u8> = (0..=255).chain(*b"\r\nEND\r\n").collect();
    for key in ["k", "schlüssel:日本", long.as_str()] {
        for value in [b"".as_slice(), &binary, &vec![b'v'; 1024 * 1024 - 512]] {
            let WriteOutcome::Written(version) = store.add(key, value, TTL).unwrap() else { panic!("{key}") };
            let entry = get(&store, key);
            assert!(entry.value == value && entry.version == version, "{key}, {} bytes", value.len());
            assert_eq!(store.delete(key, version).unwrap(), DeleteOutcome::Deleted);
        }
    }
}

#[test]
fn a_key_or_value_that_memcached_cannot_have_is_refused_before_anything_is_sent() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap();
    let version = Version { era: 1, number: 1 };
    for key in ["", "a b", "a\r\nflush_all\r\n", "a\tb", "\0", "\u{7f}", "kvlock:epoch", &"k".repeat(251)] {
        let invalid = |answer: Result<(), StoreError>| {
            let Err(StoreError::Invalid(text)) = answer else { panic!("{key:?}: {answer:?}") };
            assert_eq!(text.lines().count(), 1, "{text:?}");
        };
        invalid(store.get(key).map(|_| ()));
        invalid(store.get_many(&["fine".into(), key.into()]).map(|_| ()));
        invalid(store.add(key, b"v", TTL).map(|_| ()));
        invalid(store.replace(key, b"v", TTL, version).map(|_| ()));
        invalid(store.delete(key, version).map(|_| ()));
        invalid(store.era(key).map(|_| ()));
    }
    let text = assert_rejected(store.add("k", &vec![0; 1024 * 1024], TTL));
    assert!(text.contains("1048576") && text.contains("1048064"), "{text}");
    assert_eq!(proxy.requests(), 0);
}

#[test]
fn many_keys_are_read_in_their_order() {
    let server = MemcachedServer::start();
    let store = store(&server);
    assert_eq!(store.get_many(&[]).unwrap(), []);
    let keys: Vec<String> = (0..250).map(|n| format!("k{n}")).collect();
    for key in keys.iter().step_by(2) {
        add(&store, key, key);
    }
    let mut asked = keys.clone();
    asked.push("k0".into());
    let entries = store.get_many(&asked).unwrap();
    assert_eq!(entries.len(), asked.len());
    for (n, (key, entry)) in asked.iter().zip(entries).enumerate() {
        let expected = (n % 2 == 0).then(|| key.clone().into_bytes());
        assert_eq!(entry.map(|entry| entry.value), expected, "{key}");
    }
}

#[test]
fn an_entry_lives_at_least_as_long_as_its_ttl_and_not_for_ever() {
    let server = MemcachedServer::start();
    let store = store(&server);
    store.get("warm").unwrap();
    let life = |n: u64| {
        // Spread over the second by which memcached's clock ticks.
        thread::sleep(Duration::from_millis(n * 125));
        let key = format!("k{n}");
        let before = Instant::now();
        assert!(matches!(store.add(&key, b"v", Ttl::After(SECOND)), Ok(WriteOutcome::Written(_))));
        let after = Instant::now();
        while store.get(&key).unwrap().is_some() {
            assert!(before.elapsed() < Duration::from_millis(4500), "still there");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(after.elapsed() >= SECOND, "gone after {:?}", after.elapsed());
    };
    thread::scope(|scope| (0..8).for_each(|n| drop(scope.spawn(move || life(n)))));
}

#[test]
fn ttls_beyond_thirty_days_and_without_end_are_kept() {
    const DAY: u64 = 24 * 60 * 60;
    let server = MemcachedServer::start();
    let store = store(&server);
    for days in [29, 30, 31, 400] {
        let key = format!("{days}-days");
        store.add(&key, b"v", Ttl::After(Duration::from_secs(days * DAY))).unwrap();
        let Some(Ttl::After(left)) = get(&store, &key).time_left else { panic!("{key}") };
        assert!((days * DAY).abs_diff(left.as_secs()) <= 4, "{key}: {left:?} left");
    }
    for (key, ttl) in [("forever", Ttl::Forever), ("a-century", Ttl::After(Duration::from_secs(36_500 * DAY)))] {
        store.add(key, b"v", ttl).unwrap();
        assert_eq!(get(&store, key).time_left, Some(Ttl::Forever), "{key}");
    }
    // Replacing sets the ttl too, and a ttl of zero is not memcached's zero, which is for ever.
    let version = get(&store, "forever").version;
    store.replace("forever", b"v", Ttl::After(Duration::ZERO), version).unwrap();
    let left = store.get("forever").unwrap().and_then(|entry| entry.time_left);
    assert_ne!(left, Some(Ttl::Forever));
}

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
    let mut last = 0;
    let mut grow = |version: Version| {
        assert!(token(version) > last, "{version:?} after {last}");
        last = token(version);
    };
    for round in 0..12 {
        let added = add(&store, "k", "v");
        grow(added);
        let replaced = replace(&store, "k", "w", added);
        grow(replaced);
        match round % 4 {
            0 => server.flush(),
            1 => {
                server.restart();
                // Long enough for the connection to be looked at before it is used again.
                thread::sleep(Duration::from_millis(30));
            }
            2 => {
                assert_eq!(store.delete("k", replaced).unwrap(), DeleteOutcome::Deleted);
                assert_eq!(server.command("md kvlock:epoch"), "HD\r\n");
            }
            _ => assert_eq!(store.delete("k", replaced).unwrap(), DeleteOutcome::Deleted),
        }
    }
}

#[test]
fn an_add_on_a_full_server_does_not_free_the_lock_that_is_held() {
    let server = MemcachedServer::start_with(&["-M", "-m", "2"]);
    let store = store(&server);
    let value = "v".repeat(1000);
    let held = add(&store, "held", &value);
    assert!(server.command(&format!("ms control {} c\r\n{value}", value.len())).starts_with("HD"));
    let full = (0..10_000).find_map(|n| store.add(&format!("filler-{n}"), value.as_bytes(), TTL).err());
    let text = assert_rejected(full.map_or(Ok(()), Err));
    assert!(text.contains("out of memory") && text.contains("-m"), "{text}");
    for _ in 0..3 {
        assert_rejected(store.add("held", value.as_bytes(), TTL));
        assert_rejected(store.replace("held", value.as_bytes(), TTL, Version { number: held.number + 1, ..held }));
    }
    assert_eq!(get(&store, "held").version, held);
    // The control: the add of the meta protocol frees what it fails to overwrite.
    let meta_add = server.command(&format!("ms control {} ME c\r\n{value}", value.len()));
    assert!(meta_add.starts_with("SERVER_ERROR"), "{meta_add}");
    assert_eq!(server.command("mg control c"), "EN\r\n");
    assert_eq!(store.delete("held", held).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn an_item_larger_than_the_server_takes_is_rejected_and_the_store_works_on() {
    let server = MemcachedServer::start_with(&["-I", "512k", "-o", "slab_chunk_max=128"]);
    let store = store(&server);
    let held = add(&store, "k", "v");
    let text = assert_rejected(store.add("k", &vec![b'v'; 900_000], TTL));
    assert!(text.contains("too large") && text.contains("-I"), "{text}");
    assert_eq!(get(&store, "k").version, held);
}

#[test]
fn a_server_without_cas_is_refused() {
    let server = MemcachedServer::start_with(&["-C"]);
    let store = store(&server);
    assert!(assert_rejected(store.add("k", b"v", TTL)).contains("-C"));
    assert!(assert_rejected(store.era("k")).contains("-C"));
    assert_eq!(server.command("mg k"), "EN\r\n");
    let findings = store.diagnose();
    assert!(findings.iter().any(|f| f.check == "cas" && f.severity == Severity::Unfit), "{findings:#?}");
}

#[test]
fn a_foreign_value_under_the_epoch_key_is_refused_and_left_alone() {
    let server = MemcachedServer::start();
    server.command("set kvlock:epoch 0 0 2\r\n42");
    assert!(assert_rejected(store(&server).add("k", b"v", TTL)).contains("42"));
    assert!(server.command("get kvlock:epoch").contains("42"));
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
fn who_cannot_be_reached_is_named_with_the_reason() {
    let mut server = MemcachedServer::start();
    server.kill();
    let text = assert_unavailable(store(&server).add("k", b"v", TTL));
    assert!(text.contains(&server.addr()) && text.contains("refused"), "{text}");
    let unknown = Memcached::connect("no-such-host.invalid:1").unwrap();
    let text = assert_invalid(unknown.get("k"));
    assert!(text.contains("no-such-host.invalid:1") && text.contains("host"), "{text}");
    for text in [text, unknown.diagnose().remove(0).text] {
        assert_eq!(text.lines().count(), 1, "{text:?}");
    }
}

#[test]
fn a_cut_before_the_request_or_a_lost_reply_leaves_the_outcome_unknown() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap();
    let version = add(&store, "k", "v");
    for (mode, key, executed) in [(Mode::CutBeforeRequest, "cut", false), (Mode::DropReply, "lost", true)] {
        store.get("k").unwrap();
        proxy.set(mode);
        let text = assert_unknown(store.add(key, b"v", TTL));
        assert!(text.contains(&proxy.addr()), "{text}");
        proxy.set(Mode::Pass);
        assert_eq!(store.get(key).unwrap().is_some(), executed, "{key}");
        assert_eq!(get(&store, "k").version, version);
    }
    proxy.set(Mode::DropReply);
    assert_unknown(store.replace("k", b"w", TTL, version));
    proxy.set(Mode::Pass);
    let entry = get(&store, "k");
    assert_eq!(entry.value, b"w");
    proxy.set(Mode::DropReply);
    assert_unknown(store.delete("k", entry.version));
    proxy.set(Mode::Pass);
    assert_eq!(store.get("k").unwrap(), None);
}

#[test]
fn a_read_that_fails_on_an_old_connection_is_asked_again_on_a_new_one() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap();
    let version = add(&store, "k", "v");
    proxy.set(Mode::CutNextRequest);
    assert_eq!(get(&store, "k").version, version);
    proxy.set(Mode::CutNextRequest);
    assert_eq!(store.era("k").unwrap().id, version.era);
    proxy.set(Mode::CutBeforeRequest);
    assert_unavailable(store.get("k"));
    assert_unavailable(store.add("k", b"v", TTL));
}

#[test]
fn a_restart_while_nothing_is_asked_does_not_show() {
    let mut server = MemcachedServer::start();
    let store = store(&server);
    add(&store, "k", "v");
    server.restart();
    thread::sleep(Duration::from_millis(30));
    add(&store, "k", "v");
}

#[test]
fn a_reply_that_comes_late_belongs_to_nobody() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap().with_operation_timeout(Duration::from_millis(200));
    add(&store, "mine", "v");
    proxy.set(Mode::Hold);
    assert_unknown(store.add("late", b"v", TTL));
    proxy.set(Mode::Pass);
    assert_eq!(get(&store, "mine").value, b"v");
    // The request itself was delivered late, and took effect: that is what `unknown` means.
    let deadline = Instant::now() + 5 * SECOND;
    while store.get("late").unwrap().is_none() {
        assert!(Instant::now() < deadline, "the held request never arrived");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(matches!(store.add("late", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
}

#[test]
fn a_frozen_or_unreachable_server_costs_a_bounded_time() {
    let server = MemcachedServer::start();
    let proxy = Proxy::start(&server.addr());
    let store = Memcached::connect(&proxy.addr()).unwrap().with_operation_timeout(Duration::from_millis(200));
    let version = add(&store, "k", "v");
    let timed = |run: &dyn Fn()| {
        let start = Instant::now();
        run();
        assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    };
    for frozen in [true, false] {
        if frozen {
            server.stop()
        } else {
            proxy.set(Mode::Blackhole)
        }
        timed(&|| drop(assert_unknown(store.add("k", b"v", TTL))));
        timed(&|| drop(assert_unavailable(store.get("k"))));
        timed(&|| drop(assert_unavailable(store.delete("k", version))));
        timed(&|| drop(assert_unavailable(store.get_many(&["k".into()]))));
        timed(&|| drop(assert_unavailable(store.era("k"))));
        timed(&|| assert_eq!(store.diagnose()[0].severity, Severity::Unfit));
        if frozen {
            server.cont()
        } else {
            proxy.set(Mode::Pass)
        }
        assert_eq!(get(&store, "k").version, version);
    }
}

#[test]
fn each_key_lives_on_one_server_and_fails_with_it() {
    let mut servers: Vec<_> = (0..3).map(|_| MemcachedServer::start()).collect();
    let addresses: Vec<_> = servers.iter().map(MemcachedServer::addr).collect();
    let there = Memcached::connect(&addresses.join(",")).unwrap();
    let back = Memcached::connect(&addresses.iter().rev().cloned().collect::<Vec<_>>().join(",")).unwrap();
    let keys: Vec<_> = (0..90).map(|n| format!("k{n}")).collect();
    for key in &keys {
        let version = add(&there, key, key);
        assert_eq!(there.server_of(key).unwrap(), back.server_of(key).unwrap());
        assert_eq!(get(&back, key).version, version);
    }
    for server in &servers {
        let here = keys.iter().filter(|key| server.command(&format!("mg {key}")) == "HD\r\n").count();
        assert!((8..=55).contains(&here), "{here} of 90 keys on one of three servers");
    }
    assert!(there.get_many(&keys).unwrap().iter().zip(&keys).all(|(e, k)| e.as_ref().unwrap().value == k.as_bytes()));
    servers[0].kill();
    for key in &keys {
        let lost = there.server_of(key).unwrap() == addresses[0];
        assert_eq!(there.get(key).is_err(), lost, "{key}");
        if lost {
            assert!(assert_unavailable(there.add(key, b"v", TTL)).contains(&addresses[0]));
        }
    }
    assert_unavailable(there.get_many(&keys));
}

#[test]
fn eight_threads_on_one_store_have_one_winner_for_each_key() {
    let server = MemcachedServer::start();
    let store = store(&server);
    let wins: Vec<Vec<u32>> = thread::scope(|scope| {
        let run = || {
            let mut won = Vec::new();
            for n in 0..200 {
                let key = format!("k{n}");
                if let WriteOutcome::Written(version) = store.add(&key, b"v", TTL).unwrap() {
                    won.push(n);
                    let second = replace(&store, &key, "w", version);
                    assert_eq!(store.delete(&key, version).unwrap(), DeleteOutcome::Conflict(None));
                    assert_eq!(get(&store, &key).version, second);
                }
            }
            won
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<_> = wins.concat();
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
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

/// Answers the requests on each connection with the replies of a script, the last one again and again.
fn impostor(script: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, script) = (stream.unwrap(), script.clone());
            thread::spawn(move || {
                let mut chunk = vec![0; 1 << 16];
                for reply in script.iter().chain(std::iter::repeat_n(script.last().unwrap(), 100)) {
                    if !matches!(stream.read(&mut chunk), Ok(1..)) || stream.write_all(reply).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn stats(version: &str) -> String {
    format!("STAT uptime 500\r\nSTAT time 1700000500\r\nSTAT version {version}\r\nEND\r\n")
}

const MARK: &str = "kvlock epoch 1 started=1700000000 uptime=5";

fn garbage() -> Vec<Vec<u8>> {
    let texts: &[&[u8]] = &[
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"-ERR unknown command 'mg'\r\n",
        b"\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\n",
        b"\xff\xfe\xfd\n",
        b"VA\r\n",
        b"VA -1 c1\r\n",
        b"VA 99999999999999999999999 c1\r\n",
        b"VA 18446744073709551615 c1\r\n",
        b"VA 1000000000 c1\r\n",
        b"VA 2 c1\r\nabcdef\r\n",
        b"HD\r\nHD\r\nHD\r\n",
        b"HD c\r\n",
        b"HD cx f-1\r\nHD c1\r\n",
        b"EN\r\nSTAT\r\nEND\r\n",
        b"EN\r\nEND\r\n",
        b"EN\r\nSTAT time 1\r\nSTAT uptime 2\r\nSTAT version 1.6.18\r\nEND\r\n",
        b"EN\r\nSTAT time 99999999999999999999\r\nSTAT uptime 2\r\nSTAT version 1.6.18\r\nEND\r\n",
        b"STORED\r\n",
        b"STORED\r\nEN\r\nEN\r\n",
        b"STORED\r\nHD c1 f0\r\nHD c7\r\n",
        b"EXISTS\r\nEN\r\nEN\r\n",
        b"NOT_STORED\r\nHD c18446744073709551615 f1\r\nHD c5\r\n",
        b"SERVER_ERROR\r\n",
        b"CLIENT_ERROR bad\r\nERROR\r\n",
        b"HD HD HD HD HD\r\n",
    ];
    let mut all: Vec<_> = texts.iter().map(|text| text.to_vec()).collect();
    all.push(vec![b'a'; 100_000]);
    all.push(b"STAT a b\r\n".repeat(5_000));
    all.push([b"EN\r\n".to_vec(), b"STAT a b\r\n".repeat(5_000)].concat());
    all
}

fn use_everything(store: &Memcached) {
    let version = Version { era: 1_700_000_000_000_000_007, number: 3 };
    let start = Instant::now();
    let _ = (store.get("k"), store.get_many(&["a".into(), "b".into()]), store.era("k"));
    let _ = (store.add("k", b"v", TTL), store.replace("k", b"v", TTL, version), store.delete("k", version));
    let _ = store.add("k", b"v", Ttl::After(Duration::from_secs(1 << 40)));
    let _ = store.diagnose();
    assert!(start.elapsed() < 10 * SECOND, "{:?}", start.elapsed());
}

#[test]
fn a_server_that_talks_nonsense_is_survived() {
    let hello = format!("VA {} c7\r\n{MARK}\r\n{}", MARK.len(), stats("1.6.18")).into_bytes();
    // The control: with a sensible second answer, the impostor passes for a server.
    let impostor_of = |reply: &[u8]| Memcached::connect(&impostor(vec![hello.clone(), reply.to_vec()])).unwrap();
    assert_eq!(impostor_of(b"EN\r\nHD c7\r\n").get("k"), Ok(None));
    thread::scope(|scope| {
        for reply in garbage() {
            let hello = hello.clone();
            scope.spawn(move || {
                for script in [vec![reply.clone()], vec![hello, reply]] {
                    let store = Memcached::connect(&impostor(script)).unwrap();
                    use_everything(&store.with_operation_timeout(Duration::from_millis(50)));
                }
            });
        }
    });
}

#[test]
fn a_server_of_another_protocol_is_refused_with_what_it_said() {
    for (reply, shown) in [("HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400"), ("-ERR unknown\r\n", "-ERR unknown")] {
        let address = impostor(vec![reply.into()]);
        let store = Memcached::connect(&address).unwrap();
        for text in [assert_invalid(store.add("k", b"v", TTL)), assert_invalid(store.get("k"))] {
            assert!(text.starts_with(&format!("{address} does not speak memcached's protocol")), "{text}");
            assert!(text.contains(shown), "{text}");
        }
    }
}

#[test]
fn a_memcached_that_is_too_old_is_refused_with_its_version() {
    for (first, version) in [("EN\r\n", "1.6.12"), ("ERROR\r\n", "1.4.25")] {
        let address = impostor(vec![format!("{first}{}", stats(version)).into()]);
        let text = assert_rejected(Memcached::connect(&address).unwrap().add("k", b"v", TTL));
        assert!(text.contains(version) && text.contains("1.6.13"), "{text}");
    }
}

#[test]
fn a_server_that_dribbles_its_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                while stream.write_all(b"S").is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    let store = Memcached::connect(&address).unwrap().with_operation_timeout(Duration::from_millis(200));
    let start = Instant::now();
    assert_unavailable(store.add("k", b"v", TTL));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[test]
fn the_diagnosis_of_a_good_server_is_good_and_of_a_lossy_one_is_not() {
    let good = MemcachedServer::start_with(&["-F", "-o", "temporary_ttl=61,no_slab_reassign"]);
    let findings = store(&good).diagnose();
    assert!(findings.iter().all(|f| f.severity == Severity::Ok && f.subject == good.addr()), "{findings:#?}");
    let checks: Vec<_> = findings.iter().map(|f| f.check).collect();
    assert_eq!(checks, ["reachable", "version", "cas", "era", "losses", "memory", "eviction", "clock", "flush"]);
    let lossy = MemcachedServer::start();
    lossy.flush();
    let findings = store(&lossy).diagnose();
    let warned: Vec<_> = findings.iter().filter(|f| f.severity == Severity::Warning).map(|f| f.check).collect();
    assert_eq!(warned, ["losses", "eviction"], "{findings:#?}");
    assert!(findings.iter().all(|f| f.text.lines().count() == 1), "{findings:#?}");
}
