//! Breaking, adopting, and the minimum hold.

use std::time::Duration;

use kvlock::store::Op;
use kvlock::{Released, Validity, error::GrantError, status::Broken};

use crate::peers::assert_undisturbed;
use crate::world::{Meddler, World, busy, busy_with, refused, secs};

#[test]
fn breaking_frees_the_lock_and_tells_whose_it_was() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let grant = one.lock("k").acquire().unwrap();
    let broken = two.break_lock("k").unwrap().ended().unwrap();
    assert_eq!((broken.owner.as_str(), broken.token), ("one", grant.token()));
    assert!(world.holder("k").is_none());
    assert!(matches!(grant.release(), Err(GrantError::Lost { holder: None, .. })));
}

#[test]
fn breaking_with_a_token_ends_the_grant_that_was_seen_and_no_other() {
    let (_, [one, two, operator]) = World::with(["one", "two", "operator"]);
    let seen = one.lock("k").acquire().unwrap();
    let token = seen.token();
    seen.release().unwrap();
    assert_eq!(operator.break_lock_if("k", token), Ok(Broken::Free));
    let mut held = two.lock("k").acquire().unwrap();
    let Ok(Broken::Other(holder)) = operator.break_lock_if("k", token) else { panic!("it is two's by now") };
    assert_eq!((holder.owner.as_str(), holder.token), ("two", held.token()));
    held.renew().unwrap();
    let Ok(Broken::Ended(holder)) = operator.break_lock_if("k", held.token()) else { panic!("that is the one") };
    let left = holder.at_work_until().unwrap().duration_since(std::time::SystemTime::now()).unwrap();
    assert!(left <= secs(30) && left > secs(20), "{left:?}");
    assert!(matches!(held.renew(), Err(GrantError::Lost { .. })));
}

#[test]
fn a_successor_that_comes_while_a_break_looks_keeps_the_lock() {
    let world = World::new();
    let (meddled, operator) = Meddler::session(&world, "operator");
    let _seen = world.session("one").lock("k").lease(secs(30)).acquire().unwrap();
    let successor = meddled.successor_just_before(Op::Delete, &world);
    let broken = operator.break_lock("k").unwrap();
    assert!(matches!(&broken, Broken::Other(holder) if holder.owner == "two"), "{broken:?}");
    assert_undisturbed(&world, &successor);
}

#[test]
fn breaking_a_free_lock_does_nothing() {
    let world = World::new();
    assert_eq!(world.session("one").break_lock("k"), Ok(Broken::Free));
    assert_eq!(world.calls(), ["get kvlock:lock:k -> nothing"]);
}

#[test]
fn a_waiter_takes_a_broken_lock_and_its_token_is_larger() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut old = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let mut waits = [two.lock("k").begin().unwrap()];
    assert!(matches!(waits[0].poll(), Ok(kvlock::AcquirePoll::Pending { .. })));
    world.session("operator").break_lock("k").unwrap();
    let new = world.run_until_one_ends(&mut waits).1.unwrap();
    assert!(new.token() > old.token());
    match refused(old.renew()) {
        GrantError::Lost { holder: Some(holder), .. } => assert_eq!(holder.owner, "two"),
        other => panic!("{other}"),
    }
    assert_eq!(new.release(), Ok(Released::Freed));
}

#[test]
fn a_restarted_worker_adopts_the_lock_of_its_name() {
    let (world, [before, after]) = World::with(["worker", "worker"]);
    let mut old = before.lock("k").lease(secs(3600)).acquire().unwrap();
    let (new, waited) = world.timed(|| after.lock("k").adopt().acquire().unwrap());
    assert_eq!(waited, Duration::ZERO);
    assert!(new.token() > old.token());
    assert!(matches!(refused(old.renew()), GrantError::Lost { .. }));
    assert_eq!(old.validity(), Ok(Validity::Lost));
    assert_eq!(world.holder("k").unwrap().token, new.token());
    assert_eq!(new.release(), Ok(Released::Freed));
}

#[test]
fn nobody_adopts_the_lock_of_another_name_or_without_asking() {
    let (_, [one, two, same]) = World::with(["one", "two", "one"]);
    let _held = one.lock("k").acquire().unwrap();
    assert_eq!(busy_with(two.lock("k").adopt().wait(Duration::ZERO).acquire()).owner, "one");
    assert_eq!(busy_with(same.lock("k").wait(Duration::ZERO).acquire()).owner, "one");
}

#[test]
fn a_lock_with_a_minimum_hold_stays_taken_after_its_release() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let grant = one.lock("daily").lease(secs(10)).at_least(secs(3600)).acquire().unwrap();
    world.clock.advance(secs(5));
    let Ok(Released::Kept(left)) = grant.release() else { panic!("it is kept") };
    assert_eq!(left, secs(3595));
    let holder = busy_with(two.lock("daily").wait(Duration::ZERO).acquire());
    assert_eq!((holder.owner.as_str(), holder.depth), ("one", 0));
    assert!(holder.to_string().starts_with("released by one and kept for its minimum time"), "{holder}");
    // Its old holder is not let in sooner than anybody else.
    busy(one.lock("daily").wait(Duration::ZERO).acquire());
    let (_, waited) = world.timed(|| two.lock("daily").acquire().unwrap());
    assert!(waited >= left && waited <= left + secs(1), "{waited:?}");
}

#[test]
fn a_release_after_the_minimum_hold_frees_at_once() {
    let (world, [session]) = World::with(["one"]);
    let grant = session.lock("k").at_least(secs(5)).acquire().unwrap();
    world.clock.advance(secs(5));
    assert_eq!(grant.release(), Ok(Released::Freed));
    assert!(world.holder("k").is_none());
}

#[test]
fn a_lock_kept_for_its_minimum_time_can_be_broken_but_not_adopted() {
    let (_, [one, same]) = World::with(["one", "one"]);
    one.lock("k").at_least(secs(3600)).acquire().unwrap().release().unwrap();
    busy(same.lock("k").adopt().wait(Duration::ZERO).acquire());
    assert_eq!(same.break_lock("k").unwrap().ended().unwrap().depth, 0);
    assert!(same.lock("k").try_acquire().unwrap().is_some());
}
