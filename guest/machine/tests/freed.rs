//! A store that tells of releases: its hints end the pause of the waiter whose turn it is, and of no other.

mod support;

use kvlock_machine::{Acquire, LockOptions, Request};
use support::{Drive, Fault, Op, Owner, World, lease, millis, secs, waiting};

/// A holder of `k`, and waiters that joined one after the other and now pause.
fn queue<const N: usize>(world: &mut World) -> (Owner, kvlock_machine::Grant, [(Owner, Op<Acquire>); N]) {
    let holder = world.acquainted("holder");
    let grant = world.acquire(holder, "k", waiting(3600, secs(1))).unwrap();
    let mut waiters = std::array::from_fn(|n| {
        let owner = world.acquainted(&format!("waiter {n}"));
        let options = LockOptions::new(lease(secs(3600))).interval(secs(60)).unwrap();
        let mut op = world.acquiring(owner, "k", options);
        world.run_until(world.now + millis(10), &mut [&mut op]);
        (owner, op)
    });
    // Until all pause for longer than a message takes.
    for _ in 0..100 {
        let mut ops = waiters.each_mut().map(|(_, op)| op as &mut dyn Drive);
        world.run_until(world.now + secs(1), &mut ops);
        if ops.iter().all(|op| op.due().is_some_and(|due| due > world.now + millis(50))) {
            break;
        }
    }
    world.log.clear();
    (holder, grant, waiters)
}

/// Tells a waiter of a release, and lets it go on to its next pause or its end, in no time.
fn hears(world: &mut World, op: &mut Op<Acquire>) -> Vec<&'static str> {
    op.hear_of_release(world);
    let now = world.now;
    world.run_until(now, &mut [op]);
    world.calls()
}

#[test]
fn the_next_waiter_tries_at_once() {
    let mut world = World::new();
    let (holder, grant, [(_, mut next)]) = queue(&mut world);
    world.release(holder, &grant).unwrap();
    world.log.clear();
    assert_eq!(hears(&mut world, &mut next), ["add"]);
    assert!(next.outcome().is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_waiter_further_back_counts_the_releases_until_its_turn() {
    let mut world = World::new();
    let (holder, grant, [(first, mut next), (_, mut second)]) = queue(&mut world);
    world.release(holder, &grant).unwrap();
    world.log.clear();
    assert_eq!(hears(&mut world, &mut second), [""; 0], "it is the turn of the one before it");
    assert_eq!(hears(&mut world, &mut next), ["add"]);
    let grant = next.outcome().unwrap().unwrap();
    world.release(first, &grant).unwrap();
    world.log.clear();
    assert_eq!(hears(&mut world, &mut second), ["add"]);
    assert!(second.outcome().is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_waiter_without_a_place_in_the_list_does_not_try_at_a_release() {
    let mut world = World::new();
    let (holder, grant, [_]) = queue(&mut world);
    let owner = world.acquainted("newcomer");
    let options = LockOptions::new(lease(secs(3600))).interval(secs(60)).unwrap();
    let mut newcomer = world.acquiring(owner, "k", options);
    // Somebody else is faster at writing the list each time, until it stops trying to join.
    let mut refused = 0;
    while !newcomer.sleeps() || refused < 4 {
        let joins = world.log.last().map(|call| call.request.clone()).filter(|_| newcomer.is_executing());
        if let Some(Request::Replace { key, .. }) = joins {
            let list = world.servers.value(&key, world.now).expect("a list");
            world.servers.put(&key, &list);
            refused += 1;
        }
        newcomer.step(&mut world);
    }
    assert_eq!(refused, 4);
    world.release(holder, &grant).unwrap();
    world.log.clear();
    assert_eq!(hears(&mut world, &mut newcomer), [""; 0], "it is not next");
}

#[test]
fn a_wrong_hint_costs_one_try_and_changes_nothing() {
    let mut world = World::new();
    let (holder, grant, [(_, mut next)]) = queue(&mut world);
    let due = next.due().unwrap();
    assert_eq!(hears(&mut world, &mut next), ["add"]);
    assert!(next.outcome().is_none() && next.sleeps());
    // A hint that comes when the pause is over anyway is the end of the pause.
    world.advance_to(due.max(next.due().unwrap()));
    world.release(holder, &grant).unwrap();
    next.hear_of_release(&world);
    assert!(world.finish(next).is_ok());
}

#[test]
fn a_hint_ends_no_wait_for_something_else_than_the_lock() {
    let mut world = World::new();
    let owner = world.owner("owner");
    world.script([Fault::Unavailable]);
    let mut op = world.acquiring(owner, "k", LockOptions::new(lease(secs(30))));
    let until = world.now + millis(1);
    world.run_until(until, &mut [&mut op]);
    world.log.clear();
    assert_eq!(hears(&mut world, &mut op), [""; 0], "an outage has its own pause");
}
