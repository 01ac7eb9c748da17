//! Machines of one session that are under way at once: an acquisition that is polled while another thread renews. What
//! one of them confirmed, or may have done, another that began before does not undo.

mod support;

use kvlock_machine::{Grant, GrantError, Released, Renew, StoreError, Ttl, Validity};
use support::{Drive, Fault, Op, Owner, World, kind, lease, millis, nested, once, secs};

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

/// Found by the model checker: what the renewal confirmed made an end of the doubt, and the acquisition went on.
#[test]
fn a_nested_acquisition_that_goes_on_after_a_renewal_is_in_doubt_again() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", nested(60)).unwrap();
    let mut nesting = world.acquiring(owner, "k", nested(60));
    world.script([Fault::LostRequest, Fault::Fine]);
    nesting.run_to_call(&mut world);
    nesting.step(&mut world);
    assert_eq!(world.renew(owner, &grant), Ok(()));
    // Now it finds another version, and writes under that one; the answer is lost.
    world.script([Fault::Fine, Fault::Fine, Fault::LostReply, Fault::Unavailable]);
    while world.log.iter().filter(|call| kind(&call.request) == "replace").count() < 4 {
        nesting.step(&mut world);
    }
    nesting.step(&mut world);
    assert_eq!(world.renew(owner, &grant), Ok(()));
    let inner = world.finish(nesting).unwrap();
    assert_honest(&mut world, owner, &grant);
    assert_eq!(world.release(owner, &inner), Ok(Released::Nested(1)));
    assert_eq!(world.release(owner, &grant), Ok(Released::Freed));
}

/// Found by the model checker: the lease was counted from the first of its requests, and was over by that.
#[test]
fn a_nested_acquisition_that_is_read_back_counts_from_the_request_that_happened() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", nested(3)).unwrap();
    let mut nesting = world.acquiring(owner, "k", nested(3));
    world.script([Fault::LostRequest, Fault::SlowReply(millis(1500))]);
    nesting.run_to_call(&mut world);
    nesting.step(&mut world);
    assert_eq!(world.renew(owner, &grant), Ok(()));
    world.script([Fault::Fine, Fault::Fine, Fault::LostReply, Fault::SlowReply(millis(1400))]);
    let inner = world.finish(nesting).unwrap();
    assert_honest(&mut world, owner, &inner);
}
