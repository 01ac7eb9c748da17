//! The races of kvlock's forerunners and peers, replayed: each test does to kvlock what broke another lock, at the very
//! moment at which it broke, and names the lock and what went wrong there.
//!
//! Races that only a real server shows are in `tests/peers_on_memcached.rs`, and that of a fork in
//! `tests/decorators.rs`.

mod dbsemaphore;
mod dogpile;
mod mongolock;
mod others;
mod python_redis_lock;
mod sherlock;
mod tooz;
mod unimr;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvlock::store::{
    DeleteOutcome, Entry, EraInfo, Finding, KvStore, Memory, Op, StoreError, Ttl, Version, WriteOutcome,
};
use kvlock::{Client, Grant, Session};

use crate::world::{World, secs};

type Action = Box<dyn FnOnce() + Send>;

/// The mock, with somebody who does something just before a certain request gets there: the moment of every race.
#[derive(Clone)]
pub(crate) struct Meddled {
    store: Memory,
    action: Arc<Mutex<Option<(Op, Action)>>>,
}

impl Meddled {
    /// A session whose requests are meddled with, and whose clock and contents are the world's.
    pub(crate) fn session(world: &World, owner: &str) -> (Meddled, Session) {
        let meddled = Meddled { store: world.store.clone(), action: Arc::default() };
        let client = Client::with_store(meddled.clone()).with_clock(world.clock.clone());
        (meddled, client.session().owner(owner).open().unwrap())
    }

    fn just_before(&self, op: Op, action: impl FnOnce() + Send + 'static) {
        *self.action.lock().unwrap() = Some((op, Box::new(action)));
    }

    /// Just before the request arrives, the lease of the lock `k` ends and somebody else gets it.
    pub(crate) fn successor_just_before(&self, op: Op, world: &World) -> Arc<Mutex<Option<Grant>>> {
        let (taken, clock, two) = (Arc::new(Mutex::new(None)), world.clock.clone(), world.session("two"));
        let slot = taken.clone();
        self.just_before(op, move || {
            clock.advance(secs(30));
            *slot.lock().unwrap() = Some(two.lock("k").wait(Duration::ZERO).acquire().unwrap());
        });
        taken
    }

    fn meddle(&self, op: Op) {
        let due = self.action.lock().unwrap().take_if(|(when, _)| *when == op);
        if let Some((_, action)) = due {
            action();
        }
    }
}

impl KvStore for Meddled {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.meddle(Op::Get);
        self.store.get(key)
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.get_many(keys)
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        self.meddle(Op::Add);
        self.store.add(key, value, ttl)
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        self.meddle(Op::Replace);
        self.store.replace(key, value, ttl, if_version)
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.meddle(Op::Delete);
        self.store.delete(key, if_version)
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.store.era(key)
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.store.diagnose()
    }
}

/// The successor has the lock undisturbed: it is shown as the holder, and renews and releases it with success.
#[track_caller]
pub(crate) fn assert_undisturbed(world: &World, successor: &Mutex<Option<Grant>>) {
    let mut grant = successor.lock().unwrap().take().expect("the race took place");
    assert_eq!(world.holder("k").unwrap().token, grant.token());
    grant.renew().unwrap();
    grant.release().unwrap();
}
