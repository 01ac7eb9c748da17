//! Somebody else acts between two calls of an acquisition: at each place, whatever it is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvlock::clock::VirtualClock;
use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, Memory, StoreError, Ttl, Version, WriteOutcome};
use kvlock::{AcquireError, Client, Grant, ResizeError, Semaphore};

use crate::world::secs;

type Action = Box<dyn FnOnce() + Send>;

/// A store in front of which somebody waits for a call, and acts before it.
struct Watched {
    inner: Memory,
    /// After how many more calls, and what.
    plan: Arc<Mutex<Option<(usize, Action)>>>,
}

impl Watched {
    fn store(&self) -> &Memory {
        let mut plan = self.plan.lock().unwrap();
        match plan.take() {
            Some((0, action)) => {
                drop(plan);
                action();
            }
            Some((calls, action)) => *plan = Some((calls - 1, action)),
            None => {}
        }
        &self.inner
    }
}

impl KvStore for Watched {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.store().get(key)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store().get_many(keys)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        self.store().add(key, value, ttl)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        self.store().replace(key, value, ttl, if_version)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.store().delete(key, if_version)
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.store().era(key)
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.inner.diagnose()
    }
}

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
    let clock = Arc::new(VirtualClock::new());
    let inner = Memory::new(clock.clone());
    let plan = Arc::default();
    let watched = Watched { inner: inner.clone(), plan: Arc::clone(&plan) };
    let client = Client::with_store(inner).with_clock(clock.clone());
    let [one, holder] = ["one", "holder"].map(|owner| client.session().owner(owner).open().unwrap());
    let two = Client::with_store(watched).with_clock(clock).session().owner("two").open().unwrap();
    let pool = one.semaphore("pool");
    pool.make(2).run().unwrap();
    holder.semaphore("pool").permit().lease(secs(3600)).acquire().unwrap().forget();
    two.lock("acquaintance").acquire().unwrap().release().unwrap();

    let (sender, answer) = std::sync::mpsc::channel();
    let other = pool.clone();
    let action: Action = Box::new(move || sender.send(act(&other)).unwrap());
    *plan.lock().unwrap() = Some((calls, action));
    let acquired = two.semaphore("pool").permit().wait(Duration::ZERO).acquire();
    let left = plan.lock().unwrap().take();
    let happened = left.is_none();
    if let Some((_, action)) = left {
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
            Err(ResizeError::StillHeld { status }) => assert_eq!((status.size, status.holders.len()), (1, 2)),
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
fn of_two_who_try_for_the_last_permit_one_gets_it() {
    for calls in 0..=CALLS {
        let met = meet(calls, |pool| pool.permit().wait(Duration::ZERO).acquire().map(Grant::forget));
        let granted = usize::from(met.acquired.is_ok()) + usize::from(met.other.is_ok());
        assert_eq!(granted, 1, "before call {calls}");
        for refused in [met.acquired.err(), met.other.err()].into_iter().flatten() {
            assert!(matches!(refused, AcquireError::Busy { .. }), "{refused}");
        }
    }
}
