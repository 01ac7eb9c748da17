//! Chains of hand-overs: after a bounded number of them the holder looks for waiters elsewhere.

mod support;

use kvlock_machine::{Grant, GrantError, HandedOver, MAX_CHAIN_LENGTH, Released, Request};
use support::{Fault, Owner, World, millis, once, secs, waiting};

#[track_caller]
fn handed(released: Result<Released, GrantError>) -> HandedOver {
    match released {
        Ok(Released::HandedOver(handed)) => handed,
        other => panic!("{other:?}"),
    }
}

/// Three owners of one process.
fn three(world: &mut World) -> Vec<Owner> {
    (0..3).map(|n| world.acquainted(&format!("{n}"))).collect()
}

/// Hands the lock over to the next of the three, and returns its grant and the length of the chain.
fn next_of_three(world: &mut World, owners: &[Owner], turn: u32, grant: Grant) -> (Grant, u32) {
    let (holder, next) = (owners[turn as usize % 3], owners[(turn as usize + 1) % 3]);
    let mut waiting = world.acquiring(next, "k", waiting(10, secs(60)));
    let handed = handed(world.release_to(holder, &grant, &mut waiting));
    waiting.hand(world, handed);
    (world.finish(waiting).unwrap(), handed.chain_length)
}

/// Hands the lock over as often as is allowed without a look at the wait list.
fn handed_over_eight_times(world: &mut World) -> (Vec<Owner>, Grant) {
    let owners = three(world);
    let mut grant = world.acquire(owners[0], "k", once(10)).unwrap();
    for turn in 0..MAX_CHAIN_LENGTH {
        let chain_length;
        (grant, chain_length) = next_of_three(world, &owners, turn, grant);
        assert_eq!(chain_length, turn + 1);
    }
    (owners, grant)
}

#[test]
fn after_eight_hand_overs_a_chain_begins_again_if_nobody_waits_elsewhere() {
    let mut world = World::new();
    let (owners, grant) = handed_over_eight_times(&mut world);
    let mut next = world.acquiring(owners[0], "k", waiting(10, secs(60)));
    world.calls();
    let handed = handed(world.release_to(owners[2], &grant, &mut next));
    assert_eq!(world.calls(), ["get", "replace"]);
    assert_eq!(handed.chain_length, 1);
}

#[test]
fn after_eight_hand_overs_waiters_elsewhere_are_next_and_the_successor_joins_behind_them() {
    let mut world = World::new();
    let elsewhere = world.acquainted("elsewhere");
    let (owners, grant) = handed_over_eight_times(&mut world);
    let mut other = world.acquiring(elsewhere, "k", waiting(10, secs(60)));
    world.run_for(millis(2), &mut [&mut other]);
    let mut next = world.acquiring(owners[0], "k", waiting(10, secs(60)));
    world.calls();
    assert_eq!(world.release_to(owners[2], &grant, &mut next), Ok(Released::Freed));
    assert_eq!(world.calls(), ["get", "replace", "delete"]);
    let later = world.now + secs(1);
    world.run_until(later, &mut [&mut other]);
    let grant = other.outcome().expect("the one who waited elsewhere is next").unwrap();
    world.run_until(later, &mut [&mut next]);
    assert_eq!(
        world.calls().iter().filter(|call| **call == "replace").count(),
        0,
        "it stands in the wait list already"
    );
    world.release(elsewhere, &grant).unwrap();
    world.run_for(secs(1), &mut [&mut next]);
    assert!(next.outcome().unwrap().is_ok());
}

#[test]
fn a_served_waiter_of_the_chain_does_not_pass_for_one_that_waits_elsewhere() {
    let mut world = World::new();
    let before = world.acquainted("before");
    let held = world.acquire(before, "k", once(10)).unwrap();
    let owners = three(&mut world);
    let mut first = world.acquiring(owners[0], "k", waiting(10, secs(60)));
    world.run_for(millis(5), &mut [&mut first]);
    world.release(before, &held).unwrap();
    world.run_for(secs(1), &mut [&mut first]);
    let mut grant = first.outcome().expect("it is free").unwrap();
    world.calls();
    let turns = 4 * MAX_CHAIN_LENGTH;
    for turn in 0..turns {
        (grant, _) = next_of_three(&mut world, &owners, turn, grant);
    }
    let calls = world.calls();
    assert_eq!(calls.iter().filter(|call| **call == "get").count(), 3, "{calls:?}");
    assert_eq!(calls.iter().filter(|call| **call == "replace").count(), turns as usize, "{calls:?}");
}

#[test]
fn a_holder_that_writes_its_successor_into_the_list_tells_its_own_turn() {
    let mut world = World::new();
    let elsewhere = world.acquainted("elsewhere");
    let (owners, grant) = handed_over_eight_times(&mut world);
    let mut other = world.acquiring(elsewhere, "k", waiting(10, secs(60)));
    world.run_for(millis(100), &mut [&mut other]);
    let mut next = world.acquiring(owners[0], "k", waiting(10, secs(60)));
    world.log.clear();
    assert_eq!(world.release_to(owners[2], &grant, &mut next), Ok(Released::Freed));
    let line = world.log.iter().find_map(|call| match &call.request {
        Request::Replace { value, .. } => Some(String::from_utf8_lossy(value).into_owned()),
        _ => None,
    });
    let line = line.expect("the successor stands in the line");
    assert!(line.contains("\nturn: 0.1s\n"), "{line}");
}

#[test]
fn a_wait_list_that_cannot_be_read_or_written_only_costs_the_hand_over() {
    for (faults, calls) in
        [(vec![Fault::Unavailable], vec!["get", "delete"]), (vec![], vec!["get", "replace", "delete"])]
    {
        let mut world = World::new();
        let elsewhere = world.acquainted("elsewhere");
        let (owners, grant) = handed_over_eight_times(&mut world);
        let mut other = world.acquiring(elsewhere, "k", waiting(10, secs(60)));
        world.run_for(millis(1), &mut [&mut other]);
        let mut next = world.acquiring(owners[0], "k", waiting(10, secs(60)));
        world.calls();
        let unwritable = faults.is_empty();
        world.script(faults);
        if unwritable {
            world.script([Fault::Fine, Fault::Rejected]);
        }
        assert_eq!(world.release_to(owners[2], &grant, &mut next), Ok(Released::Freed));
        assert_eq!(world.calls(), calls);
    }
}
