//! The locks that a session holds, by store key. The time to find one does not depend on their number.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::hash_map::EntryRef;
use hashbrown::{Equivalent, HashMap};

use crate::session::hold::Hold;

/// The holds of a session. Boxed, so that a map that grows moves little at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HoldTable(HashMap<Arc<str>, Box<Hold>, SeedableRandomState>);

impl HoldTable {
    pub(crate) fn none() -> Self {
        HoldTable(HashMap::with_hasher(hasher(0)))
    }

    pub(crate) fn get(&self, store_key: &str) -> Option<&Hold> {
        self.0.get(&StoreKey(store_key)).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, store_key: &str) -> Option<&mut Hold> {
        self.0.get_mut(&StoreKey(store_key)).map(Box::as_mut)
    }

    pub(crate) fn insert(&mut self, store_key: Arc<str>, hold: Box<Hold>) {
        if self.0.capacity() == 0 {
            // Keys may be chosen by somebody who means ill. The nonce is a secret: nobody can choose keys of one hash.
            self.0 = HashMap::with_hasher(hasher(hold.record.nonce.0 as u64));
        }
        self.0.insert(store_key, hold);
    }

    pub(crate) fn remove(&mut self, store_key: &str) {
        self.0.remove(&StoreKey(store_key));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Hold)> {
        self.0.iter().map(|(store_key, hold)| (store_key, hold.as_ref()))
    }

    /// Takes out the hold of this number, and no other hold of the key.
    pub(crate) fn take(&mut self, store_key: &str, number: u64) -> Option<Box<Hold>> {
        match self.0.entry_ref(&StoreKey(store_key)) {
            EntryRef::Occupied(hold) if hold.get().number == number => Some(hold.remove()),
            _ => None,
        }
    }
}

/// The key of a lookup. A grant has the very string that is in the map, and needs no look at its bytes.
#[derive(Hash)]
struct StoreKey<'k>(&'k str);

impl Equivalent<Arc<str>> for StoreKey<'_> {
    fn equivalent(&self, key: &Arc<str>) -> bool {
        core::ptr::eq(self.0, &**key) || *self.0 == **key
    }
}

fn hasher(seed: u64) -> SeedableRandomState {
    SeedableRandomState::with_seed(seed, SharedSeed::global_fixed())
}

/// The same hash whatever the order of the holds, for tools that explore states.
impl Hash for HoldTable {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_unstable_by_key(|(store_key, _)| *store_key);
        sorted.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use core::hash::BuildHasher;

    use super::*;
    use crate::records::{Nonce, Record};
    use crate::session::hold::Deadline;
    use crate::values::{Namespace, Time, Version};

    fn hold(key: &str) -> Box<Hold> {
        let record = Record { nonce: Nonce(key.bytes().map(u128::from).sum()), ..Record::sample(key) };
        let (namespace, version) = (Namespace::new("n").unwrap(), Version { era: 1, number: 1 });
        Box::new(Hold::new(namespace, record, version, Deadline::Never, Time::from_nanos(0)))
    }

    fn table(keys: &[&str]) -> HoldTable {
        let mut holds = HoldTable::none();
        keys.iter().for_each(|key| holds.insert((*key).into(), hold(key)));
        holds
    }

    #[test]
    fn what_is_held_is_the_same_in_whatever_order_it_was_acquired() {
        let (one, other) = (table(&["a", "b", "c"]), table(&["c", "b", "a"]));
        assert_eq!(one, other);
        assert_eq!(hasher(0).hash_one(&one), hasher(0).hash_one(&other));
        assert_ne!(hasher(0).hash_one(&one), hasher(0).hash_one(table(&["a", "b"])));
    }

    #[test]
    fn a_key_is_found_by_its_own_string_and_by_one_that_is_like_it() {
        let (mut holds, key) = (HoldTable::none(), Arc::<str>::from("key"));
        holds.insert(key.clone(), hold("key"));
        assert!(holds.get(&key).is_some() && holds.get("key").is_some() && holds.get("kez").is_none());
        holds.remove("key");
        assert!(holds.get(&key).is_none());
    }
}
