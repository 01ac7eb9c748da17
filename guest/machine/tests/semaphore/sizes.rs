//! Sizes: a semaphore is made, grows, shrinks and is destroyed.

use super::*;

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
    world.run_for(secs(5), &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (None, None));
    // Another semaphore is not kept from anything meanwhile.
    assert_eq!(world.resize(a, "other", 7), Ok(None));
    release(&mut world, a, &held[0]);
    world.run_for(secs(1), &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (None, None));
    release(&mut world, a, &held[3]);
    world.run_for(secs(1), &mut [&mut shrinking, &mut waiter]);
    assert_eq!((shrinking.outcome(), waiter.outcome()), (Some(Ok(Some(5))), None));
    release(&mut world, a, &held[1]);
    world.run_for(secs(1), &mut [&mut waiter]);
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
fn a_shrinking_that_dies_leaves_nothing_half_done() {
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
    world.run_for(secs(1), &mut [&mut shrinking]);
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
    world.run_for(secs(2), &mut [&mut destroying]);
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
