//! sherlock 0.4.1, its lock on memcached.

use std::time::Duration;

use kvlock::store::{Fault, Op, Ttl};
use kvlock::{
    Released,
    error::{AcquireError, GrantError},
};

use super::assert_undisturbed;
use crate::world::{Meddler, World, busy, millis, refused, secs};

/// Bug 1: as tooz, a release deletes the lock of a successor.
#[test]
fn a_release_that_is_late_frees_no_successor() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let grant = one.lock("k").lease(secs(30)).acquire().unwrap();
    let successor = meddled.successor_just_before(Op::Delete, &world);
    drop(grant);
    assert_undisturbed(&world, &successor);
}

/// Bug 2: a renewal reads the record, finds its own, and writes it over that of a successor: it steals the lock.
#[test]
fn a_renewal_steals_no_lock() {
    let world = World::new();
    let (meddled, one) = Meddler::session(&world, "one");
    let mut grant = one.lock("k").acquire().unwrap();
    let successor = meddled.successor_just_before(Op::Replace, &world);
    match refused(grant.renew()) {
        GrantError::Lost { holder, .. } => assert!(holder.is_none_or(|holder| holder.owner == "two")),
        other => panic!("{other}"),
    }
    assert_undisturbed(&world, &successor);
    assert!(matches!(refused(grant.renew()), GrantError::Lost { .. } | GrantError::AlreadyReleased { .. }));
}

/// Bug 3: the timeout counts the sleeps only, and not the time that the calls take.
#[test]
fn a_wait_counts_the_time_that_calls_take() {
    let world = World::new();
    let _held = world.session("one").lock("k").lease(Ttl::Forever).acquire().unwrap();
    let two = world.session("two");
    for _ in 0..100 {
        world.store.script(Fault::Slow(millis(900)));
    }
    let (result, took) = world.timed(|| two.lock("k").wait(secs(5)).interval(millis(10)).acquire());
    busy(result);
    assert!(took >= secs(5) && took < secs(7), "{took:?}");
}

/// Bug 4: a second acquire of a lock that one has waits for oneself.
#[test]
fn a_session_does_not_wait_for_itself() {
    let (world, [session]) = World::with(["one"]);
    let _held = session.lock("k").acquire().unwrap();
    let (result, took) = world.timed(|| session.lock("k").wait(secs(60)).acquire());
    assert!(matches!(refused(result), AcquireError::AlreadyHeld { .. }));
    assert_eq!(took, Duration::ZERO);
}

/// Bug 5: the error of a release by another than the holder says that one is the holder.
#[test]
fn the_error_of_a_release_names_the_holder_and_not_oneself() {
    let world = World::new();
    let written = world.session("one").lock("k").acquire().unwrap().write_out().unwrap();
    let stale = world.session("three").resume(&written).unwrap();
    world.session("four").break_lock("k").unwrap();
    let _new = world.session("two").lock("k").acquire().unwrap();
    let text = refused(stale.release()).to_string();
    assert!(text.contains("held by two") && !text.contains("held by one"), "{text}");
}

/// Bug 6: a wait of one second is taken for "do not wait".
#[test]
fn a_wait_of_one_second_waits_for_a_second() {
    let world = World::new();
    let _held = world.session("one").lock("k").acquire().unwrap();
    let two = world.session("two");
    let (result, took) = world.timed(|| two.lock("k").wait(secs(1)).acquire());
    busy(result);
    assert_eq!(took, secs(1));
}

/// Bug 7: a lock without expiry is deleted the moment it is made, and a renewal releases.
#[test]
fn a_lock_without_end_stays_and_a_renewal_keeps_it() {
    let world = World::new();
    let mut held = world.session("one").lock("k").lease(Ttl::Forever).acquire().unwrap();
    world.clock.advance(secs(1_000_000));
    held.renew().unwrap();
    world.clock.advance(secs(1_000_000));
    busy(world.session("two").lock("k").wait(Duration::ZERO).acquire());
    assert_eq!(held.release(), Ok(Released::Freed));
}
