//! Other locks on memcached: memcachelock, macgyver-lock, suo, ShedLock's provider.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvlock::error::{AcquireError, GrantError};
use kvlock::store::Op;

use crate::world::{Meddler, World, busy, refused, secs};

/// memcachelock: owners are numbered by a counter in memcached, and after it was evicted two have the same number.
#[test]
fn after_the_store_lost_everything_no_two_owners_are_taken_for_one() {
    let (world, [one, two]) = World::with(["worker", "worker"]);
    let mut before = one.lock("k").acquire().unwrap();
    world.store.new_era(Duration::MAX);
    let after = two.lock("k").acquire().unwrap();
    assert!(matches!(refused(before.renew()), GrantError::Lost { .. }));
    assert!(matches!(refused(before.release()), GrantError::Lost { .. }));
    assert_eq!(world.holder("k").unwrap().token, after.token());
    assert!(matches!(refused(one.lock("k").wait(Duration::ZERO).acquire()), AcquireError::Busy { .. }));
}

/// memcachelock: an acquire that fails in the network leaves the lock taken within the process.
#[test]
fn an_acquire_that_fails_leaves_nothing_taken_in_its_session() {
    let (world, [session]) = World::with(["one"]);
    world.store.down();
    assert!(matches!(refused(session.lock("k").wait(Duration::ZERO).acquire()), AcquireError::Store { .. }));
    world.store.up();
    session.lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}

/// suo: who uses a semaphore first writes it without looking, over what another first user holds.
#[test]
fn of_two_first_users_of_a_semaphore_of_one_permit_one_gets_it() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let two = world.session("two");
    let theirs = Arc::new(Mutex::new(None));
    let slot = theirs.clone();
    meddled.just_before(Op::Add, move || {
        two.semaphore("s").make(1).run().unwrap();
        *slot.lock().unwrap() = Some(two.semaphore("s").permit().acquire().unwrap());
    });
    one.semaphore("s").make(1).run().unwrap();
    busy(one.semaphore("s").permit().wait(Duration::ZERO).acquire());
    theirs.lock().unwrap().take().unwrap().release().unwrap();
}

/// suo: a refresh adds a permit again that was lost, and there is one too many.
#[test]
fn the_renewal_of_a_lost_permit_brings_nothing_back() {
    let (_, [one, two]) = World::with(["one", "two"]);
    one.semaphore("s").make(1).run().unwrap();
    let mut lost = one.semaphore("s").permit().acquire().unwrap();
    one.semaphore("s").break_permit(0).unwrap();
    let held = two.semaphore("s").permit().acquire().unwrap();
    assert!(matches!(refused(lost.renew()), GrantError::Lost { .. }));
    let status = two.semaphore("s").status().unwrap().unwrap();
    assert_eq!(status.holders.iter().map(|holder| holder.token).collect::<Vec<_>>(), [held.token()]);
}

/// macgyver-lock: a lock that is got too late for its lease is an error that says "timed out".
#[test]
fn an_answer_that_is_slower_than_the_lease_costs_a_request_and_no_error() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, kvlock::store::Fault::Slow(secs(3)));
    let mut grant = session.lock("k").lease(secs(2)).acquire().unwrap();
    grant.renew().unwrap();
}
