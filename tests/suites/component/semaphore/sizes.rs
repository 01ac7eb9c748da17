//! Sizes: made, grown, shrunk, destroyed, listed.

use std::time::Duration;

use kvlock::clock::Clock;
use kvlock::store::Op;
use kvlock::{
    Grant,
    semaphore::{ResizeError, ResizePoll, Resizing, SemaphoreStatus},
};

use super::{DEFINITION, LIST, assert_unknown, exhausted, made, permits, pool, standing};
use crate::world::{World, busy, refused, secs};

/// Polls a change for so long, at the end of which it must still be waiting; how the semaphore stands then.
#[track_caller]
fn pending_for(world: &World, resizing: &mut Resizing, time: Duration) -> SemaphoreStatus {
    let end = world.clock.now() + time;
    loop {
        match resizing.poll() {
            Ok(ResizePoll::Pending { status, .. }) if world.clock.now() >= end => return status,
            Ok(ResizePoll::Pending { pause, .. }) => world.clock.advance(pause),
            Ok(ResizePoll::Ready(_)) => panic!("it is done"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Polls a change to its end.
fn finish(world: &World, mut resizing: Resizing) -> Result<Option<u32>, ResizeError> {
    loop {
        match resizing.poll()? {
            ResizePoll::Pending { pause, .. } => world.clock.advance(pause),
            ResizePoll::Ready(before) => return Ok(before),
        }
    }
}

fn owners(status: &SemaphoreStatus) -> Vec<&str> {
    status.holders.iter().map(|holder| holder.owner.as_str()).collect()
}

/// Gives back the permits of these numbers.
fn give_back(held: &mut Vec<Grant>, numbers: &[u32]) {
    for number in numbers {
        let place = held.iter().position(|grant| grant.permit() == Some(*number)).expect("it is held");
        held.remove(place).release().unwrap();
    }
}

#[test]
fn a_semaphore_is_there_from_when_it_is_made_until_it_is_destroyed() {
    let world = World::new();
    let one = pool(&world, "one");
    assert_unknown(&one);
    assert_eq!(one.make(2).run(), Ok(None));
    world.clock.advance(secs(100 * 365 * 24 * 3600));
    assert_eq!(standing(&one), (2, vec![]));
    drop(permits(&one, 2));
    assert_eq!(one.destroy().run(), Ok(Some(2)));
    assert_unknown(&one);
    assert_eq!(one.status(), Ok(None));
    assert_eq!((world.store.peek(DEFINITION), world.store.peek(LIST)), (None, None), "nothing is left of it");
}

#[test]
fn what_stands_in_the_store_is_text_that_a_person_can_read() {
    let world = World::new();
    made(&world, 3);
    let text = |key| String::from_utf8(world.store.peek(key).unwrap().value).unwrap();
    assert_eq!(text(DEFINITION), "kvlock/1 semaphore\nkey: pool\npermits: 3\nnumbers: 0-2\n");
    assert_eq!(text(LIST), "kvlock/1 semaphores\nkey: pool\n");
}

#[test]
fn a_semaphore_grows_at_once_and_lets_waiters_in() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let _held = permits(&one, 1);
    let mut wait = two.permit().begin().unwrap();
    assert!(matches!(wait.poll(), Ok(kvlock::AcquirePoll::Pending { .. })));
    let (grown, passed) = world.timed(|| one.make(3).run());
    assert_eq!((grown, passed), (Ok(Some(1)), Duration::ZERO));
    let _more = [wait.block().unwrap(), permits(&two, 1).remove(0)];
    assert_eq!(exhausted(&one).1, 3);
}

#[test]
fn making_the_same_size_again_writes_nothing() {
    let (world, one) = World::with_pool(2);
    let _held = permits(&one, 2);
    world.calls();
    let (again, passed) = world.timed(|| pool(&world, "two").make(2).run());
    assert_eq!((again, passed), (Ok(Some(2)), Duration::ZERO));
    assert_eq!(world.ops(), [Op::Get; 2]);
}

#[test]
fn a_free_semaphore_shrinks_at_once() {
    let (world, one) = World::with_pool(5);
    let (shrunk, passed) = world.timed(|| one.make(2).run());
    assert_eq!((shrunk, passed), (Ok(Some(5)), Duration::ZERO));
    let _held = permits(&one, 2);
    assert_eq!(exhausted(&one).0, 2);
}

#[test]
fn shrinking_from_five_to_two_while_four_are_held_ends_when_two_are_back_and_lets_nobody_in() {
    let world = World::new();
    let (one, two, three) = (made(&world, 5), pool(&world, "two"), pool(&world, "three"));
    let mut held: Vec<Grant> = (0..4).map(|_| one.permit().lease(secs(36_000)).acquire().unwrap()).collect();
    let numbers: Vec<u32> = held.iter().map(|grant| grant.permit().unwrap()).collect();
    let mut shrinking = two.make(2).begin().unwrap();
    let status = pending_for(&world, &mut shrinking, secs(60));
    assert_eq!((status.size, owners(&status)), (2, vec!["one"; 4]));
    let mut waiter = three.permit().begin().unwrap();
    for back in [0, 1] {
        let (size, in_use, _) = exhausted(&three);
        assert_eq!((size, in_use), (2, 4 - back));
        busy(three.permit().wait(secs(5)).acquire());
        assert!(matches!(waiter.poll(), Ok(kvlock::AcquirePoll::Pending { .. })));
        pending_for(&world, &mut shrinking, secs(60));
        if back == 0 {
            give_back(&mut held, &numbers[1..2]);
        }
        for grant in &mut held {
            grant.renew().expect("nobody is thrown out");
        }
    }
    // Nobody else's semaphore is kept from anything meanwhile.
    let other = world.session("three").semaphore("other");
    assert_eq!(other.make(7).run(), Ok(None));
    drop(permits(&other, 7));
    give_back(&mut held, &numbers[3..4]);
    assert_eq!(finish(&world, shrinking), Ok(Some(5)));
    assert_eq!(standing(&three), (2, vec!["one".into(), "one".into()]));
    assert!(matches!(waiter.poll(), Ok(kvlock::AcquirePoll::Pending { .. })), "two are held of two");
    give_back(&mut held, &numbers[..1]);
    assert_eq!(waiter.block().unwrap().owner(), "three");
}

#[test]
fn a_shrinking_takes_the_free_permits_first() {
    let (world, one) = World::with_pool(4);
    let mut held = permits(&one, 4);
    give_back(&mut held, &[0, 2]);
    let (shrunk, passed) = world.timed(|| one.make(2).run());
    assert_eq!((shrunk, passed), (Ok(Some(4)), Duration::ZERO), "permits 1 and 3 may stay");
    assert_eq!(standing(&one).1.len(), 2);
    for grant in held {
        grant.release().unwrap();
    }
    assert_eq!(permits(&one, 2).len(), 2);
}

#[test]
fn a_shrinking_whose_time_is_up_tells_whom_it_waits_for_and_the_new_size_stands() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let mut held: Vec<Grant> = (0..3).map(|_| one.permit().lease(secs(3600)).acquire().unwrap()).collect();
    for wait in [Duration::ZERO, secs(5)] {
        let (outcome, passed) = world.timed(|| two.make(1).wait(wait).run());
        assert_eq!(passed, wait);
        let error = outcome.unwrap_err();
        let ResizeError::StillHeld { status, .. } = &error else { panic!("{error}") };
        assert_eq!((status.size, owners(status)), (1, vec!["one"; 3]));
        for part in ["`pool` has 1 permit, 3 held: 0 held by one", "since", "until", "by asking again"] {
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    give_back(&mut held, &[0, 1]);
    assert_eq!(exhausted(&two).0, 1);
    assert_eq!(two.make(1).wait(Duration::ZERO).run(), Ok(Some(1)));
}

#[test]
fn a_shrinking_that_is_dropped_leaves_the_new_size_and_nothing_else() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let mut held = permits(&one, 2);
    let mut shrinking = two.make(1).begin().unwrap();
    pending_for(&world, &mut shrinking, secs(1));
    drop(shrinking);
    exhausted(&two);
    held.remove(0).release().unwrap();
    exhausted(&two);
    drop(held);
    let _last = permits(&two, 1);
    assert_eq!(exhausted(&one).0, 1);
}

#[test]
fn a_shrinking_is_taken_back_by_making_it_larger_again_and_says_so() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let _held = permits(&one, 3);
    let mut shrinking = two.make(1).begin().unwrap();
    pending_for(&world, &mut shrinking, secs(1));
    assert_eq!(one.make(4).run(), Ok(Some(1)));
    let error = finish(&world, shrinking).unwrap_err();
    assert_eq!(error, ResizeError::Superseded { name: "pool".into(), size: 4 });
    assert_eq!(error.to_string(), "`pool` was given 4 permits by somebody else meanwhile");
    permits(&two, 1);
}

#[test]
fn a_crashed_holder_delays_a_shrinking_until_its_lease_ends_and_no_longer() {
    let (world, one) = World::with_pool(2);
    let two = pool(&world, "two");
    for _ in 0..2 {
        one.permit().lease(secs(20)).acquire().unwrap().forget();
    }
    let (shrunk, passed) = world.timed(|| two.make(1).run());
    assert_eq!(shrunk, Ok(Some(2)));
    assert!(passed >= secs(20) && passed < secs(21), "{passed:?}");
}

#[test]
fn destroying_waits_for_all_permits_and_lets_nobody_in() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let mut held: Vec<Grant> = (0..2).map(|_| one.permit().lease(secs(3600)).acquire().unwrap()).collect();
    let error = two.destroy().wait(secs(3)).run().unwrap_err();
    assert!(matches!(&error, ResizeError::StillHeld { status, .. } if status.size == 0), "{error}");
    assert!(error.to_string().starts_with("`pool` is being destroyed, 2 held: "), "{error}");
    let mut destroying = two.destroy().begin().unwrap();
    pending_for(&world, &mut destroying, secs(60));
    assert_unknown(&one);
    assert_eq!(standing(&one), (0, vec!["one".into(), "one".into()]));
    held.remove(0).release().unwrap();
    pending_for(&world, &mut destroying, secs(60));
    held.remove(0).release().unwrap();
    assert!(finish(&world, destroying).is_ok());
    assert_eq!((one.status(), world.session("one").semaphores()), (Ok(None), Ok(vec![])));
    assert_eq!(one.make(1).run(), Ok(None));
}

#[test]
fn what_is_not_there_cannot_be_destroyed() {
    let world = World::new();
    let error = pool(&world, "one").destroy().run().unwrap_err();
    assert_eq!(error, ResizeError::Unknown { name: "pool".into() });
    assert_eq!(error.to_string(), "there is no semaphore `pool`: nothing to destroy");
}

#[test]
fn a_shrinking_of_what_somebody_else_destroys_says_so() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let held = permits(&one, 2);
    let mut shrinking = two.make(1).begin().unwrap();
    pending_for(&world, &mut shrinking, secs(1));
    let mut destroying = one.destroy().begin().unwrap();
    pending_for(&world, &mut destroying, secs(1));
    let error = finish(&world, shrinking).unwrap_err();
    assert_eq!(error.to_string(), "`pool` was destroyed by somebody else meanwhile");
    drop(held);
    assert!(finish(&world, destroying).is_ok());
}

#[test]
fn sizes_and_names_out_of_range_are_refused_and_nothing_is_sent() {
    let (world, [session]) = World::with(["one"]);
    for permits in [0, 1_000_001, u32::MAX] {
        let error = session.semaphore("pool").make(permits).run().unwrap_err();
        let text = format!("a semaphore of {permits} permits; 1 to 1000000 are possible");
        assert_eq!(error, ResizeError::Invalid { name: "pool".into(), reason: text });
    }
    for (name, part) in [(String::new(), "is empty"), ("n".repeat(256), "has 256 bytes; at most 255")] {
        for resize in [session.semaphore(&name).make(1), session.semaphore(&name).destroy()] {
            let error = resize.run().unwrap_err();
            assert!(matches!(&error, ResizeError::Invalid { reason: text, .. } if text.contains(part)), "{error}");
        }
    }
    assert_eq!(world.calls(), [""; 0]);
    assert_eq!(session.semaphore("pool").make(1_000_000).run(), Ok(None));
    permits(&session.semaphore("pool"), 2);
}

#[test]
fn a_resizing_that_has_ended_says_so() {
    let world = World::new();
    let mut making = pool(&world, "one").make(1).begin().unwrap();
    assert!(matches!(making.poll(), Ok(ResizePoll::Ready(None))));
    let error = refused(making.poll());
    assert!(error.to_string().contains("has ended; begin another"), "{error}");
}

#[test]
fn all_semaphores_are_listed_by_name_with_their_sizes_and_holders() {
    let (world, [session]) = World::with(["one"]);
    let names = ["a pool", "lake\nnorth", "Teich für Fische", "z", &"n".repeat(255)];
    for (size, name) in (1..).zip(names) {
        assert_eq!(session.semaphore(name).make(size).run(), Ok(None));
    }
    let _held = permits(&world.session("two").semaphore("lake\nnorth"), 2);
    let told = session.semaphores().unwrap();
    let told: Vec<_> = told.iter().map(|status| (status.name.as_str(), status.size, owners(status))).collect();
    let long = "n".repeat(255);
    let expected = [
        ("Teich für Fische", 3, vec![]),
        ("a pool", 1, vec![]),
        ("lake\nnorth", 2, vec!["two", "two"]),
        (long.as_str(), 5, vec![]),
        ("z", 4, vec![]),
    ];
    assert_eq!(told, expected);
    let holder = &session.semaphore("lake\nnorth").status().unwrap().unwrap().holders[0];
    assert_eq!((holder.key.as_str(), holder.permit), ("lake\nnorth", Some(0)));
    assert!(holder.until.is_some() && holder.since.is_some(), "{holder}");
}
