//! python-redis-lock 4.0.1.

use std::time::{Duration, Instant};

use kvlock::clock::Clock;
use kvlock::{AcquirePoll, Client, Validity, renewal::AutoRenew, store::Memory};

use crate::world::{World, busy, millis, refused, secs};

/// Bug 1: the timeout begins anew whenever somebody else was faster.
#[test]
fn a_wait_does_not_begin_again_when_others_are_faster() {
    let world = World::new();
    // Of another process: one of the same would stand in line.
    let fast = world.elsewhere().session().open().unwrap();
    let slow = world.session("slow");
    let mut held = Some(fast.lock("k").acquire().unwrap());
    let mut wait = slow.lock("k").wait(secs(5)).begin().unwrap();
    let began = world.clock.now();
    let error = loop {
        // Free in between, and taken again before the one who waits looks.
        if let Some(grant) = held.take() {
            grant.release().unwrap();
        }
        held = Some(fast.lock("k").acquire().unwrap());
        match wait.poll() {
            Ok(AcquirePoll::Pending { pause, .. }) => world.clock.advance(pause),
            Ok(AcquirePoll::Ready(_)) => panic!("it is held by the fast one"),
            Err(error) => break error,
        }
    };
    busy(Err::<(), _>(error));
    // The fast one pauses too, now and then, to let go first who waits.
    let waited = world.clock.now() - began;
    assert!(waited >= secs(5) && waited < secs(5) + millis(1), "{waited:?}");
}

/// Bug 2: the thread that renews dies at the first error, and the holder is not told.
#[test]
fn the_thread_that_renews_survives_errors_and_tells_a_loss() {
    let store = Memory::default();
    let session = Client::with_store(store.clone()).session().open().unwrap();
    let kept = session.lock("k").lease(secs(2)).acquire().unwrap().auto_renew(AutoRenew::default());
    let until = |what: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !what() {
            assert!(began.elapsed() < secs(20));
            std::thread::sleep(millis(5));
        }
    };
    store.down();
    until(&|| kept.failure().is_some());
    store.up();
    until(&|| kept.failure().is_none());
    assert!(kept.lost().is_none());
    store.down();
    until(&|| kept.lost().is_some());
}

/// Bug 3: after a renewal has failed, the next acquire takes the lock and fails all the same, and it stays taken.
#[test]
fn after_a_loss_the_session_acquires_and_keeps_again() {
    let store = Memory::default();
    let client = Client::with_store(store.clone());
    let session = client.session().open().unwrap();
    let kept = session.lock("k").lease(millis(300)).acquire().unwrap().auto_renew(AutoRenew::default());
    store.down();
    while kept.lost().is_none() {
        std::thread::sleep(millis(5));
    }
    assert!(kept.release().is_err());
    store.up();
    let again = session.lock("k").lease(secs(5)).acquire().unwrap().auto_renew(AutoRenew::default());
    assert!(again.lost().is_none());
    again.release().unwrap();
    let other = client.session().open().unwrap();
    other.lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}

/// Bug 4: there is one signal that the lock is free, and if it wakes somebody who is dead the others sleep on.
#[test]
fn a_dead_waiter_takes_nobodys_turn() {
    let world = World::new();
    let held = world.session("one").lock("k").acquire().unwrap();
    let sessions = ["dies", "lives"].map(|name| world.session(name));
    let mut waits = sessions.iter().map(|session| session.lock("k").begin().unwrap()).collect::<Vec<_>>();
    for wait in &mut waits {
        assert!(matches!(wait.poll(), Ok(AcquirePoll::Pending { .. })));
    }
    held.release().unwrap();
    let freed = world.clock.now();
    drop(waits.remove(0));
    let (_, grant) = world.run_until_one_ends(&mut waits);
    assert_eq!(grant.unwrap().owner(), "lives");
    assert!(world.clock.now() - freed <= millis(50));
}

/// Bug 6: a lease of half a second becomes one of zero, and an error.
#[test]
fn a_lease_below_a_second_is_a_lease() {
    let world = World::new();
    let grant = world.session("one").lock("k").lease(millis(500)).acquire().unwrap();
    assert!(matches!(grant.validity(), Ok(Validity::Valid(left)) if left > millis(490) && left < millis(500)));
    world.clock.advance(millis(500));
    refused(grant.release());
    world.session("two").lock("k").wait(Duration::ZERO).acquire().unwrap().release().unwrap();
}
