//! What dropping does, and the scoped form.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvlock::{
    Released,
    error::{AcquireError, GrantError, WithLockError},
    renewal::AutoRenew,
};

use crate::world::{World, secs};

#[test]
fn a_dropped_grant_is_released() {
    let (world, [session]) = World::with(["one"]);
    drop(session.lock("k").acquire().unwrap());
    assert_eq!(world.calls(), ["add kvlock:lock:k -> written", "delete kvlock:lock:k -> deleted"]);
}

#[test]
fn a_grant_outlives_its_session_and_client() {
    let world = World::new();
    let grant = world.session("one").lock("k").acquire().unwrap();
    assert!(world.holder("k").is_some());
    drop(grant);
    assert!(world.holder("k").is_none());
}

#[test]
fn a_released_grant_is_not_released_again_by_its_drop() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").acquire().unwrap();
    world.calls();
    grant.release().unwrap();
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn a_forgotten_grant_is_not_released() {
    let (world, [one, two]) = World::with(["one", "two"]);
    one.lock("k").acquire().unwrap().forget();
    assert_eq!(world.holder("k").unwrap().owner, "one");
    let (_, waited) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(waited >= secs(30), "it ends with its lease: {waited:?}");
}

#[test]
fn a_drop_after_the_loss_is_harmless() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let old = one.lock("k").lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10));
    let new = two.lock("k").acquire().unwrap();
    drop(old);
    assert_eq!(world.holder("k").unwrap().token, new.token());
    new.release().unwrap();
}

#[test]
fn a_drop_while_the_store_is_down_is_harmless() {
    let world = World::new();
    let grant = world.session("one").lock("k").acquire().unwrap();
    world.store.down();
    drop(grant);
    world.store.up();
    assert_eq!(world.holder("k").unwrap().owner, "one", "it ends with its lease");
}

#[test]
fn with_lock_gives_the_value_and_releases() {
    let (world, [session]) = World::with(["one"]);
    let value = session.lock("k").with_lock(|kept| {
        assert_eq!(kept.lost(), None);
        assert_eq!(world.holder("k").unwrap().token, kept.token());
        42
    });
    assert_eq!(value.unwrap(), 42);
    assert!(world.holder("k").is_none());
}

#[test]
fn with_lock_does_not_run_the_work_without_the_lock() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").acquire().unwrap();
    let outcome = two.lock("k").wait(secs(1)).with_lock(|_| panic!("it runs"));
    assert!(matches!(outcome, Err(WithLockError::Acquire(AcquireError::Busy { .. }))));
}

#[test]
fn with_lock_releases_if_the_work_panics() {
    let (world, [session]) = World::with(["one"]);
    let outcome = catch_unwind(AssertUnwindSafe(|| session.lock("k").with_lock(|_| panic!("on purpose"))));
    assert_eq!(outcome.err().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(world.holder("k").is_none());
    session.lock("k").acquire().unwrap().release().expect("the session is as good as before");
}

#[test]
fn with_lock_tells_if_the_lock_was_lost_meanwhile_and_still_gives_the_value() {
    let (world, [session]) = World::with(["one"]);
    let operator = world.session("operator");
    let outcome = session.lock("k").with_lock(|_| {
        operator.break_lock("k").unwrap();
        42
    });
    match outcome {
        Err(WithLockError::Release { value: 42, error: GrantError::Lost { .. } }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_kept_grant_that_is_dropped_is_released() {
    let world = World::new();
    drop(world.session("one").lock("k").acquire().unwrap().auto_renew(AutoRenew::default()));
    assert!(world.holder("k").is_none());
}

#[test]
fn a_session_may_have_more_grants_than_wasmtime_has_handles_by_itself() {
    let (_, [session]) = World::with(["one"]);
    let grants: Vec<_> = (0..100_100).map(|number| session.lock(format!("k{number}")).acquire().unwrap()).collect();
    assert!(grants.into_iter().all(|grant| grant.release() == Ok(Released::Freed)));
}
