//! Restarts, which lose nothing, and what loses: deleted keys and restored snapshots.

use std::thread;
use std::time::Duration;

use kvlock::store::{DeleteOutcome, KvStore, Severity, Ttl, WriteOutcome};
use kvlock_testkit::EtcdCluster;

use crate::support::{SECOND, TTL, add, assert_rejected, assert_unknown, delete, get, store, token, written};

/// A loss was so short a time ago.
const RECENT: Duration = Duration::from_secs(600);

#[test]
fn a_member_that_is_killed_and_starts_again_has_lost_nothing() {
    let mut cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    let ttl = Ttl::After(4 * SECOND);
    let version = written(store.add("k", b"v", ttl));
    let before = store.era("k").unwrap();
    assert_eq!(before.lossless_for, Duration::MAX, "the first era was begun over nothing");
    for _ in 0..2 {
        thread::sleep(3 * SECOND);
        cluster.restart(0);
        // The lease has begun again: without that, it would be over by the second time.
        assert_eq!(get(&store, "k").version, version);
        assert_eq!(store.era("k").unwrap(), before);
    }
    let next = written(store.replace("k", b"w", ttl, version));
    assert!(token(next) > token(version));
    delete(&store, "k", next);
    assert!(token(add(&store, "k", "again")) > token(next));
}

#[test]
fn an_era_that_is_deleted_is_a_loss_for_who_has_seen_it_and_who_has_not() {
    let cluster = EtcdCluster::start(1);
    let (one, two) = (store(&cluster), store(&cluster));
    let old = add(&one, "k", "v");
    cluster.etcdctl(&["del", "kvlock/era"]);
    // A client that knows nothing begins the next era, over a loss.
    let after = two.era("k").unwrap();
    assert!(after.id > token(old) && after.lossless_for < RECENT, "{after:?}");
    // What was written before is there, and matches nobody's version.
    assert_eq!(one.replace("k", b"w", TTL, old), Ok(WriteOutcome::Conflict(None)));
    assert_eq!(one.delete("k", old), Ok(DeleteOutcome::Conflict(None)));
    assert_eq!(get(&one, "k").version.era, after.id);
    assert!(matches!(one.add("k", b"w", TTL), Ok(WriteOutcome::Conflict(Some(_)))));
    let seen = one.era("k").unwrap();
    assert!(seen.id == after.id && seen.lossless_for < RECENT, "{seen:?}");
    let findings = two.diagnose();
    let era = findings.iter().find(|finding| finding.check == "era").unwrap();
    assert!(era.lossless_for.unwrap() < RECENT, "{era:?}");
}

#[test]
fn the_time_since_a_loss_is_told_to_who_comes_later() {
    let cluster = EtcdCluster::start(1);
    add(&store(&cluster), "k", "v");
    cluster.etcdctl(&["del", "kvlock/era"]);
    let began = std::time::Instant::now();
    store(&cluster).era("k").unwrap();
    thread::sleep(3 * SECOND);
    let later = store(&cluster).era("k").unwrap().lossless_for;
    assert!(later >= SECOND && later <= began.elapsed(), "{later:?}");
}

#[test]
fn a_snapshot_that_is_restored_under_a_new_token_is_a_loss() {
    let mut cluster = EtcdCluster::start(1);
    let knows = store(&cluster);
    add(&knows, "old", "v");
    let snapshot = cluster.snapshot();
    let mut lost = add(&knows, "k", "v");
    for _ in 0..20 {
        lost = written(knows.replace("k", b"v", TTL, lost));
    }
    cluster.restore(&snapshot, "another-token");
    // Who has seen nothing notices by the cluster's id.
    let new = store(&cluster);
    let after = new.era("k").unwrap();
    assert!(after.id > token(lost) && after.lossless_for < RECENT, "{after:?}");
    assert_eq!(knows.delete("k", lost), Ok(DeleteOutcome::Conflict(None)));
    let granted = add(&new, "k", "w");
    assert!(granted.number < lost.number, "the revision has gone back");
    assert!(token(granted) > token(lost));
    assert_eq!(get(&knows, "old").version.era, after.id);
}

#[test]
fn a_snapshot_that_is_restored_under_the_same_token_is_a_loss_for_who_has_seen_more() {
    let mut cluster = EtcdCluster::start(1);
    let store = store(&cluster);
    add(&store, "old", "v");
    let snapshot = cluster.snapshot();
    let mut lost = add(&store, "k", "v");
    for _ in 0..20 {
        lost = written(store.replace("k", b"v", TTL, lost));
    }
    let version = get(&store, "old").version;
    let same = cluster.token();
    cluster.restore(&snapshot, &same);
    // The transaction itself finds nothing wrong, and is carried out on what is too old.
    assert_unknown(store.replace("old", b"w", TTL, version));
    let after = store.era("k").unwrap();
    assert!(after.id > token(lost) && after.lossless_for < RECENT, "{after:?}");
    assert_eq!(store.get("k").unwrap(), None);
    assert!(token(add(&store, "k", "w")) > token(lost));
}

#[test]
fn another_cluster_in_the_place_of_one_that_is_gone_is_a_loss_and_beside_it_a_mistake() {
    let (mut one, two) = (EtcdCluster::start(1), EtcdCluster::start(1));
    let there = store(&two);
    add(&there, "k", "v");
    let both = kvlock::store::Etcd::connect(&format!("etcd://{},{}?timeout=20s", one.addr(0), two.addr(0))).unwrap();
    let version = add(&both, "k", "v");
    let findings = both.diagnose();
    let mixed = findings.iter().find(|finding| finding.check == "one cluster").unwrap();
    assert_eq!(mixed.severity, Severity::Unfit, "{mixed:?}");
    // Frozen, the first is passed by; it answers again when the second one is met.
    one.kill(0);
    let era = both.era("k").unwrap();
    assert!(era.id >= token(version) && era.lossless_for < RECENT, "{era:?}");
    assert_eq!(both.delete("k", version), Ok(DeleteOutcome::Conflict(None)));
}

#[test]
fn a_value_that_is_not_ours_is_left_alone() {
    let cluster = EtcdCluster::start(1);
    cluster.etcdctl(&["put", "kvlock/era", "hello"]);
    let store = store(&cluster);
    for text in [assert_rejected(store.add("k", b"v", TTL)), assert_rejected(store.era("k"))] {
        assert!(text.contains("`kvlock/era`"), "{text}");
    }
    assert_eq!(cluster.etcdctl(&["get", "kvlock/era", "--print-value-only"]), "hello\n");
    assert!(matches!(store.get("era"), Err(kvlock::store::StoreError::Invalid(_))));
}
