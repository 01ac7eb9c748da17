//! Leases: none is left behind without an end, and none is shared.

use std::thread;

use kvlock::Client;
use kvlock::store::{KvStore, Ttl, WriteOutcome};
use kvlock_testkit::EtcdCluster;

use crate::support::{SECOND, TTL, add, delete, get, store, written};

#[test]
fn two_hundred_pairs_leave_a_few_leases_and_none_once_the_store_is_dropped() {
    let cluster = EtcdCluster::start(1);
    let client = Client::connect(&format!("{}?timeout=20s", cluster.url())).unwrap();
    for at in 0..200 {
        client.lock(format!("key {}", at % 7)).acquire().unwrap().release().unwrap();
    }
    assert!(cluster.leases() <= 2, "{}", cluster.leases());
    drop(client);
    assert_eq!(cluster.leases(), 0);
}

#[test]
fn many_entries_at_once_have_each_a_lease_and_leave_a_few() {
    const MANY: usize = 60;
    let cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    let keys: Vec<String> = (0..MANY).map(|at| format!("k{at}")).collect();
    let versions: Vec<_> = keys.iter().map(|key| add(&store, key, "v")).collect();
    assert_eq!(cluster.leases(), MANY);
    for (key, version) in keys.iter().zip(versions) {
        delete(&store, key, version);
    }
    assert!(cluster.leases() <= 16, "{}", cluster.leases());
    drop(store);
    assert_eq!(cluster.leases(), 0);
}

#[test]
fn who_waits_for_a_held_key_uses_one_lease_up() {
    let cluster = EtcdCluster::start(1);
    let (holder, waiter) = (store(&cluster), store(&cluster));
    let version = add(&holder, "k", "v");
    for _ in 0..50 {
        assert_eq!(waiter.add("k", b"w", TTL), Ok(WriteOutcome::Conflict(Some(version))));
    }
    assert_eq!(cluster.leases(), 2);
}

#[test]
fn whoever_deletes_or_moves_an_entry_of_another_process_ends_its_lease() {
    let cluster = EtcdCluster::start(1);
    let (one, two) = (store(&cluster), store(&cluster));
    let version = add(&one, "k", "v");
    let moved = written(two.replace("k", b"w", Ttl::Forever, version));
    assert_eq!(cluster.leases(), 0);
    // It stays although the lease that it had is gone.
    assert_eq!(get(&one, "k").version, moved);
    delete(&one, "k", moved);
    let version = add(&one, "k", "v");
    delete(&two, "k", version);
    assert_eq!(cluster.leases(), 0);
    // The first process takes its own for gone, and does no harm to whoever is next.
    let next = add(&two, "k", "next");
    assert!(matches!(one.replace("k", b"x", TTL, version), Ok(WriteOutcome::Conflict(Some(told))) if told == next));
    drop(one);
    assert_eq!(get(&two, "k").version, next);
}

#[test]
fn a_lease_that_was_given_by_hand_is_left_alone() {
    let cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    add(&store, "k", "v");
    let granted = cluster.etcdctl(&["lease", "grant", "600"]);
    let lease = granted.split(' ').nth(1).unwrap();
    cluster.etcdctl(&["put", "other", "value", &format!("--lease={lease}")]);
    cluster.etcdctl(&["put", "kvlock/k", "by hand", &format!("--lease={lease}")]);
    let version = get(&store, "k").version;
    delete(&store, "k", version);
    assert_eq!(cluster.etcdctl(&["get", "other", "--print-value-only"]), "value\n");
}

#[test]
fn an_entry_that_is_renewed_keeps_its_lease_and_outlives_its_ttl() {
    let cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    let ttl = Ttl::After(SECOND);
    let mut version = written(store.add("k", b"v", ttl));
    for _ in 0..5 {
        thread::sleep(SECOND);
        version = written(store.replace("k", b"v", ttl, version));
    }
    assert_eq!(cluster.leases(), 1);
    // Another ttl takes another lease, and the one of before serves the next entry.
    version = written(store.replace("k", b"v", TTL, version));
    written(store.add("next", b"v", ttl));
    assert_eq!(cluster.leases(), 2);
    thread::sleep(5 * SECOND);
    assert_eq!(get(&store, "k").version, version);
    assert_eq!(store.get("next").unwrap(), None);
}
