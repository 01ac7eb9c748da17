//! Replicas that must have a grant before it counts, and what happens without them.

use std::time::Duration;

use kvlock::Client;
use kvlock::store::{DeleteOutcome, KvStore, WriteOutcome};
use kvlock_testkit::RedisServer;

use crate::support::{TTL, add, assert_unavailable, assert_unknown, get, replace, store, store_with, token};

fn pair() -> (RedisServer, RedisServer) {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    replica.replicate(&master);
    (master, replica)
}

#[test]
fn a_grant_counts_when_a_replica_has_it() {
    let (master, replica) = pair();
    let store = store_with(&master, "replicas=1");
    let version = add(&store, "k", "v");
    assert!(replica.command("HEXISTS kvlock:{0} k").starts_with(":1"));
    let version = replace(&store, "k", "w", version);
    assert!(replica.command("HGET kvlock:{0} k").contains('w'));
    assert!(matches!(store.add("k", b"x", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
    assert_eq!(store.delete("k", version).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn fewer_replicas_than_asked_leave_the_outcome_unknown_and_reading_back_does_not_settle_it() {
    let (master, replica) = pair();
    let store = store_with(&master, "replicas=1&timeout=2s");
    add(&store, "warm", "v");
    replica.stop();
    let text = assert_unknown(store.add("k", b"v", TTL));
    assert!(text.contains("0 of 1"), "{text}");
    // The control: it is done, as a client that asks for no replica sees.
    get(&crate::support::store(&master), "k");
    assert_unavailable(store.get("k"));
    replica.cont();
    kvlock_tests::kvlock::eventually("the replica", || store.get("k").is_ok_and(|entry| entry.is_some()));
    // From here on, reads are reads again.
    replica.stop();
    get(&store, "k");
    replica.cont();
}

#[test]
fn a_busy_lock_is_told_as_such_while_no_replica_answers() {
    let (master, replica) = pair();
    let store = store_with(&master, "replicas=1&timeout=3s");
    add(&store, "k", "v");
    replica.stop();
    assert!(matches!(store.add("k", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
    replica.cont();
}

/// What a partition of a master with its clients does: the replica is promoted behind its back.
fn cut_off(replicas: &str) -> (bool, bool, u64, u64) {
    let (master, replica) = pair();
    let on = |server: &RedisServer| {
        let client = Client::connect(&format!("{}?timeout=2s{replicas}", server.url())).unwrap();
        client.session().quarantine(Duration::ZERO).open().unwrap()
    };
    let (old, new) = (on(&master), on(&replica));
    replica.promote();
    let there = Client::connect(&replica.url()).unwrap().session().quarantine(Duration::ZERO).open().unwrap();
    let second = there.lock("k").acquire().unwrap();
    drop(new);
    let first = old.lock("k").wait(Duration::ZERO).acquire();
    let tokens = (first.as_ref().map_or(0, |grant| grant.token()), second.token());
    (first.is_ok(), true, tokens.0, tokens.1)
}

#[test]
fn a_master_that_is_cut_off_grants_the_same_lock_again_unless_replicas_are_asked_for() {
    let (was_granted, ..) = cut_off("");
    assert!(was_granted, "the page says that nothing prevents it without `replicas`");
    let (was_granted, ..) = cut_off("&replicas=1");
    assert!(!was_granted);
}

#[test]
fn tokens_are_in_order_over_a_failover_even_where_grants_were_lost() {
    let (mut master, replica) = pair();
    let first = store(&master);
    add(&first, "k", "v");
    replica.promote();
    let lost = add(&first, "lost", "v");
    master.kill();
    let second = store(&replica);
    assert!(token(add(&second, "lost", "v")) > token(lost));
}
