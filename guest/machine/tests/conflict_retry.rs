//! Conflict retry: a try under the lock, a reservation between two tries, and how it ends.

mod support;

use std::time::Duration;

use kvlock_machine::{
    AcquireError, BeginTry, GrantError, Key, KeyState, LockOptions, Mode, NextTry, Released, Retry, RetryOptions,
    StoreError, Try, Ttl, Unreported, Validity, WaitingFor, WorkOutcome,
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

fn report(world: &mut World, owner: Owner, running: Try, work: WorkOutcome) -> Result<NextTry, Unreported> {
    world.drive(owner, running.report(work))
}

/// Reports a conflict that is not the last try's.
#[track_caller]
fn conflict(world: &mut World, owner: Owner, running: Try) -> (Duration, Retry) {
    match report(world, owner, running, WorkOutcome::Conflict(None)) {
        Ok(NextTry::RetryAfter(pause, retry)) => (pause, *retry),
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

fn give_up(world: &mut World, owner: Owner, retry: &Retry) -> Option<()> {
    let discard = retry.give_up(world.session(owner))?;
    world.drive(owner, discard);
    Some(())
}

fn status(world: &mut World) -> KeyState {
    let looking = world.owner("looking");
    let status = world.status(looking, &["k"]).unwrap().remove(0);
    world.log.pop();
    status.state
}

fn holder(world: &mut World) -> Option<String> {
    match status(world) {
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

#[test]
fn the_last_conflict_is_the_callers_and_frees_the_lock() {
    let (mut world, owner, mut running, _) = running(options().tries(3).unwrap());
    for number in 1..3 {
        assert_eq!(running.number(), number);
        let (pause, retry) = conflict(&mut world, owner, running);
        world.advance(pause);
        running = begin(&mut world, owner, retry).unwrap();
    }
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Conflict(None)), Ok(NextTry::Exhausted));
    assert_eq!(world.calls(), ["replace", "replace", "replace", "replace", "delete"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn a_lock_lost_while_the_work_ran_is_told_to_work_that_committed_or_failed() {
    for work in [WorkOutcome::Committed, WorkOutcome::Failed] {
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
    let lost = report(&mut world, owner, running, WorkOutcome::Committed);
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
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
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
        assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished), "{fault:?}");
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
    for work in [WorkOutcome::Committed, WorkOutcome::Failed] {
        let (mut world, owner, running, _) = running(options());
        world.script([Fault::Unavailable]);
        let failed = report(&mut world, owner, running, work);
        let Err(Unreported { error: GrantError::Store(_), again: Some(running) }) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!(holder(&mut world).as_deref(), Some("a"));
        assert_eq!(report(&mut world, owner, *running, work), Ok(NextTry::Finished));
        assert_eq!(holder(&mut world), None);
    }
}

#[test]
fn a_release_whose_answer_was_lost_is_read_back() {
    let (mut world, owner, running, _) = running(options());
    world.script([Fault::LostReply]);
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    assert_eq!(world.calls()[..2], ["delete", "get"]);
    assert_eq!(holder(&mut world), None);
}

#[test]
fn the_last_conflict_is_told_even_when_the_lock_cannot_be_released() {
    let (mut world, owner, running, _) = running(options().tries(1).unwrap());
    world.script([Fault::Unavailable]);
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Conflict(None)), Ok(NextTry::Exhausted));
    assert_eq!(holder(&mut world).as_deref(), Some("a"), "until its lease ends");
    let started = world.now;
    assert!(begin(&mut world, owner, retry(options())).is_ok(), "the session waits for that like anybody");
    assert!(world.now >= started + secs(29));
}

#[test]
fn a_retry_of_the_same_name_finds_the_reservation_from_elsewhere() {
    let named = |name| options().reservation(Some(name)).unwrap().wait(Some(Duration::ZERO)).unwrap();
    let (mut world, owner, running, other) = running(named("request 7"));
    let first = running.grant().token();
    let namesake = world.acquainted("a");
    assert!(begin(&mut world, namesake, retry(named("request 7"))).is_err(), "what runs is nobody's to take");
    let (_, _gone) = conflict(&mut world, owner, running);
    for unit in [retry(named("request 8")), retry(options().wait(Some(Duration::ZERO)).unwrap())] {
        assert!(begin(&mut world, namesake, unit).is_err(), "not by the owner's name");
    }
    let running = begin(&mut world, other, retry(named("request 7"))).unwrap();
    assert!(running.grant().token() > first && !running.is_overtaken());
    assert!(begin(&mut world, namesake, retry(named("request 7"))).is_err(), "it runs again");
    assert_eq!(report(&mut world, other, running, WorkOutcome::Committed), Ok(NextTry::Finished));
}

#[test]
fn a_new_retry_of_the_session_finds_the_reservation_if_it_is_of_the_same_work() {
    for name in [None, Some("request 7")] {
        let named = |name| options().reservation(name).unwrap();
        let (mut world, owner, running, _) = running(named(name));
        let first = running.grant().token();
        let (_, before) = conflict(&mut world, owner, running);
        world.log.clear();
        let other = named(Some("request 8")).wait(Some(Duration::ZERO)).unwrap();
        assert!(matches!(begin(&mut world, owner, retry(other)), Err(AcquireError::Busy { .. })));
        world.log.clear();
        let running = begin(&mut world, owner, retry(named(name))).unwrap();
        assert_eq!((running.grant().token(), world.calls()), (first, vec!["replace"]));
        assert!(give_up(&mut world, owner, &before).is_none(), "it is not the old one's any more");
        assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    }
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

#[test]
fn a_reservation_nobody_takes_up_ends_when_it_was_to_although_the_store_keeps_it_longer() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let mut contender = world.acquiring(other, "k", waiting(30, secs(60)));
    world.run_until(world.now + millis(300), &mut [&mut contender]);
    let (_, _gone) = conflict(&mut world, owner, running);
    let reserved = world.now;
    let KeyState::Reserved(holder) = status(&mut world) else { panic!("reserved") };
    assert_eq!((holder.owner.as_str(), holder.lease), ("a", Ttl::After(RESERVE)));
    let grant = world.finish(contender).unwrap();
    let waited = world.now - reserved;
    assert!(waited >= RESERVE && waited <= RESERVE + millis(60), "{waited:?}");
    assert!(grant.token() > holder.token);
    assert_eq!(self::holder(&mut world).as_deref(), Some("b"));
    assert_eq!(world.release(other, &grant), Ok(Released::Freed));
}

#[test]
fn of_many_that_wait_one_takes_over_a_reservation_that_is_over() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let owners: Vec<Owner> = (0..8).map(|_| world.acquainted("c")).chain([other]).collect();
    let mut ops: Vec<_> = owners.iter().map(|owner| world.acquiring(*owner, "k", waiting(30, secs(60)))).collect();
    let mut all: Vec<&mut dyn Drive> = ops.iter_mut().map(|op| op as &mut dyn Drive).collect();
    world.run_until(world.now + secs(2), &mut all);
    let (_, _gone) = conflict(&mut world, owner, running);
    world.run_until(world.now + RESERVE + millis(500), &mut all);
    let granted = ops.iter().filter(|op| op.due().is_none()).count();
    assert_eq!(granted, 1);
}

#[test]
fn who_tries_once_now_and_then_takes_over_a_reservation_that_it_has_seen_long_enough() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let (_, _gone) = conflict(&mut world, owner, running);
    assert!(world.acquire(other, "k", once(30)).is_err());
    world.advance(RESERVE - millis(1));
    assert!(world.acquire(other, "k", once(30)).is_err());
    world.advance(millis(1));
    assert!(world.acquire(other, "k", once(30)).is_ok());
}

#[test]
fn an_owner_who_comes_late_takes_its_reservation_if_it_is_there_and_waits_like_anybody_if_not() {
    for taken in [false, true] {
        let (mut world, owner, running, other) = running(options());
        world.servers.slack = secs(2);
        let first = running.grant().token();
        let (_, retry) = conflict(&mut world, owner, running);
        if taken {
            let grant = world.acquire(other, "k", waiting(3, secs(60))).unwrap();
            assert!(grant.token() > first);
        } else {
            world.advance(RESERVE + secs(1));
        }
        let started = world.now;
        let running = begin(&mut world, owner, retry).unwrap();
        assert_eq!((running.grant().token() == first, running.is_overtaken()), (!taken, taken));
        assert_eq!(world.now - started >= secs(2), taken);
        assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    }
}

#[test]
fn a_take_over_whose_answer_is_lost_is_found_out() {
    for fault in [Fault::LostReply, Fault::LostRequest, Fault::Late(millis(50))] {
        let (mut world, owner, running, other) = running(options());
        world.servers.slack = secs(2);
        let (_, retry) = conflict(&mut world, owner, running);
        assert!(world.acquire(other, "k", once(30)).is_err());
        world.advance(RESERVE);
        // The add finds the record, a look that it is over.
        world.script([Fault::Fine, Fault::Fine, fault]);
        let grant = world.acquire(other, "k", waiting(30, secs(60))).unwrap();
        let late = begin(&mut world, owner, Retry::clone(&retry));
        assert!(late.unwrap().is_overtaken(), "{fault:?}");
        assert_eq!(world.validity(other, &grant), Validity::Lost, "it waited for the lease to end");
    }
}

#[test]
fn a_grant_of_a_try_is_of_no_use_once_a_conflict_is_reported() {
    let (mut world, owner, running, _) = running(options());
    let grant = running.grant().clone();
    let (_, retry) = conflict(&mut world, owner, running);
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
    assert_eq!(world.release(owner, &grant), Err(GrantError::Lost(None)));
    let running = begin(&mut world, owner, retry).unwrap();
    assert_eq!(world.renew(owner, &grant), Err(GrantError::Lost(None)));
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
}

#[test]
fn who_comes_back_later_than_a_reservation_lasts_is_not_waited_for() {
    let (mut world, owner, running, other) = running(options());
    let Ok(NextTry::RetryAfter(pause, retry)) =
        report(&mut world, owner, running, WorkOutcome::Conflict(Some(RESERVE + millis(1))))
    else {
        panic!("to be tried again")
    };
    assert_eq!((pause, world.calls()), (RESERVE + millis(1), vec!["delete"]));
    let grant = world.acquire(other, "k", once(30)).unwrap();
    world.release(other, &grant).unwrap();
    world.advance(pause);
    let running = begin(&mut world, owner, *retry).unwrap();
    assert_eq!((running.number(), running.is_overtaken()), (2, false), "nobody had it since it came");
}

#[test]
fn who_comes_back_in_time_is_told_its_own_pause_and_finds_the_lock_reserved() {
    let (mut world, owner, running, other) = running(options());
    let first = running.grant().token();
    let Ok(NextTry::RetryAfter(RESERVE, retry)) =
        report(&mut world, owner, running, WorkOutcome::Conflict(Some(RESERVE)))
    else {
        panic!("to be tried again")
    };
    world.advance(millis(900));
    assert!(world.acquire(other, "k", once(30)).is_err());
    assert_eq!(begin(&mut world, owner, *retry).unwrap().grant().token(), first);
}

#[test]
fn a_release_for_a_late_retry_that_failed_is_found_by_it() {
    let (mut world, owner, running, _) = running(options());
    let first = running.grant().token();
    world.script([Fault::Unavailable]);
    let Ok(NextTry::RetryAfter(_, retry)) = report(&mut world, owner, running, WorkOutcome::Conflict(Some(secs(2))))
    else {
        panic!("to be tried again")
    };
    let running = begin(&mut world, owner, *retry).unwrap();
    assert_eq!(running.grant().token(), first);
}

#[test]
fn a_reservation_is_given_up_by_one_delete() {
    let (mut world, owner, running, other) = running(options());
    let (_, retry) = conflict(&mut world, owner, running);
    world.log.clear();
    assert!(give_up(&mut world, owner, &retry).is_some());
    assert_eq!(world.calls(), ["delete"]);
    assert_eq!(status(&mut world), KeyState::Free);
    assert!(give_up(&mut world, owner, &retry).is_none(), "once");
    let grant = world.acquire(other, "k", once(30)).unwrap();
    world.release(other, &grant).unwrap();
    assert_eq!(begin(&mut world, owner, retry).unwrap().number(), 2, "it can be tried again all the same");
}

#[test]
fn what_cannot_be_given_up_is_given_up_all_the_same() {
    for fault in [Fault::Unavailable, Fault::LostRequest] {
        let (mut world, owner, running, other) = running(options());
        let (_, retry) = conflict(&mut world, owner, running);
        let grant = world.acquire(other, "j", once(30)).unwrap();
        let before = world.now;
        world.script([fault]);
        assert!(give_up(&mut world, owner, &retry).is_some());
        assert!(world.now - before < secs(1), "it does not wait");
        let waits = world.acquire(owner, "j", waiting(30, secs(1)));
        assert!(matches!(waits, Err(AcquireError::Busy { .. })), "nothing is reserved any more: {waits:?}");
        world.release(other, &grant).unwrap();
        assert!(world.acquire(other, "k", waiting(30, secs(5))).is_ok(), "it ends when it was to");
    }
}

#[test]
fn a_try_that_cannot_be_given_back_is_not_taken_for_the_sessions_any_more() {
    for fault in [Fault::Unavailable, Fault::LostRequest] {
        let (mut world, owner, running, _) = running(options());
        let discard = running.abandon(world.session(owner)).unwrap();
        world.script([fault]);
        world.drive(owner, discard);
        let lease_is_over = world.acquire(owner, "k", waiting(30, secs(60)));
        assert!(lease_is_over.is_ok(), "{lease_is_over:?}");
    }
}

#[test]
fn a_retry_that_nobody_has_any_more_gives_up_what_no_name_leads_to() {
    for name in [None, Some("request 7")] {
        let (mut world, owner, running, other) = running(options().reservation(name).unwrap());
        let (_, retry) = conflict(&mut world, owner, running);
        let discard = retry.abandon(world.session(owner));
        assert_eq!(discard.is_some(), name.is_none());
        if let Some(discard) = discard {
            world.drive(owner, discard);
        }
        assert_eq!(world.acquire(other, "k", once(30)).is_ok(), name.is_none());
    }
}

#[test]
fn a_try_that_nobody_has_any_more_gives_its_lock_back_unless_it_was_written_out() {
    for written_out in [false, true] {
        let (mut world, owner, running, _) = running(options());
        if written_out {
            let grant = running.grant().clone();
            world.write_out(owner, &grant).unwrap();
        }
        let discard = running.abandon(world.session(owner));
        assert_eq!(discard.is_some(), !written_out);
        if let Some(discard) = discard {
            world.drive(owner, discard);
        }
        assert_eq!(holder(&mut world).is_some(), written_out);
    }
}

#[test]
fn a_retry_within_a_try_of_the_session_runs_within_it_and_only_the_outermost_is_tried_again() {
    let (mut world, owner, outer, other) = running(options());
    for work in [WorkOutcome::Committed, WorkOutcome::Failed, WorkOutcome::Conflict(None)] {
        let middle = begin(&mut world, owner, retry(options())).unwrap();
        let inner = begin(&mut world, owner, retry(options().reservation(Some("request 7")).unwrap())).unwrap();
        assert_eq!((inner.grant(), inner.number(), inner.is_overtaken()), (outer.grant(), 1, false));
        let verdict = if work == WorkOutcome::Conflict(None) { NextTry::Outermost } else { NextTry::Finished };
        assert_eq!(report(&mut world, owner, inner, work), Ok(verdict.clone()));
        assert!(middle.clone().abandon(world.session(owner)).is_none());
        assert_eq!(report(&mut world, owner, middle, work), Ok(verdict));
    }
    assert!(world.calls().is_empty(), "the lock is the outer one's");
    assert!(world.acquire(other, "k", once(30)).is_err());
    let (_, retry) = conflict(&mut world, owner, outer);
    assert!(begin(&mut world, owner, retry).is_ok());
}

#[test]
fn a_reentrant_lock_within_a_try_nests_and_a_plain_one_is_refused() {
    let (mut world, owner, outer, _) = running(options());
    let nested = world.acquire(owner, "k", once(30).mode(Mode::Reentrant)).unwrap();
    assert_eq!(world.acquire(owner, "k", once(30)), Err(AcquireError::AlreadyHeld));
    assert_eq!(world.release(owner, &nested), Ok(Released::Nested(1)));
    assert_eq!(report(&mut world, owner, outer, WorkOutcome::Committed), Ok(NextTry::Finished));
    assert_eq!(holder(&mut world), None);
}

#[test]
fn what_is_nested_in_a_try_does_not_outlive_the_report_of_a_conflict() {
    let (mut world, owner, outer, _) = running(options());
    let nested = world.acquire(owner, "k", once(30).mode(Mode::Reentrant)).unwrap();
    let (_, retry) = conflict(&mut world, owner, outer);
    assert_eq!(world.release(owner, &nested), Err(GrantError::Lost(None)));
    let outer = begin(&mut world, owner, retry).unwrap();
    assert_eq!(report(&mut world, owner, outer, WorkOutcome::Committed), Ok(NextTry::Finished));
    assert_eq!(holder(&mut world), None, "the only hold was the try's");
}

#[test]
fn work_within_a_try_that_lost_its_lock_is_told_so() {
    let (mut world, owner, _outer, _) = running(options());
    let inner = begin(&mut world, owner, retry(options())).unwrap();
    world.advance(secs(30));
    let lost = report(&mut world, owner, inner, WorkOutcome::Committed);
    assert_eq!(lost, Err(Unreported { error: GrantError::Lost(None), again: None }));
}

#[test]
fn nobody_waits_for_one_key_with_a_reservation_of_another() {
    for (name, others) in [(None, Some("request 8")), (Some("request 7"), None)] {
        let named = |name| options().reservation(name).unwrap();
        let (mut world, owner, running, other) = running(named(name));
        let grant = world.acquire(other, "j", once(30)).unwrap();
        let (_, first) = conflict(&mut world, owner, running);
        let another = |options| Retry::new(Key::new("j").unwrap(), options, 7);
        let refused = begin(&mut world, owner, another(named(name)));
        assert_eq!(refused, Err(AcquireError::ReservesAnother("k".into())));
        let once = begin(&mut world, owner, another(named(name).wait(Some(Duration::ZERO)).unwrap()));
        assert!(matches!(once, Err(AcquireError::Busy { .. })), "who does not wait may ask");
        let of_others = begin(&mut world, owner, another(named(others).wait(Some(secs(1))).unwrap()));
        assert!(matches!(of_others, Err(AcquireError::Busy { .. })), "it is not theirs: {of_others:?}");
        world.release(other, &grant).unwrap();
        assert!(begin(&mut world, owner, another(named(name))).is_ok(), "there is nothing to wait for");
        assert!(give_up(&mut world, owner, &first).is_some());
    }
}

#[test]
fn a_try_that_got_the_lock_at_once_was_not_overtaken() {
    let (mut world, owner, running, _) = running(options());
    assert!(!running.is_overtaken());
    let (pause, retry) = conflict(&mut world, owner, running);
    world.advance(pause);
    assert!(!begin(&mut world, owner, retry).unwrap().is_overtaken());
}

#[test]
fn a_try_is_overtaken_if_somebody_had_the_lock_while_it_waited_or_while_its_reservation_was_gone() {
    let (mut world, owner, running, other) = running(options());
    let mut waiting = beginning(&mut world, other, retry(options()));
    world.run_until(world.now + secs(1), &mut [&mut waiting]);
    assert_eq!(report(&mut world, owner, running, WorkOutcome::Committed), Ok(NextTry::Finished));
    let running = world.finish(waiting).unwrap();
    assert!(running.is_overtaken());
    let (_, retry) = conflict(&mut world, other, running);
    world.break_lock(owner, "k").unwrap();
    let running = begin(&mut world, other, retry).unwrap();
    assert!(running.is_overtaken(), "nobody knows who had it");
    world.break_lock(owner, "k").unwrap();
    world.advance(secs(30));
    let (_, retry) = conflict(&mut world, other, running);
    assert!(begin(&mut world, other, retry).unwrap().is_overtaken());
}

#[test]
fn who_takes_over_the_reservation_that_it_met_was_not_overtaken() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let (_, _gone) = conflict(&mut world, owner, running);
    let running = begin(&mut world, other, retry(options())).unwrap();
    assert!(!running.is_overtaken(), "the lock was reserved all the time, and nobody at work");
}
