//! Writes of which a wait or a grant does not know whether they are in the store.

use std::time::Duration;

use kvlock::clock::Clock;
use kvlock::store::{Fault, Memory, Op, StoreError, Ttl};
use kvlock::{AcquirePoll, Acquisition, Client, Released, error::AcquireError};

use crate::world::{World, millis, pause, refused, secs};

/// Polls waits that are due, in this order, until one ends or an hour has passed.
fn run_in_order(world: &World, waits: &mut [(&mut Acquisition, Duration)]) -> Option<String> {
    let end = world.clock.now() + secs(3600);
    while world.clock.now() < end {
        for (wait, due) in waits.iter_mut() {
            if *due <= world.clock.now() {
                match wait.poll().unwrap() {
                    AcquirePoll::Ready(grant) => return Some(grant.owner().to_string()),
                    AcquirePoll::Pending { pause, .. } => *due = world.clock.now() + pause,
                }
            }
        }
        let next = waits.iter().map(|(_, due)| *due).min().unwrap();
        world.clock.advance(next.saturating_sub(world.clock.now()).max(millis(1)));
    }
    None
}

#[test]
fn a_wait_whose_write_arrived_late_finds_it_though_it_lost_its_place() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut first = one.lock("k").lease(Ttl::Forever).begin().unwrap();
    world.store.script_for(Op::Add, Fault::Late);
    pause(&mut first);
    world.store.deliver_late();
    // So late that it is passed over.
    world.clock.advance(millis(300));
    let mut second = two.lock("k").begin().unwrap();
    let now = world.clock.now();
    assert_eq!(run_in_order(&world, &mut [(&mut second, now), (&mut first, now)]).as_deref(), Some("one"));
}

#[test]
fn a_wait_whose_write_arrives_late_finds_it_though_another_went_before_it() {
    let (world, [slow, quick]) = World::with(["slow", "quick"]);
    let holder = world.elsewhere().session().owner("holder").open().unwrap();
    let held = holder.lock("k").lease(secs(1_000_000)).acquire().unwrap();
    let mut patient = slow.lock("k").lease(Ttl::Forever).interval(secs(600)).begin().unwrap();
    let end = world.clock.now() + secs(3600);
    while world.clock.now() < end {
        world.clock.advance(pause(&mut patient));
    }
    held.release().unwrap();
    world.store.script_for(Op::Add, Fault::Late);
    let due = world.clock.now() + pause(&mut patient);
    world.store.deliver_late();
    assert!(due > world.clock.now() + secs(1), "the other goes before it");
    let mut hasty = quick.lock("k").interval(millis(50)).begin().unwrap();
    let now = world.clock.now();
    assert_eq!(run_in_order(&world, &mut [(&mut hasty, now), (&mut patient, due)]).as_deref(), Some("slow"));
}

#[test]
fn a_hand_over_that_was_not_answered_is_found_though_another_went_before_the_successor() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let session = |owner| client.session().owner(owner).quarantine(Duration::ZERO).open().unwrap();
    let (one, two, three) = (session("one"), session("two"), session("three"));
    for session in [&one, &two, &three] {
        session.lock("acquaintance").acquire().unwrap().release().unwrap();
    }
    let held = one.lock("k").acquire().unwrap();
    std::thread::scope(|scope| {
        let heir = scope.spawn(|| {
            let acquired = two.lock("k").lease(Ttl::Forever).interval(secs(1)).wait(secs(6)).acquire();
            acquired.map(|grant| grant.release())
        });
        std::thread::sleep(millis(700));
        store.script_for(Op::Replace, Fault::LostReply);
        held.release().unwrap();
        let hasty = scope.spawn(|| three.lock("k").interval(millis(5)).wait(secs(9)).acquire().map(drop));
        assert!(matches!(heir.join().unwrap(), Ok(Ok(Released::Freed | Released::HandedOver))));
        assert_eq!(hasty.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_record_that_could_not_be_withdrawn_does_not_stay() {
    for fault in [Fault::Unavailable, Fault::LostRequest] {
        let world = World::new();
        let (one, two) = (world.fresh_session("one"), world.session("two"));
        world.store.script_for(Op::Era, Fault::Unavailable);
        world.store.script_for(Op::Delete, fault);
        let mut first = one.lock("k").lease(Ttl::Forever).begin().unwrap();
        pause(&mut first);
        world.clock.advance(millis(300));
        let mut second = two.lock("k").begin().unwrap();
        let now = world.clock.now();
        let owner = run_in_order(&world, &mut [(&mut second, now), (&mut first, now)]);
        assert!(owner.is_some(), "{fault:?}");
    }
}

#[test]
fn a_record_that_could_not_be_withdrawn_is_told_of() {
    let world = World::new();
    world.store.script_for(Op::Era, Fault::Unavailable);
    world.store.script_for(Op::Delete, Fault::Unavailable);
    let error = refused(world.fresh_session("one").lock("k").try_acquire());
    assert!(matches!(error, AcquireError::Store { error: StoreError::UnknownOutcome(_), .. }), "{error:?}");
    assert!(world.holder("k").is_some());
}

#[test]
fn a_permit_that_could_not_be_withdrawn_is_found_by_its_waiter() {
    let world = World::new();
    let fresh = world.fresh_session("fresh");
    world.session("maker").semaphore("pool").make(1).run().unwrap();
    world.store.script_for(Op::Era, Fault::Unavailable);
    world.store.script_for(Op::Delete, Fault::Unavailable);
    let mut wait = fresh.semaphore("pool").permit().lease(Ttl::Forever).begin().unwrap();
    let now = world.clock.now();
    assert_eq!(run_in_order(&world, &mut [(&mut wait, now)]).as_deref(), Some("fresh"));
}

/// It would be told to come back at once, for ever by a clock that only a pause moves.
#[test]
fn a_single_try_in_a_queue_that_cannot_withdraw_comes_to_an_end() {
    let world = World::new();
    let (two, fresh) = (world.session("two"), world.fresh_session("fresh"));
    let holder = world.elsewhere().session().owner("holder").open().unwrap();
    let held = holder.lock("k").acquire().unwrap();
    let mut in_line = two.lock("k").interval(secs(60)).begin().unwrap();
    pause(&mut in_line);
    held.release().unwrap();
    world.store.script_for(Op::Era, Fault::Unavailable);
    world.store.script_for(Op::Delete, Fault::LostRequest);
    assert!(fresh.lock("k").try_acquire().is_err());
}

#[test]
fn a_lock_that_could_not_be_given_back_is_when_the_session_locks_the_key_again() {
    for reentrant in [false, true] {
        let (world, [one, two]) = World::with(["one", "two"]);
        let lock = || if reentrant { one.lock("k").reentrant() } else { one.lock("k") };
        let grant = lock().acquire().unwrap();
        world.store.down();
        assert!(grant.release().is_err());
        world.store.up();
        assert_eq!(lock().acquire().unwrap().release(), Ok(Released::Freed), "re-entrant: {reentrant}");
        assert!(two.lock("k").try_acquire().unwrap().is_some());
    }
}

#[test]
fn a_nested_hold_that_could_not_be_given_back_leaves_the_outer_one_alone() {
    let (world, [one]) = World::with(["one"]);
    let lock = || one.lock("k").reentrant().acquire().unwrap();
    let (outer, inner) = (lock(), lock());
    world.store.down();
    assert!(inner.release().is_err());
    world.store.up();
    assert_eq!(lock().release(), Ok(Released::Nested(1)));
    assert_eq!(outer.release(), Ok(Released::Freed));
}

#[test]
fn with_the_outermost_hold_all_are_given_back_that_could_not_be_before() {
    let (world, [one]) = World::with(["one"]);
    let lock = || one.lock("k").reentrant().lease(Ttl::Forever).acquire().unwrap();
    let (outer, middle, inner) = (lock(), lock(), lock());
    world.store.down();
    assert!(inner.release().is_err());
    world.store.up();
    assert_eq!(middle.release(), Ok(Released::Nested(1)));
    assert_eq!(outer.release(), Ok(Released::Freed));
    assert!(world.holder("k").is_none());
}
