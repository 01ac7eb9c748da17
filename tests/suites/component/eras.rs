//! Tokens that only grow, and what happens when a store loses its contents.

use std::time::Duration;

use kvlock::store::Op;
use kvlock::{
    AcquirePoll, Validity, WaitingFor,
    error::{AcquireError, GrantError},
};

use crate::world::{World, busy, millis, refused, secs};

#[test]
fn tokens_grow_over_grants_sessions_releases_expiries_and_restarts() {
    let world = World::new();
    let mut last = 0;
    for round in 0..20 {
        let session = world.client.session().quarantine(Duration::ZERO).open().unwrap();
        let grant = session.lock("k").lease(secs(10)).acquire().unwrap();
        assert!(grant.token() > last, "round {round}: {} after {last}", grant.token());
        last = grant.token();
        match round % 4 {
            0 => drop(grant),
            1 => {
                grant.write_out().unwrap(); // a holder that crashes
                world.clock.advance(secs(10));
            }
            2 => {
                grant.write_out().unwrap();
                world.store.new_era(Duration::ZERO);
            }
            _ => {
                grant.write_out().unwrap();
                world.store.evict("kvlock:lock:k");
            }
        }
    }
}

#[test]
fn a_token_stays_the_same_while_the_lock_is_held() {
    let (world, [session]) = World::with(["one"]);
    let mut grant = session.lock("k").reentrant().acquire().unwrap();
    let token = grant.token();
    for _ in 0..3 {
        grant.renew().unwrap();
        assert_eq!(world.holder("k").unwrap().token, token, "and everyone sees it so");
    }
}

#[test]
fn in_a_young_era_nothing_is_granted_until_the_quarantine_is_over() {
    let (world, [one, two]) = World::with(["one", "two"]);
    let held = one.lock("k").lease(secs(30)).acquire().unwrap();
    world.store.new_era(Duration::ZERO);

    let (outcome, _) = world.timed(|| two.lock("k").wait(Duration::ZERO).acquire());
    let (_, waiting_for) = busy(outcome);
    assert_eq!(waiting_for, WaitingFor::Quarantine(secs(30)));
    assert!(waiting_for.to_string().starts_with("in quarantine for 30.0 s more"), "{waiting_for}");
    assert!(world.store.peek("kvlock:lock:k").is_none(), "what was written meanwhile is taken back");

    let (grant, waited) = world.timed(|| two.lock("k").acquire().unwrap());
    assert!(waited >= secs(30) && waited < secs(31), "{waited:?}");
    assert_eq!(held.validity(), Ok(Validity::Lost), "whoever held it before is done by then");
    assert!(grant.token() > held.token());
}

#[test]
fn a_waiter_is_told_what_is_left_of_the_quarantine() {
    let world = World::new();
    world.store.new_era(secs(10));
    let session = world.fresh_session("one");
    let mut wait = session.lock("k").begin().unwrap();
    let Ok(AcquirePoll::Pending { pause, waiting_for }) = wait.poll() else { panic!("nothing is granted yet") };
    assert_eq!(waiting_for, WaitingFor::Quarantine(secs(20)));
    assert!(pause >= secs(20) && pause < secs(21), "{pause:?}");
    world.clock.advance(pause);
    assert!(matches!(wait.poll(), Ok(AcquirePoll::Ready(_))));
}

#[test]
fn the_quarantine_is_as_long_as_the_longest_lease_that_is_known() {
    let wait = |lease: Duration, quarantine: Option<Duration>| {
        let world = World::new();
        world.store.new_era(Duration::ZERO);
        let session = world.client.session();
        let session = quarantine.into_iter().fold(session, |session, asked| session.quarantine(asked)).open().unwrap();
        let grant = session.lock("k").lease(lease);
        // Waiters do not all come back at the same moment: the pause is a little longer.
        world.timed(|| grant.acquire().unwrap()).1.as_secs()
    };
    assert_eq!(wait(secs(5), None), 30);
    assert_eq!(wait(secs(90), None), 90);
    assert_eq!(wait(secs(90), Some(secs(60))), 60);
    assert_eq!(wait(secs(5), Some(Duration::ZERO)), 0);
}

#[test]
fn a_store_that_is_old_enough_grants_at_once() {
    let world = World::new();
    world.store.new_era(secs(30));
    let (_grant, waited) = world.timed(|| world.fresh_session("one").lock("k").acquire().unwrap());
    assert_eq!(waited, Duration::ZERO);
    assert_eq!(world.ops()[..2], [Op::Add, Op::Era]);
}

#[test]
fn a_wait_limit_counts_through_the_quarantine() {
    let world = World::new();
    world.store.new_era(Duration::ZERO);
    let session = world.fresh_session("one");
    let (outcome, passed) = world.timed(|| session.lock("k").wait(secs(7)).acquire());
    assert!(matches!(busy(outcome), (waited, WaitingFor::Quarantine(_)) if waited == secs(7)));
    assert_eq!(passed, secs(7));
}

#[test]
fn a_grant_of_an_era_that_has_ended_is_lost() {
    for renew in [true, false] {
        let world = World::new();
        let two = world.client.session().owner("two").quarantine(Duration::ZERO).open().unwrap();
        let mut old = world.session("one").lock("k").acquire().unwrap();
        world.store.new_era(Duration::ZERO);
        let new = two.lock("k").acquire().unwrap();
        let error = if renew { refused(old.renew()) } else { refused(old.release()) };
        assert!(matches!(error, GrantError::Lost { .. }), "{error}");
        assert_eq!(world.holder("k").unwrap().token, new.token());
    }
}

#[test]
fn a_lock_nested_in_one_of_an_ended_era_is_lost() {
    let (world, [session]) = World::with(["one"]);
    let _outer = session.lock("k").reentrant().acquire().unwrap();
    world.store.new_era(secs(3600));
    let error = refused(session.lock("k").reentrant().acquire());
    assert!(matches!(error, AcquireError::Lost { holder: None, .. }), "{error}");
}

#[test]
fn an_outage_while_the_era_is_asked_for_grants_nothing() {
    let world = World::new();
    world.store.script_for(Op::Era, kvlock::store::Fault::Unavailable);
    let session = world.fresh_session("one");
    let grant = session.lock("k").acquire().unwrap();
    assert_eq!(world.ops(), [Op::Add, Op::Era, Op::Delete, Op::Add, Op::Era]);
    assert_eq!(world.store.scripted(), 0);
    drop(grant);
    world.clock.advance(millis(1));
    assert!(world.holder("k").is_none());
}
