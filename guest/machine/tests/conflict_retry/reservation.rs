//! Reservations: who finds them, when they end, and how they are given up.

use super::*;

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
fn a_session_that_holds_the_lock_already_is_told_so() {
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
    world.run_for(millis(300), &mut [&mut contender]);
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
fn nobody_is_asked_for_a_lock_that_is_reserved_and_a_try_that_was_asked_has_given_it_back_by_then() {
    let (mut world, owner, running, other) = running(options());
    let ask = |world: &mut World| {
        let nonce = world.nonce();
        let machine = AskFor::lock(world.session(other), &Key::new("k").unwrap(), None, nonce);
        world.drive(other, machine).unwrap()
    };
    let Asked::Placed(placed, holder) = ask(&mut world) else { panic!("a try runs") };
    assert!(!holder.reserved);
    let (_, _next) = conflict(&mut world, owner, running);
    let state = world.drive(other, FollowAsk::new(*placed)).unwrap();
    assert!(matches!(&state, AskState::Released(Some(holder)) if holder.reserved), "{state:?}");
    assert!(matches!(ask(&mut world), Asked::Reserved(holder) if holder.owner == "a"));
}

#[test]
fn of_many_that_wait_one_takes_over_a_reservation_that_is_over() {
    let (mut world, owner, running, other) = running(options());
    world.servers.slack = secs(2);
    let owners: Vec<Owner> = (0..8).map(|_| world.acquainted("c")).chain([other]).collect();
    let mut ops: Vec<_> = owners.iter().map(|owner| world.acquiring(*owner, "k", waiting(30, secs(60)))).collect();
    let mut all: Vec<&mut dyn Drive> = ops.iter_mut().map(|op| op as &mut dyn Drive).collect();
    world.run_for(secs(2), &mut all);
    let (_, _gone) = conflict(&mut world, owner, running);
    world.run_for(RESERVE + millis(500), &mut all);
    let granted = ops.iter().filter(|op| op.due().is_none()).count();
    assert_eq!(granted, 1);
}

#[test]
fn single_tries_now_and_then_take_over_a_reservation_seen_long_enough() {
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
fn an_owner_that_comes_late_takes_its_reservation_if_it_is_there_and_waits_if_not() {
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
fn a_caller_that_comes_back_later_than_a_reservation_lasts_is_not_waited_for() {
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
fn a_caller_that_comes_back_in_time_is_told_its_own_pause_and_finds_the_lock_reserved() {
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
