//! Eras: what happens to grants and waiters when a store loses everything.

mod support;

use std::time::Duration;

use kvlock_machine::{AcquireError, GrantError, Lease, LockOptions, Released, Ttl, Validity, WaitingFor};
use support::{Drive, Fault, World, millis, nested, once, secs, waiting};

#[test]
fn a_store_that_lost_nothing_grants_at_once_to_a_new_session() {
    let mut world = World::new();
    let owner = world.owner("a");
    let began = world.now;
    world.acquire(owner, "k", once(30)).unwrap();
    assert_eq!((world.now, world.calls()), (began, vec!["add", "era"]));
}

#[test]
fn nothing_is_granted_in_an_era_younger_than_the_quarantine_and_the_waiter_is_told_how_long() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let lost = world.now;
    world.servers.lose(0, world.now);
    world.advance(secs(10));
    let mut op = world.acquiring(owner, "k", waiting(5, secs(60)));
    world.run_until(world.now, &mut [&mut op]);
    assert_eq!(*op.machine.waiting_for(), WaitingFor::Quarantine(secs(20)));
    assert_eq!(world.calls(), ["add", "era", "delete"]);
    assert!(world.servers.entry("k", world.now).is_none(), "nothing is left behind meanwhile");
    let grant = world.finish(op).unwrap();
    assert!(world.now >= lost + secs(30) && world.now <= lost + secs(30) + millis(50));
    assert_eq!(world.calls(), ["add"]);
    assert!(matches!(world.validity(owner, &grant), Validity::Valid(_)));
}

#[test]
fn a_wait_shorter_than_the_quarantine_ends_with_the_time_that_is_left() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.servers.lose(0, world.now);
    for wait in [0, 10] {
        let began = world.now;
        let Err(AcquireError::Busy { waited, waiting_for: WaitingFor::Quarantine(left) }) =
            world.acquire(owner, "k", waiting(5, secs(wait)))
        else {
            panic!("busy")
        };
        assert_eq!((waited, left, world.now), (secs(wait), secs(30 - wait), began + secs(wait)));
        assert!(world.servers.entry("k", world.now).is_none());
    }
}

#[test]
fn a_lease_longer_than_the_usual_quarantine_lengthens_it() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.servers.lose(0, world.now);
    let outcome = world.acquire(owner, "k", once(100));
    assert!(
        matches!(&outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) if *left == secs(100)),
        "{outcome:?}"
    );
}

#[test]
fn a_minimum_hold_longer_than_the_usual_quarantine_lengthens_it_and_one_that_is_set_counts() {
    let mut world = World::new();
    let (owner, set) = (world.owner("a"), world.owner_with("b", Some(secs(40))));
    world.servers.lose(0, world.now);
    for (owner, lease, expected) in [(owner, 10, 3600), (owner, 7200, 7200), (set, 10, 40)] {
        let outcome = world.acquire(owner, "k", once(lease).at_least(secs(3600)).unwrap());
        assert!(
            matches!(&outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) if *left == secs(expected)),
            "{outcome:?}"
        );
    }
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap()).wait(Some(Duration::ZERO)).unwrap();
    let outcome = world.acquire(owner, "k", forever.at_least(secs(3600)).unwrap());
    assert!(
        matches!(outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(left), .. }) if left == secs(3600))
    );
}

#[test]
fn a_quarantine_of_zero_grants_at_once() {
    let mut world = World::new();
    let owner = world.owner_with("a", Some(Duration::ZERO));
    world.servers.lose(0, world.now);
    world.acquire(owner, "k", once(100)).unwrap();
    assert_eq!(world.calls(), ["add", "era"]);
}

#[test]
fn a_grant_of_an_era_that_ended_is_lost() {
    for taken in [false, true] {
        let mut world = World::new();
        let (owner, other) = (world.acquainted("a"), world.owner_with("b", Some(Duration::ZERO)));
        let grants = ["k", "l"].map(|key| world.acquire(owner, key, nested(30)).unwrap());
        world.servers.lose(0, world.now);
        let present = taken.then(|| ["k", "l"].map(|key| world.acquire(other, key, once(30)).unwrap()));
        assert!(matches!(world.renew(owner, &grants[0]), Err(GrantError::Lost(_))));
        assert!(matches!(world.release(owner, &grants[1]), Err(GrantError::Lost(_))));
        if let Some(present) = present {
            assert!(present[0].token() > grants[0].token());
            assert_eq!(world.renew(other, &present[0]), Ok(()));
            assert_eq!(world.release(other, &present[1]), Ok(Released::Freed));
        }
    }
}

#[test]
fn a_lock_whose_holder_does_not_know_of_the_loss_is_not_granted_to_anybody_while_it_is_valid() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("a"), world.acquainted("b"));
    let grant = world.acquire(holder, "k", once(30)).unwrap();
    let mut op = world.acquiring(other, "k", waiting(30, secs(300)));
    world.run_for(secs(1), &mut [&mut op]);
    world.servers.lose(0, world.now);
    let next = world.finish(op).unwrap();
    assert_eq!(world.validity(holder, &grant), Validity::Lost);
    assert!(next.token() > grant.token());
}

#[test]
fn a_record_that_cannot_be_taken_back_in_a_young_era_is_claimed_afterwards() {
    for fault in [Fault::Unavailable, Fault::LostRequest, Fault::Late(secs(3))] {
        let mut world = World::new();
        let owner = world.acquainted("a");
        world.servers.lose(0, world.now);
        world.script([Fault::Fine, Fault::Fine, fault]);
        let grant = world.acquire(owner, "k", waiting(300, secs(900))).unwrap();
        assert_eq!(world.renew(owner, &grant), Ok(()), "{fault:?}");
    }
}

#[test]
fn an_era_that_cannot_be_asked_about_grants_nothing_and_leaves_nothing() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.script([Fault::Fine, Fault::Rejected]);
    let outcome = world.acquire(owner, "k", once(30));
    assert!(matches!(outcome, Err(AcquireError::Store(_))), "{outcome:?}");
    assert!(world.servers.entry("k", world.now).is_none());
}

#[test]
fn a_loss_between_the_write_and_the_question_about_its_era_grants_nothing() {
    let mut world = World::new();
    let owner = world.owner("a");
    let mut op = world.acquiring(owner, "k", waiting(30, secs(300)));
    while world.log.len() < 2 {
        op.step(&mut world);
    }
    world.servers.lose(0, world.now);
    let lost = world.now;
    let grant = world.finish(op).unwrap();
    assert!(world.now >= lost + secs(30));
    assert_eq!(world.renew(owner, &grant), Ok(()));
}

#[test]
fn a_late_add_in_a_new_era_does_not_carry_a_grant_of_the_old_one() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.script([Fault::Late(secs(8))]);
    let grant = world.acquire(owner, "k", waiting(30, secs(60))).unwrap();
    world.script([Fault::LostRequest]);
    world.weather = Fault::Unavailable;
    assert!(world.renew(owner, &grant).is_err());
    world.weather = Fault::Fine;
    world.servers.lose(0, world.now);
    world.advance(secs(10));
    assert!(world.servers.entry("k", world.now).is_some(), "the late add was executed");
    assert!(matches!(world.renew(owner, &grant), Err(GrantError::Lost(_))));
}

#[test]
fn each_server_has_an_era_of_its_own() {
    let mut world = World::new();
    let young = world.servers.place("young");
    world.servers.place("old");
    let owner = world.owner("a");
    world.servers.lose(young, world.now);
    assert!(world.acquire(owner, "old", once(5)).is_ok());
    let outcome = world.acquire(owner, "young", once(5));
    assert!(matches!(outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(_), .. })), "{outcome:?}");
    world.calls();
    assert!(world.acquire(owner, "also on the first", once(5)).is_ok());
    assert_eq!(world.calls(), ["add", "era"]);
}

#[test]
fn a_session_may_meet_any_number_of_eras() {
    let mut world = World::new();
    let owner = world.owner("a");
    let keys: Vec<_> = (0..100).map(|index| format!("key {index}").replace(' ', "-")).collect();
    for key in &keys {
        // Each server's era is older than those before.
        world.servers.place(key);
        assert!(world.acquire(owner, key, once(30)).is_ok());
    }
    for key in &keys {
        assert!(matches!(world.acquire(owner, key, once(30)), Err(AcquireError::AlreadyHeld)));
    }
}

#[test]
fn fencing_tokens_grow_across_eras_however_much_was_written() {
    let mut world = World::new();
    let owner = world.owner_with("a", Some(Duration::ZERO));
    let mut last = 0;
    for _ in 0..20 {
        for _ in 0..20 {
            let grant = world.acquire(owner, "k", once(30)).unwrap();
            assert!(grant.token() > last);
            last = grant.token();
            world.release(owner, &grant).unwrap();
        }
        world.servers.lose(0, world.now);
    }
}
