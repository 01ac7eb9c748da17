//! Semaphores on a store that loses replies, is down, forgets, or has what is not ours.

use std::time::Duration;

use kvlock::store::{Fault, StoreError};
use kvlock::{
    AcquirePoll, Released, WaitingFor,
    error::{AcquireError, GrantError, StatusError},
    semaphore::{ResizeError, ResizePoll},
};

use super::{DEFINITION, LIST, assert_unknown, exhausted, permits, pool, standing};
use crate::world::{World, busy, refused, secs};

const UNKNOWN: [Fault; 3] = [Fault::LostReply, Fault::LostRequest, Fault::Late];

/// Each fault, at each of so many calls.
fn each_fault_at_each_of(calls: usize) -> impl Iterator<Item = (Fault, usize)> {
    UNKNOWN.into_iter().flat_map(move |fault| (0..calls).map(move |call| (fault, call)))
}

/// Lets a fault happen to the call after so many.
fn script_at(world: &World, fault: Fault, call: usize) {
    for _ in 0..call {
        world.store.script(Fault::Slow(Duration::ZERO));
    }
    world.store.script(fault);
}

/// The scripted fault has happened, and a request that was late arrives now.
#[track_caller]
fn assert_happened(world: &World) {
    assert_eq!(world.store.scripted(), 0, "so many calls were not made");
    world.store.deliver_late();
}

#[test]
fn making_is_right_whichever_reply_is_lost() {
    for (fault, call) in each_fault_at_each_of(4) {
        let world = World::new();
        let one = pool(&world, "one");
        script_at(&world, fault, call);
        assert_eq!(one.make(2).wait(secs(5)).run(), Ok(None), "{fault} at call {call}");
        assert_happened(&world);
        assert_eq!(standing(&one), (2, vec![]), "{fault} at call {call}");
        assert_eq!(world.session("two").semaphores().unwrap().len(), 1, "{fault} at call {call}");
    }
}

#[test]
fn shrinking_is_right_whichever_reply_is_lost() {
    for (fault, call) in each_fault_at_each_of(5) {
        let (world, one) = World::with_pool(5);
        let _held = permits(&one, 1);
        script_at(&world, fault, call);
        assert_eq!(one.make(2).wait(secs(5)).run(), Ok(Some(5)), "{fault} at call {call}");
        assert_happened(&world);
        permits(&pool(&world, "two"), 1).remove(0).forget();
        assert_eq!(exhausted(&one).0, 2, "{fault} at call {call}");
    }
}

#[test]
fn acquiring_is_right_whichever_reply_is_lost() {
    // Whoever had a permit before needs one call less.
    let each = [(false, 3), (true, 2)];
    let each = each.into_iter().flat_map(|(again, calls)| each_fault_at_each_of(calls).map(move |at| (again, at)));
    for (again, (fault, call)) in each {
        let (world, one) = World::with_pool(2);
        if again {
            one.permit().acquire().unwrap().release().unwrap();
        }
        script_at(&world, fault, call);
        let mut grant = one.permit().wait(secs(5)).acquire().unwrap();
        assert_happened(&world);
        assert_eq!(standing(&one), (2, vec!["one".into()]), "{fault} at call {call}");
        grant.renew().unwrap();
        assert_eq!(grant.release(), Ok(Released::Freed), "{fault} at call {call}");
        assert_eq!(standing(&one), (2, vec![]), "{fault} at call {call}");
    }
}

#[test]
fn destroying_is_right_whichever_reply_is_lost() {
    for (fault, call) in each_fault_at_each_of(7) {
        let (world, one) = World::with_pool(2);
        script_at(&world, fault, call);
        assert_eq!(one.destroy().wait(secs(5)).run(), Ok(Some(2)), "{fault} at call {call}");
        assert_happened(&world);
        assert_eq!((world.store.peek(DEFINITION), world.store.peek(LIST)), (None, None), "{fault} at call {call}");
    }
}

#[test]
fn a_renewal_and_a_release_of_a_permit_are_right_when_the_reply_is_lost() {
    for (fault, call) in each_fault_at_each_of(2) {
        let (world, one) = World::with_pool(1);
        let mut grant = permits(&one, 1).remove(0);
        script_at(&world, fault, call);
        grant.renew().unwrap();
        assert_eq!(grant.release(), Ok(Released::Freed), "{fault} at call {call}");
        assert_happened(&world);
        assert_eq!(standing(&one), (1, vec![]), "{fault} at call {call}");
    }
}

#[test]
fn a_wait_for_a_permit_rides_out_an_outage_and_a_single_try_is_told() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let held = one.permit().lease(secs(3600)).acquire().unwrap();
    let mut wait = two.permit().begin().unwrap();
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Exhausted { .. }, .. })));
    world.store.down();
    for _ in 0..100 {
        let Ok(AcquirePoll::Pending { pause, .. }) = wait.poll() else { panic!("the store is down") };
        world.clock.advance(pause);
    }
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Outage(_), .. })));
    for (wait, expected) in [(Duration::ZERO, Duration::ZERO), (secs(5), secs(5))] {
        let (outcome, passed) = world.timed(|| one.permit().wait(wait).acquire());
        let error = refused(outcome);
        assert!(matches!(&error, AcquireError::Store { error: StoreError::Unavailable(_), .. }), "{error}");
        assert_eq!(passed, expected);
    }
    assert!(matches!(one.status(), Err(StatusError::Store { .. })));
    assert!(matches!(world.fresh_session("three").semaphores(), Err(StatusError::Store { .. })));
    world.store.up();
    held.release().unwrap();
    assert_eq!(wait.block().unwrap().owner(), "two");
}

#[test]
fn a_shrinking_rides_out_an_outage_and_one_without_a_wait_is_told() {
    let (world, one) = World::with_pool(2);
    let two = pool(&world, "two");
    let mut held: Vec<_> = (0..2).map(|_| one.permit().lease(secs(3600)).acquire().unwrap()).collect();
    let mut shrinking = two.make(1).begin().unwrap();
    assert!(matches!(shrinking.poll(), Ok(ResizePoll::Pending { .. })));
    world.store.down();
    for _ in 0..100 {
        let Ok(ResizePoll::Pending { pause, .. }) = shrinking.poll() else { panic!("the store is down") };
        world.clock.advance(pause);
    }
    let error = one.make(3).wait(Duration::ZERO).run().unwrap_err();
    assert!(matches!(&error, ResizeError::Store { error: StoreError::Unavailable(_), .. }), "{error}");
    assert!(error.to_string().starts_with("semaphore `pool`: store unavailable"), "{error}");
    world.store.up();
    held.remove(0).release().unwrap();
    loop {
        match shrinking.poll().unwrap() {
            ResizePoll::Pending { pause, .. } => world.clock.advance(pause),
            ResizePoll::Ready(before) => break assert_eq!(before, Some(2)),
        }
    }
}

#[test]
fn what_is_not_a_semaphore_is_named_and_left_as_it_is() {
    for value in [
        &b""[..],
        b"7",
        b"kvlock/1 semaphore
key: other
permits: 1
numbers: 0
",
        &[0xff; 5000],
    ] {
        let (world, one) = World::with_pool(1);
        world.store.put_foreign(DEFINITION, value);
        let acquired = refused(one.permit().acquire());
        assert!(matches!(&acquired, AcquireError::Corrupt { key, .. } if key == "pool"), "{acquired}");
        let (made, destroyed) = (one.make(2).run().unwrap_err(), one.destroy().run().unwrap_err());
        assert!(matches!(&made, ResizeError::Corrupt { name, .. } if name == "pool"), "{made}");
        assert!(matches!(&destroyed, ResizeError::Corrupt { .. }), "{destroyed}");
        let (status, listed) = (one.status().unwrap_err(), world.session("two").semaphores().unwrap_err());
        assert!(
            matches!((&status, &listed), (StatusError::Corrupt { .. }, StatusError::Corrupt { .. })),
            "{status} {listed}"
        );
        assert!(listed.to_string().contains("`the list of semaphores or one of them`"), "{listed}");
        for text in [acquired.to_string(), made.to_string(), status.to_string()] {
            assert!(text.contains("`pool`") && text.contains("is not "), "{text}");
            assert!(text.contains("remove it with the store's own tools"), "{text}");
            assert!(text.len() < 500 && !text.contains(char::is_control), "for one line of a terminal: {text:?}");
        }
        assert_eq!(world.store.peek(DEFINITION).unwrap().value, value);
    }
}

#[test]
fn a_foreign_value_in_the_place_of_a_permit_is_not_handed_out_and_stops_nobody_else() {
    let (world, one) = World::with_pool(2);
    world.store.put_foreign("kvlock:permit:1:pool", b"7");
    let held = permits(&one, 1);
    assert_eq!(held[0].permit(), Some(0));
    busy(one.permit().wait(secs(1)).acquire());
    assert!(matches!(one.status(), Err(StatusError::Corrupt { .. })));
    assert!(matches!(one.make(1).wait(secs(1)).run(), Err(ResizeError::Corrupt { .. })));
    assert!(matches!(one.break_permit(1), Err(StatusError::Corrupt { .. })));
    assert_eq!(world.store.peek("kvlock:permit:1:pool").unwrap().value, b"7");
}

#[test]
fn a_foreign_list_of_semaphores_is_left_as_it_is_and_stops_no_permit() {
    let (world, one) = World::with_pool(1);
    world.store.put_foreign(LIST, b"7");
    assert!(matches!(world.session("two").semaphores(), Err(StatusError::Corrupt { .. })));
    assert!(matches!(world.session("two").semaphore("other").make(1).run(), Err(ResizeError::Corrupt { .. })));
    assert_eq!(world.store.peek(LIST).unwrap().value, b"7");
    permits(&one, 1);
}

#[test]
fn a_definition_that_is_evicted_makes_the_semaphore_unknown_until_it_is_made_again() {
    let (world, one) = World::with_pool(2);
    let two = pool(&world, "two");
    let _held = [permits(&one, 1), permits(&two, 1)];
    assert!(world.store.evict(DEFINITION));
    assert_unknown(&two);
    assert_eq!(one.status(), Ok(None));
    assert_eq!(one.make(2).run(), Ok(None));
    assert_eq!(standing(&one).1.len(), 2, "the permits were not lost");
    exhausted(&two);
}

#[test]
fn an_evicted_permit_is_lost_at_its_next_renewal_or_release() {
    for renew in [true, false] {
        let (world, one) = World::with_pool(1);
        let mut grant = permits(&one, 1).remove(0);
        assert!(world.store.evict("kvlock:permit:0:pool"));
        let error = if renew { refused(grant.renew()) } else { refused(grant.release()) };
        assert!(matches!(error, GrantError::Lost { .. }), "{error}");
    }
}

#[test]
fn an_evicted_permit_is_not_given_to_its_own_session_again_while_that_relies_on_it() {
    let (world, one) = World::with_pool(1);
    let mut grant = permits(&one, 1).remove(0);
    assert!(world.store.evict("kvlock:permit:0:pool"));
    let (_, waiting_for) = busy(one.permit().wait(secs(5)).acquire());
    assert!(matches!(waiting_for, WaitingFor::Exhausted { size: 1, .. }), "{waiting_for}");
    assert!(matches!(refused(grant.renew()), GrantError::Lost { .. }));
    permits(&one, 1);
}

#[test]
fn after_the_store_lost_everything_no_permit_is_granted_before_its_holders_are_done() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let mut held = one.permit().lease(secs(30)).acquire().unwrap();
    world.store.new_era(Duration::ZERO);
    assert_unknown(&two);
    assert_eq!(two.make(1).run(), Ok(None), "a size is nobody's permit");
    let (_, waiting_for) = busy(two.permit().wait(Duration::ZERO).acquire());
    assert!(matches!(waiting_for, WaitingFor::Quarantine(_)), "{waiting_for}");
    assert!(matches!(refused(held.renew()), GrantError::Lost { .. }));
    let (_grant, waited) = world.timed(|| two.permit().acquire().unwrap());
    assert!(waited >= secs(29), "{waited:?}");
}
