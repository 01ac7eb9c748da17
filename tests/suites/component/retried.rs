//! Functions behind conflict retry: keys and names as of those behind a lock, tries as of conflict retry.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kvlock::{
    FnLocks,
    conflict_retry::{ConflictRetryError, WorkOutcome},
    error::AcquireError,
    functions::{CallKey, RetryCallError},
};

use crate::world::{World, refused, secs};

fn locks(world: &World) -> FnLocks {
    FnLocks::new(world.client.session()).wait(Duration::ZERO)
}

fn key(n: &u32) -> CallKey {
    if *n == 0 { CallKey::Skip } else { CallKey::Lock(n.to_string()) }
}

fn double(n: &u32) -> WorkOutcome<u32, &'static str> {
    WorkOutcome::Committed(2 * n)
}

fn conflict(_: &u32) -> WorkOutcome<u32, &'static str> {
    WorkOutcome::Conflict("on purpose")
}

#[test]
fn a_call_that_commits_holds_the_lock_of_its_function_and_key() {
    let world = World::new();
    assert_eq!(locks(&world).conflict_retry(key, double).call(7).unwrap(), 14);
    let calls = world.calls();
    let added = format!("add kvlock:lock:{}::double:7 -> written", module_path!());
    assert!(calls.contains(&added) && calls.last().unwrap().starts_with("delete "), "{calls:?}");
}

#[test]
fn a_call_that_conflicts_is_made_again_and_goes_first() {
    let world = World::new();
    let (other, tries) = (world.session("other"), Cell::new(0));
    let work = |n: &u32| {
        assert!(other.lock("work:7").try_acquire().unwrap().is_none(), "reserved");
        tries.set(tries.get() + 1);
        if tries.get() < 4 { WorkOutcome::Conflict("on purpose") } else { WorkOutcome::Committed(*n) }
    };
    assert_eq!(locks(&world).conflict_retry(key, work).named("work").call(7).unwrap(), 7);
    assert_eq!(tries.get(), 4);
    assert!(world.holder("work:7").is_none());
}

#[test]
fn a_call_is_tried_as_often_as_was_asked_for() {
    let world = World::new();
    let work = locks(&world).conflict_retry(key, conflict).tries(3);
    match refused(work.call(7)) {
        RetryCallError::Retry(ConflictRetryError::Exhausted { conflict: "on purpose", tries: 3 }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_needs_no_lock_takes_none_and_is_made_once() {
    let world = World::new();
    world.store.down();
    assert_eq!(locks(&world).conflict_retry(key, double).call(0).unwrap(), 0);
    let once = refused(locks(&world).conflict_retry(key, conflict).call(0));
    assert!(matches!(once, RetryCallError::Retry(ConflictRetryError::Exhausted { tries: 1, .. })), "{once}");
    assert_eq!(world.calls(), [] as [&str; 0]);
}

#[test]
fn a_call_that_finds_the_lock_busy_waits_as_long_as_was_asked_for() {
    let world = World::new();
    let _held = world.session("other").lock("work:7").lease(secs(60)).acquire().unwrap();
    let work = locks(&world).wait(secs(3)).conflict_retry(key, double).named("work");
    let (outcome, waited) = world.timed(|| work.call(7));
    let busy = refused(outcome);
    let is_busy = matches!(
        &busy,
        RetryCallError::Retry(ConflictRetryError::Acquire { error: AcquireError::Busy { .. }, conflict: None })
    );
    assert!(is_busy, "{busy}");
    assert_eq!(waited, secs(3));
}

#[test]
fn a_call_that_fails_or_panics_leaves_the_lock_free() {
    let world = World::new();
    let fails = |_: &u32| WorkOutcome::<u32, _>::Failed("for good");
    let failed = refused(locks(&world).conflict_retry(key, fails).named("work").call(7));
    assert!(matches!(failed, RetryCallError::Retry(ConflictRetryError::Failed { error: "for good", .. })), "{failed}");
    assert!(world.holder("work:7").is_none());
    let panics = |_: &u32| -> WorkOutcome<u32, &str> { panic!("on purpose") };
    let panics = locks(&world).conflict_retry(key, panics).named("work");
    assert!(catch_unwind(AssertUnwindSafe(|| panics.call(7))).is_err());
    assert!(world.holder("work:7").is_none());
}

#[test]
fn a_closure_needs_a_name() {
    let world = World::new();
    let work = locks(&world).conflict_retry(key, |n: &u32| WorkOutcome::<_, &str>::Committed(*n));
    assert!(matches!(work.call(7), Err(RetryCallError::Unnamed(_))));
    assert!(matches!(work.call(0), Err(RetryCallError::Unnamed(_))), "found out by the first call of any kind");
    assert_eq!(work.named("work").call(7).unwrap(), 7);
}

#[test]
fn soft_calls_are_made_once_without_the_lock_when_the_store_is_down() {
    let world = World::new();
    let (hard, soft) = (locks(&world), locks(&world).soft());
    world.store.down();
    let closed = refused(hard.conflict_retry(key, double).call(7));
    assert!(matches!(closed, RetryCallError::Retry(ConflictRetryError::Acquire { .. })), "{closed}");
    assert_eq!(soft.conflict_retry(key, double).call(7).unwrap(), 14);
    let once = refused(soft.conflict_retry(key, conflict).call(7));
    assert!(matches!(once, RetryCallError::Retry(ConflictRetryError::Exhausted { tries: 1, .. })), "{once}");
    world.store.up();
    let goes_down = |n: &u32| {
        world.store.down();
        WorkOutcome::<_, &str>::Committed(*n)
    };
    assert_eq!(soft.conflict_retry(key, goes_down).named("work").call(7).unwrap(), 7);
}

#[test]
fn a_store_that_was_there_is_ridden_out_for_a_moment() {
    let world = World::new();
    let soft = FnLocks::new(world.client.session()).soft().conflict_retry(key, double);
    soft.call(7).unwrap();
    world.store.down();
    let (outcome, waited) = world.timed(|| soft.call(7));
    assert_eq!(outcome.unwrap(), 14);
    assert!(waited >= kvlock::soft::SOFT_PATIENCE && waited < 2 * kvlock::soft::SOFT_PATIENCE, "{waited:?}");
}
