//! What free keys and busy ones cost, and who gets what.

use kvlock_machine::{AcquireError, MAX_KEYS, Mode, Released, Request, WaitingFor};

use super::support::{Op, World, millis, once, secs, waiting};
use super::{acquire, acquiring, begun, holders, keys, release, renew};

#[test]
fn free_keys_are_taken_renewed_and_given_back_by_one_call_each() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let named = ["c", "a", "e", "b", "d"];
    let grants = acquire(&mut world, owner, &named, once(30)).unwrap();
    let Request::All(writes) = world.log[0].request.clone() else { panic!("{:?}", world.log) };
    assert_eq!((world.calls(), writes.len()), (vec!["all"], 5));
    assert_eq!(keys(&grants), named, "as they were named");
    renew(&mut world, owner, &grants).unwrap();
    assert_eq!(world.calls(), ["all"]);
    assert_eq!(release(&mut world, owner, &grants), Ok(Released::Freed));
    assert_eq!(world.calls(), ["all"]);
    assert_eq!(holders(&mut world, &named), [""; 5]);
}

#[test]
fn a_session_that_never_reached_the_store_asks_for_one_era_more_whatever_the_number_of_keys() {
    let mut world = World::new();
    let owner = world.owner("owner");
    acquire(&mut world, owner, &["a", "b", "c"], once(30)).unwrap();
    assert_eq!(world.calls(), ["all", "era"]);
}

#[test]
fn one_key_costs_what_it_costs_alone() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let grants = acquire(&mut world, owner, &["k"], once(30)).unwrap();
    release(&mut world, owner, &grants).unwrap();
    assert_eq!(world.calls(), ["add", "delete"]);
}

#[test]
fn readers_of_several_keys_come_in_by_two_calls() {
    let mut world = World::new();
    let owner = world.acquainted("reader");
    let shared = once(30).mode(Mode::Shared);
    let grants = acquire(&mut world, owner, &["a", "b", "c"], shared.clone()).unwrap();
    assert_eq!(world.calls(), ["get-many", "all"]);
    let other = world.acquainted("another reader");
    acquire(&mut world, other, &["b", "c", "d"], shared).unwrap();
    let writer = world.acquainted("writer");
    let busy = acquire(&mut world, writer, &["d", "a"], once(30)).unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy:?}");
    renew(&mut world, owner, &grants).unwrap();
    release(&mut world, owner, &grants).unwrap();
}

#[test]
fn all_are_had_or_none_and_the_busy_one_is_told() {
    for busy in ["a", "b", "c"] {
        let mut world = World::new();
        let [holder, owner] = ["holder", "owner"].map(|name| world.acquainted(name));
        world.acquire(holder, busy, once(30)).unwrap();
        let mut op = acquiring(&mut world, owner, &["c", "b", "a"], once(30));
        let error = loop {
            if let Some(outcome) = op.outcome() {
                break outcome.unwrap_err();
            }
            super::support::Drive::step(&mut op, &mut world);
        };
        let AcquireError::Busy { waiting_for: WaitingFor::Holder(by), .. } = error else { panic!("{error:?}") };
        assert_eq!((by.owner.as_str(), by.key.as_str(), op.machine.key()), ("holder", busy, busy));
        let expected = ["a", "b", "c"].map(|key| if key == busy { "holder" } else { "" });
        assert_eq!(holders(&mut world, &["a", "b", "c"]), expected);
    }
}

#[test]
fn a_key_that_is_named_twice_is_one_key() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let grants = acquire(&mut world, owner, &["b", "a", "b"], once(30)).unwrap();
    assert_eq!(keys(&grants), ["b", "a"]);
    release(&mut world, owner, &grants).unwrap();
    assert_eq!(holders(&mut world, &["a", "b"]), ["", ""]);
}

#[test]
fn no_key_and_too_many_are_refused() {
    let mut world = World::new();
    let owner = world.owner("owner");
    let many: Vec<String> = (0..=MAX_KEYS).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (named, text) in [(&[][..], "no key is named"), (&many[..], "101 keys")] {
        let refused = begun(&mut world, owner, named, once(30)).unwrap_err();
        assert!(refused.to_string().contains(text), "{refused}");
    }
    assert!(begun(&mut world, owner, &many[1..], once(30)).is_ok());
    let shared = once(30).mode(Mode::Shared).at_least(secs(1)).unwrap();
    assert!(begun(&mut world, owner, &["a", "b"], shared).is_err(), "readers have no minimum hold");
}

#[test]
fn a_session_that_holds_one_of_them_is_refused_before_anything_is_sent() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    world.acquire(owner, "b", once(30)).unwrap();
    world.calls();
    let mut op = acquiring(&mut world, owner, &["a", "b"], waiting(30, secs(60)));
    super::support::Drive::step(&mut op, &mut world);
    assert_eq!(op.outcome(), Some(Err(AcquireError::AlreadyHeld)));
    assert_eq!((op.machine.key(), world.calls()), ("b", vec![]));
    let shared = acquire(&mut world, owner, &["a", "b"], once(30).mode(Mode::Shared));
    assert_eq!(shared, Err(AcquireError::HeldInOtherMode));
}

#[test]
fn a_session_nests_what_it_holds_and_takes_the_rest() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    let reentrant = || once(30).mode(Mode::Reentrant);
    let outer = world.acquire(owner, "b", reentrant()).unwrap();
    let grants = acquire(&mut world, owner, &["a", "b"], reentrant()).unwrap();
    assert_eq!(world.session(owner).depth(&outer), 2);
    assert_eq!(release(&mut world, owner, &grants), Ok(Released::Nested(1)));
    assert_eq!(holders(&mut world, &["a", "b"]), ["", "owner"]);
}

#[test]
fn a_nested_hold_is_taken_back_when_another_key_is_busy_and_the_outer_one_stays() {
    let mut world = World::new();
    let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
    let reentrant = || once(30).mode(Mode::Reentrant).at_least(secs(20)).unwrap();
    let outer = world.acquire(owner, "b", reentrant()).unwrap();
    world.acquire(other, "c", once(30)).unwrap();
    assert!(acquire(&mut world, owner, &["a", "b", "c"], reentrant()).is_err());
    assert_eq!(world.session(owner).depth(&outer), 1);
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["", "owner", "other"]);
    let released = world.release(owner, &outer).unwrap();
    assert!(matches!(released, Released::Kept(_)), "the minimum hold of the outer one stands: {released:?}");
}

#[test]
fn a_minimum_hold_begins_with_all_keys_and_not_with_a_try_that_got_some() {
    let mut world = World::new();
    let [owner, other] = ["owner", "other"].map(|name| world.acquainted(name));
    let at_least = || once(30).at_least(secs(5)).unwrap();
    let busy = world.acquire(other, "b", once(30)).unwrap();
    assert!(acquire(&mut world, owner, &["a", "b"], at_least()).is_err());
    assert_eq!(holders(&mut world, &["a"]), [""]);
    world.release(other, &busy).unwrap();
    let grants = acquire(&mut world, owner, &["a", "b"], at_least()).unwrap();
    let released = release(&mut world, owner, &grants).unwrap();
    assert!(matches!(released, Released::Kept(left) if left > secs(4)), "{released:?}");
    let busy = world.acquire(other, "a", once(30)).unwrap_err();
    assert!(matches!(busy, AcquireError::Busy { .. }), "{busy:?}");
}

#[test]
fn a_restarted_worker_adopts_its_keys_one_after_the_other_and_none_that_it_cannot_keep() {
    let mut world = World::new();
    let [before, after, other] = ["worker", "worker", "other"].map(|name| world.acquainted(name));
    for key in ["a", "c"] {
        world.acquire(before, key, once(60)).unwrap();
    }
    let busy = world.acquire(other, "b", once(60)).unwrap();
    let adopting = || once(30).adopt(true);
    assert!(acquire(&mut world, after, &["a", "b", "c"], adopting()).is_err());
    // The first was adopted, and given back; the last was never touched.
    assert_eq!(holders(&mut world, &["a", "b", "c"]), ["", "other", "worker"]);
    world.release(other, &busy).unwrap();
    assert_eq!(acquire(&mut world, after, &["a", "b", "c"], adopting()).unwrap().len(), 3);
}

#[test]
fn a_corrupt_key_ends_it_at_once_and_what_was_taken_is_given_back() {
    let mut world = World::new();
    let owner = world.acquainted("owner");
    world.servers.set("b", b"somebody's own");
    let mut op = acquiring(&mut world, owner, &["a", "b", "c"], waiting(30, secs(60)));
    run(&mut world, &mut op);
    let error = op.outcome().unwrap().unwrap_err();
    assert!(matches!(error, AcquireError::Corrupt(_)), "{error:?}");
    assert_eq!(op.machine.key(), "b");
    assert_eq!(holders(&mut world, &["a", "c"]), ["", ""]);
}

fn run(world: &mut World, op: &mut Op<kvlock_machine::AcquireAll>) {
    world.run_for(millis(1), &mut [op]);
}
