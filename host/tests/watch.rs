//! A store that tells of deletions ends the pause of a waiter in another process.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kvlock::Client;
use kvlock::store::Memory;
use kvlock_tests::StandingClock;

/// Waits, in real time, until something is so.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "never came: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_release_reaches_the_waiters_of_another_process_one_after_the_other_though_no_pause_ends() {
    let store = Memory::new(Arc::new(StandingClock));
    // Two clients know as little of each other as two processes.
    let client = || Client::with_store(store.clone()).with_clock(Arc::new(StandingClock));
    let grant = client().lock("k").acquire().unwrap();
    let waits = |count: usize| {
        let status = client().session().open().unwrap().status("k").unwrap();
        status.waiters as usize >= count
    };
    let waiters: Vec<_> = (1..=2)
        .map(|number| {
            let waiter = client();
            // Of its own: if a test fails, nobody waits for it.
            let waiting = thread::spawn(move || waiter.lock("k").acquire().unwrap().release().unwrap());
            eventually("a place in the wait list", || waits(number));
            waiting
        })
        .collect();
    eventually("two watches", || store.watches("kvlock:lock:k") == 2);
    grant.release().unwrap();
    eventually("both had the lock", || waiters.iter().all(|waiting| waiting.is_finished()));
}
