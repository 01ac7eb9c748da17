//! Guests and natives on the same servers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kvlock::store::{KvStore, Memcached, Ttl, WriteOutcome};
use kvlock::{Client, Session};
use kvlock_platforms::{GuestStore, Platform};
use kvlock_testkit::MemcachedServer;

fn guest(url: &str) -> GuestStore {
    GuestStore::new(&Platform::with_store(url)).unwrap()
}

fn session(client: &Client) -> Session {
    client.session().quarantine(Duration::ZERO).open().unwrap()
}

#[test]
fn guests_and_natives_exclude_each_other_and_tokens_only_grow() {
    const TURNS: u64 = 60;
    let server = MemcachedServer::start();
    let native = Client::connect(&server.url()).unwrap();
    let guests = [(); 2].map(|()| Client::with_store(guest(&server.url())));
    // Read, then written: whatever is not done under the lock is lost.
    let (counter, token) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |session: &Session| {
        for _ in 0..TURNS {
            let grant = session.lock("counter").wait(Duration::from_secs(120)).acquire().unwrap();
            let seen = counter.load(Ordering::SeqCst);
            assert!(token.swap(grant.token(), Ordering::SeqCst) < grant.token(), "tokens only grow");
            std::thread::yield_now();
            counter.store(seen + 1, Ordering::SeqCst);
            grant.release().unwrap();
        }
    };
    std::thread::scope(|scope| {
        for client in [&native, &native, &guests[0], &guests[1]] {
            scope.spawn(|| work(&session(client)));
        }
    });
    assert_eq!(counter.into_inner(), 4 * TURNS);
}

#[test]
fn each_key_is_on_the_server_that_natives_look_on() {
    let servers = [(); 3].map(|()| MemcachedServer::start());
    let list = servers.each_ref().map(MemcachedServer::addr).join(",");
    let (guest, native) = (guest(&format!("memcached://{list}")), Memcached::connect(&list).unwrap());
    let keys: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    for key in &keys {
        let Ok(WriteOutcome::Written(version)) = guest.add(key, key.as_bytes(), Ttl::Forever) else { panic!("{key}") };
        assert_eq!(native.get(key).unwrap().unwrap().version, version);
    }
    let entries = guest.get_many(&keys).unwrap();
    assert!(entries.iter().zip(&keys).all(|(entry, key)| entry.as_ref().unwrap().value == key.as_bytes()));
    servers[1].stop();
    let answered = keys.iter().filter(|key| guest.get(key).is_ok()).count();
    servers[1].cont();
    let here = keys.iter().filter(|key| native.server_of(key).unwrap() == servers[1].addr()).count();
    assert_eq!(answered, keys.len() - here, "a server that is down keeps its keys, and the others go on");
}
