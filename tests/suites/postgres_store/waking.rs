//! A release reaches a waiter of another process by a notification, and a wait goes on if none comes.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kvlock::store::KvStore;
use kvlock::{Client, Session};
use kvlock_tests::StandingClock;
use kvlock_tests::kvlock::eventually;

use crate::pooler::Pooler;
use crate::support::{World, add};

/// How many connections of the world listen.
const LISTENERS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn client(url: &str) -> Client {
    Client::connect(&format!("{url}?timeout=20s&connect_timeout=20s")).unwrap()
}

fn session(client: &Client) -> Session {
    client.session().quarantine(Duration::ZERO).open().unwrap()
}

/// Waits for `k` on a thread of its own, and gives it back at once.
fn waiter(client: Client) -> JoinHandle<()> {
    thread::spawn(move || {
        session(&client).lock("k").acquire().unwrap().release().unwrap();
    })
}

fn assert_listening(world: &World, listeners: u32) {
    eventually("listeners", || world.sql(LISTENERS) == listeners.to_string());
}

fn assert_listed(world: &World, waiters: u32) {
    let looker = session(&client(&world.url()));
    eventually("places in the wait list", || looker.status("k").unwrap().waiters == waiters);
}

#[test]
fn a_release_wakes_the_waiters_of_other_processes_one_after_the_other() {
    let world = World::new();
    let standing = || client(&world.url()).with_clock(Arc::new(StandingClock));
    let grant = session(&standing()).lock("k").acquire().unwrap();
    let waiters: Vec<_> = (1..=3)
        .map(|number| {
            let waiting = waiter(standing());
            assert_listening(&world, number);
            waiting
        })
        .collect();
    assert_listed(&world, 3);
    // The last of them pauses after it has written the list.
    thread::sleep(Duration::from_millis(200));
    grant.release().unwrap();
    eventually("all had the lock", || waiters.iter().all(JoinHandle::is_finished));
}

#[test]
fn a_waiter_behind_a_pooler_does_not_listen_and_has_the_lock_all_the_same() {
    let world = World::new();
    let Some(pooler) = Pooler::start(&world) else { return };
    let grant = session(&client(&world.url())).lock("k").acquire().unwrap();
    let waiting = waiter(client(&pooler.url(&world)));
    assert_listed(&world, 1);
    thread::sleep(Duration::from_millis(200));
    assert_listening(&world, 0);
    grant.release().unwrap();
    eventually("it had the lock", || waiting.is_finished());
}

#[test]
fn a_waiter_whose_listening_connection_is_ended_has_the_lock_all_the_same() {
    let world = World::new();
    let grant = session(&client(&world.url())).lock("k").acquire().unwrap();
    let waiting = waiter(client(&world.url()));
    assert_listening(&world, 1);
    world.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'");
    assert_listening(&world, 0);
    grant.release().unwrap();
    eventually("it had the lock", || waiting.is_finished());
}

/// Commits that notify wait for each other.
#[test]
fn a_release_notifies_only_while_somebody_listens() {
    let world = World::new();
    let store = world.store();
    let unheard = add(&store, "unheard", "v");
    let mut psql = world
        .server
        .program("psql")
        .args(["-X", "-q", "-A", "-t", "-d", &world.database])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = psql.stdin.take().unwrap();
    // It listens without the lock by which releases know of it.
    typed.write_all(b"LISTEN kvlock_gone;\nSELECT pg_advisory_lock(1);\n").unwrap();
    let exclusive = LISTENERS.replace("ShareLock", "ExclusiveLock");
    eventually("psql listens", || world.sql(&exclusive) == "1");
    store.delete("unheard", unheard).unwrap();

    let (told, heard) = std::sync::mpsc::channel();
    let watch = store.watch("heard", Arc::new(move || told.send(()).unwrap()));
    assert_listening(&world, 1);
    let version = add(&store, "heard", "v");
    store.delete("heard", version).unwrap();
    heard.recv_timeout(Duration::from_secs(30)).expect("it is told");
    drop(watch);
    typed.write_all(b"SELECT 1;\n").unwrap();
    drop(typed);
    let said = String::from_utf8(psql.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains("\"heard\"") && !said.contains("\"unheard\""), "{said}");
}
