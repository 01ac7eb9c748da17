//! Permits: acquired, waited for, held, lost, handed over.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kvlock::store::{Op, Ttl};
use kvlock::{
    AcquirePoll, Grant, Released, Validity, WaitingFor,
    error::{AcquireError, GrantError, WithLockError},
    status::Broken,
};

use super::{assert_unknown, exhausted, made, permits, pool, standing};
use crate::world::{World, busy, millis, refused, secs};

/// What a permit's loss tells about who has its number now.
#[track_caller]
fn lost_to(error: GrantError) -> Option<String> {
    match error {
        GrantError::Lost { holder, .. } => holder.map(|holder| holder.owner),
        other => panic!("not lost: {other}"),
    }
}

fn numbers(grants: &[Grant]) -> BTreeSet<u32> {
    grants.iter().map(|grant| grant.permit().expect("a permit has a number")).collect()
}

#[test]
fn as_many_permits_as_the_size_are_granted_and_the_next_is_told_how_many_are_held() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let held: Vec<Grant> = permits(&one, 2).into_iter().chain(permits(&two, 1)).collect();
    assert_eq!(numbers(&held), BTreeSet::from([0, 1, 2]));
    assert!(held.iter().all(|grant| grant.key() == "pool"));
    let (size, in_use, holder) = exhausted(&two);
    assert_eq!((size, in_use), (3, 3));
    assert!(["one", "two"].contains(&holder.owner.as_str()), "{holder}");
    let error = refused(one.permit().wait(Duration::ZERO).acquire()).to_string();
    for part in ["`pool` is busy: 3 of 3 permits are held, one is held by ", "since", "until"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_try_answers_at_once_whether_or_not_a_permit_is_free() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let ((free, taken), passed) = world.timed(|| {
        let free = one.permit().try_acquire().unwrap();
        (free, two.permit().try_acquire().unwrap().is_none())
    });
    assert!(free.is_some() && taken);
    assert_eq!(passed, Duration::ZERO);
}

#[test]
fn a_wait_takes_as_long_as_was_asked_for() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let _held = one.permit().lease(secs(3600)).acquire().unwrap();
    let (outcome, passed) = world.timed(|| two.permit().wait(secs(5)).acquire());
    let (waited, waiting_for) = busy(outcome);
    assert!(matches!(waiting_for, WaitingFor::Exhausted { size: 1, held: 1, .. }), "{waiting_for}");
    assert_eq!((waited, passed), (secs(5), secs(5)));
}

#[test]
fn a_waiter_gets_the_permit_that_comes_back_in_an_interval() {
    let (world, one) = World::with_pool(2);
    let two = pool(&world, "two");
    let mut held = permits(&one, 2);
    let mut wait = two.permit().interval(millis(200)).begin().unwrap();
    for _ in 0..50 {
        match wait.poll() {
            Ok(AcquirePoll::Pending { pause, waiting_for: WaitingFor::Exhausted { .. } }) => {
                assert!(pause <= millis(200), "{pause:?}");
                world.clock.advance(pause);
            }
            _ => panic!("both are held"),
        }
    }
    let back = held.pop().unwrap();
    let number = back.permit();
    back.release().unwrap();
    let (grant, waited) = world.timed(|| wait.block().unwrap());
    assert_eq!((grant.owner(), grant.permit()), ("two", number));
    assert!(waited <= millis(200), "{waited:?}");
}

#[test]
fn a_dropped_permit_is_released() {
    let (_, one) = World::with_pool(2);
    let held = permits(&one, 2);
    drop(held);
    assert_eq!(standing(&one), (2, vec![]));
}

#[test]
fn a_permit_outlives_its_session_and_its_semaphores_name() {
    let (world, one) = World::with_pool(1);
    let grant = pool(&world, "two").permit().acquire().unwrap();
    assert_eq!(standing(&one), (1, vec!["two".into()]));
    drop(grant);
    assert_eq!(standing(&one), (1, vec![]));
}

#[test]
fn with_permit_gives_the_value_and_releases() {
    let (_, one) = World::with_pool(2);
    let value = one.permit().with_permit(|kept| {
        assert_eq!(kept.lost(), None);
        assert_eq!(standing(&one), (2, vec!["one".into()]));
        42
    });
    assert_eq!(value.unwrap(), 42);
    assert_eq!(standing(&one), (2, vec![]));
}

#[test]
fn with_permit_releases_if_the_work_panics() {
    let (_, one) = World::with_pool(1);
    let outcome = catch_unwind(AssertUnwindSafe(|| one.permit().with_permit(|_| panic!("on purpose"))));
    assert_eq!(outcome.err().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(standing(&one), (1, vec![]));
    permits(&one, 1).remove(0).release().expect("the session is as good as before");
}

#[test]
fn with_permit_does_not_run_the_work_without_one() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let _held = permits(&one, 1);
    let outcome = two.permit().wait(secs(1)).with_permit(|_| panic!("it runs"));
    assert!(matches!(outcome, Err(WithLockError::Acquire(AcquireError::Busy { .. }))));
}

#[test]
fn with_permit_tells_if_the_permit_was_lost_meanwhile_and_still_gives_the_value() {
    let world = World::new();
    let (one, operator) = (made(&world, 1), pool(&world, "operator"));
    let outcome = one.permit().with_permit(|_| {
        operator.break_permit(0).unwrap();
        42
    });
    match outcome {
        Err(WithLockError::Release { value: 42, error: GrantError::Lost { .. } }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn permits_of_one_session_are_renewed_and_released_each_by_itself() {
    let (world, one) = World::with_pool(3);
    let two = pool(&world, "two");
    let mut held: Vec<_> = (0..3).map(|_| one.permit().lease(secs(10)).acquire().unwrap()).collect();
    world.clock.advance(secs(8));
    held[1].renew().unwrap();
    held.remove(2).release().unwrap();
    world.clock.advance(secs(8));
    assert_eq!(held[0].validity(), Ok(Validity::Lost));
    assert!(matches!(held[1].validity(), Ok(Validity::Valid(_))));
    let others = permits(&two, 2);
    assert!(!numbers(&others).contains(&held[1].permit().unwrap()));
    assert_eq!(exhausted(&one).1, 3);
    assert_eq!(held.remove(1).release(), Ok(Released::Freed));
}

#[test]
fn the_permit_of_a_crashed_holder_comes_back_when_its_lease_ends_and_not_before() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    one.permit().lease(secs(10)).acquire().unwrap().forget();
    world.clock.advance(secs(10) - millis(1));
    assert_eq!(exhausted(&two).2.owner, "one");
    world.clock.advance(millis(1));
    assert_eq!(standing(&two), (1, vec![]));
    permits(&two, 1);
}

#[test]
fn a_permit_that_is_renewed_in_time_is_held_on_and_one_for_ever_needs_no_renewal() {
    let (world, one) = World::with_pool(2);
    let two = pool(&world, "two");
    let mut renewed = one.permit().lease(secs(10)).acquire().unwrap();
    let endless = one.permit().lease(Ttl::Forever).acquire().unwrap();
    for _ in 0..100 {
        world.clock.advance(secs(9));
        renewed.renew().unwrap();
        exhausted(&two);
    }
    assert_eq!((endless.validity(), endless.release()), (Ok(Validity::Unlimited), Ok(Released::Freed)));
    assert_eq!(renewed.release(), Ok(Released::Freed));
}

#[test]
fn an_expired_permit_is_lost_each_time_and_does_nothing_to_the_next_holder() {
    let (world, one) = World::with_pool(1);
    let two = pool(&world, "two");
    let mut old = one.permit().lease(secs(10)).acquire().unwrap();
    world.clock.advance(secs(10));
    let new = permits(&two, 1).remove(0);
    assert!(new.token() > old.token(), "the token of a permit number grows");
    for _ in 0..3 {
        lost_to(refused(old.renew()));
        assert_eq!(old.validity(), Ok(Validity::Lost));
    }
    let error = refused(old.release());
    assert!(error.to_string().starts_with("`pool` was lost"), "{error}");
    lost_to(error);
    assert_eq!(new.release(), Ok(Released::Freed));
}

#[test]
fn a_broken_permit_is_told_whose_it_was_and_its_holder_learns_of_it_at_the_next_call() {
    for renew in [true, false] {
        let world = World::new();
        let (one, two, operator) = (made(&world, 2), pool(&world, "two"), pool(&world, "operator"));
        let mut held = permits(&one, 2);
        let (mut old, kept) = (held.remove(0), held.remove(0));
        let number = old.permit().unwrap();
        let broken = operator.break_permit(number).unwrap().ended().expect("it was held");
        assert_eq!((broken.owner.as_str(), broken.permit, broken.token), ("one", Some(number), old.token()));
        assert_eq!(operator.break_permit(number), Ok(Broken::Free));
        let new = permits(&two, 1).remove(0);
        let error = if renew { refused(old.renew()) } else { refused(old.release()) };
        assert!(error.to_string().contains("it is held by two"), "{error}");
        assert_eq!(lost_to(error).as_deref(), Some("two"));
        assert_eq!((new.release(), kept.release()), (Ok(Released::Freed), Ok(Released::Freed)));
    }
}

#[test]
fn a_written_permit_goes_from_session_to_session() {
    let (world, one) = World::with_pool(2);
    let grant = one.permit().acquire().unwrap();
    let (number, token) = (grant.permit(), grant.token());
    let written = grant.write_out().unwrap();
    assert!(!written.contains(char::is_whitespace), "one word: {written}");
    world.calls();
    let mut resumed = world.fresh_session("two").resume(&written).unwrap();
    assert_eq!(world.calls(), [""; 0], "nothing is sent by taking it up");
    assert_eq!((resumed.key(), resumed.owner()), ("pool", "one"));
    assert_eq!((resumed.permit(), resumed.token()), (number, token));
    assert_eq!(resumed.validity(), Ok(Validity::Unconfirmed));
    resumed.renew().unwrap();
    let stale = world.fresh_session("three").resume(&written).unwrap();
    lost_to(refused(stale.release()));
    assert_eq!(standing(&one), (2, vec!["one".into()]));
    assert_eq!(resumed.release(), Ok(Released::Freed));
    assert_eq!(standing(&one), (2, vec![]));
}

#[test]
fn an_unknown_an_exhausted_and_a_wrongly_named_semaphore_are_different_errors() {
    let (world, [session]) = World::with(["one"]);
    assert_unknown(&session.semaphore("pond"));
    let unknown = refused(session.semaphore("pond").permit().acquire()).to_string();
    assert_eq!(unknown, "there is no semaphore `pond`: make it first");
    assert_eq!(session.semaphore("pond").status(), Ok(None));
    let _held = permits(&made(&world, 1), 1);
    assert_eq!(exhausted(&session.semaphore("pool")).0, 1);
    for (name, part) in [(String::new(), "is empty"), ("n".repeat(256), "has 256 bytes; at most 255")] {
        let error = refused(session.semaphore(&name).permit().acquire());
        assert!(matches!(&error, AcquireError::Invalid { reason: text, .. } if text.contains(part)), "{error}");
        assert!(session.semaphore(&name).status().unwrap_err().to_string().contains(part));
        assert!(session.semaphore(&name).break_permit(0).unwrap_err().to_string().contains(part));
    }
    let error = refused(session.semaphore("pool").permit().lease(Duration::ZERO).acquire());
    assert!(matches!(&error, AcquireError::Invalid { reason: text, .. } if text.contains("lease")), "{error}");
}

#[test]
fn a_semaphore_its_namesakes_elsewhere_and_a_lock_of_its_name_do_not_meet() {
    let (world, one) = World::with_pool(1);
    let _held = permits(&one, 1);
    let elsewhere = world.client.session().owner("one").namespace("elsewhere").open().unwrap();
    assert_unknown(&elsewhere.semaphore("pool"));
    assert_eq!(elsewhere.semaphores(), Ok(vec![]));
    assert!(world.session("two").lock("pool").try_acquire().unwrap().is_some());
    assert!(world.holder("pool").is_none());
    exhausted(&one);
}

#[test]
fn a_free_permit_is_three_calls_the_next_one_two_and_a_release_one_delete() {
    let (world, one) = World::with_pool(2);
    let grant = one.permit().acquire().unwrap();
    let part = format!("kvlock:permit:{}:pool", grant.permit().unwrap());
    let look = "get kvlock:semaphore:pool -> found".to_owned();
    let acquired = [format!("add {part} -> written"), look.clone()];
    let calls = world.calls();
    assert_eq!(calls[0], look);
    assert_eq!(calls[1..], acquired);
    grant.release().unwrap();
    assert_eq!(world.calls(), [format!("delete {part} -> deleted")]);
    // It is likely to be free yet, and the definition to be the same.
    let _again = one.permit().acquire().unwrap();
    assert_eq!(world.calls(), acquired);
}

#[test]
fn a_thousand_permits_of_one_semaphore_cost_a_handful_of_calls_each() {
    let (world, one) = World::with_pool(1000);
    let held: Vec<Grant> = (0..1000).map(|_| one.permit().lease(secs(3600)).try_acquire().unwrap().unwrap()).collect();
    assert_eq!(numbers(&held).len(), 1000);
    let calls = world.calls().len();
    assert!(calls <= 4 * 1000, "{calls} calls");
    // To count them takes one call for each 256, and so does finding all held, after a look at a few.
    assert_eq!(standing(&one).1.len(), 1000);
    assert_eq!(world.ops(), [&[Op::Get][..], &[Op::GetMany; 4]].concat());
    exhausted(&one);
    let ops = world.ops();
    assert!(ops.len() <= 6 && ops.iter().all(|op| matches!(op, Op::Get | Op::GetMany)), "{ops:?}");
    for grant in held {
        grant.release().unwrap();
    }
    assert_eq!(world.ops(), [Op::Delete; 1000]);
}

#[test]
fn a_permit_that_was_written_out_and_released_elsewhere_is_free_to_its_writer() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let pool = one.semaphore("pool");
    pool.make(1).run().unwrap();
    let written = pool.permit().lease(kvlock::store::Ttl::Forever).acquire().unwrap().write_out().unwrap();
    let grant = two.resume(&written).unwrap();
    assert!(pool.permit().try_acquire().unwrap().is_none());
    assert_eq!(grant.release(), Ok(Released::Freed));
    assert!(pool.permit().try_acquire().unwrap().is_some());
}
