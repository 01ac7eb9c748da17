//! A store that counts its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kvlock::store::{KvStore, StoreError};
use kvlock_testkit::{Hook, Hooked, Op};

/// The number of calls so far. A clone counts the same ones.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn operations(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The store, with its calls counted.
    pub(crate) fn of<S: KvStore>(&self, store: S) -> Hooked<S, Count> {
        Hooked::new(store, self.clone())
    }
}

impl Hook for Count {
    fn around<T>(&self, _: Op, _: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        call()
    }
}
