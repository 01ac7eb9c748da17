//! dogpile.cache 1.5.0, its lock on memcached.

use std::time::Duration;

use kvlock::AcquirePoll;
use kvlock::clock::Clock;

use crate::world::{World, busy, millis, secs};

/// Bug 1: the record names no owner, and whoever releases late frees the lock of another.
#[test]
fn a_late_release_frees_nobody_elses_lock() {
    let world = World::new();
    let late = world.session("one").lock("k").acquire().unwrap();
    world.clock.advance(secs(30));
    let held = world.session("two").lock("k").acquire().unwrap();
    drop(late);
    assert_eq!(world.holder("k").unwrap().token, held.token());
    busy(world.session("three").lock("k").wait(Duration::ZERO).acquire());
}

/// Bug 2: unless told otherwise the lock of a process that crashed stays for ever.
#[test]
fn the_lock_of_a_crashed_process_is_free_after_its_lease_by_default() {
    let world = World::new();
    world.session("crashes").lock("k").acquire().unwrap().forget();
    let two = world.session("two");
    let (_held, took) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(took >= secs(30) && took < secs(31), "{took:?}");
}

/// Bug 3: each pause is about as long as all that was waited before, so that a lock that is free is found so hours late.
#[test]
fn a_lock_that_gets_free_after_hours_is_taken_within_the_interval() {
    let world = World::new();
    let held = world.session("one").lock("k").lease(secs(1_000_000)).acquire().unwrap();
    let two = world.session("two");
    let mut wait = two.lock("k").interval(millis(50)).begin().unwrap();
    let end = world.clock.now() + secs(4 * 3600);
    while world.clock.now() < end {
        let Ok(AcquirePoll::Pending { pause, .. }) = wait.poll() else { panic!("it is held") };
        assert!(pause <= millis(50), "{pause:?}");
        // Nothing changes from one pause to the next; most are left out.
        world.clock.advance(pause.max(secs(60)));
    }
    held.release().unwrap();
    let freed = world.clock.now();
    let _grant = world.run_until_one_ends(std::slice::from_mut(&mut wait)).1.unwrap();
    assert!(world.clock.now() - freed <= millis(50));
}
