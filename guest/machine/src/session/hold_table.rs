//! The locks that a session holds, by store key. However many they are, to find one takes the same time.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use hashbrown::hash_map::EntryRef;
use hashbrown::{Equivalent, HashMap};

use crate::session::hold::Hold;

/// What is held. Boxed, so that a map that grows moves little at a time.
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

    /// Takes out the hold of this number, and no other one of the key.
    pub(crate) fn take(&mut self, store_key: &str, number: u64) -> Option<Box<Hold>> {
        match self.0.entry_ref(&StoreKey(store_key)) {
            EntryRef::Occupied(hold) if hold.get().number == number => Some(hold.remove()),
            _ => None,
        }
    }
}

/// What is looked up. A grant has the very string that is in the map, and needs no look at its bytes.
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

/// For those who explore states: the same whatever the order.
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
    use crate::records::record::{Nonce, Record};
    use crate::session::hold::Deadline;
    use crate::values::kv::{Ttl, Version};
    use crate::values::name::{Key, Namespace, RecordKey, Text};
    use crate::values::options::{Lease, Mode};
    use crate::values::time::Time;

    fn hold(key: &str) -> Box<Hold> {
        let record = Record {
            place: RecordKey::lock(&Key::new(key).unwrap()),
            owner: Text::owner("me").unwrap(),
            label: Text::label("").unwrap(),
            nonce: Nonce(key.bytes().map(u128::from).sum()),
            mode: Mode::Plain,
            depth: 1,
            since: None,
            lease: Lease::new(Ttl::Forever).unwrap(),
            reserved: None,
            turn: None,
            token: None,
        };
        Box::new(Hold {
            chain: crate::session::hand_over::HandOverChain::default(),
            number: 1,
            purpose: crate::session::hold::Purpose::Grant,
            since: Time::from_nanos(0),
            namespace: Namespace::new("n").unwrap(),
            record,
            version: Version { era: 1, number: 1 },
            deadline: Deadline::Never,
            taken_until: None,
            written_out: None,
            writes: 0,
            in_doubt: None,
        })
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
