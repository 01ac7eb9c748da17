//! Waiting: in virtual time, with limits, and for callers with an event loop.

use std::time::{Duration, SystemTime};

use kvlock::clock::Clock;
use kvlock::store::Fault;
use kvlock::{AcquirePoll, Acquisition, WaitingFor, error::AcquireError};
use kvlock_tests::Watch;

use crate::world::{World, busy, busy_with, millis, refused, secs};

#[test]
fn ten_minutes_of_waiting_take_no_time() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(600)).acquire().unwrap();
    let started = Watch::start();
    let (grant, waited) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(waited >= secs(600) && waited <= secs(600) + millis(50), "{waited:?}");
    started.assert_within(secs(30));
    drop(grant);
}

#[test]
fn no_wait_tries_exactly_once() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").acquire().unwrap();
    world.calls();
    let (outcome, waited) = world.timed(|| two.lock("k").wait(Duration::ZERO).acquire());
    assert_eq!(busy(outcome).0, Duration::ZERO);
    assert_eq!(waited, Duration::ZERO);
    assert_eq!(world.calls().iter().filter(|call| call.starts_with("add")).count(), 1);
    assert!(two.lock("k").try_acquire().unwrap().is_none());
    held.release().unwrap();
    assert!(two.lock("k").try_acquire().unwrap().is_some());
}

#[test]
fn a_wait_ends_when_it_is_over_and_says_how_long_it_was() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let (outcome, passed) = world.timed(|| two.lock("k").wait(secs(7)).acquire());
    let (waited, _) = busy(outcome);
    assert_eq!((waited, passed), (secs(7), secs(7)));
}

#[test]
fn the_limit_counts_from_the_first_poll_and_not_from_the_beginning() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let wait = two.lock("k").wait(secs(5)).begin().unwrap();
    world.clock.advance(secs(100));
    let (outcome, passed) = world.timed(|| wait.block());
    assert_eq!((busy(outcome).0, passed), (secs(5), secs(5)));
}

#[test]
fn the_limit_counts_the_time_in_calls_too() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    for _ in 0..3 {
        world.store.script(Fault::Slow(secs(2)));
    }
    let (outcome, passed) = world.timed(|| two.lock("k").wait(secs(5)).acquire());
    busy(outcome);
    // Never more than the one call that is under way when the time is over, and a look at the holder.
    assert!(passed >= secs(5) && passed <= secs(7), "{passed:?}");
}

#[test]
fn a_busy_lock_names_its_owner_since_and_until() {
    let world = World::new();
    let before = SystemTime::now() - millis(1); // records tell milliseconds
    let one = world.client.session().owner("nightly").label("db-7 pid 42").open().unwrap();
    let two = world.session("two");
    let grant = one.lock("report").lease(secs(90)).acquire().unwrap();
    let error = refused(two.lock("report").wait(secs(0)).acquire());
    let text = error.to_string();
    for part in ["`report` is busy", "held by nightly", "(db-7 pid 42)", "since 20", "until 20", "waited 0.0 s"] {
        assert!(text.contains(part), "{text}");
    }
    let holder = busy_with::<()>(Err(error));
    assert_eq!((holder.key.as_str(), holder.owner.as_str(), holder.depth), ("report", "nightly", 1));
    assert_eq!(holder.token, grant.token());
    let (since, until) = (holder.since.unwrap(), holder.until.unwrap());
    assert!(since >= before && since <= SystemTime::now(), "{since:?}");
    assert!(until >= before + secs(90) && until <= SystemTime::now() + secs(90), "{until:?}");
}

#[test]
fn a_wait_that_is_given_up_names_the_holder_at_that_time() {
    let (_, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let mut wait = three.lock("k").wait(secs(10)).begin().unwrap();
    assert!(
        matches!(wait.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Holder(h), .. }) if h.owner == "one")
    );
    held.release().unwrap();
    let _taken = two.lock("k").lease(secs(3600)).acquire().unwrap();
    assert_eq!(busy_with(wait.block()).owner, "two");
}

#[test]
fn a_poll_before_its_time_answers_the_rest_of_the_pause_and_calls_nobody() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let mut wait = two.lock("k").interval(millis(1)).begin().unwrap();
    let Ok(AcquirePoll::Pending { pause, .. }) = wait.poll() else { panic!("it is held") };
    world.calls();
    world.clock.advance(pause / 2);
    let Ok(AcquirePoll::Pending { pause: rest, .. }) = wait.poll() else { panic!("it is held") };
    assert_eq!(rest, pause - pause / 2);
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn many_sessions_wait_in_turn_on_one_thread_and_each_gets_its_turn() {
    let world = World::new();
    let sessions: Vec<_> = (0..8).map(|n| world.session(&format!("worker {n}"))).collect();
    let begin = |session: &kvlock::Session| session.lock("k").lease(secs(60)).begin().unwrap();
    let mut waits: Vec<Acquisition> = sessions.iter().map(begin).collect();
    let mut tokens = Vec::new();
    let started = world.clock.now();
    while !waits.is_empty() {
        let (index, outcome) = world.run_until_one_ends(&mut waits);
        let grant = outcome.unwrap();
        drop(waits.remove(index));
        assert_eq!(world.holder("k").unwrap().owner, grant.owner());
        tokens.push(grant.token());
        world.clock.advance(secs(10)); // at work, while the others wait
        grant.release().unwrap();
    }
    assert_eq!(tokens.len(), 8);
    assert!(tokens.is_sorted_by(|earlier, later| earlier < later), "{tokens:?}");
    let passed = world.clock.now() - started;
    assert!(passed <= secs(81), "nobody waits longer than an interval for a free lock: {passed:?}");
}

#[test]
fn one_session_waits_for_several_keys_at_a_time() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _long = one.lock("long").lease(secs(50)).acquire().unwrap();
    let _short = one.lock("short").lease(secs(20)).acquire().unwrap();
    let mut waits = ["long", "short"].map(|key| two.lock(key).begin().unwrap());
    let (first, short) = world.run_until_one_ends(&mut waits);
    assert_eq!((first, short.unwrap().key()), (1, "short"));
    let (second, long) = world.run_until_one_ends(&mut waits[..1]);
    assert_eq!((second, long.unwrap().key()), (0, "long"));
}

#[test]
fn an_acquisition_that_has_ended_says_so() {
    let (_, [session]) = World::with(["one"]);
    let mut wait = session.lock("k").begin().unwrap();
    let Ok(AcquirePoll::Ready(grant)) = wait.poll() else { panic!("it is free") };
    assert!(matches!(wait.poll(), Err(AcquireError::Invalid { reason: text, .. }) if text.contains("ended")));
    grant.release().unwrap();
}

#[test]
fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").acquire().unwrap();
    let mut wait = two.lock("k").begin().unwrap();
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { .. })));
    drop(wait);
    held.release().unwrap();
    world.clock.advance(secs(1));
    assert!(world.holder("k").is_none());
}
