//! Handing over within a process: one call of the store, to a thread that is blocked;
//! and what its heir does not take all the same is given back. In real time, for threads wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kvlock::clock::{BootClock, Clock};
use kvlock::store::StoreError;
use kvlock::{AcquirePoll, Client, Released, Session};
use kvlock_testkit::{Hook, Hooked, Memory, Op};
use kvlock_tests::Watch;

use crate::world::{World, millis, secs};

/// A session that knows the store's era.
fn acquainted(client: &Client, owner: &str) -> Session {
    let session = client.session().owner(owner).quarantine(Duration::ZERO).open().unwrap();
    session.lock("acquaintance").acquire().unwrap().release().unwrap();
    session
}

/// Long enough for a thread to be blocked in its wait, and to pause for longer than that between its tries.
fn until_blocked() {
    std::thread::sleep(millis(200));
}

#[test]
fn a_lock_goes_to_a_blocked_thread_by_one_call_of_the_store() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let (one, two) = (acquainted(&client, "one"), acquainted(&client, "two"));
    // The other may be about to ask just then.
    let calls = (0..10).find_map(|_| {
        let held = one.lock("k").acquire().unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| two.lock("k").interval(secs(10)).acquire().unwrap());
            until_blocked();
            store.take_calls();
            let released = held.release().unwrap();
            let grant = next.join().unwrap();
            let calls: Vec<_> = store.take_calls().iter().map(ToString::to_string).collect();
            assert_eq!((grant.owner(), grant.depth()), ("two", Ok(1)));
            (released == Released::HandedOver).then_some(calls)
        })
    });
    assert_eq!(calls.unwrap(), ["replace kvlock:lock:k -> written"]);
}

#[test]
fn a_polled_waiter_is_handed_nothing() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").acquire().unwrap();
    let mut wait = two.lock("k").begin().unwrap();
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { .. })));
    assert_eq!(held.release(), Ok(Released::Freed));
}

/// What eight threads did that wanted the same lock, in the order of their tokens.
fn fight(client: &Client, rounds: usize) -> Vec<(u64, Released)> {
    let inside = AtomicBool::new(false);
    let mut done: Vec<_> = std::thread::scope(|scope| {
        let work = |n| {
            let session = acquainted(client, &format!("{n}"));
            let inside = &inside;
            scope.spawn(move || {
                let round = |_| {
                    let grant = session.lock("k").acquire().unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
                    std::thread::yield_now();
                    inside.store(false, Ordering::SeqCst);
                    (grant.token(), grant.release().unwrap())
                };
                (0..rounds).map(round).collect::<Vec<_>>()
            })
        };
        let threads: Vec<_> = (0..8).map(work).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    done.sort_by_key(|(token, _)| *token);
    done
}

#[test]
fn threads_hand_over_as_long_as_nobody_waits_elsewhere() {
    let store = Memory::default();
    let done = fight(&Client::with_store(store.clone()), 50);
    assert!(done.is_sorted_by(|(one, _), (next, _)| one < next), "no token is given twice");
    let runs = done.split(|(_, released)| *released == Released::Freed).map(<[_]>::len);
    let longest = runs.max().unwrap();
    assert!(longest > 8, "after eight it is only looked who waits elsewhere: {longest}");
    let handed_over = done.iter().filter(|(_, released)| *released == Released::HandedOver).count();
    assert!(handed_over > done.len() / 2, "{handed_over} of {}", done.len());
    let calls = store.take_calls().len();
    assert!(calls < done.len() * 2, "{calls} calls for {} grants", done.len());
}

#[test]
fn a_waiter_of_another_process_gets_its_turn_between_hand_overs() {
    let store = Memory::default();
    let (here, elsewhere) = (Client::with_store(store.clone()), Client::with_store(store));
    let (stop, grants) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for n in 0..4 {
            let session = acquainted(&here, &format!("{n}"));
            let (stop, grants) = (&stop, &grants);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let grant = session.lock("k").acquire().unwrap();
                    std::thread::sleep(millis(1));
                    grant.release().unwrap();
                    grants.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let outsider = acquainted(&elsewhere, "outsider");
        let turn = |_| outsider.lock("k").wait(secs(120)).acquire().map(|grant| grant.release());
        let turns: Vec<_> = (0..5).map(turn).collect();
        stop.store(true, Ordering::SeqCst);
        assert!(turns.iter().all(Result::is_ok), "{turns:?}");
    });
    assert!(grants.into_inner() > 0);
}

/// A clock of which a thread that is blocked in its wait does not come back, once told.
#[derive(Default)]
struct Deadly {
    kills: AtomicBool,
}

impl Clock for Deadly {
    fn now(&self) -> Duration {
        BootClock.now()
    }

    fn sleep(&self, pause: Duration) {
        BootClock.sleep(pause);
    }

    fn park(&self, longest: Duration) {
        BootClock.park(longest.min(millis(20)));
        assert!(!self.kills.load(Ordering::SeqCst), "on purpose");
    }
}

/// During whose `replace` the heir dies.
struct Wicked {
    clock: Arc<Deadly>,
    /// How long the answer takes: long enough for the heir to be gone, or for it to be told first.
    answers_after: Duration,
}

impl Hook for Wicked {
    fn around<T>(&self, op: Op, key: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let answer = call();
        // That of the lock, not of the line of those who wait for it.
        if op == Op::Replace && key.contains(":lock:") {
            self.clock.kills.store(true, Ordering::SeqCst);
            std::thread::sleep(self.answers_after);
        }
        answer
    }
}

/// The lock is handed over to a thread that dies, and is free at once all the same.
fn given_back(answers_after: Duration) {
    let clock = Arc::new(Deadly::default());
    let memory = Memory::default();
    let wicked = Wicked { clock: clock.clone(), answers_after };
    let client = Client::with_store(Hooked::new(memory.clone(), wicked)).with_clock(clock.clone());
    let (one, two) = (acquainted(&client, "one"), acquainted(&client, "two"));
    let held = one.lock("k").acquire().unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let wait = || two.lock("k").interval(secs(10)).lease(secs(600)).acquire().map(drop);
            catch_unwind(AssertUnwindSafe(wait)).is_err()
        });
        until_blocked();
        assert_eq!(held.release(), Ok(Released::HandedOver));
        assert!(next.join().unwrap(), "it died");
    });
    let began = Watch::start();
    assert!(memory.peek("kvlock:lock:k").is_none());
    clock.kills.store(false, Ordering::SeqCst);
    let grant = one.lock("k").acquire().unwrap();
    began.assert_within(secs(5));
    grant.release().unwrap();
}

#[test]
fn what_is_handed_over_to_a_thread_that_has_gone_is_given_back() {
    given_back(millis(300));
}

#[test]
fn what_a_thread_does_not_take_that_was_told_is_given_back() {
    given_back(Duration::ZERO);
}

#[test]
fn a_hand_over_whose_outcome_is_unknown_does_not_keep_the_next_waiting() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let (one, two) = (acquainted(&client, "one"), acquainted(&client, "two"));
    let held = one.lock("k").acquire().unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| two.lock("k").interval(secs(1)).acquire().unwrap());
        until_blocked();
        store.script_for(kvlock::store::Op::Replace, kvlock::store::Fault::LostReply);
        held.release().unwrap();
        let began = Watch::start();
        let grant = next.join().unwrap();
        began.assert_within(secs(2));
        assert_eq!(grant.release(), Ok(Released::Freed));
    });
    assert!(store.peek("kvlock:lock:k").is_none());
}

#[test]
fn permits_nested_holds_and_minimum_holds_are_not_handed_over() {
    let client = Client::with_store(Memory::default());
    let (one, two) = (acquainted(&client, "one"), acquainted(&client, "two"));
    one.semaphore("s").make(1).run().unwrap();
    let permit = one.semaphore("s").permit().acquire().unwrap();
    let kept = one.lock("kept").at_least(millis(700)).acquire().unwrap();
    let outer = one.lock("r").reentrant().acquire().unwrap();
    let inner = one.lock("r").reentrant().acquire().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| acquainted(&client, "three").semaphore("s").permit().acquire().map(drop));
        scope.spawn(|| two.lock("kept").acquire().map(drop));
        scope.spawn(|| acquainted(&client, "four").lock("r").acquire().map(drop));
        until_blocked();
        assert_eq!(permit.release(), Ok(Released::Freed));
        assert!(matches!(kept.release(), Ok(Released::Kept(_))));
        assert_eq!(inner.release(), Ok(Released::Nested(1)));
        outer.release().unwrap();
    });
}
