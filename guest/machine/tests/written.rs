//! Grants that are written out as a word and taken up by another session.

mod support;

use std::time::Duration;

use kvlock_machine::{
    AcquireError, Grant, GrantError, Lease, LockOptions, Mode, Release, Released, Renew, StoreError, Ttl, Validity,
};
use support::{Drive, Fault, Owner, World, millis, once, secs};

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
    assert_eq!(world.validity(owner, &again), Validity::Unconfirmed, "whoever has the word may have used it");
    assert_eq!(world.renew(owner, &again), Ok(()));
    assert!(matches!(world.validity(owner, &again), Validity::Valid(_)));
    assert_eq!(world.release(owner, &again), Ok(Released::Freed));
    assert!(is_lost(world.release(owner, &grant)));
}

/// A world in which one session has written out its grant of `k`, for ever or for 30 s, and another has taken it up.
fn shared(lease: Lease, mode: Mode) -> (World, Owner, Grant, Owner, Grant) {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let options = LockOptions::new(lease).mode(mode).wait(Some(Duration::ZERO)).unwrap();
    let grant = world.acquire(owner, "k", options).unwrap();
    let word = world.write_out(owner, &grant).unwrap();
    let taken = world.resume(other, &word);
    (world, owner, grant, other, taken)
}

fn leases() -> [Lease; 2] {
    [Ttl::After(secs(30)), Ttl::Forever].map(|ttl| Lease::new(ttl).unwrap())
}

#[test]
fn a_session_that_wrote_a_grant_out_gets_the_key_again_once_it_was_released_elsewhere() {
    for (lease, mode) in leases().into_iter().flat_map(|lease| [(lease, Mode::Plain), (lease, Mode::Reentrant)]) {
        let (mut world, owner, grant, other, taken) = shared(lease, mode);
        assert_eq!(world.validity(owner, &grant), Validity::Unconfirmed);
        assert_eq!(world.release(other, &taken), Ok(Released::Freed));
        let options = LockOptions::new(lease).mode(mode).wait(Some(Duration::ZERO)).unwrap();
        let again = world.acquire(owner, "k", options).unwrap();
        assert!(again.token() > grant.token());
        assert!(is_lost(world.renew(owner, &grant)), "its old grant is over");
        assert_eq!(world.renew(owner, &again), Ok(()));
    }
}

#[test]
fn a_session_that_wrote_a_grant_out_waits_for_its_user() {
    for mode in [Mode::Plain, Mode::Reentrant] {
        let (mut world, owner, _, other, taken) = shared(leases()[1], mode);
        world.renew(other, &taken).unwrap();
        let options = LockOptions::new(leases()[0]).mode(mode).wait(Some(secs(5))).unwrap();
        assert!(matches!(world.acquire(owner, "k", options), Err(AcquireError::Busy { .. })));
        assert_eq!(world.renew(other, &taken), Ok(()));
    }
}

#[test]
fn a_session_that_took_a_grant_up_and_never_used_it_gets_the_key_once_it_was_released_elsewhere() {
    for lease in leases() {
        let (mut world, owner, grant, other, taken) = shared(lease, Mode::Plain);
        assert_eq!(world.acquire(other, "k", once(30)), Err(AcquireError::AlreadyHeld), "its record is there");
        assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
        let own = world.acquire(other, "k", once(30)).unwrap();
        assert!(is_lost(world.renew(other, &taken)));
        assert_eq!(world.renew(other, &own), Ok(()));
    }
}

#[test]
fn of_two_that_have_one_grant_a_renewal_of_the_other_is_nobodys_own() {
    for fault in [Fault::LostRequest, Fault::LostReply] {
        for first in [0, 1] {
            // Whoever is not answered finds the record of the other, which has the same text.
            let (mut world, owner, grant, other, taken) = shared(leases()[0], Mode::Plain);
            let have = [(owner, grant), (other, taken)];
            let ((one, its), (two, theirs)) = (have[first].clone(), have[1 - first].clone());
            world.script([fault]);
            let mut renewing = support::Op::new(&world, one, Renew::new(its.clone(), None));
            renewing.run_to_call(&mut world);
            renewing.step(&mut world);
            let renewed = world.renew(two, &theirs);
            let first = world.finish(renewing);
            assert_ne!(renewed.is_ok(), first.is_ok(), "{fault:?}: one of them has it");
            let valid = [(one, &its), (two, &theirs)].map(|(o, grant)| world.validity(o, grant));
            assert_eq!(valid.iter().filter(|valid| matches!(valid, Validity::Valid(_))).count(), 1, "{valid:?}");
        }
    }
}

#[test]
fn of_two_that_have_one_grant_none_releases_what_the_other_renewed() {
    for first in [0, 1] {
        let (mut world, owner, grant, other, taken) = shared(leases()[0], Mode::Plain);
        let have = [(owner, grant), (other, taken)];
        let ((one, its), (two, theirs)) = (have[first].clone(), have[1 - first].clone());
        world.script([Fault::LostRequest]);
        let mut releasing = support::Op::new(&world, one, Release::new(its));
        releasing.run_to_call(&mut world);
        releasing.step(&mut world);
        assert_eq!(world.renew(two, &theirs), Ok(()));
        assert!(world.finish(releasing).is_err(), "it released nothing");
        assert_eq!(world.renew(two, &theirs), Ok(()), "and the other has it yet");
    }
}

#[test]
fn a_release_that_was_not_answered_tells_nobody_freed_what_another_may_have_released() {
    for first in [0, 1] {
        let (mut world, owner, grant, other, taken) = shared(leases()[0], Mode::Plain);
        let have = [(owner, grant), (other, taken)];
        let ((one, its), (two, theirs)) = (have[first].clone(), have[1 - first].clone());
        assert_eq!(world.release(two, &theirs), Ok(Released::Freed));
        world.script([Fault::LostRequest]);
        let told = world.release(one, &its);
        assert!(matches!(told, Err(GrantError::Store(StoreError::UnknownOutcome(_)))), "{told:?}");
    }
}

#[test]
fn a_session_takes_up_what_became_of_its_grant_elsewhere() {
    let (mut world, owner, grant, other, taken) = shared(leases()[0], Mode::Plain);
    world.renew(other, &taken).unwrap();
    let word = world.write_out(other, &taken).unwrap();
    let back = world.resume(owner, &word);
    assert_eq!((world.renew(owner, &back), back.token()), (Ok(()), grant.token()));
    assert!(is_lost(world.renew(owner, &grant)) && is_lost(world.renew(other, &taken)));
    assert_eq!(world.release(owner, &back), Ok(Released::Freed));
}

#[test]
fn a_lock_whose_release_was_not_answered_is_acquired_again_if_it_was_executed_and_is_held_if_not() {
    for (fault, mode) in [Fault::LostReply, Fault::LostRequest]
        .map(|fault| [Mode::Plain, Mode::Reentrant].map(|mode| (fault, mode)))
        .concat()
    {
        let mut world = World::new();
        let owner = world.acquainted("a");
        let options = LockOptions::new(leases()[1]).mode(mode).wait(Some(Duration::ZERO)).unwrap();
        let grant = world.acquire(owner, "k", options.clone()).unwrap();
        world.weather = Fault::Unavailable;
        world.script([fault]);
        assert!(matches!(world.release(owner, &grant), Err(GrantError::Store(StoreError::UnknownOutcome(_)))));
        world.weather = Fault::Fine;
        match (fault, mode, world.acquire(owner, "k", options)) {
            (Fault::LostReply, _, Ok(again)) => assert!(again.token() > grant.token()),
            (Fault::LostRequest, Mode::Plain, Err(AcquireError::AlreadyHeld)) => {}
            (Fault::LostRequest, Mode::Reentrant, Ok(nested)) => assert_eq!(world.session(owner).depth(&nested), 2),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_session_that_gave_back_a_grant_of_another_namespace_locks_the_key_in_its_own() {
    let mut world = World::new();
    let (elsewhere, owner) = (world.elsewhere("a"), world.acquainted("b"));
    let grant = world.acquire(elsewhere, "k", once(30)).unwrap();
    let word = world.write_out(elsewhere, &grant).unwrap();
    let taken = world.resume(owner, &word);
    assert_eq!(world.release(owner, &taken), Ok(Released::Freed));
    world.acquire(owner, "k", once(30)).unwrap();
    assert!(world.acquire(elsewhere, "k", once(30)).is_ok(), "that is another lock");
}
