//! unimr.memcachedlock 0.1rc2: a forerunner.

use std::time::Duration;

use kvlock::store::{Op, Ttl};
use kvlock::{
    Released,
    conflict_retry::WorkOutcome,
    error::{AcquireError, GrantError, WithLockError},
    status::KeyState,
};

use super::assert_undisturbed;
use crate::world::{Meddler, World, busy_with, refused, secs};

/// Bug 1: two clients read that the key is free, and both write that it is theirs.
#[test]
fn of_two_that_saw_the_key_free_one_gets_it() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let two = world.session("two");
    assert_eq!([&one, &two].map(|session| session.status("k").unwrap().state), [KeyState::Free, KeyState::Free]);
    let theirs = std::sync::Arc::new(std::sync::Mutex::new(None));
    let slot = theirs.clone();
    meddled.just_before(Op::Add, move || *slot.lock().unwrap() = Some(two.lock("k").acquire().unwrap()));
    assert_eq!(busy_with(one.lock("k").wait(Duration::ZERO).acquire()).owner, "two");
    assert_undisturbed(&world, &theirs);
}

/// Bug 2: a release that comes after the lease writes over the record of whoever has the lock by then.
#[test]
fn a_late_release_leaves_the_record_of_the_successor() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let grant = one.lock("k").acquire().unwrap();
    let successor = meddled.successor_just_before(Op::Delete, &world);
    assert!(matches!(refused(grant.release()), GrantError::Lost { .. }));
    assert_undisturbed(&world, &successor);
}

/// Bug 4: the lock that is not re-entrant lets its owner in again, and the inner release frees the outer section.
#[test]
fn a_plain_lock_is_not_entered_twice_and_nothing_frees_the_outer_section() {
    let (world, [session]) = World::with(["one"]);
    let outer = session.lock("k").acquire().unwrap();
    assert!(matches!(refused(session.lock("k").acquire()), AcquireError::AlreadyHeld { .. }));
    assert_eq!(world.holder("k").unwrap().token, outer.token());
    assert_eq!(outer.release(), Ok(Released::Freed));
}

/// Bug 6: with memcached down the function runs as if it were locked.
#[test]
fn with_the_store_down_nothing_runs() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    let ran = session.lock("k").wait(Duration::ZERO).with_lock(|_| unreachable!("it ran without a lock"));
    assert!(matches!(ran, Err(WithLockError::<()>::Acquire(AcquireError::Store { .. }))));
}

/// Bug 8: what looks like a wait of one second for a contended lock is one without end.
#[test]
fn a_conflict_retry_of_a_contended_lock_is_over_when_its_wait_is() {
    let world = World::new();
    let _held = world.session("one").lock("k").lease(Ttl::Forever).acquire().unwrap();
    let two = world.session("two");
    let (result, took) =
        world.timed(|| two.conflict_retry("k").wait(secs(1)).run(|_| WorkOutcome::<(), ()>::Conflict(())).is_err());
    assert!(result);
    assert!(took <= secs(2), "{took:?}");
}

/// Bug 9: the end of a nested section begins the whole lease anew.
#[test]
fn the_end_of_a_nested_section_leaves_the_end_of_the_lease_where_it_was() {
    let (world, [session]) = World::with(["one"]);
    let lock = || session.lock("k").reentrant().lease(secs(30));
    let _outer = lock().acquire().unwrap();
    let inner = lock().acquire().unwrap();
    world.clock.advance(secs(20));
    assert_eq!(inner.release(), Ok(Released::Nested(1)));
    let other = world.session("two");
    let (_taken, took) = world.timed(|| other.lock("k").acquire().unwrap());
    assert!(took <= secs(11), "{took:?}");
}
