//! Tries within tries, and what a try is told of others.

use super::*;

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
    world.run_for(secs(1), &mut [&mut waiting]);
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
fn a_try_that_takes_over_the_reservation_that_it_met_was_not_overtaken() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let (_, _gone) = conflict(&mut world, owner, running);
    let running = begin(&mut world, other, retry(options())).unwrap();
    assert!(!running.is_overtaken(), "the lock was reserved all the time, and nobody at work");
}
