//! Permits that are written out, taken up by another session, and given back there.

mod support;

use std::time::Duration;

use kvlock_machine::{AcquireError, Lease, LockOptions, Ttl, WaitingFor};
use support::{Owner, World, once, secs};

/// A world with a semaphore, and somebody who knows the store.
fn pool(size: u32) -> (World, Owner) {
    let mut world = World::new();
    let owner = world.acquainted("a");
    assert_eq!(world.resize(owner, "pool", size), Ok(None));
    (world, owner)
}

#[test]
fn a_permit_that_was_written_out_and_released_elsewhere_is_had_again() {
    for lease in [Ttl::After(secs(30)), Ttl::Forever] {
        let (mut world, a) = pool(1);
        let b = world.acquainted("b");
        let options = LockOptions::new(Lease::new(lease).unwrap()).wait(Some(Duration::ZERO)).unwrap();
        let grant = world.permit(a, "pool", options.clone()).unwrap();
        let word = world.write_out(a, &grant).unwrap();
        let Err(AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size, held, holder }, .. }) =
            world.permit(a, "pool", options.clone())
        else {
            panic!("it is held")
        };
        assert_eq!((size, held, holder.map(|holder| holder.owner)), (1, 1, Some("a".to_owned())));
        let taken = world.resume(b, &word);
        world.release(b, &taken).unwrap();
        let again = world.permit(a, "pool", options).unwrap();
        assert!(again.token() > grant.token());
    }
}

#[test]
fn a_permit_that_was_taken_up_and_never_used_is_had_again_once_it_was_released_elsewhere() {
    let (mut world, a) = pool(1);
    let b = world.acquainted("b");
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap()).wait(Some(Duration::ZERO)).unwrap();
    let grant = world.permit(a, "pool", forever.clone()).unwrap();
    let word = world.write_out(a, &grant).unwrap();
    world.resume(b, &word);
    world.release(a, &grant).unwrap();
    assert!(world.permit(b, "pool", forever).is_ok());
}

#[test]
fn a_permit_that_was_written_out_and_released_elsewhere_does_not_keep_the_semaphore_from_shrinking() {
    let (mut world, a) = pool(2);
    let b = world.acquainted("b");
    let forever = LockOptions::new(Lease::new(Ttl::Forever).unwrap()).wait(Some(Duration::ZERO)).unwrap();
    let held = [(); 2].map(|()| world.permit(a, "pool", forever.clone()).unwrap());
    let word = world.write_out(a, &held[1]).unwrap();
    let taken = world.resume(b, &word);
    world.release(b, &taken).unwrap();
    assert_eq!(world.resize(a, "pool", 1), Ok(Some(2)));
}

#[test]
fn a_permit_of_its_own_that_was_evicted_counts_as_held() {
    let (mut world, a) = pool(1);
    let _evicted = world.permit(a, "pool", once(30)).unwrap();
    world.servers.remove("n:permit:0:pool");
    let Err(AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size, held, .. }, .. }) =
        world.permit(a, "pool", once(30))
    else {
        panic!("it may be in use")
    };
    assert_eq!((size, held), (1, 1));
}
