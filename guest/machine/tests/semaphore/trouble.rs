//! What is listed and broken by force, and what a store that fails makes of permits and sizes.

use super::*;

#[test]
fn all_semaphores_are_listed_by_name_with_their_holders() {
    let (mut world, a) = pool(2);
    let b = world.owner("b");
    assert_eq!(world.resize(b, "lake", 3), Ok(None));
    permits(&mut world, b, 1);
    let told = world.semaphores(a);
    let told: Vec<_> =
        told.iter().map(|one| (one.name.as_str(), one.size, one.holders.iter().map(|h| &*h.owner).collect())).collect();
    assert_eq!(told, [("lake", 3, vec![]), ("pool", 2, vec!["b"])]);
}

#[test]
fn a_permit_is_broken_by_its_number() {
    let (mut world, a) = pool(1);
    let held = permits(&mut world, a, 1);
    let b = world.owner("b");
    let breaking = Break::permit(world.session(b), &Key::semaphore("pool").unwrap(), 0);
    assert!(matches!(world.drive(b, breaking), Ok(Broken::Ended(holder)) if holder.owner == "a"));
    assert!(world.permit(b, "pool", once(30)).is_ok());
    assert!(world.renew(a, &held[0]).is_err());
}

#[test]
fn an_evicted_permit_of_our_own_is_not_taken_twice() {
    let (mut world, a) = pool(2);
    let held = permits(&mut world, a, 1);
    let number = held[0].permit().unwrap();
    world.servers.remove(&format!("n:permit:{number}:pool"));
    let other = world.permit(a, "pool", once(30)).unwrap();
    assert_ne!(other.permit(), held[0].permit());
}

#[test]
fn a_lost_answer_is_read_back_when_a_semaphore_is_made() {
    for calls in 0..4 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let mut world = World::new();
            let a = world.acquainted("a");
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            assert_eq!(finish_resize(&mut world, a, 2), Ok(None), "{fault:?} at call {calls}");
            assert_eq!(world.semaphores(a).len(), 1);
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_when_a_permit_is_acquired() {
    for calls in 0..3 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let (mut world, a) = pool(1);
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            let grant = world.permit(a, "pool", waiting(30, secs(5))).unwrap();
            assert_eq!(status(&mut world, a), (1, vec![0]), "{fault:?} at call {calls}");
            release(&mut world, a, &grant);
        }
    }
}

#[test]
fn a_lost_answer_is_read_back_when_a_semaphore_is_destroyed() {
    for calls in 0..7 {
        for fault in [Fault::LostReply, Fault::LostRequest] {
            let (mut world, a) = pool(2);
            world.script((0..calls).map(|_| Fault::Fine).chain([fault]));
            assert_eq!(finish_resize(&mut world, a, 0), Ok(Some(2)), "{fault:?} at call {calls}");
            assert_eq!(world.semaphores(a), [], "{fault:?} at call {calls}");
        }
    }
}

#[test]
fn an_outage_is_ridden_out_by_a_wait_and_told_to_a_single_try() {
    let (mut world, a) = pool(1);
    let unavailable = Err(AcquireError::Store(StoreError::Unavailable("connection refused".into())));
    world.weather = Fault::Unavailable;
    assert_eq!(world.permit(a, "pool", once(30)), unavailable);
    let mut waiter = world.acquiring_permit(a, "pool", waiting(30, secs(20)));
    world.run_for(secs(2), &mut [&mut waiter]);
    assert!(matches!(waiter.machine.waiting_for(), WaitingFor::Outage(_)));
    world.weather = Fault::Fine;
    assert!(world.finish(waiter).is_ok());
}

#[test]
fn no_permit_is_granted_in_a_young_era() {
    let (mut world, a) = pool(1);
    world.servers.lose(0, world.now);
    assert_eq!(world.permit(a, "pool", once(30)), Err(AcquireError::Unknown));
    assert_eq!(world.resize(a, "pool", 1), Ok(None));
    let outcome = world.permit(a, "pool", once(30));
    assert!(matches!(outcome, Err(AcquireError::Busy { waiting_for: WaitingFor::Quarantine(_), .. })), "{outcome:?}");
    let began = world.now;
    world.permit(a, "pool", waiting(30, secs(60))).unwrap();
    assert!(world.now - began >= secs(29));
}

#[test]
fn a_foreign_value_is_corrupt_and_left_alone() {
    let (mut world, a) = pool(1);
    world.servers.put("n:semaphore:pool", b"42");
    assert!(matches!(world.permit(a, "pool", once(30)), Err(AcquireError::Corrupt(_))));
    assert!(matches!(world.resize(a, "pool", 3), Err(ResizeError::Corrupt(_))));
    assert!(matches!(world.resize(a, "pool", 0), Err(ResizeError::Corrupt(_))));
    world.servers.put("n:semaphores", b"43");
    assert!(matches!(world.resize(a, "lake", 3), Err(ResizeError::Corrupt(_))));
    assert!(world.drive(a, List::all()).is_err());
    let (mut world, a) = pool(2);
    world.servers.put("n:permit:1:pool", b"44");
    assert_eq!(permits(&mut world, a, 1)[0].permit(), Some(0));
    assert!(matches!(world.permit(a, "pool", once(30)), Err(AcquireError::Busy { .. })));
    assert!(world.drive(a, List::all()).is_err());
}

#[test]
fn a_permit_whose_answer_took_longer_than_its_lease_is_not_granted() {
    let (mut world, a) = pool(1);
    world.script([Fault::Fine, Fault::Fine, Fault::SlowReply(secs(3))]);
    let outcome = world.permit(a, "pool", once(2));
    assert!(outcome.is_err(), "{outcome:?}");
    let grant = world.permit(a, "pool", once(2)).unwrap();
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left > millis(1900)));
}

#[test]
fn a_permit_may_have_a_lease_of_its_own_length() {
    let (mut world, a) = pool(1);
    let grant = world.permit(a, "pool", once(5)).unwrap();
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left <= secs(5)));
    assert_eq!(world.drive(a, kvlock_machine::Renew::new(grant.clone(), Some(lease(secs(60))))), Ok(()));
    assert!(matches!(world.validity(a, &grant), Validity::Valid(left) if left > secs(50)));
}
