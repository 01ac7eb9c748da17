//! A release reaches a waiter of another process by a message, and a wait goes on if no message comes.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvlock::Client;
use kvlock::store::{KvStore, Redis};
use kvlock_testkit::RedisServer;
use kvlock_tests::StandingClock;
use kvlock_tests::kvlock::eventually;

fn standing(server: &RedisServer) -> Client {
    Client::connect(&server.url()).unwrap().with_clock(Arc::new(StandingClock))
}

fn session(client: &Client) -> kvlock::Session {
    client.session().quarantine(Duration::ZERO).open().unwrap()
}

/// Waits for `k` on a thread of its own, and gives it back at once.
fn waiter(client: Client) -> JoinHandle<()> {
    thread::spawn(move || {
        session(&client).lock("k").acquire().unwrap().release().unwrap();
    })
}

/// Waits until so many listen to the channel of a key.
fn listened_to(server: &RedisServer, key: &str, listeners: usize) {
    eventually("listeners", || {
        let counted = server.command(&format!("PUBSUB NUMSUB kvlock:gone:kvlock:lock:{key}"));
        counted.lines().any(|line| line.trim() == format!(":{listeners}"))
    });
}

#[test]
fn a_release_wakes_the_waiters_of_other_processes_one_after_the_other() {
    let server = RedisServer::start();
    let grant = session(&standing(&server)).lock("k").acquire().unwrap();
    let waiters: Vec<_> = (1..=3)
        .map(|number| {
            let waiting = waiter(standing(&server));
            listened_to(&server, "k", number);
            waiting
        })
        .collect();
    let looker = session(&standing(&server));
    eventually("three in the wait list", || looker.status("k").unwrap().waiters == 3);
    // The last of them pauses after it has written the list.
    thread::sleep(Duration::from_millis(200));
    grant.release().unwrap();
    eventually("all had the lock", || waiters.iter().all(JoinHandle::is_finished));
}

#[test]
fn a_wait_for_several_keys_is_woken_by_the_release_of_each_that_it_comes_to() {
    let server = RedisServer::start();
    let holder = session(&standing(&server));
    let [first, second] = ["a", "b"].map(|key| holder.lock(key).acquire().unwrap());
    let client = standing(&server);
    let waiting = thread::spawn(move || {
        session(&client).lock_all(["b", "a"]).acquire().unwrap().release().unwrap();
    });
    for (key, held) in [("a", first), ("b", second)] {
        listened_to(&server, key, 1);
        eventually("it stands in the wait list", || holder.status(key).unwrap().waiters == 1);
        // It pauses after it has written the list.
        thread::sleep(Duration::from_millis(200));
        held.release().unwrap();
    }
    eventually("it had both", || waiting.is_finished());
    waiting.join().unwrap();
}

#[test]
fn a_client_that_may_not_listen_waits_all_the_same() {
    let server = RedisServer::start();
    server.command("ACL SETUSER default -subscribe -publish resetchannels");
    let client = || Client::connect(&server.url()).unwrap();
    let grant = session(&client()).lock("k").acquire().unwrap();
    let waiting = waiter(client());
    eventually("a place in the wait list", || session(&client()).status("k").unwrap().waiters == 1);
    grant.release().unwrap();
    eventually("it had the lock", || waiting.is_finished());
}

#[test]
fn a_listener_that_is_closed_at_once_is_not_opened_again_and_again() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let store = Redis::connect(&format!("redis://{address}")).unwrap();
    let _watch = store.watch("k", Arc::new(|| {}));
    eventually("a listener", || opened.load(Ordering::Relaxed) > 0);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}
