//! Eras: restarts, flushes, evictions, promotions.

use std::thread;
use std::time::Duration;

use kvlock::store::{DeleteOutcome, KvStore, Version, WriteOutcome};
use kvlock_testkit::RedisServer;
use kvlock_tests::faults;

use crate::support::{HASH, TTL, add, get, replace, store, token};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_restart_without_data_ends_the_era_and_its_versions_match_nothing() {
    let mut server = RedisServer::start();
    let (store, other) = (store(&server), store(&server));
    let old = add(&store, "k", "old");
    server.restart();
    let era = store.era("k").unwrap().id;
    assert!(era > token(old), "{era} {old:?}");
    assert_eq!(store.get("k").unwrap(), None);
    let new = add(&other, "k", "new");
    assert_eq!(new.era, era);
    assert_eq!(store.replace("k", b"x", TTL, old).unwrap(), WriteOutcome::Conflict(None));
    assert_eq!(store.delete("k", old).unwrap(), DeleteOutcome::Conflict(None));
    assert_eq!(get(&store, "k").value, b"new");
}

#[test]
fn a_restart_with_its_data_ends_the_era_too_and_what_was_there_stays_in_the_way() {
    let mut server = RedisServer::start();
    let store = store(&server);
    let saved = add(&store, "saved", "v");
    server.command("SAVE");
    let lost = add(&store, "lost", "v");
    server.restart();
    let era = store.era("k").unwrap();
    assert!(era.id > saved.era && era.lossless_for < 20 * SECOND, "{era:?}");
    // It is taken until its end, and the version of its holder matches nothing.
    assert!(matches!(store.add("saved", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
    assert_eq!(store.delete("saved", saved).unwrap(), DeleteOutcome::Conflict(None));
    // The control: the counter went back, and the number that was lost comes again, in another era.
    let again = add(&store, "lost", "v");
    assert_eq!(again.number, lost.number);
    assert!(token(again) > token(lost) && again.era > lost.era);
    let present = get(&store, "saved").version;
    let present = replace(&store, "saved", "w", present);
    assert_eq!(store.delete("saved", present).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn a_flush_ends_the_era_on_open_connections_too() {
    let server = RedisServer::start();
    let store = store(&server);
    let old = add(&store, "k", "old");
    for command in ["FLUSHALL", "FLUSHDB", &format!("DEL {HASH}"), "SWAPDB 0 5"] {
        let before = store.era("k").unwrap().id;
        server.command(command);
        assert_eq!(store.delete("k", old).unwrap(), DeleteOutcome::Conflict(None), "{command}");
        let era = store.era("k").unwrap();
        assert!(era.id > before && era.lossless_for < 20 * SECOND, "{command}: {era:?}");
        let new = add(&store, "k", "new");
        assert!(new.era == era.id && token(new) > token(old), "{command}: {new:?} {old:?}");
    }
}

#[test]
fn a_server_that_lost_nothing_is_as_old_as_it_is_and_a_flushed_one_is_new() {
    let server = RedisServer::start();
    thread::sleep(4 * SECOND);
    let uptime: u64 = server.info("uptime_in_seconds").parse().unwrap();
    let told = store(&server).era("k").unwrap().lossless_for.as_secs();
    assert!((uptime - 3..=uptime + 1).contains(&told), "{told} of {uptime}");
    server.command("FLUSHALL");
    let flushed = store(&server).era("k").unwrap().lossless_for;
    assert!(flushed < 3 * SECOND, "{flushed:?}");
}

#[test]
fn a_server_whose_locks_may_have_been_deleted_before_is_new() {
    for command in ["FLUSHDB", "DEL x", "UNLINK x", "SWAPDB 0 1"] {
        let server = RedisServer::start();
        thread::sleep(3 * SECOND);
        server.command(command);
        let told = store(&server).era("k").unwrap().lossless_for;
        assert!(told < 2 * SECOND, "{command}: {told:?}");
    }
}

#[test]
fn a_first_replica_ends_no_era() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    let store = store(&master);
    let version = add(&store, "k", "v");
    let stamp = master.info("master_replid");
    replica.replicate(&master);
    // The control: what the era is stamped with has changed.
    assert_ne!(master.info("master_replid"), stamp);
    let version = replace(&store, "k", "w", version);
    assert_eq!(store.era("k").unwrap().id, version.era);
    assert_eq!(store.delete("k", version).unwrap(), DeleteOutcome::Deleted);
}

#[test]
fn a_promoted_replica_begins_an_era_above_all_that_was_lost() {
    let (mut master, replica) = (RedisServer::start(), RedisServer::start());
    let first = store(&master);
    add(&first, "kept", "v");
    replica.replicate(&master);
    // Cut off, it misses what follows.
    replica.command("REPLICAOF NO ONE");
    let lost: Vec<Version> = (0..50).map(|n| add(&first, &format!("lost-{n}"), "v")).collect();
    let held = add(&first, "k", "v");
    master.kill();
    let second = store(&replica);
    // The control: the replica has the era that the lost grants are of.
    let era = replica.command(&format!("HGET {HASH} 'kvlock era'"));
    assert!(era.contains(&held.era.to_string()), "{era} {held:?}");
    let info = second.era("k").unwrap();
    assert!(info.id > held.era && info.lossless_for < 20 * SECOND, "{info:?}");
    assert_eq!(second.delete("k", held).unwrap(), DeleteOutcome::Conflict(None));
    let new = add(&second, "k", "v");
    assert!(token(new) > token(held) && token(new) > token(lost[49]), "{new:?} {held:?}");
    assert!(matches!(second.add("kept", b"w", TTL).unwrap(), WriteOutcome::Conflict(Some(_))));
}

#[test]
fn a_master_that_was_a_replica_for_a_while_has_lost_what_it_had() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let store = store(&one);
    add(&store, "both", "v");
    two.replicate(&one);
    two.promote();
    let lost = add(&store, "k", "v");
    // Its process and the connection stay.
    one.replicate(&two);
    one.promote();
    assert_eq!(store.delete("k", lost).unwrap(), DeleteOutcome::Conflict(None));
    let new = add(&store, "k", "v");
    assert!(new.era > lost.era && token(new) > token(lost), "{new:?} {lost:?}");
}

#[test]
fn a_replica_that_is_asked_is_an_outage_and_says_so() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    let version = add(&store(&master), "k", "v");
    replica.replicate(&master);
    let text = crate::support::assert_unavailable(store(&replica).add("other", b"v", TTL));
    assert!(text.contains("replica"), "{text}");
    // A master that becomes a replica under an open connection.
    let open = store(&master);
    get(&open, "k");
    let third = RedisServer::start();
    master.replicate(&third);
    crate::support::assert_unavailable(open.get("k"));
    crate::support::assert_unavailable(open.delete("k", version));
}

#[test]
fn a_client_that_has_seen_larger_tokens_begins_an_era_above_them() {
    let (mut server, behind) = (RedisServer::start(), RedisServer::start());
    let proxy = kvlock_tests::Proxy::start(&server.addr());
    let store = kvlock::store::Redis::connect(&format!("redis://{}", proxy.addr())).unwrap();
    add(&store, "k", "v");
    // As a server does whose clock is ahead by some hours.
    let ahead = format!("{}", store.era("k").unwrap().id + 10_000_000_000_000);
    server.command(&format!("HSET {HASH} 'kvlock era' {ahead}"));
    let held = add(&store, "ahead", "v");
    assert_eq!(held.era.to_string(), ahead);
    let own = add(&crate::support::store(&behind), "other", "v");
    assert!(own.era < held.era);
    server.kill();
    proxy.lead_to(&[&behind.addr()]);
    kvlock_tests::kvlock::eventually("the other server", || store.era("k").is_ok());
    let era = store.era("k").unwrap();
    assert!(era.id > token(held) && era.lossless_for < 20 * SECOND, "{era:?} {held:?}");
    assert_eq!(crate::support::store(&behind).delete("other", own).unwrap(), DeleteOutcome::Conflict(None));
}

#[test]
fn another_server_that_was_there_before_counts_from_when_it_is_found() {
    let (mut server, other) = (RedisServer::start(), RedisServer::start());
    let proxy = kvlock_tests::Proxy::start(&server.addr());
    let store = kvlock::store::Redis::connect(&format!("redis://{}", proxy.addr())).unwrap();
    let held = add(&store, "k", "v");
    thread::sleep(3 * SECOND);
    // Begun later, so that it is above.
    assert!(crate::support::store(&other).era("k").unwrap().id > held.era);
    server.kill();
    proxy.lead_to(&[&other.addr()]);
    kvlock_tests::kvlock::eventually("the other server", || store.era("k").is_ok());
    let told = store.era("k").unwrap().lossless_for;
    let age = crate::support::store(&other).era("k").unwrap().lossless_for;
    assert!(told + SECOND < age, "{told:?} {age:?}");
}

#[test]
fn tokens_grow_over_writes_flushes_and_restarts() {
    let mut server = RedisServer::start();
    let store = store(&server);
    faults::tokens_grow(&store, |round, present| match round % 4 {
        0 => drop(server.command("FLUSHALL")),
        1 => {
            server.restart();
            // Long enough for the connection to be looked at before it is used again.
            thread::sleep(Duration::from_millis(30));
        }
        2 => {
            server.command("SAVE");
            server.restart();
            thread::sleep(Duration::from_millis(30));
            let present = get(&store, "k").version;
            assert_eq!(store.delete("k", present).unwrap(), DeleteOutcome::Deleted);
            server.command("CONFIG RESETSTAT");
            std::fs::remove_file(server.folder().join("dump.rdb")).unwrap();
        }
        _ => assert_eq!(store.delete("k", present).unwrap(), DeleteOutcome::Deleted),
    });
}
