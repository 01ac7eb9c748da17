//! Conflict retry: work that is tried under a lock until it commits, with a reservation between two tries.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use kvlock::store::Ttl;
use kvlock::{
    AcquirePoll, ConflictRetry, Grant, Session,
    conflict_retry::{ConflictRetryError, NextTry, RetrySteps, WorkOutcome},
    error::{AcquireError, GrantError},
    renewal::LostReason,
    status::KeyState,
};

use crate::world::{World, busy, millis, refused, secs};

/// A step by step retry's grant, which must come without a pause.
#[track_caller]
fn granted(retrying: &mut RetrySteps) -> Grant {
    match retrying.poll().unwrap() {
        AcquirePoll::Ready(grant) => grant,
        AcquirePoll::Pending { waiting_for, .. } => panic!("{waiting_for}"),
    }
}

fn conflict(retrying: &mut RetrySteps, grant: Grant) -> Result<NextTry, GrantError> {
    retrying.report(grant, &WorkOutcome::<(), ()>::Conflict(()))
}

fn commit(retrying: &mut RetrySteps, grant: Grant) -> Result<NextTry, GrantError> {
    retrying.report(grant, &WorkOutcome::<(), ()>::Committed(()))
}

/// Work that never runs.
fn never(session: &Session, options: impl Fn(ConflictRetry) -> ConflictRetry) -> AcquireError {
    let work = options(session.conflict_retry("k"));
    match refused(work.run(|_| -> WorkOutcome<(), ()> { panic!("it runs") })) {
        ConflictRetryError::Acquire { error, conflict: None } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn work_that_commits_at_once_costs_an_add_and_a_delete() {
    let (world, [session]) = World::with(["one"]);
    let value = session.conflict_retry("k").run(|attempt| -> WorkOutcome<_, ()> {
        assert_eq!((attempt.number(), attempt.key(), attempt.is_held()), (1, "k", true));
        assert!(attempt.valid_for().is_some_and(|left| left > secs(29)));
        WorkOutcome::Committed(attempt.token())
    });
    assert!(value.unwrap() > 0);
    assert_eq!(world.calls(), ["add kvlock:lock:k -> written", "delete kvlock:lock:k -> deleted"]);
}

#[test]
fn conflicts_are_retried_under_one_hold_until_the_work_commits() {
    let (world, [session, other]) = World::with(["one", "two"]);
    let (mut tokens, mut numbers) = (Vec::new(), Vec::new());
    let (value, took) = world.timed(|| {
        session.conflict_retry("k").run(|attempt| {
            tokens.push(attempt.token());
            numbers.push(attempt.number());
            assert!(other.lock("k").try_acquire().unwrap().is_none());
            if attempt.number() < 4 { WorkOutcome::Conflict("again") } else { WorkOutcome::Committed("done") }
        })
    });
    assert_eq!((value, numbers), (Ok("done"), vec![1, 2, 3, 4]));
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "nobody got in between");
    assert!(took > Duration::ZERO && took < millis(10), "{took:?}");
    assert!(world.holder("k").is_none());
}

#[test]
fn the_next_try_finds_its_reservation_while_a_contender_waits() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut retrying = one.conflict_retry("k").reserve(secs(2)).begin().unwrap();
    let grant = granted(&mut retrying);
    let mut contender = two.lock("k").begin().unwrap();
    assert!(matches!(contender.poll(), Ok(AcquirePoll::Pending { .. })));
    let Ok(NextTry::RetryAfter(pause)) = conflict(&mut retrying, grant) else { panic!("to be retried") };
    assert!(pause <= millis(1), "{pause:?}");
    assert_eq!(world.holder("k").unwrap().lease, Ttl::After(secs(2)));
    for _ in 0..10 {
        world.clock.advance(millis(100));
        assert!(matches!(contender.poll(), Ok(AcquirePoll::Pending { .. })));
    }
    let grant = granted(&mut retrying);
    assert_eq!(retrying.tries(), 2);
    assert_eq!(world.holder("k").unwrap().lease, Ttl::After(secs(30)));
    assert_eq!(commit(&mut retrying, grant), Ok(NextTry::Finished));
    let (waited, _) = world.run_until_one_ends(&mut [contender]);
    assert_eq!(waited, 0);
}

#[test]
fn the_reservation_of_a_retrier_that_never_comes_back_ends() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let mut retrying = one.conflict_retry("k").reserve(secs(1)).begin().unwrap();
    let grant = granted(&mut retrying);
    conflict(&mut retrying, grant).unwrap();
    let (_, waited) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(waited >= secs(1) && waited < millis(1100), "{waited:?}");
}

#[test]
fn the_last_conflict_is_given_to_the_caller_with_the_number_of_tries() {
    let (world, [session]) = World::with(["one"]);
    let outcome = session
        .conflict_retry("k")
        .tries(3)
        .run(|attempt| -> WorkOutcome<(), _> { WorkOutcome::Conflict(format!("conflict {}", attempt.number())) });
    assert_eq!(outcome, Err(ConflictRetryError::Exhausted { conflict: "conflict 3".to_string(), tries: 3 }));
    assert!(outcome.unwrap_err().to_string().contains("3 tries"));
    assert!(world.holder("k").is_none());
}

#[test]
fn work_that_fails_is_not_tried_again() {
    let (world, [session]) = World::with(["one"]);
    let mut tries = 0;
    let outcome = session.conflict_retry("k").run(|_| -> WorkOutcome<(), _> {
        tries += 1;
        WorkOutcome::Failed("broken")
    });
    assert_eq!(outcome, Err(ConflictRetryError::Failed { error: "broken", lock: None }));
    assert_eq!(tries, 1);
    assert!(world.holder("k").is_none());
}

#[test]
fn a_lock_lost_while_the_work_ran_is_told_and_what_it_committed_is_given() {
    let (_, [session, operator]) = World::with(["one", "operator"]);
    let work = || {
        session.conflict_retry("k").run(|_| -> WorkOutcome<_, ()> {
            operator.break_lock("k").unwrap();
            WorkOutcome::Committed(42)
        })
    };
    let outcome = work();
    assert!(
        matches!(outcome, Err(ConflictRetryError::Release { value: 42, error: GrantError::Lost { .. } })),
        "{outcome:?}"
    );
    assert_eq!(work().or_else(ConflictRetryError::committed), Ok(42));
}

#[test]
fn work_that_failed_hears_of_a_lost_lock_too() {
    let (_, [session, operator]) = World::with(["one", "operator"]);
    let outcome = session.conflict_retry("k").run(|_| -> WorkOutcome<(), _> {
        operator.break_lock("k").unwrap();
        WorkOutcome::Failed("broken")
    });
    let Err(ConflictRetryError::Failed { error: "broken", lock: Some(GrantError::Lost { .. }) }) = outcome else {
        panic!("{outcome:?}")
    };
}

#[test]
fn work_sees_that_its_lease_has_ended() {
    let (world, [session]) = World::with(["one"]);
    let outcome = session.conflict_retry("k").lease(secs(10)).run(|attempt| -> WorkOutcome<_, ()> {
        world.clock.advance(secs(10));
        assert!(!attempt.is_held());
        WorkOutcome::Committed(attempt.lost())
    });
    let Err(ConflictRetryError::Release { value: Some(LostReason::Expired(_)), .. }) = outcome else {
        panic!("{outcome:?}")
    };
}

#[test]
fn a_conflict_of_work_that_lost_its_lock_is_tried_again_under_a_new_one() {
    let (_, [session, operator]) = World::with(["one", "operator"]);
    let mut tokens = Vec::new();
    let outcome = session.conflict_retry("k").run(|attempt| {
        tokens.push(attempt.token());
        if attempt.number() == 1 {
            operator.break_lock("k").unwrap();
            return WorkOutcome::Conflict(());
        }
        WorkOutcome::Committed(())
    });
    assert_eq!(outcome, Ok(()));
    assert!(tokens[1] > tokens[0], "{tokens:?}");
}

#[test]
fn work_that_panics_releases_the_lock() {
    let (world, [session]) = World::with(["one"]);
    let work = || session.conflict_retry("k").run(|_| -> WorkOutcome<(), ()> { panic!("on purpose") });
    let outcome = catch_unwind(AssertUnwindSafe(work));
    assert_eq!(outcome.err().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
    assert!(world.holder("k").is_none());
    let again =
        session.conflict_retry("k").wait(Duration::ZERO).run(|_| -> WorkOutcome<_, ()> { WorkOutcome::Committed(()) });
    assert_eq!(again, Ok(()));
}

#[test]
fn a_busy_lock_is_waited_for_as_long_as_asked_and_the_work_does_not_run_without_it() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").acquire().unwrap();
    for wait in [Duration::ZERO, secs(3)] {
        let (error, took) = world.timed(|| never(&two, |work| work.wait(wait)));
        assert_eq!((busy::<()>(Err(error)).0, took), (wait, wait));
    }
    held.release().unwrap();
    let value =
        two.conflict_retry("k").wait(Duration::ZERO).run(|_| -> WorkOutcome<_, ()> { WorkOutcome::Committed(1) });
    assert_eq!(value, Ok(1));
}

#[test]
fn a_conflict_is_not_forgotten_when_the_next_try_finds_no_lock() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let mut held = None;
    let outcome = one.conflict_retry("k").wait(secs(3)).run(|_| -> WorkOutcome<(), _> {
        two.break_lock("k").unwrap();
        held = Some(two.lock("k").acquire().unwrap());
        WorkOutcome::Conflict("the first")
    });
    let Err(ConflictRetryError::Acquire { error: AcquireError::Busy { .. }, conflict: Some("the first") }) = outcome
    else {
        panic!("{outcome:?}")
    };
}

#[test]
fn a_commit_whose_release_failed_keeps_its_value() {
    let (world, [session]) = World::with(["one"]);
    let outcome = session.conflict_retry("k").run(|_| -> WorkOutcome<_, ()> {
        world.store.down();
        WorkOutcome::Committed(42)
    });
    let Err(ConflictRetryError::Release { value: 42, error: GrantError::Store { .. } }) = outcome else {
        panic!("{outcome:?}")
    };
    world.store.up();
    assert_eq!(world.holder("k").unwrap().owner, "one", "until its lease ends");
}

#[test]
fn an_outage_between_two_tries_is_ridden_out() {
    let (world, [session]) = World::with(["one"]);
    let mut retrying = session.conflict_retry("k").begin().unwrap();
    let grant = granted(&mut retrying);
    world.store.down();
    assert!(matches!(conflict(&mut retrying, grant), Ok(NextTry::RetryAfter(_))));
    assert!(matches!(retrying.poll(), Ok(AcquirePoll::Pending { .. })));
    world.store.up();
    let grant = retrying.block().unwrap();
    assert_eq!(retrying.tries(), 2);
    assert_eq!(commit(&mut retrying, grant), Ok(NextTry::Finished));
}

#[test]
fn a_retry_of_the_same_name_finds_the_reservation_from_another_session() {
    let (_, [first, namesake, other]) = World::with(["worker", "worker", "other"]);
    let named = |name: &'static str| move |work: ConflictRetry| work.reservation(name).wait(Duration::ZERO);
    let mut retrying = named("request 7")(first.conflict_retry("k")).begin().unwrap();
    let grant = granted(&mut retrying);
    assert!(matches!(never(&other, named("request 7")), AcquireError::Busy { .. }), "work runs");
    conflict(&mut retrying, grant).unwrap();
    drop(retrying);
    assert!(matches!(never(&namesake, named("request 8")), AcquireError::Busy { .. }), "an owner's name is nothing");
    let Ok(KeyState::Reserved(holder)) = namesake.status("k").map(|status| status.state) else { panic!("reserved") };
    assert!(holder.to_string().starts_with("reserved by worker for its next try"), "{holder}");
    let run = named("request 7")(other.conflict_retry("k")).run(|attempt| -> WorkOutcome<_, ()> {
        assert!(!attempt.is_overtaken());
        WorkOutcome::Committed(())
    });
    assert_eq!(run, Ok(()));
}

#[test]
fn a_retry_gives_its_reservation_up_when_it_is_dropped_or_asked_to() {
    for drops in [false, true] {
        let (world, [one, two]) = World::with(["one", "two"]);
        let mut retrying = one.conflict_retry("k").begin().unwrap();
        let grant = granted(&mut retrying);
        conflict(&mut retrying, grant).unwrap();
        world.calls();
        let kept = if drops {
            drop(retrying);
            None
        } else {
            retrying.give_up();
            Some(retrying)
        };
        assert_eq!(world.calls(), ["delete kvlock:lock:k -> deleted"]);
        assert!(two.lock("k").try_acquire().unwrap().is_some());
        drop(kept);
    }
}

#[test]
fn a_try_that_is_dropped_unreported_gives_its_lock_back() {
    let (world, [session]) = World::with(["one"]);
    let mut retrying = session.conflict_retry("k").begin().unwrap();
    granted(&mut retrying).forget();
    drop(retrying);
    assert!(world.holder("k").is_none());
    assert_eq!(session.conflict_retry("k").run(|_| -> WorkOutcome<_, ()> { WorkOutcome::Committed(()) }), Ok(()));
}

#[test]
fn a_new_retry_of_the_session_finds_the_reservation_of_the_one_before() {
    let (world, [session]) = World::with(["one"]);
    let mut before = session.conflict_retry("k").begin().unwrap();
    let grant = granted(&mut before);
    let token = grant.token();
    conflict(&mut before, grant).unwrap();
    let mut after = session.conflict_retry("k").begin().unwrap();
    let grant = granted(&mut after);
    assert_eq!((grant.token(), after.is_overtaken()), (token, false));
    drop(before);
    assert_eq!(commit(&mut after, grant), Ok(NextTry::Finished));
    assert!(world.holder("k").is_none());
}

#[test]
fn a_caller_that_comes_back_later_than_the_reservation_lasts_is_not_waited_for() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let mut retrying = one.conflict_retry("k").begin().unwrap();
    let grant = granted(&mut retrying);
    assert_eq!(retrying.report_conflict(grant, secs(2)), Ok(NextTry::RetryAfter(secs(2))));
    drop(two.lock("k").try_acquire().unwrap().unwrap());
    let grant = granted(&mut retrying);
    assert_eq!(retrying.report_conflict(grant, millis(900)), Ok(NextTry::RetryAfter(millis(900))));
    assert!(two.lock("k").try_acquire().unwrap().is_none());
    let grant = granted(&mut retrying);
    assert_eq!((retrying.tries(), commit(&mut retrying, grant)), (3, Ok(NextTry::Finished)));
}

#[test]
fn work_within_work_of_the_same_key_runs_and_its_conflict_is_the_outermosts() {
    let (world, [session, other]) = World::with(["one", "two"]);
    let mut tries = Vec::new();
    let outcome = session.conflict_retry("k").run(|outer| -> WorkOutcome<_, String> {
        let inner = session.conflict_retry("k").run(|inner| {
            assert_eq!((inner.token(), inner.number()), (outer.token(), 1));
            tries.push(outer.number());
            if outer.number() < 3 { WorkOutcome::Conflict("serialize") } else { WorkOutcome::Committed(1) }
        });
        assert!(other.lock("k").try_acquire().unwrap().is_none(), "the outer one holds the lock");
        match inner {
            Ok(value) => WorkOutcome::Committed(value + 1),
            Err(error @ ConflictRetryError::Outermost { .. }) => WorkOutcome::Failed(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    });
    assert_eq!((outcome, tries), (Ok(2), vec![1, 2, 3]));
    assert!(world.holder("k").is_none());
}

#[test]
fn a_failure_after_a_try_within_that_committed_is_a_failure() {
    let (world, [session]) = World::with(["one"]);
    let outcome = session.conflict_retry("k").run(|_| -> WorkOutcome<(), _> {
        session.conflict_retry("k").run(|_| -> WorkOutcome<_, ()> { WorkOutcome::Committed(()) }).unwrap();
        let _nested = session.lock("k").reentrant().acquire().unwrap();
        WorkOutcome::Failed("broken")
    });
    assert_eq!(outcome, Err(ConflictRetryError::Failed { error: "broken", lock: None }));
    assert!(world.holder("k").is_none());
}

#[test]
fn another_thread_of_the_session_is_told_that_the_lock_is_held() {
    let (_, [session]) = World::with(["one"]);
    let outcome = session.conflict_retry("k").run(|_| -> WorkOutcome<_, ()> {
        let other = std::thread::scope(|scope| scope.spawn(|| never(&session, |work| work)).join().unwrap());
        assert!(matches!(other, AcquireError::AlreadyHeld { .. }), "{other}");
        WorkOutcome::Committed(())
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn nobody_waits_for_one_key_with_a_reservation_of_another() {
    let (_, [one, two]) = World::with(["one", "two"]);
    let _held = two.lock("j").acquire().unwrap();
    let mut retrying = one.conflict_retry("k").begin().unwrap();
    let grant = granted(&mut retrying);
    conflict(&mut retrying, grant).unwrap();
    let error = refused(one.lock("j").wait(secs(9)).acquire());
    let AcquireError::ReservesAnother { key, other } = &error else { panic!("{error}") };
    assert_eq!((key.as_str(), other.as_str()), ("j", "k"));
    assert!(one.lock("j").try_acquire().unwrap().is_none());
}

#[test]
fn an_attempt_is_reported_when_its_transaction_has_ended() {
    let (_, [session]) = World::with(["one"]);
    let mut retrying = session.conflict_retry("k").lease(secs(3)).begin().unwrap();
    let attempt = retrying.next_try().unwrap();
    assert_eq!((attempt.number(), attempt.is_overtaken(), attempt.is_held()), (1, false, true));
    let Ok(NextTry::RetryAfter(_)) = retrying.report(attempt, &WorkOutcome::<(), ()>::Conflict(())) else {
        panic!("again")
    };
    let attempt = retrying.next_try().unwrap();
    assert_eq!(retrying.report(attempt, &WorkOutcome::<(), ()>::Committed(())), Ok(NextTry::Finished));
}

#[test]
fn wrong_options_are_named_and_nothing_is_sent() {
    let (world, [session]) = World::with(["one"]);
    type Wrong = (&'static str, fn(ConflictRetry) -> ConflictRetry);
    let wrong: [Wrong; 7] = [
        ("tries", |work| work.tries(0)),
        ("tries", |work| work.tries(1_000_001)),
        ("reservation", |work| work.reserve(Duration::ZERO)),
        ("reservation", |work| work.reserve(secs(3601))),
        ("lease", |work| work.lease(Duration::ZERO)),
        ("interval", |work| work.interval(Duration::ZERO)),
        ("wait", |work| work.wait(Duration::MAX)),
    ];
    for (part, options) in wrong {
        let AcquireError::Invalid { reason: text, .. } = never(&session, options) else { panic!("{part}") };
        assert!(text.contains(part), "{text}");
    }
    assert!(matches!(session.conflict_retry("").begin(), Err(AcquireError::Invalid { .. })));
    assert!(world.calls().is_empty());
}

#[test]
fn what_is_called_out_of_turn_is_refused_and_changes_nothing() {
    let (world, [session, other]) = World::with(["one", "two"]);
    let mut retrying = session.conflict_retry("k").begin().unwrap();
    let stranger = other.lock("other").acquire().unwrap();
    assert!(matches!(commit(&mut retrying, stranger), Err(GrantError::Invalid { .. })), "no try runs");
    assert!(world.holder("other").is_none(), "a grant that is not the try's is released like any that is dropped");
    let grant = granted(&mut retrying);
    let AcquireError::Invalid { reason: text, .. } = refused(retrying.poll()) else { panic!("a try runs") };
    assert!(text.contains("a try runs"), "{text}");
    assert_eq!(commit(&mut retrying, grant), Ok(NextTry::Finished));
    let AcquireError::Invalid { reason: text, .. } = refused(retrying.poll()) else { panic!("it has ended") };
    assert!(text.contains("ended"), "{text}");
    assert_eq!(retrying.tries(), 1);
}

#[test]
fn a_session_that_holds_the_lock_already_is_told_so() {
    let (_, [session]) = World::with(["one"]);
    let _held = session.lock("k").acquire().unwrap();
    assert!(matches!(never(&session, |work| work), AcquireError::AlreadyHeld { .. }));
}
