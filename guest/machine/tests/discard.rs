//! Grants that are dropped: they are given back by one call, whatever comes of it.

mod support;

use kvlock_machine::{
    AcquireError, Discard, Grant, GrantError, KeyState, Lease, LockOptions, Mode, Released, Ttl, Validity,
};
use support::{Fault, Owner, World, nested, once, secs};

fn held() -> (World, Owner, Grant) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(30)).unwrap();
    world.log.clear();
    (world, owner, grant)
}

fn discard(world: &mut World, owner: Owner, grant: &Grant) -> Vec<&'static str> {
    world.log.clear();
    let before = world.now;
    world.drive(owner, Discard::new(grant.clone()));
    assert!(world.now - before < secs(1), "it does not wait");
    world.calls()
}

fn is_free(world: &mut World) -> bool {
    let looking = world.owner("looking");
    world.status(looking, &["k"]).unwrap().remove(0).state == KeyState::Free
}

#[test]
fn what_is_dropped_is_given_back_by_one_call() {
    let (mut world, owner, grant) = held();
    assert_eq!(discard(&mut world, owner, &grant), ["delete"]);
    assert!(is_free(&mut world));
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
    assert!(world.acquire(owner, "k", once(30)).is_ok());
}

#[test]
fn the_drop_of_a_nested_grant_ends_that_hold_and_no_other() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let [outer, inner] = [(); 2].map(|()| world.acquire(owner, "k", nested(30)).unwrap());
    assert_eq!(discard(&mut world, owner, &inner), ["replace"]);
    assert_eq!(world.session(owner).depth(&outer), 1);
    assert_eq!(world.release(owner, &outer), Ok(Released::Freed));
}

#[test]
fn a_minimum_hold_outlasts_the_drop() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(30).at_least(secs(60)).unwrap()).unwrap();
    assert_eq!(discard(&mut world, owner, &grant), ["replace"]);
    let status = world.status(owner, &["k"]).unwrap().remove(0);
    assert!(matches!(status.state, KeyState::Kept(_)), "{status:?}");
}

#[test]
fn nothing_is_sent_for_what_is_over_or_may_be_somebody_elses() {
    let (mut world, owner, grant) = held();
    let other = world.acquainted("b");
    let word = world.write_out(owner, &grant).unwrap();
    assert_eq!(discard(&mut world, owner, &grant), [""; 0], "written out");
    let taken = world.resume(other, &word);
    assert_eq!(discard(&mut world, other, &taken), [""; 0], "taken up, and never used");
    assert!(!is_free(&mut world));
    world.renew(other, &taken).unwrap();
    assert!(matches!(world.renew(owner, &grant), Err(GrantError::Lost(_))));
    assert_eq!(discard(&mut world, owner, &grant), [""; 0], "lost");
    assert_eq!(discard(&mut world, other, &taken), ["delete"], "renewed, it was its own");
    assert_eq!(discard(&mut world, other, &taken), [""; 0], "given back");
    let late = world.acquire(owner, "k", once(30)).unwrap();
    world.advance(secs(30));
    assert_eq!(discard(&mut world, owner, &late), [""; 0], "its lease has ended");
}

#[test]
fn a_drop_that_fails_tries_once_and_leaves_a_session_that_holds_nothing() {
    for fault in [Fault::Unavailable, Fault::Rejected, Fault::LostRequest, Fault::LostReply] {
        let (mut world, owner, grant) = held();
        world.script([fault]);
        assert_eq!(discard(&mut world, owner, &grant), ["delete"], "{fault:?}");
        assert_eq!(world.validity(owner, &grant), Validity::Lost);
        let freed = fault == Fault::LostReply;
        assert_eq!(is_free(&mut world), freed, "{fault:?}");
        let again = world.acquire(owner, "k", once(30));
        assert_eq!(again.is_ok(), freed, "{fault:?}");
        assert!(!matches!(again, Err(AcquireError::AlreadyHeld)), "nobody has it to release");
        world.advance(secs(30));
        assert!(world.acquire(owner, "k", once(30)).is_ok());
    }
}

#[test]
fn after_the_drop_of_a_nested_grant_that_fails_the_last_release_frees() {
    for fault in [Fault::Unavailable, Fault::Rejected, Fault::LostRequest, Fault::LostReply] {
        let mut world = World::new();
        let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
        let options = LockOptions::new(Lease::new(Ttl::Forever).unwrap()).mode(Mode::Reentrant);
        let [outer, inner] = [(); 2].map(|()| world.acquire(owner, "k", options.clone()).unwrap());
        world.script([fault]);
        assert_eq!(discard(&mut world, owner, &inner), ["replace"], "{fault:?}");
        assert_eq!(world.session(owner).depth(&outer), 1);
        assert_eq!(world.release(owner, &outer), Ok(Released::Freed), "{fault:?}");
        assert!(world.acquire(other, "k", once(30)).is_ok());
    }
}
