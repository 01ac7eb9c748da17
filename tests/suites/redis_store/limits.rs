//! Servers that are full, evict, or are taken by others.

use kvlock::store::{DeleteOutcome, KvStore, Severity, WriteOutcome};
use kvlock_testkit::RedisServer;

use crate::support::{HASH, TTL, add, assert_rejected, get, replace, store, token};

/// As large as the server takes in one line.
const FILLER: usize = 50_000;

#[test]
fn a_full_server_refuses_and_takes_a_release() {
    let server = RedisServer::start();
    let store = store(&server);
    let held = add(&store, "held", "v");
    // From now on it has used more than it may.
    server.command("CONFIG SET maxmemory 1mb");
    let text = assert_rejected(store.add("other", &[b'v'; 1000], TTL));
    assert!(text.contains("OOM") && text.contains("maxmemory"), "{text}");
    assert_rejected(store.replace("held", b"w", TTL, held));
    assert_eq!(get(&store, "held").version, held);
    assert_eq!(store.delete("held", held).unwrap(), DeleteOutcome::Deleted);
    // What was refused has used up no number.
    server.command("CONFIG SET maxmemory 0");
    assert_eq!(add(&store, "other", "v").number, held.number + 1);
}

#[test]
fn no_lock_is_evicted_where_only_what_has_a_ttl_may_be() {
    let server = RedisServer::start_with(&["--maxmemory", "6mb", "--maxmemory-policy", "volatile-lru"]);
    let store = store(&server);
    let held: Vec<_> = (0..50).map(|n| (format!("k-{n}"), add(&store, &format!("k-{n}"), "v"))).collect();
    for n in 0..200 {
        server.command(&format!("SET filler-{n} {} EX 1000", "v".repeat(FILLER)));
    }
    assert_ne!(server.info("evicted_keys"), "0", "the control: it evicts");
    for (key, version) in held {
        assert_eq!(get(&store, &key).version, version);
        replace(&store, &key, "w", version);
    }
}

#[test]
fn an_eviction_of_the_locks_takes_all_of_them_and_ends_the_era() {
    let server = RedisServer::start_with(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"]);
    let store = store(&server);
    let held = add(&store, "k", "v");
    let other = add(&store, "l", "v");
    for n in 0.. {
        assert!(n < 5000, "it evicts everything but the locks");
        server.command(&format!("SET filler-{} {}", n % 200, "v".repeat(FILLER)));
        if server.command(&format!("EXISTS {HASH}")) == ":0\r\n" {
            break;
        }
    }
    assert_eq!(store.delete("l", other).unwrap(), DeleteOutcome::Conflict(None));
    let new = add(&store, "k", "w");
    assert!(new.era > held.era && token(new) > token(held), "{new:?} {held:?}");
}

#[test]
fn a_node_of_a_cluster_is_refused_with_and_without_its_slots() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let store = store(&server);
    assert!(assert_rejected(store.add("k", b"v", TTL)).contains("cluster"));
    server.command("CLUSTER ADDSLOTSRANGE 0 16383");
    kvlock_tests::kvlock::eventually("the slots", || server.command("CLUSTER INFO").contains("cluster_state:ok"));
    assert!(assert_rejected(store.add("k", b"v", TTL)).contains("cluster"));
    assert_eq!(server.command("DBSIZE"), ":0\r\n");
    let findings = store.diagnose();
    assert!(findings.iter().any(|f| f.check == "role" && f.severity == Severity::Unfit), "{findings:#?}");
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let server = RedisServer::start();
    server.command(&format!("SET {HASH} text"));
    let text = assert_rejected(store(&server).add("k", b"v", TTL));
    assert!(text.contains("WRONGTYPE"), "{text}");
    assert_eq!(server.command(&format!("GET {HASH}")), "$4\r\ntext\r\n");
    for foreign in ["some field", "'kvlock era' 12 'kvlock stamp' 0f"] {
        server.command(&format!("DEL {HASH}"));
        server.command(&format!("HSET {HASH} {foreign}"));
        let text = assert_rejected(store(&server).add("k", b"v", TTL));
        assert!(text.contains("did not write") && text.contains(HASH), "{text}");
    }
    server.command(&format!("DEL {HASH}"));
    let store = store(&server);
    add(&store, "l", "v");
    server.command(&format!("HSET {HASH} k something"));
    let text = assert_rejected(store.add("k", b"v", TTL));
    assert!(text.contains("`k`") && text.contains("did not write"), "{text}");
    assert_rejected(store.get("k"));
    assert!(server.command(&format!("HGET {HASH} k")).contains("something"));
    get(&store, "l");
}

#[test]
fn values_of_any_bytes_and_of_the_largest_size_come_back() {
    let server = RedisServer::start();
    let store = store(&server);
    for (key, value) in [
        ("zero", vec![0; 1000]),
        ("lines", b"\r\n 1 2 \r\n\0$-1\r\n".to_vec()),
        ("empty", Vec::new()),
        ("large", vec![0xff; (1 << 20) - 512]),
    ] {
        assert!(matches!(store.add(key, &value, TTL).unwrap(), WriteOutcome::Written(_)), "{key}");
        assert!(store.get(key).unwrap().unwrap().value == value, "{key}");
    }
}
