//! What may be done with a grant: renew, release, nest, keep for a minimum time, write out, take up, adopt.

mod support;

use kvlock_machine::{
    AcquireError, Grant, GrantError, KeyState, Lease, LockOptions, Released, Renew, Request, Ttl, Validity,
};
use support::{Fault, Owner, World, lease, millis, nested, once, secs, waiting};

/// A world in which one session holds `k` for 30 s, and another session.
fn held() -> (World, Owner, Grant, Owner) {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    world.log.clear();
    (world, owner, grant, other)
}

fn holder(world: &mut World) -> Option<String> {
    let looking = world.owner("looking");
    match world.status(looking, &["k"]).unwrap().remove(0).state {
        KeyState::Held(holder) => Some(holder.owner),
        _ => None,
    }
}

fn is_lost<T>(outcome: Result<T, GrantError>) -> bool {
    matches!(outcome, Err(GrantError::Lost(_)))
}

#[test]
fn a_release_is_one_delete() {
    let (mut world, owner, grant, _) = held();
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
    assert_eq!(world.calls(), ["delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn a_renewal_is_one_replace_and_begins_the_lease_again() {
    let (mut world, owner, grant, _) = held();
    world.advance(secs(20));
    assert_eq!(world.renew(owner, &grant), Ok(()));
    assert_eq!(world.calls(), ["replace"]);
    assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(30) - millis(60)));
    world.advance(secs(29));
    assert_eq!(holder(&mut world).as_deref(), Some("a"));
}

#[test]
fn a_renewal_counts_from_before_its_request_left() {
    let (mut world, owner, grant, _) = held();
    world.script([Fault::SlowReply(secs(7))]);
    assert_eq!(world.renew(owner, &grant), Ok(()));
    assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(23) - millis(60)));
}

#[test]
fn a_renewal_with_another_length_changes_the_lease() {
    let (mut world, owner, grant, _) = held();
    for length in [5, 100] {
        assert_eq!(world.drive(owner, Renew::new(grant.clone(), Some(lease(secs(length))))), Ok(()));
        assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(length) - millis(2 * length)));
    }
    assert_eq!(world.renew(owner, &grant), Ok(()));
    assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(100) - millis(200)));
}

#[test]
fn a_renewal_with_a_shorter_lease_is_not_trusted_for_the_old_one_while_it_is_under_way() {
    let (mut world, owner, grant, other) = held();
    world.script([Fault::SlowReply(secs(10))]);
    let mut renewal = support::Op::new(&world, owner, Renew::new(grant.clone(), Some(lease(secs(2)))));
    world.run_for(secs(3), &mut [&mut renewal]);
    assert!(world.acquire(other, "k", once(30)).is_ok(), "the shorter lease has ended");
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
}

#[test]
fn an_expired_grant_is_lost_each_time_and_nothing_is_sent() {
    let (mut world, owner, grant, other) = held();
    world.advance(secs(30));
    world.acquire(other, "k", once(300)).unwrap();
    world.log.clear();
    for _ in 0..3 {
        assert!(is_lost(world.renew(owner, &grant)));
        assert!(is_lost(world.release(owner, &grant)));
        assert_eq!(world.session(owner).depth(&grant), 0);
    }
    assert!(world.calls().is_empty());
    assert_eq!(holder(&mut world).as_deref(), Some("b"));
}

#[test]
fn an_old_grant_of_the_same_session_does_nothing_to_its_new_one() {
    let (mut world, owner, old, _) = held();
    world.advance(secs(30));
    let new = world.acquire(owner, "k", once(30)).unwrap();
    assert!(is_lost(world.renew(owner, &old)));
    assert!(is_lost(world.release(owner, &old)));
    assert_eq!(world.renew(owner, &new), Ok(()));
    assert_eq!(holder(&mut world).as_deref(), Some("a"));
}

#[test]
fn a_broken_grant_is_lost_and_names_the_present_holder() {
    for renews in [true, false] {
        let (mut world, owner, grant, other) = held();
        assert_eq!(world.break_lock(other, "k").unwrap().unwrap().token, grant.token());
        let present = world.acquire(other, "k", once(30)).unwrap();
        let outcome = if renews { world.renew(owner, &grant) } else { world.release(owner, &grant).map(|_| ()) };
        let Err(GrantError::Lost(Some(holder))) = outcome else { panic!("lost") };
        assert_eq!((holder.owner.as_str(), holder.token), ("b", present.token()));
        assert!(is_lost(world.release(owner, &grant)), "each time");
        assert_eq!(world.renew(other, &present), Ok(()), "the present holder is not affected");
    }
}

#[test]
fn a_broken_grant_of_a_free_lock_is_lost_too() {
    for renews in [true, false] {
        let (mut world, owner, grant, other) = held();
        world.break_lock(other, "k").unwrap();
        let outcome = if renews { world.renew(owner, &grant) } else { world.release(owner, &grant).map(|_| ()) };
        assert_eq!(outcome, Err(GrantError::Lost(None)));
    }
}

#[test]
fn a_value_that_somebody_wrote_over_a_lock_is_left_alone() {
    for renews in [true, false] {
        let (mut world, owner, grant, _) = held();
        world.servers.set("k", b"42");
        let outcome = if renews { world.renew(owner, &grant) } else { world.release(owner, &grant).map(|_| ()) };
        assert_eq!(outcome, Err(GrantError::Lost(None)));
        assert_eq!(world.servers.text("k", world.now).as_deref(), Some("42"));
    }
}

#[test]
fn releasing_too_often_is_an_error_and_frees_nobody_else_s_lock() {
    let (mut world, owner, grant, other) = held();
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
    world.acquire(other, "k", once(30)).unwrap();
    assert!(is_lost(world.release(owner, &grant)));
    assert_eq!(holder(&mut world).as_deref(), Some("b"));
}

#[test]
fn an_operation_of_an_old_grant_that_ends_late_does_nothing_to_the_new_one() {
    let (mut world, owner, old, other) = held();
    world.script([Fault::SlowReply(secs(60))]);
    let mut renewal = support::Op::new(&world, owner, Renew::new(old.clone(), None));
    world.run_for(secs(1), &mut [&mut renewal]);
    world.break_lock(other, "k").unwrap();
    assert!(is_lost(world.release(owner, &old)));
    let new = world.acquire(owner, "k", once(300)).unwrap();
    assert!(is_lost(world.finish(renewal)));
    assert!(matches!(world.validity(owner, &new), Validity::Valid(_)));
    assert_eq!(world.release(owner, &new), Ok(Released::Freed));
}

#[test]
fn a_nested_acquire_is_one_call_and_everybody_sees_the_depth() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let outer = world.acquire(owner, "k", nested(30)).unwrap();
    world.advance(secs(20));
    world.log.clear();
    let inner = world.acquire(owner, "k", nested(30)).unwrap();
    assert_eq!(world.calls(), ["replace"]);
    assert_eq!(inner.token(), outer.token());
    assert_eq!(world.validity(owner, &outer), Validity::Valid(secs(30) - millis(60)), "the lease is fresh");
    let KeyState::Held(holder) = world.status(other, &["k"]).unwrap().remove(0).state else { panic!("held") };
    assert_eq!((holder.depth, holder.token), (2, outer.token()));
}

#[test]
fn a_nested_acquire_never_shortens_what_is_held() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let outer = world.acquire(owner, "k", nested(30)).unwrap();
    let inner = world.acquire(owner, "k", nested(2)).unwrap();
    assert_eq!(world.validity(owner, &outer), Validity::Valid(secs(30) - millis(60)));
    assert_eq!(world.release(owner, &inner), Ok(Released::Nested(1)));
    world.advance(secs(25));
    assert!(world.servers.entry("k", world.now).is_some());
    assert_eq!(world.release(owner, &outer), Ok(Released::Freed));
}

#[test]
fn a_nested_release_neither_frees_nor_lengthens_the_lease() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let outer = world.acquire(owner, "k", nested(30)).unwrap();
    let inner = world.acquire(owner, "k", nested(30)).unwrap();
    let end = world.now + secs(30);
    world.advance(secs(20));
    world.log.clear();
    assert_eq!(world.release(owner, &inner), Ok(Released::Nested(1)));
    assert_eq!(world.calls(), ["replace"]);
    assert_eq!(world.validity(owner, &outer), Validity::Valid(secs(10) - millis(60)));
    assert_eq!(world.session(owner).depth(&outer), 1);
    assert!(world.servers.entry("k", end - millis(60)).is_some());
    assert!(world.servers.entry("k", end).is_none(), "the record outlives the lease");
}

#[test]
fn a_nested_release_keeps_the_margin_between_trust_and_record() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let outer = world.acquire(owner, "k", nested(3000)).unwrap();
    let inner = world.acquire(owner, "k", nested(3000)).unwrap();
    world.release(owner, &inner).unwrap();
    let Some(Ttl::After(left)) = world.servers.entry("k", world.now).unwrap().time_left else { panic!("a ttl") };
    let Validity::Valid(trusted) = world.validity(owner, &outer) else { panic!("valid") };
    assert!(left - left / 500 >= trusted, "{left:?} in the store for {trusted:?} of trust");
}

#[test]
fn the_outermost_release_frees_and_one_more_is_an_error() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grants: Vec<_> = (0..3).map(|_| world.acquire(owner, "k", nested(30)).unwrap()).collect();
    let outcomes: Vec<_> = grants.iter().map(|grant| world.release(owner, grant).unwrap()).collect();
    assert_eq!(outcomes, [Released::Nested(2), Released::Nested(1), Released::Freed]);
    assert!(is_lost(world.release(owner, &grants[0])));
}

#[test]
fn a_nested_acquire_of_a_lost_lock_says_lost_and_the_next_one_is_a_new_grant() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let outer = world.acquire(owner, "k", nested(30)).unwrap();
    world.break_lock(other, "k").unwrap();
    assert_eq!(world.acquire(owner, "k", nested(30)), Err(AcquireError::Lost(None)));
    assert_eq!(world.validity(owner, &outer), Validity::Lost);
    let new = world.acquire(owner, "k", nested(30)).unwrap();
    assert!(new.token() > outer.token());
    assert_eq!(world.session(owner).depth(&new), 1);
}

#[test]
fn a_minimum_hold_keeps_the_key_taken_and_only_until_then() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let free = world.now + secs(60);
    let grant = world.acquire(owner, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    world.advance(secs(5));
    world.log.clear();
    assert_eq!(world.release(owner, &grant), Ok(Released::Kept(secs(55))));
    assert_eq!(world.calls(), ["replace"]);
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
    assert!(is_lost(world.release(owner, &grant)));
    for taken in [owner, other] {
        let outcome = world.acquire(taken, "k", once(30));
        assert!(matches!(outcome, Err(AcquireError::Busy { .. })), "{outcome:?}");
    }
    let next = world.acquire(other, "k", waiting(30, secs(100))).unwrap();
    assert!(world.now >= free && world.now <= free + millis(50));
    assert!(next.token() > grant.token());
}

#[test]
fn a_minimum_hold_that_is_over_costs_nothing() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(30).at_least(secs(2)).unwrap()).unwrap();
    world.advance(secs(2));
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
}

#[test]
fn a_minimum_hold_that_was_waived_costs_nothing() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let outer = world.acquire(owner, "k", nested(30).at_least(secs(60)).unwrap()).unwrap();
    let inner = world.acquire(owner, "k", nested(30).at_least(secs(90)).unwrap()).unwrap();
    world.log.clear();
    world.session(owner).waive_minimum(&inner);
    assert!(world.calls().is_empty());
    assert_eq!(world.release(owner, &inner), Ok(Released::Nested(1)));
    assert_eq!(world.release(owner, &outer), Ok(Released::Freed));
    let next = world.acquire(other, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    // One that is over changes nothing of its successor's.
    world.session(owner).waive_minimum(&outer);
    assert_eq!(world.release(other, &next), Ok(Released::Kept(secs(60))));
}

#[test]
fn a_nested_acquire_may_ask_for_a_minimum_hold() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let outer = world.acquire(owner, "k", nested(30).at_least(secs(5)).unwrap()).unwrap();
    let inner = world.acquire(owner, "k", nested(30).at_least(secs(20)).unwrap()).unwrap();
    assert_eq!(world.release(owner, &inner), Ok(Released::Nested(1)));
    assert_eq!(world.release(owner, &outer), Ok(Released::Kept(secs(20))));
}

#[test]
fn a_release_to_the_minimum_hold_that_is_answered_late_is_a_release_all_the_same() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(5).at_least(secs(60)).unwrap()).unwrap();
    world.script([Fault::SlowReply(secs(10))]);
    assert!(matches!(world.release(owner, &grant), Ok(Released::Kept(_))));
}

#[test]
fn a_grant_for_ever_does_not_end_and_a_renewal_tells_whether_it_was_broken() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap());
    let grant = world.acquire(owner, "k", forever).unwrap();
    world.advance(secs(1_000_000));
    assert_eq!(world.validity(owner, &grant), Validity::Unlimited);
    assert_eq!(world.renew(owner, &grant), Ok(()));
    assert_eq!(world.validity(owner, &grant), Validity::Unlimited);
    assert_eq!(world.drive(owner, Renew::new(grant.clone(), Some(lease(secs(10))))), Ok(()));
    assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(10) - millis(20)));
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));

    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap());
    let broken = world.acquire(owner, "k", forever).unwrap();
    world.break_lock(owner, "k").unwrap();
    assert!(is_lost(world.renew(owner, &broken)));
}

#[test]
fn a_restarted_worker_takes_its_lock_back_and_the_old_session_learns_lost() {
    let mut world = World::new();
    let (old, new, stranger) = (world.acquainted("worker"), world.acquainted("worker"), world.acquainted("b"));
    let before = world.acquire(old, "k", once(300)).unwrap();
    assert!(matches!(world.acquire(stranger, "k", once(30).adopt(true)), Err(AcquireError::Busy { .. })));
    assert!(matches!(world.acquire(new, "k", once(30)), Err(AcquireError::Busy { .. })), "only when asked to");
    world.log.clear();
    let after = world.acquire(new, "k", once(30).adopt(true)).unwrap();
    assert_eq!(world.calls(), ["add", "get", "replace"]);
    assert!(after.token() > before.token());
    for _ in 0..2 {
        assert!(is_lost(world.renew(old, &before)));
        assert!(is_lost(world.release(old, &before)));
    }
    assert_eq!(world.validity(new, &after), Validity::Valid(secs(30) - millis(60)));
    assert_eq!(world.release(new, &after), Ok(Released::Freed));
}

#[test]
fn what_is_kept_for_its_minimum_time_is_not_adopted() {
    let mut world = World::new();
    let (old, new) = (world.acquainted("worker"), world.acquainted("worker"));
    let grant = world.acquire(old, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    world.release(old, &grant).unwrap();
    assert!(matches!(world.acquire(new, "k", once(30).adopt(true)), Err(AcquireError::Busy { .. })));
}

#[test]
fn every_write_names_the_version_it_expects() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let outer = world.acquire(owner, "k", nested(30).at_least(secs(9)).unwrap()).unwrap();
    let inner = world.acquire(owner, "k", nested(30)).unwrap();
    for grant in [&outer, &inner] {
        world.renew(owner, grant).unwrap();
    }
    world.release(owner, &inner).unwrap();
    world.release(owner, &outer).unwrap();
    let mut numbers = world.log.iter().filter_map(|call| match &call.request {
        Request::Replace { if_version, .. } | Request::Delete { if_version, .. } => Some(if_version.number),
        _ => None,
    });
    let first = numbers.next().unwrap();
    assert!(numbers.enumerate().all(|(index, number)| number == first + 1 + index as u64));
    assert_eq!(world.log.len(), 6);
}

#[test]
fn a_renewal_that_is_answered_after_its_lease_is_lost() {
    let (mut world, owner, grant, _) = held();
    world.script([Fault::SlowReply(secs(31))]);
    assert!(is_lost(world.renew(owner, &grant)));
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
}
