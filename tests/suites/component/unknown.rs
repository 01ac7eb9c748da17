//! Requests whose outcome is unknown are read back: never guessed, never blindly repeated.

use std::time::Duration;

use kvlock::store::{Fault, Op};
use kvlock::{
    Grant, Released, Session, Validity,
    error::{AcquireError, GrantError},
};

use crate::world::{World, busy_with, millis, refused, secs};

const UNKNOWN: [Fault; 3] = [Fault::LostReply, Fault::LostRequest, Fault::Late];

/// A key is held by one session, whose next calls are what the test is about.
fn held(world: &World) -> (Session, Grant) {
    let session = world.session("one");
    let grant = session.lock("k").acquire().unwrap();
    world.calls();
    (session, grant)
}

/// Whatever became of the faults, there is one holder, and its grant is as good as any.
fn assert_held_by(world: &World, mut grant: Grant) {
    world.store.deliver_late();
    assert_eq!(world.holder("k").unwrap().owner, grant.owner());
    grant.renew().unwrap();
    assert_eq!(grant.release(), Ok(Released::Freed));
    assert!(world.holder("k").is_none());
}

#[test]
fn an_add_whose_reply_is_lost_is_found_to_be_ours() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::LostReply);
    let grant = session.lock("k").acquire().unwrap();
    assert_eq!(world.ops(), [Op::Add, Op::GetMany, Op::Replace]);
    assert_eq!(world.holder("k").unwrap().token, grant.token());
    assert_held_by(&world, grant);
}

#[test]
fn an_add_whose_request_is_lost_is_tried_again() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::LostRequest);
    let grant = session.lock("k").acquire().unwrap();
    assert_eq!(world.ops(), [Op::Add, Op::GetMany, Op::Add]);
    assert_held_by(&world, grant);
}

#[test]
fn an_add_that_arrives_late_does_not_harm_the_grant_that_was_made_meanwhile() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::Late);
    let grant = session.lock("k").acquire().unwrap();
    assert_held_by(&world, grant);
}

#[test]
fn an_add_that_arrives_late_while_we_wait_becomes_the_grant() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::Late);
    let mut wait = session.lock("k").begin().unwrap();
    assert!(matches!(wait.poll(), Ok(kvlock::AcquirePoll::Pending { .. })));
    world.store.deliver_late();
    let grant = wait.block().unwrap();
    assert_held_by(&world, grant);
}

#[test]
fn an_add_of_unknown_outcome_that_lost_to_somebody_else_waits_for_them() {
    for fault in UNKNOWN {
        let (world, [one, two]) = World::with(["one", "two"]);
        let held = two.lock("k").lease(secs(3600)).acquire().unwrap();
        world.store.script_for(Op::Add, fault);
        assert_eq!(busy_with(one.lock("k").wait(secs(5)).acquire()).owner, "two", "{fault}");
        world.store.deliver_late();
        assert_eq!(held.release(), Ok(Released::Freed), "{fault}");
    }
}

#[test]
fn an_add_of_unknown_outcome_with_no_time_to_wait_is_an_error_that_says_so() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::LostRequest);
    let error = refused(session.lock("k").wait(Duration::ZERO).acquire());
    assert!(matches!(error, AcquireError::Store { .. }), "{error}");
    assert!(error.to_string().contains("outcome unknown"), "{error}");
}

#[test]
fn a_renewal_of_unknown_outcome_is_resolved() {
    for fault in UNKNOWN {
        let world = World::new();
        let (_session, mut grant) = held(&world);
        let token = grant.token();
        world.clock.advance(secs(20));
        world.store.script_for(Op::Replace, fault);
        grant.renew().unwrap();
        assert_eq!(world.store.scripted(), 0);
        assert!(matches!(grant.validity(), Ok(Validity::Valid(left)) if left > secs(29)), "{fault}");
        assert_eq!(grant.token(), token);
        assert_held_by(&world, grant);
    }
}

#[test]
fn a_renewal_of_unknown_outcome_is_lost_if_somebody_else_has_the_lock() {
    for fault in UNKNOWN {
        let world = World::new();
        let (_session, mut grant) = held(&world);
        world.session("operator").break_lock("k").unwrap();
        let _new = world.session("two").lock("k").acquire().unwrap();
        world.store.script_for(Op::Replace, fault);
        assert!(matches!(refused(grant.renew()), GrantError::Lost { .. }), "{fault}");
        world.store.deliver_late();
        assert_eq!(world.holder("k").unwrap().owner, "two", "{fault}");
    }
}

#[test]
fn a_release_of_unknown_outcome_is_resolved() {
    for fault in UNKNOWN {
        let world = World::new();
        let (session, grant) = held(&world);
        world.store.script_for(Op::Delete, fault);
        assert_eq!(grant.release(), Ok(Released::Freed), "{fault}");
        assert!(world.holder("k").is_none(), "{fault}");
        // A delete that arrives late names a version that is gone: the next grant is safe from it.
        let next = session.lock("k").acquire().unwrap();
        assert_held_by(&world, next);
    }
}

#[test]
fn a_release_of_unknown_outcome_leaves_the_lock_to_its_present_holder() {
    for fault in UNKNOWN {
        let world = World::new();
        let (_session, grant) = held(&world);
        world.session("operator").break_lock("k").unwrap();
        let _new = world.session("two").lock("k").acquire().unwrap();
        world.store.script_for(Op::Delete, fault);
        // What it answers is not the point: the lock was free in between, and which delete freed it nobody can say.
        let _ = grant.release();
        world.store.deliver_late();
        assert_eq!(world.holder("k").unwrap().owner, "two", "{fault}");
    }
}

#[test]
fn a_nested_acquire_and_release_of_unknown_outcome_keep_the_depth_right() {
    for fault in UNKNOWN {
        let (world, [session]) = World::with(["one"]);
        let outer = session.lock("k").reentrant().acquire().unwrap();
        world.store.script_for(Op::Replace, fault);
        let inner = session.lock("k").reentrant().acquire().unwrap();
        world.store.deliver_late();
        assert_eq!((inner.depth(), world.holder("k").unwrap().depth), (Ok(2), 2), "{fault}");
        world.store.script_for(Op::Replace, fault);
        assert_eq!(inner.release(), Ok(Released::Nested(1)), "{fault}");
        world.store.deliver_late();
        assert_eq!((outer.depth(), world.holder("k").unwrap().depth), (Ok(1), 1), "{fault}");
        assert_held_by(&world, outer);
    }
}

#[test]
fn an_outcome_that_stays_unknown_is_told_in_bounded_time_and_the_lock_stays_ours() {
    let world = World::new();
    let (_session, mut grant) = held(&world);
    for _ in 0..1000 {
        world.store.script_for(Op::Replace, Fault::LostRequest);
    }
    let (outcome, passed) = world.timed(|| grant.renew());
    assert!(matches!(refused(outcome), GrantError::Store { .. }));
    assert!(passed <= secs(3), "{passed:?}");
    assert!(matches!(grant.validity(), Ok(Validity::Valid(left)) if left > secs(20)));
    assert_eq!(grant.release(), Ok(Released::Freed));
}

#[test]
fn a_release_that_stays_unknown_ends_with_the_lease() {
    let world = World::new();
    let (_session, grant) = held(&world);
    for _ in 0..1000 {
        world.store.script_for(Op::Delete, Fault::LostRequest);
    }
    let error = refused(grant.release());
    assert!(error.to_string().contains("ends with its lease"), "{error}");
    let two = world.fresh_session("two");
    let (_grant, waited) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(waited <= secs(30) + millis(50), "{waited:?}");
}
