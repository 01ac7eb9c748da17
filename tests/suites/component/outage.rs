//! A store that does not answer, or refuses.

use std::time::Duration;

use kvlock::store::{Fault, StoreError};
use kvlock::{
    AcquirePoll, Validity, WaitingFor,
    error::{AcquireError, GrantError, StatusError},
};

use crate::world::{World, millis, refused, secs};

#[test]
fn a_store_that_never_answered_is_ridden_out_as_any_outage_and_for_less_if_asked_to() {
    let world = World::new();
    world.store.down();
    let lock = || world.fresh_session("one").lock("k");
    for (lock, expected) in [
        (lock().wait(secs(5)), secs(5)),
        (lock().ride_out(secs(2)), secs(2)),
        (lock().ride_out(secs(2)).ride_out_first(secs(4)), secs(4)),
        (lock().ride_out(Duration::ZERO), Duration::ZERO),
    ] {
        let (outcome, waited) = world.timed(|| lock.acquire());
        assert!(matches!(refused(outcome), AcquireError::Store { error: StoreError::Unavailable(_), .. }));
        assert!(waited >= expected && waited < expected + millis(200), "{waited:?}");
    }
    let mut wait = lock().begin().unwrap();
    for _ in 0..100 {
        let Ok(AcquirePoll::Pending { pause, waiting_for: WaitingFor::Outage(_) }) = wait.poll() else {
            panic!("it waits")
        };
        world.clock.advance(pause);
    }
    world.store.up();
    assert_eq!(wait.block().unwrap().owner(), "one");
}

#[test]
fn a_single_try_is_told_of_an_outage_at_once() {
    let world = World::new();
    world.store.down();
    let (outcome, waited) = world.timed(|| world.fresh_session("one").lock("k").wait(Duration::ZERO).acquire());
    let error = refused(outcome);
    assert!(matches!(&error, AcquireError::Store { error: StoreError::Unavailable(_), .. }), "{error}");
    assert!(error.to_string().contains("`k`: store unavailable"), "{error}");
    assert_eq!(waited, Duration::ZERO);
}

#[test]
fn a_waiter_rides_out_the_outage_of_a_store_that_was_there() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").acquire().unwrap();
    let mut wait = two.lock("k").begin().unwrap();
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Holder(_), .. })));
    world.store.down();
    for _ in 0..100 {
        match wait.poll() {
            Ok(AcquirePoll::Pending { pause, waiting_for: WaitingFor::Outage(StoreError::Unavailable(_)) }) => {
                assert!(pause >= millis(50), "a server that comes back meets no storm: {pause:?}");
                world.clock.advance(pause);
            }
            Ok(AcquirePoll::Pending { pause, .. }) => world.clock.advance(pause),
            _ => panic!("the store is down"),
        }
    }
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Outage(_), .. })));
    world.store.up();
    held.release().unwrap();
    assert_eq!(wait.block().unwrap().owner(), "two");
}

#[test]
fn a_wait_that_ends_in_an_outage_says_that_the_store_failed() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    let (outcome, passed) = world.timed(|| session.lock("k").wait(secs(5)).acquire());
    assert!(matches!(refused(outcome), AcquireError::Store { error: StoreError::Unavailable(_), .. }));
    assert_eq!(passed, secs(5));
}

#[test]
fn a_store_that_refuses_ends_the_wait() {
    let (world, [session]) = World::with(["one"]);
    world.store.script(Fault::Rejected);
    let (outcome, waited) = world.timed(|| session.lock("k").acquire());
    assert!(matches!(refused(outcome), AcquireError::Store { error: StoreError::Rejected(_), .. }));
    assert_eq!(waited, Duration::ZERO);
}

#[test]
fn a_grant_stands_through_an_outage_as_long_as_it_is_valid() {
    let world = World::new();
    let mut grant = world.session("one").lock("k").lease(secs(10)).acquire().unwrap();
    world.store.down();
    world.clock.advance(secs(5));
    assert!(matches!(refused(grant.renew()), GrantError::Store { error: StoreError::Unavailable(_), .. }));
    assert!(matches!(grant.validity(), Ok(Validity::Valid(left)) if left > secs(4)));
    world.store.up();
    grant.renew().unwrap();
    world.store.down();
    world.clock.advance(secs(10));
    assert!(matches!(refused(grant.renew()), GrantError::Lost { .. }), "its time is over");
    world.store.up();
    assert!(world.holder("k").is_none());
}

#[test]
fn a_release_that_does_not_reach_the_store_is_told_and_is_not_repeated_by_the_drop() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").lease(secs(10)).acquire().unwrap();
    world.store.down();
    world.calls();
    assert!(matches!(refused(grant.release()), GrantError::Store { .. }));
    assert_eq!(world.calls(), ["delete kvlock:lock:k -> unavailable"]);
    world.store.up();
    assert_eq!(world.holder("k").unwrap().owner, "one");
    world.clock.advance(secs(10));
    assert!(session.lock("k").try_acquire().unwrap().is_some());
}

#[test]
fn looking_and_breaking_tell_of_an_outage() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    assert!(matches!(session.status("k"), Err(StatusError::Store { error: StoreError::Unavailable(_), .. })));
    assert!(matches!(session.break_lock("k"), Err(StatusError::Store { error: StoreError::Unavailable(_), .. })));
}
