//! Soft mode: without the lock when the store is down or in quarantine, and only then.

use std::time::Duration;

use kvlock::store::{Fault, Memory, Op, StoreError};
use kvlock::{
    Client,
    error::{AcquireError, GrantError, WithLockError},
    renewal::LostReason,
    soft::{SOFT_PATIENCE, SoftGuard},
};

use crate::world::{World, busy, millis, refused, secs};

#[test]
fn with_the_store_there_it_is_a_lock_like_any_other() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let value = one.lock("k").soft().with_lock(|guard| {
        assert_eq!(guard.token(), Some(world.holder("k").unwrap().token));
        assert_eq!(guard.lost(), None);
        busy(two.lock("k").wait(secs(1)).soft().acquire());
        42
    });
    assert_eq!(value.unwrap(), 42);
    assert!(world.holder("k").is_none());
}

#[test]
fn with_the_store_down_the_work_runs_at_once_and_can_tell() {
    let world = World::new();
    world.store.down();
    let session = world.fresh_session("one");
    let (outcome, waited) = world.timed(|| {
        session.lock("k").soft().with_lock(|guard| {
            assert!(matches!(guard, SoftGuard::Outage(StoreError::Unavailable(_))), "{guard:?}");
            assert!(guard.lock_guard().is_none() && guard.token().is_none() && guard.lost().is_none());
            42
        })
    });
    assert_eq!((outcome.unwrap(), waited), (42, Duration::ZERO));
    let hard = session.lock("k").wait(Duration::ZERO).with_lock(|_| panic!("it runs"));
    assert!(matches!(hard, Err(WithLockError::Acquire(AcquireError::Store { .. }))), "the default fails closed");
}

#[test]
fn an_outcome_that_stays_unknown_is_an_outage() {
    let world = World::new();
    let session = world.fresh_session("one");
    for _ in 0..4 {
        world.store.script(Fault::LostRequest);
    }
    let unknown = |guard: &SoftGuard| matches!(guard, SoftGuard::Outage(StoreError::UnknownOutcome(_)));
    assert!(session.lock("k").wait(Duration::ZERO).soft().with_lock(unknown).unwrap());
}

#[test]
fn a_session_that_knew_the_store_rides_out_a_moment_and_then_goes_on() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    let unguarded = |lock: kvlock::Lock| lock.soft().with_lock(|guard| guard.lock_guard().is_none()).unwrap();
    let (outage, waited) = world.timed(|| unguarded(session.lock("k")));
    assert!(outage && waited >= SOFT_PATIENCE && waited < SOFT_PATIENCE * 2, "{waited:?}");
    let (outage, waited) = world.timed(|| unguarded(session.lock("k").wait(millis(100))));
    assert!(outage && waited == millis(100), "no longer than the wait: {waited:?}");
    let (outage, waited) = world.timed(|| unguarded(session.lock("k").ride_out(secs(5))));
    assert!(outage && waited >= secs(5) && waited < secs(7), "as long as was asked for: {waited:?}");
    world.store.up();
    assert!(!unguarded(session.lock("k")));
}

#[test]
fn a_short_outage_makes_nobody_go_on_without_the_lock() {
    let (world, [session]) = World::with(["one"]);
    world.store.script(Fault::Unavailable);
    assert!(session.lock("k").soft().with_lock(|guard| guard.lock_guard().is_some()).unwrap());
    assert_eq!(world.store.scripted(), 0);
}

#[test]
fn a_lock_that_gives_up_on_an_outage_says_so_and_one_that_rides_it_out_does_not() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    let (outcome, waited) = world.timed(|| session.lock("k").ride_out(secs(3)).acquire());
    assert!(matches!(refused(outcome), AcquireError::Store { error: StoreError::Unavailable(_), .. }));
    assert!(waited >= secs(3) && waited < secs(5), "{waited:?}");
}

#[test]
fn what_is_no_outage_is_an_error_as_ever() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let run = |lock: kvlock::Lock| refused(lock.soft().with_lock(|_| panic!("it runs")));
    let _held = one.lock("busy").acquire().unwrap();
    let error = run(two.lock("busy").wait(secs(1)));
    assert!(matches!(error, WithLockError::Acquire(AcquireError::Busy { .. })), "{error}");
    let error = run(one.lock("busy"));
    assert!(matches!(error, WithLockError::Acquire(AcquireError::AlreadyHeld { .. })), "{error}");
    world.store.put_foreign("kvlock:lock:foreign", b"something else");
    let error = run(two.lock("foreign"));
    assert!(matches!(error, WithLockError::Acquire(AcquireError::Corrupt { .. })), "{error}");
    let error = run(two.lock(""));
    assert!(matches!(error, WithLockError::Acquire(AcquireError::Invalid { .. })), "{error}");
    world.store.script(Fault::Rejected);
    let error = run(two.lock("refused"));
    let rejected = matches!(&error, WithLockError::Acquire(AcquireError::Store { error: StoreError::Rejected(_), .. }));
    assert!(rejected, "{error}");
}

#[test]
fn in_quarantine_the_work_runs_at_once_and_can_tell() {
    for wait in [None, Some(Duration::ZERO), Some(secs(60))] {
        let world = World::new();
        world.store.new_era(Duration::ZERO);
        let session = world.fresh_session("one");
        let lock = |key: &str| match wait {
            Some(wait) => session.lock(key).wait(wait),
            None => session.lock(key),
        };
        let (left, waited) = world.timed(|| {
            lock("k").soft().with_lock(|guard| {
                assert!(guard.lock_guard().is_none() && guard.token().is_none() && guard.lost().is_none());
                match guard {
                    SoftGuard::Quarantine(left) => *left,
                    other => panic!("{other:?}"),
                }
            })
        });
        assert_eq!(waited, Duration::ZERO);
        assert!(left.unwrap() > secs(29));
        let hard = lock("k").wait(Duration::ZERO).with_lock(|_| panic!("it runs"));
        assert!(matches!(hard, Err(WithLockError::Acquire(AcquireError::Busy { .. }))), "the default waits");
        world.clock.advance(secs(31));
        assert!(lock("k").soft().with_lock(|guard| guard.lock_guard().is_some()).unwrap());
    }
}

#[test]
fn a_store_that_loses_everything_while_the_work_runs_costs_nothing_unless_somebody_else_got_the_lock() {
    let (world, [session]) = World::with(["one"]);
    let run = |lock: kvlock::Lock| {
        lock.soft().with_lock(|_| {
            world.store.new_era(Duration::ZERO);
            42
        })
    };
    assert_eq!(run(session.lock("k")).unwrap(), 42);
    world.clock.advance(secs(31));
    let other = world.client.session().owner("other").quarantine(Duration::ZERO).open().unwrap();
    let taken = session.lock("k").soft().with_lock(|_| {
        world.store.new_era(Duration::ZERO);
        other.lock("k").acquire().unwrap().forget();
    });
    assert!(matches!(taken, Err(WithLockError::Release { error: GrantError::Lost { .. }, .. })), "{taken:?}");
}

#[test]
fn an_outage_while_the_work_runs_costs_nothing() {
    let (world, [session]) = World::with(["one"]);
    let run = |lock: kvlock::Lock| {
        lock.soft().with_lock(|_| {
            world.store.down();
            42
        })
    };
    assert_eq!(run(session.lock("k")).unwrap(), 42);
    world.store.up();
    let hard = session.lock("another").with_lock(|_| world.store.down());
    assert!(matches!(hard, Err(WithLockError::Release { error: GrantError::Store { .. }, .. })), "the default tells");
}

#[test]
fn an_outage_beyond_the_lease_is_told_to_the_work_and_costs_nothing() {
    let store = Memory::default();
    let session = Client::with_store(store.clone()).session().open().unwrap();
    let loss = session.lock("k").lease(millis(300)).soft().with_lock(|guard| {
        store.down();
        std::thread::sleep(millis(600));
        guard.lost()
    });
    match loss.unwrap() {
        Some(loss @ LostReason::Expired(_)) => {
            assert!(matches!(loss.outage(), Some(StoreError::Unavailable(_))), "{loss}")
        }
        other => panic!("{other:?}"),
    }
    assert!(store.calls().iter().any(|call| call.op == Op::Replace), "it was to be renewed");
}

#[test]
fn a_lock_that_somebody_broke_is_told_also_in_soft_mode_and_with_the_value() {
    let (_, [session, operator]) = World::with(["one", "operator"]);
    let outcome = session.lock("k").soft().with_lock(|_| {
        operator.break_lock("k").unwrap();
        42
    });
    match outcome {
        Err(WithLockError::Release { value: 42, error: GrantError::Lost { .. } }) => {}
        other => panic!("{other:?}"),
    }
}
