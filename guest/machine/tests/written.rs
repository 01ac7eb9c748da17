//! Grants that are written out as a word and taken up by another session.

mod support;

use kvlock_machine::{AcquireError, Grant, GrantError, Lease, LockOptions, Mode, Released, Ttl, Validity};
use support::{Owner, World, millis, once, secs};

/// A world in which one session holds `k` for 30 s, and another session.
fn held() -> (World, Owner, Grant, Owner) {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    (world, owner, grant, other)
}

fn is_lost<T>(outcome: Result<T, GrantError>) -> bool {
    matches!(outcome, Err(GrantError::Lost(_)))
}

#[test]
fn a_grant_written_out_is_unconfirmed_until_renewed_and_keeps_its_token() {
    let (mut world, owner, grant, other) = held();
    world.renew(owner, &grant).unwrap();
    let word = world.write_out(owner, &grant).unwrap();
    let taken = world.resume(other, &word);
    assert_eq!((taken.key(), taken.owner(), taken.token()), ("k", "a", grant.token()));
    assert_eq!(world.validity(other, &taken), Validity::Unconfirmed);
    assert_eq!(world.renew(other, &taken), Ok(()));
    assert!(matches!(world.validity(other, &taken), Validity::Valid(_)));
    assert!(is_lost(world.renew(owner, &grant)), "it is with the other session now");
    assert_eq!(world.release(other, &taken), Ok(Released::Freed));
}

#[test]
fn a_grant_taken_up_after_its_time_is_lost() {
    let (mut world, owner, grant, other) = held();
    let word = world.write_out(owner, &grant).unwrap();
    world.advance(secs(30));
    let present = world.acquire(owner, "k", once(30)).unwrap();
    let taken = world.resume(other, &word);
    assert!(is_lost(world.release(other, &taken)));
    assert_eq!(world.renew(owner, &present), Ok(()));
    assert!(is_lost(world.write_out(owner, &grant)));
}

#[test]
fn a_nested_release_of_a_grant_for_ever_that_was_taken_up_confirms_it() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap()).mode(Mode::Reentrant);
    let grants = [0, 1].map(|_| world.acquire(owner, "k", forever.clone()).unwrap());
    let word = world.write_out(owner, &grants[1]).unwrap();
    let taken = world.resume(other, &word);
    assert_eq!(world.release(other, &taken), Ok(Released::Nested(1)));
    assert_eq!(world.validity(other, &taken), Validity::Unlimited);
}

#[test]
fn a_minimum_hold_survives_writing_out() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(owner, "k", once(300).at_least(secs(60)).unwrap()).unwrap();
    world.advance(secs(10));
    let word = world.write_out(owner, &grant).unwrap();
    let taken = world.resume(other, &word);
    world.advance(secs(20));
    assert_eq!(world.release(other, &taken), Ok(Released::Kept(secs(30))));
    assert!(matches!(world.acquire(owner, "k", once(30)), Err(AcquireError::Busy { .. } | AcquireError::AlreadyHeld)));
    world.advance(secs(31) + millis(1));
    assert!(world.acquire(other, "k", once(30)).is_ok());
}

#[test]
fn a_session_takes_up_a_grant_although_an_older_one_of_its_own_has_ended() {
    let (mut world, owner, _ended, other) = held();
    world.advance(secs(30));
    let grant = world.acquire(other, "k", once(30)).unwrap();
    let word = world.write_out(other, &grant).unwrap();
    let taken = world.resume(owner, &word);
    assert_eq!(world.renew(owner, &taken), Ok(()));
}

#[test]
fn a_session_takes_up_its_own_grant_again() {
    let (mut world, owner, grant, _) = held();
    let word = world.write_out(owner, &grant).unwrap();
    let again = world.resume(owner, &word);
    assert_eq!(again.token(), grant.token());
    assert!(matches!(world.validity(owner, &again), Validity::Valid(_)));
    assert_eq!(world.release(owner, &again), Ok(Released::Freed));
    assert!(is_lost(world.release(owner, &grant)));
}

#[test]
fn whoever_gave_back_a_grant_of_another_namespace_locks_the_key_in_its_own() {
    let mut world = World::new();
    let (elsewhere, owner) = (world.elsewhere("a"), world.acquainted("b"));
    let grant = world.acquire(elsewhere, "k", once(30)).unwrap();
    let word = world.write_out(elsewhere, &grant).unwrap();
    let taken = world.resume(owner, &word);
    assert_eq!(world.release(owner, &taken), Ok(Released::Freed));
    world.acquire(owner, "k", once(30)).unwrap();
    assert!(world.acquire(elsewhere, "k", once(30)).is_ok(), "that is another lock");
}
