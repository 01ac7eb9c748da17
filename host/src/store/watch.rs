//! Watches: how a store tells that an entry is gone, to those who wait for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::debug::debug_fields;
use crate::fork::PerProcess;

/// What to call when an entry is gone. It returns at once, and does not call the store.
pub type OnGone = Arc<dyn Fn() + Send + Sync>;

/// A watch of one key: see [`KvStore::watch`](super::KvStore::watch). Dropping it ends it.
pub struct Watch {
    /// Ends the watch when it is dropped.
    _end: Box<dyn Send + Sync>,
}

debug_fields!(Watch, |_|);

impl Watch {
    /// Makes a watch that lasts until `end` is dropped.
    pub fn new(end: impl Send + Sync + 'static) -> Watch {
        Watch { _end: Box::new(end) }
    }
}

/// The watches of one store. Clones share them; a fork has none of its parent's.
#[derive(Clone)]
pub(crate) struct Watches(Arc<PerProcess<Mutex<ByKey>>>);

debug_fields!(Watches, |_|);

#[derive(Default)]
struct ByKey {
    watches: BTreeMap<String, BTreeMap<u64, OnGone>>,
    next: u64,
}

struct End {
    watches: Watches,
    key: String,
    number: u64,
}

impl Default for Watches {
    fn default() -> Self {
        Watches(Arc::new(PerProcess::new(Mutex::default())))
    }
}

impl Watches {
    /// Begins a watch.
    pub(crate) fn watch(&self, key: &str, on_gone: OnGone) -> Watch {
        let mut by_key = self.lock();
        let number = by_key.next;
        by_key.next += 1;
        by_key.watches.entry(key.to_string()).or_default().insert(number, on_gone);
        drop(by_key);
        Watch::new(End { watches: self.clone(), key: key.to_string(), number })
    }

    /// Returns how many watch a key.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.lock().watches.get(key).map_or(0, BTreeMap::len)
    }

    /// Returns true if nothing is watched.
    #[cfg(any(feature = "redis", feature = "etcd", feature = "postgres"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().watches.is_empty()
    }

    /// Returns what is watched.
    #[cfg(feature = "redis")]
    pub(crate) fn keys(&self) -> std::collections::BTreeSet<String> {
        self.lock().watches.keys().cloned().collect()
    }

    /// Tells those who watch a key that its entry is gone.
    pub(crate) fn tell(&self, key: &str) {
        let told: Vec<OnGone> = self.lock().watches.get(key).into_iter().flat_map(|of| of.values().cloned()).collect();
        // Without the lock: what they call may end a watch.
        told.iter().for_each(|on_gone| on_gone());
    }

    fn lock(&self) -> MutexGuard<'_, ByKey> {
        self.0.get_or_recreate(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut by_key = self.watches.lock();
        if let Some(of_key) = by_key.watches.get_mut(&self.key) {
            of_key.remove(&self.number);
            if of_key.is_empty() {
                by_key.watches.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn those_who_watch_a_key_are_told_until_their_watch_ends() {
        let watches = Watches::default();
        let told = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let watch = |key: &str, who: usize| {
            let told = told.clone();
            watches.watch(
                key,
                Arc::new(move || {
                    told[who].fetch_add(1, Ordering::Relaxed);
                }),
            )
        };
        let (first, second) = (watch("a", 0), watch("a", 1));
        watches.tell("a");
        watches.tell("b");
        drop(first);
        watches.tell("a");
        drop(second);
        watches.tell("a");
        assert_eq!(told.each_ref().map(|told| told.load(Ordering::Relaxed)), [1, 2]);
        assert!(watches.lock().watches.is_empty());
    }
}
