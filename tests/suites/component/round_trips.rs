//! How many round trips things cost: the floor, and what comes on top of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kvlock::Client;
use kvlock::clock::{Clock, VirtualClock};
use kvlock::conflict_retry::WorkOutcome;
use kvlock::store::{Memory, Op};

use crate::world::{World, busy, millis, secs};

#[test]
fn an_uncontended_acquire_is_one_add_and_a_release_one_delete() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").acquire().unwrap();
    assert_eq!(world.calls(), ["add kvlock:lock:k -> written"]);
    grant.release().unwrap();
    assert_eq!(world.calls(), ["delete kvlock:lock:k -> deleted"]);
}

#[test]
fn a_renewal_is_one_replace() {
    let world = World::new();
    let mut grant = world.session("one").lock("k").acquire().unwrap();
    world.calls();
    grant.renew().unwrap();
    assert_eq!(world.calls(), ["replace kvlock:lock:k -> written"]);
    grant.renew_for(secs(5)).unwrap();
    assert_eq!(world.calls(), ["replace kvlock:lock:k -> written"]);
}

#[test]
fn a_nested_acquire_and_its_release_are_one_replace_each() {
    let (world, [session]) = World::with(["one"]);
    let _outer = session.lock("k").reentrant().acquire().unwrap();
    world.calls();
    let inner = session.lock("k").reentrant().acquire().unwrap();
    assert_eq!(world.ops(), [Op::Replace]);
    inner.release().unwrap();
    assert_eq!(world.ops(), [Op::Replace]);
}

#[test]
fn the_first_acquire_of_a_session_asks_for_the_era_once() {
    let world = World::new();
    let session = world.fresh_session("one");
    for expected in [&[Op::Add, Op::Era, Op::Delete][..], &[Op::Add, Op::Delete]] {
        session.lock("k").acquire().unwrap().release().unwrap();
        assert_eq!(world.ops(), expected);
    }
}

#[test]
fn an_attempt_at_a_held_lock_is_an_add_and_a_look_at_the_holder() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").acquire().unwrap();
    world.calls();
    busy(two.lock("k").wait(secs(0)).acquire());
    assert_eq!(world.calls(), ["add kvlock:lock:k -> conflict", "get kvlock:lock:k -> found"]);
}

#[test]
fn a_waiter_makes_about_one_call_in_an_interval() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    world.calls();
    busy(two.lock("k").wait(secs(60)).interval(millis(500)).acquire());
    // Pauses are between a half and the whole of the interval once they have grown: 120 to 240 in a minute.
    let calls = world.calls().len();
    assert!((120..300).contains(&calls), "{calls} calls");
}

#[test]
fn the_status_of_many_keys_is_one_call_and_one_for_the_era_of_each_server_that_is_not_known() {
    let (world, [holder]) = World::with(["holder"]);
    let _held = ["a", "b"].map(|key| holder.lock(key).acquire().unwrap());
    world.calls();
    let read = "get-many kvlock:lock:a,kvlock:line:a,kvlock:lock:b,kvlock:line:b -> 2 found";
    let session = world.fresh_session("one");
    assert_eq!(session.statuses(&["a", "b"]).unwrap().len(), 2);
    assert_eq!(world.calls(), [read, "era kvlock:lock:a -> 1000000000000"]);
    assert_eq!(session.statuses(&["a", "b"]).unwrap().len(), 2);
    assert_eq!(world.calls(), [read]);
}

#[test]
fn what_needs_no_store_makes_no_call() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").acquire().unwrap();
    world.calls();
    drop(session.lock("other").begin().unwrap());
    grant.validity().unwrap();
    grant.depth().unwrap();
    let written = grant.write_out().unwrap();
    drop(world.fresh_session("two").resume(&written).unwrap().write_out().unwrap());
    assert_eq!(world.calls(), [""; 0]);
}

/// A clock that counts how often it is read.
#[derive(Default)]
struct Counting {
    clock: VirtualClock,
    readings: AtomicUsize,
}

impl Clock for Counting {
    fn now(&self) -> Duration {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }

    fn sleep(&self, pause: Duration) {
        self.clock.sleep(pause);
    }
}

#[test]
fn a_release_reads_the_clock_once_besides_its_metric_and_a_renewal_twice() {
    let clock = Arc::new(Counting::default());
    let client = Client::with_store(Memory::default()).with_clock(clock.clone());
    let session = client.session().quarantine(Duration::ZERO).open().unwrap();
    let mut grant = session.lock("k").acquire().unwrap();
    clock.readings.store(0, Ordering::Relaxed);
    grant.renew().unwrap();
    assert_eq!(clock.readings.swap(0, Ordering::Relaxed), 2, "the lease of a late answer may be over");
    grant.release().unwrap();
    // The library reads it too, to tell the metrics how long the lock was held.
    assert_eq!(clock.readings.load(Ordering::Relaxed), 1 + 1, "what was deleted is given back, however late");
}

#[test]
fn a_reservation_is_one_replace_and_finding_it_another() {
    let (world, [session]) = World::with(["one"]);
    let run = session
        .conflict_retry("k")
        .run(|attempt| if attempt.number() == 1 { WorkOutcome::Conflict(()) } else { WorkOutcome::Committed(()) });
    assert_eq!(run, Ok(()));
    assert_eq!(world.ops(), [Op::Add, Op::Replace, Op::Replace, Op::Delete]);
}
