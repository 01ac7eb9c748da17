//! Permits: granted, renewed, released and waited for.

use super::*;

#[test]
fn as_many_permits_as_the_size_are_granted_and_no_more() {
    let (mut world, a) = pool(3);
    let numbers: BTreeSet<_> = permits(&mut world, a, 3).iter().map(|grant| grant.permit().unwrap()).collect();
    assert_eq!(numbers, BTreeSet::from([0, 1, 2]));
    let b = world.owner("b");
    let Err(AcquireError::Busy { waiting_for: WaitingFor::Exhausted { size, held, holder }, .. }) =
        world.permit(b, "pool", once(30))
    else {
        panic!("a fourth permit of three")
    };
    assert_eq!((size, held, holder.unwrap().owner.as_str()), (3, 3, "a"));
}

#[test]
fn a_permit_is_renewed_and_released_like_a_lock_and_tells_its_semaphore() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(10)).unwrap();
    assert_eq!((grant.key(), grant.permit()), ("pool", Some(0)));
    world.advance(secs(8));
    assert_eq!(world.renew(a, &grant), Ok(()));
    world.advance(secs(8));
    assert!(matches!(world.validity(a, &grant), Validity::Valid(_)));
    release(&mut world, a, &grant);
    assert_eq!(status(&mut world, a), (1, vec![]));
}

#[test]
fn a_permit_comes_back_when_the_lease_of_a_crashed_holder_ends() {
    let (mut world, a) = pool(1);
    world.permit(a, "pool", once(10)).unwrap();
    let b = world.owner("b");
    let began = world.now;
    let grant = world.permit(b, "pool", waiting(10, secs(60))).unwrap();
    assert!((secs(10)..secs(11)).contains(&(world.now - began)));
    assert_eq!(grant.permit(), Some(0));
}

#[test]
fn the_token_of_a_permit_number_grows() {
    let (mut world, a) = pool(1);
    let mut last = 0;
    for _ in 0..3 {
        let grant = world.permit(a, "pool", once(10)).unwrap();
        assert!(grant.token() > last);
        last = grant.token();
        release(&mut world, a, &grant);
    }
}

#[test]
fn a_waiter_gets_the_permit_that_is_given_back() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 2);
    let b = world.owner("b");
    let mut waiter = world.acquiring_permit(b, "pool", waiting(30, secs(20)));
    world.run_for(secs(1), &mut [&mut waiter]);
    release(&mut world, a, &held[1]);
    let grant = world.finish(waiter).unwrap();
    assert_eq!(grant.permit(), held[1].permit());
}

#[test]
fn a_wait_ends_when_its_time_is_up() {
    let (mut world, a) = pool(1);
    permits(&mut world, a, 1);
    let began = world.now;
    let outcome = world.permit(a, "pool", waiting(30, secs(3)));
    assert!(matches!(outcome, Err(AcquireError::Busy { waited, .. }) if waited == secs(3)), "{outcome:?}");
    assert_eq!(world.now - began, secs(3));
}

#[test]
fn a_written_permit_is_taken_up_and_released_by_another_session() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(30)).unwrap();
    let word = world.write_out(a, &grant).unwrap();
    let b = world.owner("b");
    let resumed = world.resume(b, &word);
    assert_eq!((resumed.key(), resumed.permit(), resumed.token()), ("pool", Some(0), grant.token()));
    release(&mut world, b, &resumed);
    assert_eq!(world.renew(a, &grant).unwrap_err().to_string(), "the lock was lost");
}

#[test]
fn an_unknown_name_is_not_an_exhausted_semaphore() {
    let (mut world, a) = pool(1);
    assert_eq!(world.permit(a, "pond", once(30)), Err(AcquireError::Unknown));
    assert_eq!(world.resize(a, "pond", 0), Err(ResizeError::Unknown));
    assert_eq!(world.drive(a, List::one(Key::semaphore("pond").unwrap())), Ok(vec![]));
}

#[test]
fn sizes_and_names_out_of_range_are_refused() {
    assert!(Size::of(0).is_err());
    assert!(Size::of(MAX_PERMITS + 1).unwrap_err().to_string().contains("1000001 permits; 1 to 1000000"));
    assert!(Key::semaphore("").is_err());
    assert!(Key::semaphore(&"n".repeat(256)).is_err());
    assert!(Key::semaphore(&"n".repeat(255)).is_ok());
}

#[test]
fn names_of_every_kind_have_permits_of_their_own() {
    let mut world = World::new();
    let a = world.acquainted("a");
    for name in ["1:pool", "pool", "p o\nl", &"é".repeat(127)] {
        assert_eq!(world.resize(a, name, 2), Ok(None));
        world.permit(a, name, once(30)).unwrap();
        world.permit(a, name, once(30)).unwrap();
        assert!(matches!(world.permit(a, name, once(30)), Err(AcquireError::Busy { .. })));
    }
    assert_eq!(world.semaphores(a).len(), 4);
}
