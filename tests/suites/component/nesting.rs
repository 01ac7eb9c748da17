//! A session that acquires what it holds: plain and re-entrant.

use std::time::Duration;

use kvlock::{
    Released, Validity,
    error::{AcquireError, GrantError},
};

use crate::world::{World, busy, busy_with, refused, secs};

#[test]
fn a_plain_lock_that_the_session_holds_is_refused_at_once_and_without_a_call() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").acquire().unwrap();
    world.calls();
    let (outcome, waited) = world.timed(|| session.lock("k").acquire());
    let error = refused(outcome);
    assert!(matches!(&error, AcquireError::AlreadyHeld { key } if key == "k"), "{error}");
    assert!(error.to_string().contains("release it first"), "{error}");
    assert_eq!((waited, world.calls().len()), (Duration::ZERO, 0));
    assert_eq!(grant.release(), Ok(Released::Freed));
}

#[test]
fn plain_and_reentrant_do_not_mix() {
    let (_, [session]) = World::with(["one"]);
    let plain = session.lock("p").acquire().unwrap();
    assert!(matches!(session.lock("p").reentrant().acquire(), Err(AcquireError::AlreadyHeld { .. })));
    let nested = session.lock("r").reentrant().acquire().unwrap();
    assert!(matches!(session.lock("r").acquire(), Err(AcquireError::AlreadyHeld { .. })));
    assert_eq!((plain.release(), nested.release()), (Ok(Released::Freed), Ok(Released::Freed)));
}

#[test]
fn a_lock_that_was_released_can_be_acquired_again() {
    let (_, [session]) = World::with(["one"]);
    for _ in 0..3 {
        session.lock("k").acquire().unwrap().release().unwrap();
    }
}

#[test]
fn only_the_outermost_release_frees() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let lock = one.lock("k").reentrant();
    let grants = [(); 3].map(|()| lock.clone().acquire().unwrap());
    let mut left = 3;
    for grant in grants.into_iter().rev() {
        assert_eq!(grant.depth(), Ok(left));
        assert_eq!(busy_with(two.lock("k").wait(Duration::ZERO).acquire()).depth, left, "visible to everyone");
        left -= 1;
        let expected = if left > 0 { Released::Nested(left) } else { Released::Freed };
        assert_eq!(grant.release(), Ok(expected));
    }
    assert!(world.holder("k").is_none());
    assert!(two.lock("k").try_acquire().unwrap().is_some());
}

#[test]
fn nested_grants_have_one_token_and_one_lease() {
    let (world, [session]) = World::with(["one"]);
    let lock = session.lock("k").reentrant().lease(secs(10));
    let outer = lock.clone().acquire().unwrap();
    world.clock.advance(secs(9));
    let mut inner = lock.acquire().unwrap();
    assert_eq!(inner.token(), outer.token());
    world.clock.advance(secs(9)); // the nested acquire refreshed the lease
    assert!(matches!(outer.validity(), Ok(Validity::Valid(_))));
    inner.renew().unwrap();
    world.clock.advance(secs(9));
    assert_eq!(outer.depth(), Ok(2));
    assert_eq!(inner.release(), Ok(Released::Nested(1)));
    assert_eq!(outer.release(), Ok(Released::Freed));
}

#[test]
fn the_end_of_a_nested_hold_does_not_lengthen_the_lease() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let lock = one.lock("k").reentrant().lease(secs(10));
    let outer = lock.clone().acquire().unwrap();
    let inner = lock.acquire().unwrap();
    world.clock.advance(secs(8));
    inner.release().unwrap();
    world.clock.advance(secs(2));
    assert_eq!(outer.validity(), Ok(Validity::Lost));
    assert!(two.lock("k").wait(Duration::ZERO).acquire().is_ok());
}

#[test]
fn a_lost_lock_is_lost_at_every_depth() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let lock = one.lock("k").reentrant().lease(secs(10));
    let grants = [(); 2].map(|()| lock.clone().acquire().unwrap());
    world.clock.advance(secs(10));
    let _new = two.lock("k").acquire().unwrap();
    for grant in grants {
        assert!(matches!(grant.release(), Err(GrantError::Lost { .. })));
    }
    assert_eq!(world.holder("k").unwrap().owner, "two");
}

#[test]
fn a_nested_acquire_that_finds_the_lock_lost_says_so() {
    let (_, [one, two, observer]) = World::with(["one", "two", "observer"]);
    let lock = one.lock("k").reentrant();
    let outer = lock.clone().acquire().unwrap();
    observer.break_lock("k").unwrap();
    let _new = two.lock("k").acquire().unwrap();
    match refused(lock.acquire()) {
        AcquireError::Lost { holder: Some(holder), .. } => assert_eq!(holder.owner, "two"),
        other => panic!("{other}"),
    }
    assert_eq!(outer.validity(), Ok(Validity::Lost));
}

#[test]
fn sessions_of_one_name_are_two_owners() {
    let (_, [one, same_name]) = World::with(["one", "one"]);
    let _held = one.lock("k").reentrant().acquire().unwrap();
    busy(same_name.lock("k").reentrant().wait(Duration::ZERO).acquire());
}
