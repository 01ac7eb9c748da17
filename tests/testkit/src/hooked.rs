//! A store in front of another.

use kvlock::store::{
    DeleteOutcome, Entry, EraInfo, Finding, Keys, KvStore, OnGone, Op, StoreError, Ttl, Version, Watch, WriteOutcome,
};

/// What stands between the callers of a [`Hooked`] store and the store itself.
pub trait Hook: Send + Sync + 'static {
    /// Makes a call, or does something else. For `get_many` the key is the first one, and for `keys` the prefix.
    ///
    /// # Errors
    ///
    /// That of the call, or one in its place.
    fn around<T>(&self, op: Op, key: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError>;

    /// Changes how long an entry is kept.
    fn ttl(&self, asked: Ttl) -> Ttl {
        asked
    }
}

/// A store whose calls pass a hook.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
///
/// use kvlock::Client;
/// use kvlock::store::StoreError;
/// use kvlock_testkit::{Hook, Hooked, Memory, Op};
///
/// #[derive(Clone, Default)]
/// struct Count(Arc<AtomicU64>);
///
/// impl Hook for Count {
///     fn around<T>(&self, _: Op, _: &str, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         call()
///     }
/// }
///
/// let count = Count::default();
/// let session = Client::with_store(Hooked::new(Memory::default(), count.clone())).session().open()?;
/// session.lock("k").acquire().unwrap().release().unwrap();
/// // The age of the store's contents, the lock's record, and its release.
/// assert_eq!(count.0.load(Ordering::Relaxed), 3);
/// # Ok::<(), kvlock::error::SessionError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Hooked<S, H> {
    store: S,
    hook: H,
}

impl<S: KvStore, H: Hook> Hooked<S, H> {
    /// Puts a hook in front of a store.
    pub fn new(store: S, hook: H) -> Self {
        Hooked { store, hook }
    }
}

impl<S: KvStore, H: Hook> KvStore for Hooked<S, H> {
    fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.hook.around(Op::Get, key, || self.store.get(key))
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.hook.around(Op::GetMany, keys.first().map_or("", String::as_str), || self.store.get_many(keys))
    }

    fn add(&self, key: &str, value: &[u8], ttl: Ttl) -> Result<WriteOutcome, StoreError> {
        let ttl = self.hook.ttl(ttl);
        self.hook.around(Op::Add, key, || self.store.add(key, value, ttl))
    }

    fn replace(&self, key: &str, value: &[u8], ttl: Ttl, if_version: Version) -> Result<WriteOutcome, StoreError> {
        let ttl = self.hook.ttl(ttl);
        self.hook.around(Op::Replace, key, || self.store.replace(key, value, ttl, if_version))
    }

    fn delete(&self, key: &str, if_version: Version) -> Result<DeleteOutcome, StoreError> {
        self.hook.around(Op::Delete, key, || self.store.delete(key, if_version))
    }

    fn era(&self, key: &str) -> Result<EraInfo, StoreError> {
        self.hook.around(Op::Era, key, || self.store.era(key))
    }

    fn keys(&self, prefix: &str) -> Result<Keys, StoreError> {
        self.hook.around(Op::Keys, prefix, || self.store.keys(prefix))
    }

    fn watch(&self, key: &str, on_gone: OnGone) -> Option<Watch> {
        self.store.watch(key, on_gone)
    }

    fn diagnose(&self) -> Vec<Finding> {
        self.store.diagnose()
    }
}
