//! Sessions of one process that wait for the same key stand in line: the first asks the store for all of them, nobody
//! waits for somebody who has gone, and nobody is kept from what it would get alone.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kvlock::clock::Clock;
use kvlock::store::{Memory, Op};
use kvlock::{AcquirePoll, Acquisition, Client, Lock, Session, WaitingFor, error::AcquireError};

use crate::world::{World, busy, busy_with, millis, refused, secs};

/// How long the first in line keeps its place beyond its pause without being polled, and somewhat more.
const PASSED_OVER: Duration = millis(101);

/// A wait that was polled for the first time, and has to go on.
#[track_caller]
fn pending(lock: Lock) -> Acquisition {
    let mut wait = lock.begin().unwrap();
    pause(&mut wait);
    wait
}

/// The pause of a wait that has to go on.
#[track_caller]
fn pause(wait: &mut Acquisition) -> Duration {
    match wait.poll() {
        Ok(AcquirePoll::Pending { pause, .. }) => pause,
        Ok(AcquirePoll::Ready(_)) => panic!("it is granted"),
        Err(error) => panic!("{error}"),
    }
}

/// Polls each wait as often as it asks for, until the time has passed.
fn poll_all(world: &World, waits: &mut [Acquisition], length: Duration) {
    let end = world.clock.now() + length;
    let mut due = vec![Duration::ZERO; waits.len()];
    while world.clock.now() < end {
        let now = world.clock.now();
        for (wait, due) in waits.iter_mut().zip(&mut due).filter(|(_, due)| **due <= now) {
            *due = now + pause(wait);
        }
        world.clock.advance(due.iter().min().unwrap().saturating_sub(now));
    }
}

#[test]
fn a_thousand_waiters_for_ten_keys_ask_as_often_as_ten_do() {
    let calls = |waiters: usize| {
        let (world, [holder]) = World::with(["holder"]);
        let key = |n: usize| format!("k{}", n % 10);
        let held: Vec<_> = (0..10).map(|n| holder.lock(key(n)).lease(secs(7200)).acquire().unwrap()).collect();
        let sessions: Vec<_> = (0..waiters).map(|n| world.fresh_session(&format!("waiter {n}"))).collect();
        let waiting = |(n, session): (usize, &Session)| session.lock(key(n)).interval(secs(10)).begin().unwrap();
        let mut waits: Vec<_> = sessions.iter().enumerate().map(waiting).collect();
        world.calls();
        poll_all(&world, &mut waits, secs(3600));
        drop(held);
        world.calls().len()
    };
    let (few, many) = (calls(10), calls(1000));
    assert!(few > 10 * 360, "each key is asked for in each interval: {few}");
    assert!(many < few + few / 10, "{many} calls of a thousand waiters, {few} of ten");
}

#[test]
fn a_request_behind_others_asks_nobody_and_is_told_what_they_wait_for() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let _first = pending(two.lock("k"));
    world.calls();
    let mut wait = three.lock("k").begin().unwrap();
    let Ok(AcquirePoll::Pending { pause, waiting_for: WaitingFor::Holder(holder) }) = wait.poll() else {
        panic!("held")
    };
    assert_eq!((holder.owner.as_str(), pause), ("one", millis(50)));
    assert_eq!(world.calls(), [""; 0]);
}

#[test]
fn lines_of_two_keys_two_namespaces_and_a_lock_and_a_semaphore_are_not_one() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let namespace = |owner: &str| world.client.session().namespace("other").owner(owner).open().unwrap();
    one.semaphore("k").make(1).run().unwrap();
    let _held = one.lock("k").acquire().unwrap();
    let _first = pending(two.lock("k"));
    assert!(two.lock("k2").acquire().is_ok());
    assert!(namespace("three").lock("k").acquire().is_ok());
    let (permit, waited) = world.timed(|| two.semaphore("k").permit().acquire().unwrap());
    assert_eq!((permit.permit(), waited), (Some(0), Duration::ZERO));
}

#[test]
fn they_are_granted_in_the_order_in_which_they_came() {
    let (world, [holder]) = World::with(["holder"]);
    let sessions: Vec<_> = (0..5).map(|n| world.fresh_session(&format!("{n}"))).collect();
    let mut held = Some(holder.lock("k").acquire().unwrap());
    let mut waits: Vec<_> = sessions.iter().map(|session| pending(session.lock("k"))).collect();
    for n in 0..5 {
        held.take().unwrap().release().unwrap();
        let (index, grant) = world.run_until_one_ends(&mut waits);
        let grant = grant.unwrap();
        assert_eq!((index, grant.owner()), (0, format!("{n}").as_str()));
        drop(waits.remove(0));
        held = Some(grant);
    }
}

#[test]
fn a_try_without_waiting_stands_in_no_line() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").acquire().unwrap();
    let _first = pending(two.lock("k"));
    held.release().unwrap();
    world.calls();
    assert!(three.lock("k").try_acquire().unwrap().is_some());
    assert_eq!(world.ops()[0], Op::Add);
}

#[test]
fn the_next_asks_when_the_first_is_dropped() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").acquire().unwrap();
    let first = pending(two.lock("k"));
    let mut next = pending(three.lock("k"));
    drop(first);
    held.release().unwrap();
    world.clock.advance(millis(50));
    assert!(matches!(next.poll(), Ok(AcquirePoll::Ready(_))));
}

#[test]
fn the_next_asks_when_the_first_is_not_polled_and_that_one_comes_back_as_the_last() {
    let (world, [one, two, three, four]) = World::with(["one", "two", "three", "four"]);
    let held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let mut first = pending(two.lock("k").interval(millis(1)));
    let mut next = pending(three.lock("k"));
    world.clock.advance(millis(50));
    pause(&mut next);
    world.clock.advance(millis(50));
    let _last = pending(four.lock("k"));
    held.release().unwrap();
    world.clock.advance(PASSED_OVER - millis(99));
    assert!(matches!(next.poll(), Ok(AcquirePoll::Ready(_))));
    assert_eq!(pause(&mut first), millis(1));
    let calls = world.calls();
    let grants = calls.iter().filter(|call| call.contains(":lock:") && call.contains("written"));
    assert_eq!(grants.count(), 2, "nobody else asked");
}

#[test]
fn a_thread_that_blocks_passes_over_a_first_that_is_not_polled() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").acquire().unwrap();
    let _first = pending(two.lock("k").interval(millis(1)));
    held.release().unwrap();
    let (grant, waited) = world.timed(|| three.lock("k").acquire().unwrap());
    assert_eq!(grant.owner(), "three");
    assert!(waited <= PASSED_OVER + millis(50), "{waited:?}");
}

#[test]
fn a_wait_that_is_over_in_the_queue_counts_from_its_first_poll_and_names_the_holder() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let first = two.lock("k").begin().unwrap();
    let next = three.lock("k").wait(secs(7)).begin().unwrap();
    let mut waits = [first, next];
    poll_all(&world, &mut waits, millis(1));
    let ((index, outcome), passed) = world.timed(|| world.run_until_one_ends(&mut waits));
    assert_eq!(index, 1);
    let (waited, waiting_for) = busy(outcome);
    assert!(waited == secs(7) && passed < secs(7) && passed > secs(6), "{passed:?}");
    assert!(matches!(waiting_for, WaitingFor::Holder(holder) if holder.owner == "one"));
}

#[test]
fn a_wait_that_became_the_first_has_what_is_left_and_tells_all_of_it() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let first = pending(two.lock("k"));
    let mut next = pending(three.lock("k").wait(secs(7)));
    poll_all(&world, std::slice::from_mut(&mut next), millis(90));
    drop(first);
    let (outcome, passed) = world.timed(|| next.block());
    let (waited, _) = busy(outcome);
    assert_eq!(waited, secs(7));
    assert!(passed > secs(6) && passed < secs(7), "{passed:?}");
}

#[test]
fn what_the_session_holds_already_is_told_at_once_though_others_wait() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").reentrant().acquire().unwrap();
    let mut behind = pending(two.lock("k"));
    let (outcome, waited) = world.timed(|| one.lock("k").acquire());
    assert!(matches!(outcome, Err(AcquireError::AlreadyHeld { .. })));
    let (inner, waited_too) = world.timed(|| one.lock("k").reentrant().acquire().unwrap());
    assert_eq!((waited, waited_too), (Duration::ZERO, Duration::ZERO));
    assert_eq!(inner.depth(), Ok(2));
    inner.release().unwrap();
    held.release().unwrap();
    world.clock.advance(millis(50));
    assert!(matches!(behind.poll(), Ok(AcquirePoll::Ready(_))));
}

#[test]
fn what_the_session_got_while_it_stood_in_the_queue_is_told_when_it_looks_again() {
    let (_, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").acquire().unwrap();
    let _first = pending(two.lock("k"));
    let mut behind = pending(three.lock("k"));
    held.release().unwrap();
    let _got = three.lock("k").try_acquire().unwrap().expect("nobody has it");
    // Whoever is first waits for this session: it must not wait for them.
    assert!(matches!(behind.poll(), Err(AcquireError::AlreadyHeld { .. })));
}

#[test]
fn a_session_that_adopts_its_own_grant_does_not_wait_behind_others() {
    let (world, [before, other]) = World::with(["worker", "other"]);
    let _lost = before.lock("k").lease(secs(3600)).acquire().unwrap();
    let _first = pending(other.lock("k"));
    let again = world.session("worker");
    let (grant, waited) = world.timed(|| again.lock("k").adopt().acquire().unwrap());
    assert_eq!((grant.owner(), waited), ("worker", Duration::ZERO));
}

#[test]
fn a_waiter_that_asks_more_often_is_not_slowed_down_by_the_one_before_it() {
    let (world, [two, three]) = World::with(["two", "three"]);
    let elsewhere = world.elsewhere().session().open().unwrap();
    let held = elsewhere.lock("k").lease(secs(7200)).acquire().unwrap();
    let mut slow = pending(two.lock("k").interval(secs(1800)));
    poll_all(&world, std::slice::from_mut(&mut slow), secs(3600));
    assert!(pause(&mut slow) > secs(600), "its pauses have grown");
    let quick = pending(three.lock("k"));
    held.release().unwrap();
    let (grant, waited) = world.timed(|| quick.block().unwrap());
    assert!(grant.owner() == "three" && waited <= millis(50), "{waited:?}");
}

#[test]
fn a_quarantine_keeps_only_those_in_the_queue_that_it_concerns() {
    let world = World::new();
    world.store.new_era(Duration::ZERO);
    let long = world.client.session().quarantine(secs(3600)).open().unwrap();
    let none = world.client.session().quarantine(Duration::ZERO).open().unwrap();
    let _first = pending(long.lock("k"));
    let (grant, waited) = world.timed(|| none.lock("k").acquire().unwrap());
    assert!(waited <= millis(50), "{waited:?}");
    drop(grant);
}

#[test]
fn what_is_not_legal_is_told_at_once_by_those_in_the_queue_too() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").acquire().unwrap();
    let _first = pending(two.lock("k"));
    assert!(matches!(refused(three.lock("k").lease(Duration::ZERO).acquire()), AcquireError::Invalid { .. }));
    assert!(matches!(refused(world.fresh_session("four").lock("").begin()), AcquireError::Invalid { .. }));
    let semaphore = world.fresh_session("five").semaphore("s");
    assert!(matches!(refused(semaphore.permit().interval(Duration::ZERO).begin()), AcquireError::Invalid { .. }));
    let retry = world.fresh_session("six").conflict_retry("k").tries(0);
    assert!(matches!(refused(retry.begin()), AcquireError::Invalid { .. }));
    assert!(world.client.session().namespace("a:b").open().is_err());
}

#[test]
fn those_in_the_queue_ride_out_an_outage_as_long_as_each_wants() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let _held = one.lock("k").lease(secs(3600)).acquire().unwrap();
    let first = pending(two.lock("k"));
    let next = pending(three.lock("k").ride_out(secs(5)));
    world.store.down();
    let mut waits = [first, next];
    let ((index, outcome), passed) = world.timed(|| world.run_until_one_ends(&mut waits));
    assert_eq!(index, 1);
    assert!(matches!(refused(outcome), AcquireError::Store { .. }));
    assert!(passed >= secs(5) && passed <= secs(6), "{passed:?}");
}

#[test]
fn a_waiter_that_gives_up_in_the_queue_is_told_which_session_got_the_lock_meanwhile() {
    let (world, [one, two, three]) = World::with(["one", "two", "three"]);
    let held = one.lock("k").acquire().unwrap();
    let mut first = pending(two.lock("k"));
    let _middle = pending(world.fresh_session("middle").lock("k"));
    let mut last = pending(three.lock("k").wait(millis(60)));
    held.release().unwrap();
    world.clock.advance(millis(50));
    let Ok(AcquirePoll::Ready(grant)) = first.poll() else { panic!("it is free") };
    world.clock.advance(millis(10));
    let holder = busy_with(last.poll());
    assert_eq!((holder.owner.as_str(), holder.token), ("two", grant.token()));
}

#[test]
fn eight_threads_add_up_and_each_gets_its_share() {
    const THREADS: usize = 8;
    const ROUNDS: u64 = 200;
    let client = Client::with_store(Memory::default());
    let (inside, sum) = (AtomicBool::new(false), AtomicU64::new(0));
    // All of them stand in the queue before the first gets the lock: otherwise a thread that comes first on a busy
    // machine has done its work before another one begins.
    let queued = Barrier::new(THREADS + 1);
    let first = client.session().quarantine(Duration::ZERO).open().unwrap().lock("k").acquire().unwrap();
    let halfway: Vec<Duration> = std::thread::scope(|scope| {
        let work = |_| {
            scope.spawn(|| {
                let session = client.session().quarantine(Duration::ZERO).open().unwrap();
                let mut halfway = Duration::ZERO;
                let lock = session.lock("k").interval(millis(5));
                let mut waiting = Some(pending(lock.clone()));
                queued.wait();
                let started = Instant::now();
                for round in 0..ROUNDS {
                    let grant = waiting.take().map_or_else(|| lock.acquire(), Acquisition::block).unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                    sum.store(sum.load(Ordering::SeqCst) + 1, Ordering::SeqCst);
                    inside.store(false, Ordering::SeqCst);
                    grant.release().unwrap();
                    if round == ROUNDS / 2 {
                        halfway = started.elapsed();
                    }
                }
                halfway
            })
        };
        let threads: Vec<_> = (0..THREADS).map(work).collect();
        queued.wait();
        first.release().unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sum.into_inner(), THREADS as u64 * ROUNDS);
    // In line they go round: when the first has done half of its work, nobody is far behind.
    let (first, last) = (halfway.iter().min().unwrap(), halfway.iter().max().unwrap());
    assert!(*last < *first * 3 + millis(500), "{halfway:?}");
}

#[test]
fn an_acquisition_that_is_dropped_leaves_the_queue_of_the_key() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let _held = one.lock("k").acquire().unwrap();
    let wait = pending(two.lock("k"));
    world.calls();
    drop(wait);
    let calls = world.calls();
    assert!(calls.len() == 1 && calls[0].starts_with("delete kvlock:line:k"), "{calls:?}");
}
