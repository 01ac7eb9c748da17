//! A store that breaks its contract, or panics, costs its session and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use kvlock::clock::VirtualClock;
use kvlock::store::{DeleteOutcome, Entry, EraInfo, Finding, KvStore, Memory, StoreError, Ttl, Version, WriteOutcome};
use kvlock::{
    Client,
    error::{AcquireError, GrantError, SessionError, StatusError},
};

use crate::world::refused;

const FIT: u8 = 0;
const NONSENSE: u8 = 1;
const PANIC: u8 = 2;
const HUGE: u8 = 3;

/// A store that can be made to answer nonsense, or to panic.
#[derive(Clone)]
struct Broken {
    inner: Memory,
    how: Arc<AtomicU8>,
}

impl Broken {
    fn new() -> (Self, Client) {
        let clock = Arc::new(VirtualClock::new());
        let store = Broken { inner: Memory::new(clock.clone()), how: Arc::default() };
        let client = Client::with_store(store.clone()).with_clock(clock);
        (store, client)
    }

    fn be(&self, how: u8) {
        self.how.store(how, Ordering::SeqCst);
    }

    fn answer<T>(&self, nonsense: T, fit: impl FnOnce(&Memory) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.how.load(Ordering::SeqCst) {
            NONSENSE => Ok(nonsense),
            PANIC => panic!("on purpose"),
            _ => fit(&self.inner),
        }
    }
}

impl KvStore for Broken {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if self.how.load(Ordering::SeqCst) == HUGE {
            // More than an instance may have; no page of it is ever touched.
            let (value, version) = (vec![0; 600 << 20], Version { era: 1, number: 1 });
            return Ok(Some(Entry { value, version, time_left: None }));
        }
        self.answer(None, |store| store.get(key))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.answer(vec![None; keys.len() + 1], |store| store.get_many(keys))
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        self.answer(WriteOutcome::Absent, |store| store.add(key, value, ttl))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        self.answer(WriteOutcome::Absent, |store| store.replace(key, value, ttl, if_version))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.answer(DeleteOutcome::Absent, |store| store.delete(key, if_version))
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.inner.era(key)
    }

    fn diagnose(&self) -> Vec<Finding> {
        Vec::new()
    }
}

#[test]
fn a_trap_is_an_error_of_its_session_at_every_call_and_others_go_on() {
    let (store, client) = Broken::new();
    let (bad, good) = (client.session().open().unwrap(), client.session().open().unwrap());
    let mut grant = bad.lock("held").acquire().unwrap();
    let wait = bad.lock("k").begin().unwrap();
    store.be(NONSENSE);
    // The contract says that `add` never answers `absent`.
    assert!(matches!(refused(bad.lock("k").acquire()), AcquireError::Component { .. }));

    store.be(FIT);
    assert!(matches!(refused(wait.block()), AcquireError::Component { .. }));
    assert!(matches!(bad.status("k"), Err(StatusError::Component { .. })));
    assert!(matches!(bad.break_lock("k"), Err(StatusError::Component { .. })));
    assert!(matches!(refused(bad.resume("kvlock1.x")), SessionError::Component(_)));
    assert!(matches!(grant.validity(), Err(GrantError::Component { .. })));
    assert!(matches!(refused(grant.renew()), GrantError::Component { .. }));
    drop(grant);
    drop(bad);
    good.lock("k").acquire().unwrap().release().unwrap();
}

#[test]
fn a_list_of_the_wrong_length_is_no_answer_about_keys() {
    let (store, client) = Broken::new();
    store.be(NONSENSE);
    let session = client.session().open().unwrap();
    assert!(matches!(session.statuses(&["a", "b"]), Err(StatusError::Component { .. })));
}

#[test]
fn an_answer_that_fills_the_memory_costs_its_session_and_nothing_else() {
    let (store, client) = Broken::new();
    let (bad, good) = (client.session().open().unwrap(), client.session().open().unwrap());
    store.be(HUGE);
    assert!(matches!(bad.break_lock("k"), Err(StatusError::Component { .. })));
    store.be(FIT);
    assert!(matches!(bad.status("k"), Err(StatusError::Component { .. })));
    good.lock("k").acquire().unwrap().release().unwrap();
}

#[test]
fn a_panic_in_the_store_reaches_its_caller_and_the_session_is_refused_after() {
    let (store, client) = Broken::new();
    let (bad, good) = (client.session().open().unwrap(), client.session().open().unwrap());
    let grant = bad.lock("held").acquire().unwrap();
    store.be(PANIC);
    let outcome = catch_unwind(AssertUnwindSafe(|| bad.lock("k").acquire().map(drop)));
    assert_eq!(outcome.err().unwrap().downcast_ref::<&str>(), Some(&"on purpose"));
    store.be(FIT);
    assert!(matches!(refused(bad.lock("k").acquire()), AcquireError::Component { .. }));
    drop(grant);
    good.lock("k").acquire().unwrap().release().unwrap();
}

#[test]
fn a_thread_that_locks_by_the_client_has_another_session_after_a_trap_or_a_panic() {
    let (store, client) = Broken::new();
    store.be(NONSENSE);
    assert!(matches!(refused(client.lock("k").acquire()), AcquireError::Component { .. }));
    store.be(FIT);
    client.lock("k").acquire().unwrap().release().unwrap();
    store.be(PANIC);
    catch_unwind(AssertUnwindSafe(|| client.lock("k").acquire().map(drop))).unwrap_err();
    store.be(FIT);
    client.lock("k").acquire().unwrap().release().unwrap();
}
