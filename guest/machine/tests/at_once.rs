//! Machines of one session that are under way at once: an acquisition that is polled while another thread renews. What
//! one of them confirmed, or may have done, another that began before does not undo.

mod support;

use kvlock_machine::{Grant, GrantError, Released, Renew, StoreError, Ttl, Validity};
use support::{Drive, Fault, Op, Owner, World, lease, once, secs};

/// A session that holds `k` for a minute.
fn held() -> (World, Owner, Grant) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", once(60)).unwrap();
    (world, owner, grant)
}

fn renewal(world: &World, owner: Owner, grant: &Grant, length: u64) -> Op<Renew> {
    Op::new(world, owner, Renew::new(grant.clone(), Some(lease(secs(length)))))
}

/// A grant is valid for no longer than the store keeps its record.
fn assert_honest(world: &mut World, owner: Owner, grant: &Grant) {
    let kept = world.servers.entry("k", world.now).unwrap().time_left.unwrap();
    let Validity::Valid(valid) = world.validity(owner, grant) else { panic!("valid") };
    assert!(Ttl::After(valid) < kept, "valid for {valid:?}, kept for {kept:?}");
}

#[test]
fn the_late_answer_to_an_earlier_renewal_does_not_undo_a_later_one() {
    let (mut world, owner, grant) = held();
    let mut long = renewal(&world, owner, &grant, 300);
    world.script([Fault::SlowReply(secs(2))]);
    long.step(&mut world);
    long.step(&mut world);
    let short = renewal(&world, owner, &grant, 10);
    assert_eq!(world.finish(short), Ok(()));
    assert_eq!(world.finish(long), Ok(()));
    assert_honest(&mut world, owner, &grant);
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
}

/// Found by the model checker.
#[test]
fn a_renewal_that_could_not_be_sent_does_not_undo_another_one() {
    let (mut world, owner, grant) = held();
    let mut long = renewal(&world, owner, &grant, 300);
    world.script([Fault::Unavailable]);
    long.step(&mut world);
    let short = renewal(&world, owner, &grant, 10);
    assert_eq!(world.finish(short), Ok(()));
    let outcome = world.finish(long);
    assert!(matches!(outcome, Err(GrantError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
    assert_honest(&mut world, owner, &grant);
    world.advance(secs(8));
    assert_eq!(world.renew(owner, &grant), Ok(()));
}

#[test]
fn a_renewal_that_could_not_be_sent_does_not_undo_the_doubt_of_another_one() {
    let (mut world, owner, grant) = held();
    let mut long = renewal(&world, owner, &grant, 300);
    world.script([Fault::Unavailable]);
    long.step(&mut world);
    let short = renewal(&world, owner, &grant, 10);
    world.script([Fault::LostReply]);
    world.weather = Fault::Unavailable;
    assert!(matches!(world.finish(short), Err(GrantError::Store(StoreError::UnknownOutcome(_)))));
    world.weather = Fault::Fine;
    assert!(world.finish(long).is_err());
    assert_honest(&mut world, owner, &grant);
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
}
