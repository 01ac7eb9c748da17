//! Waits and grants that end, or are left, at an odd moment.

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use kvlock::clock::Clock;
use kvlock::store::{Fault, Memory, Op, Ttl};
use kvlock::{
    AcquirePoll, Client, FnLocks, LockGuard, Released, Session, WaitingFor, conflict_retry::WorkOutcome,
    error::AcquireError, renewal::AutoRenew,
};
use kvlock_tests::Watch;

use crate::world::{World, millis, pause, secs};

/// In real time: sessions of one client that have met the store.
fn sessions<const COUNT: usize>(client: &Client) -> [Session; COUNT] {
    std::array::from_fn(|number| {
        let session = client.session().owner(format!("{number}")).quarantine(Duration::ZERO).open().unwrap();
        session.lock("acquaintance").acquire().unwrap().release().unwrap();
        session
    })
}

/// A session that holds something asks before it stands in line, and then goes in front of a slower one.
#[test]
fn a_poller_that_stops_after_it_was_told_to_come_back_at_once_is_passed_over() {
    let (world, [slow, quick]) = World::with(["slow", "quick"]);
    let holder = world.elsewhere().session().owner("holder").open().unwrap();
    let held = holder.lock("k").lease(secs(1_000_000)).acquire().unwrap();
    let mut patient = slow.lock("k").interval(secs(1800)).begin().unwrap();
    let end = world.clock.now() + secs(3600);
    while world.clock.now() < end {
        world.clock.advance(pause(&mut patient));
    }
    pause(&mut patient);
    let _other = quick.lock("other").lease(secs(1_000_000)).acquire().unwrap();
    let mut stops = quick.lock("k").interval(millis(50)).begin().unwrap();
    pause(&mut stops);
    held.release().unwrap();
    let (granted, waited) = world.timed(|| world.run_until_one_ends(std::slice::from_mut(&mut patient)).1);
    assert!(granted.is_ok() && waited <= secs(3600), "{waited:?}");
}

#[test]
fn a_wait_that_ends_in_the_queue_in_an_outage_tells_of_the_outage() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").acquire().unwrap();
    let mut first = two.lock("k").begin().unwrap();
    pause(&mut first);
    world.store.down();
    world.clock.advance(secs(1));
    assert!(matches!(first.poll(), Ok(AcquirePoll::Pending { waiting_for: WaitingFor::Outage(_), .. })));
    let mut second = three.lock("k").wait(millis(400)).begin().unwrap();
    let error = loop {
        pause(&mut first);
        match second.poll() {
            Ok(AcquirePoll::Pending { pause, .. }) => world.clock.advance(pause),
            Ok(AcquirePoll::Ready(_)) => panic!("the store is down"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AcquireError::Store { .. }), "{error:?}");
}

#[test]
fn a_waiter_that_is_chosen_for_a_hand_over_ends_at_its_limit() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let [one, two] = sessions(&client);
    let held = one.lock("k").lease(secs(300)).acquire().unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let began = Watch::start();
            let outcome = two.lock("k").interval(secs(10)).wait(secs(1)).acquire();
            began.assert_within(millis(1800));
            outcome.map(drop)
        });
        std::thread::sleep(millis(500));
        // The hand-over is read back for two seconds.
        (0..200).for_each(|_| store.script(Fault::LostRequest));
        assert!(held.release().is_err());
        assert!(next.join().unwrap().is_err());
    });
}

/// While its session is used elsewhere, so that it may hold something and a wait that goes on asks the component.
#[test]
fn what_is_handed_over_to_a_wait_that_ended_meanwhile_is_given_back() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let [one, two] = sessions(&client);
    let held = one.lock("k").lease(secs(300)).acquire().unwrap();
    std::thread::scope(|scope| {
        let forever = || two.lock("k").interval(secs(60)).lease(Ttl::Forever).wait(secs(1)).acquire().map(drop);
        let next = scope.spawn(forever);
        std::thread::sleep(millis(700));
        scope.spawn(|| {
            for number in 0..30 {
                two.lock(format!("other {number}")).acquire().unwrap().forget();
                std::thread::sleep(millis(50));
            }
        });
        store.script_for(Op::Replace, Fault::Slow(millis(1500)));
        assert_eq!(held.release(), Ok(Released::HandedOver));
        assert!(next.join().unwrap().is_err(), "its wait is over");
    });
    assert!(store.peek("kvlock:lock:k").is_none());
}

/// In its own callback, as an application does that gives up.
#[test]
fn a_kept_grant_may_be_given_back_by_its_own_callback() {
    let client = Client::with_store(Memory::default());
    let [session] = sessions(&client);
    let place: Arc<Mutex<Option<LockGuard>>> = Arc::default();
    let (sender, told) = mpsc::channel();
    let theirs = place.clone();
    let keep = AutoRenew::default().max_hold(millis(300)).on_lost(move |_| {
        let kept = theirs.lock().unwrap().take();
        sender.send(kept.unwrap().release()).unwrap();
    });
    *place.lock().unwrap() = Some(session.lock("k").lease(secs(6)).acquire().unwrap().auto_renew(keep));
    assert_eq!(told.recv_timeout(secs(5)), Ok(Ok(Released::Freed)));
}

#[test]
fn in_soft_mode_an_outage_that_outlasts_the_lease_is_no_error_of_work_that_committed() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let locks = FnLocks::new(client.session().quarantine(Duration::ZERO)).lease(millis(600)).soft();
    let work = |number: &u32| -> WorkOutcome<u32, String> {
        store.down();
        std::thread::sleep(millis(1500));
        WorkOutcome::Committed(*number)
    };
    let retried = locks.conflict_retry(|_: &u32| "k", work).named("work");
    assert_eq!(retried.call(1).ok(), Some(1));
}
