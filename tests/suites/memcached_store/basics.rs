//! What a store does on a server that is well.

use std::thread;
use std::time::{Duration, Instant};

use kvlock::store::{DeleteOutcome, KvStore, Memcached, StoreError, Ttl, Version, WriteOutcome};
use kvlock_testkit::MemcachedServer;
use kvlock_tests::{Proxy, Watch};

use crate::support::{SECOND, TTL, add, assert_rejected, assert_unavailable, get, replace, store};

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
        let before = Watch::start();
        assert!(matches!(store.add(&key, b"v", Ttl::After(SECOND)), Ok(WriteOutcome::Written(_))));
        let after = Instant::now();
        while store.get(&key).unwrap().is_some() {
            before.assert_within(Duration::from_millis(4500));
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
