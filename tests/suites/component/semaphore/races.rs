//! Somebody else acts between two calls of an acquisition: at each place, whatever it is.

use std::time::Duration;

use kvlock::{Grant, Semaphore, error::AcquireError, semaphore::ResizeError};

use crate::world::{Meddler, When, World, secs};

/// What came of an acquisition and of what somebody else did before one of its calls.
struct Met<T> {
    acquired: Result<Grant, AcquireError>,
    other: T,
    /// The semaphore, as the other has it.
    pool: Semaphore,
    /// Whether the acquisition made the call at all.
    happened: bool,
}

/// Acquires one of two permits, of which one is held; `act` happens before the acquisition's call after `calls`.
fn meet<T: Send + 'static>(calls: usize, act: impl FnOnce(&Semaphore) -> T + Send + 'static) -> Met<T> {
    let world = World::new();
    let [one, holder] = ["one", "holder"].map(|owner| world.fresh_session(owner));
    let (meddler, two) = Meddler::session(&world, "two");
    let pool = one.semaphore("pool");
    pool.make(2).run().unwrap();
    holder.semaphore("pool").permit().lease(secs(3600)).acquire().unwrap().forget();
    two.lock("acquaintance").acquire().unwrap().release().unwrap();

    let (sender, answer) = std::sync::mpsc::channel();
    let other = pool.clone();
    meddler.plan(When::After(calls), move || sender.send(act(&other)).unwrap());
    let acquired = two.semaphore("pool").permit().wait(Duration::ZERO).acquire();
    let left = meddler.left();
    let happened = left.is_none();
    if let Some(action) = left {
        action();
    }
    Met { acquired, other: answer.recv().unwrap(), pool, happened }
}

/// A free permit is three calls; more, if the first one that is tried is held.
const CALLS: usize = 3;

#[test]
fn a_semaphore_that_shrinks_during_an_acquisition_has_no_more_holders_than_its_new_size() {
    for calls in 0..=CALLS {
        let Met { acquired, other, happened, .. } = meet(calls, |pool| pool.make(1).wait(Duration::ZERO).run());
        assert!(happened || calls == CALLS);
        match acquired {
            Ok(_) => assert!(!happened, "granted before call {calls}, and the size is 1"),
            Err(AcquireError::Busy { .. }) => assert!(happened),
            Err(error) => panic!("{error}"),
        }
        // The shrinker saw the newcomer as held if there was any doubt.
        match other {
            Ok(before) => assert_eq!(before, Some(2)),
            Err(ResizeError::StillHeld { status, .. }) => assert_eq!((status.size, status.holders.len()), (1, 2)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_semaphore_that_is_destroyed_during_an_acquisition_grants_nothing() {
    for calls in 0..CALLS {
        let met = meet(calls, |pool| {
            pool.break_permit(0).unwrap();
            pool.break_permit(1).unwrap();
            pool.destroy().wait(Duration::ZERO).run()
        });
        assert!(met.happened);
        match met.acquired {
            Err(AcquireError::UnknownSemaphore { .. }) => {}
            Ok(_) => panic!("granted, and destroyed before call {calls}"),
            Err(error) => panic!("{error}"),
        }
        met.pool.destroy().wait(Duration::ZERO).run().ok();
        assert_eq!(met.pool.status(), Ok(None), "nothing is left behind after call {calls}");
    }
}

#[test]
fn of_two_that_try_for_the_last_permit_one_gets_it() {
    for calls in 0..=CALLS {
        let met = meet(calls, |pool| pool.permit().wait(Duration::ZERO).acquire().map(Grant::forget));
        let granted = usize::from(met.acquired.is_ok()) + usize::from(met.other.is_ok());
        assert_eq!(granted, 1, "before call {calls}");
        for refused in [met.acquired.err(), met.other.err()].into_iter().flatten() {
            assert!(matches!(refused, AcquireError::Busy { .. }), "{refused}");
        }
    }
}
