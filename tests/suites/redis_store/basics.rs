//! What is on the wire, and what is in the server.

use kvlock::store::{DeleteOutcome, KvStore, WriteOutcome};
use kvlock_testkit::RedisServer;
use kvlock_tests::{Proxy, faults};

use crate::support::{HASH, TTL, add, get, store, token};

#[test]
fn an_acquire_is_one_exchange_and_so_is_a_release() {
    let server = RedisServer::start();
    let proxy = Proxy::start(&server.addr());
    faults::acquires_and_releases_are_one_exchange_each(&proxy, &format!("redis://{}", proxy.addr()));
}

#[test]
fn everything_is_in_one_hash_that_a_person_can_read() {
    let server = RedisServer::start();
    let store = store(&server);
    let version = add(&store, "n:lock:k", "some text");
    assert_eq!(server.command("KEYS *"), format!("*1\r\n${}\r\n{HASH}\r\n", HASH.len()));
    let field = server.command(&format!("HGET {HASH} n:lock:k"));
    assert!(field.contains(&format!("{} ", version.number)) && field.contains(" some text"), "{field}");
    assert_eq!(server.command(&format!("TTL {HASH}")), ":-1\r\n");
    assert_eq!(store.delete("n:lock:k", version).unwrap(), DeleteOutcome::Deleted);
    assert_eq!(server.command(&format!("HEXISTS {HASH} n:lock:k")), ":0\r\n");
}

#[test]
fn what_has_expired_is_swept_by_later_writes() {
    let server = RedisServer::start();
    let store = store(&server);
    let fields = || -> usize { server.command(&format!("HLEN {HASH}"))[1..].trim().parse().unwrap() };
    let mut version = add(&store, "kept", "v");
    // Their end was a millisecond after 1970 began.
    for n in 0..200 {
        server.command(&format!("HSET {HASH} ended-{n} '1 1 v'"));
    }
    assert_eq!(store.get("ended-7").unwrap(), None);
    assert!(fields() > 200, "{}", fields());
    for _ in 0..2000 {
        let WriteOutcome::Written(next) = store.replace("kept", b"v", TTL, version).unwrap() else { panic!() };
        version = next;
    }
    // The hash's own, what is kept, and what chance has spared.
    assert!(fields() < 20, "{}", fields());
    assert_eq!(get(&store, "kept").version, version);
}

#[test]
fn databases_have_locks_of_their_own() {
    let server = RedisServer::start();
    let [one, two] = [0, 1].map(|n| kvlock::store::Redis::connect(&format!("{}/{n}", server.url())).unwrap());
    add(&one, "k", "one");
    add(&two, "k", "two");
    assert_eq!((get(&one, "k").value, get(&two, "k").value), (b"one".to_vec(), b"two".to_vec()));
}

#[test]
fn many_threads_share_a_bounded_number_of_connections() {
    let server = RedisServer::start();
    let store = store(&server);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..20 {
                    let key = format!("k-{thread}");
                    let version = add(store, &key, "v");
                    assert_eq!(store.delete(&key, version).unwrap(), DeleteOutcome::Deleted);
                }
            });
        }
    });
    let connections: usize = server.info("connected_clients").parse().unwrap();
    assert!(connections <= 33, "{connections}");
}

#[test]
fn tokens_grow_by_one_for_each_write() {
    let server = RedisServer::start();
    let store = store(&server);
    let (first, second) = (add(&store, "a", "v"), add(&store, "b", "v"));
    assert_eq!(token(second), token(first) + 1);
    assert!(first.era > 1_700_000_000_000_000_000, "the era is a time: {}", first.era);
}
