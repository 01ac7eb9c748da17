//! Leases end: takeover, renewal, and that a loss is told, each time.

use std::time::Duration;

use kvlock::store::{Fault, Op, Ttl};
use kvlock::{Released, Validity, error::GrantError};

use crate::world::{World, busy, busy_with, millis, refused, secs};

fn lost_to(error: GrantError) -> Option<String> {
    match error {
        GrantError::Lost { holder, .. } => holder.map(|holder| holder.owner),
        other => panic!("not lost: {other}"),
    }
}

#[test]
fn a_lease_that_is_not_renewed_ends_and_the_next_waiter_takes_over() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let first = one.lock("k").lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10) - millis(1));
    busy(two.lock("k").wait(Duration::ZERO).acquire());
    world.clock.advance(millis(1));
    let second = two.lock("k").wait(Duration::ZERO).acquire().unwrap();
    assert!(second.token() > first.token());
    assert_eq!(world.holder("k").unwrap().owner, "two");
}

#[test]
fn a_renewal_begins_the_lease_again() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut grant = one.lock("k").lease(secs(10)).acquire().unwrap();
    for _ in 0..100 {
        world.clock.advance(secs(9));
        grant.renew().unwrap();
        busy(two.lock("k").wait(Duration::ZERO).acquire());
    }
    assert_eq!(grant.release().unwrap(), Released::Freed);
}

#[test]
fn a_renewal_may_change_the_length_of_the_lease() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut grant = one.lock("k").lease(secs(10)).acquire().unwrap();
    grant.renew_for(secs(100)).unwrap();
    world.clock.advance(secs(50));
    assert_eq!(busy_with(two.lock("k").wait(Duration::ZERO).acquire()).lease, Ttl::After(secs(100)));
    grant.renew_for(secs(5)).unwrap();
    world.clock.advance(secs(5));
    assert!(two.lock("k").wait(Duration::ZERO).acquire().is_ok());
    let invalid = refused(two.lock("other").acquire().unwrap().renew_for(Duration::ZERO));
    assert!(matches!(invalid, GrantError::Invalid { .. }), "{invalid}");
}

#[test]
fn a_grant_is_valid_for_a_little_less_than_its_lease_counted_from_the_request() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::Slow(secs(4)));
    let grant = session.lock("k").lease(secs(10)).acquire().unwrap();
    let Ok(Validity::Valid(left)) = grant.validity() else { panic!("it is held") };
    assert!(left < secs(6) && left > secs(5), "{left:?}");
    world.clock.advance(left - Duration::from_nanos(1));
    assert_eq!(grant.validity(), Ok(Validity::Valid(Duration::from_nanos(1))));
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(grant.validity(), Ok(Validity::Lost));
    assert_eq!(world.holder("k").unwrap().owner, "one", "the store's entry outlives the grant");
}

#[test]
fn past_its_deadline_a_grant_is_lost_and_sends_nothing() {
    let (world, [session]) = World::with(["one"]);
    let mut grant = session.lock("k").lease(secs(10)).acquire().unwrap();
    world.calls();
    world.clock.advance(secs(10));
    assert_eq!(lost_to(refused(grant.renew())), None);
    assert_eq!(grant.depth(), Ok(0));
    assert_eq!(lost_to(refused(grant.release())), None);
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn a_loss_is_told_each_time_it_is_asked_about() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut old = one.lock("k").lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10));
    let new = two.lock("k").acquire().unwrap();
    for _ in 0..3 {
        lost_to(refused(old.renew()));
        assert_eq!(old.validity(), Ok(Validity::Lost));
    }
    lost_to(refused(old.release()));
    assert_eq!(world.holder("k").unwrap().token, new.token(), "the present holder is not affected");
    assert_eq!(new.release(), Ok(Released::Freed));
}

#[test]
fn a_loss_that_the_store_tells_names_the_present_holder() {
    for renew in [true, false] {
        let (world, [one, two, observer]) = World::with(["one", "two", "observer"]);
        let mut old = one.lock("k").acquire().unwrap();
        observer.break_lock("k").unwrap();
        let _new = two.lock("k").acquire().unwrap();
        let error = if renew { refused(old.renew()) } else { refused(old.release()) };
        assert!(error.to_string().contains("it is held by two"), "{error}");
        assert_eq!(lost_to(error).as_deref(), Some("two"));
        assert_eq!(world.holder("k").unwrap().owner, "two");
    }
}

#[test]
fn an_old_grant_of_the_same_session_does_not_touch_its_new_one() {
    let (world, [session]) = World::with(["one"]);
    let mut old = session.lock("k").lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10));
    let new = session.lock("k").acquire().unwrap();
    lost_to(refused(old.renew()));
    lost_to(refused(old.release()));
    assert!(matches!(new.validity(), Ok(Validity::Valid(_))));
    assert_eq!(new.release(), Ok(Released::Freed));
}

#[test]
fn an_evicted_lock_is_lost_at_the_next_renewal_or_release() {
    for renew in [true, false] {
        let world = World::new();
        let mut grant = world.session("one").lock("k").acquire().unwrap();
        assert!(world.store.evict("kvlock:lock:k"));
        let error = if renew { refused(grant.renew()) } else { refused(grant.release()) };
        assert_eq!(lost_to(error), None);
    }
}

#[test]
fn a_lease_without_end_stays_until_it_is_released() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut grant = one.lock("k").lease(Ttl::Forever).acquire().unwrap();
    world.clock.advance(secs(100 * 365 * 24 * 3600));
    assert_eq!(grant.validity(), Ok(Validity::Unlimited));
    let holder = busy_with(two.lock("k").wait(Duration::ZERO).acquire());
    assert_eq!((holder.time_left, holder.until), (Some(Ttl::Forever), None));
    assert!(holder.to_string().ends_with("until released"), "{holder}");
    grant.renew().unwrap();
    assert_eq!(grant.release(), Ok(Released::Freed));
}

#[test]
fn a_broken_lease_without_end_is_lost_at_its_next_renewal() {
    let world = World::new();
    let mut grant = world.session("one").lock("k").lease(Ttl::Forever).acquire().unwrap();
    world.session("operator").break_lock("k").unwrap();
    assert_eq!(lost_to(refused(grant.renew())), None);
    assert_eq!(grant.validity(), Ok(Validity::Lost));
}

#[test]
fn a_lease_begins_at_the_try_that_succeeds() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let _first = one.lock("k").lease(secs(100)).acquire().unwrap();
    let second = two.lock("k").lease(secs(10)).acquire().unwrap();
    let Ok(Validity::Valid(left)) = second.validity() else { panic!("it is held") };
    assert!(left > secs(9), "{left:?}");
}

#[test]
fn an_answer_slower_than_the_lease_makes_no_dead_grant() {
    let (world, [session]) = World::with(["one"]);
    world.store.script_for(Op::Add, Fault::Slow(secs(20)));
    let grant = session.lock("k").lease(secs(10)).acquire().unwrap();
    let Ok(Validity::Valid(left)) = grant.validity() else { panic!("it is held") };
    assert!(left > secs(9), "{left:?}");
}
