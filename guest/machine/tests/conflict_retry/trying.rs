//! Tries: under the lock, one after the other, for as long as the wait lasts.

use super::*;

#[test]
fn work_that_commits_takes_an_add_and_a_delete() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let running = begin(&mut world, owner, retry(options())).unwrap();
    assert_eq!(running.number(), 1);
    assert_eq!(world.validity(owner, running.grant()), Validity::Valid(secs(30) - millis(60)));
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    assert_eq!(world.calls(), ["add", "delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn work_that_fails_is_not_tried_again_and_frees_the_lock() {
    let (mut world, owner, running, _) = running(options());
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Failed), Ok(NextTry::Finished));
    assert_eq!(world.calls(), ["delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn after_a_conflict_the_next_try_goes_first_while_others_wait() {
    let (mut world, owner, running, other) = running(options());
    let mut contender = world.acquiring(other, "k", waiting(30, secs(60)).interval(millis(1)).unwrap());
    world.run_for(millis(500), &mut [&mut contender]);
    let first = running.grant().token();
    let (pause, retry) = conflict(&mut world, owner, running);
    assert_eq!(kept_for(&mut world), Some(RESERVE));
    world.run_for(pause, &mut [&mut contender]);
    assert!(contender.due().is_some(), "the contender does not get in between");
    world.log.clear();
    let running = begin(&mut world, owner, retry).unwrap();
    assert_eq!(world.calls(), ["replace"], "one call, and no pause");
    assert_eq!((running.number(), running.grant().token()), (2, first), "it is the same hold");
    assert_eq!(world.validity(owner, running.grant()), Validity::Valid(secs(30) - millis(60)), "for a whole lease");
    world.run_for(secs(20), &mut [&mut contender]);
    assert!(contender.due().is_some());
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    assert!(world.finish(contender).is_ok());
}

#[test]
fn the_reservation_of_a_retrier_that_crashed_ends_by_itself() {
    let (mut world, owner, running, other) = running(options());
    let (pause, _crashed) = conflict(&mut world, owner, running);
    let reserved = world.now;
    assert!(pause <= RESERVE / 4);
    world.acquire(other, "k", waiting(30, secs(60))).unwrap();
    assert!(world.now >= reserved + RESERVE && world.now <= reserved + RESERVE + millis(60), "{:?}", world.now);
}

#[test]
fn pauses_are_short_and_grow_and_differ() {
    for (reserve, longest) in [(millis(8), millis(2)), (RESERVE, millis(100)), (secs(3600), millis(100))] {
        let (mut world, owner, mut running, _) = running(options().reserve(reserve).unwrap().tries(100).unwrap());
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let (pause, retry) = conflict(&mut world, owner, running);
            pauses.push(pause);
            running = begin(&mut world, owner, retry).unwrap();
        }
        assert!(pauses[0] <= millis(1), "{pauses:?}");
        assert!(pauses[10..].iter().all(|pause| (longest / 2..=longest).contains(pause)), "{pauses:?}");
        pauses.dedup();
        assert_eq!(pauses.len(), 20);
    }
}

#[test]
fn a_try_that_comes_too_late_for_its_reservation_waits_like_anybody() {
    let (mut world, owner, running, other) = running(options());
    let first = running.grant().token();
    let (_, retry) = conflict(&mut world, owner, running);
    world.advance(RESERVE);
    world.acquire(other, "k", once(5)).unwrap();
    let taken = world.now;
    let running = begin(&mut world, owner, retry).unwrap();
    assert!(world.now >= taken + secs(5));
    assert_eq!(running.number(), 2);
    assert!(running.grant().token() > first);
}

#[test]
fn a_busy_lock_is_waited_for() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    world.acquire(other, "k", once(5)).unwrap();
    let started = world.now;
    let mut waiting = beginning(&mut world, owner, retry(options()));
    world.run_until(started + secs(1), &mut [&mut waiting]);
    let WaitingFor::Holder(holder) = waiting.machine.waiting_for() else { panic!("held") };
    assert_eq!(holder.owner, "b");
    assert_eq!(waiting.machine.tries(), 0, "no try has begun");
    assert_eq!(world.finish(waiting).unwrap().number(), 1);
    assert!(world.now >= started + secs(5));
}

#[test]
fn a_wait_of_zero_never_waits() {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    world.acquire(other, "k", once(30)).unwrap();
    let started = world.now;
    let begun = begin(&mut world, owner, retry(options().wait(Some(Duration::ZERO)).unwrap()));
    assert!(matches!(begun, Err(AcquireError::Busy { waited: Duration::ZERO, .. })), "{begun:?}");
    assert_eq!(world.now, started);
}

#[test]
fn the_wait_counts_from_the_first_poll_over_all_tries_and_the_work() {
    let (mut world, owner, running, other) = running(options().wait(Some(secs(10))).unwrap());
    let started = world.now;
    world.advance(secs(7));
    let (_, retry) = conflict(&mut world, owner, running);
    world.break_lock(other, "k").unwrap();
    world.acquire(other, "k", once(300)).unwrap();
    let Err(AcquireError::Busy { waited, .. }) = begin(&mut world, owner, retry) else { panic!("busy") };
    assert_eq!((waited, world.now), (secs(10), started + secs(10)));
}

#[test]
fn a_try_that_finds_its_reservation_goes_even_when_the_wait_is_over() {
    let (mut world, owner, running, _) = running(options().wait(Some(Duration::ZERO)).unwrap());
    world.advance(secs(7));
    let (pause, retry) = conflict(&mut world, owner, running);
    world.advance(pause);
    assert_eq!(begin(&mut world, owner, retry).unwrap().number(), 2);
}
