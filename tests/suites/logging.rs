//! What the library tells through `tracing`. The log is one for the process, because threads that renew write to it,
//! too; each test has a key of its own.

use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use kvlock::clock::VirtualClock;
use kvlock::store::{Memory, Ttl};
use kvlock::{
    Client, Lock, Session,
    conflict_retry::{ConflictRetryError, WorkOutcome},
    renewal::AutoRenew,
};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A store and two sessions, in time that moves when it is told to.
struct World {
    clock: Arc<VirtualClock>,
    store: Memory,
    one: Session,
    two: Session,
}

impl World {
    fn new() -> World {
        static LISTENING: Once = Once::new();
        LISTENING.call_once(|| {
            let level = tracing_subscriber::filter::LevelFilter::TRACE;
            let lines = tracing_subscriber::fmt().with_ansi(false).with_max_level(level).with_writer(|| Log);
            lines.finish().with(filter_fn(|metadata| metadata.is_event())).init();
        });
        let clock = Arc::new(VirtualClock::new());
        let store = Memory::new(clock.clone());
        let client = Client::with_store(store.clone()).with_clock(clock.clone());
        let [one, two] = ["one", "two"].map(|owner| {
            let session = client.session().owner(owner).open().unwrap();
            session.lock("acquaintance").acquire().unwrap().release().unwrap();
            session
        });
        World { clock, store, one, two }
    }
}

/// The events about a key, without their times.
fn events(key: &str) -> Vec<String> {
    let field = format!(" key=\"{key}\"");
    let log = LOG.lock().unwrap();
    let events = log.lines().filter(|line| line.contains(&field));
    events.map(|line| line.split_once(' ').expect("a time comes first").1.trim_start().to_string()).collect()
}

/// Waits for an event about a key: a level, and parts of its text.
#[track_caller]
fn told(key: &str, level: &str, parts: &[&str]) -> String {
    let started = Instant::now();
    loop {
        let is_it = |event: &String| event.starts_with(level) && parts.iter().all(|part| event.contains(part));
        if let Some(event) = events(key).into_iter().find(is_it) {
            return event;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "not told: {level} {parts:?} in {:#?}", events(key));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lease(lock: Lock, millis: u64) -> Lock {
    lock.lease(Duration::from_millis(millis))
}

#[test]
fn a_grant_and_a_release_are_told_with_the_token() {
    let world = World::new();
    let grant = world.one.lock("plain").acquire().unwrap();
    let token = format!("token={}", grant.token());
    grant.release().unwrap();
    told("plain", "DEBUG", &["granted", &token]);
    told("plain", "DEBUG", &["released: Freed", &token]);
    assert_eq!(events("plain").len(), 2, "{:?}", events("plain"));
}

#[test]
fn a_waiter_tells_for_whom_it_waits_and_whose_lease_ended() {
    let world = World::new();
    let _held = world.one.lock("expiry").acquire().unwrap();
    let _next = world.two.lock("expiry").acquire().unwrap();
    told("expiry", "DEBUG", &["waiting: held by one (", "since", "until"]);
    told("expiry", "WARN", &["the lease of one ended before the lock was released"]);
    told("expiry", "DEBUG", &["granted after 30.0 s; before that it was held by one ("]);
    let waits = events("expiry").iter().filter(|event| event.contains("waiting:")).count();
    assert_eq!(waits, 1, "told when it changes, not at each try");
}

#[test]
fn a_lock_that_was_released_in_time_is_no_expiry() {
    let world = World::new();
    let held = world.one.lock("handed over").acquire().unwrap();
    let mut wait = world.two.lock("handed over").begin().unwrap();
    let mut held = Some(held);
    loop {
        match wait.poll().unwrap() {
            kvlock::AcquirePoll::Ready(_) => break,
            kvlock::AcquirePoll::Pending { pause, .. } => world.clock.advance(pause),
        }
        held.take().map(|held| held.release().unwrap());
    }
    told("handed over", "DEBUG", &["granted after", "held by one"]);
    assert!(!events("handed over").iter().any(|event| event.starts_with("WARN")), "{:?}", events("handed over"));
}

#[test]
fn a_minimum_time_that_ended_is_no_expiry() {
    let world = World::new();
    world.one.lock("once").at_least(Duration::from_secs(9)).acquire().unwrap().release().unwrap();
    let _next = world.two.lock("once").acquire().unwrap();
    told("once", "DEBUG", &["waiting: released by one"]);
    told("once", "DEBUG", &["granted after 9.0 s"]);
    assert!(!events("once").iter().any(|event| event.starts_with("WARN")), "{:?}", events("once"));
}

#[test]
fn a_wait_in_vain_is_told() {
    let world = World::new();
    let _held = world.one.lock("busy").acquire().unwrap();
    assert!(world.two.lock("busy").wait(Duration::from_secs(2)).acquire().is_err());
    told("busy", "DEBUG", &["not granted", "is busy", "held by one", "waited 2.0 s"]);
}

#[test]
fn waiting_for_a_quarantine_and_in_an_outage_is_told() {
    let world = World::new();
    world.store.down();
    let mut wait = world.one.lock("obstacles").begin().unwrap();
    for _ in 0..10 {
        let kvlock::AcquirePoll::Pending { pause, .. } = wait.poll().unwrap() else { panic!("the store is down") };
        world.clock.advance(pause);
    }
    told("obstacles", "DEBUG", &["waiting: store unavailable"]);
    world.store.up();
    world.store.new_era(Duration::ZERO);
    let _granted = wait.block().unwrap();
    told("obstacles", "DEBUG", &["waiting: in quarantine for"]);
}

#[test]
fn a_release_that_fails_is_told_also_by_a_drop() {
    let world = World::new();
    for (key, drops) in [("released", false), ("dropped", true)] {
        let grant = world.one.lock(key).acquire().unwrap();
        world.store.down();
        if drops {
            drop(grant);
        } else {
            assert!(grant.release().is_err());
        }
        world.store.up();
        told(key, "WARN", &["release failed", "store unavailable"]);
    }
}

#[test]
fn renewals_and_their_failures_are_told() {
    let world = World::new();
    let mut grant = world.one.lock("renewals").acquire().unwrap();
    grant.renew().unwrap();
    told("renewals", "TRACE", &["renewed"]);
    world.store.down();
    assert!(grant.renew().is_err());
    told("renewals", "WARN", &["renewal failed", "store unavailable"]);
}

#[test]
fn renewals_in_the_background_and_a_loss_are_told() {
    let _log = World::new();
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let [one, two] = [(); 2].map(|()| client.session().open().unwrap());
    let broken = lease(one.lock("broken"), 600).acquire().unwrap().auto_renew(AutoRenew::default());
    told("broken", "TRACE", &["renewed"]);
    two.break_lock("broken").unwrap();
    told("broken", "INFO", &["broken by force; it was held by"]);
    told("broken", "WARN", &["lock lost: its record is gone"]);
    drop(broken);
    told("broken", "WARN", &["release failed"]);
    let expired = lease(one.lock("expired"), 300).acquire().unwrap().auto_renew(AutoRenew::default());
    store.down();
    told("expired", "WARN", &["renewal failed"]);
    told("expired", "WARN", &["lock lost: it could not be renewed: store unavailable"]);
    drop(expired);
}

#[test]
fn work_that_goes_on_without_its_lock_is_told() {
    let world = World::new();
    world.store.down();
    world.one.lock("soft").soft().with_lock(|_| ()).unwrap();
    told("soft", "WARN", &["goes on without the lock", "store unavailable"]);
}

#[test]
fn the_tries_of_conflict_retry_and_what_they_wait_for_are_told() {
    let world = World::new();
    let _held = world.one.lock("retried").lease(Duration::from_secs(5)).acquire().unwrap();
    let mut conflicts = 1;
    let committed = world.two.conflict_retry("retried").run(|_| {
        conflicts -= 1;
        if conflicts == 0 {
            return WorkOutcome::Conflict("on purpose");
        }
        world.store.down();
        WorkOutcome::Committed(())
    });
    assert!(matches!(committed, Err(ConflictRetryError::Release { .. })));
    told("retried", "DEBUG", &["waiting: held by one"]);
    told("retried", "WARN", &["the lease of one ended"]);
    told("retried", "DEBUG", &["granted after 5.0 s"]);
    told("retried", "DEBUG", &["conflict: the next try follows in"]);
    told("retried", "WARN", &["release failed", "store unavailable"]);
    let grants = events("retried").iter().filter(|event| event.contains("granted")).count();
    assert_eq!(grants, 3, "the holder's, and one for each try: {:?}", events("retried"));
}

#[test]
fn a_holder_for_ever_is_told() {
    let world = World::new();
    let _held = world.one.lock("for ever").lease(Ttl::Forever).acquire().unwrap();
    assert!(world.two.lock("for ever").wait(Duration::ZERO).acquire().is_err());
    told("for ever", "DEBUG", &["not granted", "until released"]);
}
