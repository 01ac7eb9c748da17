//! How work ends, and what a lost lock or a store that fails makes of that.

use super::*;

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
    world.run_for(secs(2), &mut [&mut next]);
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
