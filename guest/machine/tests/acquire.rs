//! Acquiring: one `add`, tried until it succeeds or the wait is over.

mod support;

use std::time::Duration;

use kvlock_machine::{AcquireError, LockOptions, Mode, Request, StoreError, Ttl, Validity, WaitingFor};
use support::{Drive, Fault, World, lease, millis, nested, once, secs, waiting};

#[test]
fn an_uncontended_acquire_in_a_known_era_is_one_add() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.acquire(owner, "k", once(30)).unwrap();
    assert_eq!(world.calls(), ["add"]);
}

#[test]
fn a_session_asks_about_an_era_only_once() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.acquire(owner, "k", once(30)).unwrap();
    world.acquire(owner, "l", once(30)).unwrap();
    assert_eq!(world.calls(), ["add", "era", "add"]);
}

#[test]
fn a_grant_is_valid_from_before_its_request_left_and_less_a_margin() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.script([Fault::SlowReply(secs(4))]);
    let sent = world.now;
    let grant = world.acquire(owner, "k", once(10)).unwrap();
    assert_eq!(world.now, sent + secs(4));
    let Validity::Valid(left) = world.validity(owner, &grant) else { panic!("valid") };
    assert!(left < secs(6) && left > millis(5900), "{left:?}");
    world.advance_to(sent + secs(10) - millis(20));
    assert_eq!(world.validity(owner, &grant), Validity::Lost);
    assert!(world.servers.entry("k", world.now).is_some(), "the record outlives the trust in it");
}

#[test]
fn a_wait_of_zero_tries_once_and_names_the_holder() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    let grant = world.acquire(holder, "k", once(30)).unwrap();
    world.log.clear();
    let Err(AcquireError::Busy { waited, waiting_for: WaitingFor::Holder(found) }) =
        world.acquire(other, "k", once(30))
    else {
        panic!("busy")
    };
    assert_eq!(waited, Duration::ZERO);
    assert_eq!((found.key.as_str(), found.owner.as_str(), found.label.as_str()), ("k", "holder", "host"));
    assert_eq!((found.depth, found.token), (1, grant.token()));
    assert_eq!(found.lease, Ttl::After(secs(30)));
    assert_eq!(world.calls(), ["add", "get"]);
}

#[test]
fn the_wait_counts_the_time_in_calls_and_ends_with_a_last_try_at_its_limit() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    world.acquire(holder, "k", once(300)).unwrap();
    world.log.clear();
    world.weather = Fault::SlowReply(millis(30));
    let began = world.now;
    let Err(AcquireError::Busy { waited, .. }) = world.acquire(other, "k", waiting(30, secs(2))) else {
        panic!("busy")
    };
    // The last try and the look at the holder, begun at the limit or before, are all that may come after it.
    assert!(waited >= secs(2) && waited <= secs(2) + millis(60), "{waited:?}");
    // Then it leaves the line.
    assert_eq!(waited + millis(30), world.now - began);
    let last = world.log.iter().rfind(|call| matches!(call.request, Request::Add { .. })).unwrap();
    assert!(last.at <= began + secs(2) && last.at >= began + secs(2) - millis(30), "{:?}", last.at - began);
}

#[test]
fn a_lock_freed_just_before_the_limit_is_had() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    let grant = world.acquire(holder, "k", once(300)).unwrap();
    let limit = world.now + secs(5);
    let slow = LockOptions::new(lease(secs(30))).interval(secs(60)).unwrap().wait(Some(secs(5))).unwrap();
    let mut op = world.acquiring(other, "k", slow);
    world.run_until(limit - Duration::from_nanos(1), &mut [&mut op]);
    world.release(holder, &grant).unwrap();
    world.run_until(limit, &mut [&mut op]);
    assert!(op.outcome().unwrap().is_ok());
}

#[test]
fn the_wait_does_not_restart_when_the_holder_changes_or_the_store_goes_away() {
    let mut world = World::new();
    let (one, two, other) = (world.acquainted("one"), world.acquainted("two"), world.acquainted("other"));
    let first = world.acquire(one, "k", once(300)).unwrap();
    let limit = world.now + secs(3);
    let slow = waiting(30, secs(3)).interval(millis(400)).unwrap();
    let mut op = world.acquiring(other, "k", slow);
    world.run_until(limit - secs(2), &mut [&mut op]);
    world.release(one, &first).unwrap();
    world.acquire(two, "k", once(300)).unwrap();
    world.weather = Fault::Unavailable;
    world.run_until(limit - secs(1), &mut [&mut op]);
    assert!(matches!(op.machine.waiting_for(), WaitingFor::Outage(_)));
    world.weather = Fault::Fine;
    world.run_until(limit, &mut [&mut op]);
    let Some(Err(AcquireError::Busy { waited, waiting_for: WaitingFor::Holder(holder) })) = op.outcome() else {
        panic!("busy")
    };
    assert_eq!((waited, holder.owner.as_str()), (secs(3), "two"));
}

#[test]
fn pauses_grow_with_jitter_up_to_the_interval_and_never_above() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    world.acquire(holder, "k", once(300)).unwrap();
    world.log.clear();
    let _ = world.acquire(other, "k", waiting(30, secs(20)).interval(millis(200)).unwrap());
    let tries: Vec<_> =
        world.log.iter().filter(|call| matches!(call.request, Request::Add { .. })).map(|call| call.at).collect();
    let pauses: Vec<_> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] <= millis(1), "{:?}", pauses[0]);
    assert!(pauses.iter().all(|pause| *pause <= millis(200)));
    let (_, settled) = pauses[10..].split_last().unwrap();
    assert!(settled.iter().all(|pause| *pause >= millis(100)));
    assert!(settled.windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
}

#[test]
fn a_waiter_adds_and_looks_only_now_and_then() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    world.acquire(holder, "k", once(300)).unwrap();
    world.log.clear();
    let _ = world.acquire(other, "k", waiting(30, secs(10)));
    let calls = world.calls();
    let looks = calls.iter().filter(|call| **call == "get").count();
    assert!(looks * 10 < calls.len(), "{looks} looks in {} calls", calls.len());
}

#[test]
fn what_a_plain_session_holds_it_is_told_at_once_and_nothing_is_sent() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.acquire(owner, "k", once(30)).unwrap();
    world.log.clear();
    assert_eq!(world.acquire(owner, "k", waiting(30, secs(10))), Err(AcquireError::AlreadyHeld));
    assert_eq!(world.acquire(owner, "k", nested(30)), Err(AcquireError::AlreadyHeld), "it was taken as a plain lock");
    assert!(world.calls().is_empty());
}

#[test]
fn what_a_session_held_until_its_lease_ended_it_may_acquire_again() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    let old = world.acquire(owner, "k", once(10)).unwrap();
    world.advance(secs(10));
    let new = world.acquire(owner, "k", once(10)).unwrap();
    assert!(new.token() > old.token());
    assert_eq!(world.validity(owner, &old), Validity::Lost);
    assert!(matches!(world.validity(owner, &new), Validity::Valid(_)));
}

#[test]
fn two_sessions_of_one_name_are_two_owners() {
    let mut world = World::new();
    let (one, two) = (world.acquainted("same"), world.acquainted("same"));
    world.acquire(one, "k", once(30)).unwrap();
    for options in [once(30), once(30).mode(Mode::Reentrant)] {
        assert!(matches!(world.acquire(two, "k", options), Err(AcquireError::Busy { .. })));
    }
}

#[test]
fn the_lease_begins_at_the_try_that_succeeded() {
    let mut world = World::new();
    let (holder, other) = (world.acquainted("holder"), world.acquainted("other"));
    world.acquire(holder, "k", once(60)).unwrap();
    let grant = world.acquire(other, "k", waiting(10, secs(100))).unwrap();
    let Validity::Valid(left) = world.validity(other, &grant) else { panic!("valid") };
    assert_eq!(left, secs(10) - millis(20));
}

#[test]
fn a_grant_whose_answer_came_after_the_lease_is_not_handed_out() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.script([Fault::SlowReply(secs(11))]);
    let grant = world.acquire(owner, "k", waiting(10, secs(60))).unwrap();
    assert_eq!(world.validity(owner, &grant), Validity::Valid(secs(10) - millis(20)));
    assert!(world.servers.entry("k", world.now).is_some());
}

#[test]
fn a_store_slower_than_the_lease_does_not_outlast_the_wait() {
    for wait in [0, 20] {
        let mut world = World::new();
        let owner = world.acquainted("a");
        let began = world.now;
        world.servers.slack = secs(5);
        world.weather = Fault::SlowReply(secs(2));
        let outcome = world.acquire(owner, "k", waiting(1, secs(wait)));
        assert!(matches!(outcome, Err(AcquireError::Busy { .. })), "{outcome:?}");
        assert!(world.now <= began + secs(wait + 4), "{:?}", world.now - began);
        assert!(world.servers.entry("k", world.now).is_none());
    }
}

#[test]
fn a_store_slower_than_the_lease_is_given_a_pause() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.servers.slack = secs(5);
    world.weather = Fault::SlowReply(secs(2));
    // The driver of this world bears no more than forty calls without one.
    let outcome = world.acquire(owner, "k", waiting(1, secs(200)));
    assert!(matches!(outcome, Err(AcquireError::Busy { .. })), "{outcome:?}");
}

#[test]
fn an_outage_is_ridden_out_from_the_first_try_on() {
    let mut world = World::new();
    let owner = world.owner("a");
    world.weather = Fault::Unavailable;
    let mut op = world.acquiring(owner, "k", waiting(30, secs(60)));
    world.run_for(secs(20), &mut [&mut op]);
    assert!(matches!(op.machine.waiting_for(), WaitingFor::Outage(StoreError::Unavailable(_))));
    assert!(op.due().is_some());
    assert!(world.log.len() <= 201, "{} tries in 20 s are a storm", world.log.len());
    world.weather = Fault::Fine;
    assert!(world.finish(op).is_ok());
}

#[test]
fn a_single_try_is_told_of_an_outage_at_once() {
    let mut world = World::new();
    let (new, old) = (world.owner("new"), world.acquainted("old"));
    world.weather = Fault::Unavailable;
    for owner in [new, old] {
        let began = world.now;
        let outcome = world.acquire(owner, "k", once(30));
        assert!(matches!(outcome, Err(AcquireError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
        assert_eq!(world.now, began);
    }
}

#[test]
fn waiters_do_not_come_back_from_an_outage_in_step() {
    let mut world = World::new();
    let (one, two) = (world.acquainted("one"), world.acquainted("two"));
    world.weather = Fault::Unavailable;
    let mut ops = [one, two].map(|owner| world.acquiring(owner, "k", waiting(30, secs(60))));
    let [first, second] = &mut ops;
    world.run_for(secs(5), &mut [first, second]);
    world.log.sort_by_key(|call| call.at);
    let together = world.log.windows(2).filter(|pair| pair[0].at == pair[1].at).count();
    assert!(together <= 1, "{together} times at the same moment");
}

#[test]
fn an_outage_longer_than_the_wait_is_told_as_the_store_s_failure() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.weather = Fault::Unavailable;
    let began = world.now;
    let outcome = world.acquire(owner, "k", waiting(30, secs(5)));
    assert!(matches!(outcome, Err(AcquireError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
    assert_eq!(world.now, began + secs(5));
}

#[test]
fn a_refusal_ends_the_wait() {
    let mut world = World::new();
    let owner = world.acquainted("a");
    world.script([Fault::Rejected]);
    let outcome = world.acquire(owner, "k", waiting(30, secs(5)));
    assert!(matches!(outcome, Err(AcquireError::Store(StoreError::Rejected(_)))), "{outcome:?}");
}

#[test]
fn a_foreign_value_is_corrupt_and_left_alone() {
    for adopt in [false, true] {
        let mut world = World::new();
        let owner = world.acquainted("a");
        world.servers.set("k", b"42");
        let outcome = world.acquire(owner, "k", waiting(30, secs(60)).adopt(adopt));
        assert_eq!(outcome, Err(AcquireError::Corrupt("\"42\"".into())));
        assert!(world.break_lock(owner, "k").is_err());
        assert_eq!(world.servers.text("k", world.now).as_deref(), Some("42"));
    }
}

#[test]
fn a_record_of_another_key_is_corrupt_and_left_alone() {
    let mut world = World::new();
    let (one, two) = (world.acquainted("a"), world.acquainted("a"));
    world.acquire(one, "elsewhere", once(300)).unwrap();
    let record = world.servers.text("elsewhere", world.now).unwrap();
    world.servers.set("k", record.as_bytes());
    let outcome = world.acquire(two, "k", waiting(30, secs(60)).adopt(true));
    assert!(matches!(outcome, Err(AcquireError::Corrupt(text)) if text.contains("elsewhere")));
    assert_eq!(world.servers.text("k", world.now), Some(record));
}

#[test]
fn fencing_tokens_grow_from_grant_to_grant() {
    let mut world = World::new();
    let (one, two) = (world.acquainted("a"), world.acquainted("a"));
    let mut last = 0;
    for round in 0..20 {
        let owner = if round % 2 == 0 { one } else { two };
        let grant = world.acquire(owner, "k", waiting(10, secs(60)).adopt(round % 5 == 4)).unwrap();
        assert!(grant.token() > last, "round {round}");
        last = grant.token();
        match round % 4 {
            0 => drop(world.release(owner, &grant)),
            1 => world.servers.lose(0, world.now),
            2 => drop(world.renew(owner, &grant)),
            _ => world.advance(secs(10)),
        }
        if world.validity(owner, &grant) != Validity::Lost && round % 5 != 3 {
            let _ = world.release(owner, &grant);
        }
    }
}

#[test]
fn of_two_acquisitions_of_one_session_the_second_learns_that_the_first_holds_the_lock() {
    let mut world = World::new();
    let (blocker, owner) = (world.acquainted("blocker"), world.acquainted("a"));
    let held = world.acquire(blocker, "k", once(30)).unwrap();
    let mut first = world.acquiring(owner, "k", waiting(30, secs(60)));
    let mut second = world.acquiring(owner, "k", waiting(30, secs(60)));
    world.run_for(secs(1), &mut [&mut first, &mut second]);
    world.release(blocker, &held).unwrap();
    let outcomes = [world.finish(first), world.finish(second)];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.contains(&Err(AcquireError::AlreadyHeld)), "{outcomes:?}");
}
