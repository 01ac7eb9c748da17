//! Semaphores: sizes, permits, and what happens when they meet.

mod support;

use kvlock_machine::{
    AcquireError, Break, Broken, Grant, Key, List, MAX_PERMITS, Released, ResizeError, Size, StoreError, Validity,
    WaitingFor,
};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{Drive, Fault, Owner, World, lease, millis, once, secs, waiting};

/// A world with a semaphore, and somebody who knows the store.
fn pool(size: u32) -> (World, Owner) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    assert_eq!(world.resize(owner, "pool", size), Ok(None));
    world.log.clear();
    (world, owner)
}

fn permits(world: &mut World, owner: Owner, count: usize) -> Vec<Grant> {
    (0..count).map(|_| world.permit(owner, "pool", once(30)).unwrap()).collect()
}

fn status(world: &mut World, owner: Owner) -> (u32, Vec<u32>) {
    let status = world.drive(owner, List::one(Key::semaphore("pool").unwrap())).unwrap().pop().unwrap();
    (status.size, status.holders.iter().map(|holder| holder.permit.unwrap()).collect())
}

/// Gives a semaphore a size, with some time to spare.
fn finish_resize(world: &mut World, owner: Owner, size: u32) -> Result<Option<u32>, ResizeError> {
    let resizing = world.resizing(owner, "pool", size, secs(5));
    world.finish(resizing)
}

fn release(world: &mut World, owner: Owner, grant: &Grant) {
    assert_eq!(world.release(owner, grant), Ok(Released::Freed));
}

#[test]
fn as_many_permits_as_the_size_are_granted_and_no_more() {
    let (mut world, a) = pool(3);
    let numbers: BTreeSet<_> = permits(&mut world, a, 3).iter().map(|grant| grant.permit().unwrap()).collect();
    assert_eq!(numbers, BTreeSet::from([0, 1, 2]));
    let b = world.owner("b");
    let Err(AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size, held, holder }, .. }) =
        world.permit(b, "pool", once(30))
    else {
        panic!("a fourth permit of three")
    };
    assert_eq!((size, held, holder.unwrap().owner.as_str()), (3, 3, "a"));
}

#[test]
fn a_permit_is_renewed_and_released_like_a_lock_and_tells_its_semaphore() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(10)).unwrap();
    assert_eq!((grant.key(), grant.permit()), ("pool", Some(0)));
    world.advance(secs(8));
    assert_eq!(world.renew(a, &grant), Ok(()));
    world.advance(secs(8));
    assert!(matches!(world.validity(a, &grant), Validity::Valid(_)));
    release(&mut world, a, &grant);
    assert_eq!(status(&mut world, a), (1, vec![]));
}

#[test]
fn a_permit_comes_back_when_the_lease_of_a_crashed_holder_ends() {
    let (mut world, a) = pool(1);
    world.permit(a, "pool", once(10)).unwrap();
    let b = world.owner("b");
    let began = world.now;
    let grant = world.permit(b, "pool", waiting(10, secs(60))).unwrap();
    assert!((secs(10)..secs(11)).contains(&(world.now - began)));
    assert_eq!(grant.permit(), Some(0));
}

#[test]
fn the_token_of_a_permit_number_grows() {
    let (mut world, a) = pool(1);
    let mut last = 0;
    for _ in 0..3 {
        let grant = world.permit(a, "pool", once(10)).unwrap();
        assert!(grant.token() > last);
        last = grant.token();
        release(&mut world, a, &grant);
    }
}

#[test]
fn a_waiter_gets_the_permit_that_is_given_back() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 2);
    let b = world.owner("b");
    let mut waiter = world.acquiring_permit(b, "pool", waiting(30, secs(20)));
    let until = world.now + secs(1);
    world.run_until(until, &mut [&mut waiter]);
    release(&mut world, a, &held[1]);
    let grant = world.finish(waiter).unwrap();
    assert_eq!(grant.permit(), held[1].permit());
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let (mut world, a) = pool(1);
    permits(&mut world, a, 1);
    let began = world.now;
    let outcome = world.permit(a, "pool", waiting(30, secs(3)));
    assert!(matches!(outcome, Err(AcquireError::Busy { waited, .. }) if waited == secs(3)), "{outcome:?}");
    assert_eq!(world.now - began, secs(3));
}

#[test]
fn a_written_permit_is_taken_up_and_released_by_another_session() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(30)).unwrap();
    let word = world.write_out(a, &grant).unwrap();
    let b = world.owner("b");
    let resumed = world.resume(b, &word);
    assert_eq!((resumed.key(), resumed.permit(), resumed.token()), ("pool", Some(0), grant.token()));
    release(&mut world, b, &resumed);
    assert_eq!(world.renew(a, &grant).unwrap_err().to_string(), "the lock was lost");
}

#[test]
fn an_unknown_name_is_not_an_exhausted_semaphore() {
    let (mut world, a) = pool(1);
    assert_eq!(world.permit(a, "pond", once(30)), Err(AcquireError::Unknown));
    assert_eq!(world.resize(a, "pond", 0), Err(ResizeError::Unknown));
    assert_eq!(world.drive(a, List::one(Key::semaphore("pond").unwrap())), Ok(vec![]));
}

#[test]
fn sizes_and_names_out_of_range_are_refused() {
    assert!(Size::of(0).is_err());
    assert!(Size::of(MAX_PERMITS + 1).unwrap_err().to_string().contains("1000001 permits; 1 to 1000000"));
    assert!(Key::semaphore("").is_err());
    assert!(Key::semaphore(&"n".repeat(256)).is_err());
    assert!(Key::semaphore(&"n".repeat(255)).is_ok());
}

#[test]
fn names_of_every_kind_have_permits_of_their_own() {
    let mut world = World::new();
    let a = world.acquainted("a");
    for name in ["1:pool", "pool", "p o\nl", &"é".repeat(127)] {
        assert_eq!(world.resize(a, name, 2), Ok(None));
        world.permit(a, name, once(30)).unwrap();
        world.permit(a, name, once(30)).unwrap();
        assert!(matches!(world.permit(a, name, once(30)), Err(AcquireError::Busy { .. })));
    }
    assert_eq!(world.semaphores(a).len(), 4);
}

#[test]
fn a_semaphore_grows_at_once() {
    let (mut world, a) = pool(1);
    permits(&mut world, a, 1);
    assert_eq!(world.resize(a, "pool", 3), Ok(Some(1)));
    permits(&mut world, a, 2);
    assert_eq!(status(&mut world, a), (3, vec![0, 1, 2]));
}

#[test]
fn making_the_same_size_again_changes_nothing() {
    let (mut world, a) = pool(2);
    assert_eq!(world.resize(a, "pool", 2), Ok(Some(2)));
    assert!(!world.calls().iter().any(|call| ["add", "replace", "delete"].contains(call)));
}

#[test]
fn a_free_semaphore_shrinks_at_once() {
    let (mut world, a) = pool(5);
    assert_eq!(world.resize(a, "pool", 2), Ok(Some(5)));
    permits(&mut world, a, 2);
    assert!(world.permit(a, "pool", once(30)).is_err());
}

#[test]
fn a_shrinking_lets_nobody_in_and_ends_when_enough_are_back_whichever() {
    let (mut world, a) = pool(5);
    let held = permits(&mut world, a, 4);
    let b = world.owner("b");
    let mut shrinking = world.resizing(b, "pool", 2, secs(600));
    let c = world.owner("c");
    let mut waiter = world.acquiring_permit(c, "pool", waiting(30, secs(20)));
    let until = world.now + secs(5);
    world.run_until(until, &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (None, None));
    // Another semaphore is not kept from anything meanwhile.
    assert_eq!(world.resize(a, "other", 7), Ok(None));
    release(&mut world, a, &held[0]);
    let until = world.now + secs(1);
    world.run_until(until, &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (None, None));
    release(&mut world, a, &held[3]);
    let until = world.now + secs(1);
    world.run_until(until, &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (Some(Ok(Some(5))), None));
    release(&mut world, a, &held[1]);
    let until = world.now + secs(1);
    world.run_until(until, &mut [&mut waiter]);
    assert_eq!(waiter.outcome().unwrap().unwrap().permit(), held[1].permit());
    assert_eq!(status(&mut world, a).0, 2);
}

#[test]
fn a_shrinking_whose_time_is_up_tells_whom_it_waits_for_and_its_size_stands() {
    let (mut world, a) = pool(3);
    let held = permits(&mut world, a, 3);
    let b = world.owner("b");
    let Err(ResizeError::StillHeld(told)) = world.resize(b, "pool", 1) else { panic!("three are held") };
    assert_eq!((told.size, told.holders.len()), (1, 3));
    assert!(told.holders.iter().all(|holder| holder.owner == "a"));
    release(&mut world, a, &held[0]);
    assert!(world.permit(b, "pool", once(30)).is_err());
    release(&mut world, a, &held[1]);
    assert!(world.permit(b, "pool", once(30)).is_err());
    release(&mut world, a, &held[2]);
    assert!(world.permit(b, "pool", once(30)).is_ok());
    assert!(world.permit(b, "pool", once(30)).is_err());
}

#[test]
fn a_shrinking_takes_the_free_permits_first() {
    let (mut world, a) = pool(4);
    let held = permits(&mut world, a, 4);
    let stays: Vec<_> = held.iter().filter(|grant| [1, 3].contains(&grant.permit().unwrap())).collect();
    for grant in held.iter().filter(|grant| !stays.contains(grant)) {
        release(&mut world, a, grant);
    }
    // Nothing is waited for, although a held permit has the largest number.
    assert_eq!(world.resize(a, "pool", 2), Ok(Some(4)));
    assert_eq!(status(&mut world, a), (2, vec![1, 3]));
}

#[test]
fn who_shrinks_and_dies_leaves_nothing_half_done() {
    let (mut world, a) = pool(3);
    let held = permits(&mut world, a, 2);
    let b = world.owner("b");
    let mut shrinking = world.resizing(b, "pool", 1, secs(600));
    while world.servers.text("pool", world.now).is_some() || status(&mut world, a).0 != 1 {
        shrinking.step(&mut world);
    }
    drop(shrinking);
    assert!(world.permit(a, "pool", once(30)).is_err());
    for grant in &held {
        release(&mut world, a, grant);
    }
    world.permit(a, "pool", once(30)).unwrap();
    assert!(world.permit(a, "pool", once(30)).is_err());
}

#[test]
fn a_permit_added_while_the_semaphore_shrinks_is_not_granted() {
    // The acquirer is stopped after each of its calls; the semaphore shrinks to nothing free in between.
    for calls in 0..8 {
        let (mut world, a) = pool(2);
        permits(&mut world, a, 1);
        let b = world.owner("b");
        let mut acquiring = world.acquiring_permit(b, "pool", once(30));
        for _ in 0..calls {
            acquiring.run_to_call(&mut world);
        }
        let shrunk = world.resize(a, "pool", 1);
        let granted = world.finish(acquiring);
        let valid = 1 + u32::from(granted.is_ok());
        match shrunk {
            Ok(_) => assert_eq!(valid, 1, "after {calls} calls: {granted:?}"),
            Err(ResizeError::StillHeld(told)) => assert_eq!((told.size, told.holders.len()), (1, 2), "{calls}"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn one_shrinking_is_overtaken_by_another_size() {
    let (mut world, a) = pool(3);
    permits(&mut world, a, 3);
    let b = world.owner("b");
    let mut shrinking = world.resizing(b, "pool", 1, secs(600));
    let until = world.now + secs(1);
    world.run_until(until, &mut [&mut shrinking]);
    assert_eq!(world.resize(a, "pool", 4), Ok(Some(1)));
    assert_eq!(world.finish(shrinking), Err(ResizeError::Superseded(4)));
    permits(&mut world, a, 1);
}

#[test]
fn destroying_waits_for_all_permits_and_lets_nobody_in() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 1);
    let b = world.owner("b");
    let mut destroying = world.resizing(b, "pool", 0, secs(600));
    let until = world.now + secs(2);
    world.run_until(until, &mut [&mut destroying]);
    assert_eq!(destroying.outcome(), None);
    assert_eq!(world.permit(b, "pool", waiting(30, secs(20))), Err(AcquireError::Unknown));
    assert_eq!(status(&mut world, a), (0, vec![held[0].permit().unwrap()]));
    release(&mut world, a, &held[0]);
    assert_eq!(world.finish(destroying), Ok(Some(2)));
    assert_eq!(world.semaphores(a), []);
    assert_eq!(world.permit(a, "pool", once(30)), Err(AcquireError::Unknown));
    assert_eq!(world.resize(a, "pool", 1), Ok(None));
    permits(&mut world, a, 1);
}

#[test]
fn a_semaphore_under_destruction_can_be_made_again() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 1);
    let destroyed = world.resize(a, "pool", 0);
    assert!(matches!(&destroyed, Err(ResizeError::StillHeld(told)) if told.size == 0), "{destroyed:?}");
    assert_eq!(world.resize(a, "pool", 2), Ok(Some(0)));
    permits(&mut world, a, 1);
    release(&mut world, a, &held[0]);
    permits(&mut world, a, 1);
}

#[test]
fn a_semaphore_made_while_the_old_one_is_destroyed_is_listed() {
    for calls in 0..12 {
        let (mut world, a) = pool(2);
        let mut destroying = world.resizing(a, "pool", 0, Duration::ZERO);
        for _ in 0..calls {
            destroying.run_to_call(&mut world);
        }
        let b = world.owner("b");
        let made = world.resize(b, "pool", 5);
        let destroyed = world.finish(destroying);
        let listed: Vec<_> = world.semaphores(a).iter().map(|status| status.size).collect();
        match (made, destroyed) {
            (Ok(_), Ok(_)) if world.drive(a, List::one(Key::semaphore("pool").unwrap())) == Ok(vec![]) => {
                assert!(listed.is_empty(), "destroyed last, after {calls} calls");
            }
            (Ok(_), Ok(_) | Err(ResizeError::Superseded(5))) => assert_eq!(listed, [5], "after {calls} calls"),
            other => panic!("{other:?} after {calls} calls"),
        }
    }
}

#[test]
fn all_semaphores_are_listed_by_name_with_their_holders() {
    let (mut world, a) = pool(2);
    let b = world.owner("b");
    assert_eq!(world.resize(b, "lake", 3), Ok(None));
    permits(&mut world, b, 1);
    let told = world.semaphores(a);
    let told: Vec<_> =
        told.iter().map(|one| (one.name.as_str(), one.size, one.holders.iter().map(|h| &*h.owner).collect())).collect();
    assert_eq!(told, [("lake", 3, vec![]), ("pool", 2, vec!["b"])]);
}

#[test]
fn somebodys_permit_is_broken_by_its_number() {
    let (mut world, a) = pool(1);
    let held = permits(&mut world, a, 1);
    let b = world.owner("b");
    let breaking = Break::permit(world.session(b), &Key::semaphore("pool").unwrap(), 0);
    assert!(matches!(world.drive(b, breaking), Ok(Broken::Ended(holder)) if holder.owner == "a"));
    assert!(world.permit(b, "pool", once(30)).is_ok());
    assert!(world.renew(a, &held[0]).is_err());
}

#[test]
fn an_evicted_permit_of_our_own_is_not_taken_twice() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 1);
    let number = held[0].permit().unwrap();
    world.servers.remove(&format!("n:permit:{number}:pool"));
    let other = world.permit(a, "pool", once(30)).unwrap();
    assert_ne!(other.permit(), held[0].permit());
}

#[test]
fn a_lost_answer_is_read_back_when_a_semaphore_is_made() {
    for calls in 0..4 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let mut world = World::new();
            let a = world.acquainted("a");
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            assert_eq!(finish_resize(&mut world, a, 2), Ok(None), "{fault:?} at call {calls}");
            assert_eq!(world.semaphores(a).len(), 1);
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_when_a_permit_is_acquired() {
    for calls in 0..3 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let (mut world, a) = pool(1);
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            let grant = world.permit(a, "pool", waiting(30, secs(5))).unwrap();
            assert_eq!(status(&mut world, a), (1, vec![0]), "{fault:?} at call {calls}");
            release(&mut world, a, &grant);
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_when_a_semaphore_is_destroyed() {
    for calls in 0..7 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let (mut world, a) = pool(2);
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            assert_eq!(finish_resize(&mut world, a, 0), Ok(Some(2)), "{fault:?} at call {calls}");
            assert_eq!(world.semaphores(a), [], "{fault:?} at call {calls}");
        }
    }
}

#[test]
fn an_outage_is_ridden_out_by_who_waits_and_told_to_who_does_not() {
    let (mut world, a) = pool(1);
    let unavailable = Err(AcquireError::Store(StoreError::Unavailable("connection refused".into())));
    world.weather = Fault::Unavailable;
    assert_eq!(world.permit(a, "pool", once(30)), unavailable);
    let mut waiter = world.acquiring_permit(a, "pool", waiting(30, secs(20)));
    let until = world.now + secs(2);
    world.run_until(until, &mut [&mut waiter]);
    assert!(matches!(waiter.machine.waiting_for(), WaitingFor::Outage(_)));
    world.weather = Fault::Fine;
    assert!(world.finish(waiter).is_ok());
}

#[test]
fn no_permit_is_granted_in_a_young_era() {
    let (mut world, a) = pool(1);
    world.servers.lose(0, world.now);
    assert_eq!(world.permit(a, "pool", once(30)), Err(AcquireError::Unknown));
    assert_eq!(world.resize(a, "pool", 1), Ok(None));
    let outcome = world.permit(a, "pool", once(30));
    assert!(matches!(outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(_), .. })), "{outcome:?}");
    let began = world.now;
    world.permit(a, "pool", waiting(30, secs(60))).unwrap();
    assert!(world.now - began >= secs(29));
}

#[test]
fn a_foreign_value_is_corrupt_and_left_alone() {
    let (mut world, a) = pool(1);
    world.servers.put("n:semaphore:pool", b"42");
    assert!(matches!(world.permit(a, "pool", once(30)), Err(AcquireError::Corrupt(_))));
    assert!(matches!(world.resize(a, "pool", 3), Err(ResizeError::Corrupt(_))));
    assert!(matches!(world.resize(a, "pool", 0), Err(ResizeError::Corrupt(_))));
    world.servers.put("n:semaphores", b"43");
    assert!(matches!(world.resize(a, "lake", 3), Err(ResizeError::Corrupt(_))));
    assert!(world.drive(a, List::all()).is_err());
    let (mut world, a) = pool(2);
    world.servers.put("n:permit:1:pool", b"44");
    assert_eq!(permits(&mut world, a, 1)[0].permit(), Some(0));
    assert!(matches!(world.permit(a, "pool", once(30)), Err(AcquireError::Busy { .. })));
    assert!(world.drive(a, List::all()).is_err());
}

#[test]
fn a_permit_whose_answer_took_longer_than_its_lease_is_not_granted() {
    let (mut world, a) = pool(1);
    world.script([Fault::Fine, Fault::Fine, Fault::SlowReply(secs(3))]);
    let outcome = world.permit(a, "pool", once(2));
    assert!(outcome.is_err(), "{outcome:?}");
    let grant = world.permit(a, "pool", once(2)).unwrap();
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left > millis(1900)));
}

#[test]
fn a_permit_may_have_a_lease_of_its_own_length() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(5)).unwrap();
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left <= secs(5)));
    assert_eq!(world.drive(a, kvlock_machine::Renew::new(grant.clone(), Some(lease(secs(60))))), Ok(()));
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left > secs(50)));
}
