//! Who holds what: all locks, semaphores and reservations of a namespace, for people who look. Nothing is decided by it.
//!
//! ```
//! use kvlock::listing::ListFilter;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = kvlock::Client::connect("memory:")?;
//! let held = client.lock("report/july").note("for Ada").acquire()?;
//! for lock in client.list(&ListFilter::all().prefix("report/"))?.locks {
//!     let holder = lock.state.holder().expect("what is listed is taken");
//!     println!("{}: {holder}; {} waiting", lock.key, lock.waiters);
//! }
//! # held.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! What a store can list differs: see [`Keys::is_exact`](crate::store::Keys::is_exact). A store of your own lists if it
//! implements [`KvStore::keys`](crate::store::KvStore::keys).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::holder::Holder;
use crate::status::{KeyState, KeyStatus};

/// Which locks and semaphores to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "it lists nothing by itself"]
pub struct ListFilter {
    prefix: String,
    owner: Option<String>,
    older_than: Option<Duration>,
}

/// The locks and semaphores of a namespace, as each was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The locks that are taken, by key.
    pub locks: Vec<ListedLock>,
    /// The semaphores, by name.
    pub semaphores: Vec<ListedSemaphore>,
    /// What stands in the namespace and is not kvlock's, by its key in the store.
    pub corrupt: Vec<CorruptEntry>,
    /// Whether all that was there all the while is in it: see [`Keys::is_exact`](crate::store::Keys::is_exact).
    pub is_exact: bool,
}

/// A lock that is held, reserved, or kept for its minimum hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedLock {
    /// The key as its user wrote it.
    pub key: String,
    /// Who has it.
    pub state: KeyState,
    /// How many wait in line: see [`KeyStatus::waiters`](crate::status::KeyStatus::waiters).
    pub waiters: u32,
}

/// A semaphore, and those who hold its permits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedSemaphore {
    /// Its name as its user wrote it.
    pub name: String,
    /// How many permits it has; 0 while it is being destroyed.
    pub size: u32,
    /// How many are held, by whomever.
    pub held: u32,
    /// Those of the holders that were asked for, by permit number.
    pub holders: Vec<Holder>,
}

/// An entry that is not kvlock's. Remove it with the store's own tools.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CorruptEntry {
    /// Its key in the store.
    pub store_key: String,
    /// The beginning of its value.
    pub excerpt: String,
}

/// What the component finds under a key of the store.
pub(crate) enum Standing {
    Lock(KeyStatus),
    Permit(Holder),
    Semaphore { name: String, size: u32 },
    Corrupt(String),
}

impl ListFilter {
    /// Asks for all of them.
    pub fn all() -> Self {
        ListFilter::default()
    }

    /// Asks for those whose key or name begins so.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Asks for those of this owner. Of a lock that readers share, the first of them counts.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Asks for those that have been held for longer than this, by the holder's clock and ours. Who told no time is not
    /// among them.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Returns false if an entry under this key of the store is surely not asked for.
    pub(crate) fn may_want(&self, namespace: &str, store_key: &str) -> bool {
        let rest = store_key.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
        let named = match rest.split_once([':', '#']) {
            Some(("permit", numbered)) => {
                numbered.split_once([':', '#']).map(|(number, name)| (number.len() + 7, name))
            }
            Some((kind @ ("lock" | "semaphore"), name)) => Some((kind.len(), name)),
            _ => None,
        };
        // Behind a `#` stands a digest: only the record has the key.
        named.is_some_and(|(end, name)| rest[end..].starts_with('#') || name.starts_with(&self.prefix))
    }

    fn wants_name(&self, name: &str) -> bool {
        name.starts_with(&self.prefix)
    }

    fn wants_anybody(&self) -> bool {
        self.owner.is_none() && self.older_than.is_none()
    }

    fn wants_holder(&self, holder: &Holder) -> bool {
        let age = |since| SystemTime::now().duration_since(since).unwrap_or(Duration::ZERO);
        self.owner.as_ref().is_none_or(|owner| *owner == holder.owner)
            && self.older_than.is_none_or(|longer| holder.since.is_some_and(|since| age(since) > longer))
    }
}

/// Puts together what was found.
pub(crate) struct Collecting<'f> {
    filter: &'f ListFilter,
    locks: Vec<ListedLock>,
    sizes: BTreeMap<String, u32>,
    permits: BTreeMap<String, Vec<Holder>>,
    corrupt: Vec<CorruptEntry>,
}

impl<'f> Collecting<'f> {
    pub(crate) fn new(filter: &'f ListFilter) -> Self {
        let (locks, corrupt) = (Vec::new(), Vec::new());
        Collecting { filter, locks, sizes: BTreeMap::new(), permits: BTreeMap::new(), corrupt }
    }

    /// Takes in what stands under a key of the store.
    pub(crate) fn take(&mut self, store_key: &str, standing: Standing) {
        match standing {
            Standing::Lock(KeyStatus { state, waiters, .. }) => {
                let Some(holder) = state.holder() else { return };
                if self.filter.wants_name(&holder.key) && self.filter.wants_holder(holder) {
                    self.locks.push(ListedLock { key: holder.key.clone(), state, waiters });
                }
            }
            Standing::Permit(holder) if self.filter.wants_name(&holder.key) => {
                self.permits.entry(holder.key.clone()).or_default().push(holder);
            }
            Standing::Semaphore { name, size } if self.filter.wants_name(&name) => {
                self.sizes.insert(name, size);
            }
            Standing::Corrupt(excerpt) if self.filter.wants_anybody() => {
                self.corrupt.push(CorruptEntry { store_key: store_key.to_string(), excerpt });
            }
            Standing::Permit(_) | Standing::Semaphore { .. } | Standing::Corrupt(_) => {}
        }
    }

    pub(crate) fn finish(self, is_exact: bool) -> Listing {
        let Collecting { filter, mut locks, mut sizes, permits, mut corrupt } = self;
        locks.sort_by(|one, other| one.key.cmp(&other.key));
        corrupt.sort_by(|one, other| one.store_key.cmp(&other.store_key));
        let mut semaphores: BTreeMap<String, ListedSemaphore> = BTreeMap::new();
        for (name, mut holders) in permits {
            let (size, held) = (sizes.remove(&name).unwrap_or(0), u32::try_from(holders.len()).unwrap_or(u32::MAX));
            holders.retain(|holder| filter.wants_holder(holder));
            holders.sort_by_key(|holder| holder.permit);
            if filter.wants_anybody() || !holders.is_empty() {
                semaphores.insert(name.clone(), ListedSemaphore { name, size, held, holders });
            }
        }
        if filter.wants_anybody() {
            let unheld = |(name, size): (String, u32)| {
                (name.clone(), ListedSemaphore { name, size, held: 0, holders: Vec::new() })
            };
            semaphores.extend(sizes.into_iter().map(unheld));
        }
        Listing { locks, semaphores: semaphores.into_values().collect(), corrupt, is_exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_a_prefix_leaves_out_are_not_read_and_digests_are() {
        let filter = ListFilter::all().prefix("re");
        for (store_key, wanted) in [
            ("n:lock:report", true),
            ("n:lock:other", false),
            ("n:lock#0f", true),
            ("n:permit:12:reports", true),
            ("n:permit:12:pool", false),
            ("n:permit:12#0f", true),
            ("n:semaphore:re", true),
            ("n:semaphore:pool", false),
            ("n:line:report", false),
            ("n:semaphores", false),
            ("m:lock:report", false),
            ("kvlock:epoch", false),
        ] {
            assert_eq!(filter.may_want("n", store_key), wanted, "{store_key}");
        }
    }
}
