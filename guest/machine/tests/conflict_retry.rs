//! Conflict retry: a try under the lock, a reservation between two tries, and how it ends.

mod support;

use std::time::Duration;

use kvlock_machine::{
    AcquireError, BeginTry, GrantError, Key, KeyState, LockOptions, Retry, RetryOptions, StoreError, Try, Ttl,
    Unreported, Validity, Verdict, WaitingFor, Work,
};
use support::{Drive, Fault, Op, Owner, World, lease, millis, once, secs, waiting};

const RESERVE: Duration = secs(1);

/// Tries under a lease of 30 s that reserve the lock for 1 s and wait for ever.
fn options() -> RetryOptions {
    RetryOptions::new(lease(secs(30))).reserve(RESERVE).unwrap()
}

fn retry(options: RetryOptions) -> Retry {
    Retry::new(Key::new("k").unwrap(), options, 7)
}

fn beginning(world: &mut World, owner: Owner, retry: Retry) -> Op<BeginTry> {
    let nonce = world.nonce();
    Op::new(world, owner, retry.begin(nonce))
}

fn begin(world: &mut World, owner: Owner, retry: Retry) -> Result<Try, AcquireError> {
    let op = beginning(world, owner, retry);
    world.finish(op)
}

fn report(world: &mut World, owner: Owner, running: Try, work: Work) -> Result<Verdict, Unreported> {
    world.drive(owner, running.report(work))
}

/// Reports a conflict that is not the last try's.
#[track_caller]
fn conflict(world: &mut World, owner: Owner, running: Try) -> (Duration, Retry) {
    match report(world, owner, running, Work::Conflict) {
        Ok(Verdict::RetryAfter(pause, retry)) => (pause, *retry),
        other => panic!("{other:?}"),
    }
}

/// A world with two owners, of which the first runs its first try.
fn running(options: RetryOptions) -> (World, Owner, Try, Owner) {
    let mut world = World::new();
    let (owner, other) = (world.acquainted("a"), world.acquainted("b"));
    let running = begin(&mut world, owner, retry(options)).unwrap();
    world.log.clear();
    (world, owner, running, other)
}

fn holder(world: &mut World) -> Option<String> {
    let looking = world.owner("looking");
    let status = world.status(looking, &["k"]).unwrap().remove(0);
    world.log.pop();
    match status.state {
        KeyState::Held(holder) => Some(holder.owner),
        _ => None,
    }
}

/// What the store keeps the record for.
fn kept_for(world: &mut World) -> Option<Duration> {
    let now = world.now;
    world.servers.entry("k", now).map(|entry| match entry.time_left {
        Some(Ttl::After(left)) => left,
        other => panic!("{other:?}"),
    })
}

#[test]
fn work_that_commits_takes_an_add_and_a_delete() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let running = begin(&mut world, owner, retry(options())).unwrap();
    assert_eq!(running.number(), 1);
    assert_eq!(world.validity(owner, running.grant()), Validity::Valid(secs(30) - millis(60)));
    assert_eq!(report(&mut world, owner, running, Work::Committed), Ok(Verdict::Finished));
    assert_eq!(world.calls(), ["add", "delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn work_that_fails_is_not_tried_again_and_frees_the_lock() {
    let (mut world, owner, running, _) = running(options());
    assert_eq!(report(&mut world, owner, running, Work::Failed), Ok(Verdict::Finished));
    assert_eq!(world.calls(), ["delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn after_a_conflict_the_next_try_goes_first_while_others_wait() {
    let (mut world, owner, running, other) = running(options());
    let mut contender = world.acquiring(other, "k", waiting(30, secs(60)).interval(millis(1)).unwrap());
    world.run_until(world.now + millis(500), &mut [&mut contender]);
    let first = running.grant().token();
    let (pause, retry) = conflict(&mut world, owner, running);
    assert_eq!(kept_for(&mut world), Some(RESERVE));
    world.run_until(world.now + pause, &mut [&mut contender]);
    assert!(contender.due().is_some(), "the contender does not get in between");
    world.log.clear();
    let running = begin(&mut world, owner, retry).unwrap();
    assert_eq!(world.calls(), ["replace"], "one call, and no pause");
    assert_eq!((running.number(), running.grant().token()), (2, first), "it is the same hold");
    assert_eq!(world.validity(owner, running.grant()), Validity::Valid(secs(30) - millis(60)), "for a whole lease");
    world.run_until(world.now + secs(20), &mut [&mut contender]);
    assert!(contender.due().is_some());
    assert_eq!(report(&mut world, owner, running, Work::Committed), Ok(Verdict::Finished));
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

#[test]
fn the_last_conflict_is_the_callers_and_frees_the_lock() {
    let (mut world, owner, mut running, _) = running(options().tries(3).unwrap());
    for number in 1..3 {
        assert_eq!(running.number(), number);
        let (pause, retry) = conflict(&mut world, owner, running);
        world.advance(pause);
        running = begin(&mut world, owner, retry).unwrap();
    }
    assert_eq!(report(&mut world, owner, running, Work::Conflict), Ok(Verdict::Exhausted));
    assert_eq!(world.calls(), ["replace", "replace", "replace", "replace", "delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn a_lock_lost_while_the_work_ran_is_told_to_work_that_committed_or_failed() {
    for work in [Work::Committed, Work::Failed] {
        let (mut world, owner, running, other) = running(options());
        world.break_lock(other, "k").unwrap();
        let present = world.acquire(other, "k", once(30)).unwrap();
        let lost = report(&mut world, owner, running, work);
        let Err(Unreported { error: GrantError::Lost(Some(holder)), again: None }) = lost else { panic!("{lost:?}") };
        assert_eq!((holder.owner.as_str(), holder.token), ("b", present.token()));
        assert_eq!(world.renew(other, &present), Ok(()), "the present holder is not affected");
    }
}

#[test]
fn a_lease_that_ended_while_the_work_ran_is_told() {
    let (mut world, owner, running, _) = running(options());
    world.advance(secs(30));
    let lost = report(&mut world, owner, running, Work::Committed);
    assert_eq!(lost, Err(Unreported { error: GrantError::Lost(None), again: None }));
    assert!(world.calls().is_empty());
}

#[test]
fn a_conflict_of_work_that_lost_its_lock_is_tried_again_under_a_new_one() {
    let (mut world, owner, running, other) = running(options());
    let first = running.grant().token();
    world.break_lock(other, "k").unwrap();
    world.acquire(other, "k", once(5)).unwrap();
    world.log.clear();
    let (_, retry) = conflict(&mut world, owner, running);
    let running = begin(&mut world, owner, retry).unwrap();
    assert_eq!(running.number(), 2);
    assert!(running.grant().token() > first);
    assert_eq!(report(&mut world, owner, running, Work::Committed), Ok(Verdict::Finished));
}

#[test]
fn a_reservation_whose_answer_was_lost_is_found_by_the_next_try() {
    for fault in [Fault::LostReply, Fault::LostRequest, Fault::Late(millis(50))] {
        let (mut world, owner, running, _) = running(options());
        let first = running.grant().token();
        world.script([fault]);
        let (_, retry) = conflict(&mut world, owner, running);
        let running = begin(&mut world, owner, retry).unwrap();
        assert_eq!((running.number(), running.grant().token()), (2, first), "{fault:?}");
        assert_eq!(report(&mut world, owner, running, Work::Committed), Ok(Verdict::Finished), "{fault:?}");
    }
}

#[test]
fn a_conflict_while_the_store_is_down_is_tried_again_when_it_is_back() {
    let (mut world, owner, running, _) = running(options());
    let first = running.grant().token();
    world.weather = Fault::Unavailable;
    let (_, retry) = conflict(&mut world, owner, running);
    let mut next = beginning(&mut world, owner, retry);
    world.run_until(world.now + secs(2), &mut [&mut next]);
    assert!(matches!(next.machine.waiting_for(), WaitingFor::Outage(StoreError::Unavailable(_))));
    assert!(next.due().is_some(), "it waits");
    world.weather = Fault::Fine;
    let running = world.finish(next).unwrap();
    assert_eq!((running.number(), running.grant().token()), (2, first), "the lease has not ended");
}

#[test]
fn an_outage_longer_than_the_wait_is_told_and_the_session_can_wait_for_what_it_left() {
    let (mut world, owner, running, _) = running(options().wait(Some(secs(5))).unwrap());
    let started = world.now;
    let (_, retry_later) = conflict(&mut world, owner, running);
    world.weather = Fault::Unavailable;
    let begun = begin(&mut world, owner, retry_later);
    assert!(matches!(begun, Err(AcquireError::Store(StoreError::Unavailable(_)))), "{begun:?}");
    assert!(world.now <= started + secs(5) + millis(1), "{:?}", world.now - started);
    world.weather = Fault::Fine;
    assert!(begin(&mut world, owner, retry(options())).is_ok(), "nothing is held by accident");
}

#[test]
fn a_store_that_refuses_the_reservation_ends_the_wait_at_once() {
    let (mut world, owner, running, _) = running(options());
    let (_, retry) = conflict(&mut world, owner, running);
    world.script([Fault::Rejected]);
    let begun = begin(&mut world, owner, retry);
    assert!(matches!(begun, Err(AcquireError::Store(StoreError::Rejected(_)))), "{begun:?}");
}

#[test]
fn a_release_that_failed_can_be_reported_once_more() {
    for work in [Work::Committed, Work::Failed] {
        let (mut world, owner, running, _) = running(options());
        world.script([Fault::Unavailable]);
        let failed = report(&mut world, owner, running, work);
        let Err(Unreported { error: GrantError::Store(_), again: Some(running) }) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(holder(&mut world).as_deref(), Some("a"));
        assert_eq!(report(&mut world, owner, *running, work), Ok(Verdict::Finished));
        assert_eq!(holder(&mut world), None);
    }
}

#[test]
fn a_release_whose_answer_was_lost_is_read_back() {
    let (mut world, owner, running, _) = running(options());
    world.script([Fault::LostReply]);
    assert_eq!(report(&mut world, owner, running, Work::Committed), Ok(Verdict::Finished));
    assert_eq!(world.calls()[..2], ["delete", "get"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn the_last_conflict_is_told_even_when_the_lock_cannot_be_released() {
    let (mut world, owner, running, _) = running(options().tries(1).unwrap());
    world.script([Fault::Unavailable]);
    assert_eq!(report(&mut world, owner, running, Work::Conflict), Ok(Verdict::Exhausted));
    assert_eq!(holder(&mut world).as_deref(), Some("a"), "until its lease ends");
    let started = world.now;
    assert!(begin(&mut world, owner, retry(options())).is_ok(), "the session waits for that like anybody");
    assert!(world.now >= started + secs(29));
}

#[test]
fn a_new_instance_of_the_same_name_finds_the_reservation() {
    let (mut world, owner, running, _) = running(options());
    let (_, _gone) = conflict(&mut world, owner, running);
    let (namesake, other) = (world.acquainted("a"), world.acquainted("c"));
    let adopting = || options().adopt(true).wait(Some(Duration::ZERO)).unwrap();
    assert!(begin(&mut world, other, retry(adopting())).is_err(), "another name does not");
    let running = begin(&mut world, namesake, retry(adopting())).unwrap();
    assert_eq!(report(&mut world, namesake, running, Work::Committed), Ok(Verdict::Finished));
}

#[test]
fn a_session_that_holds_the_lock_otherwise_is_told_so() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let grant = world.acquire(owner, "k", LockOptions::new(lease(secs(30)))).unwrap();
    assert_eq!(begin(&mut world, owner, retry(options())), Err(AcquireError::AlreadyHeld));
    assert_eq!(world.renew(owner, &grant), Ok(()));
}

#[test]
fn a_store_that_lost_everything_grants_the_next_try_after_the_quarantine() {
    let (mut world, owner, running, _) = running(options());
    let first = running.grant().token();
    world.servers.lose(0, world.now);
    let lost = world.now;
    let (_, retry) = conflict(&mut world, owner, running);
    let running = begin(&mut world, owner, retry).unwrap();
    assert!(world.now >= lost + secs(30));
    assert!(running.grant().token() > first);
}
