//! Grants that are written out, and taken up elsewhere.

use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::store::{Fault, KvStore, Op, StoreError};
use kvlock::{
    Client, Released, Validity,
    error::{AcquireError, GrantError, SessionError},
};
use std::sync::Arc;

use crate::world::{World, busy, refused, secs};

#[test]
fn a_grant_goes_from_session_to_session() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let grant = one.lock("k").acquire().unwrap();
    let token = grant.token();
    let written = grant.write_out().unwrap();
    assert!(!written.contains(char::is_whitespace), "one word: {written}");
    world.calls();

    let mut resumed = two.resume(&written).unwrap();
    assert_eq!((resumed.key(), resumed.owner(), resumed.token()), ("k", "one", token));
    assert_eq!(resumed.validity(), Ok(Validity::Unconfirmed));
    assert_eq!(world.calls(), [""; 0], "nothing is sent by taking it up");
    resumed.renew().unwrap();
    assert!(matches!(resumed.validity(), Ok(Validity::Valid(_))));
    assert_eq!(resumed.token(), token, "a renewal keeps the token");
    assert_eq!(resumed.release(), Ok(Released::Freed));
    assert!(world.holder("k").is_none());
}

#[test]
fn a_grant_goes_from_client_to_client_whose_clocks_have_nothing_in_common() {
    let world = World::new();
    let written = world.session("one").lock("k").acquire().unwrap().write_out().unwrap();
    let clock = Arc::new(VirtualClock::new());
    clock.advance(secs(1_000_000));
    let other = Client::with_store(world.store.clone()).with_clock(clock);
    let mut resumed = other.session().namespace("elsewhere").open().unwrap().resume(&written).unwrap();
    resumed.renew().unwrap();
    assert_eq!(resumed.release(), Ok(Released::Freed), "it lives in the namespace that it was made in");
}

#[test]
fn writing_out_gives_up_the_duty_to_release() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").acquire().unwrap().write_out().unwrap();
    drop(one);
    busy(two.lock("k").wait(Duration::ZERO).acquire());
    drop(two.resume(&written).unwrap());
    assert!(world.holder("k").is_none(), "whoever takes it up has the duty");
}

#[test]
fn a_release_without_renewal_finds_out_that_the_lock_is_lost() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").lease(secs(10)).acquire().unwrap().write_out().unwrap();
    world.clock.advance(secs(10));
    let _new = two.lock("k").acquire().unwrap();
    match refused(one_more(&world).resume(&written).unwrap().release()) {
        GrantError::Lost { holder: Some(holder), .. } => assert_eq!(holder.owner, "two"),
        other => panic!("{other}"),
    }
    assert_eq!(world.holder("k").unwrap().owner, "two");
}

#[test]
fn a_release_without_renewal_whose_request_is_lost_is_not_told_to_have_freed_what_others_had_since() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").lease(secs(10)).acquire().unwrap().write_out().unwrap();
    world.clock.advance(secs(10));
    two.lock("k").acquire().unwrap().release().unwrap();
    world.store.script_for(Op::Delete, Fault::LostRequest);
    let error = refused(one_more(&world).resume(&written).unwrap().release());
    assert!(matches!(error, GrantError::Store { error: StoreError::UnknownOutcome(_), .. }), "{error}");
    let told = format!("{:#}", anyhow::Error::new(error));
    assert!(told.contains("may have been lost"), "{told}");
}

#[test]
fn a_confirmed_grant_whose_release_is_not_answered_is_freed_if_nothing_is_there() {
    let world = World::new();
    let mut resumed =
        one_more(&world).resume(&world.session("one").lock("k").acquire().unwrap().write_out().unwrap()).unwrap();
    resumed.renew().unwrap();
    world.store.script_for(Op::Delete, Fault::LostReply);
    assert_eq!(resumed.release(), Ok(Released::Freed));
}

#[test]
fn a_written_grant_is_of_no_use_after_a_renewal_elsewhere() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").acquire().unwrap().write_out().unwrap();
    let mut current = two.resume(&written).unwrap();
    current.renew().unwrap();
    let mut stale = one_more(&world).resume(&written).unwrap();
    assert!(matches!(refused(stale.renew()), GrantError::Lost { .. }));
    assert!(matches!(refused(stale.release()), GrantError::Lost { .. }));
    assert_eq!(current.release(), Ok(Released::Freed));
}

#[test]
fn a_nested_grant_is_resumed_at_its_depth() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let lock = one.lock("k").reentrant();
    let _outer = lock.clone().acquire().unwrap().write_out().unwrap();
    let written = lock.acquire().unwrap().write_out().unwrap();
    let resumed = two.resume(&written).unwrap();
    assert_eq!(resumed.depth(), Ok(2));
    assert_eq!(resumed.release(), Ok(Released::Nested(1)));
    assert_eq!(world.holder("k").unwrap().depth, 1);
}

#[test]
fn a_resumed_grant_keeps_its_minimum_hold() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").at_least(secs(3600)).acquire().unwrap().write_out().unwrap();
    let resumed = two.resume(&written).unwrap();
    assert!(matches!(resumed.release(), Ok(Released::Kept(left)) if left > secs(3500)));
    busy(two.lock("k").wait(Duration::ZERO).acquire());
}

#[test]
fn a_lost_grant_is_not_written_out() {
    let world = World::new();
    let grant = world.session("one").lock("k").lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10));
    assert!(matches!(refused(grant.write_out()), GrantError::Lost { .. }));
}

#[test]
fn a_grant_that_was_never_confirmed_keeps_its_session_from_the_key_no_longer_than_its_lease() {
    let world = World::new();
    let written = world.session("one").lock("k").lease(secs(10)).acquire().unwrap().write_out().unwrap();
    let two = world.session("two");
    two.resume(&written).unwrap().forget();
    assert!(matches!(refused(two.lock("k").wait(Duration::ZERO).acquire()), AcquireError::AlreadyHeld { .. }));
    world.clock.advance(secs(10));
    two.lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}

#[test]
fn a_renewal_of_unknown_outcome_is_given_a_lease_to_be_confirmed_in() {
    let world = World::new();
    let written = world.session("one").lock("k").lease(secs(10)).acquire().unwrap().write_out().unwrap();
    let two = world.session("two");
    let mut resumed = two.resume(&written).unwrap();
    world.clock.advance(secs(9));
    world.store.script_for(Op::Replace, Fault::LostReply);
    (0..100).for_each(|_| world.store.script_for(Op::Get, Fault::Unavailable));
    refused(resumed.renew());
    while world.store.scripted() > 0 {
        world.store.get("any").unwrap_err();
    }
    world.clock.advance(secs(5));
    assert!(matches!(refused(two.lock("k").wait(Duration::ZERO).acquire()), AcquireError::AlreadyHeld { .. }));
    resumed.renew().unwrap();
}

#[test]
fn a_session_that_gave_a_grant_away_gets_the_lock_again_once_it_is_released_elsewhere() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").acquire().unwrap().write_out().unwrap();
    assert_eq!(two.resume(&written).unwrap().release(), Ok(Released::Freed));
    one.lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}

#[test]
fn a_session_that_gave_a_grant_away_waits_for_its_present_holder() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let mut resumed = two.resume(&one.lock("k").acquire().unwrap().write_out().unwrap()).unwrap();
    resumed.renew().unwrap();
    busy(one.lock("k").wait(Duration::ZERO).acquire());
    resumed.release().unwrap();
    one.lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}

#[test]
fn a_grant_that_its_session_takes_up_again_and_renews_is_held() {
    let (_, [one]) = World::with(["one"]);
    let mut again = one.resume(&one.lock("k").acquire().unwrap().write_out().unwrap()).unwrap();
    again.renew().unwrap();
    assert!(matches!(refused(one.lock("k").acquire()), AcquireError::AlreadyHeld { .. }));
    again.release().unwrap();
}

#[test]
fn a_grant_taken_up_twice_by_a_session_is_one_hold() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").acquire().unwrap().write_out().unwrap();
    let (first, second) = (two.resume(&written).unwrap(), two.resume(&written).unwrap());
    assert_eq!(first.release().unwrap(), Released::Freed);
    assert!(matches!(second.release(), Err(GrantError::Lost { .. })));
}

#[test]
fn a_session_that_holds_a_key_takes_up_no_other_grant_of_it() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let written = one.lock("k").acquire().unwrap().write_out().unwrap();
    two.break_lock("k").unwrap();
    let held = two.lock("k").acquire().unwrap();
    assert!(matches!(refused(two.resume(&written)), SessionError::Invalid(text) if text.contains("another grant")));
    held.release().unwrap();
}

#[test]
fn what_is_no_written_grant_is_refused_with_a_reason() {
    let (world, [session]) = World::with(["one"]);
    let whole = session.lock("k").acquire().unwrap().write_out().unwrap();
    world.calls();
    let cut = whole[..whole.len() - 1].to_string();
    let changed = whole.replace('A', "B");
    for (text, reason) in [
        ("", "begins with `kvlock1.`"),
        ("hello", "begins with `kvlock1.`"),
        ("kvlock1.", "cut or changed"),
        ("kvlock1.\u{1f512}", "cut or changed"),
        (cut.as_str(), "cut or changed"),
        (changed.as_str(), "cut or changed"),
    ] {
        let error = refused(session.resume(text)).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
    assert_eq!(world.calls(), [""; 0]);
}

fn one_more(world: &World) -> kvlock::Session {
    world.fresh_session("one more")
}
