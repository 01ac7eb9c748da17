//! mongolock 1.3.4: a forerunner.

use std::sync::Arc;
use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::store::{Fault, Op};
use kvlock::{
    Client, Released, Validity,
    error::{AcquireError, GrantError},
};

use super::assert_undisturbed;
use crate::world::{Meddler, World, busy, busy_with, refused, secs};

/// Bug 1: the lease is counted from before the wait, so that a long wait gives a lock that has ended already.
#[test]
fn a_lock_that_was_waited_for_longer_than_its_lease_has_the_whole_lease() {
    let world = World::new();
    world.session("one").lock("k").lease(secs(60)).acquire().unwrap().forget();
    let two = world.session("two");
    let (grant, took) = world.timed(|| two.lock("k").lease(secs(5)).acquire().unwrap());
    assert!(took >= secs(60), "{took:?}");
    let Ok(Validity::Valid(left)) = grant.validity() else { panic!("{:?}", grant.validity()) };
    assert!(left > secs(4) && left < secs(5), "{left:?}");
}

/// Bug 3: the release of a lock that was lost says nothing.
#[test]
fn the_release_of_a_lost_lock_says_that_it_was_lost() {
    let world = World::new();
    let grant = world.session("one").lock("k").acquire().unwrap();
    world.clock.advance(secs(30));
    assert!(matches!(refused(grant.release()), GrantError::Lost { .. }));
}

/// Bug 4: between the check of `touch` and its write the lock is stolen, and `touch` reports success.
#[test]
fn a_renewal_that_is_overtaken_by_a_theft_is_told_so() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let mut grant = one.lock("k").acquire().unwrap();
    let successor = meddled.successor_just_before(Op::Replace, &world);
    assert!(matches!(refused(grant.renew()), GrantError::Lost { .. }));
    assert_undisturbed(&world, &successor);
}

/// Bug 4: `touch` revives a lock whose lease has ended.
#[test]
fn a_lease_that_has_ended_is_not_revived() {
    let world = World::new();
    let mut grant = world.session("one").lock("k").acquire().unwrap();
    world.clock.advance(secs(30));
    assert!(matches!(refused(grant.renew()), GrantError::Lost { .. }));
    assert!(world.holder("k").is_none());
}

/// Bug 6: the holder is asked for in a second request, and by then there may be none: "owned by None".
#[test]
fn a_waiter_that_finds_the_lock_taken_and_the_holder_gone_blames_nobody() {
    let world = World::new();
    let (meddled, two) = Meddler::session(&world, "two");
    let held = world.session("one").lock("k").acquire().unwrap();
    meddled.just_before(Op::Get, move || assert_eq!(held.release(), Ok(Released::Freed)));
    let error = refused(two.lock("k").wait(Duration::ZERO).acquire()).to_string();
    assert!(!error.contains("held by") && !error.contains("None"), "{error}");
}

/// Bug 7: a lease of zero never ends.
#[test]
fn a_lease_of_zero_is_refused() {
    let (world, [session]) = World::with(["one"]);
    assert!(matches!(refused(session.lock("k").lease(Duration::ZERO).acquire()), AcquireError::Invalid { .. }));
    assert!(world.holder("k").is_none());
}

/// Bug 8: leases are compared by each client's own clock, and a client that is ahead steals.
#[test]
fn a_client_whose_clock_is_years_ahead_steals_nothing() {
    let world = World::new();
    let held = world.session("one").lock("k").acquire().unwrap();
    let ahead = Arc::new(VirtualClock::new());
    ahead.advance(secs(100_000_000));
    let other = Client::with_store(world.store.clone()).with_clock(ahead).session().open().unwrap();
    // Its clock is ahead, and runs as fast as others: it waits for less than the lease.
    assert_eq!(busy_with(other.lock("k").wait(secs(29)).acquire()).token, held.token());
}

/// Bug 9: whoever has the same owner's name releases the lock.
#[test]
fn a_session_of_the_same_name_releases_and_renews_nothing() {
    let world = World::new();
    let held = world.session("worker").lock("k").acquire().unwrap();
    let namesake = world.session("worker");
    busy(namesake.lock("k").wait(Duration::ZERO).acquire());
    drop(namesake);
    assert_eq!(world.holder("k").unwrap().token, held.token());
}

/// Bug 10: a client that does not wait for the answer to its write takes every write for a success.
#[test]
fn a_write_without_an_answer_is_no_grant() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::LostRequest);
    let error = refused(session.lock("k").wait(Duration::ZERO).acquire());
    assert!(matches!(error, AcquireError::Store { .. }), "{error}");
}
